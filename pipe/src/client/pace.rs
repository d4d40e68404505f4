//! How large a piece of an upload is: what the line carries in a while, and no more than what lies
//! between here and the registry lets through.
//!
//! Invariant: a piece never grows beyond what was allowed, which only falls; nor does it fall below the
//! least that the registry takes.
//! Must not know: requests.

use std::time::Duration;

/// The size of pieces, for all uploads of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    piece: u64,
    most: u64,
    least: u64,
}

impl Pace {
    /// Pieces of at most `most` bytes.
    pub(super) fn new(most: u64) -> Self {
        Self { piece: most.min(FIRST), most, least: 0 }
    }

    /// Bytes of the next piece.
    pub(super) fn piece(&self) -> u64 {
        self.piece.max(self.least)
    }

    /// The registry takes no smaller ones, except at the end.
    pub(super) fn at_least(&mut self, least: u64) {
        self.least = self.least.max(least);
    }

    /// A piece went through.
    pub(super) fn moved(&mut self, bytes: u64, time: Duration) {
        if time > TOO_LONG {
            self.fit(bytes, time);
        } else if time < SHORT && bytes >= self.piece {
            self.piece = self.piece.saturating_mul(2).min(self.most);
        }
    }

    /// The line is so slow that a piece was given up on the way.
    pub(super) fn crawled(&mut self, bytes: u64, time: Duration) {
        self.fit(bytes, time);
    }

    /// A connection ended under a piece, which may be because it was too large for somebody.
    pub(super) fn broke(&mut self) {
        self.piece = (self.piece / 2).clamp(SMALLEST.min(self.most), self.most);
    }

    /// Something refused a request of so many bytes as too large. False if there is no smaller one
    /// to try.
    pub(super) fn refused(&mut self, bytes: u64) -> bool {
        let half = bytes.min(self.piece()) / 2;
        if half < SMALLEST.max(self.least) {
            return false;
        }
        (self.piece, self.most) = (half, half);
        true
    }

    /// As many bytes as the line carries in the time that a piece should take.
    fn fit(&mut self, bytes: u64, time: Duration) {
        let rate = bytes as f64 / time.as_secs_f64().max(0.001);
        // Casting a float cuts it off at both ends.
        let fitting = (rate * GOOD.as_secs_f64()) as u64;
        self.piece = fitting.clamp(SMALLEST.min(self.most), self.most);
    }
}

/// Bytes of the first piece: what a line of 1 MB/s carries in a while that is still short.
const FIRST: u64 = 16 << 20;
/// Below this the answers take longer than the bytes.
const SMALLEST: u64 = 64 << 10;
const SHORT: Duration = Duration::from_secs(10);
const GOOD: Duration = Duration::from_secs(20);
/// Proxies give up a request after a minute or two, Bitbucket's registry after seven.
const TOO_LONG: Duration = Duration::from_secs(45);

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pieces_grow_on_a_fast_line_up_to_what_is_allowed() {
        let mut pace = Pace::new(64 * MIB);
        assert_eq!(pace.piece(), 16 * MIB);
        pace.moved(16 * MIB, seconds(1));
        assert_eq!(pace.piece(), 32 * MIB);
        // The last piece of a layer says nothing.
        pace.moved(5, seconds(0));
        assert_eq!(pace.piece(), 32 * MIB);
        for _ in 0..9 {
            pace.moved(pace.piece(), seconds(1));
        }
        assert_eq!(pace.piece(), 64 * MIB);
        pace.moved(64 * MIB, seconds(30));
        assert_eq!(pace.piece(), 64 * MIB);
    }

    #[test]
    fn pieces_shrink_on_a_slow_line() {
        let mut pace = Pace::new(64 * MIB);
        pace.moved(16 * MIB, seconds(80));
        assert_eq!(pace.piece(), 4 * MIB);
        pace.crawled(10_000, seconds(20));
        assert_eq!(pace.piece(), SMALLEST);
        pace.crawled(0, seconds(20));
        assert_eq!(pace.piece(), SMALLEST);
        pace.moved(SMALLEST, seconds(1));
        assert_eq!(pace.piece(), 2 * SMALLEST);
        pace.broke();
        pace.broke();
        assert_eq!(pace.piece(), SMALLEST);
    }

    #[test]
    fn what_is_too_large_once_is_not_tried_again() {
        let mut pace = Pace::new(64 * MIB);
        assert!(pace.refused(10 * MIB));
        assert_eq!(pace.piece(), 5 * MIB);
        pace.moved(5 * MIB, seconds(1));
        assert_eq!(pace.piece(), 5 * MIB);
        let mut tries = 0;
        while pace.refused(pace.piece()) {
            tries += 1;
        }
        assert_eq!(tries, 6);
        assert!(pace.piece() >= SMALLEST);
    }

    #[test]
    fn a_registry_that_wants_large_pieces_gets_them() {
        let mut pace = Pace::new(MIB);
        pace.at_least(5 * MIB);
        assert_eq!(pace.piece(), 5 * MIB);
        pace.crawled(1, seconds(20));
        assert_eq!(pace.piece(), 5 * MIB);
        assert!(!pace.refused(5 * MIB));
    }
}
