//! What the server acknowledged during the crash test, and the looks that compare it with the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::Method;
use standpipe_tests::http::Answer;
use standpipe_tests::manifest::Manifest;
use standpipe_tests::oracle::Facts;
use standpipe_tests::payload::{Payload, digest_of};
use standpipe_tests::raw::{Raw, answered, last_byte};

/// An OCI name and a digest, or an OCI name and a tag.
pub(crate) type Key = (String, String);

/// All facts. Requests are made by the pushers; only the looks are made here.
pub(crate) struct Ledger {
    raw: Raw,
    facts: Mutex<State>,
}

struct State {
    blobs: Facts<Key, bool>,
    manifests: Facts<Key, bool>,
    tags: Facts<Key, Option<String>>,
    uploads: BTreeMap<String, Upload>,
    nameless_uploads: usize,
    contents: BTreeMap<String, Payload>,
    documents: BTreeMap<String, Manifest>,
    /// Digests whose bytes the server has or had whole, whatever happened to the links since.
    stored: BTreeSet<String>,
    /// What was acknowledged since the last look at all bytes.
    fresh: BTreeSet<Key>,
}

#[derive(Clone)]
struct Upload {
    acknowledged: u64,
    sent: u64,
    /// A request to finish or cancel it got no answer, so it may be gone.
    may_be_gone: bool,
    /// Nothing of it was said to be stored yet, so a crash may forget it.
    only_begun: bool,
}

impl Ledger {
    pub(crate) fn new(raw: Raw) -> Self {
        let facts = Mutex::new(State {
            blobs: Facts::new("blob", false),
            manifests: Facts::new("manifest", false),
            tags: Facts::new("tag", None),
            uploads: BTreeMap::new(),
            nameless_uploads: 0,
            contents: BTreeMap::new(),
            documents: BTreeMap::new(),
            stored: BTreeSet::new(),
            fresh: BTreeSet::new(),
        });
        Self { raw, facts }
    }

    pub(crate) fn attempt_blob(&self, key: &Key, payload: &Payload) {
        let mut state = self.state();
        state.contents.insert(key.1.clone(), payload.clone());
        state.blobs.attempt(key.clone(), true);
    }

    pub(crate) fn acknowledge_blob(&self, key: &Key) {
        let mut state = self.state();
        state.blobs.acknowledge(key.clone(), true);
        state.stored.insert(key.1.clone());
        state.fresh.insert(key.clone());
    }

    pub(crate) fn attempt_blob_deletion(&self, key: &Key) {
        self.state().blobs.attempt(key.clone(), false);
    }

    pub(crate) fn acknowledge_blob_deletion(&self, key: &Key) {
        self.state().blobs.acknowledge(key.clone(), false);
    }

    pub(crate) fn attempt_manifest(&self, key: &Key, manifest: &Manifest) {
        let mut state = self.state();
        state.documents.insert(key.1.clone(), manifest.clone());
        state.manifests.attempt(key.clone(), true);
    }

    pub(crate) fn acknowledge_manifest(&self, key: &Key) {
        self.state().manifests.acknowledge(key.clone(), true);
    }

    pub(crate) fn attempt_manifest_deletion(&self, key: &Key) {
        self.state().manifests.attempt(key.clone(), false);
    }

    pub(crate) fn acknowledge_manifest_deletion(&self, key: &Key) {
        self.state().manifests.acknowledge(key.clone(), false);
    }

    pub(crate) fn attempt_tag(&self, key: &Key, digest: Option<&str>) {
        self.state().tags.attempt(key.clone(), digest.map(str::to_owned));
    }

    pub(crate) fn acknowledge_tag(&self, key: &Key, digest: Option<&str>) {
        self.state().tags.acknowledge(key.clone(), digest.map(str::to_owned));
    }

    /// An upload was begun, and is there until the next crash.
    pub(crate) fn begin_upload(&self, location: &str) {
        let upload = Upload { acknowledged: 0, sent: 0, may_be_gone: false, only_begun: true };
        self.state().uploads.insert(location.to_owned(), upload);
    }

    /// An upload exists, with `acknowledged` bytes that must hold.
    pub(crate) fn acknowledge_upload(&self, location: &str, acknowledged: u64) {
        let (sent, may_be_gone, only_begun) = (acknowledged, false, false);
        let upload = Upload { acknowledged, sent, may_be_gone, only_begun };
        self.state().uploads.insert(location.to_owned(), upload);
    }

    /// A request that starts an upload is about to be sent. Without an answer the upload may exist,
    /// but nobody knows its name.
    pub(crate) fn attempt_upload(&self) {
        self.state().nameless_uploads += 1;
    }

    /// The last attempt was answered.
    pub(crate) fn settle_upload(&self) {
        self.state().nameless_uploads -= 1;
    }

    /// How many uploads may exist that nobody can name.
    pub(crate) fn nameless_uploads(&self) -> usize {
        self.state().nameless_uploads
    }

    pub(crate) fn attempt_bytes(&self, location: &str, sent: u64) {
        if let Some(upload) = self.state().uploads.get_mut(location) {
            upload.sent = sent;
        }
    }

    pub(crate) fn attempt_end_of_upload(&self, location: &str) {
        if let Some(upload) = self.state().uploads.get_mut(location) {
            upload.may_be_gone = true;
        }
    }

    pub(crate) fn end_upload(&self, location: &str) {
        self.state().uploads.remove(location);
    }

    /// Looks at every fact, and at the bytes of what was acknowledged since the last look; returns
    /// what does not hold.
    pub(crate) async fn check_recent(&self) -> Vec<String> {
        let fresh = std::mem::take(&mut self.state().fresh);
        self.check(&fresh).await
    }

    /// Looks at every fact and all bytes; returns what does not hold.
    pub(crate) async fn check_everything(&self) -> Vec<String> {
        let all = self.state().blobs.keys().into_iter().collect();
        self.check(&all).await
    }

    async fn check(&self, with_bytes: &BTreeSet<Key>) -> Vec<String> {
        let (blobs, manifests, tags, uploads) = {
            let state = self.state();
            (state.blobs.keys(), state.manifests.keys(), state.tags.keys(), state.uploads.clone())
        };
        let mut looks = Vec::new();
        for key in blobs {
            looks.push(self.look_at_blob(&key, with_bytes.contains(&key)).await);
        }
        for key in manifests {
            looks.push(self.look_at_manifest(&key).await);
        }
        for key in tags {
            looks.push(self.look_at_tag(&key).await);
        }
        for (location, upload) in uploads {
            looks.push(self.look_at_upload(&location, &upload).await);
        }
        looks.into_iter().filter_map(Result::err).collect()
    }

    async fn look_at_blob(&self, key: &Key, with_bytes: bool) -> Result<(), String> {
        let (name, digest) = key;
        let path = format!("/v2/{name}/blobs/{digest}");
        let method = if with_bytes { Method::GET } else { Method::HEAD };
        let sent = self.raw.send(method, &path, &[], "").await;
        let answer =
            sent.map_err(|error| format!("blob {key:?} does not arrive whole: {error:?}"))?;
        let present = presence(&answer)?;
        if present && with_bytes && digest_of(&answer.body) != *digest {
            return Err(format!("blob {key:?} has other bytes"));
        }
        let mut state = self.state();
        if present {
            let size = state.contents[digest].length().to_string();
            if answer.header("content-length") != size {
                return Err(format!("blob {key:?} has another size than {size}"));
            }
            state.stored.insert(digest.clone());
        }
        state.blobs.observe(key, present)
    }

    async fn look_at_manifest(&self, key: &Key) -> Result<(), String> {
        let (name, digest) = key;
        let answer = self.raw.manifest(name, digest).await;
        let present = presence(&answer)?;
        let mut state = self.state();
        if present && answer.body != state.documents[digest].bytes {
            return Err(format!("manifest {key:?} has other bytes"));
        }
        state.manifests.observe(key, present)
    }

    async fn look_at_tag(&self, key: &Key) -> Result<(), String> {
        let (name, tag) = key;
        let answer = self.raw.head(&format!("/v2/{name}/manifests/{tag}")).await;
        let digest = presence(&answer)?.then(|| answer.header("docker-content-digest"));
        self.state().tags.observe(key, digest)
    }

    async fn look_at_upload(&self, location: &str, upload: &Upload) -> Result<(), String> {
        let answer = answered(self.raw.upload_status(location).await);
        if answer.status == 404 && (upload.may_be_gone || upload.only_begun) {
            self.end_upload(location);
            return Ok(());
        }
        if answer.status != 204 {
            return Err(format!("upload {location}: {} {}", answer.status, answer.text()));
        }
        let (acknowledged, sent) = (upload.acknowledged, upload.sent);
        let offset = offset(&answer, acknowledged, sent);
        if !(acknowledged..=sent).contains(&offset) {
            return Err(format!(
                "upload {location}: {acknowledged} bytes acknowledged, {sent} sent, {offset} reported"
            ));
        }
        // What is reported is a promise too.
        if let Some(known) = self.state().uploads.get_mut(location) {
            known.acknowledged = offset;
            known.only_begun = false;
        }
        Ok(())
    }

    /// Cancels what the clients left open.
    pub(crate) async fn cancel_open_uploads(&self) {
        let open: Vec<String> = self.state().uploads.keys().cloned().collect();
        for location in open {
            let answer = self.raw.delete(&location).await;
            assert!(matches!(answer.status, 204 | 404), "{}: {}", answer.asked, answer.status);
            self.end_upload(&location);
        }
    }

    /// How many files the blobs need: one for each digest in the one workspace of this test.
    pub(crate) fn objects(&self) -> usize {
        self.state().stored.len()
    }

    pub(crate) fn summary(&self) -> String {
        let state = self.state();
        format!(
            "{} blob links, {} objects, {} manifests, {} tags",
            state.blobs.keys().len(),
            state.stored.len(),
            state.manifests.keys().len(),
            state.tags.keys().len()
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A violation panics with the lock held; the facts stay readable for the other clients.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The offset that an answer reports; `0-0` says zero or one byte, whichever can be.
pub(crate) fn offset(answer: &Answer, acknowledged: u64, sent: u64) -> u64 {
    match last_byte(answer) {
        Some(0) if acknowledged == 0 || sent == 0 => 0,
        Some(last) => last + 1,
        None => panic!("{}: no Range", answer.asked),
    }
}

fn presence(answer: &Answer) -> Result<bool, String> {
    match answer.status {
        200 => Ok(true),
        404 => Ok(false),
        other => Err(format!("{other} for {}", answer.asked)),
    }
}
