//! When machine tokens were last used, without a write at each use.
//!
//! Invariant: a request never waits for this. Uses are kept in memory and written with the summaries
//! of logins; a crash loses at most those of the last minute. Memory is bounded.

use super::Authenticator;
use crate::domain::Timestamp;
use crate::registry::Result;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most different tokens noted between two writes; the use of more is not noted.
const MOST: usize = 100_000;

/// Uses since the last write, by the token's id.
#[derive(Debug, Default)]
pub(super) struct TokenUses(Mutex<HashMap<String, Timestamp>>);

impl TokenUses {
    /// A token was used.
    pub(super) fn note(&self, id: &str, now: Timestamp) {
        let mut uses = self.lock();
        if let Some(last) = uses.get_mut(id) {
            *last = now.max(*last);
        } else if uses.len() < MOST {
            uses.insert(id.to_owned(), now);
        }
    }

    /// Takes all that were noted.
    pub(super) fn take(&self) -> Vec<(String, Timestamp)> {
        std::mem::take(&mut *self.lock()).into_iter().collect()
    }

    fn of(&self, id: &str) -> Option<Timestamp> {
        self.lock().get(id).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        // A panic while noting leaves a map that is still a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authenticator {
    /// When a token was last used, as far as it is known.
    pub(super) async fn last_use(&self, id: &str) -> Result<Option<Timestamp>> {
        let written = self.0.registry.metadata().token_use(id).await?;
        Ok(written.max(self.0.uses.of(id)))
    }
}
