//! Every order of a few things that may happen to two witnesses and a log with two histories.
//!
//! What happens is one of: the log shows either witness more of either history, either witness asks
//! the other, either dies and comes back. All sequences up to a depth are told, for logs that serve
//! all tiles, those of its own history to each witness, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jurat_proto::gossip::node::{Config, Cosigning};

use crate::actors::Tiles;
use crate::network::World;

/// Where the histories part.
const FORK: u64 = 5;
/// `GOSSIP_DEPTH` tells longer stories.
const DEPTH: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Step {
    Show { witness: usize, branch: usize },
    Ask { witness: usize },
    Crash { witness: usize },
}

const STEPS: [Step; 8] = [
    Step::Show {
        witness: 0,
        branch: 0,
    },
    Step::Show {
        witness: 0,
        branch: 1,
    },
    Step::Show {
        witness: 1,
        branch: 0,
    },
    Step::Show {
        witness: 1,
        branch: 1,
    },
    Step::Ask { witness: 0 },
    Step::Ask { witness: 1 },
    Step::Crash { witness: 0 },
    Step::Crash { witness: 1 },
];

#[derive(Clone)]
struct Story {
    world: World,
    /// Which histories each witness has cosigned beyond the fork.
    sides: [BTreeSet<usize>; 2],
    /// Which histories were shown to anybody.
    shown: BTreeSet<usize>,
    sizes: [u64; 2],
    tiles: Tiles,
    told: Vec<Step>,
}

impl Story {
    fn new(tiles: Tiles) -> Self {
        let at_once = |config: &mut Config| {
            config.round = Duration::from_secs(1);
            config.jitter_percent = 0;
            config.grace_rounds = 0;
            config.suspect_after = Duration::ZERO;
            config.tiles_after = Duration::ZERO;
            config.backoff_max = Duration::ZERO;
        };
        let mut world = World::with(1, 2, 1, at_once, |_| {});
        world.through_bytes = false;
        world.delay_ms = 20;
        world.logs[0].fork(0, FORK);
        world.logs[0].tiles = tiles.clone();
        world.asks = vec![false; 2];
        Self {
            world,
            sides: Default::default(),
            shown: BTreeSet::new(),
            sizes: [FORK; 2],
            tiles,
            told: Vec::new(),
        }
    }

    fn tell(&mut self, step: Step) {
        self.told.push(step);
        let before = [0, 1].map(|witness| self.world.is_convicted(witness, 0));
        match step {
            Step::Show { witness, branch } => {
                self.shown.insert(branch);
                // Sizes that are shared, and sizes that are not.
                let size = self.sizes[branch] + 1 + (witness as u64);
                if self.world.submit(witness, 0, branch, size) {
                    self.sizes[branch] = size;
                    self.sides[witness].insert(branch);
                    self.serve();
                }
            }
            Step::Ask { witness } => {
                self.world.asks[witness] = true;
                // What was asked in vain before is given up within five.
                self.world.run(9);
                self.world.asks[witness] = false;
                self.check_contact();
            }
            Step::Crash { witness } => {
                self.world.kill(witness);
                self.world.revive(witness);
            }
        }
        self.check(before);
    }

    fn serve(&mut self) {
        if let Tiles::Followers(_) = self.tiles {
            let sides = self.sides.iter().cloned().enumerate();
            self.world.logs[0].tiles = Tiles::Followers(sides.collect());
        }
    }

    /// One contact, whoever asks, is enough: a proof when there are tiles, and a hold else.
    fn check_contact(&self) {
        let [one, other] = &self.sides;
        if one.is_empty() || other.is_empty() || one == other {
            return;
        }
        let stands = [0, 1].map(|witness| self.world.cosigning(witness, 0));
        let found = match self.tiles {
            Tiles::Refused => stands.iter().any(|stands| *stands != Cosigning::Free),
            _ => stands
                .iter()
                .any(|stands| matches!(stands, Cosigning::Convicted { .. })),
        };
        assert!(found, "{:?}: {stands:?}", self.told);
    }

    fn check(&self, before: [bool; 2]) {
        for (witness, sides) in self.sides.iter().enumerate() {
            assert!(
                sides.len() <= 1,
                "{:?}: w{witness} cosigned both",
                self.told
            );
            let now = self.world.is_convicted(witness, 0);
            assert!(now || !before[witness], "{:?}: forgotten", self.told);
        }
        if self.shown.len() <= 1 {
            self.world.nobody_convicts();
        }
    }

    fn all(&self, depth: usize) {
        if depth == 0 {
            return;
        }
        for step in STEPS {
            let mut next = self.clone();
            next.tell(step);
            next.all(depth - 1);
        }
    }
}

// Spec: GSP-32, GSP-39, GSP-42, GSP-44, GSP-46
#[test]
fn whatever_the_order_one_contact_is_enough() {
    let depth = std::env::var("GOSSIP_DEPTH").ok();
    let depth = depth.map_or(DEPTH, |depth| depth.parse().expect("a number"));
    for tiles in [
        Tiles::Open,
        Tiles::Followers(BTreeMap::new()),
        Tiles::Refused,
    ] {
        Story::new(tiles).all(depth);
    }
}
