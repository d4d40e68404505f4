//! What every client of the soak can do: ask until there is an answer, be told that something is there,
//! and rely on it within the lease.
//!
//! Invariant: a promise is counted from before the question was sent, and relied on only if the answer
//! to the push came within the lease. A machine that stalls therefore never makes a failure.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reqwest::Method;
use standpipe_tests::http::Answer;
use standpipe_tests::payload::Random;
use standpipe_tests::raw::{Raw, Style};
use tokio::time::sleep;

use super::Shared;
use super::memory::{Claim, Key};
use super::request::Request;
use crate::artifacts::{Blob, Image};

/// Where a manifest is pushed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// A tag that one client at a time writes.
    Tag(&'a str),
    /// A tag that several overwrite at the same time.
    Contested(&'a str),
    /// No tag; something else will need it.
    Digest,
}

/// Since when the registry has promised all that a push relies on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Promise {
    since: Option<Instant>,
}

/// One client.
pub(crate) struct Client {
    raw: Raw,
    pub(crate) shared: Arc<Shared>,
    pub(crate) random: Random,
    trace: Vec<String>,
}

impl Client {
    pub(crate) fn new(number: u64, raw: Raw, shared: Arc<Shared>) -> Self {
        let random = Random::new(shared.seed.wrapping_mul(31).wrapping_add(number));
        Self { raw, shared, random, trace: Vec::new() }
    }

    /// Sends until there is an answer; returns when the answered request was sent, and whether there
    /// were others before it.
    pub(crate) async fn ask(&mut self, request: Request<'_>) -> (Instant, Answer, bool) {
        let (begin, mut repeated) = (Instant::now(), false);
        loop {
            let sent = Instant::now();
            match request.send(&self.raw).await {
                Ok(answer) => {
                    self.note(sent, &request, &answer);
                    return (sent, answer, repeated);
                }
                Err(error) => {
                    let killed = self.shared.killed.load(Ordering::Relaxed);
                    assert!(killed && begin.elapsed() < PATIENCE, "{request}: {error:?}");
                    repeated = true;
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Pushes what an image needs and then itself, again and again until it was in time.
    pub(crate) async fn deliver(&mut self, name: &str, image: &Image, target: Target<'_>) {
        loop {
            self.trace.clear();
            let mut promise = Promise::default();
            for child in &image.children {
                promise.note(self.deliver_child(name, child).await);
            }
            if self.send(name, image, promise, target).await.is_some() {
                return;
            }
        }
    }

    /// Pushes a known image to a tag: if it is still there, only the manifest is sent.
    pub(crate) async fn deliver_again(&mut self, name: &str, image: &Image, target: Target<'_>) {
        self.trace.clear();
        if let Some(sent) = self.is_manifest_there(name, image).await {
            let mut promise = Promise::default();
            promise.note(sent);
            self.pause(promise).await;
            if self.put(name, image, promise, target).await.is_some() {
                self.shared.memory.count("manifests pushed again without blobs");
                return;
            }
        }
        self.deliver(name, image, target).await;
    }

    /// Makes sure that a child of an index is there; returns since when that is promised.
    async fn deliver_child(&mut self, name: &str, child: &Image) -> Instant {
        self.shared.memory.remember(name, &child.manifest, true);
        loop {
            if let Some(sent) = self.is_manifest_there(name, child).await {
                self.shared.memory.count("children not sent again");
                return sent;
            }
            if let Some(sent) = self.send(name, child, Promise::default(), Target::Digest).await {
                return sent;
            }
        }
    }

    async fn is_manifest_there(&mut self, name: &str, image: &Image) -> Option<Instant> {
        let digest = image.manifest.digest();
        let path = format!("/v2/{name}/manifests/{digest}");
        let (sent, answer, _) = self.ask(Request::Plain(Method::HEAD, path)).await;
        if answer.status == 404 {
            return None;
        }
        let _ = answer.expect(200);
        Some(sent)
    }

    async fn send(
        &mut self,
        name: &str,
        image: &Image,
        mut promise: Promise,
        target: Target<'_>,
    ) -> Option<Instant> {
        for blob in &image.blobs {
            promise.note(self.confirm_blob(name, blob).await);
        }
        self.pause(promise).await;
        self.put(name, image, promise, target).await
    }

    /// Makes sure that a blob is there; returns since when that is promised.
    async fn confirm_blob(&mut self, name: &str, blob: &Blob) -> Instant {
        let shared = Arc::clone(&self.shared);
        let (memory, digest) = (&shared.memory, &blob.digest);
        let path = format!("/v2/{name}/blobs/{digest}");
        let (sent, answer, _) = self.ask(Request::Plain(Method::HEAD, path)).await;
        if answer.status == 200 {
            memory.confirm_blob(name, digest);
            memory.count("uploads skipped");
            return sent;
        }
        let _ = answer.expect(404);
        if memory.was_confirmed(name, digest) {
            memory.count("blobs collected and sent again");
        }
        let from = shared.package(self.random.next_u64());
        let style = STYLES[self.random.between(0, 4) as usize];
        let request = match from != name && self.random.chance(60) {
            true => Request::Mount { name, from: &from, blob },
            false => Request::Upload { name, blob, style },
        };
        let (sent, answer, _) = self.ask(request).await;
        if answer.asked.contains("mount=") {
            memory.count("mounts");
        }
        let _ = answer.expect(201);
        memory.confirm_blob(name, digest);
        sent
    }

    /// Waits a part of the lease, up to nine tenths of it, as a slow build step does.
    async fn pause(&mut self, promise: Promise) {
        let percent = match self.random.chance(60) {
            true => self.random.between(50, 90),
            false => self.random.between(0, 10),
        };
        let wanted = self.shared.lease * percent as u32 / 100;
        // This sleep is the pause that the test is about.
        sleep(wanted.saturating_sub(promise.age())).await;
    }

    /// Sends the manifest; `None` when it was refused because we were too late.
    async fn put(
        &mut self,
        name: &str,
        image: &Image,
        promise: Promise,
        target: Target<'_>,
    ) -> Option<Instant> {
        let shared = Arc::clone(&self.shared);
        let digest = image.manifest.digest();
        let (reference, tag) = match target {
            Target::Tag(tag) | Target::Contested(tag) => {
                (tag, Some((name.to_owned(), tag.to_owned())))
            }
            Target::Digest => (digest.as_str(), None),
        };
        let _claim = claim(&shared, name, target, &digest).await;
        let begun = tag.map(|tag| shared.memory.begin(&tag, Some(&digest)));
        let request = Request::Manifest { name, reference, manifest: &image.manifest };
        let (sent, answer, _) = self.ask(request).await;
        let age = promise.age();
        if answer.status == 201 {
            begun.iter().for_each(|begun| shared.memory.end(begun));
            shared.memory.count("pushes");
            if age > shared.lease / 2 {
                shared.memory.count("pushes after half a lease");
            }
            return Some(sent);
        }
        assert!(
            age > shared.lease,
            "refused {age:?} after the first confirmation: {} {}\n{}",
            answer.status,
            answer.text(),
            self.trace.join("\n")
        );
        answer.refused(404, "MANIFEST_BLOB_UNKNOWN");
        begun.iter().for_each(|begun| shared.memory.cancel(begun));
        shared.memory.count("refusals after the lease, not counted");
        None
    }

    fn note(&mut self, sent: Instant, request: &Request<'_>, answer: &Answer) {
        let begin = sent.duration_since(self.shared.start).as_millis();
        let end = self.shared.start.elapsed().as_millis();
        let (status, code) = (answer.status, answer.error_code());
        self.trace.push(format!("{begin}..{end} ms {request}: {status} {code}"));
    }
}

impl Promise {
    /// Something was confirmed by the answer to a question sent at this time.
    pub(crate) fn note(&mut self, sent: Instant) {
        self.since = Some(self.since.map_or(sent, |since| since.min(sent)));
    }

    /// How long ago the first question was sent.
    fn age(self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Waits for the turn to write what others may delete.
async fn claim<'a>(
    shared: &'a Shared,
    name: &str,
    target: Target<'_>,
    digest: &str,
) -> Option<Claim<'a>> {
    let key = |reference: &str| -> Key { (name.to_owned(), reference.to_owned()) };
    let Target::Tag(tag) = target else { return None };
    loop {
        if let Some(claim) = shared.memory.claim(vec![key(tag), key(digest)]) {
            return Some(claim);
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// How long a killed server may take to come back.
const PATIENCE: Duration = Duration::from_secs(60);
const STYLES: [Style; 4] = [Style::Put, Style::Single, Style::Streamed, Style::Chunked(10_000)];
