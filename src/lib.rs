//! Jurat, the service: it composes the rooms below and adds no truth of its own.
//!
//! Floors, imports go down only: [`cli`], [`http`] and [`web`] stand on [`log`], [`submit`],
//! [`tsa`], [`evidence`], [`alerts`] and [`cosigners`], which stand on the crates `jurat-store`,
//! `jurat-keys`, `jurat-daemon` and `jurat-proto`. ARCHITECTURE.md tells the whole of it.

pub mod alerts;
pub mod cli;
pub mod config;
pub mod cosigners;
pub mod evidence;
pub mod http;
pub mod log;
pub mod service;
pub mod submit;
pub mod tsa;
pub mod web;
