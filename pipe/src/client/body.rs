//! Bodies: files as streams, answers with a limit, and the watch over both.
//!
//! Invariant: no body is in memory as a whole unless it is known to be small.
//! Must not know: what is in them.

use std::io::SeekFrom;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use reqwest::Response;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use super::error::ClientError;
use crate::progress::Progress;
use crate::spool::SpoolFile;

/// Bytes of one request, counted as the connection takes them.
#[derive(Debug, Clone, Default)]
pub(super) struct Sending {
    /// Of this request only.
    pub(super) moved: Arc<AtomicU64>,
}

impl Sending {
    /// `length` bytes of the content from `offset` on, as the body of a request.
    pub(super) async fn stream(
        &self,
        file: &SpoolFile,
        offset: u64,
        length: u64,
        progress: &Progress,
    ) -> std::io::Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>> {
        let mut opened = File::open(&file.path).await?;
        opened.set_max_buf_size(PIECE);
        opened.seek(SeekFrom::Start(file.offset + offset)).await?;
        let (moved, progress) = (Arc::clone(&self.moved), progress.clone());
        // The default of 4 KiB would cost a system call and a wake-up for each.
        let pieces = ReaderStream::with_capacity(opened.take(length), PIECE);
        Ok(pieces.inspect(move |piece| {
            if let Ok(piece) = piece {
                moved.fetch_add(piece.len() as u64, Ordering::Relaxed);
                progress.add(piece.len() as u64);
            }
        }))
    }

    /// The request failed after all: what it moved did not count.
    pub(super) fn take_back(&self, progress: &Progress) {
        progress.take_back(self.moved.swap(0, Ordering::Relaxed));
    }
}

/// Waits for `work` as long as `moved` grows now and then.
///
/// A limit for the whole request would forbid large layers on slow lines; what is limited is
/// how long nothing happens.
pub(super) async fn unless_stalled<T>(
    timeout: Duration,
    moved: &AtomicU64,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::pin!(work);
    let mut seen = moved.load(Ordering::Relaxed);
    let mut deadline = Instant::now() + timeout;
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = tokio::time::sleep_until(deadline) => {
                let now = moved.load(Ordering::Relaxed);
                if now == seen {
                    let message = format!("nothing moved for {} s", timeout.as_secs());
                    return Err(ClientError::Connection(message));
                }
                seen = now;
                deadline = Instant::now() + timeout;
            }
        }
    }
}

/// Why a request did not end as it should.
#[derive(Debug)]
pub(super) enum Slow {
    /// The request failed by itself.
    Failed(ClientError),
    /// It would have taken too long; so many bytes were under way.
    Crawls(u64),
}

/// Lets `work` send `size` bytes in one request, unless that turns out to take long.
///
/// Registries end an upload after some minutes (Bitbucket's after seven), and all of it is lost
/// then. So the speed is looked at early, while little is lost.
pub(super) async fn unless_slow<T>(
    size: u64,
    moved: &AtomicU64,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Slow> {
    tokio::pin!(work);
    let started = Instant::now();
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result.map_err(Slow::Failed),
            () = tokio::time::sleep(LOOK) => {
                let (taken, sent) = (started.elapsed(), moved.load(Ordering::Relaxed));
                if too_slow(taken, sent, size) {
                    return Err(Slow::Crawls(sent));
                }
            }
        }
    }
}

/// Whether the whole will take longer than is safe, by what was sent so far.
fn too_slow(taken: Duration, sent: u64, size: u64) -> bool {
    let left = size.saturating_sub(sent) as f64;
    let expected = taken.as_secs_f64() * (1.0 + left / sent.max(1) as f64);
    left > 0.0 && expected > SAFE.as_secs_f64()
}

/// The body of an answer that should be small.
pub(super) async fn at_most(mut response: Response, most: usize) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(piece) =
        response.chunk().await.map_err(|error| ClientError::from_reqwest(&error))?
    {
        if body.len() + piece.len() > most {
            return Err(ClientError::Protocol("an answer is far too long".to_owned()));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// How often the speed of an upload is looked at.
const LOOK: Duration = Duration::from_secs(20);
/// Below what proxies allow, and well below the seven minutes after which Bitbucket's registry ends an
/// upload.
const SAFE: Duration = Duration::from_secs(150);
/// Bytes that are read from disk and handed to the connection at a time.
const PIECE: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_moves_bytes_is_never_too_slow() {
        let moved = AtomicU64::new(0);
        let work = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(9)).await;
                moved.fetch_add(1, Ordering::Relaxed);
            }
            Ok(7)
        };
        let result = unless_stalled(Duration::from_secs(10), &moved, work).await;
        assert_eq!(result.unwrap(), 7);
    }

    #[test]
    fn an_upload_is_too_slow_if_its_rest_will_not_be_through_in_time() {
        let after = |seconds, sent| too_slow(Duration::from_secs(seconds), sent, 1000);
        assert!(after(20, 100), "200 s in all");
        assert!(!after(20, 200), "100 s in all");
        assert!(after(20, 0));
        assert!(!after(140, 999));
        assert!(!after(900, 1000), "what is sent only waits for the answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_upload_is_given_up_early() {
        let (moved, started) = (AtomicU64::new(10), Instant::now());
        let work = std::future::pending::<Result<(), ClientError>>();
        assert!(unless_slow(1000, &moved, work).await.is_err());
        assert_eq!(started.elapsed(), LOOK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_stands_still_is_given_up() {
        let moved = AtomicU64::new(5);
        let work = std::future::pending::<Result<(), ClientError>>();
        let error = unless_stalled(Duration::from_secs(10), &moved, work).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
}
