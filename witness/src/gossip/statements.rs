//! What this witness says of itself: states and pages, when they may be said, and what time they
//! say.
//!
//! ```text
//! guard tells the time ─► durable: no page is later ─► committing? told? ─► node ─► signed
//!   else the last one        (gossip/paged)              late: 503
//! ```
//!
//! A page that says at one time what is less than what was cosigned before convicts its witness
//! (EVI-15). So a page says the time that was read *before* it was asked whether a head is on its
//! way, however long the node was busy then; and nothing is cosigned at a time that is before that
//! of a page, across starts: an operator who set the clock ahead, and back, must not become a liar.
//!
//! A state goes over all logs and a page over thousands of rows: what was made is shown again while
//! nothing has changed, and one at a time is made.
//!
//! Rows: `spec/gossip.md` GSP-03, GSP-75, GSP-98.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jurat_proto::cosignature::sign_note;
use jurat_proto::gossip::node::Moment;
use jurat_proto::gossip::{Feed, Random, SignedStatement, State, Statement};
use jurat_proto::key::UnixSeconds;
use jurat_proto::note::Note;

use super::records::Records;
use super::{Gossip, NotNow, SIGNED_AGO_MAX, lock};

/// What was said.
#[derive(Debug)]
pub(super) struct Said {
    /// The time of the last statement, in seconds.
    time: AtomicU64,
    /// No page of an earlier process says a later time than this.
    before: u64,
    /// What is on the disk of that, for the pages of this process.
    bound: Mutex<u64>,
    state: Mutex<Option<State>>,
    pages: Mutex<VecDeque<Arc<ShownPage>>>,
}

/// A page as it was signed, with its rows.
#[derive(Debug)]
pub(crate) struct ShownPage {
    /// After which change it begins; nothing when what was asked for is not of our journal.
    since: (Option<Random>, u64),
    position: (Random, u64),
    time: u64,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

impl Said {
    pub(super) fn open(records: &Records) -> io::Result<Self> {
        let before = records.paged()?;
        Ok(Self {
            time: AtomicU64::new(before.saturating_sub(AHEAD)),
            before,
            bound: Mutex::new(before),
            state: Mutex::default(),
            pages: Mutex::default(),
        })
    }

    /// A page of before may say this time, which is well after `now`: what is cosigned now would
    /// convict us.
    // Spec: GSP-98, EVI-15
    pub(super) fn page_after(&self, now: UnixSeconds) -> Option<UnixSeconds> {
        let is_late = now.get().saturating_add(OMITTED_AGO) <= self.before;
        UnixSeconds::new(self.before).filter(|_| is_late)
    }

    /// Makes it durable that pages may say this time.
    fn reach(&self, time: u64, records: &Records) -> io::Result<()> {
        let mut bound = lock(&self.bound);
        if *bound < time {
            let ahead = time.saturating_add(AHEAD);
            records.store_paged(ahead)?;
            *bound = ahead;
        }
        Ok(())
    }
}

impl Gossip {
    /// A signed state. Blocks while the node is busy.
    ///
    /// # Errors
    /// [`NotNow`]: what was cosigned is not in it yet, or the key does not sign.
    // Spec: GSP-75
    pub(crate) fn state(&self, nonce: Option<Random>) -> Result<SignedStatement, NotNow> {
        let now = self.time()?;
        self.is_current(now)?;
        let mut kept = lock(&self.said.state);
        let node = lock(&self.node);
        let position = node.position();
        let same = |state: &State| (state.epoch, state.seq) == position;
        let mut state = match kept.take().filter(same) {
            Some(state) => state,
            None => node.state(now, None),
        };
        drop(node);
        state.time = now.seconds();
        *kept = Some(state.clone());
        drop(kept);
        state.nonce = nonce;
        self.signed(Statement::State(state))
    }

    /// A signed page and its rows. Blocks while the node is busy, and for a disk now and then.
    ///
    /// # Errors
    /// As for [`Self::state`], and when the disk does not take the time that the page says.
    // Spec: GSP-75, GSP-98
    pub(crate) fn page(&self, epoch: Option<Random>, since: u64) -> Result<Arc<ShownPage>, NotNow> {
        let now = self.time()?;
        self.is_current(now)?;
        let seconds = now.seconds().get();
        let since = (epoch, since);
        let (page, rows) = {
            let node = lock(&self.node);
            let position = node.position();
            let same = |shown: &&Arc<ShownPage>| {
                let is_fresh = seconds.saturating_sub(shown.time) < u64::from(PAGE_SECONDS);
                shown.since == since && shown.position == position && is_fresh
            };
            if let Some(shown) = lock(&self.said.pages).iter().find(same) {
                return Ok(Arc::clone(shown));
            }
            node.page(epoch, since.1, PAGE_ROWS, now)
        };
        if let Err(error) = self.said.reach(seconds, &self.records) {
            tracing::error!(%error, "no page is shown: that it was could not be kept");
            return Err(NotNow);
        }
        let position = (page.epoch, page.seq);
        let signed = self.signed(Statement::Page(page))?;
        let feed = Feed::new(rows, signed).map_err(|_| NotNow)?;
        let shown = Arc::new(ShownPage {
            since,
            position,
            time: seconds,
            bytes: feed.to_bytes(),
        });
        let mut pages = lock(&self.said.pages);
        pages.truncate(PAGES_MAX.saturating_sub(1));
        pages.push_front(Arc::clone(&shown));
        Ok(shown)
    }

    /// The time that a statement may say. While nobody knows what time it is, the last one is said
    /// again: what is held must be shown nevertheless, and a time that stands still convicts
    /// nobody.
    fn time(&self) -> Result<Moment, NotNow> {
        let last = &self.said.time;
        let seconds = match self.guard.read() {
            Ok(told) => {
                last.store(told.time.seconds(), Ordering::Release);
                told.time.seconds()
            }
            Err(_) => last.load(Ordering::Acquire),
        };
        if seconds == 0 {
            return Err(NotNow);
        }
        Ok(Moment(seconds.saturating_mul(1_000)))
    }

    /// A page that does not have what we cosigned ten seconds before its time would convict us.
    // Spec: EVI-15
    fn is_current(&self, at: Moment) -> Result<(), NotNow> {
        let earliest = lock(&self.cosigned).earliest();
        let late = earliest.is_some_and(|signed| {
            at.seconds().get().saturating_sub(signed.get()) >= SIGNED_AGO_MAX
        });
        if late || self.evidence.convicts_us().is_some() {
            return Err(NotNow);
        }
        Ok(())
    }

    fn signed(&self, statement: Statement) -> Result<SignedStatement, NotNow> {
        let line = sign_note(&statement.to_text(), &*self.settings.key).map_err(|_| NotNow)?;
        SignedStatement::new(statement, vec![line]).map_err(|_| NotNow)
    }

    /// Signed suspicions, each with the two notes that it is about; so many that are first.
    ///
    /// # Errors
    /// [`NotNow`]: a key of ours is convicted.
    // Spec: GSP-43, GSP-135
    pub(crate) fn suspicions(&self) -> Result<Vec<u8>, NotNow> {
        if self.evidence.convicts_us().is_some() {
            return Err(NotNow);
        }
        let now = Moment(self.clock.now().millis());
        let said = lock(&self.node).suspicions(now);
        let mut bytes = Vec::new();
        for (suspicion, notes) in said.into_iter().take(SUSPICIONS_MAX) {
            let text = suspicion.to_text();
            let signed = sign_note(&text, &*self.settings.key)
                .ok()
                .and_then(|line| Note::new(text, vec![line]).ok());
            let Some(signed) = signed else { continue };
            let mut one = signed.to_bytes();
            for note in notes {
                one.push(b'\n');
                one.extend(note.to_bytes());
            }
            if bytes.len().saturating_add(one.len()) > SUSPICIONS_BYTES_MAX {
                break;
            }
            if !bytes.is_empty() {
                bytes.push(b'\n');
            }
            bytes.extend(one);
        }
        Ok(bytes)
    }

    /// A page of an earlier process says a time that is so far after `now` that what is cosigned
    /// now would make it a lie.
    // Spec: GSP-98
    pub(crate) fn page_after(&self, now: UnixSeconds) -> Option<UnixSeconds> {
        self.said.page_after(now)
    }
}

/// Rows of a page, so that a page is below a megabyte.
const PAGE_ROWS: usize = 8_192;
/// How long a page is shown again while nothing has changed, in seconds.
pub(crate) const PAGE_SECONDS: u32 = 5;
/// Pages that are kept for that: some megabytes.
const PAGES_MAX: usize = 8;
/// How far ahead of the pages their bound on the disk is, in seconds: so often it is written, at
/// most. With it, a page is never ten seconds after what is cosigned when the clock has reached the
/// bound less [`OMITTED_AGO`]; and that it has when it never went back.
const AHEAD: u64 = 8;
/// A cosignature that is so many seconds before a page is missing there.
// Spec: EVI-15
const OMITTED_AGO: u64 = 10;
/// What is told in public at a time: as many files of evidence are kept of a log.
const SUSPICIONS_MAX: usize = 256;
const SUSPICIONS_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixSeconds {
        UnixSeconds::new(seconds).unwrap()
    }

    // Spec: GSP-98
    #[test]
    fn nothing_is_cosigned_before_the_pages_of_an_earlier_process() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::beside(&folder.path().join("witness.redb")).unwrap();
        let first = Said::open(&records).unwrap();
        assert_eq!(first.page_after(at(1)), None, "no page was ever made");
        first.reach(1_000, &records).unwrap();
        let written = records.paged().unwrap();
        first.reach(1_007, &records).unwrap();
        assert_eq!(records.paged().unwrap(), written, "that is in the bound");
        first.reach(1_050, &records).unwrap();
        // The page says 1050 at least, and the next process begins in the same second.
        let again = Said::open(&records).unwrap();
        assert_eq!(again.page_after(at(1_050)), None);
        assert_eq!(again.page_after(at(1_049)), None);
        // Ten seconds before what a page may have said: it would have to show this.
        for early in [1, 1_040, 1_048] {
            assert!(again.page_after(at(early)).is_some(), "{early}");
        }
    }
}
