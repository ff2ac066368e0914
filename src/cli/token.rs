//! `jurat verify` of RFC 3161 time-stamps: of our own service's and of anybody's.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_proto::cose::receipt::CoseReceipt;
use jurat_proto::cose::{SIGN1_BYTES_MAX, Sign1};
use jurat_proto::key::UnixSeconds;
use jurat_proto::policy::{Policy, PolicyBuilder};
use jurat_proto::receipt::Receipt;
use jurat_proto::tsp::certificate::Certificate;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::imprint::{HashAlgorithm, Hasher, MessageImprint};
use jurat_proto::tsp::logged::{
    Closing, Evidence, LoggedError, LoggedVerdict, NotBeforeBound, TokenClass, log_of,
    verify_logged,
};
use jurat_proto::tsp::oid::Oid;
use jurat_proto::tsp::request::{REQUEST_BYTES_MAX, TimestampRequest};
use jurat_proto::tsp::response::{FailureBits, PkiFailureInfo, PkiStatus, TimestampResponse};
use jurat_proto::tsp::signed_data::{TimestampToken, TokenError};
use jurat_proto::tsp::tst_info::Accuracy;
use jurat_proto::tsp::verify::{
    Expected, TokenVerdict, Trust, VerifyError, verify_token, verify_unrooted,
};
use serde_json::{Value, json};

use super::output;
use super::verify::{Proven, count, read_file, when, witness_lines, witness_rows};

/// The arguments of `jurat verify` that are about time-stamps.
#[derive(Debug, Args)]
#[command(next_help_heading = "Time-stamps (.tsr, RFC 3161)")]
pub(super) struct TokenArgs {
    /// What was stamped. Without it, FILE.tsr is taken to be about FILE. Of a COSE receipt: the
    /// entry, where it is not inside
    #[arg(long, value_name = "FILE", conflicts_with = "digest")]
    data: Option<PathBuf>,
    /// What was stamped is the signature of a `COSE_Sign1` message (RFC 9921)
    #[arg(long, conflicts_with = "digest")]
    cose: bool,
    /// The digest of what was stamped, by the time-stamp's algorithm, in hexadecimal digits
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// Root certificates of time-stamp authorities (PEM or DER). Without any, only the log of the
    /// policy can stand for the signer, so that a receipt is needed
    #[arg(long = "ca", value_name = "FILE")]
    roots: Vec<PathBuf>,
    /// Certificates on the way to a root, or the signer's where the time-stamp lacks it. They are
    /// not believed
    #[arg(long = "untrusted", value_name = "FILE")]
    untrusted: Vec<PathBuf>,
    /// The request (.tsq): its nonce and its policy must be in the answer
    #[arg(long, value_name = "FILE")]
    query: Option<PathBuf>,
    /// A time-stamp policy that is good enough; may be repeated. Without any, all are
    #[arg(long = "policy-oid", value_name = "OID", value_parser = Oid::parse)]
    policy_oids: Vec<Oid>,
    /// The time-stamp's receipt (.tlog-proof), where it is not inside
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// The receipt of a key's closing: of that key, only time-stamps that are proven to stand below
    /// it in the log are good; may be repeated
    #[arg(long = "closed", value_name = "FILE")]
    closings: Vec<PathBuf>,
    /// The least that must be proven
    #[arg(long, value_name = "CLASS", default_value = "signature")]
    require: Required,
}

/// What must be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Required {
    /// That whoever has the signer's key made it
    Signature,
    /// That a log of the policy has it
    Logged,
    /// That the witnesses of the policy have cosigned the log with it
    Witnessed,
    /// That it was made between two times that the witnesses stand for
    Bracketed,
}

impl Required {
    fn class(self) -> TokenClass {
        match self {
            Self::Signature => TokenClass::SignatureOnly,
            Self::Logged => TokenClass::Logged,
            Self::Witnessed => TokenClass::Witnessed,
            Self::Bracketed => TokenClass::Bracketed,
        }
    }
}

/// What all time-stamps of one call are verified with.
pub(super) struct TokenVerifier<'a> {
    args: &'a TokenArgs,
    /// Without one, no log is believed.
    policy: Policy,
    has_policy: bool,
    roots: Vec<Certificate>,
    others: Vec<Certificate>,
    query: Option<TimestampRequest>,
    receipt: Option<Receipt>,
    closings: Vec<Closing>,
    now: GenTime,
}

impl<'a> TokenVerifier<'a> {
    /// Reads what the arguments name. `files` is the number of files to verify.
    ///
    /// # Errors
    /// When one of them cannot be read, or is for one time-stamp and there are several.
    pub(super) fn new(
        args: &'a TokenArgs,
        policy: Option<&Policy>,
        files: usize,
    ) -> anyhow::Result<Self> {
        let single = [
            ("--data", args.data.is_some()),
            ("--digest", args.digest.is_some()),
            ("--query", args.query.is_some()),
            ("--receipt", args.receipt.is_some()),
        ];
        if let Some((name, _)) = single.into_iter().find(|(_, given)| *given && files != 1) {
            return Err(output::usage(format_args!(
                "{name} is for one file: verify them one by one"
            )));
        }
        let has_policy = policy.is_some();
        let policy = match policy {
            Some(policy) => policy.clone(),
            None => nobody()?,
        };
        let query = match &args.query {
            Some(path) => Some(read_query(path)?),
            None => None,
        };
        let receipt = match &args.receipt {
            Some(path) => Some(read_receipt(path, &policy)?),
            None => None,
        };
        let mut closings = Vec::new();
        for path in &args.closings {
            let closing = Closing::verify(&read_receipt(path, &policy)?, &policy)
                .map_err(|error| output::usage(format_args!("{}: {error}", path.display())))?;
            closings.push(closing);
        }
        let now = SystemClock.now().seconds();
        Ok(Self {
            args,
            policy,
            has_policy,
            roots: read_certificates(&args.roots)?,
            others: read_certificates(&args.untrusted)?,
            query,
            receipt,
            closings,
            now: GenTime::new(now, 0).context("this machine's clock is after the year 9999")?,
        })
    }

    /// Whether these bytes are to be taken for a time-stamp: DER, which nothing else here is.
    pub(super) fn is_token(bytes: &[u8]) -> bool {
        bytes.first() == Some(&0x30)
    }

    /// Verifies one time-stamp: an answer (.tsr), or the token alone.
    ///
    /// # Errors
    /// When it is not good, or not as good as required.
    pub(super) fn verify(&self, file: &Path, bytes: &[u8]) -> anyhow::Result<Proven> {
        let token = read_token(bytes)?;
        let tst_info = token.tst_info();
        let (imprint, about) = self.imprint(file, tst_info.imprint.algorithm())?;
        let policies = self.policies()?;
        let expected = Expected {
            imprint: &imprint,
            policies: policies.as_deref(),
            nonce: self.query.as_ref().and_then(TimestampRequest::nonce),
        };
        let verdict = if self.roots.is_empty() {
            verify_unrooted(&token, expected, &self.others, self.now)
        } else {
            let trust = Trust {
                roots: &self.roots,
                others: &self.others,
            };
            verify_token(&token, expected, trust, self.now)
        }?;
        let inside = match (&self.receipt, &verdict.receipt) {
            (None, Some(bytes)) if self.has_policy => {
                Some(Receipt::parse(bytes).context("the receipt inside")?)
            }
            _ => None,
        };
        let evidence = Evidence {
            policy: &self.policy,
            receipt: self.receipt.as_ref().or(inside.as_ref()),
            closings: &self.closings,
        };
        let logged = verify_logged(&token, &verdict, evidence).map_err(|error| match error {
            LoggedError::NobodyVouches if !self.has_policy => {
                anyhow::anyhow!("{error}: give --ca, or --policy for one with a receipt")
            }
            LoggedError::NobodyVouches => anyhow::anyhow!("{error}: give --ca"),
            error => anyhow::Error::new(error),
        })?;
        let required = self.args.require.class();
        ensure!(logged.shows(required), too_little(logged.class(), required));
        Ok(self.told(&token, &about, &verdict, &logged))
    }

    /// The entry of a COSE receipt, where it was given.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn entry(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let data = self.args.data.as_deref();
        data.map(|path| read_file(path, FILE_BYTES_MAX)).transpose()
    }

    /// Whether a COSE receipt of this class is as good as required.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn require(&self, class: TokenClass) -> anyhow::Result<()> {
        let required = self.args.require.class();
        ensure!(class >= required, too_little(class, required));
        Ok(())
    }

    /// What must have been stamped, and how to name it.
    fn imprint(
        &self,
        file: &Path,
        algorithm: HashAlgorithm,
    ) -> anyhow::Result<(MessageImprint, String)> {
        let (imprint, about) = if let Some(digest) = &self.args.digest {
            let digest =
                unhex(digest).ok_or_else(|| output::usage("--digest is not hexadecimal"))?;
            let imprint = MessageImprint::new(algorithm, digest)
                .with_context(|| format!("--digest, of which {algorithm} is the algorithm"))?;
            (imprint, "the digest given".to_owned())
        } else {
            let data = self.data(file)?;
            let imprint = if self.args.cose {
                imprint_of_cose(&data, algorithm)?
            } else {
                imprint_of(&data, algorithm)?
            };
            (imprint, data.display().to_string())
        };
        if let Some(query) = &self.query {
            ensure!(
                query.imprint().is_same(&imprint),
                "the request is about something else than {about}"
            );
        }
        Ok((imprint, about))
    }

    fn data(&self, file: &Path) -> anyhow::Result<PathBuf> {
        if let Some(data) = &self.args.data {
            return Ok(data.clone());
        }
        let beside = file.with_extension("");
        let named = file.extension().is_some_and(|extension| extension == "tsr");
        if named && beside.is_file() {
            return Ok(beside);
        }
        Err(output::usage(format_args!(
            "{}: which file is it about? Give --data",
            file.display()
        )))
    }

    /// The policies that are good enough: the request's, and those of the arguments.
    fn policies(&self) -> anyhow::Result<Option<Vec<Oid>>> {
        let asked = self.query.as_ref().and_then(TimestampRequest::policy);
        let given = &self.args.policy_oids;
        Ok(match asked {
            None if given.is_empty() => None,
            None => Some(given.clone()),
            Some(asked) if given.is_empty() || given.contains(asked) => Some(vec![asked.clone()]),
            Some(asked) => {
                bail!("the request asks for the policy {asked}, which is not good enough")
            }
        })
    }

    fn told(
        &self,
        token: &TimestampToken,
        about: &str,
        verdict: &TokenVerdict,
        logged: &LoggedVerdict,
    ) -> Proven {
        let algorithm = token.tst_info().imprint.algorithm();
        let mut details = vec![
            format!(
                "time-stamp of {about} ({algorithm}): {}, serial {}, policy {}",
                time_said(verdict),
                verdict.serial,
                verdict.policy
            ),
            self.signer_said(verdict),
        ];
        details.extend(self.nonce_said(token));
        details.extend(self.log_said(token, verdict, logged));
        if let Some(proof) = &logged.proof {
            details.extend(witness_lines(&self.policy, &proof.witnesses));
        }
        Proven {
            what: self.what(logged),
            details,
            json: self.json(token, verdict, logged),
        }
    }

    /// The class in one sentence.
    fn what(&self, logged: &LoggedVerdict) -> String {
        let mut what = match (&logged.proof, logged.not_before.time(), logged.not_after) {
            (None, ..) => {
                return "Signature only: whoever has the signer's key can have made it".to_owned();
            }
            (Some(proof), _, _) if proof.witnesses.is_empty() => {
                "Logged, and witnessed by nobody".to_owned()
            }
            (Some(_), ..) if !logged.has_quorum => format!(
                "Logged. The policy asks for no witness; cosigned by {}",
                self.witnessed_by(logged)
            ),
            (Some(_), Some(from), Some(to)) => format!(
                "Bracketed between {} and {}, witnessed by {}",
                instant(from),
                instant(to),
                self.witnessed_by(logged)
            ),
            (Some(_), _, Some(to)) => format!(
                "Made by {}, witnessed by {}",
                instant(to),
                self.witnessed_by(logged)
            ),
            (Some(_), ..) => format!("Logged and witnessed by {}", self.witnessed_by(logged)),
        };
        if let Some(closing) = &logged.closing {
            let _ = write!(
                what,
                ". Its key was closed ({}) at entry {}, after it",
                closing.reason, closing.index
            );
        }
        what
    }

    fn witnessed_by(&self, logged: &LoggedVerdict) -> String {
        let witnesses = logged.proof.as_ref().map(|proof| &proof.witnesses);
        count(&self.policy, witnesses.map_or(&[], Vec::as_slice))
    }

    fn signer_said(&self, verdict: &TokenVerdict) -> String {
        let signer = verdict.signer.subject_text();
        match verdict.root.and_then(|root| self.roots.get(root)) {
            Some(root) => format!("signed by {signer}, under the root {}", root.subject_text()),
            None => format!("signed by {signer}, for whom the log stands and no root was given"),
        }
    }

    fn nonce_said(&self, token: &TimestampToken) -> Option<String> {
        let has = token.tst_info().nonce.is_some();
        (self.query.is_none() && has)
            .then(|| "not verified here: that the nonce is the request's (give --query)".to_owned())
    }

    fn log_said(
        &self,
        token: &TimestampToken,
        verdict: &TokenVerdict,
        logged: &LoggedVerdict,
    ) -> Vec<String> {
        let mut said = Vec::new();
        match &logged.proof {
            Some(proof) => said.push(format!(
                "entry {} of log {} at size {}",
                proof.index, proof.origin, proof.head.size
            )),
            None if verdict.receipt.is_some() => {
                said.push("not verified here: the receipt inside (give --policy)".to_owned());
            }
            None => {
                if let Some((log, index)) = log_of(token.tst_info(), &verdict.signer, &self.policy)
                {
                    said.push(format!(
                        "not shown: that it is entry {index} of log {log}, as its number says \
                         (jurat timestamp --upgrade fetches the receipt)"
                    ));
                }
            }
        }
        match &logged.not_before {
            NotBeforeBound::Absent => {}
            NotBeforeBound::NotShown(_) if !self.has_policy => said.push(
                "not verified here: the cosignatures inside, which it is not older than (give \
                 --policy)"
                    .to_owned(),
            ),
            NotBeforeBound::NotShown(error) => {
                said.push(format!(
                    "not shown: since when it can have been made: {error}"
                ));
            }
            NotBeforeBound::Shown { time, .. } => said.extend(time.map(|time| {
                format!(
                    "not before {}: it carries cosignatures of that time",
                    instant(time)
                )
            })),
        }
        if let Some(time) = logged.not_after {
            said.push(format!(
                "not after {}: by then a quorum had cosigned the log with it",
                instant(time)
            ));
        }
        if let (Some(from), Some(to)) = (logged.not_before.time(), logged.not_after)
            && from > to
        {
            said.push(
                "the clocks of the witnesses differ by more than that lies between".to_owned(),
            );
        }
        let closed = self.closings.len();
        if closed > 0 && logged.closing.is_none() {
            said.push(format!("none of the {closed} closings given is of its key"));
        }
        said
    }

    fn json(
        &self,
        token: &TimestampToken,
        verdict: &TokenVerdict,
        logged: &LoggedVerdict,
    ) -> Value {
        let tst_info = token.tst_info();
        let proof = logged.proof.as_ref().map(|proof| {
            json!({
                "log": proof.origin.as_str(),
                "index": proof.index.get(),
                "size": proof.head.size.get(),
                "root_hash": proof.head.root_hash.to_base64(),
                "witnesses": witness_rows(&self.policy, &proof.witnesses),
            })
        });
        let closing = logged.closing.as_ref().map(|closing| {
            json!({
                "index": closing.index.get(),
                "reason": closing.reason.name(),
                "time": closing.time.get(),
            })
        });
        let root = verdict.root.and_then(|root| self.roots.get(root));
        json!({
            "kind": "timestamp",
            "class": logged.class().name(),
            "hash": tst_info.imprint.algorithm().name(),
            "digest": jurat_proto::hex::encode(tst_info.imprint.digest()),
            "time": verdict.gen_time.to_string(),
            "accuracy_us": verdict.accuracy.map(Accuracy::as_micros),
            "serial": verdict.serial.to_string(),
            "policy": verdict.policy.to_string(),
            "nonce_verified": self.query.as_ref().is_some_and(|query| query.nonce().is_some()),
            "signer": verdict.signer.subject_text(),
            "root": root.map(Certificate::subject_text),
            "not_before": logged.not_before.time().map(UnixSeconds::get),
            "not_after": logged.not_after.map(UnixSeconds::get),
            "proof": proof,
            "closing": closing,
        })
    }
}

/// Whether an error proves that an authority did what it must not.
pub(super) fn is_misissuance(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<LoggedError>(),
        Some(LoggedError::Misissued(_))
    )
}

/// What a file of a time-stamp holds: the token.
///
/// # Errors
/// When it is neither an answer nor a token, or an answer that rejects: then with what it says.
pub(super) fn read_token(bytes: &[u8]) -> anyhow::Result<TimestampToken> {
    match TimestampResponse::parse(bytes) {
        Ok(response) => granted(&response).cloned(),
        // A token alone starts with an identifier where an answer has its status: each says best
        // itself what is wrong with it.
        Err(answer) => match TimestampToken::parse(bytes) {
            Ok(token) => Ok(token),
            Err(TokenError::NotSignedData | TokenError::Der(_)) => {
                Err(anyhow::Error::new(answer).context("no time-stamp"))
            }
            Err(token) => Err(anyhow::Error::new(token).context("no time-stamp")),
        },
    }
}

/// The token of an answer that grants.
///
/// # Errors
/// With the authority's status, failures and texts, when it does not grant.
// Spec: TSP-60
pub(super) fn granted(response: &TimestampResponse) -> anyhow::Result<&TimestampToken> {
    match (response.status(), response.token()) {
        (PkiStatus::Granted, Some(token)) => Ok(token),
        (status, _) => {
            let error = VerifyError::Status { status };
            let mut said = error.to_string();
            let failures = response.failures().into_iter();
            let names: Vec<_> = failures
                .flat_map(FailureBits::failures)
                .map(PkiFailureInfo::name)
                .collect();
            if !names.is_empty() {
                let _ = write!(said, " ({})", names.join(", "));
            }
            if !response.texts().is_empty() {
                let _ = write!(said, ": {}", output::one_line(&response.texts().join("; ")));
            }
            bail!(said)
        }
    }
}

/// The imprint of a file, which is read piece by piece.
///
/// # Errors
/// When it cannot be read.
pub(super) fn imprint_of(path: &Path, algorithm: HashAlgorithm) -> anyhow::Result<MessageImprint> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let mut hasher = Hasher::new(algorithm);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(piece.get(..count).unwrap_or_default()),
            }
        }
    };
    let digest = read().with_context(|| format!("{}", path.display()))?;
    Ok(MessageImprint::new(algorithm, digest)?)
}

/// What is hashed at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// The imprint of a message's signature, which a time-stamp in its header is about.
///
/// # Errors
/// When it cannot be read, or is no message.
// Spec: TSP-96
pub(super) fn imprint_of_cose(
    path: &Path,
    algorithm: HashAlgorithm,
) -> anyhow::Result<MessageImprint> {
    let bytes = read_file(path, u64::try_from(SIGN1_BYTES_MAX)?)?;
    let message = Sign1::parse(&bytes).with_context(|| format!("{}", path.display()))?;
    Ok(MessageImprint::of(algorithm, message.signature_field()))
}

fn read_query(path: &Path) -> anyhow::Result<TimestampRequest> {
    let bytes = read_file(path, u64::try_from(REQUEST_BYTES_MAX)?)?;
    TimestampRequest::parse(&bytes).map_err(|error| at(path, error))
}

/// A receipt. One in COSE is verified as such here, and then is the receipt that it carries.
fn read_receipt(path: &Path, policy: &Policy) -> anyhow::Result<Receipt> {
    let bytes = read_file(path, FILE_BYTES_MAX)?;
    if !CoseReceipt::is_one(&bytes) {
        return Receipt::parse(&bytes).map_err(|error| at(path, error));
    }
    let cose = CoseReceipt::parse(&bytes).map_err(|error| at(path, error))?;
    let receipt = cose
        .to_receipt()
        .ok_or_else(|| at(path, "the COSE receipt carries no checkpoint or no entry"))?;
    cose.verify(&receipt.entry().leaf_hash(), policy)
        .with_context(|| format!("{}", path.display()))?;
    Ok(receipt)
}

fn too_little(proven: TokenClass, required: TokenClass) -> String {
    format!("what is proven is: {proven}. What is required is: {required}")
}

/// # Errors
/// When a file cannot be read or holds no certificates.
pub(super) fn read_certificates(paths: &[PathBuf]) -> anyhow::Result<Vec<Certificate>> {
    let mut all = Vec::new();
    for path in paths {
        let file = read_file(path, FILE_BYTES_MAX)?;
        all.extend(Certificate::parse_file(&file).map_err(|error| at(path, error))?);
    }
    Ok(all)
}

/// A receipt, or a whole store of certificates in PEM.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A file that the arguments name is not what it must be.
fn at(path: &Path, error: impl std::fmt::Display) -> anyhow::Error {
    output::usage(format_args!("{}: {error}", path.display()))
}

/// The policy of who believes no log: nothing satisfies it.
fn nobody() -> anyhow::Result<Policy> {
    let mut builder = PolicyBuilder::new();
    builder.quorum(b"none")?;
    Ok(builder.finish()?)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    jurat_proto::hex::decode(&text.to_ascii_lowercase()).ok()
}

fn time_said(verdict: &TokenVerdict) -> String {
    match verdict.accuracy.map(Accuracy::as_micros) {
        None => format!("{}", verdict.gen_time),
        Some(micros) if micros % 1_000_000 == 0 => {
            format!("{} ± {} s", verdict.gen_time, micros / 1_000_000)
        }
        Some(micros) => format!("{} ± {micros} µs", verdict.gen_time),
    }
}

/// A time without the preposition.
fn instant(time: UnixSeconds) -> String {
    let at = when(time);
    at.strip_prefix("at ").unwrap_or(&at).to_owned()
}
