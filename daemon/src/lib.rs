//! The plumbing of a daemon that has never heard of a log, a store or a key.
//!
//! In scope: time, and whether it can be believed ([`clock`]), strict configuration ([`config`]),
//! the HTTP listener with its limits ([`http`]), a place behind a bastion ([`bastion`]), a pooled
//! HTTP client ([`client`]), group commit ([`batch`]), alarms on their way to a program and a URL
//! ([`alarms`]), logs and metrics ([`telemetry`]), signals and drain ([`shutdown`]), file
//! descriptor limits ([`limits`]), small files ([`files`]) and exit codes ([`exit`]).
//!
//! Out of scope: what a request means, what is stored, what is signed. Nothing here keeps
//! process-wide state except what the operating system and `tracing` force to be global.

pub mod alarms;
pub mod bastion;
pub mod batch;
pub mod client;
pub mod clock;
pub mod config;
pub mod exit;
pub mod files;
pub mod http;
pub mod limits;
pub mod shutdown;
pub mod telemetry;
