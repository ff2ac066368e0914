//! The time-stamp authority: RFC 3161 tokens, each of which is also an entry of the log.
//!
//! ```text
//! request ─▶ proto: parse, decide ─▶ its place, time, entry ─┬▶ one fsync for many ─┐
//!                                     (the serial number is   │                      ▼
//!                                  the unit and leaf index)   └▶ sign, meanwhile ─▶ answer
//! ```
//!
//! The order is that of everything here: the entry is durable before a byte of its token leaves. A
//! token that fails to be signed after that leaves a gap that everybody sees, an entry without a
//! token; never the reverse. What the clock guard does not believe is stated in no token.
//!
//! In scope: which token is made, when, and by which unit. Out of scope: HTTP; the structures,
//! which are `jurat_proto::tsp`'s.
//!
//! Rows: `spec/authority.md`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jurat_daemon::clock::{ClockGuard, NotAccurate, Told};
use jurat_proto::checkpoint::Origin;
use jurat_proto::entry::{Entry, TimestampEntry};
use jurat_proto::tree::LeafIndex;
use jurat_proto::tsp::element::Flag;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::oid::Oid;
use jurat_proto::tsp::request::{Offer, TimestampRequest};
use jurat_proto::tsp::response::{Refusal, TimestampResponse};
use jurat_proto::tsp::signed_data::{Certificates, TimestampToken, ToBeSigned};
use jurat_proto::tsp::tst_info::{Accuracy, EncodedTstInfo, Extensions, SerialNumber, TstInfo};
use jurat_store::{Landmark, LogStore, NewEntry};
use tokio::sync::{Semaphore, watch};

use crate::cosigners::Standing;
use crate::cosigners::times::WitnessTimes;
use crate::log::{PlaceError, Sequencer};

mod check;
pub mod json;
mod lives;
mod metrics;
mod not_before;
pub mod pkcs11_row;
pub mod rate;
mod time;
pub mod units;
mod upgrade;
mod watch_over;

pub use self::check::{SignatureCheck, Unsigned};
pub use self::lives::{Life, Lives, LivesError};
pub use self::metrics::Metrics;
pub use self::not_before::{Bracket, follow};
pub use self::time::{LeapSeconds, rfc3339};
pub use self::upgrade::UpgradeError;
pub use self::watch_over::{follow_clock, follow_units, log_units};

use self::units::{Unit, Units, Unusable};

/// How the authority is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Policies and hash algorithms.
    pub offer: Offer,
    /// What tokens state, when there are time sources.
    pub accuracy: Duration,
    /// Whether there are.
    pub has_sources: bool,
    /// Whether tokens that are asked for a certificate hold the whole chain.
    pub include_chain: bool,
    /// What happens around a possible leap second.
    pub leap_seconds: LeapSeconds,
    /// Where `jurat init` put the key of the authority above the units.
    pub authority_key: PathBuf,
}

/// The time-stamp authority.
pub struct Authority {
    /// The log's origin.
    pub origin: Origin,
    /// Its configuration.
    pub settings: Settings,
    /// Its units, whose starts are in the log; replaced when their file changes.
    pub units: watch::Receiver<Arc<Units>>,
    /// Entries, for upgrades.
    pub store: Arc<dyn LogStore>,
    /// Where entries go.
    pub sequencer: Sequencer,
    /// The time, while it can be believed.
    pub clock: Arc<ClockGuard>,
    /// What a token says that it is after.
    pub bracket: watch::Receiver<Option<Arc<Bracket>>>,
    /// What the witnesses' clocks say of ours.
    pub times: Arc<WitnessTimes>,
    /// Whether this state may sign, as far as the witnesses know.
    pub standing: watch::Receiver<Standing>,
    /// The time of the newest token. Written only under the lock that gives places.
    pub last: AtomicU64,
    /// Places for requests that wait for the witnesses, shared with those for receipts.
    pub waiting: Arc<Semaphore>,
    /// Slow signatures (RSA) at once.
    pub slow: Semaphore,
    /// Counters.
    pub metrics: Metrics,
}

/// What a request gets.
#[derive(Debug)]
pub enum Granted {
    /// A token, and the place of its entry.
    Token {
        /// The answer in DER.
        response: TimestampResponse,
        /// Where its entry is.
        index: LeafIndex,
    },
    /// A rejection, which is an answer as well.
    Rejected(TimestampResponse),
    /// Too many wait.
    Overloaded,
}

/// Why no token was made, beside what the client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The request.
    #[error("{0}")]
    Request(Refusal),
    /// No time can be stated.
    #[error("{0}")]
    NoTime(String),
    /// The witnesses have not been compared with, or one of them is ahead: after a restore, the
    /// next serial numbers may be ones that were given before.
    #[error("{0}")]
    Standing(String),
    /// No unit may sign.
    #[error("no time-stamping unit may sign: {0}")]
    Unit(Unusable),
    /// There is no unit.
    #[error("no time-stamping unit is open")]
    NoUnit,
    /// The entry could not be made or made durable.
    #[error("the log: {0}")]
    Log(String),
    /// The key failed.
    #[error("the key of the time-stamping unit: {0}")]
    Signer(String),
    /// Too many wait.
    #[error("too many wait")]
    Overloaded,
}

/// Why the clock is not stated in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The guard does not believe it, or not enough.
    #[error("{0}")]
    Guard(#[from] NotAccurate),
    /// A quorum of witnesses has signed times since that ours is ahead of. Its own clock is at
    /// fault, or theirs are; it passes when newer cosignatures say otherwise.
    #[error(
        "the clock is {}.{:03} s ahead of what a quorum of witnesses says",
        .by.as_secs(),
        .by.subsec_millis()
    )]
    AheadOfWitnesses {
        /// By so much at least.
        by: Duration,
    },
}

impl Denied {
    /// What the client is told.
    // Spec: TSA-02, TSP-20
    fn refusal(&self) -> Refusal {
        match self {
            Self::Request(refusal) => refusal.clone(),
            Self::NoTime(_) => Refusal::TimeNotAvailable,
            Self::Standing(_)
            | Self::Unit(_)
            | Self::NoUnit
            | Self::Log(_)
            | Self::Signer(_)
            | Self::Overloaded => Refusal::SystemFailure,
        }
    }
}

impl Authority {
    /// Answers a request in DER.
    // Spec: TSA-01, TSA-02
    pub async fn answer(self: &Arc<Self>, request: &[u8]) -> Granted {
        let result = match TimestampRequest::parse(request) {
            Ok(request) => self.grant(&request).await,
            Err(error) => Err(Denied::Request(Refusal::Request(error))),
        };
        self.metrics.record(result.as_ref().err());
        match result {
            Ok((token, index)) => Granted::Token {
                response: TimestampResponse::granted(token),
                index,
            },
            Err(Denied::Overloaded) => Granted::Overloaded,
            Err(denied) => {
                if matches!(denied, Denied::Log(_) | Denied::Signer(_)) {
                    tracing::error!("a time-stamp could not be made: {denied}");
                }
                Granted::Rejected(TimestampResponse::rejected(&denied.refusal()))
            }
        }
    }

    /// Whether a token could be made now, and if not, why.
    /// The seconds around a leap second do not count.
    ///
    /// # Errors
    /// [`Denied`]: as a request would be.
    pub fn ready(&self) -> Result<(), Denied> {
        self.may_sign()?;
        let unit = self.unit()?;
        let floor = self.bracket.borrow().as_ref().map_or(0, |it| it.time);
        let (time, _) = self.time_with(floor, LeapSeconds::Ignore)?;
        unit.refuses(time)
            .map_or(Ok(()), |why| Err(Denied::Unit(why)))
    }

    /// Since when on the unit that signs will not, in seconds since 1970.
    pub fn signs_until(&self) -> Option<u64> {
        let units = self.units.borrow();
        units
            .current()
            .map(|unit| unit.issuing.signs_until().as_secs())
    }

    /// Waits for the comparison with the witnesses, which usually is over within milliseconds of
    /// the start. While it is not, those who wait leave room for those who do not.
    // Spec: TSA-16
    async fn compared(&self) -> Result<(), Denied> {
        if *self.standing.borrow() == Standing::Comparing
            && let Ok(_place) = self.waiting.try_acquire()
        {
            let mut standing = self.standing.clone();
            let over = standing.wait_for(|standing| *standing != Standing::Comparing);
            let _ = tokio::time::timeout(COMPARE_WAIT, over).await;
        }
        self.may_sign()
    }

    /// A database that was put back would give the same serial numbers again.
    // Spec: TSA-07
    fn may_sign(&self) -> Result<(), Denied> {
        match &*self.standing.borrow() {
            Standing::Good => Ok(()),
            Standing::Comparing => Err(Denied::Standing(
                "too few witnesses have been compared with since the start".to_owned(),
            )),
            Standing::Refused(why) => Err(Denied::Standing(why.clone())),
        }
    }

    fn unit(&self) -> Result<Arc<Unit>, Denied> {
        let unit = self.units.borrow().current().map(Arc::clone);
        unit.ok_or(Denied::NoUnit)
    }

    /// A unit that is closed while a request waits for its place hands it to the next one.
    // Spec: TSA-33
    async fn grant(
        self: &Arc<Self>,
        request: &TimestampRequest,
    ) -> Result<(TimestampToken, LeafIndex), Denied> {
        let policy = request
            .decide(&self.settings.offer)
            .map_err(Denied::Request)?
            .clone();
        self.compared().await?;
        let unit = self.unit()?;
        match self.grant_by(&unit, request, &policy).await {
            Err(Denied::Unit(Unusable::Closed)) => match self.unit()? {
                next if next.id != unit.id => self.grant_by(&next, request, &policy).await,
                _ => Err(Denied::Unit(Unusable::Closed)),
            },
            result => result,
        }
    }

    // Spec: TSA-03, TSA-04, TSA-05, TSA-06
    async fn grant_by(
        self: &Arc<Self>,
        unit: &Arc<Unit>,
        request: &TimestampRequest,
        policy: &Oid,
    ) -> Result<(TimestampToken, LeafIndex), Denied> {
        self.may_sign()?;
        // What would be refused under the lock does not take it.
        let (time, _) = self.time(0)?;
        if let Some(why) = unit.refuses(time) {
            return Err(Denied::Unit(why));
        }
        // Spec: TSA-62. Before it has a place: what could not be signed in time is not logged.
        let _waiting = match &unit.waiting {
            Some(places) => Some(places.try_acquire().map_err(|_| Denied::Overloaded)?),
            None => None,
        };
        let certificates = match (request.wants_certificate(), self.settings.include_chain) {
            (false, _) => Certificates::Absent,
            (true, false) => Certificates::Signer,
            (true, true) => Certificates::Chain,
        };
        let bracket = self.bracket.borrow().clone();
        let place = |index| self.make(request, policy, unit, bracket.as_deref(), index);
        let (info, placing) = self.sequencer.place(place).map_err(|error| match error {
            PlaceError::Refused(denied) => denied,
            PlaceError::Overloaded => Denied::Overloaded,
            PlaceError::Stopped => Denied::Log("it is stopping".to_owned()),
            PlaceError::LogFull => Denied::Log("it is full".to_owned()),
        })?;
        if unit.key.as_ref().is_some_and(|key| key.is_slow()) {
            placing.begin();
        }
        // The signature is made on this request's own thread; under load, while the commit is in
        // flight.
        let signed = self.sign(unit, info, certificates).await;
        // Spec: TSA-05. Only from here on may a byte of the token leave.
        let appended = placing.durable().await;
        let appended = appended.map_err(|error| Denied::Log(error.to_string()))?;
        // A witness may have shown meanwhile that the place was taken long ago.
        self.may_sign()?;
        Ok((signed?, appended.index))
    }

    /// What the token says and its entry, under the lock that gives places.
    // Spec: TSA-03, TSA-10, TSA-11, TSA-20, TSA-32, ENT-09, ENT-10, TSP-35
    fn make(
        &self,
        request: &TimestampRequest,
        policy: &Oid,
        unit: &Unit,
        bracket: Option<&Bracket>,
        index: LeafIndex,
    ) -> Result<(EncodedTstInfo, NewEntry), Denied> {
        self.may_sign()?;
        let floor = bracket.map_or(0, |bracket| bracket.time);
        let (gen_time, accuracy) = self.time(floor)?;
        if let Some(why) = unit.refuses(gen_time) {
            return Err(Denied::Unit(why));
        }
        let extension = bracket.and_then(|bracket| bracket.extension.clone());
        let extensions = Extensions::new(extension.into_iter().collect());
        let info = TstInfo {
            policy: policy.clone(),
            imprint: request.imprint().clone(),
            serial: SerialNumber::of_unit(unit.id, index),
            gen_time,
            accuracy,
            ordering: Flag::Absent,
            nonce: request.nonce().cloned(),
            tsa: Some(unit.issuing.name()),
            extensions: extensions.map_err(|error| Denied::Log(error.to_string()))?,
        };
        let info = EncodedTstInfo::from(info);
        let entry =
            TimestampEntry::of_encoded(&info).map_err(|error| Denied::Log(error.to_string()))?;
        let entry = NewEntry::new(Entry::Timestamp(entry).to_bytes());
        let entry = entry.map_err(|error| Denied::Log(error.to_string()))?;
        self.last.store(gen_time.seconds(), Ordering::SeqCst);
        Ok((info, entry))
    }

    /// The time that a token may state now, and how exact it is.
    // Spec: TSA-10, TSA-11, TSA-12, TSA-13
    fn time(&self, floor: u64) -> Result<(GenTime, Option<Accuracy>), Denied> {
        self.time_with(floor, self.settings.leap_seconds)
    }

    fn time_with(
        &self,
        floor: u64,
        leap_seconds: LeapSeconds,
    ) -> Result<(GenTime, Option<Accuracy>), Denied> {
        let no_time = |why: String| Denied::NoTime(why);
        let told = self.tell().map_err(|error| no_time(error.to_string()))?;
        let accuracy = self
            .settings
            .has_sources
            .then(|| stated(self.settings.accuracy));
        let accuracy = accuracy.flatten();
        let floor = floor.max(self.last.load(Ordering::SeqCst));
        time::gen_time(told.time, floor, leap_seconds)
            .map(|time| (time, accuracy))
            .ok_or_else(|| {
                no_time(format!(
                    "the clock says {}, which is before {}, or a leap second may be near",
                    rfc3339(told.time.seconds()),
                    rfc3339(floor)
                ))
            })
    }

    /// The clock, when it is believed and as right as tokens say.
    // Spec: TSA-13, TSA-15
    fn tell(&self) -> Result<Told, Doubt> {
        let told = if self.settings.has_sources {
            // A second of it is what is cut off.
            let cut_off = Duration::from_secs(1);
            let bound = self.settings.accuracy.saturating_sub(cut_off);
            self.clock.read_within(bound)?
        } else {
            self.clock.read().map_err(NotAccurate::from)?
        };
        let now = self.clock.clock().boot_time();
        match self.times.ahead(told.time, now) {
            Some(by) if by > self.settings.accuracy => Err(Doubt::AheadOfWitnesses { by }),
            _ => Ok(told),
        }
    }

    /// Why the key of the unit that signs cannot be used, if it is in a device.
    // Spec: TSA-61
    pub fn key_out_of_reach(&self) -> Option<String> {
        let unit = self.units.borrow().current().map(Arc::clone)?;
        unit.key.as_ref()?.out_of_reach()
    }

    /// What an operator should see to though time-stamps are made.
    // Spec: TSA-08, TSA-36, TSA-38
    pub fn warnings(&self) -> Vec<String> {
        let units = self.units.borrow();
        let mut warnings: Vec<_> = units.overruled().iter().map(ToString::to_string).collect();
        let wrong = units.all().iter().filter(|unit| unit.check.was_wrong());
        warnings.extend(wrong.map(|unit| {
            format!(
                "the key of unit {} returned what is no signature of its own; each one is checked \
                 since",
                unit.id
            )
        }));
        let key = &self.settings.authority_key;
        if key.exists() {
            warnings.push(format!(
                "{} is on this machine: whoever takes it issues units of this authority. It is \
                 needed when a unit is made, and belongs elsewhere until then",
                key.display()
            ));
        }
        warnings
    }

    // Spec: TSA-04
    async fn sign(
        self: &Arc<Self>,
        unit: &Arc<Unit>,
        info: EncodedTstInfo,
        certificates: Certificates,
    ) -> Result<TimestampToken, Denied> {
        let prepared = unit
            .issuing
            .prepare(info, certificates)
            .map_err(|error| Denied::Unit(Unusable::Time(error)))?;
        if !unit.key.as_ref().is_some_and(|key| key.is_slow()) {
            return finish(unit, prepared);
        }
        // A device bounds itself; other slow keys share this machine's cores.
        let _place = match unit.waiting {
            Some(_) => None,
            None => Some(
                self.slow
                    .acquire()
                    .await
                    .map_err(|_| Denied::Signer("the service is stopping".to_owned()))?,
            ),
        };
        let unit = Arc::clone(unit);
        let signed = tokio::task::spawn_blocking(move || finish(&unit, prepared)).await;
        signed.unwrap_or_else(|_| Err(Denied::Signer("the signing task failed".to_owned())))
    }
}

fn finish(unit: &Unit, prepared: ToBeSigned) -> Result<TimestampToken, Denied> {
    let failed = |why: String| Denied::Signer(why);
    let signature = unit.sign(prepared.message());
    let signature = signature.map_err(|error| failed(error.to_string()))?;
    prepared
        .finish(&signature)
        .map_err(|error| failed(error.to_string()))
}

/// As a token states it.
fn stated(accuracy: Duration) -> Option<Accuracy> {
    let seconds = u32::try_from(accuracy.as_secs()).ok()?;
    let millis = u16::try_from(accuracy.subsec_millis()).ok()?;
    Accuracy::new(seconds, millis, 0)
}

/// The time of the newest token in the log, and so the earliest of the next, however many other
/// entries came after it; and at least that of the last tree head, which is not before those that
/// it covers.
///
/// # Errors
/// [`LastTimeError`].
// Spec: TSA-11
pub fn last_time(store: &dyn LogStore) -> Result<u64, LastTimeError> {
    let signed = store.last_signed()?.map_or(0, |signed| signed.time.get());
    let Some(index) = store.newest(Landmark::Timestamp)? else {
        return Ok(signed);
    };
    let bytes = store.entry(index)?.unwrap_or_default();
    match Entry::parse(&bytes) {
        Ok(Entry::Timestamp(entry)) => Ok(signed.max(entry.gen_time().get())),
        _ => Err(LastTimeError::NoTimestamp { index: index.get() }),
    }
}

/// Why the time of the newest token is not known.
#[derive(Debug, thiserror::Error)]
pub enum LastTimeError {
    /// The store.
    #[error("{0}")]
    Store(#[from] jurat_store::StoreError),
    /// The entry that is listed as the newest of a token is none. The database is damaged.
    #[error("entry {index} is listed as that of a time-stamp, and is none: run `jurat fsck`")]
    NoTimestamp {
        /// The entry.
        index: u64,
    },
}

/// How long a request waits for the comparison with the witnesses.
const COMPARE_WAIT: Duration = Duration::from_secs(2);
