//! `jurat`: the service and everybody's command line.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// The system's allocator keeps what the threads of a runtime free to itself, each thread its own:
/// with 100,000 logs a witness had a third of its memory in such holes.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let code = jurat::cli::run();
    #[cfg(feature = "pkcs11")]
    jurat_keys::end_pkcs11();
    code
}
