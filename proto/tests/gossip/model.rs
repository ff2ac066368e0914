//! The properties of gossip, in every order in which things can happen, by a model checker.
//!
//! What is checked is no sketch: a state has the real nodes ([`jurat_proto::gossip::node::Node`]),
//! their disks, all that is on its way between them, and what is left of the things that may
//! happen. Two states are one when all of that is the same (`Node::fingerprint`). Evidence, pages,
//! notes and openings are real, with real keys; the decision to cosign is the witness's
//! ([`jurat_proto::add_checkpoint::decide`]).
//!
//! Each thing may happen a few times, so every story ends, and a model is told to its end: no state
//! that can be reached is left out. How large the models are is in `docs/gossip-models.md`;
//! `GOSSIP_MODELS=large` tells larger ones.
//!
//! What is left out, and why nothing is lost by it: a question that is read and not thought about
//! (all but challenges and mail) is answered in the step in which it arrives. Between the two, only
//! the asker or the answerer could change, and either change may as well come before or after both.

mod cast;
mod world;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use jurat_proto::gossip::node::{Config, Cosigning, LogSettings};
use stateright::{Checker as _, Model as _, Property};

use self::cast::{Cast, MAIN, OTHER, Signed};
use self::world::{
    Act, Broken, Contact, Left, ROUND_MS, Story, Tiles, Told, Variant, Weather, World,
};

/// S1: "an honest witness never cosigns inconsistent heads (also across crash-restart: persist
/// before reply)".
fn s1() -> Property<Told> {
    Property::always("S1", |_, world: &World| !world.broken.contains(&Broken::S1))
}

/// S2: "an honest log or witness is never convicted".
fn s2() -> Property<Told> {
    Property::always("S2", |_, world: &World| !world.broken.contains(&Broken::S2))
}

/// S3: "evidence is monotone". What somebody was told of is on the disk, and is held from then on.
fn s3() -> Property<Told> {
    Property::always("S3", |_, world: &World| !world.broken.contains(&Broken::S3))
}

/// D1: "mutual exchange => PROVEN or SUSPECT". Both had a round with the other, in which all that
/// was asked was answered: each has its proof, or holds the log, as soon as it is told what time it
/// is, whether or not anybody can be reached then.
fn d1() -> Property<Told> {
    Property::always("D1", |told: &Told, world: &World| {
        pairs(told).all(|(one, other)| {
            let met = [world.contact[one][other], world.contact[other][one]];
            met.iter().any(|contact| *contact < Contact::Done)
                || [one, other].iter().all(|witness| {
                    let stands = told.stands_later(world, *witness);
                    stands != Cosigning::Free
                })
        })
    })
}

/// D2: "one contact with challenge => evidence when tiles exist".
fn d2() -> Property<Told> {
    Property::always("D2", |told: &Told, world: &World| {
        pairs(told).all(|(one, other)| {
            world.contact[one][other] < Contact::Done
                || [one, other]
                    .iter()
                    .any(|witness| has_proof(told, world, *witness))
        })
    })
}

/// D3: "hold": nothing of a log is cosigned that contradicts a head that holds it.
fn d3() -> Property<Told> {
    Property::always("D3", |_, world: &World| !world.broken.contains(&Broken::D3))
}

/// B1: "bounded queues". One question is out to each peer at a time; heads that are open, heads
/// that are remembered and evidence stay within their bounds.
fn b1() -> Property<Told> {
    Property::always("B1", |_, world: &World| !world.broken.contains(&Broken::B1))
}

/// L1: "a held honest log is eventually released". See [`fair`].
fn l1() -> Property<Told> {
    Property::always("L1", |told: &Told, world: &World| {
        fair(told, world, |told: &Told, world: &World| {
            (0..told.story.honest).all(|witness| {
                let [_, open, _, _] = world.witnesses[witness].node.counts();
                open == 0 && world.stands(told, witness) == Cosigning::Free
            })
        })
    })
}

/// L2: "evidence reaches all honest peers under fair loss". See [`fair`], and [`lossy`].
fn l2() -> Property<Told> {
    Property::always("L2", |told: &Told, world: &World| {
        let witnesses = 0..told.story.honest;
        let is_found = witnesses.clone().any(|witness| {
            !world.witnesses[witness].evidence.is_empty() && has_proof(told, world, witness)
        });
        let all_know = |told: &Told, world: &World| {
            let mut witnesses = witnesses.clone();
            witnesses.all(|witness| has_proof(told, world, witness))
        };
        // Who has it keeps it (S3).
        !is_found
            || all_know(told, world)
            || (fair(told, world, all_know) && lossy(told, world, all_know))
    })
}

/// D2 where waits take time: whatever was asked so far, and waits for what, as soon as time passes
/// there is a proof, if any two honest witnesses cosigned heads of two histories. See [`fair`].
fn d2_in_time() -> Property<Told> {
    Property::always("D2 in time", |told: &Told, world: &World| {
        let is_proven = |told: &Told, world: &World| {
            (0..told.story.honest).any(|witness| has_proof(told, world, witness))
        };
        !world.is_forked(told) || is_proven(told, world) || fair(told, world, is_proven)
    })
}

/// Liveness, as a property of every state: whatever happened up to here, when the weather is good
/// from here on, it comes to pass. The checker's own `eventually` is not used: it says nothing of
/// stories that meet each other again, which nearly all do.
fn fair(told: &Told, world: &World, holds: impl Fn(&Told, &World) -> bool) -> bool {
    in_weather(told, world, (FAIR_ROUNDS, 0), holds)
}

/// As [`fair`], where each message is lost the first time.
fn lossy(told: &Told, world: &World, holds: impl Fn(&Told, &World) -> bool) -> bool {
    in_weather(told, world, (LOSSY_ROUNDS, 1), holds)
}

fn in_weather(
    told: &Told,
    world: &World,
    (rounds, losses): (usize, u8),
    holds: impl Fn(&Told, &World) -> bool,
) -> bool {
    let first: Vec<usize> = (0..told.story.honest).collect();
    let last: Vec<usize> = first.iter().rev().copied().collect();
    [(first, false), (last, true)]
        .iter()
        .all(|(order, last_first)| {
            let holds = |world: &World| holds(told, world);
            let weather = Weather {
                rounds,
                order,
                last_first: *last_first,
                losses,
            };
            told.clear_up(world, &weather, holds)
        })
}

/// How many rounds good weather takes, and weather in which each message is lost once.
const FAIR_ROUNDS: usize = 3;
const LOSSY_ROUNDS: usize = 8;

fn pairs(told: &Told) -> impl Iterator<Item = (usize, usize)> {
    let count = told.story.honest;
    (0..count)
        .flat_map(move |one| (0..count).map(move |other| (one, other)))
        .filter(|(one, other)| one != other)
}

fn has_proof(told: &Told, world: &World, witness: usize) -> bool {
    matches!(
        world.stands(told, witness),
        Cosigning::Convicted { .. } | Cosigning::Stopped { .. }
    )
}

/// Two honest witnesses, and a log that showed each its own history.
fn fork_of_two() -> Story {
    Story {
        honest: 2,
        liar: false,
        tiles: Tiles::Followers,
        before: vec![Act::Show(0, MAIN, 2), Act::Show(1, OTHER, 3)],
        shows: Vec::new(),
        pushes: Vec::new(),
        rounds: vec![1, 0],
        left: Left::default(),
        waits: false,
        dies_after: 2,
        variant: Variant::AsDesigned,
        open_max: 16,
    }
}

fn told(story: Story, properties: Vec<Property<Told>>) -> Told {
    told_with(story, properties, |_| {}, |_| {})
}

fn told_with(
    story: Story,
    properties: Vec<Property<Told>>,
    configure: impl Fn(&mut Config),
    settle: impl Fn(&mut LogSettings),
) -> Told {
    let count = story.honest + usize::from(story.liar);
    Told::new(story, Cast::new(count, configure, settle), properties)
}

/// The model as it is told in each run, or a larger one.
fn sized(mut story: Story, larger: impl FnOnce(&mut Story)) -> Story {
    if is_large() {
        larger(&mut story);
    }
    story
}

fn is_large() -> bool {
    std::env::var("GOSSIP_MODELS").is_ok_and(|size| size == "large")
}

/// Tells a model to its end. All its properties hold.
fn holds(name: &str, told: Told) {
    let began = Instant::now();
    let checker = told.checker().spawn_bfs().join();
    println!(
        "| {name} | {} | {} | {} | {:.1} s |",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    checker.assert_properties();
}

/// Tells a model of a broken design until this property fails.
fn fails(name: &str, property: &'static str, told: Told) {
    let began = Instant::now();
    let checker = told.checker().spawn_bfs().join();
    let path = checker.discovery(property);
    let path = path.unwrap_or_else(|| panic!("{name}: {property} holds of a broken design"));
    let acts = path.into_actions();
    println!(
        "| {name} | {property} | {} | {} | {:.1} s | {acts:?} |",
        acts.len(),
        checker.unique_state_count(),
        began.elapsed().as_secs_f64()
    );
}

/// A log that shows one witness both its histories, before and after it dies.
fn both_to_one(variant: Variant) -> Story {
    let story = Story {
        before: vec![Act::Show(1, OTHER, 3)],
        shows: vec![(0, MAIN, 2), (0, OTHER, 2), (0, OTHER, 3)],
        left: Left {
            shows: 2,
            crashes: 1,
            ..Left::default()
        },
        dies_after: 1,
        variant,
        ..fork_of_two()
    };
    sized(story, |story| {
        story.shows.push((0, MAIN, 3));
        story.left.shows = 3;
        story.dies_after = 4;
    })
}

/// S1, with S2, S3, D3 and B1.
#[test]
fn s1_an_honest_witness_never_cosigns_inconsistent_heads() {
    let story = both_to_one(Variant::AsDesigned);
    holds("S1", told(story, vec![s1(), s2(), s3(), d3(), b1()]));
}

#[test]
fn s1_and_s2_fail_when_a_cosignature_leaves_before_it_is_durable() {
    let story = both_to_one(Variant::RepliesFirst);
    fails("replies first", "S1", told(story.clone(), vec![s1()]));
    fails("replies first", "S2", told(story, vec![s2()]));
}

/// S2 of an honest log, whatever a lying witness and strangers show of it.
#[test]
fn s2_an_honest_log_is_never_convicted() {
    let story = Story {
        liar: true,
        before: vec![Act::Show(0, MAIN, 2), Act::Show(1, MAIN, 3)],
        shows: vec![(0, MAIN, 3)],
        pushes: vec![(MAIN, 3, Signed::First), (OTHER, 2, Signed::Forged)],
        left: Left {
            shows: 1,
            pushes: 1,
            ..Left::default()
        },
        ..fork_of_two()
    };
    let story = sized(story, |story| {
        story.left.drops = 1;
        story.left.crashes = 1;
        story.left.later = 1;
    });
    holds(
        "S2, honest log",
        told(story, vec![s1(), s2(), s3(), d3(), b1()]),
    );
}

/// S2 of honest witnesses, while their log forks and another witness helps it.
#[test]
fn s2_an_honest_witness_is_never_convicted() {
    let story = Story {
        liar: true,
        ..fork_of_two()
    };
    let story = sized(story, |story| {
        story.left.crashes = 1;
        story.left.drops = 1;
        story.left.later = 1;
    });
    let properties = vec![s1(), s2(), s3(), b1()];
    holds("S2, honest witnesses", told(story, properties));
}

/// A fork that is found by its roots alone, and a process that dies at any point of that.
fn same_size(variant: Variant) -> Story {
    let story = Story {
        before: vec![Act::Show(0, MAIN, 2), Act::Show(1, OTHER, 2)],
        left: Left {
            crashes: 1,
            doubles: 1,
            later: 1,
            ..Left::default()
        },
        dies_after: 4,
        variant,
        ..fork_of_two()
    };
    sized(story, |story| {
        story.rounds = vec![1, 1];
        story.left.crashes = 2;
    })
}

#[test]
fn s3_evidence_is_monotone() {
    let story = same_size(Variant::AsDesigned);
    holds("S3", told(story, vec![s1(), s2(), s3(), b1()]));
}

#[test]
fn s3_fails_when_a_disk_forgets() {
    fails(
        "a disk forgets",
        "S3",
        told(same_size(Variant::Forgets), vec![s3()]),
    );
}

/// A log that serves no tiles.
fn no_tiles(variant: Variant) -> Story {
    let story = Story {
        tiles: Tiles::Refused,
        rounds: vec![2, 2],
        variant,
        ..fork_of_two()
    };
    sized(story, |story| story.left.drops = 1)
}

fn without_tiles(log: &mut LogSettings) {
    log.tiles = false;
}

/// D1, with S2, D3 and B1.
#[test]
fn d1_mutual_exchange_leads_to_a_proof_or_a_suspicion() {
    let story = no_tiles(Variant::AsDesigned);
    let properties = vec![s1(), s2(), d1(), d3(), b1()];
    holds("D1", told_with(story, properties, |_| {}, without_tiles));
}

#[test]
fn d1_fails_when_the_largest_head_is_the_head() {
    let story = no_tiles(Variant::MaxMerge);
    let told = told_with(story, vec![d1()], |_| {}, without_tiles);
    fails("the largest head is the head", "D1", told);
}

/// A log that shows each of two witnesses its own history, and the tiles of that.
fn one_contact(variant: Variant) -> Story {
    let story = Story {
        before: Vec::new(),
        shows: vec![(0, MAIN, 2), (0, MAIN, 3), (1, OTHER, 2), (1, OTHER, 3)],
        left: Left {
            shows: 3,
            drops: 1,
            ..Left::default()
        },
        variant,
        ..fork_of_two()
    };
    sized(story, |story| {
        story.rounds = vec![1, 1];
    })
}

/// D2, with S1, S2, S3, D3 and B1.
#[test]
fn d2_one_contact_with_a_challenge_leads_to_a_proof() {
    let properties = vec![s1(), s2(), s3(), d2(), d3(), b1()];
    holds("D2", told(one_contact(Variant::AsDesigned), properties));
    if is_large() {
        holds("D2, three", d2_of_three());
    }
}

/// D2 where two of three are on one side; in the larger run, since three who have evidence tell
/// each other of it in very many orders.
fn d2_of_three() -> Told {
    let story = Story {
        honest: 3,
        before: vec![
            Act::Show(0, MAIN, 2),
            Act::Show(1, OTHER, 3),
            Act::Show(2, OTHER, 2),
        ],
        rounds: vec![1, 0, 0],
        ..fork_of_two()
    };
    told(story, vec![s1(), s2(), s3(), d2(), d3(), b1()])
}

#[test]
fn d2_fails_when_nobody_answers_challenges() {
    let story = one_contact(Variant::NoChallenge);
    fails("nobody answers challenges", "D2", told(story, vec![d2()]));
}

/// A log that forks between the head of one witness and that of another, which an opening joined to
/// an earlier head of the first: rounds take time here, and tiles and peers wait as they do.
fn with_waits(variant: Variant) -> Story {
    let story = Story {
        before: vec![Act::Show(0, MAIN, 1), Act::Show(1, OTHER, 2)],
        shows: vec![(0, MAIN, 3)],
        rounds: vec![1, 0],
        left: Left {
            shows: 1,
            ticks: 1,
            ..Left::default()
        },
        waits: true,
        variant,
        ..fork_of_two()
    };
    sized(story, |story| {
        story.shows.push((1, OTHER, 3));
        story.rounds = vec![2, 1];
        story.left.shows = 2;
        story.left.ticks = 2;
        story.left.drops = 1;
    })
}

/// The waits of the defaults, in rounds that are as long as two of the ticks of a model.
fn waits(config: &mut Config) {
    config.round = Duration::from_millis(ROUND_MS);
    config.tiles_after = Duration::from_millis(ROUND_MS / 2);
    config.suspect_after = Duration::from_secs(600);
    config.grace_rounds = 2;
}

/// D2 with S1, S2, S3, D3 and B1 where nothing that waits is over at once.
// Spec: GSP-115, GSP-170, GSP-200
#[test]
fn d2_holds_where_peers_and_tiles_are_waited_for() {
    let properties = vec![s1(), s2(), s3(), d2_in_time(), d3(), b1()];
    let told = told_with(with_waits(Variant::AsDesigned), properties, waits, |_| {});
    holds("D2, with waits", told);
}

#[test]
fn d2_fails_with_waits_when_tiles_never_come_and_nobody_answers() {
    let story = Story {
        tiles: Tiles::Refused,
        ..with_waits(Variant::NoTiles)
    };
    let told = told_with(story, vec![d2_in_time()], waits, |_| {});
    fails("no tiles ever, with waits", "D2 in time", told);
}

/// A log that is held, and goes on.
fn held() -> Story {
    let story = Story {
        tiles: Tiles::Refused,
        shows: vec![(0, MAIN, 3)],
        rounds: vec![2, 0],
        left: Left {
            shows: 1,
            crashes: 1,
            ..Left::default()
        },
        ..fork_of_two()
    };
    sized(story, |story| {
        story.rounds = vec![2, 1];
        story.shows.push((0, OTHER, 3));
        story.left.shows = 2;
        story.dies_after = 4;
    })
}

/// D3, with S1, S2 and B1.
#[test]
fn d3_a_held_log_is_not_cosigned_against_what_holds_it() {
    let properties = vec![s1(), s2(), d3(), b1()];
    holds("D3", told_with(held(), properties, |_| {}, without_tiles));
}

#[test]
fn d3_fails_without_the_hold() {
    let unheld = |log: &mut LogSettings| {
        log.hold = false;
        log.tiles = false;
    };
    let told = told_with(held(), vec![d3()], |_| {}, unheld);
    fails("nothing is held", "D3", told);
}

/// A log that shows anybody heads of everything.
fn flooded() -> Story {
    let story = Story {
        tiles: Tiles::Refused,
        before: vec![Act::Show(0, MAIN, 1)],
        shows: vec![(0, MAIN, 2)],
        pushes: vec![
            (MAIN, 2, Signed::First),
            (MAIN, 3, Signed::First),
            (OTHER, 2, Signed::First),
            (OTHER, 3, Signed::First),
        ],
        left: Left {
            pushes: 3,
            ..Left::default()
        },
        dies_after: 0,
        open_max: 1,
        ..fork_of_two()
    };
    sized(story, |story| {
        story.rounds = vec![1, 1];
        story.left.shows = 1;
        story.left.pushes = 4;
    })
}

/// B1, where a log may have one open head and signs four.
#[test]
fn b1_queues_are_bounded() {
    let one = |config: &mut Config| config.unresolved = 1;
    let told = told_with(flooded(), vec![s2(), b1()], one, without_tiles);
    holds("B1", told);
}

#[test]
fn b1_fails_without_the_bound() {
    let none = |config: &mut Config| config.unresolved = 28;
    let told = told_with(flooded(), vec![b1()], none, without_tiles);
    fails("no bound", "B1", told);
}

/// An honest log whose tiles come late.
fn late_tiles(variant: Variant) -> Story {
    let story = Story {
        tiles: Tiles::Refused,
        before: vec![Act::Show(0, MAIN, 2), Act::Show(1, MAIN, 3)],
        rounds: vec![2, 0],
        left: Left {
            prunes: 1,
            ..Left::default()
        },
        variant,
        ..fork_of_two()
    };
    sized(story, |story| {
        story.rounds = vec![2, 1];
        story.left.crashes = 1;
    })
}

/// L1, with S2.
#[test]
fn l1_a_held_honest_log_is_released_in_the_end() {
    holds(
        "L1",
        told(late_tiles(Variant::AsDesigned), vec![s2(), l1()]),
    );
}

#[test]
fn l1_fails_when_tiles_never_come() {
    fails(
        "no tiles ever",
        "L1",
        told(late_tiles(Variant::NoTiles), vec![l1()]),
    );
}

/// One of three witnesses has the evidence, and nobody else has seen both heads.
fn one_that_knows(variant: Variant) -> Story {
    let story = Story {
        honest: 3,
        before: vec![Act::Show(0, MAIN, 2), Act::Show(1, MAIN, 2)],
        shows: vec![(0, OTHER, 2)],
        rounds: vec![0, 0, 0],
        left: Left {
            shows: 1,
            drops: 1,
            ..Left::default()
        },
        dies_after: 1,
        variant,
        ..fork_of_two()
    };
    sized(story, |story| {
        story.left.crashes = 1;
    })
}

/// L2, with S2 and S3.
#[test]
fn l2_evidence_reaches_everybody_in_the_end() {
    let story = one_that_knows(Variant::AsDesigned);
    holds("L2", told(story, vec![s2(), s3(), l2()]));
}

#[test]
fn l2_fails_when_nobody_is_told() {
    let story = one_that_knows(Variant::TellsNobody);
    fails("nobody is told", "L2", told(story, vec![l2()]));
}

/// S1 to S3, D3 and B1 while the log's first key is retired, here and there, and whoever stole it
/// goes on signing.
#[test]
fn s2_and_d3_hold_while_a_key_is_retired() {
    let story = Story {
        before: vec![Act::Show(0, MAIN, 2), Act::Show(1, MAIN, 3)],
        pushes: vec![(OTHER, 3, Signed::First)],
        left: Left {
            pushes: 1,
            retires: 1,
            ..Left::default()
        },
        ..fork_of_two()
    };
    let story = sized(story, |story| {
        story.shows = vec![(0, MAIN, 3)];
        story.left.shows = 1;
        story.left.prunes = 1;
        story.left.crashes = 1;
    });
    let properties = vec![s1(), s2(), s3(), d3(), b1()];
    holds("a key is retired", told(story, properties));
}

/// What all models rest on: two states that count as one lead to the same states, by whatever way
/// they were reached.
// Spec: GSP-87
#[test]
fn states_that_count_as_one_lead_to_the_same_states() {
    let mut story = one_contact(Variant::AsDesigned);
    story.left.crashes = 1;
    let told = told(story, Vec::new());
    let after = |world: &World| -> Vec<(Act, u64)> {
        let mut acts = Vec::new();
        told.actions(world, &mut acts);
        let next = acts.into_iter().map(|act| {
            let next = told.next_state(world, act.clone()).expect("it happens");
            (act, next.digest())
        });
        next.collect()
    };
    let mut seen: HashMap<u64, World> = HashMap::new();
    let mut to_tell: VecDeque<World> = told.init_states().into();
    let (mut met, mut compared) = (0, 0);
    while let Some(world) = to_tell.pop_front() {
        let mut acts = Vec::new();
        told.actions(&world, &mut acts);
        for act in acts {
            let next = told.next_state(&world, act).expect("it happens");
            match seen.get(&next.digest()) {
                Some(before) => {
                    met += 1;
                    if met % 5 == 0 {
                        compared += 1;
                        assert_eq!(after(&next), after(before));
                    }
                }
                None if seen.len() < 4_000 => {
                    seen.insert(next.digest(), next.clone());
                    to_tell.push_back(next);
                }
                None => {}
            }
        }
    }
    assert!(compared > 500, "{compared} of {met}");
}
