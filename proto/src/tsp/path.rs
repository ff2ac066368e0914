//! From a signer's certificate to a root that the verifier has: a small path validation.
//!
//! In scope: RFC 5280, section 6, for one purpose at one time: names, validity, signatures, who may
//! be an authority, how many may follow, key usage, and that each extended key usage on the way
//! permits time-stamps. Out of scope: revocation, and constraints on names and policies: a
//! certificate that has them is refused, not taken as if they were not there.
//!
//! Names are compared byte by byte.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::tsp::certificate::{Certificate, ProfileError, SignatureFault};
use crate::tsp::gen_time::GenTime;

/// The most authorities between a signer and its root.
// Spec: TSP-67
const AUTHORITIES_MAX: usize = 8;
/// The most signatures that one search checks, so that a bag of look-alikes costs no more.
// Spec: TSP-67
const LINKS_MAX: usize = 64;

/// Finds a path from the signer to one of the roots, all of it valid at the time; gives the root's
/// place in the list.
///
/// # Errors
/// [`PathError`]: the first fault that was met, when there is no path without one.
// Spec: TSP-66, TSP-67
pub(crate) fn verify_path(
    signer: &Certificate,
    pool: &[Certificate],
    roots: &[Certificate],
    time: GenTime,
) -> Result<usize, PathError> {
    if !signer.is_valid_at(time) {
        return Err(PathError::NotValid {
            subject: signer.subject_text(),
        });
    }
    let mut search = Search {
        pool,
        roots,
        time,
        links: 0,
        fault: None,
    };
    let mut path = vec![signer];
    let found = search.extend(&mut path);
    found.ok_or_else(|| {
        search.fault.unwrap_or_else(|| PathError::NoIssuer {
            subject: signer.subject_text(),
        })
    })
}

/// Verifies that a chain, signer first and root last, leads from its first certificate to its last:
/// what an authority is configured with.
///
/// # Errors
/// [`PathError`]: the first fault, also of a chain that has no root, or none that signed itself.
// Spec: TSP-48
pub fn verify_chain(chain: &[Certificate], time: GenTime) -> Result<(), PathError> {
    let subject = |certificate: Option<&Certificate>| PathError::NoIssuer {
        subject: certificate
            .map(Certificate::subject_text)
            .unwrap_or_default(),
    };
    let (Some((signer, above)), Some(root)) = (chain.split_first(), chain.last()) else {
        return Err(subject(None));
    };
    if above.is_empty() || !root.is_self_issued() {
        return Err(subject(Some(root)));
    }
    verify_path(signer, above, core::slice::from_ref(root), time).map(|_| ())
}

struct Search<'a> {
    pool: &'a [Certificate],
    roots: &'a [Certificate],
    time: GenTime,
    links: usize,
    /// The first one that was met.
    fault: Option<PathError>,
}

impl<'a> Search<'a> {
    fn extend(&mut self, path: &mut Vec<&'a Certificate>) -> Option<usize> {
        let last = *path.last()?;
        let authorities = path.get(1..).unwrap_or_default();
        let below = authorities
            .iter()
            .filter(|certificate| !certificate.is_self_issued())
            .count();
        for (at, root) in self.roots.iter().enumerate() {
            if root.subject() == last.issuer() && self.link(last, root, below) {
                return Some(at);
            }
        }
        if authorities.len() >= AUTHORITIES_MAX {
            self.fault.get_or_insert(PathError::TooLong);
            return None;
        }
        for next in self.pool {
            let candidate = next.subject() == last.issuer() && !path.contains(&next);
            if candidate && self.link(last, next, below) {
                path.push(next);
                if let Some(root) = self.extend(path) {
                    return Some(root);
                }
                path.pop();
            }
        }
        if self.fault.is_none() {
            let subject = last.subject_text();
            self.fault = Some(PathError::NoIssuer { subject });
        }
        None
    }

    fn link(&mut self, lower: &Certificate, upper: &Certificate, below: usize) -> bool {
        let checked = self.check(lower, upper, below);
        match checked {
            Ok(()) => true,
            Err(fault) => {
                self.fault.get_or_insert(fault);
                false
            }
        }
    }

    fn check(
        &mut self,
        lower: &Certificate,
        upper: &Certificate,
        below: usize,
    ) -> Result<(), PathError> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(PathError::TooMany);
        }
        if !upper.is_valid_at(self.time) {
            return Err(PathError::NotValid {
                subject: upper.subject_text(),
            });
        }
        upper
            .verify_authority_profile(below)
            .map_err(|reason| PathError::Authority {
                subject: upper.subject_text(),
                reason,
            })?;
        lower
            .verify_issued_by(upper)
            .map_err(|reason| PathError::Signature {
                subject: lower.subject_text(),
                reason,
            })
    }
}

/// Why there is no path from a signer to a root. Its maker is at fault, or the verifier's roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    /// The issuer of this certificate is neither a root nor among the certificates at hand.
    NoIssuer {
        /// Whose.
        subject: String,
    },
    /// This certificate was not valid at the time of the token.
    NotValid {
        /// Whose.
        subject: String,
    },
    /// This certificate may not have issued what it issued.
    Authority {
        /// Whose.
        subject: String,
        /// Why.
        reason: ProfileError,
    },
    /// The signature on this certificate does not count.
    Signature {
        /// Whose.
        subject: String,
        /// Why.
        reason: SignatureFault,
    },
    /// More than eight authorities on the way.
    TooLong,
    /// So many certificates with the same names that the search was given up.
    TooMany,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIssuer { subject } => {
                write!(
                    f,
                    "no certificate of the issuer of {subject} leads to a root"
                )
            }
            Self::NotValid { subject } => write!(
                f,
                "the certificate of {subject} was not valid at the time of the token"
            ),
            Self::Authority { subject, reason } => {
                write!(f, "{subject} may not issue this certificate: {reason}")
            }
            Self::Signature { subject, reason } => {
                write!(f, "the signature on the certificate of {subject}: {reason}")
            }
            Self::TooLong => write!(f, "more than {AUTHORITIES_MAX} authorities on the way"),
            Self::TooMany => write!(f, "no path to a root in {LINKS_MAX} attempts"),
        }
    }
}

impl core::error::Error for PathError {}
