//! When to try again: exponential back-off with jitter, and what `Retry-After` asks for.
//!
//! Invariant: a failure that another attempt cannot mend is returned at once; the number of
//! attempts in a row is bounded.
//! Must not know: what is attempted.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::error::ClientError;

/// Counts the failures of one piece of work.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    doing: &'a str,
    most: u32,
    failures: u32,
    renewed: bool,
    /// Counts the attempts that were made again, over all work of a push.
    again: Arc<AtomicU64>,
}

impl<'a> Attempts<'a> {
    /// `doing` names the work in the log; `most` is the number of further attempts.
    pub(super) fn new(doing: &'a str, most: u32) -> Self {
        Self { doing, most, failures: 0, renewed: false, again: Arc::default() }
    }

    /// The same, counting into `again`.
    pub(super) fn counted(self, again: &Arc<AtomicU64>) -> Self {
        Self { again: Arc::clone(again), ..self }
    }

    /// True once: a token that is refused is renewed, and a second refusal is final.
    pub(super) fn may_renew(&mut self, error: &ClientError) -> bool {
        error.is_unauthorized() && !std::mem::replace(&mut self.renewed, true)
    }

    /// Something was achieved: count from the beginning.
    pub(super) fn advanced(&mut self) {
        self.failures = 0;
        self.renewed = false;
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The failure itself, if there is no next attempt.
    pub(super) async fn failed(&mut self, error: ClientError) -> Result<(), ClientError> {
        let asked = match &error {
            ClientError::Refused(refusal) => refusal.retry_after,
            _ => None,
        };
        if !error.is_transient() || self.failures >= self.most || asked > Some(LONGEST_ASKED) {
            return Err(error);
        }
        let delay = delay(self.failures, asked, jitter());
        self.failures += 1;
        self.again.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            "{}: {error}; attempt {} of {} in {:.1} s",
            self.doing,
            self.failures + 1,
            self.most + 1,
            delay.as_secs_f64()
        );
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// A value of `Retry-After`: seconds or a date (RFC 9110, 10.2.3).
pub(super) fn parse_retry_after(value: &str) -> Option<Duration> {
    match value.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(value.trim()).ok()?;
            Some(date.duration_since(now()).unwrap_or_default())
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a date in a header is compared with the clock here only"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// `failures` so far; `jitter` from 0 to 1 spreads clients that failed together. What the
/// registry asks for is a lower bound.
fn delay(failures: u32, asked: Option<Duration>, jitter: f64) -> Duration {
    let full = FIRST.saturating_mul(1 << failures.min(10)).min(LONGEST);
    full.mul_f64(0.5 + jitter / 2.0).max(asked.unwrap_or_default())
}

/// 0 to 1. The keys of the standard hasher are random, which is enough to spread clients.
fn jitter() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from((random >> 48) as u16) / f64::from(u16::MAX)
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// A registry that asks for more is closed for this build.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::error::{Action, Refusal};

    fn refused(status: u16, retry_after: Option<Duration>) -> ClientError {
        let reasons = Vec::new();
        ClientError::Refused(Refusal { action: Action::Ping, status, reasons, retry_after })
    }

    #[test]
    fn delays_double_and_never_undercut_what_was_asked() {
        let seconds = |failures, asked, jitter| {
            delay(failures, Option::map(asked, Duration::from_secs), jitter).as_secs_f64()
        };
        assert_eq!([0, 1, 2, 3].map(|n| seconds(n, None, 1.0)), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(seconds(0, None, 0.0), 0.5);
        assert_eq!(seconds(u32::MAX, None, 1.0), 30.0);
        assert_eq!(seconds(0, Some(7), 0.0), 7.0);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parse_retry_after("120"), Some(Duration::from_secs(120)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon"), None);
        let later = httpdate::fmt_http_date(now() + Duration::from_secs(100));
        let wait = parse_retry_after(&later).unwrap();
        assert!((98..=100).contains(&wait.as_secs()), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_bounded_and_progress_starts_them_anew() {
        let mut attempts = Attempts::new("x", 2);
        assert!(attempts.failed(refused(503, None)).await.is_ok());
        assert!(attempts.failed(refused(503, None)).await.is_ok());
        assert!(attempts.failed(refused(503, None)).await.is_err());
        attempts.advanced();
        assert!(attempts.failed(refused(503, None)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_mended_is_not_tried_again() {
        assert!(Attempts::new("x", 9).failed(refused(403, None)).await.is_err());
        let days = Some(Duration::from_secs(86_400));
        assert!(Attempts::new("x", 9).failed(refused(429, days)).await.is_err());
    }

    #[test]
    fn a_token_is_renewed_once() {
        let mut attempts = Attempts::new("x", 0);
        assert!(attempts.may_renew(&refused(401, None)));
        assert!(!attempts.may_renew(&refused(401, None)));
        assert!(!Attempts::new("x", 0).may_renew(&refused(403, None)));
    }
}
