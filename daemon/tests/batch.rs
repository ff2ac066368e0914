//! Group commit: order, bounds, and that every question is resolved exactly once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jurat_daemon::batch::{BatchError, Batcher, Failure, Fatal, Linger};
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

fn some(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

async fn patiently<F: IntoFuture>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future)
        .await
        .expect("waited too long")
}

type Seen = Arc<Mutex<Vec<Vec<u64>>>>;

fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// A worker that answers with the square, records its batches, tells in which thread it begins one,
/// and begins it only when the gate opens once for it.
fn gated(
    capacity: usize,
    batch_max: usize,
) -> (Batcher<u64, u64>, SyncSender<()>, Receiver<String>, Seen) {
    let (open, gate) = sync_channel(1000);
    let (tell, begun) = sync_channel(1000);
    let seen = Seen::default();
    let batcher = Batcher::spawn("gated", some(capacity), some(batch_max), {
        let seen = Arc::clone(&seen);
        move |batch: Vec<u64>| {
            tell.send(thread_name()).unwrap();
            gate.recv().map_err(|_| Fatal {
                reason: "the test is over".to_owned(),
            })?;
            let answers = batch.iter().map(|n| n * n).collect();
            seen.lock().unwrap().push(batch);
            Ok(answers)
        }
    })
    .unwrap();
    (batcher, open, begun, seen)
}

#[tokio::test]
async fn a_lone_question_is_answered_at_once() {
    let (batcher, open, _begun, seen) = gated(10, 10);
    open.send(()).unwrap();
    assert_eq!(patiently(batcher.submit(7)).await, Ok(49));
    assert_eq!(*seen.lock().unwrap(), [[7]]);
}

#[tokio::test]
async fn what_arrives_during_the_work_is_the_next_batch_in_order() {
    let (batcher, open, begun, seen) = gated(100, 4);
    let mut answers = vec![batcher.try_submit(0).unwrap()];
    begun.recv().unwrap();
    answers.extend((1..=9).map(|n| batcher.try_submit(n).unwrap()));
    assert_eq!(batcher.waiting(), 9);
    for _ in 0..4 {
        open.send(()).unwrap();
    }
    for (n, answer) in (0..).zip(answers) {
        assert_eq!(patiently(answer).await, Ok(n * n));
    }
    let expected: [&[u64]; 4] = [&[0], &[1, 2, 3, 4], &[5, 6, 7, 8], &[9]];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_takes_again_later() {
    let (batcher, open, begun, _seen) = gated(2, 10);
    let first = batcher.try_submit(1).unwrap();
    begun.recv().unwrap();
    let waiting = [
        batcher.try_submit(2).unwrap(),
        batcher.try_submit(3).unwrap(),
    ];
    assert_eq!(
        batcher.try_submit(4).unwrap_err(),
        BatchError::Full { capacity: 2 }
    );
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert_eq!(patiently(first).await, Ok(1));
    for (answer, square) in waiting.into_iter().zip([4, 9]) {
        assert_eq!(patiently(answer).await, Ok(square));
    }
    open.send(()).unwrap();
    assert_eq!(patiently(batcher.submit(5)).await, Ok(25));
}

#[tokio::test]
async fn a_stop_finishes_what_waits_and_takes_nothing_more() {
    let (batcher, open, begun, seen) = gated(10, 2);
    let answers: Vec<_> = (0..5).map(|n| batcher.try_submit(n).unwrap()).collect();
    begun.recv().unwrap();
    let stopping = tokio::spawn({
        let batcher = batcher.clone();
        async move { batcher.stop().await }
    });
    while batcher.try_submit(9).is_ok() {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        let _ = open.send(());
    }
    patiently(stopping).await.unwrap();
    for (n, answer) in (0..).zip(answers) {
        assert_eq!(patiently(answer).await, Ok(n * n));
    }
    assert_eq!(batcher.try_submit(9).unwrap_err(), BatchError::Stopped);
    assert!(seen.lock().unwrap().iter().all(|batch| batch.len() <= 2));
    let failed = timeout(Duration::from_millis(20), batcher.failed()).await;
    assert!(failed.is_err(), "an orderly stop is no failure");
}

#[tokio::test]
async fn the_last_handle_that_goes_ends_the_worker_after_its_work() {
    let (batcher, open, begun, _seen) = gated(10, 10);
    let answer = batcher.try_submit(3).unwrap();
    begun.recv().unwrap();
    drop(batcher.clone());
    drop(batcher);
    open.send(()).unwrap();
    assert_eq!(patiently(answer).await, Ok(9));
    // The worker's end of the channel goes with the worker.
    assert!(begun.recv().is_err());
}

#[tokio::test]
async fn a_fatal_answer_stops_all_and_is_told() {
    let (batcher, open, begun, _seen) = gated(10, 1);
    let failed = batcher.failed();
    let answers: Vec<_> = (0..3).map(|n| batcher.try_submit(n).unwrap()).collect();
    begun.recv().unwrap();
    drop(open);
    for answer in answers {
        assert_eq!(patiently(answer).await, Err(BatchError::Stopped));
    }
    let reason = "the test is over".to_owned();
    assert_eq!(patiently(failed).await, Failure::Fatal(Fatal { reason }));
    assert_eq!(batcher.submit(1).await, Err(BatchError::Stopped));
    patiently(batcher.stop()).await;
    assert!(matches!(
        patiently(batcher.failed()).await,
        Failure::Fatal(_)
    ));
}

#[tokio::test]
async fn a_panic_stops_all_and_is_told() {
    let batcher: Batcher<u64, u64> =
        Batcher::spawn("panics", some(10), some(10), |_| panic!("a bug")).unwrap();
    assert_eq!(patiently(batcher.submit(1)).await, Err(BatchError::Stopped));
    let message = "a bug".to_owned();
    assert_eq!(
        patiently(batcher.failed()).await,
        Failure::Panicked { message }
    );
}

#[tokio::test]
async fn a_wrong_number_of_answers_hands_out_none() {
    let batcher: Batcher<u64, u64> =
        Batcher::spawn("short", some(10), some(10), |_| Ok(vec![1, 2, 3])).unwrap();
    assert_eq!(patiently(batcher.submit(1)).await, Err(BatchError::Stopped));
    let expected = Failure::WrongAnswerCount {
        questions: 1,
        answers: 3,
    };
    assert_eq!(patiently(batcher.failed()).await, expected);
}

#[tokio::test]
async fn a_submitter_that_goes_away_does_not_withdraw() {
    let (batcher, open, begun, seen) = gated(10, 10);
    drop(batcher.try_submit(1).unwrap());
    begun.recv().unwrap();
    drop(batcher.try_submit(2).unwrap());
    open.send(()).unwrap();
    open.send(()).unwrap();
    patiently(batcher.stop()).await;
    assert_eq!(*seen.lock().unwrap(), [[1], [2]]);
}

/// What a thread of the runtime is called; the worker has another name.
const RUNTIME_THREAD: &str = "asks";

/// A worker that says in which thread it worked.
fn telling_its_thread() -> Batcher<(), String> {
    Batcher::spawn("worker", some(10), some(10), |batch: Vec<()>| {
        Ok(vec![thread_name(); batch.len()])
    })
    .unwrap()
}

#[test]
fn a_lone_question_is_worked_on_where_it_is_asked() {
    runtime().block_on(async {
        let batcher = telling_its_thread();
        let asking = tokio::spawn(async move {
            // The worker may not sleep yet when the first comes.
            loop {
                let name = batcher.submit(()).await.unwrap();
                if name == RUNTIME_THREAD {
                    // Nothing else came since, so nor does the next change threads.
                    return batcher.submit(()).await.unwrap();
                }
            }
        });
        assert_eq!(patiently(asking).await.unwrap(), RUNTIME_THREAD);
    });
}

#[tokio::test]
async fn a_runtime_of_one_thread_is_never_blocked() {
    let batcher = telling_its_thread();
    for _ in 0..20 {
        assert_eq!(patiently(batcher.submit(())).await.unwrap(), "worker");
    }
}

type Asked = JoinHandle<Result<u64, BatchError>>;

/// A gated worker, asked once from a thread of the runtime, which then works.
fn led(runtime: &Runtime) -> (Batcher<u64, u64>, SyncSender<()>, Receiver<String>, Asked) {
    let (batcher, open, begun, _seen) = gated(10, 10);
    // The worker may not sleep yet, or again.
    loop {
        let asking = batcher.clone();
        let asked = runtime.spawn(async move { asking.submit(3).await });
        if begun.recv().unwrap() == RUNTIME_THREAD {
            return (batcher, open, begun, asked);
        }
        open.send(()).unwrap();
        runtime.block_on(patiently(asked)).unwrap().unwrap();
    }
}

#[test]
fn what_arrives_while_a_submitter_works_comes_next() {
    let runtime = runtime();
    let (batcher, open, begun, asked) = led(&runtime);
    let answers = [4, 5].map(|n| batcher.try_submit(n).unwrap());
    assert_eq!(batcher.waiting(), 2);
    assert!(begun.try_recv().is_err(), "two worked at once");
    open.send(()).unwrap();
    open.send(()).unwrap();
    runtime.block_on(async {
        assert_eq!(patiently(asked).await.unwrap(), Ok(9));
        for (answer, square) in answers.into_iter().zip([16, 25]) {
            assert_eq!(patiently(answer).await, Ok(square));
        }
    });
}

#[test]
fn a_stop_waits_for_the_submitter_that_works() {
    let runtime = runtime();
    let (batcher, open, _begun, asked) = led(&runtime);
    runtime.block_on(async {
        let stopped = timeout(Duration::from_millis(50), batcher.stop()).await;
        assert!(stopped.is_err(), "it stopped before the work had ended");
        open.send(()).unwrap();
        patiently(batcher.stop()).await;
        assert_eq!(patiently(asked).await.unwrap(), Ok(9));
        assert_eq!(batcher.submit(1).await, Err(BatchError::Stopped));
    });
}

#[test]
fn a_failure_where_it_is_asked_stops_all_and_is_told() {
    let runtime = runtime();
    let (batcher, open, begun, asked) = led(&runtime);
    let waiting = batcher.try_submit(4).unwrap();
    drop(open);
    runtime.block_on(async {
        let reason = "the test is over".to_owned();
        let failure = Failure::Fatal(Fatal { reason });
        assert_eq!(patiently(batcher.failed()).await, failure);
        assert_eq!(patiently(asked).await.unwrap(), Err(BatchError::Stopped));
        assert_eq!(patiently(waiting).await, Err(BatchError::Stopped));
        assert_eq!(batcher.submit(1).await, Err(BatchError::Stopped));
        patiently(batcher.stop()).await;
        assert_eq!(patiently(batcher.failed()).await, failure);
    });
    assert!(
        begun.try_recv().is_err(),
        "it worked on after it had failed"
    );
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(RUNTIME_THREAD)
        .enable_time()
        .build()
        .unwrap()
}

#[test]
fn a_stop_under_load_loses_no_answer() {
    for round in 0..20 {
        runtime().block_on(async {
            let worked = Arc::new(AtomicUsize::new(0));
            let batcher = Batcher::spawn("load", some(64), some(16), {
                let worked = Arc::clone(&worked);
                move |batch: Vec<u64>| {
                    worked.fetch_add(batch.len(), Ordering::Relaxed);
                    Ok(batch)
                }
            })
            .unwrap();
            let mut submitters = JoinSet::new();
            for submitter in 0..50_u64 {
                let batcher = batcher.clone();
                submitters.spawn(async move {
                    let mut answered = 0_usize;
                    for n in 0.. {
                        let question = submitter << 32 | n;
                        match batcher.submit(question).await {
                            Ok(answer) => assert_eq!(answer, question),
                            Err(BatchError::Full { .. }) => {
                                tokio::task::yield_now().await;
                                continue;
                            }
                            Err(BatchError::Stopped) => break,
                        }
                        answered += 1;
                    }
                    answered
                });
            }
            while worked.load(Ordering::Relaxed) < 100 * (round + 1) {
                tokio::task::yield_now().await;
            }
            patiently(batcher.stop()).await;
            let answered: usize = patiently(submitters.join_all()).await.into_iter().sum();
            // An orderly stop answers all that it accepted: Stopped only ever came from the door.
            assert_eq!(answered, worked.load(Ordering::Relaxed));
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_holds_and_every_question_is_resolved_once(
        capacity in 1_usize..40,
        batch_max in 1_usize..20,
        fatal_at in proptest::option::of(0_u64..200),
        count in 1_u64..200,
        lingers in any::<bool>(),
    ) {
        runtime().block_on(async {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let linger = lingers.then_some(Linger {
                after: 1,
                step: Duration::from_micros(50),
                steps_max: 3,
            });
            let capacity = some(capacity);
            let batcher = Batcher::spawn_lingering("order", capacity, some(batch_max), linger, {
                let seen = Arc::clone(&seen);
                move |batch: Vec<u64>| {
                    assert!(!batch.is_empty() && batch.len() <= batch_max);
                    if fatal_at.is_some_and(|at| batch.contains(&at)) {
                        return Err(Fatal { reason: "chosen".to_owned() });
                    }
                    seen.lock().unwrap().extend_from_slice(&batch);
                    Ok(batch.iter().map(|n| n + 1).collect())
                }
            })
            .unwrap();
            let (mut accepted, mut answers) = (Vec::new(), Vec::new());
            for n in 0..count {
                if let Ok(answer) = batcher.try_submit(n) {
                    accepted.push(n);
                    answers.push(answer);
                }
            }
            patiently(batcher.stop()).await;
            let mut answered = Vec::new();
            for (n, answer) in accepted.iter().zip(answers) {
                match patiently(answer).await {
                    Ok(next) => {
                        assert_eq!(next, n + 1);
                        answered.push(*n);
                    }
                    Err(error) => assert_eq!(error, BatchError::Stopped),
                }
            }
            let seen = seen.lock().unwrap().clone();
            assert_eq!(seen, answered, "what was worked on was answered, in order");
            assert_eq!(seen, accepted[..seen.len()], "in the order of acceptance");
        });
    }
}
