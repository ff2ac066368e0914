//! A claim: which peer makes a request, so that it is served from that peer's budget and not from
//! the one that strangers share.
//!
//! ```text
//! jurat/gossip-claim@v0
//! name <witness>                      who asks
//! to <witness>                        who is asked
//! call <method> <path and query>      what, from "/gossip/v0/" on
//! body <64 hex digits>                SHA-256 of the body
//! time <decimal>
//! number <decimal>                    grows within a second
//! — <witness> <signature by the gossip key>
//! ```
//!
//! It stands in a field of the request, as the base64 of the note. The hash of the body is in it,
//! and not the body, so that who claims is known before the body is read. A claim is no permission:
//! what a peer may send, anybody may.
//!
//! In scope: the text, and when a claim counts. Out of scope: what it buys.
//!
//! Rows: `spec/gossip.md` GSP-90, GSP-91.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::{Fields, StatementError, push_field};
use crate::base64::{self, Base64Error};
use crate::hash::Hash;
use crate::hex;
use crate::key::{KeyName, UnixSeconds, VerifierKey};
use crate::note::{Note, NoteError, SignatureLine};

/// What a peer says of a request that it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who asks: the name of the witness and of its gossip key.
    pub name: KeyName,
    /// Who is asked.
    pub to: KeyName,
    /// Method and target.
    pub call: Call,
    /// SHA-256 of the body, which may be empty.
    pub body: Hash,
    /// When.
    pub time: UnixSeconds,
    /// Which of the requests of that time; it grows.
    pub number: u64,
}

/// A method and the target that it is for: a path with its query, in visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    method: String,
    target: String,
}

impl Call {
    /// A method, and a target from `/gossip/v0/` on: a prefix before it is the proxy's matter.
    ///
    /// # Errors
    /// [`ClaimError::Call`] when either is something else.
    pub fn new(method: &str, target: &str) -> Result<Self, ClaimError> {
        let is_method = matches!(method, "GET" | "POST");
        let is_visible = target.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_method || !is_visible || !target.starts_with('/') || target.len() > TARGET_BYTES_MAX
        {
            return Err(ClaimError::Call);
        }
        Ok(Self {
            method: method.into(),
            target: target.into(),
        })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

impl Claim {
    /// Parses the text of a claim.
    ///
    /// # Errors
    /// When the text is not exactly what [`Claim::to_text`] writes.
    // Spec: GSP-90
    pub fn parse_text(text: &str) -> Result<Self, ClaimError> {
        let mut fields = Fields::new(text)?;
        if fields.next_line()? != FORMAT {
            return Err(StatementError::Format.into());
        }
        let name = fields.name()?;
        let to = KeyName::parse(fields.field("to")?).map_err(StatementError::Name)?;
        let call = fields.field("call")?;
        let (method, target) = call.split_once(' ').ok_or(ClaimError::Call)?;
        let call = Call::new(method, target)?;
        let body = hex::decode(fields.field("body")?).ok();
        let body = body.and_then(|bytes| Hash::from_slice(&bytes));
        let claim = Self {
            name,
            to,
            call,
            body: body.ok_or(ClaimError::Body)?,
            time: fields.time()?,
            number: fields.number("number")?,
        };
        fields.end()?;
        Ok(claim)
    }

    /// The text, its last newline included.
    pub fn to_text(&self) -> String {
        let mut text = String::from(FORMAT);
        text.push('\n');
        push_field(&mut text, "name", &self.name);
        push_field(&mut text, "to", &self.to);
        push_field(&mut text, "call", &self.call);
        push_field(&mut text, "body", &hex::encode(self.body.as_bytes()));
        push_field(&mut text, "time", &self.time);
        push_field(&mut text, "number", &self.number);
        text
    }

    /// Whether it is about this call, to us, and of now.
    ///
    /// # Errors
    /// [`ClaimRefused`], the first that is found.
    // Spec: GSP-91
    pub fn verify_call(
        &self,
        to: &KeyName,
        call: &Call,
        now: UnixSeconds,
    ) -> Result<(), ClaimRefused> {
        if self.to != *to {
            return Err(ClaimRefused::OtherRecipient);
        }
        if self.call != *call {
            return Err(ClaimRefused::OtherCall);
        }
        if self.time.get().abs_diff(now.get()) > CLAIM_SKEW_MAX.as_secs() {
            return Err(ClaimRefused::OtherTime);
        }
        Ok(())
    }
}

/// A claim as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedClaim {
    claim: Claim,
    note: Note,
}

impl SignedClaim {
    /// Puts a signature line under a claim.
    ///
    /// # Errors
    /// When the note would be longer than a claim may be.
    pub fn new(claim: Claim, line: SignatureLine) -> Result<Self, ClaimError> {
        let note = Note::new(claim.to_text(), Vec::from([line])).map_err(ClaimError::Note)?;
        let signed = Self { claim, note };
        match signed.to_header().len() {
            bytes if bytes > CLAIM_BYTES_MAX => Err(ClaimError::TooLong { bytes }),
            _ => Ok(signed),
        }
    }

    /// Parses the value of the field. Signatures are not verified.
    ///
    /// # Errors
    /// When the value is not exactly what [`SignedClaim::to_header`] writes.
    // Spec: GSP-90
    pub fn parse_header(value: &str) -> Result<Self, ClaimError> {
        if value.len() > CLAIM_BYTES_MAX {
            return Err(ClaimError::TooLong { bytes: value.len() });
        }
        let bytes = base64::decode(value).map_err(ClaimError::Base64)?;
        let note = Note::parse(&bytes).map_err(ClaimError::Note)?;
        let claim = Claim::parse_text(note.text())?;
        if note.signatures().len() != 1 {
            return Err(ClaimError::Lines);
        }
        Ok(Self { claim, note })
    }

    /// The value of the field: the base64 of the note.
    pub fn to_header(&self) -> String {
        base64::encode(&self.note.to_bytes())
    }

    /// What is claimed.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Whether one of these keys, which are the gossip keys of a peer, signed it in its own name.
    ///
    /// # Errors
    /// [`ClaimRefused::NotSigned`].
    pub fn verify_signature(&self, keys: &[VerifierKey]) -> Result<(), ClaimRefused> {
        let signed = |line: &SignatureLine| {
            let mut keys = keys.iter().filter(|key| key.matches(line));
            keys.any(|key| {
                *key.name() == self.claim.name
                    && key.verify_note(self.note.text(), line.signature()).is_ok()
            })
        };
        if self.note.signatures().iter().any(signed) {
            Ok(())
        } else {
            Err(ClaimRefused::NotSigned)
        }
    }
}

/// The last claim of a peer that counted: each one after it is later. So nothing has to be
/// remembered of the others, and none counts twice. Peers make their requests one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastClaim(Option<(UnixSeconds, u64)>);

impl LastClaim {
    /// As if a claim of this time had counted, and each other of it: for what is not remembered of
    /// each peer.
    pub const fn until(time: UnixSeconds) -> Self {
        Self(Some((time, u64::MAX)))
    }

    /// Whether a claim comes after the last one.
    ///
    /// # Errors
    /// [`ClaimRefused::Again`].
    // Spec: GSP-91
    pub fn verify_next(&self, claim: &Claim) -> Result<(), ClaimRefused> {
        if self.0 < Some((claim.time, claim.number)) {
            Ok(())
        } else {
            Err(ClaimRefused::Again)
        }
    }

    /// Takes a claim, whose signature was verified, for the last one.
    ///
    /// # Errors
    /// As [`Self::verify_next`]: another was faster.
    pub fn take(&mut self, claim: &Claim) -> Result<(), ClaimRefused> {
        self.verify_next(claim)?;
        self.0 = Some((claim.time, claim.number));
        Ok(())
    }
}

/// Why a claim does not count. The request is served all the same, as a stranger's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimRefused {
    /// It is no claim. The sender is at fault.
    Malformed,
    /// No peer has this name. The sender is at fault, or one of the two configurations.
    UnknownPeer,
    /// It was made for another witness. The sender is at fault, or who passed it on.
    OtherRecipient,
    /// It was made for another call. The sender is at fault, a proxy, or who passed it on.
    OtherCall,
    /// It was made long ago, or is yet to be made. One of the two clocks is at fault.
    OtherTime,
    /// It is not later than one that counted. Whoever sends it again is at fault.
    Again,
    /// No key of the peer signed it. The sender is at fault, or one of the two configurations.
    NotSigned,
    /// It was made for another body. Who changed the body is at fault.
    OtherBody,
    /// Too many claims from this address did not count: this one was not looked at.
    NotLookedAt,
    /// The recipient cannot remember it across a restart yet. Its disk is at fault.
    NotKept,
}

impl ClaimRefused {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::UnknownPeer,
        Self::OtherRecipient,
        Self::OtherCall,
        Self::OtherTime,
        Self::Again,
        Self::NotSigned,
        Self::OtherBody,
        Self::NotLookedAt,
        Self::NotKept,
    ];

    /// A word for it, in answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownPeer => "unknown-peer",
            Self::OtherRecipient => "other-recipient",
            Self::OtherCall => "other-call",
            Self::OtherTime => "other-time",
            Self::Again => "again",
            Self::NotSigned => "not-signed",
            Self::OtherBody => "other-body",
            Self::NotLookedAt => "not-looked-at",
            Self::NotKept => "not-kept",
        }
    }
}

impl fmt::Display for ClaimRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for ClaimRefused {}

/// The first line.
const FORMAT: &str = "jurat/gossip-claim@v0";

/// How far the time of a claim may be from that of who is asked.
// Spec: GSP-91
pub const CLAIM_SKEW_MAX: Duration = Duration::from_secs(120);

/// The longest value of the field: some hundred bytes beside two names and a target.
// Spec: GSP-90
pub const CLAIM_BYTES_MAX: usize = 4_096;

/// The longest target: an opening's has 130 bytes and two sizes.
const TARGET_BYTES_MAX: usize = 512;

/// Why a text or a value is no claim. Whoever made it is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// The value is longer than claims are.
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The value is not base64.
    Base64(Base64Error),
    /// It is not a signed note.
    Note(NoteError),
    /// There is not one signature line.
    Lines,
    /// As for other texts of gossip.
    Statement(StatementError),
    /// The call is not a method and a path.
    Call,
    /// The hash of the body is not 64 lower-case hex digits.
    Body,
}

impl From<StatementError> for ClaimError {
    fn from(error: StatementError) -> Self {
        Self::Statement(error)
    }
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(
                    f,
                    "a claim of {bytes} bytes; at most {CLAIM_BYTES_MAX} are read"
                )
            }
            Self::Base64(error) => write!(f, "the claim is not base64: {error}"),
            Self::Note(error) => write!(f, "the claim is not a signed note: {error}"),
            Self::Lines => f.write_str("the claim has not one signature line"),
            Self::Statement(error) => error.fmt(f),
            Self::Call => f.write_str("the call is not GET or POST, a space and a path"),
            Self::Body => f.write_str("the hash of the body is not 64 lower-case hex digits"),
        }
    }
}

impl core::error::Error for ClaimError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Base64(error) => Some(error),
            Self::Note(error) => Some(error),
            Self::Statement(error) => Some(error),
            Self::TooLong { .. } | Self::Lines | Self::Call | Self::Body => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString as _;
    use alloc::vec;

    use super::*;
    use crate::hash::sha256;
    use crate::note::KeyId;

    fn name(text: &str) -> KeyName {
        KeyName::parse(text).unwrap()
    }

    fn at(seconds: u64) -> UnixSeconds {
        UnixSeconds::new(seconds).unwrap()
    }

    fn claim() -> Claim {
        Claim {
            name: name("w1.example"),
            to: name("w2.example"),
            call: Call::new("POST", "/gossip/v0/fetch").unwrap(),
            body: sha256(b"body"),
            time: at(1_790_000_000),
            number: 7,
        }
    }

    fn signed(claim: Claim) -> SignedClaim {
        let line = SignatureLine::new(claim.name.clone(), KeyId::new([1; 4]), vec![1; 64]);
        SignedClaim::new(claim, line.unwrap()).unwrap()
    }

    // Spec: GSP-90
    #[test]
    fn a_claim_has_the_lines_of_the_specification_and_no_others() {
        let body = hex::encode(sha256(b"body").as_bytes());
        let text = format!(
            "jurat/gossip-claim@v0\nname w1.example\nto w2.example\ncall POST /gossip/v0/fetch\n\
             body {body}\ntime 1790000000\nnumber 7\n"
        );
        assert_eq!(claim().to_text(), text);
        assert_eq!(Claim::parse_text(&text), Ok(claim()));
        for wrong in [
            text.replace("claim@v0", "state@v0"),
            text.replace("to w2", "to  w2"),
            text.replace("POST", "PUT"),
            text.replace(" /gossip", " gossip"),
            text.replace("/fetch", "/fe tch"),
            text.replace("/fetch", &"x".repeat(600)),
            text.replace(&body, &body.to_uppercase()),
            text.replace("number 7", "number 07"),
            text.replace("number 7\n", "number 7"),
            format!("{text}number 7\n"),
        ] {
            assert!(Claim::parse_text(&wrong).is_err(), "{wrong}");
        }
        let header = signed(claim()).to_header();
        assert_eq!(SignedClaim::parse_header(&header), Ok(signed(claim())));
        for wrong in ["", "x", &header[1..], &format!("{header}AAAA")] {
            let error = SignedClaim::parse_header(wrong).unwrap_err();
            assert!(!error.to_string().is_empty());
        }
        let two = signed(claim()).note.signatures()[0].clone();
        let other = SignatureLine::new(name("w1.example"), KeyId::new([2; 4]), vec![1]).unwrap();
        let note = Note::new(claim().to_text(), vec![two, other]).unwrap();
        let header = base64::encode(&note.to_bytes());
        assert_eq!(SignedClaim::parse_header(&header), Err(ClaimError::Lines));
        let long = "A".repeat(CLAIM_BYTES_MAX + 1);
        let bytes = long.len();
        let refused = SignedClaim::parse_header(&long);
        assert_eq!(refused, Err(ClaimError::TooLong { bytes }));
    }

    // Spec: GSP-91
    #[test]
    fn a_claim_counts_for_one_call_to_one_witness_within_two_minutes() {
        let (claim, us) = (claim(), name("w2.example"));
        let call = Call::new("POST", "/gossip/v0/fetch").unwrap();
        let time = claim.time.get();
        for (now, counts) in [
            (time, true),
            (time + 120, true),
            (time - 120, true),
            (time + 121, false),
            (time - 121, false),
        ] {
            let verified = claim.verify_call(&us, &call, at(now));
            assert_eq!(verified.is_ok(), counts, "{now}");
        }
        let others = [
            (name("w3.example"), call, ClaimRefused::OtherRecipient),
            (
                us.clone(),
                Call::new("POST", "/gossip/v0/observe").unwrap(),
                ClaimRefused::OtherCall,
            ),
            (
                us,
                Call::new("GET", "/gossip/v0/fetch").unwrap(),
                ClaimRefused::OtherCall,
            ),
        ];
        for (to, call, reason) in others {
            assert_eq!(claim.verify_call(&to, &call, claim.time), Err(reason));
        }
    }

    // Spec: GSP-91
    #[test]
    fn no_claim_counts_twice_or_after_a_later_one() {
        let of = |time, number| Claim {
            time: at(time),
            number,
            ..claim()
        };
        let mut last = LastClaim::default();
        for (time, number, counts) in [
            (10, 0, true),
            (10, 0, false),
            (10, 2, true),
            (10, 1, false),
            (9, 9, false),
            (11, 0, true),
            (10, 3, false),
        ] {
            let (claim, before) = (of(time, number), last);
            assert_eq!(last.verify_next(&claim).is_ok(), counts, "{time} {number}");
            assert_eq!(last, before, "a look changes nothing");
            assert_eq!(last.take(&claim).is_ok(), counts, "{time} {number}");
        }
    }
}
