//! What a witness says of itself: who runs it, where it is reached, and which lists it follows.
//!
//! ```text
//! GET /witness.v0.json
//! {"name": "witness.example.com/w1",
//!  "submission_url": "https://witness.example.com/",     the prefix of add-checkpoint
//!  "monitoring_url": "https://witness.example.com/",     the prefix of <origin hash>/checkpoint
//!  "verifier_keys": ["witness.example.com/w1+…", …],
//!  "software": {"name": "jurat-witness", "version": "…"},
//!  "operator": "…", "contact": "…", "url": "…", "description": "…",
//!  "log_lists": ["https://…"], "log_lists_every_s": 3600,
//!  "default_qpd": 8640000}
//! ```
//!
//! No specification defines the document. The first five members are those that sunlight's
//! witnesses serve under this name, so that whoever reads theirs can read ours; the others are what
//! the witness network asks an operator to publish. What the operator did not say is left out.
//!
//! In scope: the `[about]` table of the configuration, and the document. Out of scope: the page for
//! people ([`crate::page`]), the state of logs.
//!
//! Rows: `spec/witness.md` WIT-95, WIT-96.

use std::num::NonZeroU32;
use std::time::Duration;

use jurat_daemon::config::Problems;
use jurat_daemon::http::Uri;
use jurat_proto::key::{KeyName, VerifierKey};
use jurat_proto::log_list::is_control;
use serde::{Deserialize, Serialize};

use crate::lists::Source;

/// What an operator says about a witness.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Who runs it.
    pub operator: Option<String>,
    /// How to reach them: an address, or a URL.
    pub contact: Option<String>,
    /// More about them.
    pub url: Option<String>,
    /// What the witness is for and how it is run; lines.
    pub description: Option<String>,
    /// The prefix of add-checkpoint and sign-subtree, ending in a slash.
    pub submission_url: Option<String>,
    /// The prefix of `<origin hash>/checkpoint`, ending in a slash.
    pub monitoring_url: Option<String>,
    /// Whether the page names the logs.
    pub show_logs: bool,
    /// The lists that are followed and that everybody can have.
    pub lists: Vec<String>,
    /// How often.
    pub lists_every: Duration,
    /// How many requests a day a log may make that has no number of its own.
    pub default_qpd: Option<NonZeroU32>,
}

impl About {
    /// Adds what other tables of the configuration say: the lists, how often they are pulled, and
    /// the quota.
    #[must_use]
    pub fn with_lists(
        mut self,
        lists: &[Source],
        every: Duration,
        default_qpd: Option<NonZeroU32>,
    ) -> Self {
        let urls = lists.iter().filter_map(|source| match source {
            // One with a name or a query may hold a secret.
            Source::Url(url) if check_url(url).is_ok() => Some(url.clone()),
            Source::Url(_) | Source::File(_) => None,
        });
        self.lists = urls.collect();
        self.lists_every = every;
        self.default_qpd = default_qpd;
        self
    }

    /// The document at `/witness.v0.json`.
    // Spec: WIT-95, WIT-96
    pub fn document(
        &self,
        name: &KeyName,
        keys: &[VerifierKey],
        gossip: Option<&VerifierKey>,
    ) -> Document<'_> {
        let listed = !self.lists.is_empty();
        Document {
            name: name.to_string(),
            submission_url: self.submission_url.as_deref(),
            monitoring_url: self.monitoring_url.as_deref(),
            verifier_keys: keys.iter().map(VerifierKey::to_string).collect(),
            gossip_key: gossip.map(VerifierKey::to_string),
            software: Software {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
            },
            operator: self.operator.as_deref(),
            contact: self.contact.as_deref(),
            url: self.url.as_deref(),
            description: self.description.as_deref(),
            log_lists: &self.lists,
            log_lists_every_s: listed.then_some(self.lists_every.as_secs()),
            default_qpd: self.default_qpd,
        }
    }
}

/// The document at `/witness.v0.json`.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    submission_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    monitoring_url: Option<&'a str>,
    verifier_keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gossip_key: Option<String>,
    software: Software,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    log_lists: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    log_lists_every_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_qpd: Option<NonZeroU32>,
}

#[derive(Debug, Serialize)]
struct Software {
    name: &'static str,
    version: &'static str,
}

/// Where the document is.
pub(crate) const PATH: &str = "/witness.v0.json";

/// Whether a document is that of the witness that has these keys, or had them: it names no other
/// ones. Whoever wants to can copy it, so this finds mistakes, not liars.
///
/// # Errors
/// [`NotOurs`]. Who gave the address is at fault, or who serves there.
// Spec: GSP-221
pub(crate) fn verify_ours(document: &[u8], own: &[VerifierKey]) -> Result<(), NotOurs> {
    let said: Said = serde_json::from_slice(document).map_err(|_| NotOurs::NotADocument)?;
    if said.verifier_keys.is_empty() {
        return Err(NotOurs::NoKey);
    }
    for vkey in said.verifier_keys {
        let key = VerifierKey::parse(&vkey);
        if !key.is_ok_and(|key| own.contains(&key)) {
            let vkey = vkey.chars().take(SHOWN_MAX).collect();
            return Err(NotOurs::OtherKey { vkey });
        }
    }
    Ok(())
}

/// What a document has to say, of whatever software it is.
#[derive(Deserialize)]
struct Said {
    verifier_keys: Vec<String>,
}

/// Of a key that is not ours: the whole of an Ed25519 one.
const SHOWN_MAX: usize = 300;

/// Why a document is not that of this witness.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NotOurs {
    /// It is no such document.
    #[error("/witness.v0.json is no document of a witness")]
    NotADocument,
    /// It names no key.
    #[error("/witness.v0.json names no key")]
    NoKey,
    /// It names a key that is none of ours.
    #[error("it has the key {vkey:?}, which is not in the configuration")]
    OtherKey {
        /// The beginning of the key, as the document has it.
        vkey: String,
    },
}

/// The `[about]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawAbout {
    operator: Option<String>,
    contact: Option<String>,
    url: Option<String>,
    description: Option<String>,
    submission_url: Option<String>,
    monitoring_url: Option<String>,
    show_logs: bool,
}

impl Default for RawAbout {
    fn default() -> Self {
        Self {
            operator: None,
            contact: None,
            url: None,
            description: None,
            submission_url: None,
            monitoring_url: None,
            show_logs: true,
        }
    }
}

impl RawAbout {
    /// What the table says; what is wrong with it goes to `problems`, and is left out.
    pub fn resolve(&self, problems: &mut Problems) -> About {
        let mut text = |key: &str, value: &Option<String>, bytes_max: usize, lines: bool| {
            let value = value.as_ref()?;
            let right = format!("1 to {bytes_max} bytes of text, without control characters");
            let checked = check_text(value, bytes_max, lines);
            problems.take(&format!("about.{key}"), checked, &right)
        };
        let operator = text("operator", &self.operator, LINE_BYTES_MAX, false);
        let contact = text("contact", &self.contact, LINE_BYTES_MAX, false);
        let description = text(
            "description",
            &self.description,
            DESCRIPTION_BYTES_MAX,
            true,
        );
        let mut url = |key: &str, value: &Option<String>| {
            let value = value.as_ref()?;
            let right = "a URL, as https://witness.example.com/";
            problems.take(&format!("about.{key}"), check_url(value), right)?;
            Some(value.clone())
        };
        // Both ways to write a prefix are common; joining is simpler with one.
        let prefix = |url: String| format!("{}/", url.trim_end_matches('/'));
        About {
            operator,
            contact,
            description,
            url: url("url", &self.url),
            submission_url: url("submission_url", &self.submission_url).map(prefix),
            monitoring_url: url("monitoring_url", &self.monitoring_url).map(prefix),
            show_logs: self.show_logs,
            ..About::default()
        }
    }
}

fn check_text(text: &str, bytes_max: usize, lines: bool) -> Result<String, TextFault> {
    if text.trim().is_empty() {
        return Err(TextFault::Empty);
    }
    if text.len() > bytes_max {
        return Err(TextFault::TooLong { bytes: text.len() });
    }
    let bad = |c: char| is_control(c) && !(lines && c == '\n');
    match text.trim_end_matches('\n').chars().find(|&c| bad(c)) {
        Some(character) => Err(TextFault::Control { character }),
        None => Ok(text.trim().to_owned()),
    }
}

/// Checks a URL that others shall follow: `http` or `https`, a host, no query, no fragment, and
/// nothing that needs escaping where it is shown.
///
/// # Errors
/// What is wrong with it; the operator is at fault.
pub fn check_url(text: &str) -> Result<(), UrlFault> {
    if text.len() > LINE_BYTES_MAX {
        return Err(UrlFault::TooLong { bytes: text.len() });
    }
    let bad = |c: char| !c.is_ascii_graphic() || r#""'<>\^`{|}?#@"#.contains(c);
    if let Some(character) = text.chars().find(|&c| bad(c)) {
        return Err(UrlFault::Character { character });
    }
    let uri: Uri = text.parse().map_err(|_| UrlFault::NotAUrl)?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(()),
        _ => Err(UrlFault::NotAUrl),
    }
}

/// What is wrong with a text. The operator is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// There is none.
    #[error("it is empty")]
    Empty,
    /// It is too long.
    #[error("it has {bytes} bytes")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// It has what no page should show.
    #[error("it has the control character {character:?}")]
    Control {
        /// Which.
        character: char,
    },
}

/// What is wrong with a URL. The operator is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// It is too long.
    #[error("it has {bytes} bytes")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// It has what a prefix cannot have.
    #[error("it has the character {character:?}")]
    Character {
        /// Which.
        character: char,
    },
    /// It has another form.
    #[error("it is no http or https URL")]
    NotAUrl,
}

/// For a name, an address or a URL.
const LINE_BYTES_MAX: usize = 512;

/// For a few paragraphs.
const DESCRIPTION_BYTES_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn urls_that_need_no_care_where_they_are_shown_are_taken() {
        for url in [
            "https://w.example",
            "http://127.0.0.1:8419/w/",
            "https://[::1]/%20",
        ] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        let character = |character| Err(UrlFault::Character { character });
        for (url, refused) in [
            ("", Err(UrlFault::NotAUrl)),
            ("w.example", Err(UrlFault::NotAUrl)),
            ("/w", Err(UrlFault::NotAUrl)),
            ("javascript:alert(1)", Err(UrlFault::NotAUrl)),
            ("ftp://w.example/", Err(UrlFault::NotAUrl)),
            ("https://w.example/?x", character('?')),
            ("https://w.example/#x", character('#')),
            ("https://me@w.example/", character('@')),
            ("https://w.example/\"", character('"')),
            ("https://w.example/ x", character(' ')),
            ("https://w.example/ä", character('ä')),
        ] {
            assert_eq!(check_url(url), refused, "{url}");
        }
        let long = format!("https://w.example/{}", "a".repeat(500));
        assert_eq!(check_url(&long), Err(UrlFault::TooLong { bytes: 518 }));
    }

    #[test]
    fn each_bad_field_is_told_and_left_out() {
        let raw = RawAbout {
            operator: Some("\u{202e}evil".to_owned()),
            contact: Some(" ".to_owned()),
            url: Some("w.example".to_owned()),
            description: Some("two\nlines\n".to_owned()),
            submission_url: Some("https://w.example/w".to_owned()),
            monitoring_url: Some("https://w.example//".to_owned()),
            show_logs: true,
        };
        let mut problems = Problems::new(Path::new("w.toml"));
        let about = raw.resolve(&mut problems);
        let told = problems.to_string();
        for part in ["about.operator: ", "about.contact: ", "about.url: "] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(about.operator, None);
        assert_eq!(about.description.as_deref(), Some("two\nlines"));
        assert_eq!(
            about.submission_url.as_deref(),
            Some("https://w.example/w/")
        );
        assert_eq!(about.monitoring_url.as_deref(), Some("https://w.example/"));
    }

    // Spec: WIT-96
    #[test]
    fn what_may_be_private_is_not_published_and_what_was_not_said_is_left_out() {
        let name = KeyName::parse("w.example").unwrap();
        let sources = [
            Source::File(PathBuf::from("/srv/list")),
            Source::Url("https://lists.example/l".to_owned()),
            Source::Url("https://me:secret@lists.example/l".to_owned()),
            Source::Url("https://lists.example/l?token=secret".to_owned()),
        ];
        let hour = Duration::from_secs(3600);
        let about = About::default().with_lists(&sources, hour, None);
        let document = serde_json::to_value(about.document(&name, &[], None)).unwrap();
        let wanted = serde_json::json!({
            "name": "w.example",
            "verifier_keys": [],
            "software": {"name": "jurat-witness", "version": env!("CARGO_PKG_VERSION")},
            "log_lists": ["https://lists.example/l"],
            "log_lists_every_s": 3600,
        });
        assert_eq!(document, wanted);
    }
}
