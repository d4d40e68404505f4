//! A line now and then while something long is going on.
//!
//! Invariant: at most one line in ten seconds, none if nothing moved, never a carriage return.
//! Must not know: what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::output::megabytes;

/// Counts bytes; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// `bytes` more have moved.
    pub(crate) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// `bytes` did not arrive and will move again.
    pub(crate) fn take_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that have moved so far.
    pub(crate) fn moved(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Runs `work` and logs `<doing> X of Y` while it takes long; without a total, `<doing> X`.
    pub(crate) async fn watch<T>(
        &self,
        doing: &str,
        total: Option<u64>,
        work: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(work);
        let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown = self.moved();
        loop {
            tokio::select! {
                biased;
                result = &mut work => return result,
                _ = ticks.tick() => {
                    let moved = self.moved();
                    if moved != shown {
                        let of = total.map(|total| format!(" of {}", megabytes(total)));
                        let of = of.unwrap_or_default();
                        tracing::info!("{doing} {}{of}", megabytes(moved));
                        shown = moved;
                    }
                }
            }
        }
    }
}

const EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn short_work_is_not_announced_and_its_result_passed_on() {
        let progress = Progress::default();
        let counting = progress.clone();
        let result = progress
            .watch("sent", Some(5), async move {
                counting.add(5);
                7
            })
            .await;
        assert_eq!((result, progress.moved()), (7, 5));
    }
}
