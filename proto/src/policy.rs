//! Trust policy: which logs and witnesses a verifier accepts, and how many of the latter it asks
//! for.
//!
//! In scope: the C2SP tlog-policy file (parse, encode), its quorum rule, and the verification of a
//! signed checkpoint under it. Out of scope: reading files, talking to logs or witnesses, and what
//! a timestamp must be compared with: the caller has the clock.
//!
//! ```text
//! log <vkey> [<url>]                        the vkey's name is the log's origin
//! witness <name> <vkey> [<url>]
//! group <name> any|all|<k> <name>...        witnesses and groups defined on lines above
//! quorum <name>|none                        exactly one
//! #jurat:retired <vkey>                     ours, and a comment to others: see below
//! #jurat:gossip <vkey> <name>...
//! ```
//!
//! The last two say what only evidence asks for, in lines that other readers of the format skip:
//! which keys logs sign with no more, and which gossip key belongs to which witnesses.
//!
//! Names, URLs and comments are octets without a meaning of their own: nothing here asks whether
//! they are UTF-8.
//!
//! Rules: `spec/policy.md`; C2SP tlog-policy, revision of 2026-07-22.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::key::{SignatureType, VerifierKey};

mod grammar;
mod reduce;
mod times;
mod verify;

pub use self::grammar::{PolicyFault, PolicyParseError};
pub use self::reduce::ReduceError;
pub use self::verify::{PolicyError, PolicyVerdict, UnmetGroup, WitnessVerdict};

/// A trust policy: known logs, known witnesses, and the quorum that makes a checkpoint valid.
///
/// Every value obeys the rules of the file format, whether it was parsed or built by
/// [`PolicyBuilder`]: names are defined once and before their use, no public key appears twice
/// among the logs or twice among the witnesses, and each name is a member of at most one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<PolicyGroup>,
    quorum: Quorum,
    retired: Vec<VerifierKey>,
    gossip: Vec<PolicyGossip>,
}

/// A log whose checkpoints the policy accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLog {
    /// The log's verifier key; its name is the log's origin.
    pub key: VerifierKey,
    /// Where the log can be reached, when the file says so.
    pub url: Option<PolicyWord>,
}

/// A witness that a quorum can count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWitness {
    /// The name by which groups and the quorum refer to it. It means nothing outside the policy.
    pub name: PolicyWord,
    /// The witness's cosignature key.
    pub key: VerifierKey,
    /// Where the witness can be reached (its submission prefix), when the file says so.
    pub url: Option<PolicyWord>,
}

/// The key with which a witness gossips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyGossip {
    /// The key.
    pub key: VerifierKey,
    /// The keys with which the same witness cosigns, by their places in [`Policy::witnesses`].
    pub witnesses: Vec<usize>,
}

/// Members of which a threshold must have witnessed a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyGroup {
    /// The group's name, from the same namespace as the witnesses' names.
    pub name: PolicyWord,
    /// How many members must have witnessed.
    pub threshold: Threshold,
    /// The members, in the order of the line.
    pub members: Vec<Member>,
}

impl PolicyGroup {
    /// How many members must have witnessed a checkpoint, as a number from 1 to their count.
    // Spec: POL-15
    pub fn needed(&self) -> usize {
        match self.threshold {
            Threshold::Any => 1,
            Threshold::All => self.members.len(),
            Threshold::AtLeast(k) => k,
        }
    }
}

/// How a group states its threshold. The spelling is kept, so that a file can be written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// `any`: one member.
    Any,
    /// `all`: every member.
    All,
    /// A number from 1 to the count of members.
    AtLeast(usize),
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::All => f.write_str("all"),
            Self::AtLeast(k) => write!(f, "{k}"),
        }
    }
}

/// A witness or group, by its place in [`Policy::witnesses`] or [`Policy::groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// A witness.
    Witness(usize),
    /// A group.
    Group(usize),
}

/// What must have witnessed a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// `quorum none`: nothing. Only a policy that says so in these words has it.
    None,
    /// This witness or group.
    Member(Member),
}

/// One item of a policy line: octets, at least one, none of them white space or control.
///
/// Shown lossily (octets that are not UTF-8 become U+FFFD); compared octet by octet.
// Spec: POL-05
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyWord(Vec<u8>);

impl PolicyWord {
    /// The word of these octets, or nothing when they are not one item of a policy line.
    pub fn new(octets: impl Into<Vec<u8>>) -> Option<Self> {
        let octets = octets.into();
        let fits = |&octet: &u8| matches!(octet, 0x21..=0x7e | 0x80..=0xff);
        (!octets.is_empty() && octets.iter().all(fits)).then_some(Self(octets))
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The word as text, when it happens to be UTF-8 (a URL that is to be called should be).
    pub fn to_str(&self) -> Option<&str> {
        core::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Display for PolicyWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for PolicyWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

impl Policy {
    /// The logs, in the order of the file.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses, in the order of the file.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// The groups, in the order of the file: members come before the groups that list them.
    pub fn groups(&self) -> &[PolicyGroup] {
        &self.groups
    }

    /// The keys that logs sign with no more. One that is listed as a log's, too, is accepted for
    /// checkpoints as before.
    pub fn retired(&self) -> &[VerifierKey] {
        &self.retired
    }

    /// The keys with which witnesses gossip.
    pub fn gossip(&self) -> &[PolicyGossip] {
        &self.gossip
    }

    /// What must have witnessed a checkpoint.
    pub fn quorum(&self) -> Quorum {
        self.quorum
    }

    /// The name of a witness or group of this policy; nothing for a place it does not have.
    pub fn member_name(&self, member: Member) -> Option<&PolicyWord> {
        match member {
            Member::Witness(place) => self.witnesses.get(place).map(|witness| &witness.name),
            Member::Group(place) => self.groups.get(place).map(|group| &group.name),
        }
    }

    /// The policy as a file: logs, retired keys, witnesses, gossip keys, groups, the quorum, one
    /// space between items and no other comments. Parsing it gives an equal policy.
    // Spec: POL-20
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for log in &self.logs {
            let key = log.key.to_string();
            let url = log.url.as_ref().map(PolicyWord::as_bytes);
            push_line(&mut file, &[b"log", key.as_bytes()], url);
        }
        for key in &self.retired {
            push_line(&mut file, &[RETIRED, key.to_string().as_bytes()], None);
        }
        for witness in &self.witnesses {
            let key = witness.key.to_string();
            let url = witness.url.as_ref().map(PolicyWord::as_bytes);
            push_line(
                &mut file,
                &[b"witness", witness.name.as_bytes(), key.as_bytes()],
                url,
            );
        }
        for gossip in &self.gossip {
            let key = gossip.key.to_string();
            let places = gossip.witnesses.iter().map(|&place| Member::Witness(place));
            let names = places.filter_map(|member| Some(self.member_name(member)?.as_bytes()));
            push_line(&mut file, &[GOSSIP, key.as_bytes()], names);
        }
        for group in &self.groups {
            let threshold = group.threshold.to_string();
            let members = group
                .members
                .iter()
                .filter_map(|&member| Some(self.member_name(member)?.as_bytes()));
            push_line(
                &mut file,
                &[b"group", group.name.as_bytes(), threshold.as_bytes()],
                members,
            );
        }
        let quorum = match self.quorum {
            Quorum::None => Some(NONE),
            Quorum::Member(member) => self.member_name(member).map(PolicyWord::as_bytes),
        };
        push_line(&mut file, &[b"quorum"], quorum);
        file
    }
}

/// Appends one line: the first items, then the others, with single spaces between.
fn push_line<'a>(file: &mut Vec<u8>, first: &[&'a [u8]], rest: impl IntoIterator<Item = &'a [u8]>) {
    for (place, item) in first.iter().copied().chain(rest).enumerate() {
        if place > 0 {
            file.push(b' ');
        }
        file.extend_from_slice(item);
    }
    file.push(b'\n');
}

/// How a line begins that names a key which its log signs with no more.
const RETIRED: &[u8] = b"#jurat:retired";
/// How a line begins that names the gossip key of a witness.
const GOSSIP: &[u8] = b"#jurat:gossip";
/// The predefined name that asks for no witness.
const NONE: &[u8] = b"none";
/// How many logs a policy may list. The specification asks for 32 at least.
// Spec: POL-19
pub const LOGS_MAX: usize = 256;
/// How many witnesses a policy may list. The specification asks for 32 at least.
pub const WITNESSES_MAX: usize = 256;
/// How many groups a policy may define. The specification asks for 32 at least.
pub const GROUPS_MAX: usize = 256;
/// How many octets a policy file may have: room for all those logs and witnesses with ML-DSA-44
/// keys (1.8 kB each in a vkey) and for comments.
pub const POLICY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Builds a policy definition by definition, under the same rules as a file.
///
/// ```
/// # use jurat_proto::policy::{PolicyBuilder, PolicyFault};
/// # fn main() -> Result<(), PolicyFault> {
/// let mut builder = PolicyBuilder::new();
/// builder.quorum(b"none")?;
/// assert_eq!(builder.finish()?.to_bytes(), b"quorum none\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct PolicyBuilder {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<PolicyGroup>,
    quorum: Option<Quorum>,
    retired: Vec<VerifierKey>,
    gossip: Vec<PolicyGossip>,
    /// Every defined name.
    names: BTreeMap<PolicyWord, Definition>,
}

/// A vkey stands in a policy as one item. Key names may hold one octet that no policy holds, 0x7F.
// Spec: POL-01
fn check_key(key: &VerifierKey) -> Result<(), PolicyFault> {
    match PolicyWord::new(key.to_string()) {
        Some(_) => Ok(()),
        None => Err(PolicyFault::KeyNotWritable),
    }
}

/// What a name stands for, and the group that lists it.
#[derive(Clone, Debug)]
struct Definition {
    member: Member,
    listed_by: Option<PolicyWord>,
}

impl PolicyBuilder {
    /// A policy with nothing in it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a log.
    ///
    /// # Errors
    /// [`PolicyFault`] when there are too many logs or one of them has this public key.
    pub fn log(&mut self, key: VerifierKey, url: Option<PolicyWord>) -> Result<(), PolicyFault> {
        if self.logs.len() >= LOGS_MAX {
            return Err(PolicyFault::TooManyLogs);
        }
        check_key(&key)?;
        // Spec: POL-09
        let bytes = key.public_key_bytes();
        if let Some(first) = self
            .logs
            .iter()
            .find(|log| log.key.public_key_bytes() == bytes)
        {
            return Err(PolicyFault::DuplicateLogKey {
                first: first.key.to_string(),
            });
        }
        self.logs.push(PolicyLog { key, url });
        Ok(())
    }

    /// Adds a witness under a name that is still free.
    ///
    /// # Errors
    /// [`PolicyFault`] when the name is taken or reserved, the key is no cosignature key, there are
    /// too many witnesses, or one of them has this public key.
    pub fn witness(
        &mut self,
        name: PolicyWord,
        key: VerifierKey,
        url: Option<PolicyWord>,
    ) -> Result<(), PolicyFault> {
        // Spec: POL-08
        let signature_type = key.signature_type();
        if !matches!(
            signature_type,
            SignatureType::CosignatureV1 | SignatureType::MlDsa44
        ) {
            return Err(PolicyFault::WitnessKeyType { signature_type });
        }
        if self.witnesses.len() >= WITNESSES_MAX {
            return Err(PolicyFault::TooManyWitnesses);
        }
        check_key(&key)?;
        // Spec: POL-10
        let bytes = key.public_key_bytes();
        if let Some(first) = self
            .witnesses
            .iter()
            .find(|w| w.key.public_key_bytes() == bytes)
        {
            return Err(PolicyFault::DuplicateWitnessKey {
                first: first.name.clone(),
            });
        }
        self.define(&name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(PolicyWitness { name, key, url });
        Ok(())
    }

    /// Says that a log signs with this key no more. The log is the one that the key is named after.
    ///
    /// # Errors
    /// [`PolicyFault`] when it was said before, or too many are named.
    // Spec: POL-32
    pub fn retired(&mut self, key: VerifierKey) -> Result<(), PolicyFault> {
        if self.retired.len() >= LOGS_MAX {
            return Err(PolicyFault::TooManyLogs);
        }
        check_key(&key)?;
        if self.retired.contains(&key) {
            return Err(PolicyFault::SaidTwice {
                key: key.to_string(),
            });
        }
        self.retired.push(key);
        Ok(())
    }

    /// Says with which key a witness gossips, that cosigns with the keys of these names.
    ///
    /// # Errors
    /// [`PolicyFault`] when the key is not of the type of gossip keys or was named before, a name
    /// is none of a witness, there is none, or there are too many.
    // Spec: POL-33
    pub fn gossip<'a>(
        &mut self,
        key: VerifierKey,
        names: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), PolicyFault> {
        let signature_type = key.signature_type();
        if signature_type != SignatureType::Ed25519 {
            return Err(PolicyFault::GossipKeyType { signature_type });
        }
        if self.gossip.len() >= WITNESSES_MAX {
            return Err(PolicyFault::TooManyWitnesses);
        }
        check_key(&key)?;
        let bytes = key.public_key_bytes();
        if self
            .gossip
            .iter()
            .any(|known| known.key.public_key_bytes() == bytes)
        {
            return Err(PolicyFault::SaidTwice {
                key: key.to_string(),
            });
        }
        let mut witnesses = Vec::new();
        for name in names {
            if name == NONE {
                return Err(PolicyFault::NoneAsMember);
            }
            let (name, definition) = self.lookup(name)?;
            match definition.member {
                Member::Witness(place) if !witnesses.contains(&place) => witnesses.push(place),
                Member::Witness(_) => return Err(PolicyFault::DuplicateName { name }),
                Member::Group(_) => return Err(PolicyFault::NotAWitness { name }),
            }
        }
        if witnesses.is_empty() {
            let what = "a witness's name";
            return Err(PolicyFault::Missing { what });
        }
        self.gossip.push(PolicyGossip { key, witnesses });
        Ok(())
    }

    /// Adds a group of names that are already defined and that no group lists yet.
    ///
    /// # Errors
    /// [`PolicyFault`] when the group's name is taken or reserved, a member is not defined or is
    /// listed before, the threshold is not from 1 to the count of members, or there are too many
    /// groups. Nothing is defined then.
    pub fn group<'a>(
        &mut self,
        name: PolicyWord,
        threshold: Threshold,
        members: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), PolicyFault> {
        if self.groups.len() >= GROUPS_MAX {
            return Err(PolicyFault::TooManyGroups);
        }
        let mut listed: BTreeMap<PolicyWord, Member> = BTreeMap::new();
        let mut places = Vec::new();
        for word in members {
            let (word, place) = self.free_member(word)?;
            // Spec: POL-16
            if listed.insert(word.clone(), place).is_some() {
                return Err(PolicyFault::MemberTwice {
                    name: word,
                    first: name,
                });
            }
            places.push(place);
        }
        // Spec: POL-14
        if places.is_empty() {
            return Err(PolicyFault::EmptyGroup { name });
        }
        // Spec: POL-15
        if let Threshold::AtLeast(k) = threshold
            && (k == 0 || k > places.len())
        {
            return Err(PolicyFault::ThresholdOutOfRange {
                threshold: k,
                members: places.len(),
            });
        }
        self.define(&name, Member::Group(self.groups.len()))?;
        for word in listed.keys() {
            if let Some(definition) = self.names.get_mut(word) {
                definition.listed_by = Some(name.clone());
            }
        }
        self.groups.push(PolicyGroup {
            name,
            threshold,
            members: places,
        });
        Ok(())
    }

    /// Sets the quorum to a name that is already defined, or to `none`.
    ///
    /// # Errors
    /// [`PolicyFault`] when the quorum is set already or the name is not defined.
    pub fn quorum(&mut self, name: &[u8]) -> Result<(), PolicyFault> {
        // Spec: POL-17
        if self.quorum.is_some() {
            return Err(PolicyFault::SecondQuorum);
        }
        // Spec: POL-18
        self.quorum = Some(if name == NONE {
            Quorum::None
        } else {
            Quorum::Member(self.lookup(name)?.1.member)
        });
        Ok(())
    }

    /// The finished policy.
    ///
    /// # Errors
    /// [`PolicyFault::NoQuorum`] when no quorum was set: a policy never asks for nothing by
    /// silence. [`PolicyFault::TooLong`] when the policy would be too large a file to be read back.
    pub fn finish(self) -> Result<Policy, PolicyFault> {
        // Spec: POL-17, POL-18
        let quorum = self.quorum.ok_or(PolicyFault::NoQuorum)?;
        let Self {
            logs,
            witnesses,
            groups,
            retired,
            gossip,
            ..
        } = self;
        let policy = Policy {
            logs,
            witnesses,
            groups,
            quorum,
            retired,
            gossip,
        };
        match policy.to_bytes().len() {
            bytes if bytes > POLICY_BYTES_MAX => Err(PolicyFault::TooLong { bytes }),
            _ => Ok(policy),
        }
    }

    /// Takes a name for a witness or group.
    // Spec: POL-11, POL-12
    fn define(&mut self, name: &PolicyWord, member: Member) -> Result<(), PolicyFault> {
        if name.as_bytes() == NONE {
            return Err(PolicyFault::ReservedName);
        }
        if self.names.contains_key(name) {
            return Err(PolicyFault::DuplicateName { name: name.clone() });
        }
        self.names.insert(
            name.clone(),
            Definition {
                member,
                listed_by: None,
            },
        );
        Ok(())
    }

    /// Finds a defined name that no group lists yet.
    // Spec: POL-12, POL-13, POL-16
    fn free_member(&self, word: &[u8]) -> Result<(PolicyWord, Member), PolicyFault> {
        if word == NONE {
            return Err(PolicyFault::NoneAsMember);
        }
        let (name, definition) = self.lookup(word)?;
        match &definition.listed_by {
            Some(first) => Err(PolicyFault::MemberTwice {
                name,
                first: first.clone(),
            }),
            None => Ok((name, definition.member)),
        }
    }

    fn lookup(&self, word: &[u8]) -> Result<(PolicyWord, &Definition), PolicyFault> {
        let name = PolicyWord(Vec::from(word));
        match self.names.get(&name) {
            Some(definition) => Ok((name, definition)),
            None => Err(PolicyFault::UnknownName { name }),
        }
    }
}

impl Policy {
    /// Whether the quorum holds when exactly the witnesses for which `cosigned` says yes, by their
    /// place in [`Policy::witnesses`], have cosigned.
    // Spec: POL-24
    pub fn quorum_met(&self, cosigned: impl Fn(usize) -> bool) -> bool {
        match self.quorum {
            Quorum::None => true,
            Quorum::Member(Member::Witness(place)) => cosigned(place),
            Quorum::Member(Member::Group(place)) => {
                let groups = self.evaluate(&cosigned);
                groups.get(place).is_some_and(|tally| tally.met)
            }
        }
    }

    /// Counts each group's members that have witnessed. Groups list only what was defined before
    /// them, so one pass in order sees every member's result.
    fn evaluate(&self, cosigned: &impl Fn(usize) -> bool) -> Vec<Tally> {
        let mut tallies: Vec<Tally> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let witnessed = |member: &&Member| is_witnessed(**member, cosigned, &tallies);
            let present = group.members.iter().filter(witnessed).count();
            tallies.push(Tally {
                present,
                met: present >= group.needed(),
            });
        }
        tallies
    }

    /// The groups that stand between a checkpoint and the quorum, the quorum's own first, each
    /// with its members that have not witnessed. A quorum of one witness shows as a group of one.
    // Spec: POL-25
    fn shortfall(&self, cosigned: impl Fn(usize) -> bool) -> Vec<UnmetGroup> {
        let Quorum::Member(quorum) = self.quorum else {
            return Vec::new();
        };
        let place = match quorum {
            Member::Group(place) => place,
            Member::Witness(_) => {
                let group = |name: &PolicyWord| UnmetGroup {
                    name: name.clone(),
                    needed: 1,
                    members: 1,
                    present: 0,
                    missing: vec![name.clone()],
                };
                return self.member_name(quorum).map(group).into_iter().collect();
            }
        };
        let tallies = self.evaluate(&cosigned);
        let mut open = vec![place];
        let mut unmet = Vec::new();
        while let Some(place) = open.pop() {
            let (Some(group), Some(tally)) = (self.groups.get(place), tallies.get(place)) else {
                continue;
            };
            let missing: Vec<Member> = group
                .members
                .iter()
                .copied()
                .filter(|&member| !is_witnessed(member, &cosigned, &tallies))
                .collect();
            open.extend(missing.iter().rev().filter_map(|member| match member {
                Member::Group(place) => Some(*place),
                Member::Witness(_) => None,
            }));
            unmet.push(UnmetGroup {
                name: group.name.clone(),
                needed: group.needed(),
                members: group.members.len(),
                present: tally.present,
                missing: missing
                    .iter()
                    .filter_map(|&m| self.member_name(m).cloned())
                    .collect(),
            });
        }
        unmet
    }
}

/// How many members of a group have witnessed, and whether they are enough.
struct Tally {
    present: usize,
    met: bool,
}

fn is_witnessed(member: Member, cosigned: &impl Fn(usize) -> bool, tallies: &[Tally]) -> bool {
    match member {
        Member::Witness(place) => cosigned(place),
        Member::Group(place) => tallies.get(place).is_some_and(|tally| tally.met),
    }
}
