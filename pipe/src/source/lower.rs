//! The lower layers of a large image, out of an export of their own.
//!
//! An engine with the classic store writes an image to its disk, layer by layer on one processor, before
//! the first byte of an export. So it is asked at the same time for an image of the lower layers only,
//! whose export begins sooner, and the other processors compress those while the rest is still being
//! written. Such an image takes no space: it is a configuration whose layers the engine has, which is
//! loaded without them (moby, image/tarexport/load.go, takes a layer that it has from its store).
//! Invariant: nothing is believed (a layer is what its tar hashes to); whatever does not go as expected
//! is no error, and then the layers come out of the export of the whole image. The image that was made is
//! gone afterwards, also when nobody waits for it any more.
//! Must not know: what becomes of layers, nor how the registry came to have any.

use std::hash::{BuildHasher as _, RandomState};

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::daemon::Daemon;
use super::{Local, relay};
use crate::compress;
use crate::image::Digest;

/// An image of the lower layers. The engine has it until this is dropped, and not much longer.
#[derive(Debug)]
pub(super) struct Lower {
    /// As if the engine had described it.
    pub(super) local: Local,
    /// How many layers it has.
    pub(super) layers: usize,
    _kept: DropGuard,
}

/// Makes the image, if an export of its own is worth it and everything goes well.
pub(super) async fn make(
    daemon: &Daemon,
    local: &Local,
    diff_ids: &[Digest],
    needed: &[Digest],
) -> Option<Lower> {
    let processors = compress::processors().get();
    if processors < 2 || needed.len() < 2 {
        return None;
    }
    let history = daemon.history(&local.id).await.ok()?;
    let layers = layers(&history, diff_ids, needed, processors)?;
    let diff_ids = local.diff_ids.get(..layers)?.to_vec();
    let kept = CancellationToken::new();
    let guard = kept.clone().drop_guard();
    let (loaded, outcome) = oneshot::channel();
    let work = load(daemon.clone(), local.clone(), diff_ids.clone(), loaded, kept);
    // On its own, because the image has to go also if nobody waits for it any more.
    daemon.spawn(work);
    match outcome.await.unwrap_or_else(|_| Err("it stopped".to_owned())) {
        Ok(id) => {
            tracing::debug!(
                "exporting the lower {layers} layers by themselves as well, as image {id}"
            );
            let local = Local { id, diff_ids, ..local.clone() };
            Some(Lower { local, layers, _kept: guard })
        }
        Err(reason) => {
            tracing::debug!("the lower layers are not exported by themselves: {reason}");
            None
        }
    }
}

/// Loads the image, says its ID, and removes it when nobody keeps it any more.
async fn load(
    daemon: Daemon,
    local: Local,
    diff_ids: Vec<String>,
    loaded: oneshot::Sender<Result<String, String>>,
    kept: CancellationToken,
) {
    let config = configuration(&local, &diff_ids);
    let id = Digest::of(config.as_bytes()).to_string();
    let outcome = match archive(&config, diff_ids.len()) {
        Ok(archive) => daemon.load(archive).await,
        Err(error) => Err(error.to_string()),
    };
    let is_loaded = outcome.is_ok();
    // If nobody waits any more, there is nothing to be told.
    let _ = loaded.send(outcome.map(|()| id.clone()));
    if is_loaded {
        kept.cancelled().await;
        daemon.unload(&id).await;
    }
}

/// A configuration with these layers that nobody else has: another pipe that pushes the same image
/// removes its own.
fn configuration(local: &Local, diff_ids: &[String]) -> String {
    let unique = RandomState::new().hash_one(std::process::id());
    json!({
        "architecture": local.platform.architecture(),
        "os": local.platform.os(),
        "comment": format!("lower layers, for a moment: standpipe-pipe {unique:016x}"),
        "config": {},
        "history": vec![json!({ "created_by": "standpipe-pipe" }); diff_ids.len()],
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string()
}

/// What `docker save` would write of it, without the layers.
fn archive(config: &str, layers: usize) -> std::io::Result<Vec<u8>> {
    let layers: Vec<String> = (0..layers).map(|number| format!("{number}/layer.tar")).collect();
    let list = json!([{ "Config": CONFIG, "RepoTags": null, "Layers": layers }]).to_string();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [(CONFIG, config), ("manifest.json", list.as_str())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, content.as_bytes())?;
    }
    archive.into_inner()
}

impl Daemon {
    async fn load(&self, archive: Vec<u8>) -> Result<(), String> {
        let mut url = self.url(&["images", "load"]);
        url.query_pairs_mut().append_pair("quiet", "true");
        let request = self.request(Method::POST, url).header(CONTENT_TYPE, "application/x-tar");
        let response = request.body(archive).timeout(self.timeout()).send().await;
        let response = response.map_err(|error| self.lost(&error).to_string())?;
        let response = self.checked(response).await.map_err(|error| error.to_string())?;
        // A refusal comes as a line of the body, after the status.
        let said = response.text().await.map_err(|error| self.lost(&error).to_string())?;
        match said.contains("\"error\"") {
            false => Ok(()),
            true => Err(format!("the engine does not load them: {}", said.trim())),
        }
    }

    async fn unload(&self, id: &str) {
        if !self.remove_image(id).await {
            tracing::warn!(
                "the engine keeps image {id}, which is not needed: docker rmi removes it"
            );
        }
    }
}

/// How many of the lower layers are worth an export of their own; none if no number is.
///
/// `history` has the size of each step in bytes, the newest first; `diff_ids` are all layers, bottom
/// first, and `needed` are some of them.
fn layers(
    history: &[u64],
    diff_ids: &[Digest],
    needed: &[Digest],
    processors: usize,
) -> Option<usize> {
    let mut sizes = relay::sizes(history, diff_ids.len())?;
    sizes.reverse();
    let whole = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(*size));
    let others = (processors - 1) as u64;
    let (mut lower, mut useful) = (0_u64, 0_u64);
    let gains = diff_ids.iter().zip(&sizes).map(|(layer, size)| {
        lower = lower.saturating_add(*size);
        useful = useful.saturating_add(if needed.contains(layer) { *size } else { 0 });
        // Compressed is what there is of it, and no more than there is time for while the engine writes
        // the rest.
        useful.min((whole - lower).saturating_mul(others) / COMPRESSING)
    });
    let gains: Vec<u64> = gains.collect();
    let gain = gains.iter().copied().max()?;
    (gain >= SMALLEST).then(|| gains.iter().position(|one| *one == gain)).flatten().map(|at| at + 1)
}

/// A byte takes a processor so many times as long to compress as an engine to export.
const COMPRESSING: u64 = 2;
/// Less is not worth the trouble: about half a second.
const SMALLEST: u64 = 64 << 20;
const CONFIG: &str = "config.json";

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn digests(count: u8) -> Vec<Digest> {
        (0..count).map(|number| Digest::of(&[number])).collect()
    }

    #[test]
    fn about_a_third_is_compressed_before_the_rest_comes_or_more_where_there_are_more_processors() {
        let (history, all) = ([5, 240, 240, 240, 240, 240].map(|size| size * MIB), digests(6));
        assert_eq!(layers(&history, &all, &all, 2), Some(2));
        assert_eq!(layers(&history, &all, &all, 4), Some(3));
        assert_eq!(layers(&history, &all, &all, 16), Some(4));
    }

    #[test]
    fn what_is_not_needed_or_small_is_not_worth_it() {
        let (history, all) = ([5, 240, 240, 240].map(|size| size * MIB), digests(4));
        assert_eq!(layers(&history, &all, &all[2..], 2), None, "the lowest that is needed is late");
        assert_eq!(layers(&history, &all, &all[1..], 2), Some(2));
        assert_eq!(layers(&[50 * MIB, 50 * MIB], &digests(2), &digests(2), 2), None);
        assert_eq!(layers(&[900 * MIB], &digests(1), &digests(1), 8), None);
        assert_eq!(layers(&[], &[], &[], 8), None);
        assert_eq!(layers(&[0], &all, &all, 8), None, "a history that does not fit");
    }

    #[test]
    fn an_image_is_made_of_what_the_engine_has_and_is_nobody_elses() {
        let platform = crate::config::Platform::new("linux", "arm64", Some("v8"));
        let local = Local {
            id: String::new(),
            platform,
            diff_ids: Vec::new(),
            is_stored: false,
            seen_as: Vec::new(),
        };
        let diff_ids = ["sha256:a".to_owned(), "sha256:b".to_owned()];
        let config = configuration(&local, &diff_ids);
        assert_ne!(config, configuration(&local, &diff_ids));
        let value: serde_json::Value = serde_json::from_str(&config).unwrap();
        assert_eq!(value["rootfs"]["diff_ids"], json!(diff_ids));
        assert_eq!((&value["os"], &value["architecture"]), (&json!("linux"), &json!("arm64")));
        let archive = archive(&config, 2).unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let names = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned());
        assert_eq!(names.collect::<Vec<_>>(), [CONFIG, "manifest.json"]);
    }
}
