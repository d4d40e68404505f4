//! Keeps streams at the same length, so that the shortest ends first and nothing is read in vain.
//!
//! Invariant: no stream is further than [`AHEAD`] before the last of those that are under way; a
//! stream that waits does so in a thread of its own and ends when the pace is closed.
//! Must not know: what is in the streams.

use std::collections::HashMap;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What all streams share.
#[derive(Debug, Default)]
pub(super) struct Pace {
    lanes: Mutex<Lanes>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lanes {
    lengths: HashMap<u64, u64>,
    next: u64,
    closed: bool,
}

/// One stream; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    pace: &'a Pace,
    number: u64,
}

impl Pace {
    /// Begins a stream.
    pub(super) fn enter(&self) -> Lane<'_> {
        let mut lanes = self.lock();
        let number = lanes.next;
        lanes.next += 1;
        lanes.lengths.insert(number, 0);
        Lane { pace: self, number }
    }

    /// Ends all streams.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane<'_> {
    /// Counts `bytes` and waits until the other streams have come as far.
    pub(super) fn advance(&self, bytes: u64) -> io::Result<()> {
        let mut lanes = self.pace.lock();
        let length = lanes.lengths.entry(self.number).or_default();
        *length += bytes;
        let length = *length;
        self.pace.changed.notify_all();
        loop {
            if lanes.closed {
                return Err(io::Error::other("the relay has ended"));
            }
            let least = lanes.lengths.values().min().copied().unwrap_or_default();
            if length <= least + AHEAD {
                return Ok(());
            }
            lanes = self.pace.changed.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.pace.lock().lengths.remove(&self.number);
        self.pace.changed.notify_all();
    }
}

/// Bytes; more than a buffer, so that streams need not take turns.
const AHEAD: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stream_waits_for_the_others_until_they_have_come_as_far_or_ended() {
        let pace = Pace::default();
        let (slow, fast) = (pace.enter(), pace.enter());
        fast.advance(AHEAD).unwrap();
        thread::scope(|scope| {
            let (send, receive) = channel();
            scope.spawn(move || {
                fast.advance(1).unwrap();
                send.send(1).unwrap();
                fast.advance(AHEAD).unwrap();
                send.send(2).unwrap();
            });
            assert!(receive.recv_timeout(Duration::from_millis(50)).is_err());
            slow.advance(1).unwrap();
            assert_eq!(receive.recv(), Ok(1));
            drop(slow);
            assert_eq!(receive.recv(), Ok(2));
        });
    }

    #[test]
    fn a_stream_that_waits_ends_with_the_pace() {
        let pace = Pace::default();
        let (_slow, fast) = (pace.enter(), pace.enter());
        thread::scope(|scope| {
            let waiting = scope.spawn(move || fast.advance(AHEAD + 1));
            pace.close();
            assert!(waiting.join().unwrap().is_err());
        });
    }
}
