//! What a token says: forms, limits, and the same bytes again.

use alloc::string::ToString as _;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::tsp::imprint::HashAlgorithm;
use crate::tsp::test_authority::{self, TestAuthority, not_before, oid, policy};

fn sample() -> TstInfo {
    test_authority::tst_info(&TestAuthority::new().unit)
}

/// The fields of the sample, each as its own bytes.
fn fields() -> Vec<Vec<u8>> {
    let bytes = sample().to_bytes();
    let mut inside = Element::only(&bytes, tag::SEQUENCE, "TSTInfo")
        .unwrap()
        .inside();
    let mut fields = Vec::new();
    while !inside.is_empty() {
        fields.push(inside.next_any("field").unwrap().bytes.to_vec());
    }
    fields
}

/// The sample with one field in place of another.
fn with(at: usize, field: Vec<u8>) -> Result<TstInfo, TstInfoError> {
    let mut fields = fields();
    fields[at] = field;
    let bytes = element(tag::SEQUENCE, &[&fields.concat()]);
    let parsed = TstInfo::parse(&bytes)?;
    assert_eq!(parsed.to_bytes(), bytes);
    Ok(parsed)
}

const VERSION: usize = 0;
const SERIAL: usize = 3;
const TIME: usize = 4;
const ACCURACY: usize = 5;
const TSA: usize = 7;
const EXTENSIONS: usize = 8;

// Spec: TSP-30, TSP-31
#[test]
fn what_is_said_is_read_again_and_echoes_the_request() {
    let info = sample();
    let bytes = info.to_bytes();
    assert_eq!(TstInfo::parse(&bytes).as_ref(), Ok(&info));
    let request = test_authority::request();
    assert_eq!(&info.imprint, request.imprint());
    assert_eq!(info.nonce.as_ref(), request.nonce());
    let version = with(VERSION, vec![tag::INTEGER, 1, 2]);
    assert_eq!(version, Err(TstInfoError::Version));
    for bad in [&[&bytes[..], &[0]].concat()[..], &bytes[..20], b""] {
        let error = TstInfo::parse(bad).unwrap_err();
        assert!(matches!(error, TstInfoError::Der(_)), "{error}");
    }
}

// Spec: TSP-32
#[test]
fn a_time_with_a_fraction_is_kept() {
    let time = element(tag::GENERALIZED_TIME, &[b"20270115080000.25Z"]);
    assert_eq!(with(TIME, time).unwrap().gen_time.nanos(), 250_000_000);
    let bad = element(tag::GENERALIZED_TIME, &[b"20270115080000.250Z"]);
    let error = with(TIME, bad).unwrap_err();
    assert_eq!(error, TstInfoError::Der(DerFault::Text.of("genTime")));
}

// Spec: TSP-34
#[test]
fn serial_numbers_are_positive_and_have_160_bits_at_most() {
    let mut signed = vec![0];
    signed.extend([0xff; 20]);
    for content in [&[1][..], &[0, 0x80], &[0x7f; 8], &[0x7f; 20], &signed] {
        let info = with(SERIAL, element(tag::INTEGER, &[content])).unwrap();
        assert_eq!(info.serial.as_bytes(), content);
        assert_eq!(info.serial.to_string(), crate::hex::encode(content));
    }
    signed.insert(1, 0xff);
    for content in [&[0][..], &[0x80], &[0x7f; 21], &signed] {
        let error = with(SERIAL, element(tag::INTEGER, &[content])).unwrap_err();
        let octets = content.len();
        assert_eq!(error, TstInfoError::Serial { octets });
    }
}

// Spec: TSP-35
#[test]
fn our_serial_numbers_are_unit_and_index() {
    for first in [0, 0x80, 0xff] {
        assert_eq!(UnitId::new([first, 1, 1, 1, 1, 1, 1, 1]), None);
    }
    let info = sample();
    let (unit, index) = info.serial.as_unit().unwrap();
    assert_eq!(unit.to_string(), "4a01020304050607");
    assert_eq!(index.get(), 1_000_000);
    for content in [vec![1; 15], vec![1; 17], [[1; 8], [0xff; 8]].concat()] {
        let info = with(SERIAL, element(tag::INTEGER, &[&content])).unwrap();
        assert_eq!(info.serial.as_unit(), None, "not of our form");
    }
}

// Spec: TSP-36
#[test]
fn accuracies_have_parts_of_1_to_999() {
    for (parts, micros) in [
        ((1, 0, 0), 1_000_000),
        ((0, 999, 0), 999_000),
        ((0, 0, 1), 1),
        ((u32::MAX, 999, 999), 4_294_967_295_999_999),
    ] {
        let accuracy = Accuracy::new(parts.0, parts.1, parts.2).unwrap();
        assert_eq!(accuracy.as_micros(), micros);
        let mut bytes = Vec::new();
        accuracy.push(&mut bytes);
        assert_eq!(with(ACCURACY, bytes).unwrap().accuracy, Some(accuracy));
    }
    for parts in [(0, 0, 0), (1, 1000, 0), (1, 0, 1000)] {
        assert_eq!(Accuracy::new(parts.0, parts.1, parts.2), None);
    }
    for inside in [
        &[][..],
        &[0x80, 1, 0],
        &[0x80, 2, 0x03, 0xe8],
        &[0x81, 2, 0x03, 0xe8],
        &[0x81, 1, 0x80],
        &[0x80, 2, 0, 1],
        &[2, 1, 0x80],
        &[2, 5, 1, 0, 0, 0, 0],
        &[0x81, 1, 1, 0x80, 1, 1],
    ] {
        let error = with(ACCURACY, element(tag::SEQUENCE, &[inside])).unwrap_err();
        assert!(matches!(error, TstInfoError::Der(_)), "{inside:02x?}");
    }
}

// Spec: TSP-37
#[test]
fn the_name_is_the_subject_of_the_units_certificate() {
    let authority = TestAuthority::new();
    let subject = authority.unit.certificate().subject();
    let name = authority.unit.name();
    assert_eq!(name.directory_name(), Some(subject));
    let uri = element(
        tag::CONSTRUCTED_0,
        &[&element(0x86, &[b"https://tsa.example/"])],
    );
    let other = with(TSA, uri).unwrap().tsa.unwrap();
    assert_eq!(other.directory_name(), None);
    for bad in [&[][..], &[0xa4, 0], &[0x86, 1, 65, 0x86, 1, 65]] {
        assert!(with(TSA, element(tag::CONSTRUCTED_0, &[bad])).is_err());
    }
}

// Spec: TSP-38
#[test]
fn extensions_are_kept_in_their_order_and_none_is_there_twice() {
    let one = Extension {
        oid: policy(),
        critical: Flag::ExplicitFalse,
        value: vec![5, 0],
    };
    let both = Extensions::new(vec![one.clone(), not_before().to_extension()]).unwrap();
    let mut bytes = Vec::new();
    both.push(&mut bytes);
    assert_eq!(with(EXTENSIONS, bytes).unwrap().extensions, both);
    let twice = Extensions::new(vec![one.clone(), one]);
    assert_eq!(twice, Err(DerFault::Twice.of("extensions")));
    for list in [
        &[][..],
        &[0x30, 0],
        &element(tag::SEQUENCE, &[&oid("1.2.3")]),
    ] {
        assert!(with(EXTENSIONS, element(tag::CONSTRUCTED_1, &[list])).is_err());
    }
}

// Spec: TSP-33
#[test]
fn the_checkpoint_inside_is_read_again_and_may_be_absent() {
    assert_eq!(sample().not_before(), Ok(Some(not_before())));
    let without = TstInfo {
        extensions: Extensions::default(),
        ..sample()
    };
    assert_eq!(without.not_before(), Ok(None));
    let mut broken = sample();
    let mut extension = not_before().to_extension();
    extension.value.pop();
    broken.extensions = Extensions::new(vec![extension]).unwrap();
    let fault = DerFault::Malformed.of("NotBeforeCheckpoint");
    assert_eq!(broken.not_before(), Err(NotBeforeError::Der(fault)));
}

fn any_info() -> impl Strategy<Value = TstInfo> {
    let serial = (1_u8..=0x7f, any::<[u8; 7]>(), 0_u64..=0x7fff_ffff_ffff_ffff);
    let accuracy = prop::option::of((any::<u32>(), 0_u16..1000, 0_u16..1000));
    let parts = (
        prop::sample::select(&HashAlgorithm::ALL[..]),
        serial,
        (0_u64..=253_402_300_799, 0_u32..1_000_000_000),
        accuracy,
        prop::sample::select(vec![Flag::Absent, Flag::ExplicitFalse, Flag::True]),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..63)),
        any::<[bool; 2]>(),
    );
    parts.prop_map(
        |(algorithm, serial, time, accuracy, ordering, nonce, has)| {
            let (first, rest, index) = serial;
            let mut unit = [first; 8];
            unit[1..].copy_from_slice(&rest);
            let extension = not_before().to_extension();
            TstInfo {
                policy: policy(),
                imprint: MessageImprint::of(algorithm, &rest),
                serial: SerialNumber::of_unit(
                    UnitId::new(unit).unwrap(),
                    LeafIndex::new(index).unwrap(),
                ),
                gen_time: GenTime::new(time.0, time.1).unwrap(),
                accuracy: accuracy.and_then(|(s, ms, us)| Accuracy::new(s, ms, us)),
                ordering,
                nonce: nonce.map(|number| Nonce::from_number(&number).unwrap()),
                tsa: has[0].then(|| TsaName::directory(&test_authority::name("A unit"))),
                extensions: Extensions::new(has[1].then_some(extension).into_iter().collect())
                    .unwrap(),
            }
        },
    )
}

proptest! {
    // Spec: TSP-30, TSP-35
    #[test]
    fn anything_that_can_be_said_is_read_again(info in any_info()) {
        let bytes = info.to_bytes();
        let again = TstInfo::parse(&bytes).unwrap();
        prop_assert_eq!(again.to_bytes(), bytes);
        prop_assert_eq!(info.serial.as_bytes().len(), 16);
        let (unit, index) = info.serial.as_unit().unwrap();
        prop_assert_eq!(&SerialNumber::of_unit(unit, index), &info.serial);
        prop_assert_eq!(again, info);
    }

    // Spec: TSP-30
    #[test]
    fn what_is_accepted_is_written_as_it_came(
        info in any_info(),
        at in any::<prop::sample::Index>(),
        bit in 0_u32..8,
    ) {
        let mut bytes = info.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(info) = TstInfo::parse(&bytes) {
            prop_assert_eq!(info.to_bytes(), bytes);
        }
    }
}
