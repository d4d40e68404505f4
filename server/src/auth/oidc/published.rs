//! The keys that an issuer publishes, kept for a while.
//!
//! They are good for as long as the issuer says, within limits, and are then fetched again; while the
//! issuer cannot be asked, the last ones go on being used for a day. A key that is not known makes
//! them be fetched at once, since issuers change their keys, but seldom enough that nobody can make
//! us ask all the time. One asks and the others wait for that.
//!
//! Invariant: memory is bounded by what [`super::fetch`] lets through, and nothing is remembered about
//! a token. A client that goes away does not end what others wait for.

use super::fetch::{FetchError, Fetched, Source};
use super::keys::KeySet;
use super::{OidcAlgorithm, OidcRefusal};
use crate::clock::Clock;
use crate::domain::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long keys are good unless the issuer says.
const USUAL_AGE: Duration = Duration::from_secs(3600);
/// At least so long, whatever it says.
const SHORTEST_AGE: Duration = Duration::from_secs(300);
/// Not longer than this, whatever it says, and whether it can be asked or not.
const LONGEST_AGE: Duration = Duration::from_secs(24 * 3600);
/// From one asking to the next while there are keys.
const BETWEEN: Duration = Duration::from_secs(30);
/// From one asking to the next while there are none.
const BETWEEN_WITHOUT: Duration = Duration::from_secs(5);

/// The keys of one issuer.
#[derive(Clone, Debug)]
pub(super) struct Published(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: String,
    source: Source,
    clock: Clock,
    state: Mutex<State>,
    /// Held by the one who asks.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    asked: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Known {
    keys: Arc<KeySet>,
    fetched: Timestamp,
    good_for: Duration,
}

impl Published {
    pub(super) fn new(
        issuer: &str,
        jwks_uri: Option<String>,
        clock: Clock,
    ) -> Result<Self, FetchError> {
        let source = Source::new(issuer, jwks_uri)?;
        let (state, turn) = Default::default();
        Ok(Self(Arc::new(Inner { issuer: issuer.to_owned(), source, clock, state, turn })))
    }

    /// The keys among which there is one of this id for this algorithm.
    pub(super) async fn keys_with(
        &self,
        id: &str,
        algorithm: OidcAlgorithm,
    ) -> Result<Arc<KeySet>, OidcRefusal> {
        if let Some(found) = self.0.good(id, algorithm) {
            return Ok(found);
        }
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        // Whoever was before may have fetched it.
        if let Some(found) = self.0.good(id, algorithm) {
            return Ok(found);
        }
        if self.0.may_ask() {
            let inner = Arc::clone(&self.0);
            // In a task of its own: dropping this request must not waste the asking.
            let asking = tokio::spawn(async move {
                inner.ask().await;
                drop(turn);
            });
            // It cannot be cancelled, and a panic in it leaves what was known.
            let _: Result<(), _> = asking.await;
        }
        self.0.last_good(id, algorithm)
    }
}

impl Inner {
    /// If what is known is fresh and has the key.
    fn good(&self, id: &str, algorithm: OidcAlgorithm) -> Option<Arc<KeySet>> {
        let now = self.clock.now();
        let state = self.lock();
        let known = state.known.as_ref()?;
        let good = now.since(known.fetched) < known.good_for && known.keys.has(id, algorithm);
        good.then(|| Arc::clone(&known.keys))
    }

    /// What is known, if it is not too old to be used at all.
    fn last_good(&self, id: &str, algorithm: OidcAlgorithm) -> Result<Arc<KeySet>, OidcRefusal> {
        let now = self.clock.now();
        let state = self.lock();
        let usable = state.known.as_ref().filter(|known| now.since(known.fetched) < LONGEST_AGE);
        let wait = || state.wait(now).as_secs() + 1;
        match usable {
            Some(known) if known.keys.has(id, algorithm) => Ok(Arc::clone(&known.keys)),
            Some(_) => Err(OidcRefusal::UnknownKey(wait())),
            None => Err(OidcRefusal::Unavailable(wait())),
        }
    }

    fn may_ask(&self) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        if !state.wait(now).is_zero() {
            return false;
        }
        state.asked = Some(now);
        true
    }

    async fn ask(&self) {
        match self.source.fetch().await {
            Ok(Fetched { keys, max_age }) => {
                let good_for = max_age.unwrap_or(USUAL_AGE).clamp(SHORTEST_AGE, LONGEST_AGE);
                tracing::info!(issuer = %self.issuer, keys = keys.len(), "keys of an OIDC issuer fetched");
                let known = Known { keys: Arc::new(keys), fetched: self.clock.now(), good_for };
                self.lock().known = Some(known);
            }
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!(issuer = %self.issuer, %error, "keys of an OIDC issuer cannot be fetched; those known are used for at most a day");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every state is whole at every moment, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How long not to ask.
    fn wait(&self, now: Timestamp) -> Duration {
        let between = if self.known.is_some() { BETWEEN } else { BETWEEN_WITHOUT };
        let passed = self.asked.map_or(between, |asked| now.since(asked));
        between.saturating_sub(passed)
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}
