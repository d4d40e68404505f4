//! Patience with the other end: a minimum rate instead of a limit on the whole.
//!
//! A connection may be as slow as it likes for a while (the patience), and for ever at the minimum
//! rate. Only time in which we wait for the other end counts; each byte that moves gives some of it
//! back. So a large layer over a slow line arrives, a pause in the middle is fine, and a drip of a byte
//! a minute is not: that would hold a connection for the price of nothing.

use crate::clock::Stopwatch;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How slow the other end may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// For how long it may do nothing, and in how much time it may fall behind the rate.
    pub patience: Duration,
    /// Bytes in a second that are enough for ever; 0: any byte is enough for another while.
    pub bytes_per_second: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { patience: Duration::from_secs(60), bytes_per_second: 1024 }
    }
}

impl Pace {
    /// What so many bytes are worth.
    fn worth(self, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if self.bytes_per_second == 0 {
            return if bytes == 0 { Duration::ZERO } else { self.patience };
        }
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// The other end fell behind the minimum rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end was slower than the minimum rate for too long")]
pub(super) struct TooSlow;

/// What is left of the patience with one other end.
#[derive(Debug)]
pub(super) struct Patience {
    pace: Pace,
    left: Duration,
    waiting: Option<(Stopwatch, Pin<Box<Sleep>>)>,
}

impl Patience {
    pub(super) const fn new(pace: Pace) -> Self {
        Self { pace, left: pace.patience, waiting: None }
    }

    /// Whether the other end is being waited for.
    pub(super) const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Something was polled and is not ready: time runs.
    pub(super) fn wait(&mut self, context: &mut Context<'_>) -> Result<(), TooSlow> {
        let left = self.left;
        let (_, sleep) = self
            .waiting
            .get_or_insert_with(|| (Stopwatch::start(), Box::pin(tokio::time::sleep(left))));
        match sleep.as_mut().poll(context) {
            Poll::Ready(()) => Err(TooSlow),
            Poll::Pending => Ok(()),
        }
    }

    /// So many bytes moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.left = self.left.saturating_add(self.pace.worth(bytes)).min(self.pace.patience);
    }
}

/// Cuts bodies off that fall behind.
pub(super) async fn pace(pace: Pace, request: Request, next: Next) -> Response {
    let patience = Patience::new(pace);
    next.run(request.map(|body| Body::new(Paced { body, patience, over: false }))).await
}

/// A request's body with patience.
struct Paced {
    body: Body,
    patience: Patience,
    over: bool,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => match self.patience.wait(context) {
                Ok(()) => Poll::Pending,
                Err(slow) => {
                    self.over = true;
                    Poll::Ready(Some(Err(slow.into())))
                }
            },
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                let bytes = data.map_or(0, Bytes::len);
                self.patience.moved(bytes);
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;

    const PACE: Pace = Pace { patience: Duration::from_millis(300), bytes_per_second: 1000 };

    /// A body of so many bytes every few milliseconds, for ever.
    fn drip(bytes: usize, every: Duration) -> Body {
        Body::from_stream(stream::repeat(()).then(move |()| async move {
            tokio::time::sleep(every).await;
            Ok::<_, std::io::Error>(Bytes::from(vec![0; bytes]))
        }))
    }

    async fn read(body: Body, pace: Pace, frames: usize) -> Result<usize, bool> {
        let patience = Patience::new(pace);
        let mut body = Paced { body, patience, over: false };
        let mut bytes = 0;
        for _ in 0..frames {
            let Some(frame) = body.frame().await else { break };
            match frame {
                Ok(frame) => bytes += frame.data_ref().map_or(0, Bytes::len),
                Err(error) => return Err(error.is::<TooSlow>()),
            }
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn silence_and_drips_are_cut_off() {
        assert_eq!(
            read(Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()), PACE, 1)
                .await,
            Err(true)
        );
        // Each pause is far below the patience.
        let drip = drip(1, Duration::from_millis(20));
        assert_eq!(read(drip, PACE, 1000).await, Err(true));
    }

    #[tokio::test]
    async fn a_slow_body_at_the_minimum_rate_may_take_much_longer_than_the_patience() {
        let body = drip(200, Duration::from_millis(20));
        assert_eq!(read(body, PACE, 100).await, Ok(20_000));
        let any = Pace { bytes_per_second: 0, ..PACE };
        assert_eq!(read(drip(1, Duration::from_millis(20)), any, 50).await, Ok(50));
    }

    #[tokio::test]
    async fn time_in_which_nobody_reads_does_not_count() {
        let mut body = Paced {
            body: Body::from("whole"),
            patience: Patience::new(Pace { patience: Duration::from_millis(1), ..PACE }),
            over: false,
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
    }

    #[test]
    fn no_number_of_bytes_overflows() {
        let mut patience = Patience::new(Pace { patience: Duration::MAX, bytes_per_second: 1 });
        patience.moved(usize::MAX);
        patience.moved(usize::MAX);
        assert_eq!(patience.left, Duration::MAX);
    }
}
