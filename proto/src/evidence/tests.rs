//! What needs private parts; the rest is in `tests/evidence`.

use super::*;
use alloc::format;

// Spec: EVI-04
#[test]
fn kinds_have_one_name_each() {
    for (place, kind) in Kind::ALL.into_iter().enumerate() {
        for other in Kind::ALL.into_iter().skip(place + 1) {
            assert_ne!(kind.name(), other.name());
        }
        assert_eq!(format!("{kind}"), kind.name());
    }
}
