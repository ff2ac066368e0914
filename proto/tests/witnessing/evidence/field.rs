//! The case from the field: what a CT log published in 2017.
//!
//! Both tree heads and the proof are as they were posted to the ct-policy list on 2017-02-28
//! ("Venafi has produced inconsistent STHs"), and the log's key is the one of its CT entry. The log
//! signed RFC 6962 tree heads with RSA, which are no notes; so the first test here verifies those
//! signatures, and in the second the same heads stand in notes that a key of ours signed.

use jurat_proto::base64;
use jurat_proto::evidence::{Evidence, Kind, NoContradiction};
use jurat_proto::hash::Hash;
use jurat_proto::proof::{ConsistencyProof, verify_consistency};
use jurat_proto::tree::TreeHead;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::signature::Verifier as _;
use sha2::Sha256;

use super::{Cast, ORIGIN, names};
use crate::signing::{signed, size};

struct Published {
    size: u64,
    timestamp_ms: u64,
    root: &'static str,
    /// RFC 5246: hash SHA-256, RSA, a length of two bytes, the signature.
    signature: &'static str,
}

const OLDER: Published = Published {
    size: 90_161,
    timestamp_ms: 1_488_320_541_206,
    root: "I7PzqT8cEPjlfgOx3/2VxnuO5BTIJ6Zf8OM8DAwGhuM=",
    signature: "BAEBAAgJjfMWJ0agR0VCpB1v8UJs3X8H3dPU8C0NmUMtMAdAm27tgiDcpDECHCMrJbIIy7v+y1p4zVGC\
        6eWf1Tew+W+O32WinshHb9th7lLNlQ5yJUKW5UtMTJxW/BiFpHO75+WXsajb4EyTPkoJ1M2qxDX/cK/hSb2ar0W7\
        G9weRaw7WetwEAG7pv2j/tnUUGXHWfnNkg6f40GkwSaGfY9Xw9gaZDeUawvS8T61qODsaZprWDsBAWaClaaelrml\
        x0kkZBnMP/LKKSlywrTNEt3Ow1oKBqT3nL5A2fTPoRfsF+1OGyy2iokX2pI1ZLBRS4v4rqMce/dgzXxrS6OUUINH\
        fLA=",
};

const NEWER: Published = Published {
    size: 90_167,
    timestamp_ms: 1_488_321_064_440,
    root: "sMnqsYxLYyKdF7QNqplWgnIJk6WBsuqlEGo0aNHHhRg=",
    signature: "BAEBAIXJw+INMcxEzrsW3+tzgxiE2jP8sJZN5HYwO3MmuFHy5t57lJqPADYEFBIfx7cEEGyp0RQLb6Wo\
        nvkq4xhsANt0xXCQQw1STxRKixnaYtSnEkoVJfWXPAVyjUqFPx+ryOHtdocMGlf60rt4UmGK0rhy9XTCrktYFkzG\
        9ZPrGujGDvXIeBnIaarbU0L5g224rsdLvDXwpRopHpHinomsc5W+ReA+eQ38WGBHkz33e/+YPJQGd/L3EaDN3da0\
        VIEYNHY5AGW/Yq7rU6cD+dHH9mL1OK971/HZ362aEnBBZ47zi/1OzANeKdT1tyB+db7VpXhScJxw1o0G3T0V0P+l\
        M4o=",
};

/// What get-sth-consistency answered between the two.
const PROOF: &str = "\
r+r7qrYh4i9lWa1nzVO86nj+9c6BGZq5i36IRzgPGl4=
NPLfppxk5a1xQZb/tmCK3oJ/WFflOaxx4pNE49Tf+8Y=
U0IGCc5N616P/zKPQVkFZkYdRoSBmLipCgspE0vNLeE=
kZiqCHdVXWXLAmFtPPm6tNUBm3ciQY7KTkBIPdPyP50=
im9E++S7hURbeazY1bHGqxx6/5zYmDmpLhCU3lAvGOM=
VH8nj3DKzwv9v3bcQeDKjw4a0H+GbIm1SIxU0z3J/1E=
2eQpspAlOaHniWW6exNICgPfge2u0BHXAU0bJoCxy+c=
jsEyi+238H+/SNiDNmoNeGTPeMkBEeM55WNKuuPrfeY=
rcxt0aKSfv5MGCDJSwt6WDZffq9Nmp4SpQm5Xr376Lo=
";

const KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAolpIHxdSlTXLo1s6H1OCdpSj/4DyHDc8wLG9w\
    VmLqy1lk9fz4ATVmm+/1iN2Nk8jmctUKK2MFUtlWXZBSpym97M7frGlSaQXUWyA3CqQUEuIJOmlEjKTBEiQAvpfDjCHj\
    lV2Be4qTM6jamkJbiWtgnYPhJL6ONaGTiSPm7Byy57iaz/hbckldSOIoRhYBiMzeNoA0DiRZ9KmfSeXZ1rB8y8X5urSW\
    +iBzf2SaOfzBvDpcoTuAaWx2DPazoOl28fP1hZ+kHUYvxbcMjttjauCFx+JII0dmuZNIwjfeG/GBb9frpSX219k1O4Wi\
    6OEbHEr8at/XQ0y7gTikOxBn/s5wQIDAQAB";

impl Published {
    fn head(&self) -> TreeHead {
        TreeHead {
            size: size(self.size),
            root_hash: Hash::from_base64(self.root).unwrap(),
        }
    }

    /// RFC 6962, 3.5: version, type of signature, time, size, root.
    fn message(&self) -> Vec<u8> {
        let mut message = vec![0, 1];
        message.extend(self.timestamp_ms.to_be_bytes());
        message.extend(self.size.to_be_bytes());
        message.extend(self.head().root_hash.as_bytes());
        message
    }
}

fn proof() -> ConsistencyProof {
    ConsistencyProof::parse_lines(PROOF).unwrap()
}

#[test]
fn the_log_signed_both_heads() {
    let der = base64::decode(KEY).unwrap();
    let key = rsa::pkcs1v15::VerifyingKey::<Sha256>::new(
        rsa::PublicKey::from_public_key_der(&der).unwrap(),
    );
    for head in [&OLDER, &NEWER] {
        let signature = base64::decode(head.signature).unwrap();
        assert_eq!(signature[..4], [4, 1, 1, 0], "SHA-256, RSA, 256 bytes");
        let signature = rsa::pkcs1v15::Signature::try_from(&signature[4..]).unwrap();
        key.verify(&head.message(), &signature).unwrap();
        assert!(key.verify(b"another message", &signature).is_err());
    }
}

// Spec: EVI-11, EVI-30, MRK-16
#[test]
fn the_proof_that_failed_is_evidence() {
    assert!(verify_consistency(&OLDER.head(), &NEWER.head(), &proof()).is_err());
    let cast = Cast::new();
    let by = |head: &Published| signed(ORIGIN, head.head(), &[&cast.log]);
    let evidence = Evidence::of_growth(&by(&OLDER), &by(&NEWER), &proof()).unwrap();
    assert_eq!(evidence.kind(), Kind::Opening);
    let root = evidence.opened_root().unwrap().to_base64();
    assert_eq!(root, "t9A432VigZEV6/8qt9uEnOnnLYrIFWCKh5aQWIOtk4c=");
    assert_eq!(names(&evidence, &cast.keys()).len(), 1);
    assert!(evidence.to_bytes().len() < 1500, "one and a half kilobytes");
    // With any other bit in the proof it leads nowhere, and shows nothing.
    for (place, hash) in proof().hashes().iter().enumerate() {
        let mut bytes = *hash.as_bytes();
        bytes[place] ^= 1;
        let mut hashes = proof().into_hashes();
        hashes[place] = Hash::new(bytes);
        let changed = ConsistencyProof::new(hashes).unwrap();
        let refused = Evidence::of_growth(&by(&OLDER), &by(&NEWER), &changed);
        assert!(
            matches!(refused, Err(NoContradiction::Proof(_))),
            "{refused:?}"
        );
    }
}
