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
use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};

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
/// After how long without a hash its memory is given back.
const REST: Duration = Duration::from_secs(5);
/// Blocks of a KiB that are asked for, more than are used: what is larger than 32 MiB, glibc gives back to
/// the system when it is freed (`mallopt(3)`, `M_MMAP_THRESHOLD`), and the rest costs no memory.
const ROOM: usize = 33 << 10;
const LANES: u32 = 1;

/// Hashes and checks passwords.
pub(super) struct Passwords {
    slots: Arc<Semaphore>,
    /// As many strangers as there are slots wait for one; the others wait for that.
    strangers: Arc<Semaphore>,
    patience: Duration,
    key: hmac::Key,
    right: Mutex<HashMap<Fingerprint, Timestamp>>,
    dummy: String,
    hasher: Sender<Job>,
}

/// A turn to hash.
#[derive(Debug)]
pub(super) struct Turn {
    _slot: OwnedSemaphorePermit,
    _strangers: Option<OwnedSemaphorePermit>,
}

impl Passwords {
    /// Prepares a key for this run and a hash that no password has.
    pub(super) fn new() -> Result<Self, NoRandomness> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?);
        let slots = Arc::new(Semaphore::new(SLOTS));
        let strangers = Arc::new(Semaphore::new(SLOTS));
        let hasher = start_hasher();
        let nobodys = random::<32>()?;
        let (reply, answer) = channel();
        drop(hasher.send(Box::new(move |memory| drop(reply.send(hash_now(memory, &nobodys))))));
        // No answer means no thread: then no password is right, and the log says why.
        let dummy = answer.recv().unwrap_or_else(|_| Ok(String::new()))?;
        Ok(Self {
            slots,
            strangers,
            patience: PATIENCE,
            key,
            right: Mutex::default(),
            dummy,
            hasher,
        })
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

    /// Waits for a turn to hash. Whoever asks here waits for one stranger at most, so that a crowd of
    /// guesses does not keep out those who are known.
    pub(super) async fn turn(&self) -> Result<Turn, AuthError> {
        self.in_time(async {
            let slot = Arc::clone(&self.slots).acquire_owned().await?;
            Ok(Turn { _slot: slot, _strangers: None })
        })
        .await
    }

    /// The same for whoever may be anybody.
    pub(super) async fn turn_of_stranger(&self) -> Result<Turn, AuthError> {
        self.in_time(async {
            let strangers = Arc::clone(&self.strangers).acquire_owned().await?;
            let slot = Arc::clone(&self.slots).acquire_owned().await?;
            Ok(Turn { _slot: slot, _strangers: Some(strangers) })
        })
        .await
    }

    async fn in_time(
        &self,
        turn: impl Future<Output = Result<Turn, AcquireError>>,
    ) -> Result<Turn, AuthError> {
        match tokio::time::timeout(self.patience, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            // Nobody closes the semaphores, so the inner error is a wait that found no end, too.
            Ok(Err(_)) | Err(_) => Err(AuthError::TooMany(PATIENCE.as_secs())),
        }
    }

    /// Whether the password has this hash; without a hash, the same work and `false`. The turn comes
    /// back, for what has to be done before the next one.
    pub(super) async fn verify(
        &self,
        turn: Turn,
        password: &Secret,
        hash: Option<String>,
    ) -> Result<(bool, Turn), AuthError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy.clone());
        let password = password.clone();
        let (right, turn) = self
            .off_the_runtime(turn, move |memory| {
                matches(memory, password.expose().as_bytes(), &hash).map_err(AuthError::unavailable)
            })
            .await?;
        Ok((right && known, turn))
    }

    /// Hashes a new password.
    pub(super) async fn hash(&self, password: &Secret) -> Result<String, AuthError> {
        // Setting one takes a login, so nobody who guesses is in this queue.
        let turn = self.turn().await?;
        let password = password.clone();
        let work = move |memory: &mut Memory| {
            hash_now(memory, password.expose().as_bytes()).map_err(AuthError::unavailable)
        };
        Ok(self.off_the_runtime(turn, work).await?.0)
    }

    /// Hashing takes tens of milliseconds of one core, which no other request may wait for. The turn
    /// is kept until the hash is done, even if the request goes away meanwhile.
    async fn off_the_runtime<T: Send + 'static>(
        &self,
        turn: Turn,
        work: impl FnOnce(&mut Memory) -> Result<T, AuthError> + Send + 'static,
    ) -> Result<(T, Turn), AuthError> {
        let (reply, answer) = oneshot::channel();
        let job = move |memory: &mut Memory| {
            let done = work(memory);
            // The request may have gone away.
            drop(reply.send(done.map(|done| (done, turn))));
        };
        // If the thread is gone, so is the job with its reply.
        drop(self.hasher.send(Box::new(job)));
        answer.await.map_err(AuthError::unavailable)?
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

/// What the hashing thread is asked to do, with its memory.
type Job = Box<dyn FnOnce(&mut Memory) + Send>;
/// The working memory of one hash, 19 MiB, used again for the next of a crowd.
type Memory = Vec<Block>;

/// The thread that hashes, until its sender is dropped. It has a thread and memory of its own because
/// allocators keep what a thread has freed: hashed on tokio's blocking threads, each of them would in
/// time hold the 19 MiB of one hash.
fn start_hasher() -> Sender<Job> {
    let (sender, jobs) = channel::<Job>();
    let started = std::thread::Builder::new().name("passwords".into()).spawn(move || {
        // Nobody has memory for passwords while there are none.
        while let Ok(first) = jobs.recv() {
            let mut memory = Memory::with_capacity(ROOM);
            hash_for(&mut memory, first);
            while let Ok(next) = jobs.recv_timeout(REST) {
                hash_for(&mut memory, next);
            }
        }
    });
    if let Err(error) = started {
        tracing::error!(error = %error, "the thread for passwords did not start; logins with a password will fail");
    }
    sender
}

fn hash_for(memory: &mut Memory, job: Job) {
    // A job that panics drops its answer, which its caller notices.
    let _: Result<(), _> = catch_unwind(AssertUnwindSafe(|| job(memory)));
}

fn hash_now(memory: &mut Memory, password: &[u8]) -> Result<String, NoRandomness> {
    // Why this cannot fail: the numbers are constants within Argon2's limits; a test hashes with them.
    let parameters =
        Params::new(MEMORY_KIB, PASSES, LANES, None).expect("constants within Argon2's limits");
    let salt = random::<16>()?;
    let mut hash = [0; Params::DEFAULT_OUTPUT_LEN];
    memory.resize(parameters.block_count(), Block::default());
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    // Why this cannot fail: the password is far below 4 GiB and the salt has 16 bytes.
    argon
        .hash_password_into_with_memory(password, &salt, &mut hash, memory)
        .expect("lengths within the limits");
    let [salt, hash] = [&salt[..], &hash].map(|bytes| STANDARD_NO_PAD.encode(bytes));
    Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}"))
}

/// Whether a password has this hash, with the numbers that stand in the hash.
fn matches(memory: &mut Memory, password: &[u8], hash: &str) -> Result<bool, UnusableHash> {
    let parsed = PasswordHash::new(hash).map_err(|_| UnusableHash)?;
    let parameters = Params::try_from(&parsed).map_err(|_| UnusableHash)?;
    let (Some(salt), Some(expected)) = (&parsed.salt, &parsed.hash) else {
        return Err(UnusableHash);
    };
    if parsed.algorithm.as_str() != "argon2id" || parsed.version != Some(19) {
        return Err(UnusableHash);
    }
    let mut found = vec![0; expected.as_bytes().len()];
    memory.resize(parameters.block_count(), Block::default());
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    argon
        .hash_password_into_with_memory(password, salt, &mut found, memory)
        .map_err(|_| UnusableHash)?;
    Ok(found.ct_eq(expected.as_bytes()).into())
}

/// A stored hash that this server cannot check.
#[derive(Debug, thiserror::Error)]
#[error("a stored password hash is not Argon2id in PHC form")]
struct UnusableHash;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    async fn check(passwords: &Passwords, password: &str, hash: Option<&String>) -> bool {
        let turn = passwords.turn().await.expect("a turn");
        passwords.verify(turn, &secret(password), hash.cloned()).await.expect("a check").0
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
        let first = passwords.turn().await.expect("a turn");
        assert!(matches!(passwords.turn().await, Err(AuthError::TooMany(5))));
        drop(first);
        assert!(passwords.turn().await.is_ok());
    }

    #[tokio::test]
    async fn a_crowd_of_strangers_is_one_in_the_queue_of_those_who_are_known() {
        let passwords = Arc::new(Passwords::new().expect("random bytes"));
        let order = Arc::new(Mutex::new(Vec::new()));
        let busy = passwords.turn().await.expect("a turn");
        let in_line = |known: bool| {
            let (passwords, order) = (Arc::clone(&passwords), Arc::clone(&order));
            tokio::spawn(async move {
                let turn =
                    if known { passwords.turn().await } else { passwords.turn_of_stranger().await };
                let _turn = turn.expect("a turn");
                order.lock().expect("no panic").push(known);
            })
        };
        let mut all: Vec<_> = (0..50).map(|_| in_line(false)).collect();
        tokio::task::yield_now().await;
        all.push(in_line(true));
        tokio::task::yield_now().await;
        drop(busy);
        for one in all {
            one.await.expect("everybody gets a turn");
        }
        let order = order.lock().expect("no panic");
        let rank = order.iter().position(|known| *known).expect("the one who is known");
        assert!(rank <= 1, "{rank} strangers came first");
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
