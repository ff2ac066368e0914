//! Tests of the rollback check, against witnesses that answer in each way.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use jurat_daemon::client::{Client, ClientOptions};
use jurat_daemon::clock::{Clock as _, SystemClock, UnixTime};
use jurat_daemon::http::{
    self, HttpMetrics, Limits, Method, Request, Response, StatusCode, header,
};
use jurat_daemon::shutdown::Shutdown;
use jurat_keys::SigningKey;
use jurat_proto::add_checkpoint::{AddCheckpoint, BODY_BYTES_MAX, CONFLICT_CONTENT_TYPE};
use jurat_proto::cosignature::cosign;
use jurat_proto::hash::sha256;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{TreeHead, TreeSize};
use jurat_store::{LogStore, MemoryStore, NewEntry};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};

use super::testing::{log_key, policy_with, signed, witness_keys};
use super::times::WitnessTimes;
use super::witness::{Task, WitnessError, by_url};
use super::{Parts, Report, Settings, Status};
use crate::log::tree_heads::SignedHead;
use crate::log::{Append, Published, Sequencer};

/// What the witness answers to a POST: its status and its body, from the request.
type Answers = dyn Fn(&AddCheckpoint) -> (u16, String) + Send + Sync;

/// What it shows, and how it answers.
struct Witness {
    shown: Mutex<Option<Vec<u8>>>,
    answers: Box<Answers>,
    asked: Mutex<Vec<(u64, u64)>>,
}

impl Witness {
    async fn respond(&self, request: Request) -> Response {
        if request.method() == Method::GET {
            let shown = self.shown.lock().unwrap().clone();
            return shown.map_or_else(http::not_found, |note| http::text(StatusCode::OK, note));
        }
        let body = http::read_body(request, BODY_BYTES_MAX, Duration::from_secs(5)).await;
        let request = AddCheckpoint::parse(&body.unwrap()).unwrap();
        let size = request.checkpoint.head().size.get();
        let asked = (request.old_size.get(), size);
        self.asked.lock().unwrap().push(asked);
        let (status, body) = (self.answers)(&request);
        let mut response = http::text(StatusCode::from_u16(status).unwrap(), body);
        if status == 409 {
            let kind = header::HeaderValue::from_static(CONFLICT_CONTENT_TYPE);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        response
    }
}

fn listen(witness: Arc<Witness>) -> String {
    let listener = http::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let handler = move |request: Request, _: SocketAddr| {
        let witness = Arc::clone(&witness);
        async move { witness.respond(request).await }
    };
    let metrics = HttpMetrics::register(&mut Registry::default());
    tokio::spawn(http::serve(
        listener,
        None,
        Limits::default(),
        Arc::new(handler),
        Shutdown::new(),
        metrics,
    ));
    url
}

/// A service of `committed` entries, of which it has published or signed that many.
struct Service {
    committed: u64,
    published: Option<u64>,
    signed: u64,
    ignore_ahead: bool,
}

const SERVICE: Service = Service {
    committed: 5,
    published: Some(5),
    signed: 5,
    ignore_ahead: false,
};

struct Setting {
    task: Task,
    reports: mpsc::Receiver<Report>,
    offer: watch::Sender<Option<Arc<SignedHead>>>,
    witness: Arc<Witness>,
}

impl Service {
    async fn facing(
        self,
        shown: Option<TreeHead>,
        answers: impl Fn(&AddCheckpoint) -> (u16, String) + Send + Sync + 'static,
    ) -> Setting {
        let witness = Arc::new(Witness {
            shown: Mutex::new(shown.map(|head| signed(head).to_bytes())),
            answers: Box::new(answers),
            asked: Mutex::default(),
        });
        let url = listen(Arc::clone(&witness));
        let policy = policy_with(std::slice::from_ref(&*COSIGNER), &[&url], "any");
        let store: Arc<dyn LogStore> = Arc::new(MemoryStore::new());
        let sequencer = Sequencer::start(Arc::clone(&store), &mut Registry::default()).unwrap();
        let mut heads = vec![TreeHead::empty()];
        for number in 0..self.committed {
            let entry = NewEntry::new(number.to_be_bytes().to_vec()).unwrap();
            sequencer
                .append(Append { entry, head: None })
                .await
                .unwrap();
            heads.push(*sequencer.committed().borrow());
        }
        let at = |size: u64| signed(heads[usize::try_from(size).unwrap()]);
        let published = self
            .published
            .map(|size| Published::new(at(size), UnixSeconds::new(1).unwrap()));
        let names = if self.ignore_ahead { &["w0"][..] } else { &[] };
        let group = by_url(&policy).remove(0);
        let parts = Parts {
            origin: signed(TreeHead::empty()).origin().clone(),
            log_keys: vec![log_key()],
            store,
            sequencer,
            client: Client::new(ClientOptions::default()).unwrap(),
            clock: Arc::new(SystemClock),
            settings: Settings {
                timeout: Duration::from_secs(5),
                retry_min: Duration::from_millis(1),
                retry_max: Duration::from_millis(10),
                ignore_ahead: names.iter().map(ToString::to_string).collect(),
            },
            probe: published
                .as_ref()
                .map_or_else(|| at(0), |p| p.signed().clone()),
            published,
            signed: TreeSize::new(self.signed).unwrap(),
            policy,
        };
        let times = Arc::new(WitnessTimes::new(parts.policy.clone()));
        let (offer, offered) = watch::channel(None);
        let (report, reports) = mpsc::channel(8);
        let task = Task {
            parts: Arc::new(parts),
            group,
            row: 0,
            status: Arc::new(Status::default()),
            offered,
            report,
            times,
            known: None,
        };
        Setting {
            task,
            reports,
            offer,
            witness,
        }
    }
}

static COSIGNER: LazyLock<SigningKey> = LazyLock::new(|| witness_keys(1).remove(0));

fn cosigned(request: &AddCheckpoint) -> String {
    let time = UnixSeconds::new(1_700_000_000).unwrap();
    let line = cosign(request.checkpoint.checkpoint(), time, &*COSIGNER).unwrap();
    format!("{line}\n")
}

fn stands_at(size: u64) -> impl Fn(&AddCheckpoint) -> (u16, String) {
    move |_| (409, format!("{size}\n"))
}

fn other(size: u64) -> TreeHead {
    TreeHead {
        size: TreeSize::new(size).unwrap(),
        root_hash: sha256(b"another history"),
    }
}

fn ahead(compared: &Result<(), WitnessError>) -> Option<bool> {
    match compared {
        Err(WitnessError::Ahead { proven, .. }) => Some(*proven),
        _ => None,
    }
}

/// A fresh database under old keys: there is no published checkpoint to send.
// Spec: SVC-06
#[tokio::test]
async fn an_empty_state_asks_a_witness_that_shows_nothing() {
    let service = Service {
        committed: 0,
        published: None,
        signed: 0,
        ..SERVICE
    };
    let mut setting = service.facing(None, stands_at(7)).await;
    assert_eq!(ahead(&setting.task.compare().await), Some(false));
    assert_eq!(*setting.witness.asked.lock().unwrap(), [(0, 0)]);
}

/// What a witness signed says how late it is at most, from when it was asked on.
// Spec: TSA-15
#[tokio::test]
async fn the_time_of_a_verified_cosignature_is_compared_with_the_clock() {
    let wall = UnixTime::from_seconds(1_700_000_060);
    let mut setting = SERVICE
        .facing(None, |request| (200, cosigned(request)))
        .await;
    let before = SystemClock.boot_time();
    setting.task.compare().await.unwrap();
    let by = setting.task.times.ahead(wall, before).unwrap();
    assert_eq!(by, Duration::from_secs(59));
    let bad = |request: &AddCheckpoint| (200, cosigned(request).replace("example.com/w0", "x"));
    let mut setting = SERVICE.facing(None, bad).await;
    drop(setting.task.compare().await);
    assert_eq!(setting.task.times.ahead(wall, before), None);
}

/// Entries that were taken while no witness could be reached do not make a claim ours.
// Spec: SVC-06
#[tokio::test]
async fn a_restored_state_that_has_grown_since_is_still_behind() {
    let service = Service {
        committed: 9,
        ..SERVICE
    };
    let mut setting = service.facing(None, stands_at(7)).await;
    assert_eq!(ahead(&setting.task.compare().await), Some(false));
}

/// What a witness shows may come from a cache.
// Spec: SVC-06
#[tokio::test]
async fn an_old_head_that_is_shown_does_not_hide_a_newer_one() {
    let mut setting = SERVICE.facing(Some(TreeHead::empty()), stands_at(7)).await;
    assert_eq!(ahead(&setting.task.compare().await), Some(false));
}

// Spec: SVC-06
#[tokio::test]
async fn a_witness_that_does_not_know_this_log_has_not_been_compared_with() {
    let mut setting = SERVICE.facing(None, |_| (404, String::new())).await;
    let compared = setting.task.compare().await;
    assert!(
        matches!(compared, Err(WitnessError::UnknownLog)),
        "{compared:?}"
    );
}

/// A witness below the published size is sent a proof, and can tell that its head is none of ours.
// Spec: SVC-06
#[tokio::test]
async fn a_witness_that_holds_a_smaller_tree_of_another_history_is_found_out() {
    let answers = |request: &AddCheckpoint| match request.old_size.get() {
        3 => (422, "no".to_owned()),
        _ => (409, "3\n".to_owned()),
    };
    let mut setting = SERVICE.facing(None, answers).await;
    assert_eq!(ahead(&setting.task.compare().await), Some(false));
    assert_eq!(*setting.witness.asked.lock().unwrap(), [(5, 5), (3, 5)]);
}

// Spec: SVC-06
#[tokio::test]
async fn what_was_signed_but_not_published_is_not_held_against_this_state() {
    let service = Service {
        published: Some(4),
        ..SERVICE
    };
    let mut setting = service.facing(None, stands_at(5)).await;
    setting.task.compare().await.unwrap();
    assert_eq!(setting.task.known.map(TreeSize::get), Some(5));
}

async fn reported(reports: &mut mpsc::Receiver<Report>) -> Report {
    let report = tokio::time::timeout(Duration::from_secs(10), reports.recv());
    report.await.unwrap().unwrap()
}

/// The operator may have a claim ignored, but not a signature of the log's own keys.
// Spec: SVC-06
#[tokio::test]
async fn a_proven_rollback_cannot_be_ignored_by_configuration() {
    let service = Service {
        ignore_ahead: true,
        ..SERVICE
    };
    let mut setting = service.facing(Some(other(4)), stands_at(4)).await;
    let stop = Shutdown::new();
    tokio::spawn(setting.task.run(stop.clone()));
    let report = reported(&mut setting.reports).await;
    assert!(matches!(report, Report::Ahead { .. }), "{report:?}");
    stop.trigger();
}

/// A second instance with the same keys, somewhere else: found out while this one runs.
// Spec: SVC-06, SVC-21
#[tokio::test]
async fn a_head_of_ours_that_we_never_signed_stops_a_running_service() {
    for (proven, shown) in [(true, Some(other(70))), (false, None)] {
        let answers = |request: &AddCheckpoint| match request.checkpoint.head().size.get() {
            5 => (200, cosigned(request)),
            _ => (409, "70\n".to_owned()),
        };
        let service = Service {
            committed: 6,
            ..SERVICE
        };
        let mut setting = service.facing(None, answers).await;
        let committed = *setting.task.parts.sequencer.committed().borrow();
        let stop = Shutdown::new();
        tokio::spawn(setting.task.run(stop.clone()));
        let report = reported(&mut setting.reports).await;
        assert!(matches!(report, Report::Compared { .. }), "{report:?}");
        *setting.witness.shown.lock().unwrap() = shown.map(|head| signed(head).to_bytes());
        let head = SignedHead {
            signed: signed(committed),
            time: UnixSeconds::new(2).unwrap(),
        };
        setting.offer.send_replace(Some(Arc::new(head)));
        if proven {
            let report = reported(&mut setting.reports).await;
            assert!(matches!(report, Report::Ahead { .. }), "{report:?}");
        } else {
            // A claim alone stops nothing: it is asked again.
            while setting.witness.asked.lock().unwrap().len() < 4 {
                tokio::task::yield_now().await;
            }
            assert!(setting.reports.try_recv().is_err());
        }
        stop.trigger();
    }
}
