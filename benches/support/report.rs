//! The table: rows for people on standard output; Markdown and JSON under `target/bench`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// What one bench found.
pub struct Report {
    bench: &'static str,
    rows: Vec<Value>,
    markdown: String,
    more: String,
}

impl Report {
    pub fn new(bench: &'static str) -> Self {
        Self {
            bench,
            rows: Vec::new(),
            markdown: String::new(),
            more: String::new(),
        }
    }

    /// Adds a row. `met` is `None` where there is no bar.
    pub fn row(&mut self, what: &str, bar: &str, met: Option<bool>, measured: &str, data: Value) {
        let verdict = match met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        println!("{what}: {measured}   [bar: {bar}] {verdict}");
        let _ = writeln!(self.markdown, "| {what} | {bar} | {measured} | {verdict} |");
        self.rows.push(json!({
            "what": what, "bar": bar, "met": met, "measured": measured, "data": data,
        }));
    }

    /// Text that stands below the table.
    pub fn more(&mut self, text: &str) {
        println!("{text}");
        self.more.push_str(text);
        self.more.push_str("\n\n");
    }

    /// Writes the files that `benches/run` puts together.
    pub fn finish(self) {
        let folder = folder();
        std::fs::create_dir_all(&folder).unwrap();
        let write = |extension: &str, text: &str| {
            std::fs::write(folder.join(format!("{}.{extension}", self.bench)), text).unwrap();
        };
        write("rows.md", &self.markdown);
        write("more.md", &self.more);
        let document = json!({ "bench": self.bench, "rows": self.rows });
        write("json", &document.to_string());
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("bench")
}

/// Durations, to be asked for percentiles.
pub struct Times(Vec<Duration>);

impl Times {
    pub fn new(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Self(times)
    }

    /// Those of several turns.
    pub fn all(turns: Vec<Self>) -> Self {
        Self::new(turns.into_iter().flat_map(|turn| turn.0).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest time that at least this share of all does not exceed.
    pub fn at(&self, percent: f64) -> Duration {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    /// `p50 1.20, p99 3.40, p99.9 5.60 ms`
    pub fn summary(&self) -> String {
        let [p50, p99, p999] = [50.0, 99.0, 99.9].map(|percent| ms(self.at(percent)));
        format!("p50 {p50}, p99 {p99}, p99.9 {p999} ms")
    }

    pub fn json(&self) -> Value {
        let ms = |percent| self.at(percent).as_secs_f64() * 1e3;
        json!({
            "samples": self.len(),
            "p50_ms": ms(50.0), "p90_ms": ms(90.0), "p99_ms": ms(99.0), "p99.9_ms": ms(99.9),
            "max_ms": ms(100.0),
        })
    }
}

/// What several turns gave.
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut numbers: Vec<f64> = numbers.collect();
        numbers.sort_unstable_by(f64::total_cmp);
        Self {
            least: *numbers.first().expect("at least one turn"),
            median: numbers[numbers.len() / 2],
            most: *numbers.last().expect("at least one turn"),
        }
    }
}

/// `12,300/s (11,000 to 13,000 in turns)`
pub fn a_second(rate: &Spread) -> String {
    let [least, median, most] = [rate.least, rate.median, rate.most].map(thousands);
    format!("{median}/s ({least} to {most} in turns)")
}

/// Milliseconds with three digits that count.
pub fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        _ if ms < 1.0 => format!("{ms:.3}"),
        _ if ms < 10.0 => format!("{ms:.2}"),
        _ if ms < 100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// A count with its thousands apart: `25,000`.
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
