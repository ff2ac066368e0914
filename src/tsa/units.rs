//! The time-stamping units of a service: which there are, which one signs, which are closed.
//!
//! ```text
//! [[unit]]
//! chain = "keys/tsa/unit-1.pem"     the unit's certificate, then those above it, up to a root
//! key = "keys/tsa/unit-1.key"       PKCS#8 PEM; a closed unit needs none
//! pkcs11 = { … }                    or, in place of it, where the key is in a token: `pkcs11_row`
//! started = 1795000000              when, in seconds since 1970
//! closed = 1826536000               and when it ended, if it did
//! reason = "superseded"             cessation, compromise
//!
//! [[gone]]                          a unit whose files are lost: only the log knows it
//! unit = "4f00112233445566"
//! closed = 1826536000
//! reason = "compromise"
//! ```
//!
//! The file is written by `jurat init` and `jurat tsa`, and read again by the running service when
//! it changes. What it says of a start or an end becomes an entry of the log with these times, and
//! the same entry whenever it is read, so that a crash between the two leaves neither out and
//! neither twice. The file is the operator's word; what binds is the log ([`Units::under`]).

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
use tokio::sync::Semaphore;

use super::check::{SignatureCheck, Unsigned};
use super::lives::{Life, Lives, LivesError};
use super::pkcs11_row::{Pkcs11Problem, Pkcs11Row};

/// Where the key of the authority above the units is, from the directory of their file, when
/// `jurat init` made it.
pub const AUTHORITY_KEY: &str = "keys/tsa/ca.key";
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
    /// Units whose files are lost, and which are closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<GoneRow>,
}

/// One unit as it is written. Paths are relative to the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UnitRow {
    /// PEM: the unit's certificate, then those above it.
    pub chain: PathBuf,
    /// PKCS#8 PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Seconds since 1970.
    pub started: u64,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
    /// `superseded`, `cessation` or `compromise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The key's place in a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pkcs11: Option<Pkcs11Row>,
}

impl UnitRow {
    /// The unit's name, from its certificate alone: also of one whose key is out of reach.
    ///
    /// # Errors
    /// The file of certificates.
    pub fn id(&self, dir: &Path, origin: &Origin) -> Result<UnitId, UnitProblem> {
        let chain = read_chain(&dir.join(&self.chain))?;
        let certificate = chain.first().ok_or(UnitProblem::Empty)?;
        Ok(UnitId::of_certificate(
            origin,
            &sha256(certificate.as_bytes()),
        ))
    }

    // Spec: TSA-30, TSA-60
    fn load_key(&self, dir: &Path) -> Result<Arc<dyn TimestampSigner>, UnitProblem> {
        match (&self.key, &self.pkcs11) {
            (Some(file), None) => match TimestampKey::load(dir.join(file)) {
                Ok(key) => Ok(Arc::new(key)),
                Err(error) => Err(UnitProblem::Key(error)),
            },
            (None, Some(place)) => place.open(dir).map_err(UnitProblem::Pkcs11),
            _ => Err(UnitProblem::KeyPlace),
        }
    }
}

/// A unit whose files are lost, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GoneRow {
    /// Its name, 16 hex digits.
    pub unit: String,
    /// Seconds since 1970.
    pub closed: u64,
    /// `superseded`, `cessation` or `compromise`.
    pub reason: String,
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
#[derive(Clone)]
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
    /// Set before the closing is logged; read under the lock that gives places, so that no token of
    /// this unit stands after its closing.
    /// Shared by all that was read of one unit, so that a request which holds an older reading of
    /// it sees its end, and a file that takes a closing back does not.
    pub ended: Arc<AtomicBool>,
    /// Whether what the key returns is a signature.
    pub check: Arc<SignatureCheck>,
    /// Places for signatures that wait for a device.
    pub waiting: Option<Arc<Semaphore>>,
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
            None => row
                .load_key(dir)
                .map_err(|problem| problems.push(problem))
                .ok(),
        };
        if let (Some(issuing), Some(key)) = (&issuing, &key)
            && let Err(problem) = check_key(issuing, key.as_ref())
        {
            problems.push(problem);
        }
        match (issuing, started, closed) {
            (Some(issuing), Some(started), Ok(closed)) if problems.is_empty() => {
                let check = SignatureCheck::new(certificate.public_key());
                let certificate = sha256(certificate.as_bytes());
                let unit = Self {
                    id: UnitId::of_certificate(origin, &certificate),
                    issuing,
                    key: None,
                    certificate,
                    started,
                    closed,
                    ended: Arc::new(AtomicBool::new(closed.is_some())),
                    check: Arc::new(check),
                    waiting: None,
                };
                Ok(match key {
                    Some(key) => unit.with_key(key),
                    None => unit,
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

    /// The same with its key in another place.
    #[must_use]
    pub fn with_key(self, key: Arc<dyn TimestampSigner>) -> Self {
        let waiting = key
            .waiting_max()
            .map(|places| Arc::new(Semaphore::new(places)));
        Self {
            key: Some(key),
            waiting,
            ..self
        }
    }

    /// Signs. Nothing that is no signature of the certificate's key comes out, as far as it is
    /// looked at: see [`SignatureCheck`].
    ///
    /// # Errors
    /// [`Unsigned`].
    // Spec: TSA-08
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unsigned> {
        let key = self.key.as_deref().ok_or(Unsigned::Closed)?;
        self.check.sign(key, message)
    }

    /// The entries of its life that the log does not have.
    // Spec: TSA-31, TSA-36
    fn entries(&self, life: Option<&Life>) -> Vec<Entry> {
        let known = (
            life.is_some_and(|life| life.started.is_some()),
            life.is_some_and(|life| life.closed.is_some()),
        );
        let start =
            (!known.0).then(|| key_entry(self.id, self.certificate, KeyEvent::Start, self.started));
        let close = self.closed.filter(|_| !known.1);
        let close = close.map(|(time, reason)| {
            key_entry(self.id, self.certificate, KeyEvent::Close(reason), time)
        });
        start.into_iter().chain(close).collect()
    }

    /// The same as the log has it.
    // Spec: TSA-36
    fn under(&self, life: &Life, overruled: &mut Vec<Overruled>) -> Self {
        let mut unit = self.clone();
        if let Some((index, started)) = life.started
            && started != self.started
        {
            overruled.push(Overruled::Started {
                unit: self.id,
                index: index.get(),
            });
            unit.started = started;
        }
        if let Some((index, time, reason)) = life.closed {
            let index = index.get();
            match self.closed {
                None => overruled.push(Overruled::Closed {
                    unit: self.id,
                    index,
                    reason,
                }),
                Some(closed) if closed != (time, reason) => {
                    overruled.push(Overruled::ClosedOtherwise {
                        unit: self.id,
                        index,
                        reason,
                    });
                }
                Some(_) => {}
            }
            unit.closed = Some((time, reason));
            unit.key = None;
            unit.ended.store(true, Ordering::SeqCst);
        }
        unit
    }

    /// Why it must not sign at a time, if it must not.
    // Spec: TSA-32
    pub fn refuses(&self, time: GenTime) -> Option<Unusable> {
        if self.closed.is_some() || self.ended.load(Ordering::SeqCst) || self.key.is_none() {
            return Some(Unusable::Closed);
        }
        if let Err(error) = self.issuing.verify_time(time) {
            return Some(Unusable::Time(error));
        }
        // Spec: TSA-08
        if self.check.has_failed() {
            return Some(Unusable::Faulty);
        }
        // Spec: TSA-61
        let lost = self.key.as_ref().and_then(|key| key.out_of_reach());
        lost.map(Unusable::Key)
    }
}

fn key_entry(unit: UnitId, certificate: Hash, event: KeyEvent, time: UnixSeconds) -> Entry {
    Entry::Key(KeyEntry {
        event,
        purpose: KeyPurpose::TimestampUnit,
        unit,
        certificate,
        time,
    })
}

/// That a key is the certificate's. One in a token that is away now is checked when it signs.
// Spec: TSA-30, TSA-61
fn check_key(issuing: &TimestampUnit, key: &dyn TimestampSigner) -> Result<(), UnitProblem> {
    let message = b"Is this the certificate's key?";
    let signature = match key.sign(message) {
        Ok(signature) => signature,
        Err(_) if key.out_of_reach().is_some() => return Ok(()),
        Err(_) => return Err(UnitProblem::OtherKey),
    };
    issuing
        .verify(message, &signature)
        .map_err(|_| UnitProblem::OtherKey)
}

fn closing(row: &UnitRow) -> Result<Option<(UnixSeconds, CloseReason)>, ()> {
    match (row.closed, row.reason.as_deref()) {
        (None, None) => Ok(None),
        (Some(closed), Some(reason)) => {
            let time = UnixSeconds::new(closed).filter(|time| time.get() >= row.started);
            Ok(Some((time.ok_or(())?, reason_of(reason).ok_or(())?)))
        }
        _ => Err(()),
    }
}

fn reason_of(name: &str) -> Option<CloseReason> {
    CloseReason::ALL
        .into_iter()
        .find(|known| known.name() == name)
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
    /// Its key returned too many wrong signatures one after the other.
    #[error("its key returns what are no signatures of its own; nothing is asked of it any more")]
    Faulty,
    /// Its key is in a device that cannot be used now.
    #[error("its key is out of reach: {0}")]
    Key(String),
}

/// Where the log says otherwise than the file of units, and is right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overruled {
    /// The unit is open in the file.
    #[error(
        "unit {unit} is open in the file of units, but entry {index} of the log closes it \
         ({reason}): it signs nothing"
    )]
    Closed {
        /// Which.
        unit: UnitId,
        /// The closing.
        index: u64,
        /// Why.
        reason: CloseReason,
    },
    /// The unit is closed in the file, with another time or reason.
    #[error(
        "unit {unit} has another closing in the file of units than in entry {index} of the log \
         ({reason}): the log's stands"
    )]
    ClosedOtherwise {
        /// Which.
        unit: UnitId,
        /// The closing.
        index: u64,
        /// Why.
        reason: CloseReason,
    },
    /// The unit has another start in the file.
    #[error(
        "unit {unit} has another start in the file of units than in entry {index} of the log: the \
         log's stands"
    )]
    Started {
        /// Which.
        unit: UnitId,
        /// The start.
        index: u64,
    },
    /// The log knows no such unit, so there is nothing to close.
    #[error("the file of units calls {unit} gone, but the log knows no such unit")]
    Unknown {
        /// Which.
        unit: UnitId,
    },
}

/// All units of a service.
#[derive(Debug, Default)]
pub struct Units {
    list: Vec<Arc<Unit>>,
    gone: Vec<Gone>,
    lives: Lives,
    overruled: Vec<Overruled>,
}

/// A unit whose files are lost.
#[derive(Clone, Copy, Debug)]
struct Gone {
    unit: UnitId,
    closed: (UnixSeconds, CloseReason),
}

impl Gone {
    fn parse(row: &GoneRow) -> Option<Self> {
        Some(Self {
            unit: UnitId::parse(&row.unit)?,
            closed: (UnixSeconds::new(row.closed)?, reason_of(&row.reason)?),
        })
    }
}

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
        if !problems.is_empty() {
            return Err(UnitsError::Units(problems));
        }
        let mut gone = Vec::new();
        for (place, row) in file.gone.iter().enumerate() {
            gone.push(Gone::parse(row).ok_or(UnitsError::Gone { place: place + 1 })?);
        }
        Ok(Self {
            list: units,
            gone,
            ..Self::default()
        })
    }

    /// Units that are known otherwise than from a file.
    pub fn new(units: Vec<Arc<Unit>>) -> Self {
        Self {
            list: units,
            ..Self::default()
        }
    }

    /// The same as the log has it: what it closed is closed, whatever the file says.
    ///
    /// # Errors
    /// [`UnitsError::Missing`]: a unit that the log knows as open is not in the file. Whether its
    /// row was lost or its key has ended nobody can tell from here, and a closing cannot be taken
    /// back: the operator puts the row back, or closes the unit.
    // Spec: TSA-36, TSA-37
    pub fn under(mut self, lives: Lives) -> Result<Self, UnitsError> {
        let mut overruled = Vec::new();
        for unit in &mut self.list {
            if let Some(life) = lives.of(unit.id) {
                *unit = Arc::new(unit.under(life, &mut overruled));
            }
        }
        let gone = |id| self.gone.iter().any(|gone| gone.unit == id);
        let missing: Vec<_> = lives
            .open()
            .filter(|(id, _)| self.find(*id).is_none() && !gone(*id))
            .map(|(id, life)| (id, life.started.map_or(0, |(index, _)| index.get())))
            .collect();
        if !missing.is_empty() {
            return Err(UnitsError::Missing(missing));
        }
        let unknown = self.gone.iter().map(|gone| gone.unit);
        let unknown = unknown.filter(|id| lives.of(*id).is_none());
        overruled.extend(unknown.map(|unit| Overruled::Unknown { unit }));
        Ok(Self {
            lives,
            overruled,
            ..self
        })
    }

    /// The entries of a unit that the log lacks: its start, its closing.
    // Spec: TSA-31, TSA-36
    pub fn entries_of(&self, unit: &Unit) -> Vec<Entry> {
        unit.entries(self.lives.of(unit.id))
    }

    /// All that it lacks.
    // Spec: TSA-31, TSA-36, TSA-37
    pub fn entries(&self) -> Vec<Entry> {
        let units = self.list.iter();
        let mut entries: Vec<_> = units.flat_map(|unit| self.entries_of(unit)).collect();
        for Gone { unit, closed } in &self.gone {
            if let Some(life) = self.lives.of(*unit).filter(|life| life.closed.is_none()) {
                let (time, reason) = *closed;
                let event = KeyEvent::Close(reason);
                entries.push(key_entry(*unit, life.certificate, event, time));
            }
        }
        entries
    }

    /// Where the log said otherwise than the file.
    pub fn overruled(&self) -> &[Overruled] {
        &self.overruled
    }

    /// Whether serial numbers may name this unit: in the file, or in the log.
    pub fn knows(&self, id: UnitId) -> bool {
        self.find(id).is_some() || self.lives.of(id).is_some()
    }

    /// The same, where a unit that was there before has the end that it had.
    // Spec: TSA-33, TSA-35
    #[must_use]
    pub(super) fn following(mut self, before: &Self) -> Self {
        for unit in &mut self.list {
            if let Some(known) = before.find(unit.id) {
                *unit = Arc::new(Unit {
                    ended: Arc::clone(&known.ended),
                    check: Arc::clone(&known.check),
                    ..Unit::clone(unit)
                });
            }
        }
        self
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Unit>] {
        &self.list
    }

    /// The one that signs: the newest that is not closed.
    pub fn current(&self) -> Option<&Arc<Unit>> {
        self.list.iter().rev().find(|unit| unit.closed.is_none())
    }

    /// The one of this name.
    pub fn find(&self, id: UnitId) -> Option<&Arc<Unit>> {
        self.list.iter().find(|unit| unit.id == id)
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
    /// The key's place in a token.
    #[error("{0}")]
    Pkcs11(Pkcs11Problem),
    /// Neither a file nor a place in a token, or both.
    #[error("want either key or pkcs11")]
    KeyPlace,
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
    /// A row of a unit that is gone.
    #[error(
        "gone {place}: want unit (16 hex digits), closed (a time) and reason (superseded, \
         cessation, compromise)"
    )]
    Gone {
        /// Its place.
        place: usize,
    },
    /// Units that the log knows as open are not in the file, with the entries of their starts.
    #[error(
        "{}",
        .0.iter()
            .map(|(unit, index)| format!(
                "unit {unit} is open in the log (entry {index}) and not in the file of units: put \
                 its row back, or close it with `jurat tsa close --gone {unit} --reason …`"
            ))
            .collect::<Vec<_>>()
            .join("; ")
    )]
    Missing(Vec<(UnitId, u64)>),
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopped,
    /// What the log says of them is not known.
    #[error("{0}")]
    Lives(#[from] LivesError),
}
