//! Processes that end with the test.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use super::PATIENCE;

/// The program under test.
pub const JURAT: &str = env!("CARGO_BIN_EXE_jurat");

/// Runs a command of the program to its end.
pub fn jurat<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    Command::new(JURAT).args(args).output().unwrap()
}

/// The same, for a command that must succeed; gives its standard output.
pub fn done<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> String {
    let output = jurat(args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A running server process. Killed when dropped.
pub struct Process {
    child: Child,
    lines: Mutex<Receiver<String>>,
    stderr: PathBuf,
}

impl Process {
    /// Starts a command; what it prints to standard error is added to a file.
    pub fn start(command: &mut Command, stderr: &Path) -> Self {
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(stderr)
            .unwrap();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = sync_channel(16);
        // Ends with the process, which is the only one to hold the other end of the pipe.
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines: Mutex::new(lines),
            stderr: stderr.to_owned(),
        }
    }

    /// The address of the line `listening on http://…`, or `https`.
    pub fn address(&self) -> SocketAddr {
        self.try_address()
            .unwrap_or_else(|| panic!("it did not start: {}", self.stderr()))
    }

    /// The same; `None` when the process ended before.
    pub fn try_address(&self) -> Option<SocketAddr> {
        let line = match self.lines.lock().unwrap().recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("it says nothing: {}", self.stderr()),
        };
        let (said, address) = line.split_once("://").expect(&line);
        assert!(
            ["listening on http", "listening on https"].contains(&said),
            "{line}"
        );
        Some(address.parse().unwrap())
    }

    /// Everything that was written to the file of its standard error, by processes before it too.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it ends by itself.
    pub fn exit(&mut self) -> ExitStatus {
        loop {
            let line = self.lines.lock().unwrap().recv_timeout(PATIENCE);
            match line {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("still running after {PATIENCE:?}: {}", self.stderr())
                }
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// SIGTERM, and the exit code that follows.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.exit()
    }

    /// SIGKILL: no handler runs.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
