//! Runs a plan: layers side by side, then configurations, then the manifests of an index and the
//! tags, one after the other.
//!
//! Invariant: the stages of the plan are kept, except that a layer may be sent while others are
//! still being read; the first failure ends the push.
//! Must not know: how a blob is sent.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::client::{Registry, Sent};
use crate::error::Error;
use crate::image::{Blob, Digest, Place, There};
use crate::output::megabytes;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::PushedBlob;

/// What became of the blobs of a push, in the order in which they were done.
pub(crate) type Done = Vec<PushedBlob>;

/// Layers that were sent while the image was read.
pub(crate) type Early = HashMap<Digest, PushedBlob>;

/// Sends layers as they come, at most `parallel` at a time, until no more can come.
pub(crate) async fn as_they_come(
    mut arriving: UnboundedReceiver<Blob>,
    registry: &Registry,
    parallel: usize,
) -> Result<Early, Error> {
    let mut seen = HashSet::new();
    let progress = Progress::default();
    let blobs = stream::poll_fn(|context| arriving.poll_recv(context));
    let once = blobs.filter(|blob| std::future::ready(seen.insert(blob.digest.clone())));
    let sends = once.map(|blob| {
        let progress = progress.clone();
        async move {
            let what = format!("layer {}", blob.digest.short());
            Ok((blob.digest.clone(), send(what, &blob, registry, &progress).await?))
        }
    });
    let sending = sends.buffer_unordered(parallel).try_collect();
    progress.watch("sent", None, sending).await
}

/// Sends everything that `plan` names and that is not sent yet, at most `parallel` blobs at a time.
pub(crate) async fn run(
    plan: &Plan<'_>,
    registry: &Registry,
    parallel: usize,
    mut early: Early,
) -> Result<Done, Error> {
    let progress = Progress::default();
    let sending = async {
        let mut done = Done::new();
        for stage in stages(plan) {
            let mut left = Vec::new();
            for (what, blob) in stage {
                match early.remove(&blob.digest) {
                    Some(sent) => done.push(sent),
                    None => left.push(send(what, blob, registry, &progress)),
                }
            }
            let sent = stream::iter(left).buffer_unordered(parallel);
            done.extend(sent.try_collect::<Done>().await?);
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
        Ok(done)
    };
    progress.watch("sent", Some(plan.bytes_here()), sending).await
}

/// Says what [`run`] would do, and writes nothing.
pub(crate) async fn rehearse(
    plan: &Plan<'_>,
    registry: &Registry,
    parallel: usize,
) -> Result<Done, Error> {
    let mut done = Done::new();
    for stage in stages(plan) {
        let looks = stage.into_iter().map(|(what, blob)| look(what, blob, registry));
        done.extend(stream::iter(looks).buffered(parallel).try_collect::<Done>().await?);
    }
    Ok(done)
}

/// The blobs that may be sent side by side, with their names in the log.
fn stages<'a>(plan: &Plan<'a>) -> [Vec<(String, &'a Blob)>; 2] {
    let total = plan.layers.len();
    let layers = plan.layers.iter().enumerate().map(|(index, layer)| {
        (format!("layer {}/{total} {}", index + 1, layer.digest.short()), *layer)
    });
    let configs = plan.configs.iter();
    let configs = configs.map(|config| (format!("config {}", config.digest.short()), *config));
    [layers.collect(), configs.collect()]
}

async fn send(
    what: String,
    blob: &Blob,
    registry: &Registry,
    progress: &Progress,
) -> Result<PushedBlob, Error> {
    let started = Instant::now();
    let sent = match &blob.place {
        Place::There(there) => Sent::Spared(there.clone()),
        Place::Here(file) => registry.push_blob(file, progress).await?,
    };
    let size = megabytes(blob.size);
    match sent {
        Sent::Spared(there) => {
            let how = spared(&there);
            tracing::info!("{what}: {how} ({size})");
            Ok(PushedBlob::new(blob, how))
        }
        Sent::Pushed(pushed) => {
            let mut notes = String::new();
            if let Some(raw) = blob.raw.filter(|raw| *raw != blob.size) {
                notes = format!(" ({} raw)", megabytes(raw));
            }
            if pushed.before > 0 {
                notes.push_str(&format!(", {} of it by an earlier run", megabytes(pushed.before)));
            }
            let seconds = started.elapsed().as_secs();
            tracing::info!("{what}: pushed {size} in {seconds} s{notes}");
            let sent_bytes = blob.size.saturating_sub(pushed.before);
            let elapsed = started.elapsed();
            Ok(PushedBlob { sent_bytes, elapsed, ..PushedBlob::new(blob, "pushed".to_owned()) })
        }
    }
}

async fn look(what: String, blob: &Blob, registry: &Registry) -> Result<PushedBlob, Error> {
    let size = megabytes(blob.size);
    let how = match &blob.place {
        Place::There(there) => spared(there),
        Place::Here(_) if registry.has(&blob.digest).await? => spared(&There::Exists),
        Place::Here(_) => {
            tracing::info!("{what}: would be pushed ({size})");
            let pushed = PushedBlob::new(blob, "would_push".to_owned());
            return Ok(PushedBlob { sent_bytes: blob.size, ..pushed });
        }
    };
    tracing::info!("{what}: {how} ({size})");
    Ok(PushedBlob::new(blob, how))
}

fn spared(there: &There) -> String {
    match there {
        There::Exists => "exists".to_owned(),
        There::Mounted(source) => format!("mounted from {source}"),
    }
}
