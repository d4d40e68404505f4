//! Images to push: built by `docker build`, or put together by hand as an OCI layout.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::Client;
use crate::disk::temporary_directory;
use crate::manifest::{CONFIG, IMAGE, INDEX, LAYER, descriptor};
use crate::payload::{Payload, digest_of};

/// An image in the Docker daemon, and the same as an archive for clients without a daemon.
#[derive(Debug)]
pub struct BuiltImage {
    /// Name in the daemon and inside the archive.
    pub reference: String,
    /// Image ID: the digest of its config.
    pub id: String,
    /// What `docker save` wrote.
    pub archive: PathBuf,
    _folder: TempDir,
}

/// Builds an image from nothing with `docker build`: one layer of incompressible bytes for each size.
///
/// # Panics
/// When docker fails.
pub async fn build(docker: &Client, reference: &str, seed: u64, sizes: &[u64]) -> BuiltImage {
    let folder = temporary_directory("image");
    let context = folder.path().join("context");
    fs::create_dir(&context).expect("our own folder is writable");
    let mut recipe = "FROM scratch\n".to_owned();
    for (number, size) in sizes.iter().enumerate() {
        let name = format!("layer-{number}");
        Payload::new(seed.wrapping_add(number as u64), *size)
            .write_to(&context.join(&name))
            .expect("our own folder is writable");
        recipe.push_str(&format!("COPY {name} /{name}\n"));
    }
    recipe.push_str("CMD [\"/layer-0\"]\n");
    fs::write(context.join("Dockerfile"), recipe).expect("our own folder is writable");
    let context_name = context.to_string_lossy();
    let _ = docker.run(&["build", "--tag", reference, &context_name]).await;
    fs::remove_dir_all(&context).expect("our own folder can be removed");
    let id = docker.run(&["image", "inspect", "--format={{.Id}}", reference]).await;
    let archive = folder.path().join("image.tar");
    let archive_name = archive.to_string_lossy();
    let _ = docker.run(&["save", "--output", &archive_name, reference]).await;
    BuiltImage {
        reference: reference.to_owned(),
        id: id.stdout.trim().to_owned(),
        archive,
        _folder: folder,
    }
}

/// Writes an OCI layout with an index of one small image for each architecture; returns the index's digest.
///
/// # Panics
/// When the folder cannot be written.
#[must_use]
pub fn oci_layout(directory: &Path, seed: u64, architectures: &[&str]) -> String {
    let children = architectures
        .iter()
        .zip(seed..)
        .map(|(architecture, seed)| add_image(directory, seed, architecture))
        .collect();
    finish_layout(directory, children)
}

/// Writes an OCI layout as a build with attestations makes it: each image, given by its architecture and
/// seed, is followed by a statement about it that is new in every build. Returns the index's digest.
///
/// # Panics
/// When the folder cannot be written.
#[must_use]
pub fn attested_layout(directory: &Path, images: &[(&str, u64)], build: u64) -> String {
    let mut children = Vec::new();
    for (architecture, seed) in images {
        let image = add_image(directory, *seed, architecture);
        let statement = add_statement(directory, &image["digest"], build);
        children.extend([image, statement]);
    }
    finish_layout(directory, children)
}

/// Packs a layout into one file, which is put beside it.
///
/// # Panics
/// When it cannot be read or written.
#[must_use]
pub fn archive_of(layout: &Path) -> PathBuf {
    let path = layout.with_extension("tar");
    let file = fs::File::create(&path).expect("our own folder is writable");
    let mut archive = tar::Builder::new(file);
    archive.append_dir_all(".", layout).expect("our own files are readable");
    archive.finish().expect("our own folder is writable");
    path
}

/// The digests of all that lies in a layout, sorted.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn digests_in(layout: &Path) -> Vec<String> {
    let files = fs::read_dir(layout.join("blobs/sha256")).expect("a layout has blobs");
    let mut digests: Vec<String> = files
        .map(|file| format!("sha256:{}", file.expect("it is readable").file_name().display()))
        .collect();
    digests.sort();
    digests
}

fn finish_layout(directory: &Path, children: Vec<Value>) -> String {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
    let index = add_blob(directory, INDEX, index.to_string().as_bytes());
    let digest = index["digest"].as_str().unwrap_or_default().to_owned();
    let top = json!({"schemaVersion": 2, "manifests": [index]});
    fs::write(directory.join("index.json"), top.to_string()).expect("our own folder is writable");
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .expect("our own folder is writable");
    digest
}

/// What build tools put beside an image of an index: an image for no platform, whose only layer is the
/// statement, and whose entry says what it is about.
fn add_statement(directory: &Path, about: &Value, build: u64) -> Value {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": PROVENANCE,
        "subject": [{"name": "image", "digest": about}],
        "predicate": {"build": build},
    });
    let statement = statement.to_string();
    let mut layer = add_blob(directory, "application/vnd.in-toto+json", statement.as_bytes());
    layer["annotations"] = json!({"in-toto.io/predicate-type": PROVENANCE});
    let config = json!({
        "architecture": "unknown", "os": "unknown", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let mut entry = add_manifest(directory, &config, layer);
    entry["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    entry["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": about,
    });
    entry
}

fn add_image(directory: &Path, seed: u64, architecture: &str) -> Value {
    let (packed, diff_id) = layer(seed);
    let layer = add_blob(directory, LAYER, &packed);
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let mut entry = add_manifest(directory, &config, layer);
    entry["platform"] = json!({"architecture": architecture, "os": "linux"});
    entry
}

fn add_manifest(directory: &Path, config: &Value, layer: Value) -> Value {
    let config = add_blob(directory, CONFIG, config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [layer],
    });
    add_blob(directory, IMAGE, manifest.to_string().as_bytes())
}

/// A layer with one file: its compressed bytes and the digest of the uncompressed tar.
fn layer(seed: u64) -> (Vec<u8>, String) {
    let content = Payload::new(seed, 50_000).bytes();
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_data(&mut header, "data", content.as_ref())
        .expect("writing to memory cannot fail");
    let archive = archive.into_inner().expect("writing to memory cannot fail");
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(&archive).expect("writing to memory cannot fail");
    let packed = packer.finish().expect("writing to memory cannot fail");
    (packed, digest_of(&archive))
}

fn add_blob(directory: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = digest_of(bytes);
    let path = directory.join("blobs").join(digest.replace(':', "/"));
    fs::create_dir_all(directory.join("blobs/sha256")).expect("our own folder is writable");
    fs::write(path, bytes).expect("our own folder is writable");
    descriptor(media_type, &digest, bytes.len() as u64)
}

const PROVENANCE: &str = "https://slsa.dev/provenance/v0.2";
