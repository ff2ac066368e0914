//! What do most time sources agree on? A pure decision: samples, wall time and boot time in, a
//! verdict out.
//!
//! ```text
//! a   ├───────┤                     each sample: true time was in here, at a moment of boot time
//! b       ├──────┤
//! c          ├────────┤
//! d                         ├──┤    lies, or is broken
//!            ╞══╡                   the band: from the first to the last point in 3 of 4
//! ```
//!
//! Samples say nothing about the wall clock: they tie true time to boot time, which nobody sets. So
//! a step of the wall clock changes no sample, and they are carried on to any later moment, each
//! side a little wider for what an oscillator may drift ([`DRIFT_PPM`]), until they are too old.
//!
//! More than half of the sources must agree. While more than half are honest, true time is in the
//! band; and each end of the band lies in the interval of an honest source, so that the others can
//! move it no further than that source is uncertain.
//!
//! A leap second is a step of true time as Unix counts it. A sample that announced one counts both
//! ways from the midnight at which it may come.
//!
//! Out of scope: where samples come from ([`super::sntp`]).
//!
//! Rows: `spec/clock.md` CLK-10 to CLK-15.

use std::time::Duration;

use super::{BootTime, UnixTime};

/// How many sources there are at most.
pub const SOURCES_MAX: usize = 8;

/// How far a clock that nobody disciplines may drift, in millionths: what kernels allow for.
pub const DRIFT_PPM: u32 = 500;

/// What counts as agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How many sources are asked.
    pub sources: usize,
    /// How many of them must agree; more than half.
    pub agree_min: usize,
    /// How far outside the band the wall clock may be.
    pub tolerance: Duration,
    /// How long an answer counts.
    pub valid: Duration,
}

/// What one source said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its place in the list of sources.
    pub source: usize,
    /// The moment that it is about.
    pub at: BootTime,
    /// True time was not before this.
    pub earliest: UnixTime,
    /// True time was not after this.
    pub latest: UnixTime,
    /// What the source says about the end of the day.
    pub leap: LeapSecond,
}

/// Whether the last minute of the day has 60 seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeapSecond {
    /// It has.
    #[default]
    None,
    /// It has 61: Unix time goes back by one.
    Inserted,
    /// It has 59.
    Deleted,
}

/// True time is in here, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// Not before this.
    pub earliest: UnixTime,
    /// Not after this.
    pub latest: UnixTime,
}

/// What the sources say about a wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There are no sources.
    NotConfigured,
    /// It is right.
    Inside {
        /// It is at most so far from true time.
        bound: Duration,
        /// Where true time is.
        band: Band,
    },
    /// It is wrong.
    Outside {
        /// At least by so much.
        by: Duration,
        /// Which way.
        direction: Direction,
        /// Where true time is.
        band: Band,
    },
    /// Enough answered, and contradict each other.
    NoAgreement {
        /// How many answers count.
        answers: usize,
        /// How many of them agree at most.
        agree: usize,
    },
    /// The answers are too old.
    Stale {
        /// Since when they are the newest.
        age: Duration,
    },
    /// Not enough sources have ever answered.
    Waiting {
        /// How many have.
        answers: usize,
    },
}

/// Which way a clock is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It shows a time that has not come yet.
    Ahead,
    /// It shows a time that has passed.
    Behind,
}

/// The newest sample of each source.
#[derive(Clone, Debug)]
pub struct Samples {
    rules: Rules,
    newest: [Option<Sample>; SOURCES_MAX],
}

impl Samples {
    /// No answers yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            newest: [None; SOURCES_MAX],
        }
    }

    /// What counts as agreement.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes a sample in the place of an older one of its source. An older one changes nothing, nor
    /// does one of a source that is not in the list.
    // Spec: CLK-15
    pub fn take(&mut self, sample: Sample) {
        if sample.source >= self.rules.sources {
            return;
        }
        if let Some(place) = self.newest.get_mut(sample.source)
            && place.is_none_or(|held| rank(&held) <= rank(&sample))
        {
            *place = Some(sample);
        }
    }

    /// Judges a wall time that was read at a moment.
    pub fn judge(&self, wall: UnixTime, now: BootTime) -> Verdict {
        if self.rules.sources == 0 {
            return Verdict::NotConfigured;
        }
        match self.band(now) {
            Ok(band) => self.compare(wall, band),
            Err(verdict) => verdict,
        }
    }

    /// Where true time is at a moment.
    ///
    /// # Errors
    /// The verdict on any wall time, when the sources do not say.
    // Spec: CLK-10, CLK-13
    pub fn band(&self, now: BootTime) -> Result<Band, Verdict> {
        let held = || self.newest.iter().flatten();
        let fresh: Vec<Band> = held()
            .filter(|sample| now.since(sample.at) <= self.rules.valid)
            .map(|sample| carried(sample, now))
            .collect();
        if fresh.len() < self.rules.agree_min {
            let mut ages: Vec<Duration> = held().map(|sample| now.since(sample.at)).collect();
            ages.sort_unstable();
            let last = self.rules.agree_min.saturating_sub(1);
            return Err(match ages.get(last) {
                Some(&age) => Verdict::Stale { age },
                None => Verdict::Waiting {
                    answers: ages.len(),
                },
            });
        }
        let answers = fresh.len();
        covered(&fresh, self.rules.agree_min)
            .map_err(|agree| Verdict::NoAgreement { answers, agree })
    }

    // Spec: CLK-11
    fn compare(&self, wall: UnixTime, band: Band) -> Verdict {
        let (ahead, behind) = (wall.since(band.latest), band.earliest.since(wall));
        let by = ahead.max(behind);
        if by > self.rules.tolerance {
            let direction = if behind.is_zero() {
                Direction::Ahead
            } else {
                Direction::Behind
            };
            return Verdict::Outside {
                by,
                direction,
                band,
            };
        }
        let far = wall.since(band.earliest).max(band.latest.since(wall));
        // A wall time is the beginning of its millisecond.
        let bound = far + MILLISECOND;
        Verdict::Inside { bound, band }
    }
}

/// Which of two samples of a source is the newer; a total order, so that it does not matter in
/// which order they come.
fn rank(sample: &Sample) -> (BootTime, UnixTime, UnixTime, LeapSecond) {
    (sample.at, sample.earliest, sample.latest, sample.leap)
}

/// A sample at a later moment.
// Spec: CLK-12
fn carried(sample: &Sample, now: BootTime) -> Band {
    let elapsed = now.since(sample.at);
    let drift = elapsed * DRIFT_PPM / 1_000_000;
    // Wall times are whole milliseconds: what is cut off the one end is added to the other.
    let mut earliest = sample.earliest.plus(elapsed).minus(drift + MILLISECOND);
    let mut latest = sample.latest.plus(elapsed + drift + MILLISECOND);
    // Spec: CLK-14
    if latest >= next_midnight(sample.latest) {
        match sample.leap {
            LeapSecond::None => {}
            LeapSecond::Inserted => earliest = earliest.minus(LEAP_SECOND),
            LeapSecond::Deleted => latest = latest.plus(LEAP_SECOND),
        }
    }
    Band { earliest, latest }
}

fn next_midnight(time: UnixTime) -> UnixTime {
    let days = time.seconds() / DAY_SECONDS;
    UnixTime::from_seconds(days.saturating_add(1).saturating_mul(DAY_SECONDS))
}

/// From the first to the last point that lies in `agree_min` of the intervals; else in how many a
/// point lies at most.
fn covered(intervals: &[Band], agree_min: usize) -> Result<Band, usize> {
    let begins = intervals.iter().map(|band| (band.earliest, Edge::Begins));
    let ends = intervals.iter().map(|band| (band.latest, Edge::Ends));
    let mut edges: Vec<(UnixTime, Edge)> = begins.chain(ends).collect();
    // At one point intervals begin before others end: both hold there.
    edges.sort_unstable();
    let (mut depth, mut most) = (0_usize, 0);
    let (mut first, mut last) = (None, None);
    for (point, edge) in edges {
        match edge {
            Edge::Begins => {
                depth += 1;
                most = most.max(depth);
                if depth == agree_min {
                    first = first.or(Some(point));
                }
            }
            Edge::Ends => {
                if depth == agree_min {
                    last = Some(point);
                }
                depth = depth.saturating_sub(1);
            }
        }
    }
    match (first, last) {
        (Some(earliest), Some(latest)) => Ok(Band { earliest, latest }),
        _ => Err(most),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    Begins,
    Ends,
}

const MILLISECOND: Duration = Duration::from_millis(1);

const LEAP_SECOND: Duration = Duration::from_secs(1);

const DAY_SECONDS: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: UnixTime = UnixTime::from_seconds(1_790_000_000);
    const TOLERANCE: Duration = Duration::from_secs(1);
    const VALID: Duration = Duration::from_secs(600);

    fn rules(sources: usize, agree_min: usize) -> Rules {
        Rules {
            sources,
            agree_min,
            tolerance: TOLERANCE,
            valid: VALID,
        }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: u64) -> UnixTime {
        START.plus(ms(millis))
    }

    /// The ends of an interval, in milliseconds after the start.
    type Ends = (u64, u64);

    /// A sample of the first moment; its ends are milliseconds after the start.
    fn sample(source: usize, earliest: u64, latest: u64) -> Sample {
        Sample {
            source,
            at: BootTime::ZERO,
            earliest: at(earliest),
            latest: at(latest),
            leap: LeapSecond::None,
        }
    }

    fn samples(agree_min: usize, ends: &[Ends]) -> Samples {
        let mut samples = Samples::new(rules(ends.len(), agree_min));
        for (source, (earliest, latest)) in ends.iter().enumerate() {
            samples.take(sample(source, *earliest, *latest));
        }
        samples
    }

    /// The band in milliseconds after the start, without the millisecond that rounding takes.
    fn band(samples: &Samples) -> Result<(u64, u64), Verdict> {
        let band = samples.band(BootTime::ZERO)?;
        let millis = |time: UnixTime| u64::try_from(time.since(START).as_millis()).unwrap();
        Ok((millis(band.earliest) + 1, millis(band.latest) - 1))
    }

    // Spec: CLK-10
    #[test]
    fn the_band_is_what_enough_sources_agree_on() {
        let cases: [(usize, &[Ends], Ends); 8] = [
            (1, &[(10, 20)], (10, 20)),
            (2, &[(10, 20), (15, 25)], (15, 20)),
            // Two of three: a liar on either side, and one that knows nothing.
            (2, &[(10, 20), (15, 25), (9_000, 9_001)], (15, 20)),
            (2, &[(10, 20), (15, 25), (1, 2)], (15, 20)),
            (2, &[(10, 20), (15, 25), (1, 9_000)], (10, 25)),
            // Who is right of these two pairs nobody can tell: both are in the band.
            (2, &[(10, 20), (10, 13), (18, 30)], (10, 20)),
            (3, &[(10, 20), (15, 25), (12, 18), (100, 200)], (15, 18)),
            // Ends that touch agree.
            (2, &[(10, 20), (22, 30)], (22, 20)),
        ];
        for (agree_min, ends, expected) in cases {
            let found = band(&samples(agree_min, ends)).unwrap();
            assert_eq!(found, expected, "{agree_min} of {ends:?}");
        }
    }

    // Spec: CLK-10, CLK-13
    #[test]
    fn without_agreement_there_is_no_band() {
        assert_eq!(
            band(&samples(2, &[(10, 20), (30, 40)])),
            Err(Verdict::NoAgreement {
                answers: 2,
                agree: 1
            })
        );
        assert_eq!(
            band(&samples(3, &[(10, 20), (15, 40), (50, 60), (55, 70)])),
            Err(Verdict::NoAgreement {
                answers: 4,
                agree: 2
            })
        );
        let mut waiting = Samples::new(rules(3, 2));
        waiting.take(sample(1, 10, 20));
        waiting.take(sample(3, 10, 20));
        assert_eq!(band(&waiting), Err(Verdict::Waiting { answers: 1 }));
    }

    // Spec: CLK-13
    #[test]
    fn answers_count_until_they_are_too_old() {
        let mut samples = samples(2, &[(0, 10), (0, 10), (0, 10)]);
        let last = BootTime::ZERO.plus(VALID);
        assert!(samples.band(last).is_ok());
        let late = last.plus(ms(1));
        let age = VALID + ms(1);
        assert_eq!(samples.band(late), Err(Verdict::Stale { age }));
        // One that goes on answering is not enough for two.
        for (source, agreed) in [(1, false), (2, true)] {
            samples.take(Sample {
                at: late,
                ..sample(source, 600_000, 600_010)
            });
            assert_eq!(samples.band(late).is_ok(), agreed);
        }
    }

    // Spec: CLK-11
    #[test]
    fn a_wall_clock_is_inside_up_to_the_tolerance() {
        let samples = samples(1, &[(9_001, 9_999)]);
        let band = samples.band(BootTime::ZERO).unwrap();
        assert_eq!((band.earliest, band.latest), (at(9_000), at(10_000)));
        let judge = |millis| samples.judge(at(millis), BootTime::ZERO);
        let inside = |bound| Verdict::Inside {
            bound: ms(bound),
            band,
        };
        let outside = |by, direction| Verdict::Outside {
            by: ms(by),
            direction,
            band,
        };
        assert_eq!(judge(9_500), inside(501));
        assert_eq!(judge(9_000), inside(1_001));
        assert_eq!(judge(11_000), inside(2_001));
        assert_eq!(judge(8_000), inside(2_001));
        assert_eq!(judge(11_001), outside(1_001, Direction::Ahead));
        assert_eq!(judge(7_999), outside(1_001, Direction::Behind));
        let none = Samples::new(rules(0, 0));
        assert_eq!(none.judge(at(0), BootTime::ZERO), Verdict::NotConfigured);
    }

    // Spec: CLK-14
    #[test]
    fn a_leap_second_that_was_announced_is_right_before_and_after() {
        // 2016-12-31T23:59:50Z, ten seconds before a leap second was inserted.
        let before = UnixTime::from_seconds(1_483_228_790);
        for (leap, from, to) in [
            (LeapSecond::None, 2, 2),
            (LeapSecond::Inserted, 1_002, 2),
            (LeapSecond::Deleted, 2, 1_002),
        ] {
            let mut samples = Samples::new(rules(1, 1));
            samples.take(Sample {
                source: 0,
                at: BootTime::ZERO,
                earliest: before,
                latest: before,
                leap,
            });
            let early = samples.band(BootTime::ZERO.plus(ms(9_000))).unwrap();
            assert!(early.latest.since(early.earliest) < ms(20), "{leap:?}");
            let late = samples.band(BootTime::ZERO.plus(ms(10_500))).unwrap();
            let uniform = before.plus(ms(10_500));
            assert!(uniform.since(late.earliest) >= ms(from - 1), "{leap:?}");
            assert!(uniform.since(late.earliest) < ms(from + 10), "{leap:?}");
            assert!(late.latest.since(uniform) >= ms(to - 1), "{leap:?}");
            assert!(late.latest.since(uniform) < ms(to + 10), "{leap:?}");
        }
    }

    /// What a source says at some moment before now, as errors against true time.
    #[derive(Clone, Copy, Debug)]
    struct Said {
        age_ms: u64,
        early_ms: u64,
        late_ms: u64,
        drift_ppm: i64,
    }

    fn said() -> impl Strategy<Value = Said> {
        (0_u64..=600_000, 0_u64..500, 0_u64..500, -500_i64..=500).prop_map(
            |(age_ms, early_ms, late_ms, drift_ppm)| Said {
                age_ms,
                early_ms,
                late_ms,
                drift_ppm,
            },
        )
    }

    /// What an honest source would say, and what a liar says instead: when its interval begins, in
    /// milliseconds after 5000 s before true time, and how long it is.
    type Told = (Said, Option<(u64, u64)>);

    const NOW: BootTime = BootTime(Duration::from_secs(100_000));

    /// The sample of an honest source: true time is `truth` now, and was what the drift of the
    /// machine's oscillator says it was then.
    fn honest(source: usize, truth: UnixTime, said: Said) -> Sample {
        let age = i64::try_from(said.age_ms).unwrap();
        let passed = age * (1_000_000 + said.drift_ppm) / 1_000_000;
        let then = truth.minus(ms(u64::try_from(passed).unwrap()));
        Sample {
            source,
            at: BootTime(NOW.0.saturating_sub(ms(said.age_ms))),
            earliest: then.minus(ms(said.early_ms)),
            latest: then.plus(ms(said.late_ms)),
            leap: LeapSecond::None,
        }
    }

    /// Some sources, fewer than enough of which lie.
    fn company() -> impl Strategy<Value = (Rules, Vec<Told>)> {
        let lie = (0_u64..10_000_000, 0_u64..2_000);
        let source = (said(), lie);
        (
            prop::collection::vec(source, 1..=SOURCES_MAX),
            any::<usize>(),
            any::<usize>(),
        )
            .prop_map(|(sources, more, liars)| {
                let count = sources.len();
                let majority = count / 2 + 1;
                let agree_min = majority + more % (count - majority + 1);
                // Enough honest ones to agree, so fewer liars than half.
                let liars = liars % (count - agree_min + 1);
                let sources = sources
                    .into_iter()
                    .enumerate()
                    .map(|(place, (said, lie))| (said, (place < liars).then_some(lie)))
                    .collect();
                (rules(count, agree_min), sources)
            })
    }

    fn told(rules: Rules, sources: &[Told], truth: UnixTime) -> (Samples, Vec<Sample>, Duration) {
        let mut all = Vec::new();
        let mut widest = Duration::ZERO;
        for (source, (said, lie)) in sources.iter().enumerate() {
            let mut sample = honest(source, truth, *said);
            if let Some((from, width)) = lie {
                sample.earliest = sample.earliest.minus(ms(5_000_000)).plus(ms(*from));
                sample.latest = sample.earliest.plus(ms(*width));
            } else {
                let band = carried(&sample, NOW);
                widest = widest.max(band.latest.since(band.earliest));
            }
            all.push(sample);
        }
        let mut samples = Samples::new(rules);
        for sample in &all {
            samples.take(*sample);
        }
        (samples, all, widest)
    }

    proptest! {
        // Spec: CLK-10
        #[test]
        fn true_time_is_in_the_band_while_enough_are_honest((rules, sources) in company()) {
            let (samples, _, widest) = told(rules, &sources, START);
            let band = samples.band(NOW).unwrap();
            prop_assert!(band.earliest <= START && START <= band.latest, "{band:?}");
            // And no liar stretches it beyond what an honest source does not exclude.
            prop_assert!(START.since(band.earliest) <= widest);
            prop_assert!(band.latest.since(START) <= widest);
        }

        // Spec: CLK-11
        #[test]
        fn liars_get_no_wrong_clock_accepted_and_no_right_one_refused(
            (rules, sources) in company(), off_ms in 0_u64..20_000, forward in any::<bool>()
        ) {
            let (samples, _, widest) = told(rules, &sources, START);
            let off = ms(off_ms);
            let wall = if forward { START.plus(off) } else { START.minus(off) };
            match samples.judge(wall, NOW) {
                Verdict::Inside { bound, .. } => {
                    prop_assert!(off <= TOLERANCE + widest, "accepted {off:?}");
                    prop_assert!(off <= bound, "{off:?} is more than {bound:?}");
                }
                Verdict::Outside { by, direction, .. } => {
                    prop_assert!(off > TOLERANCE, "refused {off:?}");
                    prop_assert!(by <= off);
                    prop_assert_eq!(forward, direction == Direction::Ahead);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }

        // Spec: CLK-12
        #[test]
        fn carrying_on_only_widens((rules, sources) in company(), later_ms in 0_u64..600_000) {
            let (samples, all, _) = told(rules, &sources, START);
            let now = all.iter().map(|sample| sample.at).max().unwrap();
            let later = now.plus(ms(later_ms));
            if let (Ok(before), Ok(after)) = (samples.band(now), samples.band(later))
                && all.iter().all(|sample| later.since(sample.at) <= VALID)
            {
                prop_assert!(after.earliest <= before.earliest.plus(ms(later_ms)));
                prop_assert!(after.latest >= before.latest.plus(ms(later_ms)));
            }
        }

        // Spec: CLK-15
        #[test]
        fn the_order_of_samples_does_not_matter(
            samples in prop::collection::vec(
                (0_usize..10, 0_u64..3, 0_u64..50, 0_u64..50), 0..24),
            seed in any::<u64>(), agree_min in 5_usize..=SOURCES_MAX, now_ms in 0_u64..700_000
        ) {
            let samples: Vec<Sample> = samples.into_iter().map(|(source, at, from, width)| Sample {
                at: BootTime::ZERO.plus(ms(at)),
                ..sample(source, from, from + width)
            }).collect();
            let mut shuffled = samples.clone();
            shuffled.sort_by_key(|sample| {
                let place = u64::try_from(sample.source).unwrap();
                (sample.latest.millis() ^ place).wrapping_mul(seed | 1)
            });
            let now = BootTime::ZERO.plus(ms(now_ms));
            let judge = |all: &[Sample]| {
                let mut held = Samples::new(rules(SOURCES_MAX, agree_min));
                for sample in all {
                    held.take(*sample);
                }
                held.judge(at(now_ms), now)
            };
            prop_assert_eq!(judge(&samples), judge(&shuffled));
        }
    }
}
