//! Exit codes, one meaning each, after the customary `sysexits` values.
//!
//! A supervisor decides by the code: 64 is never worth a restart, 69 and 75 are.

use std::io::{self, Write as _};
use std::mem;
use std::panic::{self, PanicHookInfo};
use std::process;
use std::time::Duration;

use tokio::runtime::Runtime;

/// All went well.
pub const OK: u8 = 0;
/// The thing that was asked for was checked and does not hold (`verify`, `audit`, `fsck`).
pub const REFUSED: u8 = 1;
/// The command line or the configuration is wrong; nothing was started or changed.
pub const USAGE: u8 = 64;
/// Input or stored data is malformed or damaged; an operator must look.
pub const DATA: u8 = 65;
/// A peer or a service that is needed does not answer.
pub const UNAVAILABLE: u8 = 69;
/// An invariant failed inside this program; a restart starts from what is durable.
pub const SOFTWARE: u8 = 70;
/// The operating system refused: a socket, a file descriptor, a thread.
pub const OS: u8 = 71;
/// A file could not be read or written.
pub const IO: u8 = 74;
/// A passing failure: the same command may succeed later.
pub const RETRY: u8 = 75;
/// A key of this process is convicted of having signed what cannot be true together. The same key
/// must not sign again, so a restart brings nothing.
pub const CONVICTED: u8 = 76;
/// The file or the key exists but this user may not use it, or others may.
pub const PERMISSION: u8 = 77;

/// Runs what the process is for. After a failure the runtime is left as it is, to the end of the
/// process, which has to follow at once.
///
/// A runtime that is shut down takes the timers from under threads that are in the middle of a
/// request, because they wait for a disk: they panic, and the process ends with another code than
/// the one that says what happened.
///
/// # Errors
/// What `main` returns.
pub fn block_on<T, E>(runtime: Runtime, main: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let result = runtime.block_on(main);
    match &result {
        Ok(_) => runtime.shutdown_timeout(LAST_TASKS),
        Err(_) => mem::forget(runtime),
    }
    result
}

/// What the tasks get that are left after all has been stopped, such as a look-up of a name.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// Ends the process at once, with a message and a code, on each panic that `known` has an answer
/// for, whether the build aborts on a panic or unwinds. Other panics go the way that they went
/// before. For whoever owns the process, before the work begins.
pub fn on_panic(
    program: &'static str,
    known: impl Fn(&PanicHookInfo<'_>) -> Option<(u8, String)> + Send + Sync + 'static,
) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| match known(info) {
        Some((code, message)) => {
            let _ = writeln!(io::stderr(), "{program}: {message}");
            process::exit(i32::from(code));
        }
        None => before(info),
    }));
}
