//! The time-stamping units of a service: which there are, which one signs, which are closed.
//!
//! ```text
//! [[unit]]
//! chain = "keys/tsa/unit-1.pem"     the unit's certificate, then those above it, up to a root
//! key = "keys/tsa/unit-1.key"       PKCS#8 PEM; a closed unit needs none
//! started = 1795000000              when, in seconds since 1970
//! closed = 1826536000               and when it ended, if it did
//! reason = "superseded"             cessation, compromise
//! ```
//!
//! The file is written by `jurat init` and `jurat tsa`, and read again by the running service when
//! it changes. What it says of a start or an end becomes an entry of the log with these times, and
//! the same entry whenever it is read, so that a crash between the two leaves neither out and
//! neither twice. The file is the operator's word; what binds is the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jurat_keys::{KeyFileError, TimestampKey, TimestampSigner};
use jurat_proto::checkpoint::Origin;
use jurat_proto::entry::{CloseReason, Entry, KeyEntry, KeyEvent, KeyPurpose};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::UnixSeconds;
use jurat_proto::tsp::certificate::Certificate;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::path::{PathError, verify_chain};
use jurat_proto::tsp::signed_data::{TimestampUnit, UnitError, UnitTimeError};
use jurat_proto::tsp::tst_info::UnitId;
use serde::{Deserialize, Serialize};

/// More units than a service has in a century.
const UNITS_MAX: usize = 256;
/// A file larger than this is none of units.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The file as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UnitsFile {
    /// In the order in which they were made.
    #[serde(default)]
    pub unit: Vec<UnitRow>,
}

/// One unit as it is written. Paths are relative to the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UnitRow {
    /// PEM: the unit's certificate, then those above it.
    pub chain: PathBuf,
    /// PKCS#8 PEM.
    pub key: PathBuf,
    /// Seconds since 1970.
    pub started: u64,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
    /// `superseded`, `cessation` or `compromise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl UnitsFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`UnitsError::File`].
    pub fn read(path: &Path) -> Result<Self, UnitsError> {
        let wrong = |why: String| UnitsError::File {
            path: path.to_owned(),
            why,
        };
        let length = std::fs::metadata(path)
            .map_err(|error| wrong(error.to_string()))?
            .len();
        if length > FILE_BYTES_MAX {
            return Err(wrong(format!("{length} bytes are too many")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Self::parse(&text).map_err(wrong)
    }

    /// Parses the file's text.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if file.unit.len() > UNITS_MAX {
            return Err(format!("more than {UNITS_MAX} units"));
        }
        Ok(file)
    }

    /// The file's text.
    ///
    /// # Errors
    /// When a path is no text.
    pub fn to_text(&self) -> Result<String, toml::ser::Error> {
        let head = "# The time-stamping units, in the order in which they were made. `jurat tsa` \
                    writes this file;\n# what it says is also in the log, and only that binds.\n\n";
        Ok(format!("{head}{}", toml::to_string(self)?))
    }
}

/// A unit, checked.
pub struct Unit {
    /// As serial numbers name it.
    pub id: UnitId,
    /// Its certificate and chain, and how tokens are made with it.
    pub issuing: TimestampUnit,
    /// Its private key; none of a closed unit.
    pub key: Option<Arc<dyn TimestampSigner>>,
    /// The SHA-256 of its certificate.
    pub certificate: Hash,
    /// Since when it signs.
    pub started: UnixSeconds,
    /// Since when it does not, and why.
    pub closed: Option<(UnixSeconds, CloseReason)>,
    /// Set before the closing is logged; read in the sequencing thread, so that no token of this
    /// unit stands after its closing.
    /// Shared by all that was read of one unit, so that a request which holds an older reading of
    /// it sees its end, and a file that takes a closing back does not.
    pub ended: Arc<AtomicBool>,
}

impl Unit {
    // Spec: TSA-30, TSP-47, TSP-48
    fn load(row: &UnitRow, dir: &Path, origin: &Origin) -> Result<Self, Vec<UnitProblem>> {
        let mut problems = Vec::new();
        let chain = read_chain(&dir.join(&row.chain)).map_err(|problem| vec![problem])?;
        let Some((certificate, above)) = chain.split_first() else {
            return Err(vec![UnitProblem::Empty]);
        };
        let started = UnixSeconds::new(row.started);
        let time = GenTime::new(row.started, 0);
        if let (Some(time), true) = (time, row.closed.is_none())
            && let Err(error) = verify_chain(&chain, time)
        {
            problems.push(UnitProblem::Chain(error));
        }
        let closed = closing(row);
        let issuing = TimestampUnit::new(certificate.clone(), above.to_vec());
        let issuing = issuing
            .map_err(|error| problems.push(UnitProblem::Unit(error)))
            .ok();
        let key = match row.closed {
            Some(_) => None,
            None => TimestampKey::load(dir.join(&row.key))
                .map_err(|error| problems.push(UnitProblem::Key(error)))
                .ok(),
        };
        if let (Some(issuing), Some(key)) = (&issuing, &key) {
            let message = b"Is this the certificate's key?";
            let signature = key.sign(message).unwrap_or_default();
            if issuing.verify(message, &signature).is_err() {
                problems.push(UnitProblem::OtherKey);
            }
        }
        match (issuing, started, closed) {
            (Some(issuing), Some(started), Ok(closed)) if problems.is_empty() => {
                let certificate = sha256(certificate.as_bytes());
                Ok(Self {
                    id: UnitId::of_certificate(origin, &certificate),
                    issuing,
                    key: key.map(|key| -> Arc<dyn TimestampSigner> { Arc::new(key) }),
                    certificate,
                    started,
                    closed,
                    ended: Arc::new(AtomicBool::new(closed.is_some())),
                })
            }
            (_, started, closed) => {
                if started.is_none() || closed.is_err() {
                    problems.push(UnitProblem::Times);
                }
                Err(problems)
            }
        }
    }

    /// The entries of its life so far.
    // Spec: TSA-31
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |event, time| {
            Entry::Key(KeyEntry {
                event,
                purpose: KeyPurpose::TimestampUnit,
                unit: self.id,
                certificate: self.certificate,
                time,
            })
        };
        let start = entry(KeyEvent::Start, self.started);
        let close = self
            .closed
            .map(|(time, reason)| entry(KeyEvent::Close(reason), time));
        std::iter::once(start).chain(close).collect()
    }

    /// Why it must not sign at a time, if it must not.
    // Spec: TSA-32
    pub fn refuses(&self, time: GenTime) -> Option<Unusable> {
        if self.closed.is_some() || self.ended.load(Ordering::SeqCst) || self.key.is_none() {
            return Some(Unusable::Closed);
        }
        self.issuing.verify_time(time).err().map(Unusable::Time)
    }
}

fn closing(row: &UnitRow) -> Result<Option<(UnixSeconds, CloseReason)>, ()> {
    match (row.closed, row.reason.as_deref()) {
        (None, None) => Ok(None),
        (Some(closed), Some(reason)) => {
            let mut reasons = CloseReason::ALL.into_iter();
            let reason = reasons.find(|known| known.name() == reason).ok_or(())?;
            let time = UnixSeconds::new(closed).filter(|time| time.get() >= row.started);
            Ok(Some((time.ok_or(())?, reason)))
        }
        _ => Err(()),
    }
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit")
            .field("id", &self.id)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// Why a unit does not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Its key was closed.
    #[error("its key is closed")]
    Closed,
    /// Its certificate or the period of its key is over, or has not begun.
    #[error("{0}")]
    Time(UnitTimeError),
}

/// All units of a service.
#[derive(Debug, Default)]
pub struct Units(Vec<Arc<Unit>>);

impl Units {
    /// Reads the file and everything that it names, and checks each unit that is not closed.
    ///
    /// # Errors
    /// [`UnitsError`] with all problems; the operator is at fault.
    // Spec: TSA-30
    pub fn load(path: &Path, origin: &Origin) -> Result<Self, UnitsError> {
        let file = UnitsFile::read(path)?;
        let dir = path.parent().unwrap_or_else(|| Path::new(""));
        let mut units: Vec<Arc<Unit>> = Vec::new();
        let mut problems = Vec::new();
        for (place, row) in file.unit.iter().enumerate() {
            match Unit::load(row, dir, origin) {
                Ok(unit) if units.iter().any(|other| other.id == unit.id) => {
                    problems.push((place, UnitProblem::Twice));
                }
                Ok(unit) => units.push(Arc::new(unit)),
                Err(found) => problems.extend(found.into_iter().map(|problem| (place, problem))),
            }
        }
        if problems.is_empty() {
            Ok(Self(units))
        } else {
            Err(UnitsError::Units(problems))
        }
    }

    /// Units that are known otherwise than from a file.
    pub fn new(units: Vec<Arc<Unit>>) -> Self {
        Self(units)
    }

    /// The same, where a unit that was there before has the end that it had.
    // Spec: TSA-33, TSA-35
    #[must_use]
    pub(super) fn following(self, before: &Self) -> Self {
        let following = |unit: Arc<Unit>| match before.find(unit.id) {
            Some(known) => Arc::new(Unit {
                ended: Arc::clone(&known.ended),
                id: unit.id,
                issuing: unit.issuing.clone(),
                key: unit.key.clone(),
                certificate: unit.certificate,
                started: unit.started,
                closed: unit.closed,
            }),
            None => unit,
        };
        Self(self.0.into_iter().map(following).collect())
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Unit>] {
        &self.0
    }

    /// The one that signs: the newest that is not closed.
    pub fn current(&self) -> Option<&Arc<Unit>> {
        self.0.iter().rev().find(|unit| unit.closed.is_none())
    }

    /// The one of this name.
    pub fn find(&self, id: UnitId) -> Option<&Arc<Unit>> {
        self.0.iter().find(|unit| unit.id == id)
    }
}

/// The certificates of a file.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<Certificate>, UnitProblem> {
    let wrong = |why: String| UnitProblem::ChainFile {
        path: path.to_owned(),
        why,
    };
    let length = std::fs::metadata(path)
        .map_err(|error| wrong(error.to_string()))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(format!("{length} bytes are too many")));
    }
    let file = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    Certificate::parse_file(&file).map_err(|error| wrong(error.to_string()))
}

/// What is wrong with a unit. The operator is at fault.
#[derive(Debug, thiserror::Error)]
pub enum UnitProblem {
    /// The file of certificates.
    #[error("{}: {why}", path.display())]
    ChainFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is no certificate in it.
    #[error("its file has no certificate")]
    Empty,
    /// The chain leads to no root.
    #[error("its chain: {0}")]
    Chain(PathError),
    /// The certificate makes no unit.
    #[error("{0}")]
    Unit(UnitError),
    /// The key file.
    #[error("{0}")]
    Key(KeyFileError),
    /// The private key is another one than the certificate's.
    #[error("its private key is not the certificate's")]
    OtherKey,
    /// Times or reason.
    #[error(
        "started is no time, or closed is without a reason (superseded, cessation, compromise), \
         or before it"
    )]
    Times,
    /// The same certificate is there twice.
    #[error("its certificate is that of another unit")]
    Twice,
}

/// Why the units cannot be used. The operator is at fault; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum UnitsError {
    /// The file itself.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Units, by their place.
    #[error(
        "{}",
        .0.iter()
            .map(|(place, problem)| format!("unit {}: {problem}", place + 1))
            .collect::<Vec<_>>()
            .join("; ")
    )]
    Units(Vec<(usize, UnitProblem)>),
}
