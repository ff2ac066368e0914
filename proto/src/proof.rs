//! Inclusion, consistency and subtree proofs.
