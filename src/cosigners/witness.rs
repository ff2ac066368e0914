//! One witness: what it is sent, what its answers mean, and the task that keeps at it.

use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::client::ClientError;
use jurat_daemon::shutdown::Shutdown;
use jurat_proto::add_checkpoint::{AddCheckpoint, CONFLICT_CONTENT_TYPE, parse_conflict_body};
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::cosignature_lines::{CosignatureLines, CosignaturesError};
use jurat_proto::key::VerifierKey;
use jurat_proto::policy::Policy;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::tree::{TreeHead, TreeSize};
use tokio::sync::{mpsc, watch};

use super::gather::Line;
use super::standing::{Judgement, judge, own_head};
use super::times::WitnessTimes;
use super::{Parts, Report, Status, WitnessStatus};
use crate::log::tree::Tree;
use crate::log::tree_heads::SignedHead;

/// Conflicts in a row that a witness may answer to one head before it is left alone for a while.
/// One is the rule after a restart of either side.
const CONFLICTS_MAX: usize = 3;

/// The witnesses of the policy that stand at one URL: one process, one or several keys.
pub(crate) struct Group {
    url: String,
    members: Vec<(usize, VerifierKey)>,
}

/// Groups the policy's witnesses by URL. Witnesses without one cannot be asked.
pub(crate) fn by_url(policy: &Policy) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, witness) in policy.witnesses().iter().enumerate() {
        let Some(url) = witness.url.as_ref().and_then(|url| url.to_str()) else {
            continue;
        };
        let url = url.trim_end_matches('/');
        let member = (index, witness.key.clone());
        match groups.iter_mut().find(|group| group.url == url) {
            Some(group) => group.members.push(member),
            None => groups.push(Group {
                url: url.to_owned(),
                members: vec![member],
            }),
        }
    }
    groups
}

impl Group {
    fn indices(&self) -> Vec<usize> {
        self.members.iter().map(|(index, _)| *index).collect()
    }

    fn names(&self, policy: &Policy) -> Vec<String> {
        let name = |index: &usize| policy.witnesses().get(*index).map(|w| w.name.to_string());
        self.indices().iter().filter_map(name).collect()
    }

    pub(crate) fn status(&self, policy: &Policy) -> WitnessStatus {
        WitnessStatus {
            names: self.names(policy),
            url: self.url.clone(),
            size: None,
            last_cosigned: None,
            error: None,
        }
    }
}

/// Why a witness gave no cosignature.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessError {
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("answered {status}: {text}")]
    Status { status: u16, text: String },
    #[error("does not know this log (404): its operator must add the log's key")]
    UnknownLog,
    #[error("answered 409 without a tree size")]
    BadConflict,
    #[error("answered {CONFLICTS_MAX} conflicts in a row; last with size {0}")]
    Conflicts(u64),
    #[error("its answer is not a list of signature lines: {0}")]
    BadAnswer(String),
    #[error("its cosignatures are not good: {0}")]
    BadCosignature(CosignaturesError),
    #[error("says that it has cosigned size {theirs}, and we have signed {signed}")]
    ClaimsAhead { theirs: u64, signed: u64 },
    #[error("cannot read the tree: {0}")]
    Tree(String),
    /// This service must not sign. `proven`: by a signature of this log's own keys.
    #[error("{why}")]
    Ahead { why: String, proven: bool },
}

/// The task of one witness URL.
pub(crate) struct Task {
    pub(crate) parts: Arc<Parts>,
    pub(crate) group: Group,
    pub(crate) row: usize,
    pub(crate) status: Arc<Status>,
    pub(crate) offered: watch::Receiver<Option<Arc<SignedHead>>>,
    pub(crate) report: mpsc::Sender<Report>,
    pub(crate) times: Arc<WitnessTimes>,
    /// The size that the witness last cosigned, as far as is known.
    pub(crate) known: Option<TreeSize>,
}

enum Answer {
    Cosigned(Vec<Line>),
    Conflict(TreeSize),
}

impl Task {
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        tokio::select! {
            () = self.work() => {}
            () = shutdown.wait() => {}
        }
    }

    // Spec: SVC-09
    async fn work(&mut self) {
        self.until_compared().await;
        if self
            .report
            .send(Report::Compared {
                witnesses: self.group.indices(),
            })
            .await
            .is_err()
        {
            return;
        }
        let mut pause = self.parts.settings.retry_min;
        loop {
            let head = self.offered.borrow_and_update().clone();
            let outcome = match &head {
                Some(head) => self.cosign(head).await,
                None => Ok(Vec::new()),
            };
            match outcome {
                Ok(lines) => {
                    pause = self.parts.settings.retry_min;
                    if let Some(head) = head {
                        self.succeeded(&head);
                        if self
                            .report
                            .send(Report::Cosigned { head, lines })
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                    if self.offered.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    // Spec: SVC-21
                    // The claim alone stops nothing once signing has begun, or one witness could
                    // end the service at will; a head that this log's keys have signed does.
                    if let WitnessError::ClaimsAhead { .. } = error
                        && let Err(WitnessError::Ahead { why, proven }) = self.look().await
                    {
                        return self.refuse(why, proven).await;
                    }
                    self.pause(&mut pause).await;
                }
            }
        }
    }

    /// Compares until the witness has said where it stands. A witness that is ahead ends here: it
    /// is asked for nothing, and the service signs nothing.
    async fn until_compared(&mut self) {
        let mut pause = self.parts.settings.retry_min;
        loop {
            match self.compare().await {
                Ok(()) => return,
                Err(WitnessError::Ahead { why, proven }) => self.refuse(why, proven).await,
                Err(error) => {
                    self.failed(&error);
                    self.pause(&mut pause).await;
                }
            }
        }
    }

    /// Tells that the service must not sign, and asks this witness for nothing more. The operator
    /// may have its claims ignored, but not a signature of this log's own keys.
    async fn refuse(&self, why: String, proven: bool) {
        if proven || self.believed() {
            drop(self.report.send(Report::Ahead { why }).await);
        } else {
            let names = self.group.names(&self.parts.policy).join(", ");
            tracing::warn!(witness = names, "ignored by configuration: {why}");
        }
        std::future::pending::<()>().await;
    }

    fn believed(&self) -> bool {
        let ignored = &self.parts.settings.ignore_ahead;
        !self
            .group
            .names(&self.parts.policy)
            .iter()
            .any(|name| ignored.contains(name))
    }

    // Spec: SVC-06
    /// Asks the witness where it stands, and judges it. What it shows may come from a cache and be
    /// old, and a witness need not show anything: so it is sent a checkpoint as well.
    pub(super) async fn compare(&mut self) -> Result<(), WitnessError> {
        self.look().await?;
        self.ask().await
    }

    /// Looks at the newest head that the witness shows, when it shows one of this log.
    async fn look(&mut self) -> Result<(), WitnessError> {
        let hash = self.parts.origin.hash_hex();
        let url = format!("{}/{hash}/checkpoint", self.group.url);
        let answer = self.parts.client.get(&url).await?;
        if answer.status.as_u16() == 200
            && let Some((theirs, _)) =
                own_head(&answer.body, &self.parts.origin, &self.parts.log_keys)
        {
            return self.judge_head(&theirs);
        }
        Ok(())
    }

    /// Sends the probe, which needs no new signature: the witness answers with a cosignature when
    /// its head lies in the probe's tree, and with its size when it is above. One that does not
    /// know this log has not been compared with: it may come to know it again.
    async fn ask(&mut self) -> Result<(), WitnessError> {
        let probe = self.parts.probe.clone();
        let size = probe.head().size;
        let mut old_size = size;
        for _ in 0..CONFLICTS_MAX {
            let request = self.request(old_size, &probe)?;
            match self.post(&request).await {
                Ok(Answer::Cosigned(_)) => {
                    self.known = Some(size);
                    return Ok(());
                }
                // From there, with a proof that its head is one of ours.
                Ok(Answer::Conflict(theirs)) if theirs < size => old_size = theirs,
                Ok(Answer::Conflict(theirs)) => return self.judge_size(theirs),
                Err(WitnessError::Status { status: 422, .. }) => {
                    return Err(self.claims_another_history(old_size));
                }
                Err(error) => return Err(error),
            }
        }
        Err(WitnessError::Conflicts(old_size.get()))
    }

    fn claims_another_history(&self, size: TreeSize) -> WitnessError {
        let names = self.group.names(&self.parts.policy).join(", ");
        let why = format!(
            "witness {names} says that the head of {} leaves which it has cosigned is none of this \
             state's history. Nothing is signed. Bring back the right state, or, when the witness \
             is wrong, name it in witnesses.ignore_ahead",
            size.get()
        );
        WitnessError::Ahead { why, proven: false }
    }

    /// The largest tree that this log has signed, as far as this state knows. Every size that a
    /// witness has seen was signed; entries that came later do not make it one of ours.
    fn signed(&self) -> TreeSize {
        let offered = self.offered.borrow();
        let offered = offered
            .as_ref()
            .map_or(TreeSize::ZERO, |head| head.head().size);
        offered.max(self.parts.signed)
    }

    fn judge_head(&mut self, theirs: &TreeHead) -> Result<(), WitnessError> {
        let own = *self.parts.sequencer.committed().borrow();
        let tree = Tree::of(self.parts.store.as_ref());
        let judgement = judge(&own, theirs, |size| {
            tree.head_at(size).map(|head| head.root_hash)
        })
        .map_err(|error| WitnessError::Tree(error.to_string()))?;
        let names = self.group.names(&self.parts.policy).join(", ");
        match judgement {
            Judgement::Behind(size) => {
                self.known = Some(size);
                Ok(())
            }
            Judgement::Ahead(size) => {
                let why = format!(
                    "witness {names} shows a tree head of {} leaves signed by this log, and this \
                     state holds {}: it is older than what was signed (a restored backup, a wrong \
                     volume). Nothing is signed. Bring back the newest state",
                    size.get(),
                    own.size.get()
                );
                Err(WitnessError::Ahead { why, proven: true })
            }
            Judgement::Forked { size, signed, held } => {
                let why = format!(
                    "witness {names} shows a tree head of {} leaves with root {signed} signed by \
                     this log, and this state has root {held} there: it holds another history. \
                     Nothing is signed",
                    size.get()
                );
                Err(WitnessError::Ahead { why, proven: true })
            }
        }
    }

    fn judge_size(&mut self, theirs: TreeSize) -> Result<(), WitnessError> {
        let signed = self.signed();
        if theirs <= signed {
            self.known = Some(theirs);
            return Ok(());
        }
        let names = self.group.names(&self.parts.policy).join(", ");
        let why = format!(
            "witness {names} says that it has cosigned {} leaves of this log, and this state has \
             signed {}. Nothing is signed. Bring back the newest state, or, when the witness is \
             wrong, name it in witnesses.ignore_ahead",
            theirs.get(),
            signed.get()
        );
        Err(WitnessError::Ahead { why, proven: false })
    }

    /// Gets the witness's cosignatures on a head.
    async fn cosign(&mut self, head: &Arc<SignedHead>) -> Result<Vec<Line>, WitnessError> {
        let target = head.head();
        let checkpoint = head.signed.clone();
        for _ in 0..CONFLICTS_MAX {
            let request = self.request(self.known.unwrap_or_default(), &checkpoint)?;
            match self.post(&request).await? {
                Answer::Cosigned(lines) => {
                    self.known = Some(target.size);
                    return Ok(lines);
                }
                Answer::Conflict(theirs) if theirs > target.size => {
                    let signed = self.signed();
                    if theirs > signed {
                        return Err(WitnessError::ClaimsAhead {
                            theirs: theirs.get(),
                            signed: signed.get(),
                        });
                    }
                    // It has seen a newer head of ours already; the next one will do.
                    self.known = Some(theirs);
                    return Err(WitnessError::Conflicts(theirs.get()));
                }
                Answer::Conflict(theirs) => self.known = Some(theirs),
            }
        }
        Err(WitnessError::Conflicts(
            self.known.unwrap_or_default().get(),
        ))
    }

    /// The request that takes a witness from a size to a checkpoint.
    fn request(
        &self,
        old_size: TreeSize,
        checkpoint: &SignedCheckpoint,
    ) -> Result<AddCheckpoint, WitnessError> {
        let size = checkpoint.head().size;
        let proof = if old_size == TreeSize::ZERO || old_size == size {
            ConsistencyProof::default()
        } else {
            Tree::of(self.parts.store.as_ref())
                .consistency(old_size, size)
                .map_err(|error| WitnessError::Tree(error.to_string()))?
        };
        Ok(AddCheckpoint {
            old_size,
            proof,
            checkpoint: checkpoint.clone(),
        })
    }

    async fn post(&self, request: &AddCheckpoint) -> Result<Answer, WitnessError> {
        let url = format!("{}/add-checkpoint", self.group.url);
        let asked = self.parts.clock.boot_time();
        let answer = self.parts.client.post(&url, request.to_bytes()).await?;
        let content_type = answer.headers.get("content-type");
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let checkpoint = &request.checkpoint;
        let answer = interpret(
            answer.status.as_u16(),
            content_type,
            &answer.body,
            checkpoint,
            &self.group.members,
        )?;
        // Spec: TSA-15
        if let Answer::Cosigned(lines) = &answer {
            for (witness, _, time) in lines {
                self.times.take(*witness, asked, *time);
            }
        }
        Ok(answer)
    }

    fn succeeded(&self, head: &SignedHead) {
        let now = self.parts.clock.now().seconds();
        self.status.update(self.row, |row| {
            if row.error.take().is_some() {
                tracing::info!(witness = row.names.join(", "), "cosigns again");
            }
            row.size = Some(head.head().size.get());
            row.last_cosigned = Some(now);
        });
    }

    fn failed(&self, error: &WitnessError) {
        let text = error.to_string();
        self.status.update(self.row, |row| {
            if row.error.as_deref() != Some(text.as_str()) {
                let names = row.names.join(", ");
                tracing::warn!(witness = names, url = row.url, "no cosignature: {text}");
            }
            row.error = Some(text);
        });
    }

    /// Waits before the next try, twice as long as the last time; a newer head does not shorten
    /// the wait, or a failing witness would be asked at the pace of the heads.
    async fn pause(&self, pause: &mut Duration) {
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(self.parts.settings.retry_max);
    }
}

/// What a witness's answer to add-checkpoint means. Pure: every signature is verified here, and
/// lines of unknown keys are dropped.
fn interpret(
    status: u16,
    content_type: &str,
    body: &[u8],
    checkpoint: &SignedCheckpoint,
    members: &[(usize, VerifierKey)],
) -> Result<Answer, WitnessError> {
    match status {
        200 => cosignatures(body, checkpoint, members).map(Answer::Cosigned),
        404 => Err(WitnessError::UnknownLog),
        409 if content_type == CONFLICT_CONTENT_TYPE => parse_conflict_body(body)
            .map(Answer::Conflict)
            .map_err(|_| WitnessError::BadConflict),
        409 => Err(WitnessError::BadConflict),
        _ => {
            let text = String::from_utf8_lossy(body);
            let text = text.chars().filter(|c| !c.is_control()).take(200).collect();
            Err(WitnessError::Status { status, text })
        }
    }
}

// Spec: SVC-17
fn cosignatures(
    body: &[u8],
    checkpoint: &SignedCheckpoint,
    members: &[(usize, VerifierKey)],
) -> Result<Vec<Line>, WitnessError> {
    let lines = CosignatureLines::parse(body)
        .map_err(|error| WitnessError::BadAnswer(error.to_string()))?;
    let keys: Vec<VerifierKey> = members.iter().map(|(_, key)| key.clone()).collect();
    let verified = lines
        .verify(checkpoint, &keys)
        .map_err(WitnessError::BadCosignature)?;
    let lines = lines.into_lines();
    Ok(verified
        .iter()
        .filter_map(|signature| {
            let (index, _) = members.get(signature.key_index)?;
            Some((
                *index,
                lines.get(signature.line_index)?.clone(),
                signature.timestamp?,
            ))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosigners::testing::{checkpoint, policy_with, witness_keys};
    use jurat_keys::SigningKey;
    use jurat_proto::cosignature::cosign;
    use jurat_proto::key::{Signer, UnixSeconds};

    fn members(keys: &[SigningKey]) -> Vec<(usize, VerifierKey)> {
        keys.iter()
            .map(|key| key.verifier_key().clone())
            .enumerate()
            .collect()
    }

    fn line(key: &SigningKey, size: u64) -> String {
        let time = UnixSeconds::new(1_700_000_000).unwrap();
        let signed = checkpoint(size);
        format!("{}\n", cosign(signed.checkpoint(), time, key).unwrap())
    }

    fn asked(
        status: u16,
        content_type: &str,
        body: &str,
        keys: &[SigningKey],
    ) -> Result<Answer, String> {
        interpret(
            status,
            content_type,
            body.as_bytes(),
            &checkpoint(3),
            &members(keys),
        )
        .map_err(|error| error.to_string())
    }

    #[test]
    fn cosignatures_of_all_its_keys_are_taken_and_lines_of_strangers_dropped() {
        let keys = witness_keys(3);
        let body = format!(
            "{}{}{}",
            line(&keys[2], 3),
            line(&keys[0], 3),
            line(&keys[1], 3)
        );
        let Ok(Answer::Cosigned(lines)) = asked(200, "text/plain", &body, &keys[..2]) else {
            panic!("not taken");
        };
        let places: Vec<usize> = lines.iter().map(|(place, ..)| *place).collect();
        assert_eq!(places, [0, 1]);
    }

    // Spec: SVC-17
    #[test]
    fn a_cosignature_on_another_tree_is_refused_whole() {
        let keys = witness_keys(2);
        let body = format!("{}{}", line(&keys[0], 3), line(&keys[1], 4));
        assert!(asked(200, "text/plain", &body, &keys).is_err());
    }

    #[test]
    fn strangers_alone_garbage_and_nothing_are_no_cosignatures() {
        let keys = witness_keys(2);
        for body in [line(&keys[1], 3).as_str(), "garbage\n", "", "\u{2014} a b"] {
            assert!(
                asked(200, "text/plain", body, &keys[..1]).is_err(),
                "{body}"
            );
        }
    }

    #[test]
    fn a_conflict_counts_only_with_its_type_and_a_canonical_size() {
        let conflict = |content_type, body| match asked(409, content_type, body, &[]) {
            Ok(Answer::Conflict(size)) => Some(size.get()),
            _ => None,
        };
        assert_eq!(conflict("text/x.tlog.size", "20\n"), Some(20));
        assert_eq!(conflict("text/plain", "20\n"), None);
        for body in [
            "20",
            "020\n",
            "+20\n",
            "-1\n",
            "9223372036854775808\n",
            "20\n\n",
        ] {
            assert_eq!(conflict("text/x.tlog.size", body), None, "{body:?}");
        }
    }

    #[test]
    fn other_statuses_carry_a_short_clean_text() {
        let long = "x\u{7}".repeat(1_000);
        let Err(text) = asked(500, "", &long, &[]) else {
            panic!("taken")
        };
        assert!(
            text.len() < 300 && text.starts_with("answered 500: xxx"),
            "{text}"
        );
        assert!(asked(404, "", "", &[]).is_err_and(|text| text.contains("operator")));
    }

    #[test]
    fn keys_at_one_url_are_one_witness_process() {
        let keys = witness_keys(4);
        let urls = ["http://a/", "http://a", "http://b", ""];
        let policy = policy_with(&keys, &urls, "any");
        let groups: Vec<_> = by_url(&policy)
            .iter()
            .map(|group| (group.url.clone(), group.indices()))
            .collect();
        let expected = [
            ("http://a".to_owned(), vec![0, 1]),
            ("http://b".to_owned(), vec![2]),
        ];
        assert_eq!(groups, expected);
    }
}
