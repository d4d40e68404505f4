//! What `docker save` writes, in any layout: an image comes out whole, or not at all.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use standpipe_pipe::fuzzing::source::{Found, FoundBlob, docker_archive};
use tempfile::TempDir;

/// A tar, whose checksums are put right first: no fuzzer should have to guess those. The daemon's
/// part, naming the layers, is played by the first configuration in it.
pub fn pipe_archive(data: &[u8]) {
    let mut tar = data.to_vec();
    repair(&mut tar);
    let step = usize::from(data.last().copied().unwrap_or(0)) * 7 + 1;
    read(&tar, &diff_ids(&tar), step);
}

/// Reads a tar twice, the second time in small pieces, and holds the image against what was promised.
pub(crate) fn read(tar: &[u8], diff_ids: &[String], step: usize) -> Option<Found> {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let found = docker_archive(tar, diff_ids, parent.path());
    empty(&parent);
    let again = docker_archive(Dribble { rest: tar, step }, diff_ids, parent.path());
    assert_eq!(again, found, "in pieces of {step}");
    let found = found.ok()?;
    assert_eq!(found.layers.len(), diff_ids.len());
    for (layer, diff_id) in found.layers.iter().zip(diff_ids) {
        whole(layer);
        assert!(layer.size < 2 * tar.len() as u64 + 1024, "{} bytes of output", layer.size);
        // Compressed by the pipe, or as it stands in the export.
        let packed = || digest(&unpacked(&layer.bytes)) == *diff_id;
        assert!(stands_in(tar, &layer.bytes) || packed(), "{} is not {diff_id}", layer.digest);
    }
    whole(&found.config);
    assert!(stands_in(tar, &found.config.bytes), "the configuration was written anew");
    whole(&found.manifest);
    names(&found);
    Some(found)
}

/// The manifest names exactly what would be sent.
fn names(found: &Found) {
    let manifest: serde_json::Value =
        serde_json::from_slice(&found.manifest.bytes).expect("a manifest is JSON");
    let is = |descriptor: &serde_json::Value, blob: &FoundBlob| {
        descriptor["digest"] == *blob.digest && descriptor["size"] == blob.size
    };
    assert!(is(&manifest["config"], &found.config), "{manifest}");
    let layers = manifest["layers"].as_array().expect("a list");
    assert_eq!(layers.len(), found.layers.len(), "{manifest}");
    assert!(layers.iter().zip(&found.layers).all(|(said, layer)| is(said, layer)), "{manifest}");
}

fn whole(blob: &FoundBlob) {
    assert_eq!(blob.digest, digest(&blob.bytes), "{}", blob.media_type);
    assert_eq!(blob.size, blob.bytes.len() as u64, "{}", blob.media_type);
}

fn empty(parent: &TempDir) {
    let left = fs::read_dir(parent.path()).expect("the directory").count();
    assert_eq!(left, 0, "files are left in {}", Path::new("the spool's parent").display());
}

fn stands_in(tar: &[u8], bytes: &[u8]) -> bool {
    // Files begin at the borders of blocks.
    tar.chunks(512).enumerate().any(|(block, _)| tar[block * 512..].starts_with(bytes))
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn unpacked(gzip: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What cannot be unpacked has no digest that anybody named.
    let _ = flate2::bufread::GzDecoder::new(gzip).take(64 << 20).read_to_end(&mut bytes);
    bytes
}

/// The first list of layers that a configuration in the tar names.
fn diff_ids(tar: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\"diff_ids\":";
    let at = tar.windows(KEY.len()).position(|window| window == KEY);
    let Some(list) = at.map(|at| &tar[at + KEY.len()..]) else { return Vec::new() };
    let mut values = serde_json::Deserializer::from_slice(list).into_iter::<Vec<String>>();
    values.next().and_then(Result::ok).unwrap_or_default()
}

/// Writes the checksum into each header that the sizes lead to.
pub(crate) fn repair(tar: &mut [u8]) {
    let mut at: usize = 0;
    while let Some(block) = tar.get_mut(at..at.saturating_add(512)) {
        if block.iter().any(|byte| *byte != 0) {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let size = tar::Header::from_byte_slice(block).entry_size().unwrap_or(0);
        let blocks = usize::try_from(size.div_ceil(512)).unwrap_or(usize::MAX);
        at = at.saturating_add(512).saturating_add(blocks.saturating_mul(512));
    }
}

/// Hands out at most `step` bytes at a time.
struct Dribble<'a> {
    rest: &'a [u8],
    step: usize,
}

impl Read for Dribble<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.step.min(into.len()).min(self.rest.len());
        into[..count].copy_from_slice(&self.rest[..count]);
        self.rest = &self.rest[count..];
        Ok(count)
    }
}
