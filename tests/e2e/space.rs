//! What tests of collection share: a server whose clocks are set to seconds, and the comparison of the
//! disk, of what the server reports and of what the clients remember.
//!
//! Invariant: what should be there comes from the test's own memory only; the server is never asked
//! what it thinks is alive.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use standpipe_tests::disk::files_below;
use standpipe_tests::manifest::Manifest;
use standpipe_tests::payload::Hasher;
use standpipe_tests::poll;
use standpipe_tests::raw::Raw;
use standpipe_tests::rest::{Credential, Rest};
use standpipe_tests::server::{Server, ServerOptions};
use tokio::time::sleep;

use crate::world::World;

/// The clocks of a workspace, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    pub(crate) lease: u64,
    pub(crate) keep: u64,
    pub(crate) purge: u64,
}

/// A server with workspace `acme` on short clocks and packages that anybody may pull from, so that a
/// reader's pull is no promise that could keep something alive.
pub(crate) struct ShortWorld {
    pub(crate) world: World,
    pub(crate) writer: Credential,
    pub(crate) ids: BTreeMap<String, String>,
}

impl ShortWorld {
    pub(crate) async fn new(clocks: Clocks, packages: &[&str]) -> Self {
        let environment = vec![("STANDPIPE_UNSAFE_SHORT_DELAYS", "true".to_owned())];
        let options = ServerOptions { environment, ..ServerOptions::default() };
        let world = World::with_options(options, &[]).await;
        world.admin.repository("acme", "open", "public").await;
        let mut ids = BTreeMap::new();
        for package in packages {
            let id = world.admin.package("acme", package, "open").await;
            ids.insert((*package).to_owned(), id);
        }
        let settings = json!({
            "lease_seconds": clocks.lease,
            "keep_seconds": clocks.keep,
            "purge_seconds": clocks.purge,
        });
        world.admin.settings("acme", settings).await;
        let writer = world.admin.pipeline_token("acme", "open").await;
        Self { world, writer, ids }
    }

    /// Calls as one who may push and delete; what these are told is promised to them.
    pub(crate) fn writer(&self) -> Raw {
        self.world.raw_as(&self.writer)
    }

    /// Calls as one who may only pull.
    pub(crate) fn reader(&self) -> Raw {
        self.world.anonymous()
    }
}

/// What tags lead to, as the clients remember it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    /// Sizes by digest; the workspace stores each once.
    pub(crate) blobs: BTreeMap<String, u64>,
    /// Sizes by package and digest.
    pub(crate) manifests: BTreeMap<(String, String), u64>,
}

impl Live {
    pub(crate) fn add_manifest(&mut self, name: &str, manifest: &Manifest) {
        let key = (name.to_owned(), manifest.digest());
        self.manifests.insert(key, manifest.bytes.len() as u64);
        for (digest, size) in blobs_of(manifest) {
            self.blobs.insert(digest, size);
        }
    }

    pub(crate) fn blob_bytes(&self) -> u64 {
        self.blobs.values().sum()
    }

    pub(crate) fn manifest_bytes(&self) -> u64 {
        self.manifests.values().sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.blob_bytes() + self.manifest_bytes()
    }
}

/// Config and layers of a manifest with their sizes.
pub(crate) fn blobs_of(manifest: &Manifest) -> Vec<(String, u64)> {
    let content = content_of(&manifest.bytes);
    let layers = content["layers"].as_array().cloned().unwrap_or_default();
    let described = std::iter::once(content["config"].clone()).chain(layers);
    described
        .filter_map(|one| Some((one["digest"].as_str()?.to_owned(), one["size"].as_u64()?)))
        .collect()
}

/// The manifests that an index names.
pub(crate) fn children_of(manifest: &[u8]) -> Vec<String> {
    let children = content_of(manifest)["manifests"].as_array().cloned().unwrap_or_default();
    children.iter().filter_map(|child| Some(child["digest"].as_str()?.to_owned())).collect()
}

fn content_of(manifest: &[u8]) -> Value {
    serde_json::from_slice(manifest).expect("manifests of these tests are JSON")
}

/// Byte totals as the server reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) blob_bytes: u64,
    pub(crate) manifest_bytes: u64,
    pub(crate) doomed_bytes: u64,
    /// What no tag leads to; `None` from a server that does not say.
    pub(crate) held_bytes: Option<u64>,
}

pub(crate) async fn usage(admin: &Rest, workspace: &str) -> Usage {
    let shown = admin.fetch(&format!("/workspaces/{workspace}")).await;
    let number = |field: &str| shown["usage"][field].as_u64().expect("a byte total");
    Usage {
        blob_bytes: number("blob_bytes"),
        manifest_bytes: number("manifest_bytes"),
        doomed_bytes: number("doomed_bytes"),
        held_bytes: shown["usage"]["held"]["bytes"].as_u64(),
    }
}

/// Bytes of all blob files, also of those that were set aside.
pub(crate) fn disk_bytes(server: &Server) -> u64 {
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |found| found.len());
    server.objects().iter().chain(&server.lost_and_found()).map(size).sum()
}

/// Waits until the disk and the server's own totals are what is alive and nothing else.
pub(crate) async fn wait_for_rest(world: &World, live: &Live, limit: Duration) {
    poll::until("only what is alive on the disk", limit, async || {
        let found = compare(world, live).await;
        if found.is_err() {
            // Each look walks the disk; the collector needs the machine as well.
            sleep(Duration::from_millis(100)).await;
        }
        found
    })
    .await;
    // Sizes and counts agree; now each byte.
    let mut missing = live.blobs.clone();
    for path in world.server.objects() {
        let digest = digest_of_file(&path);
        assert!(missing.remove(&digest).is_some(), "{} is {digest}: not alive", path.display());
    }
    assert!(missing.is_empty(), "not on the disk: {missing:?}");
}

async fn compare(world: &World, live: &Live) -> Result<(), String> {
    let (files, bytes) = (world.server.objects().len(), disk_bytes(&world.server));
    let (blobs, expected) = (live.blobs.len(), live.blob_bytes());
    if (files, bytes) != (blobs, expected) {
        return Err(format!(
            "{files} files of {bytes} bytes for {blobs} blobs of {expected} bytes"
        ));
    }
    let others = other_bytes(&world.server);
    if others > CONSTANT {
        return Err(format!("{others} bytes below `blobs` beside the objects"));
    }
    let unfinished = world.server.unfinished();
    if !unfinished.is_empty() {
        return Err(format!("unfinished: {unfinished:?}"));
    }
    let usage = usage(&world.admin, "acme").await;
    let wanted = Usage {
        blob_bytes: expected,
        manifest_bytes: live.manifest_bytes(),
        doomed_bytes: 0,
        held_bytes: usage.held_bytes.map(|_| 0),
    };
    (usage == wanted).then_some(()).ok_or_else(|| format!("{usage:?}, not {wanted:?}"))
}

/// Bytes below `blobs` in files that hold no blob.
fn other_bytes(server: &Server) -> u64 {
    let size = |path: PathBuf| fs::metadata(path).map_or(0, |found| found.len());
    let all: u64 = files_below(&server.data().join("blobs")).into_iter().map(size).sum();
    all.saturating_sub(disk_bytes(server))
}

fn digest_of_file(path: &PathBuf) -> String {
    let mut hasher = Hasher::default();
    hasher.update(&fs::read(path).expect("an object that is alive can be read"));
    hasher.digest()
}

/// What `blobs` may hold beside the objects: whose directory it is.
const CONSTANT: u64 = 4096;
