//! `jurat`: the service and everybody's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    jurat::cli::run()
}
