//! A transparency-log witness: cosigns what is append-only, refuses what is not.
//!
//! In scope: the process around `jurat_proto`'s pure decisions. [`cosign`] guards the order check,
//! sign, make durable, answer; [`log_list`] knows which logs are served and follows their file;
//! [`http`] is the protocol's surface (C2SP tlog-witness, revision [`C2SP_REVISION`]); [`config`],
//! [`serve`] and [`cli`] make a program of it.
//!
//! Out of scope: what a valid request or proof is (`jurat_proto`), private keys (`jurat_keys`),
//! how bytes survive a crash (`jurat_store`), sockets (`jurat_daemon`). This crate sees no code of
//! the service.
//!
//! Rows: `spec/witness.md`, WIT-41 and above.

pub mod about;
pub mod bastion;
pub mod cli;
pub mod config;
pub mod cosign;
pub mod evidence;
mod evidence_command;
mod export_command;
pub mod gossip;
pub mod heads;
pub mod http;
mod import_command;
pub mod init;
pub mod journal;
pub mod lists;
pub mod log_list;
mod logs_command;
pub mod losses;
pub mod metrics;
pub mod page;
mod peers_command;
pub mod quota;
pub mod recheck;
pub mod restore;
pub mod serve;
mod unlisted;

/// The date of the C2SP texts that this witness obeys.
pub const C2SP_REVISION: &str = "2026-07-22";
