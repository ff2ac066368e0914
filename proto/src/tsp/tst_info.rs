//! `TSTInfo`: what a token says.
//!
//! ```text
//! TSTInfo ::= SEQUENCE {
//!   version         INTEGER { v1(1) },
//!   policy          OBJECT IDENTIFIER,
//!   messageImprint  MessageImprint,          as it was asked for
//!   serialNumber    INTEGER,                 of 160 bits at most
//!   genTime         GeneralizedTime,
//!   accuracy        Accuracy OPTIONAL,
//!   ordering        BOOLEAN DEFAULT FALSE,
//!   nonce           INTEGER OPTIONAL,        as it was asked for
//!   tsa         [0] EXPLICIT GeneralName OPTIONAL,
//!   extensions  [1] IMPLICIT Extensions OPTIONAL
//! }
//! ```
//!
//! In scope: anybody's, read strictly and written to the same bytes. Out of scope: whether it is
//! true, which needs its signature ([`crate::tsp::verify`]) and the log.
//!
//! Rules: `spec/timestamp.md`; RFC 3161, 2.4.2.

use alloc::vec::Vec;
use core::fmt;

use const_oid::ObjectIdentifier;

use crate::checkpoint::Origin;
use crate::hash::{Hash, sha256};
use crate::tree::LeafIndex;
use crate::tsp::element::{
    DerError, DerFault, Element, Elements, Flag, element, nest, push, push_unsigned, tag,
    unsigned_content,
};
use crate::tsp::gen_time::GenTime;
use crate::tsp::imprint::{ImprintError, MessageImprint};
use crate::tsp::not_before::{NotBefore, NotBeforeError};
use crate::tsp::oid::{self, Oid};
use crate::tsp::request::{Nonce, RequestError, read_nonce};

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TstInfo {
    /// The policy under which it was made.
    pub policy: Oid,
    /// What it is about.
    pub imprint: MessageImprint,
    /// Its number, which no other token of the same authority has.
    pub serial: SerialNumber,
    /// When.
    pub gen_time: GenTime,
    /// How exact the time is.
    pub accuracy: Option<Accuracy>,
    /// Whether the times alone order all tokens of the authority.
    pub ordering: Flag,
    /// The number that the client chose.
    pub nonce: Option<Nonce>,
    /// Who says so.
    pub tsa: Option<TsaName>,
    /// What else it says.
    pub extensions: Extensions,
}

impl TstInfo {
    /// Reads a `TSTInfo`.
    ///
    /// # Errors
    /// [`TstInfoError`]: the first thing that is wrong.
    // Spec: TSP-30
    pub fn parse(bytes: &[u8]) -> Result<Self, TstInfoError> {
        let mut fields = Element::only(bytes, tag::SEQUENCE, "TSTInfo")?.inside();
        let version = fields.take(tag::INTEGER, "version")?.integer("version")?;
        if version != [1] {
            return Err(TstInfoError::Version);
        }
        let policy = Oid::read(fields.take(tag::OID, "policy")?, "policy")?;
        let imprint = fields.take(tag::SEQUENCE, "messageImprint")?;
        let imprint = MessageImprint::read(imprint).map_err(TstInfoError::Imprint)?;
        let serial = fields.take(tag::INTEGER, "serialNumber")?;
        let serial = SerialNumber::read(serial.integer("serialNumber")?)?;
        let gen_time = fields.take(tag::GENERALIZED_TIME, "genTime")?.content;
        let gen_time = GenTime::read(gen_time, "genTime")?;
        let accuracy = fields.take_if(tag::SEQUENCE, "accuracy")?;
        let accuracy = accuracy.map(Accuracy::read).transpose()?;
        let ordering = Flag::take(&mut fields, "ordering")?;
        let nonce = fields.take_if(tag::INTEGER, "nonce")?;
        let nonce = nonce.map(read_nonce).transpose();
        let nonce = nonce.map_err(TstInfoError::Nonce)?;
        let tsa = fields.take_if(tag::CONSTRUCTED_0, "tsa")?;
        let tsa = tsa.map(TsaName::read).transpose()?;
        let extensions = match fields.take_if(tag::CONSTRUCTED_1, "extensions")? {
            Some(list) => Extensions::read(list.inside())?,
            None => Extensions::default(),
        };
        fields.finish("TSTInfo")?;
        Ok(Self {
            policy,
            imprint,
            serial,
            gen_time,
            accuracy,
            ordering,
            nonce,
            tsa,
            extensions,
        })
    }

    /// Its DER: of a parsed one, the bytes that were parsed.
    // Spec: TSP-30, TSP-31
    pub fn to_bytes(&self) -> Vec<u8> {
        let extensions = self.extensions.0.iter();
        let values: usize = extensions.map(|extension| extension.value.len()).sum();
        let mut out = Vec::with_capacity(512 + values);
        nest(&mut out, tag::SEQUENCE, |out| {
            push_unsigned(out, 1);
            self.policy.push(out);
            self.imprint.push(out);
            push(out, tag::INTEGER, &[&self.serial.0]);
            let gen_time = self.gen_time.content();
            push(out, tag::GENERALIZED_TIME, &[gen_time.as_bytes()]);
            if let Some(accuracy) = self.accuracy {
                accuracy.push(out);
            }
            self.ordering.push(out);
            if let Some(nonce) = &self.nonce {
                nonce.push(out);
            }
            if let Some(tsa) = &self.tsa {
                push(out, tag::CONSTRUCTED_0, &[&tsa.0]);
            }
            self.extensions.push(out);
        });
        out
    }

    /// The cosigned checkpoint that the token carries and is not older than, if it carries one.
    ///
    /// # Errors
    /// [`NotBeforeError`] when the extension is there and is not as [`NotBefore`] has it.
    // Spec: TSP-33
    pub fn not_before(&self) -> Result<Option<NotBefore>, NotBeforeError> {
        let extension = self.extensions.find(oid::NOT_BEFORE_CHECKPOINT);
        extension
            .map(|extension| NotBefore::parse(&extension.value))
            .transpose()
    }
}

/// What a token says, with its DER, for who needs both: its entry and its signature are of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedTstInfo {
    info: TstInfo,
    der: Vec<u8>,
}

impl EncodedTstInfo {
    /// What it says.
    pub fn info(&self) -> &TstInfo {
        &self.info
    }

    /// Its DER.
    pub fn as_bytes(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn into_parts(self) -> (TstInfo, Vec<u8>) {
        (self.info, self.der)
    }
}

impl From<TstInfo> for EncodedTstInfo {
    fn from(info: TstInfo) -> Self {
        let der = info.to_bytes();
        Self { info, der }
    }
}

/// The number of a token: positive, of at most 160 bits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialNumber(Vec<u8>);

/// The most octets of a serial number's magnitude. Some authorities draw all 160 bits at random, so
/// that an octet of sign stands before them.
// Spec: TSP-34
const SERIAL_OCTETS_MAX: usize = 20;

impl SerialNumber {
    // Spec: TSP-34
    fn read(content: &[u8]) -> Result<Self, TstInfoError> {
        let magnitude = content.strip_prefix(&[0]).unwrap_or(content);
        let negative = content.first().is_none_or(|first| first & 0x80 != 0);
        if negative || magnitude.is_empty() || magnitude.len() > SERIAL_OCTETS_MAX {
            return Err(TstInfoError::Serial {
                octets: content.len(),
            });
        }
        Ok(Self(content.to_vec()))
    }

    /// The number of Jurat's token at this place of the log.
    // Spec: TSP-35
    pub fn of_unit(unit: UnitId, index: LeafIndex) -> Self {
        let mut content = Vec::with_capacity(16);
        content.extend_from_slice(&unit.0);
        content.extend_from_slice(&index.get().to_be_bytes());
        Self(content)
    }

    /// Unit and place, when the number has the form of Jurat's.
    // Spec: TSP-35
    pub fn as_unit(&self) -> Option<(UnitId, LeafIndex)> {
        let (unit, index) = self.0.split_first_chunk()?;
        let index: [u8; 8] = index.try_into().ok()?;
        let index = LeafIndex::new(u64::from_be_bytes(index))?;
        Some((UnitId::new(*unit)?, index))
    }

    /// The content of the INTEGER.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hex::encode(&self.0))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialNumber({self})")
    }
}

/// Which key of which authority signs: the first half of its serial numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId([u8; 8]);

impl UnitId {
    /// Takes eight bytes. The first must be from 0x01 to 0x7f: then every serial number has 16
    /// octets, no more for a sign and no fewer for zeros.
    // Spec: TSP-35
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        let [first, ..] = bytes;
        (0x01..=0x7f).contains(&first).then_some(Self(bytes))
    }

    /// The unit of a certificate in the log of this origin: 8 octets of the SHA-256 of the origin,
    /// a newline, and the SHA-256 of the certificate in DER, with the first octet brought into its
    /// range. So a serial number says which log it is a place of, two logs under one certificate
    /// never give the same one, and nobody chooses it.
    // Spec: TSP-39
    pub fn of_certificate(origin: &Origin, certificate: &Hash) -> Self {
        let mut text = Vec::with_capacity(origin.as_str().len() + 1 + Hash::LEN);
        text.extend_from_slice(origin.as_str().as_bytes());
        text.push(b'\n');
        text.extend_from_slice(certificate.as_bytes());
        let digest = sha256(&text);
        let (eight, _) = digest
            .as_bytes()
            .split_first_chunk()
            .unwrap_or((&[0; 8], &[]));
        let mut unit: [u8; 8] = *eight;
        let [first, ..] = &mut unit;
        *first = (*first & 0x3f) | 0x40;
        Self(unit)
    }

    /// Parses 16 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = crate::hex::decode(text).ok()?;
        Self::new(bytes.try_into().ok()?)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hex::encode(&self.0))
    }
}

impl fmt::Debug for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnitId({self})")
    }
}

/// How far the time may be from UTC, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accuracy {
    seconds: Option<u32>,
    millis: Option<u16>,
    micros: Option<u16>,
}

impl Accuracy {
    /// An accuracy. A part of zero is left out; `None` when all are, or when milliseconds or
    /// microseconds are 1000 or more.
    // Spec: TSP-36
    pub fn new(seconds: u32, millis: u16, micros: u16) -> Option<Self> {
        let accuracy = Self {
            seconds: (seconds != 0).then_some(seconds),
            millis: (millis != 0).then_some(millis),
            micros: (micros != 0).then_some(micros),
        };
        let some = seconds != 0 || millis != 0 || micros != 0;
        (some && millis < 1000 && micros < 1000).then_some(accuracy)
    }

    /// All of it in microseconds.
    pub fn as_micros(self) -> u64 {
        let seconds = u64::from(self.seconds.unwrap_or_default());
        let millis = u64::from(self.millis.unwrap_or_default());
        seconds * 1_000_000 + millis * 1_000 + u64::from(self.micros.unwrap_or_default())
    }

    // Spec: TSP-36
    fn read(element: Element<'_>) -> Result<Self, DerError> {
        let mut fields = element.inside();
        if fields.is_empty() {
            return Err(DerFault::Empty.of("accuracy"));
        }
        let seconds = fields.take_if(tag::INTEGER, "seconds")?;
        let seconds = seconds.map(|seconds| seconds.unsigned("seconds"));
        let seconds = seconds.transpose()?.map(u32::try_from).transpose();
        let part = |part: Option<Element<'_>>, field| -> Result<Option<u16>, DerError> {
            let Some(part) = part else { return Ok(None) };
            let value = u16::try_from(part.unsigned(field)?).unwrap_or(u16::MAX);
            if (1..=999).contains(&value) {
                Ok(Some(value))
            } else {
                Err(DerFault::Range.of(field))
            }
        };
        let millis = part(fields.take_if(tag::PRIMITIVE_0, "millis")?, "millis")?;
        let micros = part(fields.take_if(tag::PRIMITIVE_1, "micros")?, "micros")?;
        fields.finish("accuracy")?;
        Ok(Self {
            seconds: seconds.map_err(|_| DerFault::Range.of("seconds"))?,
            millis,
            micros,
        })
    }

    fn push(self, out: &mut Vec<u8>) {
        nest(out, tag::SEQUENCE, |out| {
            if let Some(seconds) = self.seconds {
                push_unsigned(out, u64::from(seconds));
            }
            for (tag, part) in [
                (tag::PRIMITIVE_0, self.millis),
                (tag::PRIMITIVE_1, self.micros),
            ] {
                if let Some(part) = part {
                    push(out, tag, &[&unsigned_content(&part.to_be_bytes())]);
                }
            }
        });
    }
}

/// A `GeneralName`: who an authority says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsaName(Vec<u8>);

impl TsaName {
    /// The `directoryName` that is this `Name` in DER, such as the subject of a certificate.
    // Spec: TSP-37
    pub(crate) fn directory(name: &[u8]) -> Self {
        Self(element(tag::CONSTRUCTED_4, &[name]))
    }

    /// The `Name` in DER, when it is a `directoryName`.
    pub fn directory_name(&self) -> Option<&[u8]> {
        let name = Element::only(&self.0, tag::CONSTRUCTED_4, "tsa").ok()?;
        Some(name.content)
    }

    /// The `GeneralName` in DER.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    // Spec: TSP-37
    fn read(explicit: Element<'_>) -> Result<Self, DerError> {
        let mut inside = explicit.inside();
        let name = inside.next_any("tsa")?;
        inside.finish("tsa")?;
        if name.tag == tag::CONSTRUCTED_4 {
            name.inner(tag::SEQUENCE, "tsa")?;
        }
        Ok(Self(name.bytes.to_vec()))
    }
}

/// The extensions of a token. No identifier is there twice.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Extensions(Vec<Extension>);

/// One extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Which.
    pub oid: Oid,
    /// Whether one who does not know it must refuse the token. Jurat makes none such.
    pub critical: Flag,
    /// The DER that it holds.
    pub value: Vec<u8>,
}

impl Extensions {
    /// Extensions in their order; none is the same as no list.
    ///
    /// # Errors
    /// [`DerError`] when an identifier is there twice.
    // Spec: TSP-38
    pub fn new(extensions: Vec<Extension>) -> Result<Self, DerError> {
        let mut oids: Vec<&Oid> = extensions.iter().map(|extension| &extension.oid).collect();
        oids.sort_unstable();
        let count = oids.len();
        oids.dedup();
        if oids.len() == count {
            Ok(Self(extensions))
        } else {
            Err(DerFault::Twice.of("extensions"))
        }
    }

    /// Them.
    pub fn as_slice(&self) -> &[Extension] {
        &self.0
    }

    fn find(&self, oid: ObjectIdentifier) -> Option<&Extension> {
        self.0.iter().find(|extension| extension.oid == oid)
    }

    // Spec: TSP-38
    fn read(list: Elements<'_>) -> Result<Self, DerError> {
        let mut extensions = Vec::new();
        for item in list.all(tag::SEQUENCE, "extensions")? {
            let mut fields = item.inside();
            extensions.push(Extension {
                oid: Oid::read(fields.take(tag::OID, "extnID")?, "extnID")?,
                critical: Flag::take(&mut fields, "critical")?,
                value: fields
                    .take(tag::OCTET_STRING, "extnValue")?
                    .content
                    .to_vec(),
            });
            fields.finish("Extension")?;
        }
        if extensions.is_empty() {
            return Err(DerFault::Empty.of("extensions"));
        }
        Self::new(extensions)
    }

    fn push(&self, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            return;
        }
        nest(out, tag::CONSTRUCTED_1, |out| {
            for extension in &self.0 {
                nest(out, tag::SEQUENCE, |out| {
                    extension.oid.push(out);
                    extension.critical.push(out);
                    push(out, tag::OCTET_STRING, &[&extension.value]);
                });
            }
        });
    }
}

/// Why bytes are no `TSTInfo`. Its maker is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TstInfoError {
    /// It is not DER, or not the fields that are due.
    Der(DerError),
    /// The version is not 1.
    Version,
    /// The digest and its algorithm.
    Imprint(ImprintError),
    /// A serial number that is not positive or too long.
    Serial {
        /// The octets of its content.
        octets: usize,
    },
    /// The nonce.
    Nonce(RequestError),
}

impl From<DerError> for TstInfoError {
    fn from(error: DerError) -> Self {
        Self::Der(error)
    }
}

impl fmt::Display for TstInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Der(error) => error.fmt(f),
            Self::Version => f.write_str("the version of the TSTInfo is not 1"),
            Self::Imprint(error) => error.fmt(f),
            Self::Serial { octets } => write!(
                f,
                "a serial number of {octets} octets is not positive or has over 160 bits"
            ),
            Self::Nonce(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TstInfoError {}

#[cfg(test)]
mod tests;
