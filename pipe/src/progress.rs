//! A line now and then while something long is going on; on a terminal a bar instead.
//!
//! Invariant: at most one line in ten seconds, none if nothing moved. The bar is an event of its own
//! kind (`bar`), which the log draws where there is a terminal and drops elsewhere.
//! Must not know: what is counted, and whether there is a terminal.

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
        let started = Instant::now();
        let mut ticks = interval_at(started + EVERY, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut frames = interval_at(started + FRAME, FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown = self.moved();
        // Drawn last thing, also if this is dropped on the way.
        let _end = Erased(doing);
        loop {
            tokio::select! {
                biased;
                result = &mut work => return result,
                _ = frames.tick() => {
                    let bar = bar(self.moved(), total, started.elapsed());
                    tracing::info!(target: BAR, doing, bar);
                }
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

/// Takes a bar away when it goes.
struct Erased<'a>(&'a str);

impl Drop for Erased<'_> {
    fn drop(&mut self) {
        tracing::info!(target: BAR, doing = self.0, bar = "");
    }
}

/// `[=======>            ] 38 % 12.5 MB of 32.9 MB, 4.1 MB/s`.
fn bar(moved: u64, total: Option<u64>, time: Duration) -> String {
    let rate = (moved as f64 / time.as_secs_f64().max(0.001)) as u64;
    let rate = format!("{}/s", megabytes(rate));
    let moved_text = megabytes(moved);
    let Some(total) = total.filter(|total| *total > 0) else {
        return format!("{moved_text}, {rate}");
    };
    // What is read is a little more than the layers, and a claim of the daemon may be wrong.
    let share = (moved as f64 / total as f64).min(1.0);
    let full = (share * WIDTH as f64) as usize;
    let head = if full < WIDTH { ">" } else { "" };
    let line = format!("{}{head}", "=".repeat(full));
    let percent = (share * 100.0) as u64;
    format!("[{line:<WIDTH$}] {percent} % {moved_text} of {}, {rate}", megabytes(total))
}

/// The kind of event that is a bar: its fields are `doing`, and `bar`, which is empty at the end.
pub(crate) const BAR: &str = concat!(env!("CARGO_CRATE_NAME"), "::bar");
const WIDTH: usize = 20;
const FRAME: Duration = Duration::from_millis(250);
const EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_and_never_overflows() {
        let half = bar(50_000_000, Some(100_000_000), Duration::from_secs(10));
        assert_eq!(half, "[==========>         ] 50 % 50.0 MB of 100.0 MB, 5.0 MB/s");
        let over = bar(120, Some(100), Duration::from_secs(1));
        assert_eq!(over, "[====================] 100 % 120 B of 100 B, 120 B/s");
        assert_eq!(bar(1000, None, Duration::from_secs(1)), "1.0 kB, 1.0 kB/s");
        assert!(bar(0, Some(0), Duration::ZERO).starts_with("0 B"));
    }

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
