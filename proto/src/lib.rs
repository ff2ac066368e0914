//! What an auditor must trust to verify Jurat's promises, and nothing else.
//!
//! Notes, keys, checkpoints, cosignatures, the Merkle tree, its proofs and its tiles: bytes in,
//! a typed value or an exact reason out. There is no I/O here, no clock, no randomness and no
//! task; time is an argument. Nothing in this crate panics on input, and every parser accepts
//! only the one canonical form of a value, save that of policies, which people write by hand.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`hash`] | SHA-256 as RFC 6962 uses it: leaf hashes, node hashes, the empty root |
//! | [`tree`] | tree sizes, leaf indices, tree heads, and the right frontier of a growing tree |
//! | [`proof`] | inclusion, consistency and subtree proofs: made and verified |
//! | [`tile`] | the tree as static files: tiles, entry bundles, their paths |
//! | [`note`] | signed notes: a text and the signature lines under it |
//! | [`key`] | verifier keys (vkeys), and the one rule by which each signature type is verified |
//! | [`checkpoint`] | checkpoints, and which signatures on them are by known keys and good |
//! | [`cosignature`] | what signers sign, byte for byte, and the lines they make |
//! | [`add_checkpoint`], [`sign_subtree`] | requests to a witness, and what it decides about them |
//! | [`cosignature_lines`] | what a witness answers, and what a client keeps of it |
//! | [`log_list`] | lists of logs that witnesses may add: the witness network's `logs/v0` |
//! | [`policy`] | which logs and witnesses a verifier accepts, and how many of the latter |
//! | [`tlog_proof`] | one file that shows an entry in a log, with no network |
//! | [`entry`], [`receipt`] | the entries of Jurat's log, and the proof file that carries one |
//! | [`cose`] | COSE: messages with a time-stamp (RFC 9921), and receipts (RFC 9942) |
//! | [`evidence`] | portable proofs that a log or a witness contradicted itself: `tlog-fork` |
//! | [`export`] | what a witness takes along to another: heads and evidence, one file |
//! | [`gossip`] | what witnesses sign about what they hold, say to each other, and make of it |
//! | [`body`] | what those requests and files have in common: proof lines, then a checkpoint |
//! | [`tsp`] | RFC 3161 time-stamps: requests, tokens, and whether one is good |
//! | [`base64`], [`hex`], [`decimal`] | the three text encodings of the formats, canonical only |

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod add_checkpoint;
pub mod base64;
pub mod body;
pub mod checkpoint;
pub mod cose;
pub mod cosignature;
pub mod cosignature_lines;
pub mod decimal;
pub mod entry;
pub mod evidence;
pub mod export;
pub mod gossip;
pub mod hash;
pub mod hex;
pub mod key;
pub mod log_list;
pub mod note;
pub mod policy;
pub mod proof;
pub mod receipt;
pub mod sign_subtree;
pub mod tile;
pub mod tlog_proof;
pub mod tree;
pub mod tsp;

#[cfg(test)]
mod test_signer;
