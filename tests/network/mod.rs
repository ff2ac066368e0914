//! A network on this machine, of real processes over real sockets: the service, its witnesses, and
//! logs that anchor. Each test file takes the part that it needs.
//!
//! Nothing here waits for a time to pass: it waits for a line, an answer or an exit, and fails the
//! test when that does not come in time.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "tests; and each test file uses its own part of this one"
)]

pub mod door;
pub mod http;
pub mod log;
pub mod process;
pub mod service;
pub mod witness;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use self::door::{Asked, Door, Mode};
pub use self::http::{Answer, Client};
pub use self::log::TestLog;
pub use self::process::{Process, jurat};
pub use self::service::{Home, Service};
pub use self::witness::{Member, WitnessHome, network, network_of, policy};

/// How long anything on this machine may take before the test has failed. Generous: a loaded
/// machine is slow, and a test that passes does not wait for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until there is an answer.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        // Wait: between two looks at another process, which tells nobody when it changes.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The folder of other people's test data, when there is one. `JURAT_VECTORS` names it; without it,
/// `../shared/vectors` beside the workspace is taken when it exists. With
/// `JURAT_VECTORS_REQUIRED=1` or `CI=true`, its absence fails the test.
pub fn vectors(folder: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
    let root = std::env::var_os("JURAT_VECTORS").map_or(beside, PathBuf::from);
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    let is = |name: &str, due: &str| std::env::var_os(name).is_some_and(|value| value == due);
    let required = is("JURAT_VECTORS_REQUIRED", "1") || is("CI", "true");
    assert!(
        !required,
        "the vectors are required, but {} is no folder",
        path.display()
    );
    println!("nothing to read: {} is no folder", path.display());
    None
}
