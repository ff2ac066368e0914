//! What a node knows of its peers, for people. Nothing changes here.

use core::time::Duration;

use super::Node;
use super::message::Alarm;
use crate::key::KeyName;

/// How it is with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStanding {
    /// Whose it is.
    pub name: KeyName,
    /// Whether it can be asked at all.
    pub asked: bool,
    /// How many questions failed in a row.
    pub failures: u32,
    /// For how long it has been failing; nothing when it is not.
    pub failing_for: Option<Duration>,
    /// For how long it is left alone from now on.
    pub pause: Duration,
    /// The time of its clock less that of ours, in seconds, when it answered last.
    pub clock_offset: Option<i64>,
    /// Whether its silence is an alarm.
    pub silent: bool,
    /// Whether what it said of itself is one.
    pub misbehaves: bool,
}

impl Node {
    /// The peers, by name.
    // Spec: GSP-141
    pub fn company(&self) -> impl Iterator<Item = PeerStanding> {
        let names = self.roster.peer_names();
        let others = names.filter(|name| **name != self.own.name);
        others.map(|name| {
            let peer = self.peers.get(name);
            let told = |alarm: Alarm| self.alarms.contains(&alarm);
            let [silent, misbehaves] = [name.clone(), name.clone()];
            PeerStanding {
                asked: self.roster.is_asked(name),
                failures: peer.map_or(0, |peer| peer.failures),
                failing_for: peer
                    .and_then(|peer| peer.failing_since)
                    .map(|since| self.steady.since(since)),
                pause: peer.map_or(Duration::ZERO, |peer| peer.wait_until.since(self.steady)),
                clock_offset: peer.and_then(|peer| peer.clock_offset),
                silent: told(Alarm::PeerSilent { peer: silent }),
                misbehaves: told(Alarm::PeerMisbehaves { peer: misbehaves }),
                name: name.clone(),
            }
        })
    }
}
