//! New keys and certificates for the time-stamp authority.
//!
//! ```text
//! keys/tsa/ca.key, ca.pem          the authority: 20 years, issues units and nothing else
//! keys/tsa/unit-1.key, unit-1.pem  a unit: its key signs for a year; the certificate has 10
//! ```
//!
//! A unit's key may also be made in a token of PKCS #11; its chain is then the only file.
//!
//! The authority's key is wanted once a year, to issue the next unit, and should not be on the
//! machine meanwhile. An operator with an authority of their own puts its chain in place of these.

use std::path::Path;

use anyhow::Context;
use jurat_keys::{TimestampKey, TimestampSigner as _, random_serial};
use jurat_proto::tsp::certificate::Certificate;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::issue::{CertificateDraft, CertificateProfile, common_name, to_pem};

use crate::tsa::units::UnitRow;

const YEAR: u64 = 365 * 86_400;
/// How long the authority's certificate is good for.
const ROOT_YEARS: u64 = 20;
/// How long a unit's certificate is: so long its tokens can be checked by those who look at nothing
/// else.
const UNIT_YEARS: u64 = 10;
/// A clock of somebody else may be behind ours.
const BEFORE: u64 = 3_600;

/// An authority: its key and its certificate.
pub(super) struct Authority {
    key: TimestampKey,
    certificate: Certificate,
}

impl Authority {
    /// Makes one, from `now` on.
    ///
    /// # Errors
    /// When there is no randomness, or the name is too long.
    pub(super) fn generate(origin: &str, now: u64) -> anyhow::Result<Self> {
        let key = TimestampKey::generate()?;
        let name = common_name(&short(&format!("{origin} time-stamp authority")))?;
        let public_key = key.public_key()?;
        let draft = CertificateDraft {
            serial: random_serial()?,
            issuer: name.clone(),
            subject: name,
            validity: (
                time(now.saturating_sub(BEFORE))?,
                time(now + ROOT_YEARS * YEAR)?,
            ),
            public_key: public_key.clone(),
            issuer_public_key: public_key,
            profile: CertificateProfile::Root,
        };
        let certificate = draft.finish(&key.sign(&draft.to_be_signed())?)?;
        Ok(Self { key, certificate })
    }

    /// Loads one from the files that [`Self::save`] wrote.
    ///
    /// # Errors
    /// When they cannot be read, or are not each other's.
    pub(super) fn load(dir: &Path) -> anyhow::Result<Self> {
        let key = TimestampKey::load(dir.join(CA_KEY))?;
        let path = dir.join(CA_CERTIFICATE);
        let chain = crate::tsa::units::read_chain(&path)?;
        let [certificate] = <[Certificate; 1]>::try_from(chain)
            .map_err(|_| anyhow::anyhow!("{}: not one certificate", path.display()))?;
        Ok(Self { key, certificate })
    }

    /// Writes both into a directory.
    ///
    /// # Errors
    /// When one is there already, or cannot be written.
    pub(super) fn save(&self, dir: &Path) -> anyhow::Result<()> {
        self.key.save_new(dir.join(CA_KEY))?;
        write_new(
            &dir.join(CA_CERTIFICATE),
            &to_pem(std::slice::from_ref(&self.certificate)),
        )
    }

    /// Makes the unit of this number, and writes its key and its chain.
    ///
    /// # Errors
    /// When there is no randomness, or a file is there already.
    pub(super) fn issue(
        &self,
        dir: &Path,
        origin: &str,
        number: usize,
        now: u64,
    ) -> anyhow::Result<()> {
        let key = TimestampKey::generate()?;
        let certificate = self.certify(key.public_key()?, origin, number, now)?;
        key.save_new(dir.join(unit_key(number)))?;
        self.save_chain(certificate, dir, number)
    }

    /// Writes the chain of the unit of this number, whose key is elsewhere.
    ///
    /// # Errors
    /// When there is no randomness, or the file is there already.
    pub(super) fn issue_for(
        &self,
        public_key: Vec<u8>,
        dir: &Path,
        origin: &str,
        number: usize,
        now: u64,
    ) -> anyhow::Result<()> {
        let certificate = self.certify(public_key, origin, number, now)?;
        self.save_chain(certificate, dir, number)
    }

    fn save_chain(
        &self,
        certificate: Certificate,
        dir: &Path,
        number: usize,
    ) -> anyhow::Result<()> {
        let chain = [certificate, self.certificate.clone()];
        write_new(&dir.join(unit_chain(number)), &to_pem(&chain))
    }

    // Spec: TSP-51
    fn certify(
        &self,
        public_key: Vec<u8>,
        origin: &str,
        number: usize,
        now: u64,
    ) -> anyhow::Result<Certificate> {
        let from = time(now.saturating_sub(BEFORE))?;
        let draft = CertificateDraft {
            serial: random_serial()?,
            issuer: self.certificate.subject().to_vec(),
            subject: common_name(&short(&format!("{origin} time-stamping unit {number}")))?,
            validity: (from, time(now + UNIT_YEARS * YEAR)?),
            public_key,
            issuer_public_key: self.key.public_key()?,
            profile: CertificateProfile::Unit {
                key_usage: (from, time(now + YEAR)?),
            },
        };
        Ok(draft.finish(&self.key.sign(&draft.to_be_signed())?)?)
    }
}

/// What the file of units says of the unit of this number, which starts now. Paths are relative to
/// the service's directory.
pub(super) fn row(number: usize, now: u64) -> UnitRow {
    let dir = Path::new(DIR);
    UnitRow {
        chain: dir.join(unit_chain(number)),
        key: Some(dir.join(unit_key(number))),
        started: now,
        closed: None,
        reason: None,
        pkcs11: None,
    }
}

/// The first number from `first` on of which there are no files: those that a change which ended
/// half-way left behind are not written over, and must not stop the next one.
pub(super) fn free_number(dir: &Path, first: usize) -> usize {
    let taken = |number: usize| {
        let files = [unit_key(number), unit_chain(number)];
        files.iter().any(|name| dir.join(name).exists())
    };
    let mut number = first;
    while taken(number) {
        number += 1;
    }
    number
}

/// The file of a unit's key.
pub(super) fn unit_key(number: usize) -> String {
    format!("unit-{number}.key")
}

/// The file of a unit's chain.
pub(super) fn unit_chain(number: usize) -> String {
    format!("unit-{number}.pem")
}

/// Where it all is, from the service's directory.
pub(super) const DIR: &str = "keys/tsa";
/// The root's certificate, for those who verify.
pub(super) const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

fn time(seconds: u64) -> anyhow::Result<GenTime> {
    GenTime::new(seconds, 0).context("the clock is beyond the year 9999")
}

/// A common name has 64 characters at most: of a longer one the end, which tells units apart.
fn short(name: &str) -> String {
    let chars = name.chars().count();
    name.chars().skip(chars.saturating_sub(64)).collect()
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create_new(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}
