//! How many file descriptors this process may have, and how many connections that allows.

use std::io;

use rlimit::Resource;

/// File descriptors that a daemon needs besides its client connections: database, log files,
/// listeners, the runtime's own, outgoing connections and connections that are being refused.
pub const DESCRIPTORS_RESERVED: u64 = 256;

/// The limit on open file descriptors, after it has been raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// The soft limit before the call.
    pub soft_before: u64,
    /// The soft limit now in force.
    pub soft: u64,
    /// The hard limit, which only the system's administrator raises.
    pub hard: u64,
}

impl OpenFiles {
    /// Raises the soft limit to the hard limit.
    ///
    /// # Errors
    /// The operating system refuses; the limit is as before.
    pub fn raise() -> io::Result<Self> {
        let (soft_before, hard) = Resource::NOFILE.get()?;
        if soft_before < hard {
            Resource::NOFILE.set(hard, hard)?;
        }
        let (soft, hard) = Resource::NOFILE.get()?;
        Ok(Self {
            soft_before,
            soft,
            hard,
        })
    }

    /// How many client connections fit beside [`DESCRIPTORS_RESERVED`].
    pub fn connections_max(&self) -> usize {
        usize::try_from(self.soft.saturating_sub(DESCRIPTORS_RESERVED)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_reaches_the_hard_limit() {
        let files = OpenFiles::raise().unwrap();
        assert_eq!(files.soft, files.hard);
        assert!(files.soft >= files.soft_before);
        assert!(files.connections_max() > 0);
    }

    #[test]
    fn a_tiny_limit_allows_no_connection_rather_than_wrapping() {
        let files = OpenFiles {
            soft_before: 64,
            soft: 64,
            hard: 64,
        };
        assert_eq!(files.connections_max(), 0);
    }
}
