//! A program that is told of an alarm on its standard input.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a program has perhaps told nobody. The operator's to see to.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It was not started, or is lost track of.
    #[error("the program {program}: {error}")]
    Run {
        /// Its name.
        program: String,
        /// What the system says.
        error: io::Error,
    },
    /// It ended with an error.
    #[error("the program {program}: {status}")]
    Failed {
        /// Its name.
        program: String,
        /// How.
        status: ExitStatus,
    },
    /// It did not end, and was killed.
    #[error("the program {program} did not end in time")]
    TimedOut {
        /// Its name.
        program: String,
    },
}

/// Runs a program, and waits until it ends, half a minute at most. An empty command is none.
///
/// # Errors
/// [`HookError`].
// Spec: GSP-77, SVC-61
pub async fn run(command: &[String], text: &str) -> Result<(), HookError> {
    run_within(TIMEOUT, command, text).await
}

async fn run_within(limit: Duration, command: &[String], text: &str) -> Result<(), HookError> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let program = program.clone();
    match tokio::time::timeout(limit, ran(&program, arguments, text)).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(HookError::Failed { program, status }),
        Ok(Err(error)) => Err(HookError::Run { program, error }),
        // What is dropped is killed.
        Err(_) => Err(HookError::TimedOut { program }),
    }
}

async fn ran(program: &str, arguments: &[String], text: &str) -> io::Result<ExitStatus> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read what it is told may end well all the same.
        let _ = stdin.write_all(text.as_bytes()).await;
    }
    child.wait().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    // Spec: GSP-77, SVC-61
    #[tokio::test]
    async fn a_program_gets_the_text_and_how_it_ends_is_known() {
        run(&[], "x").await.unwrap();
        run(&shell("test \"$(cat)\" = x"), "x\n").await.unwrap();
        let deaf = "a text that no pipe holds ".repeat(1 << 16);
        run(&shell("exit 0"), &deaf).await.unwrap();
        let failed = run(&shell("exit 3"), "x").await.unwrap_err();
        assert_eq!(failed.to_string(), "the program sh: exit status: 3");
        let none = run(&["/nowhere/at-all".to_owned()], "x").await.unwrap_err();
        assert!(
            none.to_string()
                .starts_with("the program /nowhere/at-all: ")
        );
    }

    // Spec: GSP-77, SVC-61
    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed() {
        let limit = Duration::from_millis(100);
        let forever = run_within(limit, &shell("exec sleep 3600"), "x").await;
        let forever = forever.unwrap_err();
        assert!(matches!(forever, HookError::TimedOut { .. }), "{forever}");
    }
}
