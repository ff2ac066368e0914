//! The work of a commit: heads become durable, and who compares our pages hears of it.

use std::sync::Arc;

use jurat_daemon::batch::Fatal;
use jurat_daemon::clock::{Clock, UnixTime};
use jurat_store::{CheckpointStore, HeadSwap, SwapRefusal, WriteError};

use crate::gossip::SIGNED_AGO_MAX;
use crate::heads::Heads;
use crate::metrics::Metrics;

/// The work of a commit: in the commit thread, or in that of a lone request.
pub(super) fn committer(
    store: Arc<dyn CheckpointStore>,
    heads: Arc<Heads>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
) -> impl FnMut(Vec<HeadSwap>) -> Result<Vec<Result<(), SwapFault>>, Fatal> + Send + 'static {
    move |swaps| {
        let began = clock.instant();
        let (all, swaps) = (swaps.len(), fresh(swaps, &heads, clock.now()));
        let (places, swaps): (Vec<usize>, Vec<HeadSwap>) = swaps.into_iter().unzip();
        let earliest = swaps.iter().map(|swap| swap.new.time).min();
        let committing = |earliest| {
            if let Some(told) = heads.told() {
                told.committing(earliest);
            }
        };
        committing(earliest);
        let results = match store.compare_and_swap(&swaps) {
            Ok(results) => results,
            Err(WriteError::Failed(error)) => {
                tracing::error!(%error, swaps = swaps.len(), "nothing was written");
                committing(None);
                return Ok((0..all).map(|_| Err(SwapFault::NotWritten)).collect());
            }
            // Spec: WIT-44. Whether these checkpoints are on the disk, only the disk knows.
            Err(WriteError::Unknown(error)) => {
                return Err(Fatal {
                    reason: error.to_string(),
                });
            }
        };
        let newest = swaps.iter().map(|swap| swap.new.time.get()).max();
        metrics.committed(
            swaps.len(),
            newest.unwrap_or_default(),
            clock.instant().saturating_duration_since(began),
        );
        let durable = swaps
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.is_ok());
        heads.committed(durable.map(|(swap, _)| swap));
        committing(None);
        metrics
            .origins
            .set(i64::try_from(heads.count()).unwrap_or(i64::MAX));
        let mut became: Vec<_> = (0..all).map(|_| Err(SwapFault::Stale)).collect();
        for (place, result) in places.into_iter().zip(results) {
            if let Some(became) = became.get_mut(place) {
                *became = result.map_err(SwapFault::Lost);
            }
        }
        Ok(became)
    }
}

/// Leaves out what was signed too long ago, where others compare our pages with our cosignatures: a
/// page that was made since would hide it. It is signed again.
// Spec: EVI-15, GSP-75
fn fresh(swaps: Vec<HeadSwap>, heads: &Heads, now: UnixTime) -> Vec<(usize, HeadSwap)> {
    let watched = heads.told().is_some();
    let fresh = |swap: &HeadSwap| {
        !watched || now.seconds().saturating_sub(swap.new.time.get()) < SIGNED_AGO_MAX
    };
    let swaps = swaps.into_iter().enumerate();
    swaps.filter(|(_, swap)| fresh(swap)).collect()
}

/// Why a swap did not happen.
pub(super) enum SwapFault {
    Lost(SwapRefusal),
    /// It was signed too long ago.
    Stale,
    NotWritten,
}
