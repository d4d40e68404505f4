//! Images put together by hand for tests of collection, and a push that knows its lease.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use standpipe_tests::manifest::{CONFIG, IMAGE, INDEX, LAYER, Manifest, descriptor};
use standpipe_tests::payload::{Payload, digest_of};
use standpipe_tests::raw::{Raw, Style, answered};

/// A blob that clients push.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) payload: Payload,
    pub(crate) digest: String,
}

/// A manifest with what has to be there before it.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) manifest: Manifest,
    pub(crate) blobs: Vec<Blob>,
    pub(crate) children: Vec<Self>,
}

impl Blob {
    pub(crate) fn new(seed: u64, length: u64) -> Self {
        let payload = Payload::new(seed, length);
        let digest = payload.digest();
        Self { payload, digest }
    }
}

impl Image {
    /// An image with these layers and a config of its own, perhaps about another manifest.
    pub(crate) fn new(config: Blob, layers: Vec<Blob>, subject: Option<&Manifest>) -> Self {
        Self::of(config, layers, LAYER, subject)
    }

    /// What build tools say about an image of an index, as they say it: an image whose only layer is
    /// the statement.
    pub(crate) fn attestation(config: Blob, statement: Blob) -> Self {
        Self::of(config, vec![statement], "application/vnd.in-toto+json", None)
    }

    fn of(config: Blob, layers: Vec<Blob>, layer_type: &str, subject: Option<&Manifest>) -> Self {
        let describe = |media_type: &str, blob: &Blob| {
            descriptor(media_type, &blob.digest, blob.payload.length())
        };
        let described: Vec<Value> =
            layers.iter().map(|layer| describe(layer_type, layer)).collect();
        let mut content = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": describe(CONFIG, &config),
            "layers": described,
        });
        if let Some(subject) = subject {
            let size = subject.bytes.len() as u64;
            content["subject"] = descriptor(&subject.media_type, &subject.digest(), size);
        }
        let mut blobs = layers;
        blobs.push(config);
        Self { manifest: Manifest::of(IMAGE, &content), blobs, children: Vec::new() }
    }

    /// An index over images that no other index equals; each is described by more fields.
    pub(crate) fn index(number: u64, children: Vec<(Self, Value)>) -> Self {
        let describe = |(child, more): &(Self, Value)| {
            let size = child.manifest.bytes.len() as u64;
            let mut described = descriptor(IMAGE, &child.manifest.digest(), size);
            for (field, value) in more.as_object().into_iter().flatten() {
                described[field] = value.clone();
            }
            described
        };
        let described: Vec<Value> = children.iter().map(describe).collect();
        let content = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": described,
            "annotations": {"number": number.to_string()},
        });
        let children = children.into_iter().map(|(child, _)| child).collect();
        Self { manifest: Manifest::of(INDEX, &content), blobs: Vec::new(), children }
    }

    /// Bytes of its blobs.
    pub(crate) fn blob_bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.payload.length()).sum()
    }

    /// Bytes of its blobs and of the manifest.
    pub(crate) fn bytes(&self) -> u64 {
        self.blob_bytes() + self.manifest.bytes.len() as u64
    }

    /// Pushes it to a tag. A push that a stalled machine stretched beyond the lease may be refused, and
    /// is begun again; any other may not.
    pub(crate) async fn push(&self, raw: &Raw, name: &str, tag: &str, lease: Duration) {
        loop {
            let begin = Instant::now();
            for blob in &self.blobs {
                let uploaded = raw.upload(name, &blob.payload, Style::Put).await;
                let _ = answered(uploaded).expect(201);
            }
            let answer = answered(raw.put_manifest(name, tag, &self.manifest).await);
            if answer.status == 404 && begin.elapsed() > lease {
                continue;
            }
            let _ = answer.expect(201);
            return;
        }
    }

    /// Pulls what a tag leads to and holds it against this image.
    pub(crate) async fn is_pulled(&self, raw: &Raw, name: &str, tag: &str) {
        let answer = raw.manifest(name, tag).await.expect(200);
        assert_eq!(digest_of(&answer.body), self.manifest.digest(), "{name}:{tag}");
        for blob in &self.blobs {
            assert_eq!(raw.pull_blob(name, &blob.digest).await, blob.digest);
        }
    }
}
