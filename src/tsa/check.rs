//! That what a key returned is its signature, before it is released.
//!
//! A key that is at fault (a broken device, bits that turned in memory) returns bytes of the right
//! length that nobody can verify; of some schemes they even give the key away. So they are checked.
//! Of a key whose signing takes long, RSA, P-384 or a device, each signature is: the check is
//! cheap beside it. Of a P-256 key in this machine it would cost three times the signing, so the
//! first one is and then one in [`ONE_IN`]; and once one was wrong, each.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use jurat_keys::{TimestampKeyError, TimestampSigner, TimestampVerifier, WrongSignature};
use jurat_proto::key::SignerError;

/// Of so many signatures of a key in this machine's memory one is checked: that is a percent or
/// two of the signing's cost.
const ONE_IN: u64 = 64;

/// After so many wrong signatures one after the other the unit signs nothing more: each of them has
/// left an entry without a token, and what is at fault will not mend itself.
const WRONG_MAX: u32 = 3;

/// Checks the signatures of one unit.
#[derive(Debug)]
pub struct SignatureCheck {
    verifier: Result<TimestampVerifier, TimestampKeyError>,
    made: AtomicU64,
    wrong: AtomicBool,
    /// Since the last one that was found right.
    in_a_row: AtomicU32,
}

impl SignatureCheck {
    /// For a `SubjectPublicKeyInfo` in DER. Of a kind of key that cannot be checked nothing is
    /// signed.
    pub fn new(public_key: &[u8]) -> Self {
        Self {
            verifier: TimestampVerifier::new(public_key),
            made: AtomicU64::new(0),
            wrong: AtomicBool::new(false),
            in_a_row: AtomicU32::new(0),
        }
    }

    /// Signs, and checks if it is due.
    ///
    /// # Errors
    /// [`Unsigned`]; no byte of what the key returned is in it.
    // Spec: TSA-08
    pub fn sign(&self, key: &dyn TimestampSigner, message: &[u8]) -> Result<Vec<u8>, Unsigned> {
        let signature = key.sign(message)?;
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        if key.is_slow() || made.is_multiple_of(ONE_IN) || self.was_wrong() {
            let verifier = self.verifier.as_ref().map_err(|error| *error)?;
            verifier.verify(message, &signature).inspect_err(|_| {
                self.wrong.store(true, Ordering::Relaxed);
                self.in_a_row.fetch_add(1, Ordering::Relaxed);
            })?;
            self.in_a_row.store(0, Ordering::Relaxed);
        }
        Ok(signature)
    }

    /// Whether so many were wrong that no more are asked for.
    // Spec: TSA-08
    pub fn has_failed(&self) -> bool {
        self.in_a_row.load(Ordering::Relaxed) >= WRONG_MAX
    }

    /// Whether a signature was wrong since the service started.
    pub fn was_wrong(&self) -> bool {
        self.wrong.load(Ordering::Relaxed)
    }
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum Unsigned {
    /// The unit is closed.
    #[error("it is closed")]
    Closed,
    /// The key did not sign.
    #[error("{0}")]
    Signer(#[from] SignerError),
    /// What it returned is no signature.
    #[error("{0}")]
    Wrong(#[from] WrongSignature),
    /// The certificate's key is of a kind that cannot be checked.
    #[error("{0}")]
    Kind(#[from] TimestampKeyError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use jurat_keys::TimestampKey;
    use std::sync::atomic::AtomicUsize;

    /// A key of which every signature from the `wrong_from`-th on is another key's.
    struct Faulty {
        key: TimestampKey,
        other: TimestampKey,
        wrong_from: usize,
        made: AtomicUsize,
        slow: bool,
    }

    impl Faulty {
        fn new(wrong_from: usize, slow: bool) -> (Self, SignatureCheck) {
            let key = TimestampKey::generate().unwrap();
            let check = SignatureCheck::new(&key.public_key().unwrap());
            let other = TimestampKey::generate().unwrap();
            let made = AtomicUsize::new(0);
            let faulty = Self {
                key,
                other,
                wrong_from,
                made,
                slow,
            };
            (faulty, check)
        }
    }

    impl TimestampSigner for Faulty {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
            let made = self.made.fetch_add(1, Ordering::SeqCst);
            if made < self.wrong_from {
                self.key.sign(message)
            } else {
                self.other.sign(message)
            }
        }

        fn is_slow(&self) -> bool {
            self.slow
        }
    }

    // Spec: TSA-08
    #[test]
    fn no_wrong_signature_of_a_device_leaves() {
        let (key, check) = Faulty::new(3, true);
        for made in 0..10 {
            let signed = check.sign(&key, b"any");
            assert_eq!(signed.is_ok(), made < 3);
            assert_eq!(check.was_wrong(), made >= 3);
            assert_eq!(check.has_failed(), made >= 5);
        }
    }

    // Spec: TSA-08
    #[test]
    fn of_a_key_in_memory_the_first_is_checked_one_in_64_and_each_after_a_wrong_one() {
        let (key, check) = Faulty::new(0, false);
        assert!(matches!(check.sign(&key, b"any"), Err(Unsigned::Wrong(_))));
        let (key, check) = Faulty::new(10, false);
        let left =
            |check: &SignatureCheck| (0..64).filter(|_| check.sign(&key, b"any").is_ok()).count();
        assert_eq!(left(&check), 64);
        // The 65th is checked, found wrong, and so is each from then on.
        assert_eq!(left(&check), 0);
        assert!(check.was_wrong());
    }
}
