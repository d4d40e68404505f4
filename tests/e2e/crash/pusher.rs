//! One client of the crash test: pushes images as a patient client would, and goes on after every kill.
//!
//! Invariant: what a request may do is written into the ledger inside the gate, before it is sent;
//! otherwise a look in between would settle the fact, and the effect would count as a violation.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;
use standpipe_tests::http::Answer;
use standpipe_tests::manifest::{CONFIG, IMAGE, LAYER, Manifest, descriptor};
use standpipe_tests::payload::{Payload, Random};
use standpipe_tests::raw::{NoAnswer, Raw, Style};

use super::ledger::{Key, Ledger, offset};
use super::{PACKAGES, Shared};
use crate::world::location;

/// One client.
pub(crate) struct Pusher {
    number: usize,
    raw: Raw,
    shared: Arc<Shared>,
    random: Random,
}

/// What one push leaves for a later push of the same client to delete.
struct Pushed {
    name: String,
    tag: String,
    digest: String,
}

impl Pusher {
    pub(crate) fn new(number: usize, raw: Raw, shared: Arc<Shared>) -> Self {
        let random = Random::new(shared.seed.wrapping_mul(31).wrapping_add(number as u64));
        Self { number, raw, shared, random }
    }

    /// Pushes until there were enough pushes, deleting some of its own older ones.
    pub(crate) async fn run(mut self) {
        let mut own: Vec<Pushed> = Vec::new();
        while let Some(number) = self.shared.next_push() {
            own.push(self.push(number).await);
            if own.len() > 3 && self.random.chance(40) {
                let old = own.remove(0);
                self.delete_image(&old).await;
            }
        }
    }

    async fn push(&mut self, number: usize) -> Pushed {
        let package = PACKAGES[self.random.between(0, PACKAGES.len() as u64) as usize];
        let name = format!("acme/{package}");
        let layers = [
            shared_layer(self.random.between(0, SHARED_LAYERS)),
            shared_layer(self.random.between(0, SHARED_LAYERS)),
            Payload::new(own_seed(number, 0), self.random.between(10_000, 2_500_000)),
        ];
        // A config of bytes instead of JSON, so that the ledger can compare it like a layer.
        let config = Payload::new(own_seed(number, 1), 700);
        for blob in layers.iter().chain([&config]) {
            self.send_blob(&name, blob).await;
        }
        let manifest = image(&config, &layers);
        // Some pushes move the client's own tag on, as `latest` moves on; the others get a new one.
        let tag = match self.random.chance(30) {
            true => format!("client-{}", self.number),
            false => format!("push-{number}"),
        };
        self.send_manifest(&name, &tag, &manifest).await;
        if self.random.chance(20) {
            let scratch = Payload::new(own_seed(number, 2), 30_000);
            self.send_blob(&name, &scratch).await;
            self.delete_blob((name.clone(), scratch.digest())).await;
        }
        Pushed { name, tag, digest: manifest.digest() }
    }

    async fn send_blob(&mut self, name: &str, payload: &Payload) {
        let key: Key = (name.to_owned(), payload.digest());
        while !self.is_there(&key, payload).await {
            let sent = match self.random.chance(25) {
                true => self.send_at_once(&key, payload).await,
                false => self.send_in_pieces(&key, payload).await,
            };
            if sent {
                return;
            }
        }
    }

    async fn is_there(&self, key: &Key, payload: &Payload) -> bool {
        loop {
            let path = format!("/v2/{}/blobs/{}", key.0, key.1);
            let asked = self.request(async |raw, ledger| {
                let answer = raw.send(Method::HEAD, &path, &[], "").await?;
                if answer.status == 200 {
                    // Seen is as good as stored: the registry promises what it confirms.
                    ledger.attempt_blob(key, payload);
                    ledger.acknowledge_blob(key);
                }
                Ok(answer)
            });
            match asked.await {
                Ok(answer) if answer.status == 200 => return true,
                Ok(answer) => {
                    let _ = answer.expect(404);
                    return false;
                }
                Err(_) => {}
            }
        }
    }

    /// One `POST` with everything; false when it is unknown what came of it.
    async fn send_at_once(&self, key: &Key, payload: &Payload) -> bool {
        let sent = self.request(async |raw, ledger| {
            ledger.attempt_blob(key, payload);
            ledger.attempt_upload();
            let answer = raw.upload(&key.0, payload, Style::Single).await?.expect(201);
            ledger.settle_upload();
            ledger.acknowledge_blob(key);
            Ok(answer)
        });
        sent.await.is_ok()
    }

    /// `POST`, several `PATCH`, `PUT`, going on from the reported offset after each kill; false when
    /// it is unknown whether it was finished.
    async fn send_in_pieces(&mut self, key: &Key, payload: &Payload) -> bool {
        let Some(mut upload) = self.begin(&key.0).await else { return false };
        let size = (payload.length() / self.random.between(1, 5)).max(1);
        while upload.offset < payload.length() {
            if self.send_piece(&mut upload, payload, size).await
                || self.ask_offset(&mut upload).await
            {
                continue;
            }
            // A crash forgot it.
            self.shared.ledger.end_upload(&upload.key);
            let Some(again) = self.begin(&key.0).await else { return false };
            upload = again;
        }
        self.finish(&upload, key, payload).await
    }

    async fn begin(&self, name: &str) -> Option<Upload> {
        let started = self.request(async |raw, ledger| {
            ledger.attempt_upload();
            let answer = raw.start_upload(name).await?.expect(202);
            ledger.settle_upload();
            ledger.begin_upload(&location(&answer));
            Ok(answer)
        });
        let location = location(&started.await.ok()?);
        Some(Upload { key: location.clone(), location, offset: 0, sent: 0, only_begun: true })
    }

    /// Adds a piece; false when it is unknown what came of it.
    async fn send_piece(&self, upload: &mut Upload, payload: &Payload, size: u64) -> bool {
        let (start, end) = (upload.offset, (upload.offset + size).min(payload.length()));
        upload.sent = end;
        let sent = self.request(async |raw, ledger| {
            ledger.attempt_bytes(&upload.key, end);
            let answer = raw.append_chunk(&upload.location, payload, start, end).await?;
            if answer.status == 202 {
                ledger.acknowledge_upload(&upload.key, end);
            }
            Ok(answer)
        });
        let Ok(answer) = sent.await else { return false };
        if answer.status == 404 && upload.only_begun {
            return false;
        }
        let answer = answer.expect(202);
        upload.only_begun = false;
        assert_eq!(offset(&answer, end, end), end, "{}: reported offset", answer.asked);
        upload.offset = end;
        upload.location = location(&answer);
        true
    }

    /// Asks where to go on; false when there was nothing but a beginning and a crash forgot it.
    async fn ask_offset(&self, upload: &mut Upload) -> bool {
        loop {
            let asked = self.request(async |raw, _| raw.upload_status(&upload.location).await);
            let Ok(answer) = asked.await else { continue };
            if answer.status == 404 && upload.only_begun {
                return false;
            }
            let answer = answer.expect(204);
            upload.only_begun = false;
            let reported = offset(&answer, upload.offset, upload.sent);
            assert!(
                (upload.offset..=upload.sent).contains(&reported),
                "upload {}: {} acknowledged, {} sent, {reported} reported",
                upload.key,
                upload.offset,
                upload.sent
            );
            upload.offset = reported;
            return true;
        }
    }

    async fn finish(&self, upload: &Upload, key: &Key, payload: &Payload) -> bool {
        let sent = self.request(async |raw, ledger| {
            ledger.attempt_blob(key, payload);
            ledger.attempt_end_of_upload(&upload.key);
            let answer = raw.finish_upload(&upload.location, &key.1, "").await?.expect(201);
            ledger.acknowledge_blob(key);
            ledger.end_upload(&upload.key);
            Ok(answer)
        });
        sent.await.is_ok()
    }

    async fn send_manifest(&self, name: &str, tag: &str, manifest: &Manifest) {
        let by_digest: Key = (name.to_owned(), manifest.digest());
        let by_tag: Key = (name.to_owned(), tag.to_owned());
        let send = async |raw: &Raw, ledger: &Ledger| {
            ledger.attempt_manifest(&by_digest, manifest);
            ledger.attempt_tag(&by_tag, Some(&by_digest.1));
            let answer = raw.put_manifest(name, tag, manifest).await?.expect(201);
            ledger.acknowledge_manifest(&by_digest);
            ledger.acknowledge_tag(&by_tag, Some(&by_digest.1));
            Ok(answer)
        };
        while self.request(send).await.is_err() {}
    }

    /// Deletes the tag of an older push, and every other time its manifest too.
    async fn delete_image(&mut self, old: &Pushed) {
        // The client's own moving tag may name a newer image by now; then it is not this push's to delete.
        if !old.tag.starts_with("push-") {
            return;
        }
        let tag: Key = (old.name.clone(), old.tag.clone());
        self.delete("manifests", &tag, |ledger| ledger.attempt_tag(&tag, None)).await;
        self.shared.ledger.acknowledge_tag(&tag, None);
        if self.random.chance(50) {
            let key: Key = (old.name.clone(), old.digest.clone());
            self.delete("manifests", &key, |ledger| ledger.attempt_manifest_deletion(&key)).await;
            self.shared.ledger.acknowledge_manifest_deletion(&key);
        }
    }

    async fn delete_blob(&self, key: Key) {
        self.delete("blobs", &key, |ledger| ledger.attempt_blob_deletion(&key)).await;
        self.shared.ledger.acknowledge_blob_deletion(&key);
    }

    /// Repeats a deletion until it is answered.
    async fn delete(&self, kind: &str, key: &Key, attempt: impl Fn(&Ledger)) {
        let path = format!("/v2/{}/{kind}/{}", key.0, key.1);
        let mut repeated = false;
        loop {
            let sent = self.request(async |raw, ledger| {
                attempt(ledger);
                raw.send(Method::DELETE, &path, &[], "").await
            });
            match sent.await {
                // The deletion before, which got no answer, did take effect.
                Ok(answer) if answer.status == 404 && repeated => return,
                Ok(answer) => {
                    let _ = answer.expect(202);
                    return;
                }
                Err(_) => repeated = true,
            }
        }
    }

    /// One request with the gate open, so that a look never sees its ledger entries half done.
    async fn request(
        &self,
        send: impl AsyncFnOnce(&Raw, &Ledger) -> Result<Answer, NoAnswer>,
    ) -> Result<Answer, NoAnswer> {
        let _open = self.shared.gate.read().await;
        send(&self.raw, &self.shared.ledger).await
    }
}

/// An upload as the client knows it.
struct Upload {
    /// The first location, under which the ledger knows it.
    key: String,
    location: String,
    offset: u64,
    sent: u64,
    /// Nothing of it was said to be stored yet, so a crash may forget it.
    only_begun: bool,
}

fn shared_layer(number: u64) -> Payload {
    Payload::new(number, 4_000 + number * 60_000)
}

/// Seed of one push's own blob, apart from all others.
fn own_seed(push: usize, blob: u64) -> u64 {
    (push as u64 + 1) << 32 | blob
}

fn image(config: &Payload, layers: &[Payload]) -> Manifest {
    let layers: Vec<_> =
        layers.iter().map(|layer| descriptor(LAYER, &layer.digest(), layer.length())).collect();
    let config = descriptor(CONFIG, &config.digest(), config.length());
    let content =
        json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers});
    Manifest::of(IMAGE, &content)
}

const SHARED_LAYERS: u64 = 14;
