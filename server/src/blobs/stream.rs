//! Streams of bytes, in and out of the blob seam.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Why a stream broke off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StreamError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Bytes that arrive in pieces. A piece that is an error is the last one.
pub struct ByteStream(Pin<Box<dyn Stream<Item = Result<Bytes, StreamError>> + Send>>);

impl ByteStream {
    /// Wraps a stream whose error type is anything.
    pub fn new<S, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self(Box::pin(stream.map(|piece| piece.map_err(|error| StreamError(error.into())))))
    }

    /// A stream of one piece.
    #[must_use]
    pub fn once(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Box::pin(futures_util::stream::once(async move { Ok(bytes) })))
    }

    /// A stream of nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self(Box::pin(futures_util::stream::empty()))
    }

    /// Reads everything into memory; for tests and small things of known size.
    ///
    /// # Errors
    /// The stream's own.
    pub async fn collect(mut self) -> Result<Vec<u8>, StreamError> {
        let mut all = Vec::new();
        while let Some(piece) = self.0.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }
}

impl Stream for ByteStream {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl std::fmt::Debug for ByteStream {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ByteStream")
    }
}
