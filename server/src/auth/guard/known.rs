//! From where the password of an account was right, and what those sources may still get wrong.
//!
//! Invariant: memory is bounded, and only a right password puts anything in here.

use super::{Attempt, Fingerprint, HOUR};
use crate::domain::Timestamp;
use std::collections::HashMap;
use std::net::IpAddr;

/// The most sources known of an account.
pub(super) const SOURCES: usize = 8;
/// Distinct wrong secrets that each of them has for itself in an hour.
pub(super) const TRIES: usize = 5;
/// The most accounts with known sources.
pub(super) const MOST_ACCOUNTS: usize = 4096;

/// Sources by account.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Fingerprint, Vec<Reserve>>);

/// A source and what it has used up.
#[derive(Debug)]
pub(super) struct Reserve {
    source: IpAddr,
    last_right: Timestamp,
    wrong: Vec<u64>,
    last_wrong: Timestamp,
}

impl Reserve {
    /// Whether this secret was wrong from there.
    pub(super) fn has(&self, secret: u64) -> bool {
        self.wrong.contains(&secret)
    }

    /// Whether one more may be tried.
    pub(super) const fn is_left(&self) -> bool {
        self.wrong.len() < TRIES
    }

    /// What was used up comes back an hour after the last of it.
    fn refill(&mut self, now: Timestamp) {
        if now.since(self.last_wrong) > HOUR {
            self.wrong.clear();
        }
    }
}

impl Known {
    /// What the source of an attempt has, if the account's password was right from there.
    pub(super) fn reserve(&mut self, attempt: &Attempt, now: Timestamp) -> Option<&Reserve> {
        let reserve = self.find(attempt)?;
        reserve.refill(now);
        Some(reserve)
    }

    /// The source got one more wrong.
    pub(super) fn use_up(&mut self, attempt: &Attempt, now: Timestamp) {
        let Some(reserve) = self.find(attempt) else { return };
        if !reserve.has(attempt.secret) {
            reserve.wrong.push(attempt.secret);
        }
        reserve.last_wrong = now;
    }

    /// The password was right from there.
    pub(super) fn remember(&mut self, attempt: &Attempt, now: Timestamp) {
        let Some(source) = attempt.source else { return };
        if let Some(reserve) = self.find(attempt) {
            reserve.last_right = now;
            return;
        }
        self.make_room(attempt.account);
        let sources = self.0.entry(attempt.account).or_default();
        if sources.len() >= SOURCES {
            sources.iter_mut().for_each(|known| known.refill(now));
            // One that has used something up stays, or somebody who comes from many sources would
            // get a new reserve with each of them.
            let unused = (0..sources.len()).filter(|index| sources[*index].wrong.is_empty());
            let Some(oldest) = unused.min_by_key(|index| sources[*index].last_right) else {
                return;
            };
            sources.swap_remove(oldest);
        }
        let last_wrong = Timestamp(0);
        sources.push(Reserve { source, last_right: now, wrong: Vec::new(), last_wrong });
    }

    fn find(&mut self, attempt: &Attempt) -> Option<&mut Reserve> {
        let sources = self.0.get_mut(&attempt.account)?;
        sources.iter_mut().find(|known| Some(known.source) == attempt.source)
    }

    /// The account that has not been used for longest is forgotten.
    fn make_room(&mut self, account: Fingerprint) {
        if self.0.len() < MOST_ACCOUNTS || self.0.contains_key(&account) {
            return;
        }
        let last = |sources: &Vec<Reserve>| sources.iter().map(|known| known.last_right).max();
        let oldest = self.0.iter().min_by_key(|(_, sources)| last(sources)).map(|(key, _)| *key);
        if let Some(oldest) = oldest {
            self.0.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
