//! Limits on guessing passwords.
//!
//! What counts is *distinct wrong* secrets, not requests: a build with one stale password, which
//! docker sends twice per login, must not lock an account. A secret that was wrong a moment ago is
//! not even checked again. From the tenth distinct wrong secret on, an account answers only after a
//! delay that doubles up to five minutes; at sixty it is closed for an hour. A source gets thirty
//! distinct wrong secrets a minute over all accounts. Accounts that do not exist are counted like
//! those that do.
//!
//! Whoever attacks an account must not be able to lock its owner out. So an account remembers the
//! last eight sources from which its password was right; each of them has five distinct wrong secrets
//! of its own, which nobody else can use up, for when the account or the source is closed.
//!
//! Invariants: in no hour are more than a hundred distinct wrong secrets of an account checked
//! (NIST SP 800-63B §5.2.2), whatever succeeds in between; memory is bounded. The state is in memory
//! only; a restart forgets it.

mod known;

use crate::domain::{Timestamp, network};
use known::Known;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Distinct wrong secrets before an account answers later and later.
const FREE_TRIES: usize = 10;
/// Distinct wrong secrets at which an account is closed for an hour.
const TRIES_OF_AN_ACCOUNT: usize = 60;
/// Distinct wrong secrets of one source in a minute.
const TRIES_OF_A_SOURCE: usize = 30;
/// The longest delay between tries.
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// How long a closed account stays closed, and how long failures are remembered.
const HOUR: Duration = Duration::from_secs(3600);
/// The window in which a source's failures are counted.
const MINUTE: Duration = Duration::from_secs(60);
/// The most accounts and sources that are watched at once.
const MOST_WATCHED: usize = 4096;

/// A keyed hash; the guard never sees what it is a hash of.
pub(super) type Fingerprint = [u8; 32];

/// Who is being watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Watched {
    Account(Fingerprint),
    Source(IpAddr),
}

/// What one of them did.
#[derive(Debug)]
struct Failures {
    /// The beginnings of the fingerprints of distinct wrong secrets.
    wrong: Vec<u64>,
    first: Timestamp,
    last: Timestamp,
    closed_until: Timestamp,
}

/// An attempt to log in with a password.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    account: Fingerprint,
    secret: u64,
    source: Option<IpAddr>,
}

/// An attempt that may be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// Whether the account's password was right from there before: then it does not wait behind
    /// strangers.
    pub(super) known: bool,
    /// Whether it uses up what its source has for itself.
    reserve: bool,
}

/// Why an attempt may not be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The same secret was wrong a moment ago.
    Wrong,
    /// It may be checked in so many seconds.
    Wait(u64),
}

/// Remembers failures and says when to stop.
#[derive(Debug, Default)]
pub(super) struct Guard(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    watched: HashMap<Watched, Failures>,
    known: Known,
}

impl Guard {
    /// Whether the attempt may be checked now.
    pub(super) fn admit(&self, attempt: &Attempt, now: Timestamp) -> Result<Admitted, Refused> {
        let mut state = self.lock();
        let State { watched, known } = &mut *state;
        let of_account = watched.get(&Watched::Account(attempt.account));
        if of_account.is_some_and(|failures| failures.has(attempt.secret, now)) {
            return Err(Refused::Wrong);
        }
        let of_source = attempt.source.and_then(|from| watched.get(&Watched::Source(from)));
        let closed = of_account.into_iter().chain(of_source);
        let wait = closed.map(|failures| failures.closed_until.since(now)).max();
        let wait = wait.unwrap_or_default();
        let reserve = known.reserve(attempt, now);
        match reserve {
            _ if wait.is_zero() => Ok(Admitted { known: reserve.is_some(), reserve: false }),
            Some(reserve) if reserve.has(attempt.secret) => Err(Refused::Wrong),
            Some(reserve) if reserve.is_left() => Ok(Admitted { known: true, reserve: true }),
            _ => Err(Refused::Wait(wait.as_secs() + 1)),
        }
    }

    /// The secret was wrong.
    pub(super) fn failed(&self, attempt: &Attempt, admitted: Admitted, now: Timestamp) {
        let mut state = self.lock();
        if admitted.reserve {
            state.known.use_up(attempt, now);
            return;
        }
        for key in attempt.watched() {
            if !state.watched.contains_key(&key) {
                make_room(&mut state.watched, now);
            }
            let failures = state.watched.entry(key).or_insert_with(|| Failures::new(now));
            match key {
                Watched::Account(_) => failures.count_for_account(attempt.secret, now),
                Watched::Source(_) => failures.count_for_source(attempt.secret, now),
            }
        }
    }

    /// The secret was right: its source is known from here on. No failure is forgotten, or whoever
    /// guesses would only have to wait for the owner's next login.
    pub(super) fn succeeded(&self, attempt: &Attempt, now: Timestamp) {
        self.lock().known.remember(attempt, now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every entry is whole at every moment, so a panic elsewhere does not spoil the maps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// An attempt on an account, by the hash of its name, with the hash of the name and the secret.
    pub(super) fn new(account: Fingerprint, secret: Fingerprint, source: Option<IpAddr>) -> Self {
        let secret = secret.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        Self { account, secret, source: source.map(network::source) }
    }

    fn watched(&self) -> impl Iterator<Item = Watched> + use<> {
        std::iter::once(Watched::Account(self.account)).chain(self.source.map(Watched::Source))
    }
}

impl Failures {
    const fn new(now: Timestamp) -> Self {
        Self { wrong: Vec::new(), first: now, last: now, closed_until: Timestamp(0) }
    }

    fn start_again(&mut self, now: Timestamp) {
        *self = Self::new(now);
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        now.since(self.last) > HOUR && self.closed_until <= now
    }

    fn has(&self, secret: u64, now: Timestamp) -> bool {
        !self.is_stale(now) && self.wrong.contains(&secret)
    }

    /// Returns whether the secret is one more.
    fn add(&mut self, secret: u64, now: Timestamp) -> bool {
        self.last = now;
        let new = !self.wrong.contains(&secret);
        if new {
            self.wrong.push(secret);
        }
        new
    }

    fn count_for_account(&mut self, secret: u64, now: Timestamp) {
        if self.is_stale(now) || self.wrong.len() >= TRIES_OF_AN_ACCOUNT {
            self.start_again(now);
        }
        if !self.add(secret, now) || self.wrong.len() < FREE_TRIES {
            return;
        }
        let delay = if self.wrong.len() >= TRIES_OF_AN_ACCOUNT {
            HOUR
        } else {
            let doublings = u32::try_from(self.wrong.len() - FREE_TRIES).unwrap_or(u32::MAX);
            let seconds = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
            Duration::from_secs(seconds).min(LONGEST_DELAY)
        };
        self.closed_until = now.plus(delay);
    }

    fn count_for_source(&mut self, secret: u64, now: Timestamp) {
        if now.since(self.first) >= MINUTE {
            self.start_again(now);
        }
        if self.add(secret, now) && self.wrong.len() >= TRIES_OF_A_SOURCE {
            self.closed_until = self.first.plus(MINUTE);
        }
    }
}

/// Keeps the map bounded: what is stale goes, else the one with the fewest failures, so that a flood
/// of invented names does not push out an account that is under attack.
fn make_room(watched: &mut HashMap<Watched, Failures>, now: Timestamp) {
    if watched.len() < MOST_WATCHED {
        return;
    }
    watched.retain(|_, failures| !failures.is_stale(now));
    while watched.len() >= MOST_WATCHED {
        let least =
            watched.iter().min_by_key(|(_, failures)| (failures.wrong.len(), failures.last));
        let Some(key) = least.map(|(key, _)| *key) else { return };
        watched.remove(&key);
    }
}

#[cfg(test)]
mod tests;
