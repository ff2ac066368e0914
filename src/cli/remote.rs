//! What commands ask of a service or of another log over HTTP.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use jurat_daemon::client::{Client, ClientOptions, ClientResponse};
use jurat_proto::add_checkpoint::{AddCheckpoint, CONFLICT_CONTENT_TYPE, parse_conflict_body};
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::evidence::Evidence;
use jurat_proto::proof::{ConsistencyProof, ProofPlan, prove_consistency};
use jurat_proto::tile::{TileCoord, TileNodes};
use jurat_proto::tree::TreeSize;

use super::output;

/// One request, from connecting to the last byte.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Between two questions for a receipt that is not there yet.
const PAUSE: Duration = Duration::from_secs(1);

/// A service or a log by its URL.
pub(super) struct Remote {
    client: Client,
    url: String,
}

/// What became of a submission.
pub(super) enum Submission {
    /// The receipt.
    Receipt(Bytes),
    /// Durable; the receipt is to be fetched from this path.
    Pending(String),
    /// The log stands at another size there.
    Conflict(TreeSize),
}

impl Remote {
    /// # Errors
    /// When the client cannot be set up.
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        let client = Client::new(ClientOptions {
            request_timeout: TIMEOUT,
            ..ClientOptions::default()
        })?;
        Ok(Self {
            client,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// Sends a checkpoint with its proof, and waits for the receipt.
    ///
    /// # Errors
    /// When the service is out of reach or refuses.
    pub(super) async fn anchor(&self, request: &AddCheckpoint) -> anyhow::Result<Submission> {
        let url = format!("{}/anchor", self.url);
        let answer = self
            .client
            .post(&url, request.to_bytes())
            .await
            .with_context(|| url.clone())?;
        match answer.status.as_u16() {
            200 => Ok(Submission::Receipt(answer.body)),
            202 => {
                let place = header(&answer, "location").context("202 without a Location")?;
                Ok(Submission::Pending(place.to_owned()))
            }
            409 if header(&answer, "content-type") == Some(CONFLICT_CONTENT_TYPE) => {
                Ok(Submission::Conflict(parse_conflict_body(&answer.body)?))
            }
            status => bail!("{url} answered {status}: {}", one_line(&answer.body)),
        }
    }

    /// Fetches a receipt, waiting for it at most `patience`.
    ///
    /// # Errors
    /// When it does not come in time.
    pub(super) async fn receipt(&self, place: &str, patience: Duration) -> anyhow::Result<Bytes> {
        let url = format!("{}{place}?wait=10", self.url);
        let attempt = async {
            loop {
                let answer = self.client.get(&url).await?;
                match answer.status.as_u16() {
                    200 => return Ok(answer.body),
                    // It waited as long as it could, or has no room for those who wait.
                    202 | 503 => tokio::time::sleep(PAUSE).await,
                    status => bail!("{url} answered {status}: {}", one_line(&answer.body)),
                }
            }
        };
        tokio::time::timeout(patience, attempt)
            .await
            .with_context(|| {
                format!(
                    "no quorum of cosignatures within {} s: {url}",
                    patience.as_secs()
                )
            })?
    }

    /// Brings evidence: what the service says of it.
    ///
    /// # Errors
    /// When the service is out of reach or refuses.
    pub(super) async fn bring(&self, evidence: &Evidence) -> anyhow::Result<serde_json::Value> {
        let url = format!("{}/evidence", self.url);
        let answer = self.client.post(&url, evidence.to_bytes()).await;
        let answer = answer.with_context(|| url.clone())?;
        match answer.status.as_u16() {
            200 | 201 => serde_json::from_slice(&answer.body).context("its answer is no JSON"),
            status => bail!("{url} answered {status}: {}", one_line(&answer.body)),
        }
    }

    /// The bytes at a path.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        let url = format!("{}/{path}", self.url);
        let answer = self.client.get(&url).await.with_context(|| url.clone())?;
        if answer.status.as_u16() != 200 {
            bail!(
                "{url} answered {}: {}",
                answer.status,
                one_line(&answer.body)
            );
        }
        Ok(answer.body)
    }

    /// The consistency proof between two sizes of a tlog-tiles log, from its tiles.
    ///
    /// # Errors
    /// When a tile cannot be fetched, or is not of its size.
    pub(super) async fn consistency_from_tiles(
        &self,
        from: TreeSize,
        to: TreeSize,
    ) -> anyhow::Result<ConsistencyProof> {
        let plan = ProofPlan::consistency(from, to)?;
        let mut tiles = BTreeMap::new();
        for coord in plan
            .coords()
            .iter()
            .filter_map(|node| TileCoord::of_node(*node, to))
        {
            if let Entry::Vacant(place) = tiles.entry(coord) {
                place.insert(self.get(&coord.path()).await?.to_vec());
            }
        }
        Ok(prove_consistency(from, to, &TileNodes::new(&tiles, to))?)
    }
}

/// Reads a signed checkpoint from a file.
///
/// # Errors
/// When it cannot be read or is none.
pub(super) fn read_checkpoint(path: &std::path::Path) -> anyhow::Result<SignedCheckpoint> {
    let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    SignedCheckpoint::parse(&bytes).with_context(|| format!("{}", path.display()))
}

fn header<'a>(answer: &'a ClientResponse, name: &str) -> Option<&'a str> {
    answer
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
}

fn one_line(body: &[u8]) -> String {
    output::one_line(&String::from_utf8_lossy(body))
}
