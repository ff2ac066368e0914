//! [`Pkcs11Key`]: the key of a time-stamping unit in a token of PKCS #11 (an HSM, a smart card).
//!
//! ```text
//! sign ─▶ queue ─┬▶ worker: session, key ─▶ C_Sign ─▶ answer
//!   (bounded)    ├▶ worker …                          (within ten seconds, or an error)
//!                └▶ when nothing comes: is the token still there?
//! ```
//!
//! In scope: finding the token by its label and the key by its, sessions and logins, what happens
//! when the token goes away and comes back, and making a key in a token. Out of scope: what is
//! signed; whether the key is a certificate's, which a signature shows.
//!
//! - A library of PKCS #11 is the vendor's code in this process, and may block for ever. So each
//!   session has a thread of its own, and nobody waits for one beyond [`ANSWER_WAIT`].
//! - The library is loaded once and stays: it may not be initialised twice in a process, and
//!   those that were unloaded are known to crash when the process ends.
//! - When no session can be had, the library is ended and begun again, which is what most of them
//!   need to see a token that came back. Handles of before are not used after that: the library
//!   gives their numbers to others.
//! - A PIN that the token refused is not tried again until the file has another one: a few more
//!   tries would lock the token.
//!
//! Rows: `spec/keys.md`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Digest, SHA256, SHA384, digest};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Fault, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use jurat_proto::key::SignerError;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::file::{self, FileError};
use crate::timestamp_key::TimestampSigner;

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs11Location {
    /// The vendor's library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label.
    pub label: String,
    /// A file with the user's PIN, for its owner alone.
    pub pin_file: PathBuf,
    /// Sessions at once, [`SESSIONS_MAX`] at most.
    pub sessions: u8,
}

/// The most sessions of one key.
pub const SESSIONS_MAX: u8 = 64;
/// Signatures that may wait for each session.
const WAITING_FOR_EACH: usize = 16;
/// How long a signature may take, its wait for a session included.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How often the token is looked for while it is away.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is made to sign while nobody asks, so that a loss is known before a request fails.
const IDLE_CHECK_EVERY: Duration = Duration::from_secs(10);
/// What it signs then: no attributes that a token of ours could have.
const IDLE_MESSAGE: &[u8] = b"Is the key still there?";

/// A key in a token.
pub struct Pkcs11Key {
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
}

/// What the workers of one key have in common.
struct Shared {
    location: Pkcs11Location,
    module: Arc<Module>,
    jobs: Mutex<Receiver<Job>>,
    reach: Mutex<Reach>,
    refused_pin: Mutex<Option<Zeroizing<String>>>,
}

struct Job {
    message: Vec<u8>,
    answer: SyncSender<Result<Vec<u8>, Pkcs11Error>>,
}

/// Whether the key can be used, as far as is known.
struct Reach {
    lost: Option<String>,
    /// When a session last signed, or last tried to.
    looked: Option<Instant>,
}

impl Pkcs11Key {
    /// The key at a place, whether or not its token is there now. Within a process each place has
    /// one, with its sessions.
    ///
    /// # Errors
    /// [`Pkcs11Error::Module`] when the library cannot be loaded, [`Pkcs11Error::Threads`].
    // Spec: KEY-31
    pub fn open(location: &Pkcs11Location) -> Result<Arc<Self>, Pkcs11Error> {
        static OPEN: Mutex<Vec<Weak<Pkcs11Key>>> = Mutex::new(Vec::new());
        let mut open = locked(&OPEN);
        open.retain(|key| key.strong_count() > 0);
        let known = open.iter().filter_map(Weak::upgrade);
        if let Some(key) = known
            .into_iter()
            .find(|key| key.shared.location == *location)
        {
            return Ok(key);
        }
        let module = Module::load(&location.module)?;
        let sessions = location.sessions.clamp(1, SESSIONS_MAX);
        let (jobs, waiting) = sync_channel(usize::from(sessions) * WAITING_FOR_EACH);
        let shared = Arc::new(Shared {
            location: location.clone(),
            module,
            jobs: Mutex::new(waiting),
            reach: Mutex::new(Reach {
                lost: None,
                looked: None,
            }),
            refused_pin: Mutex::new(None),
        });
        for _ in 0..sessions {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("pkcs11".to_owned())
                .spawn(move || work(&shared))
                .map_err(|error| Pkcs11Error::Threads(error.to_string()))?;
        }
        let key = Arc::new(Self { jobs, shared });
        open.push(Arc::downgrade(&key));
        Ok(key)
    }

    /// Makes a key in a token that never leaves it, and gives its public key: a
    /// `SubjectPublicKeyInfo` in DER.
    ///
    /// # Errors
    /// [`Pkcs11Error`]; when the token has a key of this label already nothing is made.
    // Spec: KEY-34
    pub fn generate(location: &Pkcs11Location, curve: Pkcs11Curve) -> Result<Vec<u8>, Pkcs11Error> {
        let module = Module::load(&location.module)?;
        let context = module.read();
        let slot = find_slot(&context.pkcs11, &location.token)?;
        let session = context.pkcs11.open_rw_session(slot)?;
        let pin = read_pin(&location.pin_file)?;
        match session.login(UserType::User, Some(&auth_pin(&pin))) {
            Ok(()) | Err(Fault::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(fault) => return Err(fault.into()),
        }
        let label = Attribute::Label(location.label.clone().into_bytes());
        if !session
            .find_objects(std::slice::from_ref(&label))?
            .is_empty()
        {
            return Err(Pkcs11Error::KeyExists {
                label: location.label.clone(),
            });
        }
        let id = Attribute::Id(location.label.clone().into_bytes());
        let public = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(curve.oid().to_vec()),
            label.clone(),
            id.clone(),
        ];
        // Spec: KEY-34. It cannot be read out, also not wrapped, and is for signatures alone.
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Decrypt(false),
            Attribute::Derive(false),
            Attribute::Unwrap(false),
            label,
            id,
        ];
        let (public, _) =
            session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
        let point = session
            .get_attributes(public, &[AttributeType::EcPoint])?
            .into_iter()
            .find_map(|attribute| match attribute {
                Attribute::EcPoint(point) => Some(point),
                _ => None,
            });
        let point = point.ok_or(Pkcs11Error::PublicKey)?;
        let public_key = curve.public_key(&point);
        public_key.ok_or(Pkcs11Error::PublicKey)
    }
}

/// The curve of a key in a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pkcs11Curve {
    /// With SHA-256.
    #[default]
    P256,
    /// With SHA-384.
    P384,
}

impl Pkcs11Curve {
    /// The OBJECT IDENTIFIER in DER, as tokens name a curve.
    fn oid(self) -> &'static [u8] {
        match self {
            Self::P256 => &P256_OID,
            Self::P384 => &P384_OID,
        }
    }

    /// The octets of a coordinate, and of each number of a signature.
    fn octets(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// The digest that the token signs.
    fn digest(self, message: &[u8]) -> Digest {
        match self {
            Self::P256 => digest(&SHA256, message),
            Self::P384 => digest(&SHA384, message),
        }
    }

    /// `SubjectPublicKeyInfo` of a point as tokens give it: a DER OCTET STRING, or, with some, its
    /// content alone.
    fn public_key(self, given: &[u8]) -> Option<Vec<u8>> {
        let length = 1 + 2 * self.octets();
        let point = match given {
            [0x04, octets, point @ ..]
                if point.len() == length && usize::from(*octets) == length =>
            {
                point
            }
            point => point,
        };
        let head: &[u8] = match self {
            Self::P256 => &P256_SPKI,
            Self::P384 => &P384_SPKI,
        };
        let is_point = point.len() == length && point.first() == Some(&0x04);
        is_point.then(|| [head, point].concat())
    }

    /// What a token gives as a signature, in DER.
    fn signature(self, raw: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        raw.split_at_checked(self.octets())
            .filter(|(_, s)| s.len() == self.octets())
            .map(|(r, s)| der_signature(r, s))
            .ok_or(Pkcs11Error::Signature { curve: self })
    }
}

impl fmt::Display for Pkcs11Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        })
    }
}

impl TimestampSigner for Pkcs11Key {
    // Spec: KEY-32, KEY-33
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let (answer, answered) = sync_channel(1);
        let job = Job {
            message: message.to_vec(),
            answer,
        };
        let result = match self.jobs.try_send(job) {
            Err(TrySendError::Full(_)) => Err(Pkcs11Error::Busy),
            Err(TrySendError::Disconnected(_)) => Err(Pkcs11Error::Silent),
            Ok(()) => answered.recv_timeout(ANSWER_WAIT).unwrap_or_else(|_| {
                self.shared.looked(Some(&Pkcs11Error::Silent));
                Err(Pkcs11Error::Silent)
            }),
        };
        result.map_err(|error| SignerError::new(error.to_string()))
    }

    fn is_slow(&self) -> bool {
        true
    }

    fn waiting_max(&self) -> Option<usize> {
        let sessions = self.shared.location.sessions.clamp(1, SESSIONS_MAX);
        Some(usize::from(sessions) * WAITING_FOR_EACH)
    }

    fn out_of_reach(&self) -> Option<String> {
        locked(&self.shared.reach).lost.clone()
    }
}

impl fmt::Debug for Pkcs11Key {
    // Spec: KEY-21
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pkcs11Location { token, label, .. } = &self.shared.location;
        write!(f, "Pkcs11Key({label} in {token})")
    }
}

impl Shared {
    /// What the last attempt says.
    fn looked(&self, failed: Option<&Pkcs11Error>) {
        let mut reach = locked(&self.reach);
        reach.lost = failed.map(|error| {
            let Pkcs11Location { token, label, .. } = &self.location;
            format!("the key {label} in the token {token}: {error}")
        });
        reach.looked = Some(Instant::now());
    }

    /// Whether the token should be looked at though nobody asks.
    fn is_due(&self) -> bool {
        let reach = locked(&self.reach);
        let after = match reach.lost {
            Some(_) => LOOK_EVERY,
            None => IDLE_CHECK_EVERY,
        };
        reach.looked.is_none_or(|looked| looked.elapsed() >= after)
    }
}

/// A worker: one session, until nobody has the key any more.
fn work(shared: &Shared) {
    let mut session = None;
    loop {
        // The one that waits for work holds the lock; the others wait for it.
        let job = locked(&shared.jobs).recv_timeout(LOOK_EVERY);
        match job {
            Ok(job) => {
                let signed = sign_with(shared, &mut session, &job.message);
                shared.looked(signed.as_ref().err());
                // Whoever asked may have given up.
                drop(job.answer.try_send(signed));
            }
            Err(RecvTimeoutError::Timeout) if shared.is_due() => {
                let signed = sign_with(shared, &mut session, IDLE_MESSAGE);
                shared.looked(signed.as_ref().err());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                if let Some(session) = session {
                    session.close(&shared.module);
                }
                return;
            }
        }
    }
}

/// Signs in a session that is open, or else in a new one, or else after the library has been begun
/// again.
// Spec: KEY-33
fn sign_with(
    shared: &Shared,
    open: &mut Option<Opened>,
    message: &[u8],
) -> Result<Vec<u8>, Pkcs11Error> {
    let mut failed = None;
    if let Some(session) = open.take() {
        match session.sign(&shared.module, message) {
            Ok(signature) => {
                *open = Some(session);
                return Ok(signature);
            }
            Err(error) => {
                session.close(&shared.module);
                failed = Some(error);
            }
        }
    }
    let begun = shared.module.read().generation;
    for attempt in 0..2 {
        let fresh =
            Opened::open(shared).and_then(|session| match session.sign(&shared.module, message) {
                Ok(signature) => Ok((session, signature)),
                Err(error) => {
                    session.close(&shared.module);
                    Err(error)
                }
            });
        match fresh {
            Ok((session, signature)) => {
                *open = Some(session);
                return Ok(signature);
            }
            // To begin again would help none of these, and disturb the other sessions.
            Err(error) if error.is_settled() => return Err(error),
            Err(error) => failed = Some(error),
        }
        if attempt == 0 {
            shared.module.begin_again(begun)?;
        }
    }
    Err(failed.unwrap_or(Pkcs11Error::Silent))
}

/// A session that is logged in, and the key in it.
struct Opened {
    session: Session,
    key: ObjectHandle,
    kind: Kind,
    generation: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    Ec(Pkcs11Curve),
    Rsa,
}

impl Opened {
    fn open(shared: &Shared) -> Result<Self, Pkcs11Error> {
        let location = &shared.location;
        let context = shared.module.read();
        let slot = find_slot(&context.pkcs11, &location.token)?;
        // Not closed by being dropped: after the library was begun again the number may be that of
        // another session.
        let session = context.pkcs11.open_ro_session_no_drop(slot)?;
        let found = log_in(shared, &session).and_then(|()| find_key(&session, location));
        match found {
            Ok((key, kind)) => Ok(Self {
                session,
                key,
                kind,
                generation: context.generation,
            }),
            Err(error) => {
                drop(session.close());
                Err(error)
            }
        }
    }

    fn sign(&self, module: &Module, message: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
        let context = module.read();
        if context.generation != self.generation {
            return Err(Pkcs11Error::BegunAgain);
        }
        match self.kind {
            // Spec: KEY-30
            Kind::Ec(curve) => {
                let hash = curve.digest(message);
                let raw = self
                    .session
                    .sign(&Mechanism::Ecdsa, self.key, hash.as_ref())?;
                curve.signature(&raw)
            }
            Kind::Rsa => Ok(self
                .session
                .sign(&Mechanism::Sha256RsaPkcs, self.key, message)?),
        }
    }

    fn close(self, module: &Module) {
        let context = module.read();
        if context.generation == self.generation {
            // A session that cannot be closed is gone.
            drop(self.session.close());
        }
    }
}

// Spec: KEY-32
fn log_in(shared: &Shared, session: &Session) -> Result<(), Pkcs11Error> {
    let pin = read_pin(&shared.location.pin_file)?;
    let mut refused = locked(&shared.refused_pin);
    if refused.as_ref() == Some(&pin) {
        return Err(Pkcs11Error::PinRefused);
    }
    match session.login(UserType::User, Some(&auth_pin(&pin))) {
        Ok(()) | Err(Fault::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
            *refused = None;
            Ok(())
        }
        Err(Fault::Pkcs11(
            RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked,
            _,
        )) => {
            *refused = Some(pin);
            Err(Pkcs11Error::PinRefused)
        }
        Err(fault) => Err(fault.into()),
    }
}

// Spec: KEY-30
fn find_slot(pkcs11: &Pkcs11, token: &str) -> Result<Slot, Pkcs11Error> {
    let mut found = None;
    for slot in pkcs11.get_slots_with_token()? {
        // One slot that cannot be asked must not hide the others.
        let Ok(info) = pkcs11.get_token_info(slot) else {
            continue;
        };
        if info.label().trim_end() == token && found.replace(slot).is_some() {
            return Err(Pkcs11Error::TokensAlike {
                token: token.to_owned(),
            });
        }
    }
    found.ok_or_else(|| Pkcs11Error::NoToken {
        token: token.to_owned(),
    })
}

// Spec: KEY-30
fn find_key(
    session: &Session,
    location: &Pkcs11Location,
) -> Result<(ObjectHandle, Kind), Pkcs11Error> {
    let label = location.label.clone();
    let wanted = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Label(label.clone().into_bytes()),
    ];
    let keys = session.find_objects(&wanted)?;
    let key = match keys.as_slice() {
        [] => return Err(Pkcs11Error::NoKey { label }),
        [key] => *key,
        _ => return Err(Pkcs11Error::KeysAlike { label }),
    };
    let kind = session.get_attributes(key, &[AttributeType::KeyType])?;
    match kind.as_slice() {
        [Attribute::KeyType(KeyType::EC)] => Ok((key, Kind::Ec(curve(session, key, label)?))),
        [Attribute::KeyType(KeyType::RSA)] => Ok((key, Kind::Rsa)),
        _ => Err(Pkcs11Error::Kind { label }),
    }
}

/// The curve of a key. Tokens must say it of private keys, too; one that does not is asked for the
/// public key. Where nothing is said it is P-256: a signature is verified before it is used.
// Spec: KEY-30
fn curve(session: &Session, key: ObjectHandle, label: String) -> Result<Pkcs11Curve, Pkcs11Error> {
    let public = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Label(label.clone().into_bytes()),
    ];
    let mut said = session.get_attributes(key, &[AttributeType::EcParams])?;
    if params(&said).is_none()
        && let [public] = session.find_objects(&public)?.as_slice()
    {
        said = session.get_attributes(*public, &[AttributeType::EcParams])?;
    }
    curve_said(&said).ok_or(Pkcs11Error::Kind { label })
}

/// What is said of a curve. Some tokens say it with no bytes of what they do not know.
fn params(said: &[Attribute]) -> Option<&[u8]> {
    said.iter().find_map(|attribute| match attribute {
        Attribute::EcParams(params) if !params.is_empty() => Some(params.as_slice()),
        _ => None,
    })
}

/// `None` for a curve that is none of ours.
// Spec: KEY-30
fn curve_said(said: &[Attribute]) -> Option<Pkcs11Curve> {
    let known = [Pkcs11Curve::P256, Pkcs11Curve::P384];
    match params(said) {
        Some(params) => known.into_iter().find(|curve| curve.oid() == params),
        None => Some(Pkcs11Curve::P256),
    }
}

// Spec: KEY-10, KEY-32
fn read_pin(path: &Path) -> Result<Zeroizing<String>, Pkcs11Error> {
    let text = file::read_secret(path).map_err(|problem| Pkcs11Error::PinFile {
        path: path.to_owned(),
        problem: Arc::new(problem),
    })?;
    Ok(Zeroizing::new(
        text.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

fn auth_pin(pin: &Zeroizing<String>) -> AuthPin {
    AuthPin::new(pin.as_str().into())
}

/// Ends the libraries that were loaded, for good, before the process ends: `SoftHSM` and others
/// fall over their own destructors when they are still begun, or in the middle of a call. One whose
/// call does not come back in time is left as it is.
pub fn end_pkcs11() {
    for module in locked(&LOADED).iter() {
        for _ in 0..END_TRIES {
            if let Ok(context) = module.context.try_write() {
                drop(context.pkcs11.clone().finalize());
                // Whoever waits to call it waits until the process is gone.
                std::mem::forget(context);
                break;
            }
            std::thread::sleep(END_STEP);
        }
    }
}

/// A second in all, for each library.
const END_TRIES: u32 = 100;
const END_STEP: Duration = Duration::from_millis(10);

/// The libraries of this process; none is unloaded.
static LOADED: Mutex<Vec<Arc<Module>>> = Mutex::new(Vec::new());

/// A library, loaded and initialised.
struct Module {
    path: PathBuf,
    context: RwLock<Context>,
}

/// Read by those that call the library, written by the one that ends and begins it.
struct Context {
    pkcs11: Pkcs11,
    /// How often it was begun.
    generation: u64,
}

impl Module {
    fn load(path: &Path) -> Result<Arc<Self>, Pkcs11Error> {
        let mut loaded = locked(&LOADED);
        if let Some(module) = loaded.iter().find(|module| module.path == path) {
            return Ok(Arc::clone(module));
        }
        let failed = |fault: Fault| Pkcs11Error::Module {
            path: path.to_owned(),
            why: fault.to_string(),
        };
        let pkcs11 = Pkcs11::new(path).map_err(failed)?;
        pkcs11.initialize(arguments()).map_err(failed)?;
        let module = Arc::new(Self {
            path: path.to_owned(),
            context: RwLock::new(Context {
                pkcs11,
                generation: 0,
            }),
        });
        loaded.push(Arc::clone(&module));
        Ok(module)
    }

    fn read(&self) -> RwLockReadGuard<'_, Context> {
        self.context.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the library and begins it, unless somebody did so since `generation`.
    fn begin_again(&self, generation: u64) -> Result<(), Pkcs11Error> {
        let mut context: RwLockWriteGuard<'_, _> =
            self.context.write().unwrap_or_else(PoisonError::into_inner);
        if context.generation != generation {
            return Ok(());
        }
        context.generation += 1;
        // One that cannot be ended may still be begun, or never was.
        drop(context.pkcs11.clone().finalize());
        match context.pkcs11.initialize(arguments()) {
            Ok(()) | Err(Fault::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }
}

fn arguments() -> CInitializeArgs {
    CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `ECDSA-Sig-Value` of two numbers of at most 48 octets.
fn der_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|&&octet| octet == 0).count();
        let digits = number.get(zeros..).unwrap_or_default();
        let mut content = Vec::with_capacity(49);
        if digits.first().is_none_or(|&first| first >= 0x80) {
            content.push(0);
        }
        content.extend_from_slice(digits);
        content
    };
    let mut inside = Vec::with_capacity(102);
    for number in [r, s] {
        let content = integer(number);
        inside.push(0x02);
        // 49 octets at most, and 102 for both: lengths of one octet.
        inside.push(u8::try_from(content.len()).unwrap_or_default());
        inside.extend_from_slice(&content);
    }
    let mut der = vec![0x30, u8::try_from(inside.len()).unwrap_or_default()];
    der.extend_from_slice(&inside);
    der
}

/// The OBJECT IDENTIFIER of P-256, in DER: 1.2.840.10045.3.1.7.
const P256_OID: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// What stands before the point in the `SubjectPublicKeyInfo` of a P-256 key.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The OBJECT IDENTIFIER of P-384, in DER: 1.3.132.0.34.
const P384_OID: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];

/// What stands before the point in the `SubjectPublicKeyInfo` of a P-384 key.
const P384_SPKI: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

/// Why a key in a token cannot be used. The operator is at fault, or the device.
#[derive(Clone, Debug, Error)]
pub enum Pkcs11Error {
    /// The library.
    #[error("cannot load the PKCS #11 library {}: {why}", .path.display())]
    Module {
        /// Its file.
        path: PathBuf,
        /// What the system or the library says.
        why: String,
    },
    /// The system gave no threads.
    #[error("cannot start the threads for its sessions: {0}")]
    Threads(String),
    /// The file of the PIN.
    #[error("{}: {problem}", .path.display())]
    PinFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Arc<FileError>,
    },
    /// The token took the PIN for a wrong one.
    #[error("the token refuses the PIN; it is not tried again before the file has another one")]
    PinRefused,
    /// The token is not there.
    #[error("no slot has a token with the label {token}")]
    NoToken {
        /// Its label.
        token: String,
    },
    /// More than one token has the label.
    #[error("more than one token has the label {token}")]
    TokensAlike {
        /// The label.
        token: String,
    },
    /// The key is not there.
    #[error("the token has no private key with the label {label}")]
    NoKey {
        /// Its label.
        label: String,
    },
    /// More than one key has the label.
    #[error("the token has more than one private key with the label {label}")]
    KeysAlike {
        /// The label.
        label: String,
    },
    /// A key of this label is there already. Nothing was made.
    #[error("the token has something with the label {label} already")]
    KeyExists {
        /// The label.
        label: String,
    },
    /// The key is of another kind.
    #[error("the key {label} is neither of P-256 nor P-384 nor RSA")]
    Kind {
        /// Its label.
        label: String,
    },
    /// What the token gave is no signature of the key's curve.
    #[error("what the token gave is no signature of {curve}")]
    Signature {
        /// The curve.
        curve: Pkcs11Curve,
    },
    /// The public key of a new key could not be read.
    #[error("the token does not give the public key of the key that it made")]
    PublicKey,
    /// The session is of a time before the library was begun again.
    #[error("the library was begun again")]
    BegunAgain,
    /// The token has no session for this process any more.
    #[error("the token has no session left; fewer can be asked for with `sessions`")]
    NoSession,
    /// As many signatures wait as may.
    #[error("too many signatures wait for the token")]
    Busy,
    /// No answer in time.
    #[error("the token has not answered within {} s", ANSWER_WAIT.as_secs())]
    Silent,
    /// What the library says.
    #[error("{0}")]
    Library(String),
}

impl Pkcs11Error {
    /// Whether the token or the key is there and it is not the connection that is at fault.
    fn is_settled(&self) -> bool {
        match self {
            Self::PinFile { .. }
            | Self::PinRefused
            | Self::TokensAlike { .. }
            | Self::KeysAlike { .. }
            | Self::Kind { .. }
            | Self::Signature { .. }
            | Self::KeyExists { .. }
            | Self::PublicKey
            | Self::NoSession
            | Self::Busy
            | Self::Threads(_)
            | Self::Module { .. } => true,
            Self::NoToken { .. }
            | Self::NoKey { .. }
            | Self::BegunAgain
            | Self::Silent
            | Self::Library(_) => false,
        }
    }
}

impl From<Fault> for Pkcs11Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Pkcs11(RvError::SessionCount, _) => Self::NoSession,
            fault => Self::Library(fault.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: KEY-30
    #[test]
    fn the_two_numbers_of_a_signature_are_written_in_der() {
        let number = |first: &[u8]| {
            let mut number = [0; 32];
            number[32 - first.len()..].copy_from_slice(first);
            number
        };
        assert_eq!(
            der_signature(&number(&[0x7f]), &number(&[0x80])),
            [0x30, 7, 2, 1, 0x7f, 2, 2, 0, 0x80]
        );
        assert_eq!(
            der_signature(&number(&[]), &number(&[1]))[..5],
            [0x30, 6, 2, 1, 0]
        );
        let long = der_signature(&[0xff; 32], &[0xff; 32]);
        assert_eq!((long.len(), long[1]), (72, 70));
        let longest = Pkcs11Curve::P384.signature(&[0xff; 96]).unwrap();
        assert_eq!((longest.len(), longest[1], longest[3]), (104, 102, 49));
        // Numbers of another curve's length are none of this one's.
        for (curve, octets) in [(Pkcs11Curve::P384, 64), (Pkcs11Curve::P256, 96)] {
            let error = curve.signature(&vec![1; octets]).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("what the token gave is no signature of {curve}")
            );
        }
    }

    // Spec: KEY-30
    #[test]
    fn a_curve_that_a_token_does_not_name_is_p256_and_another_is_refused() {
        let said = |params: &[u8]| Attribute::EcParams(params.to_vec());
        assert_eq!(curve_said(&[]), Some(Pkcs11Curve::P256));
        assert_eq!(curve_said(&[said(&[])]), Some(Pkcs11Curve::P256));
        for curve in [Pkcs11Curve::P256, Pkcs11Curve::P384] {
            assert_eq!(curve_said(&[said(curve.oid())]), Some(curve));
        }
        // secp521r1
        let other = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
        assert_eq!(curve_said(&[said(&other)]), None);
        // Whether the public key is asked for.
        assert_eq!(params(&[]), None);
        assert_eq!(params(&[said(&[])]), None);
        assert_eq!(params(&[said(&other)]), Some(&other[..]));
    }

    // Spec: KEY-34
    #[test]
    fn the_point_of_a_token_becomes_a_public_key_of_its_curve_alone() {
        for (curve, length) in [(Pkcs11Curve::P256, 65_u8), (Pkcs11Curve::P384, 97)] {
            let mut point = vec![0x04; usize::from(length)];
            let key = curve.public_key(&point).unwrap();
            assert!(key.ends_with(&point));
            // DER: a length of what follows.
            assert_eq!(usize::from(key[1]), key.len() - 2);
            let in_octets = [&[0x04, length], point.as_slice()].concat();
            assert_eq!(curve.public_key(&in_octets), Some(key));
            point.pop();
            assert_eq!(curve.public_key(&point), None);
            let compressed = vec![0x02; usize::from(length)];
            assert_eq!(curve.public_key(&compressed), None);
        }
    }
}
