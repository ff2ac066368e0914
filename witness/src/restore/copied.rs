//! Whether a state is the one that there was, by what it says of itself: a pure function.
//!
//! ```text
//! recorded in it      │ found at the start                        │ so it is
//! ────────────────────┼───────────────────────────────────────────┼───────────────────────────
//! nothing             │ no name                                   │ from before there were any
//! nothing             │ a name                                    │ a copy from before that
//! that it is a copy   │ no name ahead that is not in the finding  │ one, until that is decided
//! files, a machine    │ another file, or another machine          │ moved, restored or copied
//!                     │ a name ahead of it, or none any more      │ an older copy
//!                     │ no name where one was kept, outside       │ maybe one: nobody can tell
//!                     │ none of these                             │ sound
//! ```
//!
//! Nobody is asked, and no clock is read. What no file shows, a machine that was set back as a
//! whole, is for those whom the guard asks.
//!
//! Rows: `spec/witness.md` WIT-89, WIT-90, WIT-106.

use std::fmt;

use jurat_store::{FileId, FoundCopy, Identity, Placed, Reached};

/// What was found at a start.
#[derive(Debug, Clone, Copy)]
pub struct Here {
    /// Which file on which machine.
    pub identity: Identity,
    /// How far the state went; its epoch is the recorded one, or 0.
    pub reached: Reached,
    /// What the newest name beside it says.
    pub beside: Option<Reached>,
    /// Which file has that name.
    pub name: Option<FileId>,
    /// A file of its log that is another than the one that it went on in, as it was and as it is.
    pub other_log: Option<(FileId, FileId)>,
    /// What the newest name in the folder outside says, where there is one; and whether one has to
    /// be there.
    pub outside: Option<Outside>,
}

/// What was found in the folder outside.
#[derive(Debug, Clone, Copy)]
pub struct Outside {
    /// What its newest name says.
    pub newest: Option<Reached>,
    /// Whether a name was kept in this very folder before.
    pub kept: bool,
}

impl Outside {
    /// Whether the name that was there is not.
    pub fn is_gone(self) -> bool {
        self.kept && self.newest.is_none()
    }
}

/// What the state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing says that it is not the newest.
    Sound,
    /// It was made before anything was recorded, or is new.
    Unrecorded,
    /// It was found to be a copy before, and nobody has decided on that.
    Undecided(FoundCopy),
    /// It is a copy, by these signs; never empty.
    Copied(Vec<Sign>),
}

/// What gives a copy away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A name is ahead of it.
    Behind {
        /// Whether it is the name in the folder outside.
        outside: bool,
        /// What the name says.
        newest: Reached,
        /// Where the state is.
        reached: Reached,
    },
    /// There are names, and it knows of none.
    BeforeNames {
        /// What the newest says.
        newest: Reached,
    },
    /// A part of it is in another file.
    OtherFile {
        /// Which part.
        part: Part,
        /// In which it was.
        was: FileId,
        /// In which it is.
        is: FileId,
    },
    /// There was a name beside it, and there is none.
    NameGone,
    /// It is on another machine.
    OtherMachine,
    /// The name in the folder outside is gone.
    NoName,
}

/// A part of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The database.
    Database,
    /// A file of its log.
    Log,
    /// The name beside it.
    Name,
}

impl Sign {
    /// Whether the state may be older than it was, and not only at another place.
    pub fn is_older(self) -> bool {
        match self {
            Self::Behind { .. } | Self::BeforeNames { .. } | Self::NameGone | Self::NoName => true,
            Self::OtherFile { .. } | Self::OtherMachine => false,
        }
    }
}

/// Decides what a state is.
// Spec: WIT-89, WIT-90, WIT-106
pub fn decide(recorded: Option<&Placed>, here: &Here) -> Verdict {
    let outside = here.outside.and_then(|outside| outside.newest);
    let Some(recorded) = recorded else {
        return match here.beside.max(outside) {
            None => Verdict::Unrecorded,
            Some(newest) => Verdict::Copied(vec![Sign::BeforeNames { newest }]),
        };
    };
    let mut signs = Vec::new();
    for (is_outside, newest) in [(false, here.beside), (true, outside)] {
        if let Some(newest) = newest.filter(|newest| *newest > here.reached) {
            signs.push(Sign::Behind {
                outside: is_outside,
                newest,
                reached: here.reached,
            });
        }
    }
    let (was, is) = (recorded.identity, here.identity);
    let name = recorded.name.zip(here.name);
    for (part, both) in [
        (Part::Database, Some((was.file(), is.file()))),
        (Part::Log, here.other_log),
        (Part::Name, name),
    ] {
        if let Some((was, is)) = both.filter(|(was, is)| is.is_other_than(*was)) {
            signs.push(Sign::OtherFile { part, was, is });
        }
    }
    if recorded.name.is_some() && here.beside.is_none() {
        signs.push(Sign::NameGone);
    }
    if differ(was.machine, is.machine) {
        signs.push(Sign::OtherMachine);
    }
    if here.outside.is_some_and(Outside::is_gone) {
        signs.push(Sign::NoName);
    }
    match &recorded.copy {
        // A copy of a state that was held says what was found then, and may be older than all that
        // was decided since.
        Some(copy)
            if !signs
                .iter()
                .any(|sign| sign.is_older() && !is_told(sign, copy)) =>
        {
            Verdict::Undecided(copy.clone())
        }
        _ if signs.is_empty() => Verdict::Sound,
        _ => Verdict::Copied(signs),
    }
}

/// Whether a finding says this already: by the name, for the state may have gone on since.
fn is_told(sign: &Sign, copy: &FoundCopy) -> bool {
    let end = match sign {
        Sign::Behind {
            outside, newest, ..
        } => reached_by(*outside, *newest),
        other => other.to_string(),
    };
    copy.why.ends_with(&end) || copy.why.contains(&format!("{end}; "))
}

fn reached_by(outside: bool, newest: Reached) -> String {
    let place = if outside { "in mark_dir" } else { "beside it" };
    format!("the name {place} says that it had reached {newest}")
}

/// Whether two things that are both known differ.
fn differ<T: PartialEq>(was: Option<T>, is: Option<T>) -> bool {
    was.zip(is).is_some_and(|(was, is)| was != is)
}

/// What to record of a file from now on: what cannot be seen now stays as it was seen.
pub fn merged(was: Identity, is: Identity) -> Identity {
    let FileId { inode, born_ns } = is.file().merged(was.file());
    Identity {
        inode,
        born_ns,
        machine: is.machine.or(was.machine),
    }
}

/// For people, in one line.
pub fn told(signs: &[Sign]) -> String {
    let signs: Vec<String> = signs.iter().map(ToString::to_string).collect();
    signs.join("; ")
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind {
                outside,
                newest,
                reached,
            } => {
                let by = reached_by(*outside, *newest);
                write!(f, "it is an older copy: it is at {reached}, and {by}")
            }
            Self::BeforeNames { newest } => write!(
                f,
                "it is an older copy: it has no record of where it is, and a name says that it had \
                 reached {newest}"
            ),
            Self::OtherFile { part, was, is } => {
                let part = match part {
                    Part::Database => "its file",
                    Part::Log => "a file of its log",
                    Part::Name => "the name beside it",
                };
                write!(
                    f,
                    "{part} was copied, restored or moved: it is {is}, and was {was}"
                )
            }
            Self::NameGone => f.write_str(
                "it may be an older copy: there was a name beside it that says how far it went, \
                 and there is none",
            ),
            Self::OtherMachine => f.write_str("it is on another machine"),
            Self::NoName => f.write_str(
                "it may be an older copy: mark_dir had a name that says how far it went, and has \
                 none; is it mounted?",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use jurat_proto::hash::sha256;

    use super::*;

    fn at(epoch: u64, generation: u64, frames: u64) -> Reached {
        Reached {
            epoch,
            generation,
            frames,
        }
    }

    fn identity() -> Identity {
        Identity {
            inode: 7,
            born_ns: Some(1_700_000_000_000_000_001),
            machine: Some(sha256(b"m")),
        }
    }

    fn placed() -> Placed {
        Placed {
            epoch: 1,
            identity: identity(),
            outside: None,
            name: Some(name(9)),
            copy: None,
        }
    }

    fn name(inode: u64) -> FileId {
        FileId {
            inode,
            born_ns: Some(1_700_000_000_000_000_005),
        }
    }

    fn here() -> Here {
        Here {
            identity: identity(),
            reached: at(1, 5, 6),
            beside: Some(at(1, 5, 6)),
            name: Some(name(9)),
            other_log: None,
            outside: None,
        }
    }

    fn identified(change: fn(&mut Identity)) -> Here {
        let mut identity = identity();
        change(&mut identity);
        Here { identity, ..here() }
    }

    fn named(change: fn(&mut FileId)) -> Here {
        let mut name = name(9);
        change(&mut name);
        let name = Some(name);
        Here { name, ..here() }
    }

    fn outside(newest: Option<Reached>, kept: bool) -> Here {
        let outside = Some(Outside { newest, kept });
        Here { outside, ..here() }
    }

    fn beside(beside: Option<Reached>) -> Here {
        Here { beside, ..here() }
    }

    // Spec: WIT-89, WIT-90
    #[test]
    fn nothing_else_is_a_sign_of_a_copy() {
        let sound = [
            here(),
            beside(Some(at(1, 5, 5))),
            beside(Some(at(0, 9, 9))),
            // The kernel says less than before.
            named(|is| is.born_ns = None),
            identified(|is| (is.born_ns, is.machine) = (None, None)),
            outside(None, false),
            outside(Some(at(1, 5, 6)), true),
        ];
        for here in sound {
            assert_eq!(decide(Some(&placed()), &here), Verdict::Sound, "{here:?}");
        }
        // A record of before there were any of names.
        let earlier = Placed {
            name: None,
            ..placed()
        };
        for here in [here(), beside(None), named(|is| is.inode = 8)] {
            assert_eq!(decide(Some(&earlier), &here), Verdict::Sound, "{here:?}");
        }
    }

    // Spec: WIT-89, WIT-90, WIT-106
    #[test]
    fn each_sign_of_a_copy_is_seen() {
        let behind = |outside, newest| Sign::Behind {
            outside,
            newest,
            reached: at(1, 5, 6),
        };
        let other = |part, was, is| Sign::OtherFile { part, was, is };
        let moved = |here: Here| other(Part::Database, identity().file(), here.identity.file());
        let renamed = |here: Here| other(Part::Name, name(9), here.name.unwrap());
        let name_inode = named(|is| is.inode = 8);
        let name_born = named(|is| is.born_ns = Some(1_700_000_000_000_000_006));
        let log = Here {
            other_log: Some((name(3), name(4))),
            ..here()
        };
        let gone = Here {
            name: None,
            ..beside(None)
        };
        let inode = identified(|is| is.inode = 8);
        let born = identified(|is| is.born_ns = Some(1_700_000_000_000_000_002));
        let machine = identified(|is| is.machine = Some(sha256(b"n")));
        let ahead = "it is at 1-5-6, and the name beside it says that it had reached 1-5-7";
        let copies = [
            (inode, moved(inode), "inode 8"),
            (born, moved(born), "1700000000.000000002"),
            (machine, Sign::OtherMachine, "another machine"),
            (beside(Some(at(1, 5, 7))), behind(false, at(1, 5, 7)), ahead),
            (
                name_inode,
                renamed(name_inode),
                "the name beside it was copied",
            ),
            (name_born, renamed(name_born), "1700000000.000000006"),
            (
                log,
                other(Part::Log, name(3), name(4)),
                "a file of its log was copied",
            ),
            (gone, Sign::NameGone, "and there is none"),
            (
                outside(Some(at(2, 0, 0)), true),
                behind(true, at(2, 0, 0)),
                "the name in mark_dir",
            ),
            (outside(None, true), Sign::NoName, "is it mounted?"),
        ];
        for (here, sign, words) in copies {
            let verdict = decide(Some(&placed()), &here);
            assert_eq!(verdict, Verdict::Copied(vec![sign]));
            assert!(told(&[sign]).contains(words), "{sign}");
        }
        let both = Here {
            beside: Some(at(1, 6, 0)),
            ..inode
        };
        let Verdict::Copied(signs) = decide(Some(&placed()), &both) else {
            panic!("a copy");
        };
        assert_eq!(signs.len(), 2);
        assert!(signs.iter().any(|sign| sign.is_older()));
    }

    // Spec: WIT-89
    #[test]
    fn a_state_without_a_record_is_taken_as_it_is_unless_there_is_a_name() {
        let new = Here {
            beside: None,
            reached: at(0, 1, 0),
            ..here()
        };
        assert_eq!(decide(None, &new), Verdict::Unrecorded);
        let newest = at(0, 0, 1);
        let sign = Sign::BeforeNames { newest };
        for (beside, outside) in [(Some(newest), None), (None, Some(newest))] {
            let outside = outside.map(|newest| Outside {
                newest: Some(newest),
                kept: false,
            });
            let here = Here {
                beside,
                outside,
                ..new
            };
            assert_eq!(decide(None, &here), Verdict::Copied(vec![sign]));
        }
    }

    // Spec: WIT-91
    #[test]
    fn what_was_found_once_stays_found() {
        let copy = FoundCopy {
            since: 1,
            why: "w".to_owned(),
        };
        let recorded = Placed {
            copy: Some(copy.clone()),
            ..placed()
        };
        assert_eq!(decide(Some(&recorded), &here()), Verdict::Undecided(copy));
        // But what is newer than that finding is another one, and stays that.
        let ahead = beside(Some(at(2, 1, 1)));
        let Verdict::Copied(signs) = decide(Some(&recorded), &ahead) else {
            panic!("a finding of its own");
        };
        let why = told(&signs);
        let copy = FoundCopy { since: 2, why };
        let recorded = Placed {
            copy: Some(copy.clone()),
            ..placed()
        };
        let later = Here {
            reached: at(1, 5, 9),
            ..ahead
        };
        let verdict = Verdict::Undecided(copy);
        assert_eq!(decide(Some(&recorded), &later), verdict);
        let other = beside(Some(at(2, 1, 11)));
        assert_ne!(decide(Some(&recorded), &other), verdict);
    }
}
