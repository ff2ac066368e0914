//! Evidence files: who is convicted, of what, and by which two statements.

use jurat_proto::checkpoint::Origin;
use jurat_proto::entry::{EvidenceEntry, EvidenceFile};
use jurat_proto::evidence::{Evidence, Guilty, Kind, KnownKeys, LogFinding, Role, Said, Standing};
use jurat_proto::evidence::{NotProven, Verdict};
use jurat_proto::hex;
use jurat_proto::key::{SignatureType, UnixSeconds, VerifierKey};
use jurat_proto::policy::Policy;
use serde_json::{Value, json};

use super::super::output;
use super::{Proven, when};

/// Keys that are named for evidence only.
pub(super) struct Keys {
    /// Of `--retired-log-key`.
    pub(super) retired: Vec<VerifierKey>,
    /// Of `--key`.
    pub(super) witnesses: Vec<VerifierKey>,
}

impl Keys {
    pub(super) fn is_empty(&self) -> bool {
        self.retired.is_empty() && self.witnesses.is_empty()
    }
}

/// Verifies a file of evidence with the keys of a policy, of `--log-key` and of `keys`.
pub(super) fn verify(
    file: &[u8],
    policy: Option<&Policy>,
    log_keys: &[VerifierKey],
    keys: &Keys,
) -> anyhow::Result<Proven> {
    let evidence = Evidence::parse(file)?;
    let known = known(&evidence, policy, log_keys, keys)?;
    let verdict = evidence.verify(&known).map_err(|reason| match reason {
        NotProven::NoKnownKey => anyhow::anyhow!(
            "{} contradicting statements, but {reason} (give --policy, --log-key or --key)",
            subject(&evidence)
        ),
        NotProven::NobodySignedBoth => {
            anyhow::anyhow!(
                "{} contradicting statements, but {reason}",
                subject(&evidence)
            )
        }
    })?;
    if let LogFinding::Undetermined { keys, retired } = &verdict.log
        && verdict.guilty.is_empty()
    {
        let old = keys.iter().zip(retired).filter(|(_, retired)| **retired);
        let old: Vec<String> = old.map(|(key, _)| short(key)).collect();
        anyhow::bail!(
            "not determined: two keys of the log signed, and the date on which {} was retired \
             decides whether the log did",
            old.join(" or ")
        );
    }
    let only_logs = verdict.guilty.iter().all(|guilty| guilty.role == Role::Log);
    if let LogFinding::RetiredKey { key } = &verdict.log
        && only_logs
    {
        anyhow::bail!(
            "not determined: {} signed both statements, and is retired; the date on which it was \
             decides whether the log did",
            short(key)
        );
    }
    Ok(Proven {
        what: what(&verdict),
        details: details(&evidence, &verdict),
        json: to_json(&evidence, &verdict),
    })
}

/// What a receipt says of evidence that its log holds. The file itself is verified by itself.
pub(super) fn entry(kind: &str, entry: &EvidenceEntry) -> (Vec<String>, Value) {
    let convicts = entry.convicts.name();
    match &entry.file {
        EvidenceFile::Whole(evidence) => {
            let id = hex::encode(evidence.id().as_bytes());
            let origin = evidence.origin().map(Origin::as_str);
            let of = origin
                .map(|origin| format!(" of {origin}"))
                .unwrap_or_default();
            let said = format!(
                "evidence {id}{of}: {}, convicts {convicts}",
                evidence.kind()
            );
            let json = json!({
                "kind": kind,
                "id": id,
                "contradiction": evidence.kind().name(),
                "origin": origin,
                "convicts": convicts,
            });
            (vec![said, NOT_VERIFIED.to_owned()], json)
        }
        EvidenceFile::Part(part) => {
            let (number, count, file) = (part.number(), part.count(), part.file());
            let said = format!("part {number} of {count} of a file of evidence, SHA-256 {file}");
            let json = json!({
                "kind": kind,
                "part": number,
                "parts": count,
                "file": file.to_base64(),
                "convicts": convicts,
            });
            (vec![said, NOT_VERIFIED.to_owned()], json)
        }
    }
}

const NOT_VERIFIED: &str =
    "not verified here: whom the evidence convicts (fetch /evidence/<id>, and verify that)";

/// What the keys are keys of: said by the arguments and the policy, never guessed from a name.
fn known(
    evidence: &Evidence,
    policy: Option<&Policy>,
    log_keys: &[VerifierKey],
    keys: &Keys,
) -> anyhow::Result<KnownKeys> {
    let mut known = KnownKeys::new();
    if let Some(origin) = evidence.origin() {
        // A key is what is said of it first: retired, also where the policy lists it.
        for key in &keys.retired {
            known.add_log(origin.clone(), key.clone(), Standing::Retired);
        }
        for key in log_keys {
            known.add_log(origin.clone(), key.clone(), Standing::Current);
        }
    }
    if let Some(policy) = policy {
        known.add_policy(policy);
    }
    // Spec: EVI-47
    for key in &keys.witnesses {
        if key.signature_type() == SignatureType::Ed25519 {
            let of_the_same = |other: &&VerifierKey| {
                other.name() == key.name() && other.signature_type() != SignatureType::Ed25519
            };
            let cosigners = keys.witnesses.iter().filter(of_the_same).cloned();
            let cosigners: Vec<VerifierKey> = cosigners.collect();
            known.add_gossip(key.clone(), &cosigners)
        } else {
            known.add_cosigner(key.clone())
        }
        .map_err(|error| output::usage(format_args!("--key {key}: {error}")))?;
    }
    Ok(known)
}

fn subject(evidence: &Evidence) -> String {
    match evidence.origin() {
        Some(origin) => format!("it shows, of {origin},"),
        None => "it shows".to_owned(),
    }
}

fn what(verdict: &Verdict) -> String {
    let origin = verdict
        .origin
        .as_ref()
        .map(Origin::as_str)
        .unwrap_or_default();
    let witnesses = verdict
        .guilty
        .iter()
        .filter(|guilty| guilty.role != Role::Log)
        .count();
    let by_witnesses = match witnesses {
        0 => String::new(),
        1 => " One key of a witness is convicted, too.".to_owned(),
        more => format!(" {more} keys of witnesses are convicted, too."),
    };
    match verdict.kind {
        Kind::Empty => format!("PROVEN: {origin} signed nonsense about the empty tree."),
        Kind::CosignerRegress => {
            format!("PROVEN: a witness called a smaller tree of {origin} the largest, later.")
        }
        Kind::Omission => format!("PROVEN: a witness hid a head of {origin} that it had cosigned."),
        Kind::GossipEquivocation => "PROVEN: a witness said two things of one state.".to_owned(),
        Kind::SameSize | Kind::Opening | Kind::Entry => match verdict.log {
            LogFinding::Guilty => format!("PROVEN: {origin} forked.{by_witnesses}"),
            LogFinding::AcrossKeys { .. } => {
                format!("PROVEN: {origin} forked, with two of its keys.{by_witnesses}")
            }
            LogFinding::RetiredKey { .. } => format!(
                "PROVEN: a retired key of {origin} signed two histories; when it was retired \
                 decides whether {origin} did.{by_witnesses}"
            ),
            LogFinding::NotShown | LogFinding::Undetermined { .. } => {
                format!("PROVEN: {witnesses} keys of witnesses cosigned two histories of {origin}.")
            }
        },
    }
}

fn details(evidence: &Evidence, verdict: &Verdict) -> Vec<String> {
    let mut details = vec![format!(
        "{}, id {}",
        verdict.kind,
        hex::encode(verdict.id.as_bytes())
    )];
    let (a, b) = evidence.statements();
    details.push(format!("A: {}", shown(a)));
    details.extend(b.map(|b| format!("B: {}", shown(b))));
    if let (Some(root), Said::Checkpoint(a)) = (evidence.opened_root(), a) {
        let size = a.head().size;
        details.push(format!(
            "B's tree has root {root} at size {size}, by the proof in the file"
        ));
    }
    if let Some((index, [a, b])) = evidence.leaves() {
        details.push(format!("entry {index} has leaf hash {a} in A and {b} in B"));
    }
    if let Some(row) = evidence.row() {
        details.push(format!("A calls size {} the newest cosigned", row.row.size));
    }
    details.extend(verdict.guilty.iter().map(convicted));
    if let LogFinding::AcrossKeys { keys: [a, b] } = &verdict.log {
        details.push(format!(
            "convicted: the log; {} signed A, {} B",
            short(a),
            short(b)
        ));
    }
    details
}

fn shown(said: Said<'_>) -> String {
    match said {
        Said::Checkpoint(note) => {
            let head = note.head();
            format!(
                "{}, size {}, root {}",
                note.origin(),
                head.size,
                head.root_hash
            )
        }
        Said::Gossip(signed) => {
            let claim = signed.statement().claim();
            format!(
                "{}{}",
                claim.trim_end().replace('\n', ", "),
                at(Some(signed.statement().time()))
            )
        }
    }
}

fn convicted(guilty: &Guilty) -> String {
    let [a, b] = guilty.times;
    let times = match (a, b) {
        (None, None) => String::new(),
        _ => format!(": A{}, B{}", at(a), at(b)),
    };
    format!(
        "convicted: the {} key {}{times}",
        guilty.role.name(),
        short(&guilty.key)
    )
}

fn at(time: Option<UnixSeconds>) -> String {
    time.map_or_else(
        || " without a time".to_owned(),
        |time| format!(" {}", when(time)),
    )
}

fn short(key: &VerifierKey) -> String {
    format!("{}+{}", key.name(), key.key_id())
}

fn to_json(evidence: &Evidence, verdict: &Verdict) -> Value {
    let (a, b) = evidence.statements();
    let statements: Vec<Value> = [Some(a), b].into_iter().flatten().map(statement).collect();
    let guilty = verdict.guilty.iter().map(|guilty| {
        json!({
            "role": guilty.role.name(),
            "key": guilty.key.to_string(),
            "times": guilty.times.map(|time| time.map(UnixSeconds::get)),
        })
    });
    let across = match &verdict.log {
        LogFinding::AcrossKeys { keys } => Some(keys.each_ref().map(ToString::to_string)),
        _ => None,
    };
    let leaves = evidence.leaves().map(|(index, leaves)| {
        json!({ "index": index.get(), "leaf_hashes": leaves.map(|leaf| leaf.to_base64()) })
    });
    json!({
        "kind": "evidence",
        "contradiction": verdict.kind.name(),
        "id": hex::encode(verdict.id.as_bytes()),
        "log": verdict.origin.as_ref().map(Origin::as_str),
        "log_forked": verdict.convicts_log(),
        "across_keys": across,
        "guilty": guilty.collect::<Vec<_>>(),
        "statements": statements,
        "opened_root": evidence.opened_root().map(|root| root.to_base64()),
        "entry": leaves,
        "row": evidence.row().map(|row| row.row.to_string()),
    })
}

fn statement(said: Said<'_>) -> Value {
    match said {
        Said::Checkpoint(note) => json!({
            "size": note.head().size.get(),
            "root_hash": note.head().root_hash.to_base64(),
        }),
        Said::Gossip(signed) => json!({ "text": signed.statement().to_text() }),
    }
}
