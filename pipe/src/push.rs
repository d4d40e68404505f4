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
use crate::report::PushedBlob;

/// What became of the blobs of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Each, in the order in which they were done.
    pub(crate) blobs: Vec<PushedBlob>,
    /// Bytes of those that were uploaded, or would be.
    pub(crate) bytes: u64,
}

impl Pushed {
    fn add(mut self, (blob, sent): (PushedBlob, u64)) -> Self {
        self.blobs.push(blob);
        self.bytes += sent;
        self
    }
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
        for stage in stages(plan) {
            let sends = stage.into_iter().map(|(what, blob)| send(what, blob, registry, &progress));
            let sent = stream::iter(sends).buffer_unordered(parallel);
            pushed = sent.try_fold(pushed, async |all, one| Ok(all.add(one))).await?;
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

/// Says what [`run`] would do, and writes nothing.
pub(crate) async fn rehearse(
    plan: &Plan<'_>,
    registry: &Registry,
    parallel: usize,
) -> Result<Pushed, Error> {
    let mut pushed = Pushed::default();
    for stage in stages(plan) {
        let looks = stage.into_iter().map(|(what, blob)| look(what, blob, registry));
        let looked = stream::iter(looks).buffered(parallel);
        pushed = looked.try_fold(pushed, async |all, one| Ok(all.add(one))).await?;
    }
    Ok(pushed)
}

/// The blobs that may be sent side by side, with their names in the log.
fn stages<'a>(plan: &Plan<'a>) -> [Vec<(String, &'a Blob)>; 2] {
    let total = plan.layers.len();
    let layers = plan.layers.iter().enumerate().map(|(index, layer)| {
        (format!("layer {}/{total} {}", index + 1, layer.file.digest.short()), *layer)
    });
    let configs = plan.configs.iter();
    let configs = configs.map(|config| (format!("config {}", config.file.digest.short()), *config));
    [layers.collect(), configs.collect()]
}

async fn send(
    what: String,
    blob: &Blob,
    registry: &Registry,
    progress: &Progress,
) -> Result<(PushedBlob, u64), Error> {
    let (started, size) = (Instant::now(), blob.file.size);
    let (how, sent) = match registry.push_blob(blob, progress).await? {
        Sent::Exists => ("exists".to_owned(), 0),
        Sent::Mounted(source) => (format!("mounted from {source}"), 0),
        Sent::Pushed => ("pushed".to_owned(), size),
    };
    if sent == 0 {
        tracing::info!("{what}: {how} ({})", megabytes(size));
    } else {
        let seconds = started.elapsed().as_secs();
        tracing::info!("{what}: pushed {} in {seconds} s", megabytes(size));
    }
    Ok((outcome(blob, how), sent))
}

async fn look(what: String, blob: &Blob, registry: &Registry) -> Result<(PushedBlob, u64), Error> {
    let size = blob.file.size;
    if registry.has(blob).await? {
        tracing::info!("{what}: exists ({})", megabytes(size));
        return Ok((outcome(blob, "exists".to_owned()), 0));
    }
    tracing::info!("{what}: would be pushed ({})", megabytes(size));
    Ok((outcome(blob, "would_push".to_owned()), size))
}

fn outcome(blob: &Blob, how: String) -> PushedBlob {
    let media_type = blob.media_type.clone().into_owned();
    PushedBlob { digest: blob.file.digest.clone(), size: blob.file.size, media_type, how }
}
