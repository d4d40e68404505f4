//! The only place where time is read.
//!
//! Invariant: a [`Clock`] never runs backwards and never jumps: it counts from a starting moment
//! with the monotonic clock. The starting moment is the wall clock at boot, or the last moment the
//! database has seen if that is later, so a wall clock set back cannot make leases look expired
//! twice, and one set forward between two runs cannot expire everything at once (DESIGN §5).

use crate::domain::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The server's clock. Cheap to clone; clones share their start.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    /// Boot time plus monotonic time; the floor is raised to what the database has seen.
    System { boot: Timestamp, started: Instant, floor: AtomicU64 },
    /// Moved by hand, for tests and models.
    Manual(AtomicU64),
}

impl Clock {
    /// The system's clock, starting now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    pub fn system() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let boot = Timestamp(0).plus(wall);
        Self(Arc::new(Source::System { boot, started: Instant::now(), floor: AtomicU64::new(0) }))
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Arc::new(Source::Manual(AtomicU64::new(start.0))))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System { boot, started, floor } => {
                let elapsed = started.elapsed();
                // The floor shifts the origin, so time keeps moving at its own speed above it.
                let origin = boot.0.max(floor.load(Ordering::Relaxed));
                Timestamp(origin).plus(elapsed)
            }
            Source::Manual(now) => Timestamp(now.load(Ordering::Relaxed)),
        }
    }

    /// Declares that `seen` has already happened: from here on the clock is past it.
    pub fn raise_floor(&self, seen: Timestamp) {
        match &*self.0 {
            Source::System { floor, .. } => floor.fetch_max(seen.0, Ordering::Relaxed),
            Source::Manual(now) => now.fetch_max(seen.0, Ordering::Relaxed),
        };
    }

    /// Moves a manual clock forward; a system clock cannot be moved and ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &*self.0 {
            now.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

/// A stopwatch for rates and durations in logs, kept here because it reads the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts counting.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_has_seen_is_never_in_the_future() {
        let clock = Clock::system();
        let seen = clock.now().plus(Duration::from_secs(3600));
        clock.raise_floor(seen);
        assert!(clock.now() >= seen);
        clock.raise_floor(Timestamp(0));
        assert!(clock.now() >= seen);
    }
}
