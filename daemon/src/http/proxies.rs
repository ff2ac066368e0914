//! [`TrustedProxies`]: who a client is behind reverse proxies.
//!
//! ```text
//! client ──▶ proxy A ──▶ proxy B ──▶ us       the connection's peer is B
//!            X-Forwarded-For: <what the client sent>, client, A
//!                                                     ◀──────── read from this end
//! ```
//!
//! A proxy writes whom it has the request from behind whatever the field holds already. So the
//! field is believed from its end, for as long as those who wrote are proxies that the operator
//! named; the first who is none of them is the client, and everything before is that client's own
//! invention. From a peer that is no such proxy the field is not read at all.
//!
//! Out of scope: what else a proxy may say (the scheme, the host), and proxies on Unix sockets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use hyper::header::{FORWARDED, HeaderMap, HeaderName};

/// The proxies whose word is taken, and where they say it. Of none by default.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    field: ForwardedField,
}

/// The field in which the proxies write. One alone: a proxy that writes the one passes the other on
/// as the client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedField {
    /// `X-Forwarded-For: a, b`, as most have it.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=a, for=b` (RFC 7239).
    Forwarded,
}

/// Addresses that begin alike: `10.0.0.0/8`, `2001:db8::/32`, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Proxies that one request may have come through: more than anybody has one behind the other, and
/// what bounds the reading of a long field.
const HOPS_MAX: usize = 16;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl TrustedProxies {
    /// These, which write into this field.
    pub fn new(networks: Vec<Network>, field: ForwardedField) -> Self {
        Self { networks, field }
    }

    /// Whom a request is from. What cannot be read is nobody's word: then it is from the proxy that
    /// is believed last.
    // Spec: SVC-81
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let name = match self.field {
            ForwardedField::XForwardedFor => X_FORWARDED_FOR,
            ForwardedField::Forwarded => FORWARDED,
        };
        let lines = headers.get_all(name).iter().rev();
        let words = lines.flat_map(|line| self.field.words_from_the_end(line.as_bytes()));
        for word in words.take(HOPS_MAX) {
            // What is no text, or no address, ends the reading.
            let named = std::str::from_utf8(word).ok();
            let Some(named) = named.and_then(|word| self.field.address(word)) else {
                return client;
            };
            client = named.to_canonical();
            if !self.trusts(client) {
                return client;
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(address))
    }
}

impl ForwardedField {
    /// Its name, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::Forwarded => "Forwarded",
        }
    }

    /// The one of this name, in whatever case.
    pub fn named(name: &str) -> Option<Self> {
        [Self::XForwardedFor, Self::Forwarded]
            .into_iter()
            .find(|field| field.name().eq_ignore_ascii_case(name))
    }

    /// Whom one word of the field names.
    fn address(self, word: &str) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => node(word.trim()),
            Self::Forwarded => from_the_end(word.as_bytes(), b';', true).find_map(|pair| {
                let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
                if !name.trim().eq_ignore_ascii_case("for") {
                    return None;
                }
                let value = value.trim();
                let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                node(quoted.unwrap_or(value))
            }),
        }
    }

    /// What each proxy wrote, the last one's first.
    fn words_from_the_end(self, line: &[u8]) -> impl Iterator<Item = &[u8]> {
        from_the_end(line, b',', self == Self::Forwarded)
    }
}

/// The parts of a text that a byte separates, from its end. In quotation marks it separates
/// nothing: a proxy may quote there what the client chose. They are counted from the end as well,
/// since what stands in front may be the client's, and leave one open.
fn from_the_end(text: &[u8], separator: u8, quotes: bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let mut inside = false;
        let separates = text.iter().enumerate().rev().find(|&(at, &byte)| {
            if byte == b'"' && quotes && !(inside && is_escaped(text, at)) {
                inside = !inside;
            }
            byte == separator && !inside
        });
        let Some((at, _)) = separates else {
            return Some(text);
        };
        let (before, part) = text.split_at_checked(at)?;
        rest = Some(before);
        part.get(1..)
    })
}

/// Whether an odd number of backslashes stands before a byte.
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.iter().take(at).rev();
    before.take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// An address, with or without a port; of IPv6 also in brackets.
fn node(text: &str) -> Option<IpAddr> {
    let in_brackets = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    in_brackets
        .unwrap_or(text)
        .parse()
        .ok()
        .or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

impl Network {
    /// Whether all addresses of a family are of it.
    pub fn is_everybody(&self) -> bool {
        self.bits == 0
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differ = u32::from(ours) ^ u32::from(theirs);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differ = u128::from(ours) ^ u128::from(theirs);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        // One that is written as IPv4 in IPv6 is compared with nothing.
        if address != address.to_canonical() {
            return Err(NoNetwork);
        }
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| NoNetwork)?,
            None => most,
        };
        if bits > most {
            return Err(NoNetwork);
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// It names no addresses. The operator is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is neither an address nor a network")]
pub struct NoNetwork;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn of(networks: &[&str], field: ForwardedField) -> TrustedProxies {
        let networks = networks.iter().map(|text| text.parse().unwrap());
        TrustedProxies::new(networks.collect(), field)
    }

    fn said(field: ForwardedField, lines: &[&[u8]]) -> HeaderMap {
        let name = HeaderName::from_bytes(field.name().as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, line.to_vec().try_into().unwrap());
        }
        headers
    }

    // Spec: SVC-81
    #[test]
    fn everybody_is_a_network_of_no_bits() {
        let is_everybody = |text: &str| text.parse::<Network>().unwrap().is_everybody();
        assert!(
            ["0.0.0.0/0", "10.0.0.2/0", "::/0"]
                .into_iter()
                .all(is_everybody)
        );
        assert!(
            !["0.0.0.0", "0.0.0.0/1", "::", "::/1"]
                .into_iter()
                .any(is_everybody)
        );
    }

    // Spec: SVC-81
    #[test]
    fn the_client_is_the_last_who_is_named_and_is_no_proxy_of_ours() {
        let proxies = of(
            &["10.0.0.0/8", "2001:db8:1::/48"],
            ForwardedField::XForwardedFor,
        );
        let long = format!("192.0.2.1{}", ", 10.0.0.1".repeat(HOPS_MAX));
        for (peer, lines, client) in [
            // Whoever is no proxy of ours says nothing.
            ("192.0.2.9", vec!["192.0.2.1"], "192.0.2.9"),
            ("10.0.0.2", vec!["192.0.2.1"], "192.0.2.1"),
            ("::ffff:10.0.0.2", vec!["192.0.2.1"], "192.0.2.1"),
            // What stands before is the client's invention.
            ("10.0.0.2", vec!["198.51.100.7, 192.0.2.1"], "192.0.2.1"),
            (
                "10.0.0.2",
                vec!["198.51.100.7", "192.0.2.1,10.9.9.9"],
                "192.0.2.1",
            ),
            ("10.0.0.2", vec!["10.0.0.3, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.2", vec!["192.0.2.1", "10.0.0.3"], "192.0.2.1"),
            // A client in the proxies' own network.
            ("10.0.0.2", vec!["10.0.0.4"], "10.0.0.4"),
            // Nothing, or what nobody understands, is from the proxy that is believed last.
            ("10.0.0.2", vec![], "10.0.0.2"),
            ("10.0.0.2", vec![""], "10.0.0.2"),
            ("10.0.0.2", vec!["192.0.2.1, unknown"], "10.0.0.2"),
            ("10.0.0.2", vec!["192.0.2.1, who, 10.0.0.3"], "10.0.0.3"),
            ("10.0.0.2", vec!["192.0.2.1, 10.0.0.3,"], "10.0.0.2"),
            // With ports, and of IPv6.
            ("10.0.0.2", vec!["192.0.2.1:4711"], "192.0.2.1"),
            ("2001:db8:1::5", vec!["2001:db8:2::1"], "2001:db8:2::1"),
            (
                "2001:db8:1::5",
                vec!["[2001:db8:2::1]:80, [2001:db8:1::6]"],
                "2001:db8:2::1",
            ),
            ("2001:db8:1::5", vec!["::ffff:192.0.2.1"], "192.0.2.1"),
            // It is not read without end.
            ("10.0.0.2", vec![&long], "10.0.0.1"),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            let headers = said(ForwardedField::XForwardedFor, &lines);
            assert_eq!(
                proxies.client(ip(peer), &headers),
                ip(client),
                "{peer} {headers:?}"
            );
        }
        for (line, client) in [
            (&b"192.0.2.1, \xff"[..], "10.0.0.2"),
            // What the client wrote before its address is not looked at.
            (b"\xff, 192.0.2.1", "192.0.2.1"),
            (b"\", 192.0.2.1", "192.0.2.1"),
        ] {
            let headers = said(ForwardedField::XForwardedFor, &[line]);
            assert_eq!(proxies.client(ip("10.0.0.2"), &headers), ip(client));
        }
        let none = TrustedProxies::default();
        let headers = said(ForwardedField::XForwardedFor, &[b"192.0.2.1"]);
        assert_eq!(none.client(ip("10.0.0.2"), &headers), ip("10.0.0.2"));
    }

    // Spec: SVC-81
    #[test]
    fn the_field_of_rfc_7239_is_read_when_it_is_the_one_and_then_no_other() {
        let proxies = of(&["10.0.0.2"], ForwardedField::Forwarded);
        let peer = ip("10.0.0.2");
        for (line, client) in [
            ("for=192.0.2.1", "192.0.2.1"),
            (
                "for=198.51.100.7, For=\"192.0.2.1:80\";proto=https",
                "192.0.2.1",
            ),
            ("proto=http; for=\"[2001:db8::1]:80\"", "2001:db8::1"),
            ("for=192.0.2.1, for=10.0.0.2", "192.0.2.1"),
            // A quotation mark that the client left open.
            ("for=\"198.51.100.7, for=192.0.2.1", "192.0.2.1"),
            // What the client chose, in the quotation marks of the proxy.
            (
                "for=192.0.2.1;host=\"evil,for=6.6.6.6;x=\";proto=https",
                "192.0.2.1",
            ),
            ("host=\"a;for=6.6.6.6\";for=192.0.2.1", "192.0.2.1"),
            (
                r#"for=192.0.2.1;host="a\",for=6.6.6.6;x=\\";proto=https"#,
                "192.0.2.1",
            ),
            (
                r#"for=6.6.6.6;x="\, for=192.0.2.1;host="b,for=6.6.6.6""#,
                "192.0.2.1",
            ),
            ("for=192.0.2.1, for=_hidden", "10.0.0.2"),
            ("for=192.0.2.1, by=10.0.0.3", "10.0.0.2"),
            ("192.0.2.1", "10.0.0.2"),
        ] {
            let headers = said(ForwardedField::Forwarded, &[line.as_bytes()]);
            assert_eq!(proxies.client(peer, &headers), ip(client), "{line}");
        }
        // The client sent that one, and the proxy passed it on.
        let other = said(ForwardedField::XForwardedFor, &[b"192.0.2.1"]);
        assert_eq!(proxies.client(peer, &other), peer);
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        let network = |text: &str| text.parse::<Network>();
        for (text, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::/0", "::1", "127.0.0.1"),
        ] {
            let network = network(text).unwrap();
            assert!(network.contains(ip(inside)), "{text} {inside}");
            assert!(!network.contains(ip(outside)), "{text} {outside}");
        }
        for text in [
            "",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "::/129",
            "::ffff:10.0.0.0/104",
            "proxy.example",
        ] {
            assert_eq!(network(text), Err(NoNetwork), "{text}");
        }
        assert_eq!(
            network("10.0.0.0/8").map(|n| n.to_string()),
            Ok("10.0.0.0/8".to_owned())
        );
    }
}
