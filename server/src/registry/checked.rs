//! Pulls that are hashed on their way out.
//!
//! Invariant: whoever gets all bytes of a whole blob gets the right ones. The last piece is held back
//! until the hash is known; if it is another one, the stream ends with an error, so that the connection
//! breaks off instead of looking complete, and the blob is marked as damaged. A part of a blob cannot
//! be checked that way; its reader checks the whole when it has it.

use super::Registry;
use crate::blobs::hasher::Hasher;
use crate::blobs::stream::StreamError;
use crate::blobs::{BlobError, ByteStream};
use crate::domain::{Digest, ObjectKey};
use bytes::Bytes;
use futures_util::StreamExt as _;

struct Checked {
    registry: Registry,
    object: ObjectKey,
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
        digest: &Digest,
        body: ByteStream,
    ) -> ByteStream {
        let checked = Checked {
            registry: self.clone(),
            object,
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
            return self.held.take().map(Ok);
        }
        let what = format!("blob {}: its bytes have the digest {actual}", self.digest);
        self.registry.report_damage(self.object, &what).await;
        Some(Err(StreamError(Box::new(BlobError::Damaged(self.object)))))
    }
}
