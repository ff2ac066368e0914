//! The witness network's lists of logs: fetched, compared, and what is new in them added.
//!
//! ```text
//! source (https, http or a file) ─► bytes ─► LogList::parse ─► compare ─► Registry::edit
//!    cannot be had: nothing changes    bad entries: left out      only additions, one write,
//!                                      and told                   a journal line for each log
//! ```
//!
//! A list is no configuration: what it says differently of a log that is known is told and changes
//! nothing; a log that it does not name any more stays. The format and the comparison are
//! [`jurat_proto::log_list`]'s.
//!
//! Rows: `spec/log-list.md` LST-11 to LST-13, LST-15 to LST-17.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jurat_daemon::client::{Client, ClientError, ClientRequest};
use jurat_daemon::clock::Clock;
use jurat_proto::cosignature::NAME_BYTES_MAX;
use jurat_proto::log_list::{
    Difference, DisagreementKind, KnownLog, LIST_BYTES_MAX, ListedLog, LogList, LogListError,
    compare, is_control,
};
use jurat_store::registry::{
    About, Change, Log, LogState, REGISTRY_BYTES_MAX, Registry, RegistryError,
};

use crate::journal::Journal;

/// Where a list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An `http` or `https` URL.
    Url(String),
    /// A file.
    File(PathBuf),
}

impl Source {
    /// A URL when it looks like one, otherwise a file, below `base` if it is relative.
    pub fn parse(text: &str, base: &Path) -> Self {
        if text.starts_with("https://") || text.starts_with("http://") {
            Self::Url(text.to_owned())
        } else {
            Self::File(base.join(text))
        }
    }

    /// As the operator wrote it, but without what a URL may hold that is nobody's business: a user
    /// with a password, and a query or a fragment with a token. It stands in metrics, log lines,
    /// the list of logs and the journal.
    // Spec: LST-16
    pub fn name(&self) -> String {
        let name = match self {
            Self::Url(url) => {
                let url = url.split(['?', '#']).next().unwrap_or_default();
                let (scheme, rest) = url.split_once("://").unwrap_or_default();
                let authority = rest.split('/').next().unwrap_or_default();
                let user = authority.rfind('@').map_or(0, |at| at + 1);
                let rest = rest.get(user..).unwrap_or_default();
                format!("{scheme}://{rest}")
            }
            Self::File(path) => path.display().to_string(),
        };
        let shown = |character| {
            if is_control(character) {
                '\u{fffd}'
            } else {
                character
            }
        };
        name.chars().map(shown).take(NAME_CHARS_MAX).collect()
    }

    /// Fetches the list, which has `within` for all of it ([`FETCH_TIMEOUT`]).
    ///
    /// # Errors
    /// [`PullError`]. Nothing changed.
    pub async fn read(&self, client: &Client, within: Duration) -> Result<Vec<u8>, PullError> {
        match self {
            Self::Url(url) => {
                let request = ClientRequest::get(url)
                    .timeout(within)
                    .response_bytes_max(LIST_BYTES_MAX);
                let response = client.send(request).await.map_err(|error| match error {
                    // It would say all of the URL.
                    ClientError::InvalidUrl { .. } => PullError::NotAUrl,
                    other => PullError::Fetch(other),
                })?;
                match response.status.as_u16() {
                    200 => Ok(response.body.to_vec()),
                    status => Err(PullError::Status { status }),
                }
            }
            Self::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path));
                read.await
                    .unwrap_or_else(|error| Err(io::Error::other(error)))
                    .map_err(PullError::File)
            }
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(LIST_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a list would do, or did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// One line for each log that is new, each disagreement and each anomaly.
    pub lines: Vec<String>,
    /// Logs that are new.
    pub added: usize,
    /// Logs that are known.
    pub known: usize,
    /// How often each kind of anomaly and of disagreement was met.
    pub oddities: Vec<(&'static str, usize)>,
}

impl Report {
    fn odd(&mut self, kind: &'static str, count: usize) {
        match self.oddities.iter_mut().find(|(name, _)| *name == kind) {
            Some((_, total)) => *total += count,
            None if count > 0 => self.oddities.push((kind, count)),
            None => {}
        }
    }

    /// What is to be told about a list and its difference from what is known; `too_long` are the
    /// origins that a key of ours cannot sign, and for `no_room` more there is no room.
    fn of(list: &LogList, difference: &Difference<'_>, too_long: usize, no_room: usize) -> Self {
        let mut report = Self {
            added: difference.new.len(),
            known: difference.known,
            ..Self::default()
        };
        for new in &difference.new {
            let contact = &new.contact;
            report.lines.push(format!(
                "+ {}  {} requests a day, {contact}",
                new.origin, new.qpd
            ));
        }
        for disagreement in &difference.disagreements {
            let listed = disagreement.listed;
            report.odd(disagreement.kind.name(), 1);
            let says = match disagreement.kind {
                DisagreementKind::Key => format!("the list has another key, {}", listed.key),
                DisagreementKind::Qpd => format!("the list has {} requests a day", listed.qpd),
                DisagreementKind::Disabled => "the list has it; it is disabled here".to_owned(),
            };
            report.lines.push(format!("= {}  {says}", listed.origin));
        }
        for anomaly in &list.anomalies {
            report.odd(anomaly.kind.name(), 1);
            report.lines.push(format!("? {anomaly}"));
        }
        report.odd("more", list.anomalies_more);
        if too_long > 0 {
            report.odd("origin_too_long", too_long);
            report.lines.push(format!(
                "? {too_long} origins of more than {NAME_BYTES_MAX} bytes, which an ML-DSA-44 key \
                 cannot cosign"
            ));
        }
        if no_room > 0 {
            report.odd("no_room", no_room);
            report.lines.push(format!(
                "? {no_room} new logs, for which there is no room (lists.logs_max)"
            ));
        }
        report
    }

    /// The report for people.
    pub fn text(&self, source: &str, dry_run: bool) -> String {
        let verb = if dry_run { "would be added" } else { "added" };
        let mut text = String::new();
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        let odd: usize = self.oddities.iter().map(|(_, count)| count).sum();
        let _ = writeln!(
            text,
            "{source}: {} {verb}, {} known, {odd} odd",
            self.added, self.known
        );
        text
    }
}

/// What to do with what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Add it.
    Apply,
    /// Only tell.
    DryRun,
}

/// Where a list is applied.
#[derive(Debug, Clone)]
pub struct Target {
    /// The list of logs.
    pub logs: PathBuf,
    /// Whether a key of ours is ML-DSA-44, whose message holds short origins only.
    pub ml_dsa: bool,
    /// How many logs may have come from lists.
    pub logs_max: usize,
}

impl Target {
    /// Applies a list that was read from `source`.
    ///
    /// # Errors
    /// [`PullError`]. Nothing changed.
    // Spec: LST-11, LST-12, LST-13
    pub fn apply(
        &self,
        source: &Source,
        bytes: &[u8],
        clock: &dyn Clock,
        mode: Mode,
    ) -> Result<Report, PullError> {
        let list = LogList::parse(bytes).map_err(PullError::List)?;
        if mode == Mode::DryRun || self.nothing_new(&list)? {
            let registry = Registry::load(&self.logs)?;
            return Ok(self.compared(&list, &registry).0);
        }
        let journal = Journal::beside(&self.logs);
        let name = source.name();
        let recorder = journal.by(format!("list {name}"), clock);
        let now = clock.now().seconds();
        let mut report = Report::default();
        Registry::edit(&self.logs, &recorder, |registry| {
            // What is known now, with the lock held, decides.
            let (told, new) = self.compared(&list, registry);
            for listed in &new {
                registry.add_keys(&listed.origin, std::slice::from_ref(&listed.key))?;
                let about = About {
                    qpd: Some(listed.qpd),
                    contact: Some(listed.contact.clone()),
                    source: Some(name.clone()),
                    added: Some(now),
                    ..About::default()
                };
                registry.describe(&listed.origin, about)?;
            }
            report = told;
            Ok(if new.is_empty() {
                Change::Nothing
            } else {
                Change::Added
            })
        })?;
        Ok(report)
    }

    /// Most pulls find nothing new, and need neither lock nor copy.
    fn nothing_new(&self, list: &LogList) -> Result<bool, RegistryError> {
        let registry = Registry::load(&self.logs)?;
        Ok(self.compared(list, &registry).1.is_empty())
    }

    fn compared<'l>(&self, list: &'l LogList, registry: &Registry) -> (Report, Vec<&'l ListedLog>) {
        let mut difference = compare(list, |origin| registry.log(origin).map(known));
        let before = difference.new.len();
        if self.ml_dsa {
            let fits = |origin: &str| origin.len() <= NAME_BYTES_MAX;
            difference.new.retain(|new| fits(new.origin.as_str()));
        }
        let too_long = before - difference.new.len();
        let before = difference.new.len();
        let room = self.room(&difference.new, registry, LISTED_BYTES_MAX);
        difference.new.truncate(room);
        let no_room = before - difference.new.len();
        let report = Report::of(list, &difference, too_long, no_room);
        (report, difference.new)
    }

    /// How many of these logs can be added, so that the list of logs has at most so many bytes.
    // Spec: LST-15
    fn room(&self, new: &[&ListedLog], registry: &Registry, bytes_max: usize) -> usize {
        if new.is_empty() {
            return 0;
        }
        let listed = registry.logs().filter(|log| log.source.is_some()).count();
        let count_max = self.logs_max.saturating_sub(listed);
        let mut bytes = registry.bytes_max();
        let fits = |new: &&&ListedLog| {
            let texts = new.origin.as_str().len() + new.contact.len() + new.key.to_string().len();
            // Characters may be escaped, and the source is named.
            bytes = bytes.saturating_add(2 * texts + ENTRY_BYTES);
            bytes <= bytes_max
        };
        new.iter().take(count_max).take_while(fits).count()
    }
}

/// More than an entry takes beside its own texts: the source and the words.
const ENTRY_BYTES: usize = 512;

/// The rest is for holds, and for what the operator adds.
const LISTED_BYTES_MAX: usize = REGISTRY_BYTES_MAX / 4 * 3;

fn known(log: &Log) -> KnownLog<'_> {
    KnownLog {
        keys: &log.keys,
        qpd: log.qpd,
        active: log.state == LogState::Active,
    }
}

/// Why a list was not applied. Nothing changed: what was known stays.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It could not be fetched. Whoever serves it, or the network, is at fault.
    #[error("{0}")]
    Fetch(ClientError),
    /// The URL is none. The operator is at fault.
    #[error("it is not an http or https URL")]
    NotAUrl,
    /// It is not served. Whoever serves it is at fault.
    #[error("it is answered with status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// The file cannot be read. The operator is at fault.
    #[error("{0}")]
    File(io::Error),
    /// It is no list. Whoever serves it is at fault.
    #[error("{0}")]
    List(LogListError),
    /// The list of logs cannot be changed.
    #[error("{0}")]
    Registry(#[from] RegistryError),
}

/// The longest name of a list.
const NAME_CHARS_MAX: usize = 256;

/// For the whole of a list, which may have tens of megabytes: who sends a byte now and then is
/// given up, too.
// Spec: LST-17
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use jurat_daemon::client::ClientOptions;
    use jurat_daemon::clock::{ManualClock, UnixTime};
    use jurat_keys::{Algorithm, SigningKey};
    use jurat_proto::checkpoint::Origin;
    use jurat_proto::key::{KeyName, Signer as _, VerifierKey};

    use super::*;

    fn key(name: &str) -> VerifierKey {
        let name = KeyName::parse(name).unwrap();
        let key = SigningKey::generate(name, Algorithm::Ed25519).unwrap();
        key.verifier_key().clone()
    }

    fn entry(key: &VerifierKey, origin: Option<&str>, qpd: u32) -> String {
        let origin = origin.map_or(String::new(), |origin| format!("origin {origin}\n"));
        format!("vkey {key}\n{origin}qpd {qpd}\ncontact ops\n")
    }

    // Spec: LST-11, LST-12, LST-13
    #[test]
    fn a_list_adds_what_is_new_and_changes_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(UnixTime::from_seconds(1_790_000_000));
        let target = Target {
            logs: dir.path().join("logs.toml"),
            ml_dsa: true,
            logs_max: 1_000,
        };
        let source = Source::Url("https://lists.example/l".to_owned());
        Registry::create(&target.logs).unwrap();
        let (mine, disabled, new) = (key("mine.example"), key("off.example"), key("new.example"));
        let (mine_at, off_at) = (origin("mine.example"), origin("off.example"));
        Registry::add(&target.logs, &mine_at, std::slice::from_ref(&mine)).unwrap();
        Registry::add(&target.logs, &off_at, std::slice::from_ref(&disabled)).unwrap();
        Registry::set_state(&target.logs, &off_at, LogState::Disabled).unwrap();
        let long = "l".repeat(256);
        let text = [
            "logs/v0\n",
            &entry(&key("mine.example"), None, 24),
            &entry(&disabled, None, 24),
            "vkey rubbish\n",
            &entry(&new, Some("new.example/log"), 1440),
            &entry(&key("long.example"), Some(&long), 24),
        ]
        .concat();
        let before = fs::read(&target.logs).unwrap();
        let apply = |text: &str, mode| target.apply(&source, text.as_bytes(), &clock, mode);

        let dry = apply(&text, Mode::DryRun).unwrap();
        assert_eq!(fs::read(&target.logs).unwrap(), before, "nothing changed");
        assert_eq!((dry.added, dry.known), (1, 2));
        let odd = [
            ("other_key", 1),
            ("disabled_here", 1),
            ("key", 1),
            ("origin_too_long", 1),
        ];
        assert_eq!(dry.oddities, odd);
        let told = dry.text("l", true);
        assert!(told.starts_with("+ new.example/log  1440 requests a day, ops\n"));
        assert!(
            told.ends_with("l: 1 would be added, 2 known, 4 odd\n"),
            "{told}"
        );

        assert_eq!(apply(&text, Mode::Apply).unwrap(), dry);
        let list = Registry::load(&target.logs).unwrap();
        assert_eq!(list.log(&mine_at).unwrap().keys[..], [mine]);
        assert_eq!(list.log(&mine_at).unwrap().qpd, None);
        assert_eq!(list.log(&off_at).unwrap().state, LogState::Disabled);
        let added = list.log(&origin("new.example/log")).unwrap();
        assert_eq!(added.keys[..], [new]);
        assert_eq!(added.qpd.unwrap().get(), 1440);
        assert_eq!(added.source.as_deref(), Some("https://lists.example/l"));
        assert_eq!(added.added, Some(1_790_000_000));
        assert_eq!(list.logs().len(), 3);
        let journal = Journal::beside(&target.logs);
        let mut actors = Vec::new();
        journal
            .check(|line| actors.push(line.actor.clone()))
            .unwrap();
        assert_eq!(actors, ["list https://lists.example/l"]);

        // Again, and a list without it, and what is no list.
        let after = fs::read(&target.logs).unwrap();
        assert_eq!(apply(&text, Mode::Apply).unwrap().added, 0);
        assert_eq!(apply("logs/v0\n", Mode::Apply).unwrap(), Report::default());
        for text in ["", "<html>Not Found</html>"] {
            let refused = apply(text, Mode::Apply);
            assert!(matches!(refused, Err(PullError::List(_))));
        }
        assert_eq!(fs::read(&target.logs).unwrap(), after);
    }

    // Spec: LST-16
    #[test]
    fn the_name_of_a_list_holds_no_secret_and_is_short() {
        let name = |text: &str| Source::parse(text, Path::new("/base")).name();
        for plain in [
            "https://lists.example/l",
            "http://[::1]:80/l/@2",
            "https://a.example",
        ] {
            assert_eq!(name(plain), plain);
        }
        assert_eq!(
            name("https://me:pass@lists.example/l?token=x#y"),
            "https://lists.example/l"
        );
        assert_eq!(
            name("https://a@b@lists.example?token=x"),
            "https://lists.example"
        );
        assert_eq!(name("list\u{9b}.1"), "/base/list\u{fffd}.1");
        let long = name(&format!("https://lists.example/{}", "l".repeat(10_000)));
        assert_eq!(long.chars().count(), NAME_CHARS_MAX);
    }

    // Spec: LST-15
    #[test]
    fn lists_add_no_more_than_they_may_and_leave_room_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(UnixTime::from_seconds(1_790_000_000));
        let target = Target {
            logs: dir.path().join("logs.toml"),
            ml_dsa: false,
            logs_max: 3,
        };
        Registry::create(&target.logs).unwrap();
        // What the operator adds does not count.
        let mine = origin("mine.example");
        Registry::add(&target.logs, &mine, &[key("mine.example")]).unwrap();
        let list = |names: std::ops::Range<u32>| {
            let entries = names.map(|n| entry(&key(&format!("{n}.example")), None, 24));
            ["logs/v0\n".to_owned()]
                .into_iter()
                .chain(entries)
                .collect::<String>()
        };
        let apply = |source: &str, text: &str| {
            let source = Source::Url(source.to_owned());
            target
                .apply(&source, text.as_bytes(), &clock, Mode::Apply)
                .unwrap()
        };
        let first = apply("https://a.example/l", &list(0..2));
        assert_eq!((first.added, first.oddities), (2, vec![]));
        let text = list(10..15);
        for added in [1, 0] {
            let more = apply("https://b.example/l", &text);
            assert_eq!((more.added, more.oddities), (added, vec![("no_room", 4)]));
        }
        assert_eq!(Registry::load(&target.logs).unwrap().logs().len(), 4);

        // Nor do lists take the last bytes, whoever filled the others.
        let registry = Registry::load(&target.logs).unwrap();
        let wide = Target {
            logs_max: 100,
            ..target
        };
        let text = list(20..40);
        let parsed = LogList::parse(text.as_bytes()).unwrap();
        let new: Vec<&ListedLog> = parsed.logs.iter().collect();
        let room = |bytes_max| wide.room(&new, &registry, bytes_max);
        let written = fs::read(&wide.logs).unwrap().len();
        assert!(registry.bytes_max() >= written);
        assert_eq!((room(0), room(registry.bytes_max())), (0, 0));
        assert!((1..20).contains(&room(registry.bytes_max() + 2_048)));
        assert_eq!(room(LISTED_BYTES_MAX), 20);
    }

    /// A server that never stops to send, a byte at a time; tells how many it got rid of before the
    /// other side had enough.
    fn trickling() -> (String, mpsc::Receiver<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/list", listener.local_addr().unwrap());
        let (tell, told) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let asked = BufReader::new(stream.try_clone().unwrap()).lines();
            assert!(asked.map_while(Result::ok).any(|line| line.is_empty()));
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nlogs/v0\n";
            stream.write_all(head).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut sent = 0;
            while stream.write_all(b"#").is_ok() {
                sent += 1;
                // Wait: that is what this server does.
                thread::sleep(Duration::from_millis(20));
            }
            tell.send(sent).unwrap();
        });
        (url, told)
    }

    // Spec: LST-17
    #[tokio::test]
    async fn a_list_that_trickles_is_given_up_when_its_time_is_over() {
        let (url, told) = trickling();
        let client = Client::new(ClientOptions::default()).unwrap();
        let within = Duration::from_millis(500);
        let read = Source::Url(url).read(&client, within).await;
        let Err(PullError::Fetch(ClientError::Timeout { after })) = read else {
            panic!("{read:?}");
        };
        assert_eq!(after, within);
        // It is not left open either.
        let told = move || told.recv_timeout(Duration::from_secs(60)).unwrap();
        let sent = tokio::task::spawn_blocking(told).await.unwrap();
        assert!(sent > 1, "it did not trickle, but fell silent");
        assert_eq!(
            FETCH_TIMEOUT,
            Duration::from_secs(120),
            "as spec/log-list.md says"
        );
    }

    fn origin(name: &str) -> Origin {
        Origin::parse(name).unwrap()
    }
}
