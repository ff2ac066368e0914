//! A server under load for a few seconds now and then, in turns with what it is compared with: the
//! machine's speed is not always the same, and what is compared should be of one moment.

use std::time::Duration;

use super::load::{ClosedLoop, Saturated, Statuses};
use super::process::cpu_time;
use super::report::{Spread, Times};

/// What all turns gave.
pub struct Turns {
    /// Answers a second, of each.
    pub rates: Vec<f64>,
    pub statuses: Statuses,
    times: Vec<Duration>,
    answered: u64,
    /// Processor time of the server and of this process.
    spent: [Duration; 2],
}

impl Turns {
    pub fn new() -> Self {
        Self {
            rates: Vec::new(),
            statuses: Statuses::new(),
            times: Vec::new(),
            answered: 0,
            spent: [Duration::ZERO; 2],
        }
    }

    /// So many turns, and what else was measured before the first and after each.
    pub fn between(
        load: &mut ClosedLoop<'_>,
        count: usize,
        (warm_up, length): (Duration, Duration),
        server_cpu_time: impl Fn() -> Duration,
        other: impl Fn() -> f64,
    ) -> (Self, Vec<f64>) {
        let mut turns = Self::new();
        let mut others = vec![other()];
        for _ in 0..count {
            turns.take(load, warm_up, length, &server_cpu_time);
            others.push(other());
        }
        (turns, others)
    }

    pub fn take(
        &mut self,
        load: &mut ClosedLoop<'_>,
        warm_up: Duration,
        length: Duration,
        server_cpu_time: impl Fn() -> Duration,
    ) {
        let mut marks = Vec::new();
        let stretch = load.run(warm_up, length, || {
            marks.push([server_cpu_time(), cpu_time("self")]);
        });
        let [before, after] = marks[..] else {
            unreachable!("two ends")
        };
        for (spent, (after, before)) in self.spent.iter_mut().zip(after.into_iter().zip(before)) {
            *spent += after - before;
        }
        let Saturated {
            rate,
            answered,
            statuses,
            times,
        } = stretch;
        self.rates.push(rate);
        self.answered += answered;
        self.times.extend(times);
        for (status, count) in statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    pub fn rate(&self) -> Spread {
        Spread::of(self.rates.iter().copied())
    }

    /// The share in another rate, which was measured before the first turn and after each.
    pub fn share_of(&self, others: &[f64]) -> Spread {
        let pairs = self.rates.iter().zip(others.windows(2));
        Spread::of(pairs.map(|(rate, around)| rate / f64::midpoint(around[0], around[1])))
    }

    /// How many times the rate of another's turns.
    pub fn beside(&self, others: &[f64]) -> Spread {
        Spread::of(
            self.rates
                .iter()
                .zip(others)
                .map(|(ours, theirs)| ours / theirs),
        )
    }

    /// Microseconds of processor time for each answer, of the server and of this process.
    pub fn each(&self) -> [f64; 2] {
        self.spent
            .map(|spent| spent.as_secs_f64() * 1e6 / self.answered as f64)
    }

    pub fn times(&self) -> Times {
        Times::new(self.times.clone())
    }
}
