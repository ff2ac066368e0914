//! Reading a long list piece by piece, on all cores.
//!
//! TOML that is parsed as a whole takes ten times its length in memory for a moment, and a list may
//! have a hundred thousand logs. As this program writes it, and as people do, each log begins with
//! a line `[[log]]`, so that the text can be cut there. A text in which such a line could be
//! anything else is not cut; and when a piece is wrong, the whole is parsed, so that errors say
//! which line.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::thread;

use super::{Log, Problem, RawLog, RawRegistry, parse_keys};
use jurat_proto::checkpoint::Origin;

/// What was read of one log.
pub(super) struct Read {
    /// Counted from 1.
    pub(super) number: usize,
    /// What is wrong with it.
    pub(super) problems: Vec<Problem>,
    /// The log, with those of its keys that are keys, unless it has no origin.
    pub(super) log: Option<Log>,
}

/// Reads all logs.
///
/// # Errors
/// The text is not TOML of this form.
pub(super) fn read(text: &str) -> Result<Vec<Read>, Problem> {
    let pieces = cut(text);
    if pieces.len() > 1
        && let Some(logs) = read_pieces(text, &pieces)
    {
        return Ok(logs);
    }
    read_piece(text, 1).map_err(|error| Problem::Toml(error.to_string()))
}

/// A part of the text, and the number of its first log.
type Piece = (Range<usize>, usize);

/// Logs in a piece.
const PIECE: usize = 256;

const TABLE: &str = "[[log]]";
const DISMISSED: &str = "[[log.dismissed]]";

fn cut(text: &str) -> Vec<Piece> {
    let whole = vec![(0..text.len(), 1)];
    // Only a string over several lines can hold a line that looks like the beginning of a table.
    if text.contains("\"\"\"") || text.contains("'''") {
        return whole;
    }
    let (mut pieces, mut from, mut first, mut logs) = (Vec::new(), 0, 1, 0);
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed == TABLE {
            if logs > 0 && logs % PIECE == 0 {
                pieces.push((from..at, first));
                (from, first) = (at, logs + 1);
            }
            logs += 1;
        } else if (logs == 0 && !trimmed.is_empty() && !trimmed.starts_with('#'))
            || (trimmed.starts_with("[[") && trimmed != DISMISSED)
        {
            // A field before all tables, or a table that is written another way: it would be
            // missing from the other pieces, or from the count.
            return whole;
        }
        at += line.len();
    }
    pieces.push((from..at, first));
    pieces
}

fn read_pieces(text: &str, pieces: &[Piece]) -> Option<Vec<Read>> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let read = |pieces: &[Piece]| -> Option<Vec<Read>> {
        let mut logs = Vec::with_capacity(pieces.len() * PIECE);
        for (range, first) in pieces {
            logs.extend(read_piece(text.get(range.clone())?, *first).ok()?);
        }
        Some(logs)
    };
    thread::scope(|scope| {
        let parts = pieces.chunks(pieces.len().div_ceil(cores));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || read(part))).collect();
        let mut logs = Vec::new();
        for thread in threads {
            // A thread that panicked did so for a reason that shows itself again with the whole.
            logs.extend(thread.join().ok()??);
        }
        Some(logs)
    })
}

fn read_piece(text: &str, first: usize) -> Result<Vec<Read>, toml::de::Error> {
    let raw: RawRegistry = toml::from_str(text)?;
    let numbered = (first..).zip(raw.log);
    Ok(numbered
        .map(|(number, raw)| read_log(number, raw))
        .collect())
}

fn read_log(number: usize, raw: RawLog) -> Read {
    let ((keys, mut problems), retired) = parse_keys(number, &raw.keys, &raw.retired);
    let log = match Origin::parse(&raw.origin) {
        Ok(origin) => Some(Log {
            qpd: raw.qpd,
            contact: raw.contact,
            source: raw.source,
            added: raw.added,
            reason: raw.reason,
            url: raw.url,
            retired: retired.into(),
            empty_stops: raw.empty_stops,
            suspect_holds: raw.suspect_holds,
            cadence_s: raw.cadence_s,
            pruned_below: raw.pruned_below,
            hold: raw.hold,
            dismissed: raw.dismissed.into(),
            ..Log::new(origin, keys, raw.state)
        }),
        Err(error) => {
            problems.push(Problem::Origin {
                log: number,
                origin: raw.origin,
                reason: error.to_string(),
            });
            None
        }
    };
    Read {
        number,
        problems,
        log,
    }
}
