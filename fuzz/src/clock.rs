//! What time servers answer, and how an operator names them.

use std::time::Duration;

use jurat_daemon::clock::sntp::{Reply, Server, request};
use jurat_daemon::clock::{BootTime, UnixTime};

use crate::canonical_text;

/// An answer means an interval that is no wider than was asked for, of a time that the packet can
/// hold.
pub(crate) fn sntp_reply(data: &[u8]) {
    // Every input answers its own question, so that what comes after that check is reached.
    let nonce = data.get(24..).and_then(<[u8]>::first_chunk);
    let nonce = nonce.map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let reply = match Reply::parse(data, nonce) {
        Ok(reply) => reply,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal without a reason");
            return;
        }
    };
    assert!(Reply::parse(data, !nonce).is_err(), "any number will do");
    assert!(Reply::parse(&request(nonce), nonce).is_err());
    let (sent, came) = (BootTime::ZERO, BootTime::ZERO.plus(Duration::from_secs(1)));
    let most = Duration::from_secs(1);
    match reply.sample(0, sent, came, most) {
        Ok(sample) => {
            let width = sample.latest.since(sample.earliest);
            assert!(sample.earliest <= sample.latest);
            assert!(width <= most * 2 + Duration::from_millis(3));
            assert!(sample.earliest >= UnixTime::from_seconds(1_767_225_590));
            assert!(sample.latest < UnixTime::from_seconds(1 << 33));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A server is shown with its port, and read again from that.
pub(crate) fn ntp_server(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(server) = Server::parse(text) {
        let shown = server.to_string();
        assert_eq!(Server::parse(&shown).as_ref(), Ok(&server));
        canonical_text(shown.as_bytes(), Server::parse, ToString::to_string);
    }
}
