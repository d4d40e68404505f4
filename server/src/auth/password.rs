//! Passwords of people: Argon2id, slow on purpose and bounded on purpose.
//!
//! Invariant: at most [`SLOTS`] hashes run at once, so that a crowd of logins costs time and not
//! memory (each takes 19 MiB), and an unknown user costs the same time as a known one. A password
//! that was right stays known for a minute under a key that dies with the process: docker logs in
//! again for every scope it asks for.

use super::AuthError;
use super::guard::Fingerprint;
use super::secret::{NoRandomness, Secret, random};
use crate::domain::Timestamp;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use aws_lc_rs::hmac;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The shortest password in bytes.
pub(super) const SHORTEST: usize = 8;
/// The longest password in bytes. All of them count; nothing is cut off.
pub(super) const LONGEST: usize = 1024;

/// Hashes at once.
const SLOTS: usize = 1;
/// How long a login waits for its turn before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a right password is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// The most right passwords remembered.
const MOST_REMEMBERED: usize = 4096;
/// Memory of one hash in KiB (OWASP's first choice: 19 MiB, two passes, one lane).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes and checks passwords.
pub(super) struct Passwords {
    slots: Arc<Semaphore>,
    patience: Duration,
    key: hmac::Key,
    right: Mutex<HashMap<Fingerprint, Timestamp>>,
    dummy: String,
}

/// A turn to hash.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Passwords {
    /// Prepares a key for this run and a hash that no password has.
    pub(super) fn new() -> Result<Self, NoRandomness> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?);
        let dummy = hash_now(&random::<32>()?)?;
        let slots = Arc::new(Semaphore::new(SLOTS));
        Ok(Self { slots, patience: PATIENCE, key, right: Mutex::default(), dummy })
    }

    /// A hash of texts under this run's key; where one text ends is part of it.
    pub(super) fn fingerprint(&self, texts: &[&[u8]]) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        for text in texts {
            context.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(text);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }

    /// Whether this was found right less than a minute ago.
    pub(super) fn was_right(&self, secret: &Fingerprint, now: Timestamp) -> bool {
        self.lock().get(secret).is_some_and(|until| *until > now)
    }

    /// Remembers what was found right.
    pub(super) fn remember(&self, secret: Fingerprint, now: Timestamp) {
        let mut right = self.lock();
        if right.len() >= MOST_REMEMBERED {
            right.retain(|_, until| *until > now);
        }
        if right.len() < MOST_REMEMBERED {
            right.insert(secret, now.plus(REMEMBERED));
        }
    }

    /// Waits for a turn to hash.
    pub(super) async fn turn(&self) -> Result<Turn, AuthError> {
        match tokio::time::timeout(self.patience, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit }),
            // Nobody closes the semaphore, so the inner error is a wait that found no end, too.
            Ok(Err(_)) | Err(_) => Err(AuthError::TooMany(PATIENCE.as_secs())),
        }
    }

    /// Whether the password has this hash; without a hash, the same work and `false`.
    pub(super) async fn verify(
        &self,
        turn: Turn,
        password: &Secret,
        hash: Option<String>,
    ) -> Result<bool, AuthError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy.clone());
        let password = password.clone();
        let right = off_the_runtime(turn, move || {
            let parsed = PasswordHash::new(&hash).map_err(AuthError::unavailable)?;
            Ok(Argon2::default().verify_password(password.expose().as_bytes(), &parsed).is_ok())
        })
        .await?;
        Ok(right && known)
    }

    /// Hashes a new password.
    pub(super) async fn hash(&self, password: &Secret) -> Result<String, AuthError> {
        let turn = self.turn().await?;
        let password = password.clone();
        off_the_runtime(turn, move || {
            hash_now(password.expose().as_bytes()).map_err(AuthError::unavailable)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Fingerprint, Timestamp>> {
        // Entries are whole at every moment, so a panic elsewhere does not spoil the map.
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Passwords").finish_non_exhaustive()
    }
}

/// Whether a password may be set: long enough, and not so long that hashing it is an attack.
pub(super) fn is_acceptable(password: &Secret) -> bool {
    let bytes = password.expose().len();
    (SHORTEST..=LONGEST).contains(&bytes)
}

/// Hashing takes tens of milliseconds of one core, which no other request may wait for. The turn is
/// kept until the hash is done, even if the request goes away meanwhile.
async fn off_the_runtime<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> Result<T, AuthError> + Send + 'static,
) -> Result<T, AuthError> {
    let task = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    task.await.map_err(AuthError::unavailable)?
}

fn hash_now(password: &[u8]) -> Result<String, NoRandomness> {
    // Why this cannot fail: the numbers are constants within Argon2's limits; a test hashes with them.
    let parameters =
        Params::new(MEMORY_KIB, PASSES, LANES, None).expect("constants within Argon2's limits");
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    let salt = random::<16>()?;
    // Why this cannot fail: the password is far below 4 GiB and the salt has 16 bytes.
    let hash = argon.hash_password_with_salt(password, &salt).expect("lengths within the limits");
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    async fn check(passwords: &Passwords, password: &str, hash: Option<&String>) -> bool {
        let turn = passwords.turn().await.expect("a turn");
        passwords.verify(turn, &secret(password), hash.cloned()).await.expect("a check")
    }

    #[tokio::test]
    async fn every_byte_of_a_password_counts() {
        let passwords = Passwords::new().expect("random bytes");
        let long = "x".repeat(99);
        let hash = passwords.hash(&secret(&format!("{long}y"))).await.expect("a hash");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(check(&passwords, &format!("{long}y"), Some(&hash)).await);
        assert!(!check(&passwords, &format!("{long}z"), Some(&hash)).await);
        assert!(!check(&passwords, &long, Some(&hash)).await);
        assert!(!check(&passwords, "", None).await);
    }

    #[tokio::test]
    async fn a_crowd_waits_for_its_turn_and_is_sent_away_after_a_while() {
        let passwords = Passwords::new().expect("random bytes");
        let passwords = Passwords { patience: Duration::from_millis(1), ..passwords };
        let _first = passwords.turn().await.expect("a turn");
        let second = passwords.turn().await.expect("a turn");
        assert!(matches!(passwords.turn().await, Err(AuthError::TooMany(5))));
        drop(second);
        assert!(passwords.turn().await.is_ok());
    }

    #[test]
    fn what_was_right_is_remembered_for_a_minute() {
        let passwords = Passwords::new().expect("random bytes");
        let right = passwords.fingerprint(&[b"ann", b"1", b"password"]);
        passwords.remember(right, Timestamp(0));
        assert!(passwords.was_right(&right, Timestamp(59_999)));
        assert!(!passwords.was_right(&right, Timestamp(60_000)));
        assert!(
            !passwords
                .was_right(&passwords.fingerprint(&[b"an", b"n1", b"password"]), Timestamp(0))
        );
    }

    #[test]
    fn too_short_and_too_long_are_refused() {
        assert!(!is_acceptable(&secret("1234567")));
        assert!(is_acceptable(&secret("12345678")));
        assert!(is_acceptable(&secret(&"x".repeat(1024))));
        assert!(!is_acceptable(&secret(&"x".repeat(1025))));
    }
}
