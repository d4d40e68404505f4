//! Limits on guessing passwords.
//!
//! What counts is *distinct wrong* secrets, not requests: a build with one stale password, which
//! docker sends twice per login, must not lock an account. From the tenth distinct wrong secret on,
//! an account answers only after a delay that doubles up to five minutes; at a hundred it is closed
//! for an hour (NIST SP 800-63B §5.2.2). A source address gets thirty distinct wrong secrets a
//! minute over all accounts. Accounts that do not exist are counted like those that do.
//!
//! Invariant: memory is bounded. The state is in memory only; a restart forgets it.

use crate::domain::Timestamp;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Distinct wrong secrets before an account answers later and later.
const FREE_TRIES: usize = 10;
/// Distinct wrong secrets at which an account is closed for an hour.
const MOST_TRIES: usize = 100;
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
    /// The account's name, hashed.
    pub(super) account: Fingerprint,
    /// The account's name and the secret, hashed.
    pub(super) secret: Fingerprint,
    /// Where it comes from, if that is known.
    pub(super) source: Option<IpAddr>,
}

/// Remembers failures and says when to stop.
#[derive(Debug, Default)]
pub(super) struct Guard(Mutex<HashMap<Watched, Failures>>);

impl Guard {
    /// Whether the attempt may be checked now; otherwise in how many seconds.
    pub(super) fn admit(&self, attempt: &Attempt, now: Timestamp) -> Result<(), u64> {
        let watched = self.lock();
        let wait = attempt
            .watched()
            .filter_map(|key| watched.get(&key))
            .map(|failures| failures.closed_until.since(now))
            .max()
            .unwrap_or_default();
        if wait.is_zero() { Ok(()) } else { Err(wait.as_secs() + 1) }
    }

    /// The secret was wrong.
    pub(super) fn failed(&self, attempt: &Attempt, now: Timestamp) {
        let secret =
            attempt.secret.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let mut watched = self.lock();
        for key in attempt.watched() {
            if !watched.contains_key(&key) {
                make_room(&mut watched, now);
            }
            let failures = watched.entry(key).or_insert_with(|| Failures::new(now));
            match key {
                Watched::Account(_) => failures.count_for_account(secret, now),
                Watched::Source(_) => failures.count_for_source(secret, now),
            }
        }
    }

    /// The secret was right: the account's failures are forgotten, the source's are not, or an
    /// account of the attacker's own would wash them away.
    pub(super) fn succeeded(&self, attempt: &Attempt) {
        self.lock().remove(&Watched::Account(attempt.account));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Watched, Failures>> {
        // Every entry is whole at every moment, so a panic elsewhere does not spoil the map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// The account and, if it says anything, the source. Loopback is a proxy or the operator, and
    /// an IPv6 network of 64 bits is one customer.
    fn watched(&self) -> impl Iterator<Item = Watched> + use<> {
        let source = self.source.map(|address| address.to_canonical());
        let source = source.filter(|address| !address.is_loopback()).map(|address| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(whole) => IpAddr::V6((u128::from(whole) >> 64 << 64).into()),
        });
        std::iter::once(Watched::Account(self.account)).chain(source.map(Watched::Source))
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
        if self.is_stale(now) || self.wrong.len() >= MOST_TRIES {
            self.start_again(now);
        }
        if !self.add(secret, now) || self.wrong.len() < FREE_TRIES {
            return;
        }
        let delay = if self.wrong.len() >= MOST_TRIES {
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
mod tests {
    use super::*;

    fn attempt(account: u8, secret: u32) -> Attempt {
        let mut fingerprint = [0; 32];
        fingerprint[..4].copy_from_slice(&secret.to_be_bytes());
        Attempt { account: [account; 32], secret: fingerprint, source: None }
    }

    fn second(seconds: u64) -> Timestamp {
        Timestamp(1_000_000).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn one_stale_password_never_closes_an_account() {
        let guard = Guard::default();
        for _ in 0..1000 {
            assert_eq!(guard.admit(&attempt(1, 7), second(0)), Ok(()));
            guard.failed(&attempt(1, 7), second(0));
        }
        assert_eq!(guard.admit(&attempt(1, 8), second(0)), Ok(()));
    }

    #[test]
    fn of_ten_thousand_guesses_at_most_a_hundred_are_checked_in_an_hour() {
        let guard = Guard::default();
        let mut checked = 0;
        for guess in 0..10_000 {
            let now = second(u64::from(guess) * 3500 / 10_000);
            if guard.admit(&attempt(1, guess), now).is_ok() {
                checked += 1;
                guard.failed(&attempt(1, guess), now);
            }
        }
        assert!((FREE_TRIES..=MOST_TRIES).contains(&checked), "{checked}");
        assert_eq!(guard.admit(&attempt(2, 0), second(0)), Ok(()), "another account is free");
    }

    #[test]
    fn a_hundred_wrong_secrets_close_an_account_for_an_hour() {
        let guard = Guard::default();
        let mut now = second(0);
        for guess in 0..100 {
            let wait = guard.admit(&attempt(1, guess), now).err().unwrap_or(0);
            now = now.plus(Duration::from_secs(wait));
            assert_eq!(guard.admit(&attempt(1, guess), now), Ok(()));
            guard.failed(&attempt(1, guess), now);
        }
        assert_eq!(guard.admit(&attempt(1, 500), now), Err(3601));
        assert_eq!(guard.admit(&attempt(1, 500), now.plus(HOUR)), Ok(()));
    }

    #[test]
    fn a_success_forgets_the_accounts_failures() {
        let guard = Guard::default();
        for guess in 0..10 {
            guard.failed(&attempt(1, guess), second(0));
        }
        assert_eq!(guard.admit(&attempt(1, 0), second(0)), Err(2));
        guard.succeeded(&attempt(1, 11));
        assert_eq!(guard.admit(&attempt(1, 0), second(0)), Ok(()));
    }

    #[test]
    fn a_source_gets_thirty_wrong_secrets_a_minute_over_all_accounts() {
        let guard = Guard::default();
        let from = |address: &str, account: u8| Attempt {
            source: Some(address.parse().expect("an address")),
            ..attempt(account, u32::from(account))
        };
        for account in 0..30 {
            guard.failed(&from("2001:db8::1", account), second(10));
        }
        assert_eq!(guard.admit(&from("2001:db8::2", 99), second(10)), Err(61), "same network");
        assert_eq!(guard.admit(&from("2001:db8:1::1", 99), second(10)), Ok(()));
        assert_eq!(guard.admit(&from("2001:db8::2", 99), second(70)), Ok(()));
        for account in 0..40 {
            guard.failed(&from("::ffff:127.0.0.1", account), second(10));
        }
        assert_eq!(
            guard.admit(&from("127.0.0.1", 99), second(10)),
            Ok(()),
            "loopback is no source"
        );
    }

    #[test]
    fn memory_is_bounded_and_the_attacked_account_stays_closed() {
        let guard = Guard::default();
        for guess in 0..20 {
            guard.failed(&attempt(255, guess), second(0));
        }
        for name in 0..10_000_u32 {
            let mut flood = attempt(0, 1);
            flood.account[..4].copy_from_slice(&name.to_be_bytes());
            guard.failed(&flood, second(1));
        }
        assert!(guard.lock().len() <= MOST_WATCHED);
        assert!(guard.admit(&attempt(255, 99), second(1)).is_err());
    }
}
