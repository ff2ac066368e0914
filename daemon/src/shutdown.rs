//! How a daemon ends: one token that everything awaits, and the signals that trip it.
//!
//! The order of an orderly end is the program's own: trip the token, let [`crate::http::serve`]
//! drain, stop the workers, close the store. A second signal does not wait for any of it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::exit;

/// A token that is tripped once and seen by all its clones.
#[derive(Clone, Debug)]
pub struct Shutdown {
    sender: watch::Sender<bool>,
}

impl Shutdown {
    /// A token that only [`Shutdown::trigger`] trips.
    pub fn new() -> Self {
        Self {
            sender: watch::Sender::new(false),
        }
    }

    /// A token that SIGINT or SIGTERM trips. The second such signal ends the process at once
    /// with [`exit::RETRY`].
    ///
    /// # Errors
    /// The operating system refuses the signal handlers. Must be called within a tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let token = shutdown.clone();
        tokio::spawn(async move {
            let name = either(&mut interrupt, &mut terminate).await;
            tracing::info!(
                signal = name,
                "shutting down; a second signal ends it at once"
            );
            token.trigger();
            let name = either(&mut interrupt, &mut terminate).await;
            tracing::warn!(signal = name, "second signal: ending without draining");
            std::process::exit(i32::from(exit::RETRY));
        });
        Ok(shutdown)
    }

    /// Trips the token. Further calls change nothing.
    pub fn trigger(&self) {
        self.sender.send_replace(true);
    }

    /// Whether the token has been tripped.
    pub fn is_triggered(&self) -> bool {
        *self.sender.borrow()
    }

    /// Resolves when the token is tripped, at once when it already was. Cancel safe.
    pub async fn wait(&self) {
        // The sender lives in self, so that the channel can not close meanwhile.
        let _ = self.sender.subscribe().wait_for(|tripped| *tripped).await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

/// The stream of SIGHUP: each one asks the daemon to reload what it can (log list, certificate).
#[derive(Debug)]
pub struct Reloads {
    hangup: Signal,
}

impl Reloads {
    /// From now on SIGHUP does not end the process.
    ///
    /// # Errors
    /// The operating system refuses the signal handler. Must be called within a tokio runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves at the next SIGHUP; several that arrive together count once. Cancel safe.
    pub async fn next(&mut self) {
        if self.hangup.recv().await.is_none() {
            // No further signal can ever arrive: then there is never a reload.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_sees_the_trip_before_and_after_it_waits() {
        let shutdown = Shutdown::new();
        let waiter = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.wait().await }
        });
        assert!(!shutdown.is_triggered());
        shutdown.clone().trigger();
        waiter.await.unwrap();
        shutdown.wait().await;
        assert!(shutdown.is_triggered());
    }
}
