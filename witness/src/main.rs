//! The witness as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    jurat_witness::cli::run(std::env::args_os())
}
