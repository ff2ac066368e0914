//! A disk that is soon full, for tests of whole processes.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A small file system in memory, seen through the process that holds it; gone with that process.
pub struct SmallDisk {
    holder: Child,
    pub path: PathBuf,
}

impl SmallDisk {
    /// `None` where mounting is not permitted; with `CI=true` that fails the test.
    pub fn mount(at: &Path, mib: u64) -> Option<Self> {
        for how in ["-m", "-rm"] {
            let script = format!(
                "mount -t tmpfs -o size={mib}m none {} && echo ready && exec cat",
                at.display()
            );
            let mut holder = Command::new("unshare")
                .args([how, "sh", "-c", &script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .ok()?;
            let mut line = String::new();
            let stdout = holder.stdout.as_mut().unwrap();
            drop(BufReader::new(stdout).read_line(&mut line));
            let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
            let disk = Self {
                path: root.join(at.strip_prefix("/").unwrap()),
                holder,
            };
            if line == "ready\n" && disk.path.is_dir() {
                return Some(disk);
            }
        }
        let must = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!must, "CI=true, and mounting is not permitted here");
        None
    }

    /// Fills the disk but for so many bytes; gives the file that does so.
    pub fn fill(&self, but: u64) -> PathBuf {
        let path = self.path.join("ballast");
        let mut ballast = File::create(&path).unwrap();
        let mut written = 0;
        while ballast.write_all(&[0xaa; 4096]).is_ok() {
            written += 4096;
        }
        ballast.set_len(written - but).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
