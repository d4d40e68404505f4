//! Pulls that are hashed on their way out.
//!
//! Invariant: whoever gets all bytes of a whole blob gets the right ones. The last piece is held back
//! until the hash is known; if it is another one, the stream ends with an error, so that the connection
//! breaks off instead of looking complete, and the blob is marked as damaged. A part of a blob cannot
//! be checked that way; its reader checks the whole when it has it.
//!
//! Hashing is most of what a pull costs, and the blobs that are pulled most are pulled again within
//! minutes, out of the page cache. So a blob that was right is not hashed again for a while
//! ([`Sound`]), unless anything has touched its file since.

use super::Registry;
use crate::blobs::hasher::Hasher;
use crate::blobs::stream::StreamError;
use crate::blobs::{BlobError, ByteStream};
use crate::domain::{Digest, ObjectKey, Timestamp};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most objects remembered, in about a megabyte.
const MOST_SOUND: usize = 16_384;

/// Objects that were hashed whole lately and were right.
///
/// Invariant: what is remembered holds for one version of the object's file and for a limited time.
#[derive(Debug)]
pub(super) struct Sound {
    lasts: Duration,
    seen: Mutex<HashMap<ObjectKey, (u64, Timestamp)>>,
}

impl Sound {
    /// Remembers for so long; for no time at all, every pull is hashed.
    pub(super) fn new(lasts: Duration) -> Self {
        Self { lasts, seen: Mutex::default() }
    }

    /// Whether this version of an object needs not be hashed now.
    pub(super) fn is_fresh(&self, object: ObjectKey, version: Option<u64>, now: Timestamp) -> bool {
        match (self.lock().get(&object), version) {
            (Some((seen, at)), Some(version)) => *seen == version && now.since(*at) < self.lasts,
            _ => false,
        }
    }

    fn remember(&self, object: ObjectKey, version: Option<u64>, now: Timestamp) {
        let Some(version) = version.filter(|_| !self.lasts.is_zero()) else { return };
        let mut seen = self.lock();
        if seen.len() >= MOST_SOUND {
            seen.retain(|_, (_, at)| now.since(*at) < self.lasts);
        }
        if seen.len() >= MOST_SOUND {
            // To forget costs a hash each, and nothing else.
            seen.clear();
        }
        seen.insert(object, (version, now));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, (u64, Timestamp)>> {
        // Every critical section leaves the map whole.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Checked {
    registry: Registry,
    object: ObjectKey,
    version: Option<u64>,
    digest: Digest,
    body: ByteStream,
    hasher: Option<Hasher>,
    held: Option<Bytes>,
}

impl Registry {
    /// Wraps the stream of a whole blob.
    pub(super) fn checked(
        &self,
        object: ObjectKey,
        version: Option<u64>,
        digest: &Digest,
        body: ByteStream,
    ) -> ByteStream {
        let checked = Checked {
            registry: self.clone(),
            object,
            version,
            digest: *digest,
            body,
            hasher: Some(Hasher::new(digest.algorithm())),
            held: None,
        };
        ByteStream::new(futures_util::stream::unfold(checked, |mut checked| async move {
            let next = checked.next().await?;
            Some((next, checked))
        }))
    }
}

impl Checked {
    /// The next piece, one behind what was read.
    async fn next(&mut self) -> Option<Result<Bytes, StreamError>> {
        loop {
            let hasher = self.hasher.as_mut()?;
            match self.body.next().await {
                Some(Ok(piece)) => {
                    hasher.update(&piece);
                    if let Some(ready) = self.held.replace(piece) {
                        return Some(Ok(ready));
                    }
                }
                Some(Err(error)) => {
                    self.hasher = None;
                    return Some(Err(error));
                }
                None => return self.end().await,
            }
        }
    }

    /// Gives the last piece if the whole was right.
    async fn end(&mut self) -> Option<Result<Bytes, StreamError>> {
        let actual = self.hasher.take()?.finish();
        if actual == self.digest {
            let now = self.registry.clock.now();
            self.registry.sound.remember(self.object, self.version, now);
            return self.held.take().map(Ok);
        }
        let what = format!("blob {}: its bytes have the digest {actual}", self.digest);
        self.registry.report_damage(self.object, &what).await;
        Some(Err(StreamError(Box::new(BlobError::Damaged(self.object)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn an_object_is_sound_for_a_while_as_long_as_nobody_touches_it() {
        let (sound, object) = (Sound::new(HOUR), ObjectKey::mint(NOW));
        assert!(!sound.is_fresh(object, Some(1), NOW));
        sound.remember(object, Some(1), NOW);
        assert!(sound.is_fresh(object, Some(1), NOW));
        assert!(!sound.is_fresh(object, Some(2), NOW), "its file was touched");
        assert!(!sound.is_fresh(object, None, NOW), "nobody knows");
        assert!(!sound.is_fresh(ObjectKey::mint(NOW), Some(1), NOW), "another one");
        let later = |seconds: u64| Timestamp(NOW.0 + seconds * 1000);
        assert!(sound.is_fresh(object, Some(1), later(3599)));
        assert!(!sound.is_fresh(object, Some(1), later(3600)));
    }

    #[test]
    fn without_a_time_or_a_version_nothing_is_remembered() {
        let object = ObjectKey::mint(NOW);
        let never = Sound::new(Duration::ZERO);
        never.remember(object, Some(1), NOW);
        assert!(!never.is_fresh(object, Some(1), NOW));
        let unknown = Sound::new(HOUR);
        unknown.remember(object, None, NOW);
        assert!(unknown.lock().is_empty());
    }

    #[test]
    fn there_is_a_bound_on_what_is_remembered() {
        let sound = Sound::new(HOUR);
        for _ in 0..MOST_SOUND * 2 + 1 {
            sound.remember(ObjectKey::mint(NOW), Some(1), NOW);
        }
        assert!(sound.lock().len() <= MOST_SOUND);
    }
}
