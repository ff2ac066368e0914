//! The registered logs, as the service looks them up.

use std::collections::HashMap;
use std::path::Path;

use jurat_proto::checkpoint::Origin;
use jurat_proto::key::VerifierKey;
use jurat_store::registry::{Log, Registry, RegistryError};

/// One reading of the registry, with its index by origin hash.
#[derive(Debug, Default)]
pub struct Logs {
    registry: Registry,
    by_hash: HashMap<String, Origin>,
}

impl Logs {
    /// Reads the registry file.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn load(path: &Path) -> Result<Self, RegistryError> {
        let registry = Registry::load(path)?;
        let by_hash = registry
            .logs()
            .map(|log| (log.origin.hash_hex(), log.origin.clone()))
            .collect();
        Ok(Self { registry, by_hash })
    }

    /// The keys of an active log; `None` when the log is unknown or disabled.
    pub fn keys_for(&self, origin: &Origin) -> Option<&[VerifierKey]> {
        self.registry.keys_for(origin)
    }

    /// What is known of a log, active or not.
    pub fn log(&self, origin: &Origin) -> Option<&Log> {
        self.registry.log(origin)
    }

    /// The registered log, active or not, whose origin has this hash (lowercase hex).
    pub fn by_hash(&self, hash: &str) -> Option<&Origin> {
        self.by_hash.get(hash)
    }

    /// All registered logs, by origin.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Log> {
        self.registry.logs()
    }
}
