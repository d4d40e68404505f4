//! Runs a plan: layers side by side, then configurations, then the manifests of an index and the
//! tags, one after the other.
//!
//! Invariant: the stages of the plan are kept; the first failure ends the push.
//! Must not know: how a blob is sent.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use crate::client::{Registry, Sent};
use crate::error::Error;
use crate::image::Blob;
use crate::output::megabytes;
use crate::plan::Plan;
use crate::progress::Progress;

/// What a push moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Blobs that were uploaded.
    pub(crate) blobs: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Sends everything that `plan` names, at most `parallel` blobs at a time.
pub(crate) async fn run(
    plan: &Plan<'_>,
    registry: &Registry,
    parallel: usize,
) -> Result<Pushed, Error> {
    let progress = Progress::default();
    let sending = async {
        let mut pushed = Pushed::default();
        let total = plan.layers.len();
        let layers = plan.layers.iter().enumerate().map(|(index, layer)| {
            (format!("layer {}/{total} {}", index + 1, layer.file.digest.short()), *layer)
        });
        let configs = plan.configs.iter();
        let configs =
            configs.map(|config| (format!("config {}", config.file.digest.short()), *config));
        for stage in [layers.collect::<Vec<_>>(), configs.collect()] {
            let sent = send_all(stage, registry, parallel, &progress).await?;
            pushed.blobs += sent.blobs;
            pushed.bytes += sent.bytes;
        }
        // One after the other: an index may name another index.
        for child in &plan.children {
            registry.push_child(child).await?;
            tracing::info!("manifest {}: pushed", child.digest.short());
        }
        for (tag, manifest) in &plan.tags {
            registry.push_manifest(manifest, tag).await?;
            tracing::info!("tag {tag}: {}", manifest.digest);
        }
        Ok(pushed)
    };
    progress.watch("sent", plan.bytes(), sending).await
}

async fn send_all(
    blobs: Vec<(String, &Blob)>,
    registry: &Registry,
    parallel: usize,
    progress: &Progress,
) -> Result<Pushed, Error> {
    let sends = blobs.into_iter().map(|(what, blob)| send(what, blob, registry, progress));
    let add = |mut all: Pushed, sent: Sent, size: u64| {
        if sent == Sent::Pushed {
            all.blobs += 1;
            all.bytes += size;
        }
        all
    };
    stream::iter(sends)
        .buffer_unordered(parallel)
        .try_fold(Pushed::default(), async |all, (sent, size)| Ok(add(all, sent, size)))
        .await
}

async fn send(
    what: String,
    blob: &Blob,
    registry: &Registry,
    progress: &Progress,
) -> Result<(Sent, u64), Error> {
    let (started, size) = (Instant::now(), blob.file.size);
    let sent = registry.push_blob(blob, progress).await?;
    match sent {
        Sent::Exists => tracing::info!("{what}: exists ({})", megabytes(size)),
        Sent::Pushed => {
            let seconds = started.elapsed().as_secs();
            tracing::info!("{what}: pushed {} in {seconds} s", megabytes(size));
        }
    }
    Ok((sent, size))
}
