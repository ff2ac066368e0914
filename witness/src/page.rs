//! The page for people: who runs the witness, its keys and addresses, the lists it follows, and its
//! logs with their state.
//!
//! ```text
//! GET /            the first hundred logs, by origin
//! GET /?page=3     the third hundred
//! GET /?q=example  those whose origin contains this
//! ```
//!
//! It is what the witness network calls an about page. A page costs at most one look at each origin
//! and [`LOGS_A_PAGE`] heads, however many logs there are. All that others wrote (origins, above
//! all) is escaped by the template, and the content security policy allows no script, no image and
//! no style but the one in the page.
//!
//! Out of scope: the document for programs and the `[about]` table ([`crate::about`]), how many
//! pages are made at a time ([`crate::http`]).
//!
//! Rows: `spec/witness.md` WIT-97, WIT-98.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use askama::Template;
use jurat_daemon::clock::UnixTime;
use jurat_proto::checkpoint::Origin;
use jurat_proto::decimal::parse_decimal;
use jurat_proto::hash::sha256;
use jurat_proto::key::{SignatureType, VerifierKey};
use jurat_store::registry::{Log, LogState};

use crate::C2SP_REVISION;
use crate::about::About;
use crate::cosign::Witness;
use crate::init::policy_snippet;

/// What of the logs a reader wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which page, from 1.
    page: usize,
    /// What their origins contain.
    sought: String,
}

impl Query {
    /// Parses the query of a URL, without its question mark. Other parameters are ignored.
    ///
    /// # Errors
    /// [`QueryFault`].
    pub fn parse(query: &str) -> Result<Self, QueryFault> {
        let mut parsed = Self {
            page: 1,
            sought: String::new(),
        };
        if query.len() > QUERY_BYTES_MAX {
            return Err(QueryFault::TooLong);
        }
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "page" => {
                    let page = parse_decimal(value).ok().filter(|&page| page > 0);
                    let page = page.and_then(|page| usize::try_from(page).ok());
                    parsed.page = page.ok_or(QueryFault::Page)?;
                }
                "q" => parsed.sought = form_decoded(value).ok_or(QueryFault::Encoding)?,
                _ => {}
            }
        }
        Ok(parsed)
    }

    fn link(&self, page: usize) -> String {
        let mut link = format!("?page={page}");
        if !self.sought.is_empty() {
            link.push_str("&q=");
            for byte in self.sought.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                    link.push(char::from(byte));
                } else {
                    let _ = write!(link, "%{byte:02X}");
                }
            }
        }
        link
    }
}

/// The value of a form's field: `+` is a space, `%41` an `A`; nothing when it is no UTF-8 then.
fn form_decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// What is wrong with a query. The reader is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryFault {
    /// It is too long.
    #[error("the query has more than {QUERY_BYTES_MAX} bytes")]
    TooLong,
    /// The page is none.
    #[error("page must be a number from 1")]
    Page,
    /// `q` is not encoded as forms encode.
    #[error("q is not percent-encoded UTF-8")]
    Encoding,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// There are not so many. The reader is at fault.
    #[error("there are {pages} pages")]
    NoSuchPage {
        /// How many.
        pages: usize,
    },
    /// A bug of ours.
    #[error("the page could not be made: {0}")]
    Template(askama::Error),
}

/// Makes the page. `fault` says why the witness does not sign, if it does not. Blocks: it may read
/// the disk.
///
/// # Errors
/// [`PageError`].
// Spec: WIT-97, WIT-98
pub fn render(
    witness: &Witness,
    about: &About,
    query: &Query,
    fault: Option<String>,
) -> Result<String, PageError> {
    let keys = witness.keys();
    let now = witness.wall_time();
    let total = witness.logs().current().logs().len();
    let logs = about
        .show_logs
        .then(|| Logs::of(witness, query, now))
        .transpose()?;
    let page = Page {
        name: keys.first().map_or("", |key| key.name().as_str()),
        version: env!("CARGO_PKG_VERSION"),
        revision: C2SP_REVISION,
        style: STYLE,
        faults: fault,
        keys: keys.iter().map(KeyRow::of).collect(),
        policy: policy_snippet(
            keys,
            witness.gossip().map(|gossip| gossip.vkey()),
            about.submission_url.as_deref(),
        ),
        cadence: every(about.lists_every),
        about,
        total,
        logs,
    };
    page.render().map_err(PageError::Template)
}

#[derive(Template)]
#[template(path = "about.html")]
struct Page<'a> {
    name: &'a str,
    version: &'a str,
    revision: &'a str,
    style: &'a str,
    faults: Option<String>,
    about: &'a About,
    keys: Vec<KeyRow>,
    policy: String,
    cadence: String,
    total: usize,
    logs: Option<Logs>,
}

struct KeyRow {
    kind: &'static str,
    vkey: String,
}

impl KeyRow {
    fn of(key: &VerifierKey) -> Self {
        let kind = match key.signature_type() {
            SignatureType::MlDsa44 => "ML-DSA-44",
            _ => "Ed25519",
        };
        Self {
            kind,
            vkey: key.to_string(),
        }
    }
}

struct Logs {
    sought: String,
    found: usize,
    first: usize,
    last: usize,
    previous: Option<String>,
    next: Option<String>,
    rows: Vec<Row>,
}

impl Logs {
    fn of(witness: &Witness, query: &Query, now: UnixTime) -> Result<Self, PageError> {
        let current = witness.logs().current();
        let fits = |log: &&Log| log.origin.as_str().contains(&query.sought);
        let found = if query.sought.is_empty() {
            current.logs().len()
        } else {
            current.logs().filter(fits).count()
        };
        let pages = found.div_ceil(LOGS_A_PAGE).max(1);
        if query.page > pages {
            return Err(PageError::NoSuchPage { pages });
        }
        let before = (query.page - 1) * LOGS_A_PAGE;
        let shown = current.logs().filter(fits).skip(before).take(LOGS_A_PAGE);
        let rows: Vec<Row> = shown.map(|log| Row::of(log, witness, now)).collect();
        Ok(Self {
            sought: query.sought.clone(),
            found,
            first: before + 1,
            last: before + rows.len(),
            previous: (query.page > 1).then(|| query.link(query.page - 1)),
            next: (query.page < pages).then(|| query.link(query.page + 1)),
            rows,
        })
    }
}

struct Row {
    origin: Origin,
    hash: String,
    latest: Option<LatestCell>,
    /// The size that others confirm.
    confirmed: Option<u64>,
    qpd: Option<NonZeroU32>,
    state: State,
}

struct LatestCell {
    size: u64,
    age: String,
}

impl Row {
    fn of(log: &Log, witness: &Witness, now: UnixTime) -> Self {
        let latest = witness.heads().latest(&log.origin);
        let state = match (&latest, log.state) {
            (Err(_), _) => State::Damaged,
            (_, LogState::Disabled) => State::Disabled,
            _ if witness.convicted(&log.origin).is_some() => State::Convicted,
            _ if witness.held(&log.origin).is_some() => State::Held,
            (Ok(None), _) => State::New,
            (Ok(Some(_)), _) => State::Cosigned,
        };
        let latest = latest.ok().flatten().map(|latest| LatestCell {
            size: latest.head.size.get(),
            age: age(now.seconds().saturating_sub(latest.time.get())),
        });
        Self {
            origin: log.origin.clone(),
            hash: log.origin.hash_hex(),
            latest,
            confirmed: witness
                .gossip()
                .and_then(|gossip| gossip.confirmed(&log.origin))
                .map(|(head, _)| head.size.get()),
            qpd: log.qpd,
            state,
        }
    }
}

#[derive(Clone, Copy)]
enum State {
    Cosigned,
    New,
    Disabled,
    Held,
    Convicted,
    Damaged,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            Self::Cosigned => "cosigned",
            Self::New => "nothing yet",
            Self::Disabled => "disabled",
            Self::Held => "held, until the operator decides",
            Self::Convicted => "convicted, not cosigned any more",
            Self::Damaged => "stored state damaged",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Cosigned => "good",
            Self::New | Self::Disabled => "dim",
            Self::Held | Self::Convicted | Self::Damaged => "bad",
        }
    }
}

/// A span of time in the largest unit of which there are two.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn every(interval: Duration) -> String {
    match interval.as_secs() {
        3_600 => "every hour".to_owned(),
        86_400 => "every day".to_owned(),
        604_800 => "every week".to_owned(),
        seconds => format!("every {}", age(seconds)),
    }
}

/// The content security policy of the page.
pub fn content_security_policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        format!(
            "default-src 'none'; style-src 'sha256-{}'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'",
            sha256(STYLE.as_bytes())
        )
    });
    &POLICY
}

/// The style of the page; its hash is in the policy, so the template shows it as it is.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}\
dd{margin:0;max-height:6rem;overflow:auto}\
code,pre{font-size:.8rem;overflow-wrap:anywhere}pre{white-space:pre-wrap}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid #8884;\
vertical-align:top;overflow-wrap:anywhere}\
.lines{white-space:pre-line}.dim{opacity:.7}.good{color:#188038}.bad{color:#c5221f}";

/// Rows of one page.
pub const LOGS_A_PAGE: usize = 100;

/// More than any link of ours has.
const QUERY_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_forms_write_them() {
        let query = |page, sought: &str| {
            let sought = sought.to_owned();
            Ok(Query { page, sought })
        };
        for (text, read) in [
            ("", query(1, "")),
            ("page=7", query(7, "")),
            ("q=a+b%2Fc%C3%A4&page=2&utm=x", query(2, "a b/cä")),
            ("q=", query(1, "")),
            ("page=0", Err(QueryFault::Page)),
            ("page=", Err(QueryFault::Page)),
            ("page=-1", Err(QueryFault::Page)),
            ("page=+1", Err(QueryFault::Page)),
            ("page=99999999999999999999", Err(QueryFault::Page)),
            ("q=%", Err(QueryFault::Encoding)),
            ("q=%4", Err(QueryFault::Encoding)),
            ("q=%+1", Err(QueryFault::Encoding)),
            ("q=%ff", Err(QueryFault::Encoding)),
        ] {
            assert_eq!(Query::parse(text), read, "{text}");
        }
        let long = "q".repeat(QUERY_BYTES_MAX + 1);
        assert_eq!(Query::parse(&long), Err(QueryFault::TooLong));
    }

    #[test]
    fn a_link_says_what_was_sought() {
        let sought = "a b&<\"ä";
        let query = Query {
            page: 1,
            sought: sought.to_owned(),
        };
        let link = query.link(4);
        assert_eq!(link, "?page=4&q=a%20b%26%3C%22%C3%A4");
        let read = Query::parse(&link[1..]).unwrap();
        assert_eq!((read.page, read.sought.as_str()), (4, sought));
    }

    #[test]
    fn ages_are_short() {
        let cases = [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_800, "2 days"),
        ];
        for (seconds, text) in cases {
            assert_eq!(age(seconds), text);
        }
        assert_eq!(every(Duration::from_secs(3_600)), "every hour");
        assert_eq!(every(Duration::from_secs(600)), "every 10 min");
    }
}
