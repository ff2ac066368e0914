//! A certificate authority and time-stamping units for tests: each key is made from one byte.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;

use crate::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use crate::cosignature::{cosign, sign_note};
use crate::hash::Hash;
use crate::key::UnixSeconds;
use crate::test_signer::TestSigner;
use crate::tree::{LeafIndex, TreeHead, TreeSize};
use crate::tsp::certificate::Certificate;
use crate::tsp::element::{Elements, Flag, element, push, tag};
use crate::tsp::gen_time::GenTime;
use crate::tsp::imprint::{HashAlgorithm, MessageImprint};
use crate::tsp::not_before::NotBefore;
use crate::tsp::oid::Oid;
use crate::tsp::request::{Nonce, TimestampRequest};
use crate::tsp::signed_data::{Certificates, TimestampToken, TimestampUnit};
use crate::tsp::tst_info::{Accuracy, Extensions, SerialNumber, TstInfo, UnitId};
use crate::tsp::verify::Trust;

/// The time of all tokens: 2027-01-15T08:00:00Z.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const YEAR: u64 = 365 * 86_400;
pub(crate) const POLICY: &str = "1.3.6.1.4.1.32473.1.1";

pub(crate) const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
pub(crate) const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";

pub(crate) enum TestKey {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Rsa(rsa::PrivateKey),
}

/// The primes of an RSA key that protects nothing.
const RSA_PRIMES: [&str; 2] = [
    "ee21e41eef6082aa11e11d1209bd922156be1a947d9ae242b0203e6d48e5a71d8c9db350e0c095b45548c389a2d9cb8fbb9d21285b57ead3888b1e38c7d252051a7deda1105b3d9ccd390c63ddb1fc1b59a36067ce3ba0875b84f1b6a96b3ded56ad6fc4c8b5909a2b8c08c347c8dbacdc523d3ab9c19e0b0c0923df282ebe27",
    "e6ab3f49cd41b01a078988826a9f30a817c6516a0412c36fdce88303ef6577dddeec422db806d3ef2cf9cec630057ed8fa1c1e9e2e487b442dbd6ba0932c029c421ae4a7edbec83bfcc4f6daade62da1c683bf61fb0c1fab57e52b52a6c92c257d252029a097e5af7baac926b5c167f5bf521d364594ca5fdc404cae7d5b9463",
];

impl TestKey {
    pub(crate) fn p256(seed: u8) -> Self {
        Self::P256(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub(crate) fn p384(seed: u8) -> Self {
        Self::P384(p384::ecdsa::SigningKey::from_slice(&[seed; 48]).unwrap())
    }

    pub(crate) fn rsa() -> Self {
        let [p, q] = RSA_PRIMES.map(|hex| {
            rsa::BoxedUint::from_be_hex(hex, 1024)
                .into_option()
                .unwrap()
        });
        Self::Rsa(rsa::PrivateKey::from_p_q(p, q, rsa::BoxedUint::from(65_537_u64)).unwrap())
    }

    fn public_key(&self) -> Vec<u8> {
        let der = match self {
            Self::P256(key) => key.verifying_key().to_public_key_der(),
            Self::P384(key) => key.verifying_key().to_public_key_der(),
            Self::Rsa(key) => key.to_public_key().to_public_key_der(),
        };
        der.unwrap().as_bytes().to_vec()
    }

    fn algorithm(&self) -> Vec<u8> {
        let text = match self {
            Self::P256(_) => "1.2.840.10045.4.3.2",
            Self::P384(_) => "1.2.840.10045.4.3.3",
            Self::Rsa(_) => "1.2.840.113549.1.1.11",
        };
        let mut inside = oid(text);
        if let Self::Rsa(_) = self {
            push(&mut inside, tag::NULL, &[]);
        }
        element(tag::SEQUENCE, &[&inside])
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
            Self::Rsa(key) => {
                let digest = HashAlgorithm::Sha256.digest(message);
                key.pkcs1v15_sign_prehash::<sha2::Sha256>(&digest).unwrap()
            }
        }
    }
}

pub(crate) fn oid(text: &str) -> Vec<u8> {
    element(tag::OID, &[Oid::parse(text).unwrap().as_bytes()])
}

pub(crate) fn name(common_name: &str) -> Vec<u8> {
    let text = element(tag::UTF8_STRING, &[common_name.as_bytes()]);
    let pair = element(tag::SEQUENCE, &[&oid("2.5.4.3"), &text]);
    element(tag::SEQUENCE, &[&element(tag::SET, &[&pair])])
}

pub(crate) fn extension(id: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut inside = oid(id);
    Flag::new(critical).push(&mut inside);
    push(&mut inside, tag::OCTET_STRING, &[value]);
    element(tag::SEQUENCE, &[&inside])
}

/// `basicConstraints` of an authority.
pub(crate) fn authority_extension(path_length: Option<u8>) -> Vec<u8> {
    let mut inside = vec![tag::BOOLEAN, 1, 0xff];
    if let Some(path_length) = path_length {
        push(&mut inside, tag::INTEGER, &[&[path_length]]);
    }
    extension("2.5.29.19", true, &element(tag::SEQUENCE, &[&inside]))
}

/// `keyUsage` of these bits, the first being the most significant.
pub(crate) fn key_usage(bits: u8) -> Vec<u8> {
    let unused = u8::try_from(bits.trailing_zeros()).unwrap();
    let value = element(tag::BIT_STRING, &[&[unused, bits]]);
    extension("2.5.29.15", true, &value)
}

pub(crate) const DIGITAL_SIGNATURE: u8 = 0x80;
pub(crate) const KEY_CERT_SIGN: u8 = 0x04;

pub(crate) fn purposes(list: &[&str], critical: bool) -> Vec<u8> {
    let list: Vec<u8> = list.iter().flat_map(|purpose| oid(purpose)).collect();
    extension("2.5.29.37", critical, &element(tag::SEQUENCE, &[&list]))
}

pub(crate) fn usage_period(from: u64, to: u64) -> Vec<u8> {
    let time = |seconds| GenTime::new(seconds, 0).unwrap().content();
    let mut inside = element(0x80, &[time(from).as_bytes()]);
    push(&mut inside, 0x81, &[time(to).as_bytes()]);
    extension("2.5.29.16", false, &element(tag::SEQUENCE, &[&inside]))
}

/// What a certificate says.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) serial: u8,
    pub(crate) validity: (u64, u64),
    pub(crate) extensions: Vec<Vec<u8>>,
}

impl Draft {
    pub(crate) fn root() -> Self {
        Self {
            subject: "Test root".into(),
            issuer: "Test root".into(),
            serial: 1,
            validity: (NOW - 5 * YEAR, NOW + 15 * YEAR),
            extensions: vec![authority_extension(None), key_usage(KEY_CERT_SIGN)],
        }
    }

    /// An authority between the root and the unit.
    pub(crate) fn between() -> Self {
        Self {
            subject: "Test authority".into(),
            serial: 2,
            validity: (NOW - 4 * YEAR, NOW + 10 * YEAR),
            extensions: vec![
                authority_extension(Some(0)),
                key_usage(KEY_CERT_SIGN),
                purposes(&[TIME_STAMPING], false),
            ],
            ..Self::root()
        }
    }

    pub(crate) fn unit(issuer: &str) -> Self {
        Self {
            subject: "Test unit".into(),
            issuer: issuer.into(),
            serial: 3,
            validity: (NOW - YEAR, NOW + 5 * YEAR),
            extensions: vec![
                key_usage(DIGITAL_SIGNATURE),
                purposes(&[TIME_STAMPING], true),
                usage_period(NOW - YEAR, NOW + YEAR / 2),
            ],
        }
    }

    pub(crate) fn issue(&self, key: &TestKey, issuer_key: &TestKey) -> Certificate {
        let time = |seconds| {
            let content = GenTime::new(seconds, 0).unwrap().content();
            match content.strip_prefix("20") {
                Some(short) if !short.starts_with(['5', '6', '7', '8', '9']) => {
                    element(0x17, &[short.as_bytes()])
                }
                _ => element(tag::GENERALIZED_TIME, &[content.as_bytes()]),
            }
        };
        let algorithm = issuer_key.algorithm();
        let validity = [time(self.validity.0), time(self.validity.1)].concat();
        let mut inside = vec![tag::CONSTRUCTED_0, 3, tag::INTEGER, 1, 2];
        push(&mut inside, tag::INTEGER, &[&[self.serial]]);
        inside.extend(&algorithm);
        inside.extend(name(&self.issuer));
        push(&mut inside, tag::SEQUENCE, &[&validity]);
        inside.extend(name(&self.subject));
        inside.extend(key.public_key());
        if !self.extensions.is_empty() {
            let list = element(tag::SEQUENCE, &[&self.extensions.concat()]);
            push(&mut inside, 0xa3, &[&list]);
        }
        let tbs = element(tag::SEQUENCE, &[&inside]);
        let signature = element(tag::BIT_STRING, &[&[0], &issuer_key.sign(&tbs)]);
        let der = element(tag::SEQUENCE, &[&tbs, &algorithm, &signature]);
        Certificate::parse(&der).unwrap()
    }
}

/// A root, and a unit below it.
pub(crate) struct TestAuthority {
    pub(crate) roots: Vec<Certificate>,
    pub(crate) unit: TimestampUnit,
    pub(crate) key: TestKey,
}

impl TestAuthority {
    /// A unit of P-256 directly under the root.
    pub(crate) fn new() -> Self {
        Self::with(&Draft::unit("Test root"), TestKey::p256(2))
    }

    pub(crate) fn with(unit: &Draft, key: TestKey) -> Self {
        let root_key = TestKey::p256(1);
        let root = Draft::root().issue(&root_key, &root_key);
        let unit = unit.issue(&key, &root_key);
        Self {
            roots: vec![root],
            unit: TimestampUnit::new(unit, Vec::new()).unwrap(),
            key,
        }
    }

    /// A unit with an authority between it and the root.
    pub(crate) fn with_chain() -> Self {
        let (root_key, between_key) = (TestKey::p256(1), TestKey::p384(4));
        let key = TestKey::p256(2);
        let root = Draft::root().issue(&root_key, &root_key);
        let between = Draft::between().issue(&between_key, &root_key);
        let unit = Draft::unit("Test authority").issue(&key, &between_key);
        Self {
            roots: vec![root],
            unit: TimestampUnit::new(unit, vec![between]).unwrap(),
            key,
        }
    }

    pub(crate) fn trust(&self) -> Trust<'_> {
        Trust {
            roots: &self.roots,
            others: &[],
        }
    }

    pub(crate) fn token(&self, tst_info: TstInfo, certificates: Certificates) -> TimestampToken {
        let prepared = self.unit.prepare(tst_info, certificates).unwrap();
        let signature = self.key.sign(prepared.message());
        prepared.finish(&signature).unwrap()
    }

    /// A token for [`request`], with the signer's certificate.
    pub(crate) fn granted(&self) -> TimestampToken {
        self.token(tst_info(&self.unit), Certificates::Signer)
    }
}

/// The same element with other elements inside.
pub(crate) fn edit(bytes: &[u8], change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let whole = Elements::new(bytes).next_any("element").unwrap();
    let mut inside = whole.inside();
    let mut items = Vec::new();
    while !inside.is_empty() {
        items.push(inside.next_any("item").unwrap().bytes.to_vec());
    }
    change(&mut items);
    element(whole.tag, &[&items.concat()])
}

/// A token with other fields of its `SignedData`: version, digest algorithms, content,
/// certificates, signers.
pub(crate) fn edit_token(
    token: &TimestampToken,
    change: impl FnOnce(&mut Vec<Vec<u8>>),
) -> Vec<u8> {
    edit(&token.to_bytes(), |outer| {
        outer[1] = edit(&outer[1], |inner| inner[0] = edit(&inner[0], change));
    })
}

/// A token with other fields of its `SignerInfo`: version, sid, digest algorithm, attributes,
/// signature algorithm, signature.
pub(crate) fn edit_signer(
    token: &TimestampToken,
    change: impl FnOnce(&mut Vec<Vec<u8>>),
) -> Vec<u8> {
    edit_token(token, |fields| {
        let signers = fields.last_mut().unwrap();
        *signers = edit(signers, |signers| signers[0] = edit(&signers[0], change));
    })
}

pub(crate) fn now() -> GenTime {
    GenTime::new(NOW, 0).unwrap()
}

pub(crate) fn policy() -> Oid {
    Oid::parse(POLICY).unwrap()
}

pub(crate) fn request() -> TimestampRequest {
    let imprint = MessageImprint::of(HashAlgorithm::Sha256, b"a document\n");
    let nonce = Nonce::from_number(&[0x9a, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    TimestampRequest::new(imprint, Some(policy()), Some(nonce), true)
}

/// A checkpoint of the log in which the tokens stand, cosigned by two witnesses 3 and 2 seconds
/// before [`NOW`].
pub(crate) fn cosigned() -> SignedCheckpoint {
    let checkpoint = Checkpoint {
        origin: Origin::parse("log.example/time").unwrap(),
        head: TreeHead {
            size: TreeSize::new(1_000_000).unwrap(),
            root_hash: Hash::new([7; 32]),
        },
        extensions: crate::checkpoint::ExtensionLines::new(),
    };
    let log = TestSigner::note("log.example/time", 11);
    let mut lines = vec![sign_note(&checkpoint.to_text(), &log).unwrap()];
    for (name, seed, ago) in [("w1.example", 12, 3), ("w2.example", 13, 2)] {
        let witness = TestSigner::cosigner(name, seed);
        let time = UnixSeconds::new(NOW - ago).unwrap();
        lines.push(cosign(&checkpoint, time, &witness).unwrap());
    }
    SignedCheckpoint::new(checkpoint, lines).unwrap()
}

pub(crate) fn not_before() -> NotBefore {
    NotBefore::new(&cosigned()).unwrap()
}

/// What a token for [`request`] says.
pub(crate) fn tst_info(unit: &TimestampUnit) -> TstInfo {
    let request = request();
    let id = UnitId::new([0x4a, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    TstInfo {
        policy: policy(),
        imprint: request.imprint().clone(),
        serial: SerialNumber::of_unit(id, LeafIndex::new(1_000_000).unwrap()),
        gen_time: now(),
        accuracy: Accuracy::new(1, 0, 0),
        ordering: Flag::Absent,
        nonce: request.nonce().cloned(),
        tsa: Some(unit.name()),
        extensions: Extensions::new(vec![not_before().to_extension()]).unwrap(),
    }
}
