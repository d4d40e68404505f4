//! Registry tokens whose signature was found right a moment ago.
//!
//! A client shows the same token with every request of a push, and checking its signature each time was
//! the largest single thing in a profile of small pushes. Invariant: what is remembered is what the token says, which
//! its signature fixes for good. Whether it is in time, and whether the rights behind it still hold, is
//! not remembered: both are asked anew at every request (`registry_token.rs`, `logins.rs`). Only what
//! this server signed gets in, so nobody can fill it with inventions, and it has a bound in bytes.

use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

/// Tokens of one generation; two are kept.
const MOST: usize = 512;
/// A longer token, in bytes, is checked every time: it names hundreds of packages and is rare.
const LONGEST: usize = 2 << 10;

/// Names a token without keeping it.
type Name = [u8; 32];

/// What the tokens said that were seen lately.
pub(super) struct VerifiedTokens<T>(Mutex<Generations<T>>);

/// A token that is used goes into the younger generation; when that is full, the older one is forgotten.
struct Generations<T> {
    young: HashMap<Name, Arc<T>>,
    old: HashMap<Name, Arc<T>>,
}

impl<T> VerifiedTokens<T> {
    /// Knows none.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }))
    }

    /// What the token says: from memory, or by `verify`, whose refusals are not remembered.
    pub(super) fn look_up<E>(
        &self,
        token: &str,
        verify: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        if token.len() > LONGEST {
            return verify().map(Arc::new);
        }
        let name: Name = Sha256::digest(token).into();
        if let Some(known) = self.with(|generations| generations.find(&name)) {
            return Ok(known);
        }
        let claims = Arc::new(verify()?);
        self.with(|generations| generations.keep(name, Arc::clone(&claims)));
        Ok(claims)
    }

    fn with<U>(&self, work: impl FnOnce(&mut Generations<T>) -> U) -> U {
        // Entries are whole at every moment, so a panic elsewhere does not spoil the maps.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Generations<T> {
    fn find(&mut self, name: &Name) -> Option<Arc<T>> {
        if let Some(known) = self.young.get(name) {
            return Some(Arc::clone(known));
        }
        let known = self.old.remove(name)?;
        self.keep(*name, Arc::clone(&known));
        Some(known)
    }

    fn keep(&mut self, name: Name, claims: Arc<T>) {
        if self.young.len() >= MOST {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(name, claims);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_token_is_verified_once_and_every_other_token_by_itself() {
        let (tokens, checks) = (VerifiedTokens::new(), Cell::new(0));
        let ask = |token: &str| {
            let verify = || {
                checks.set(checks.get() + 1);
                Ok::<_, ()>(())
            };
            tokens.look_up(token, verify).is_ok()
        };
        assert!(ask("a") && ask("a") && ask("a"));
        assert_eq!(checks.get(), 1);
        assert!(ask("b"));
        assert_eq!(checks.get(), 2);
        let long = "x".repeat(LONGEST + 1);
        assert!(ask(&long) && ask(&long));
        assert_eq!(checks.get(), 4, "a very long token is not kept");
        let longest = "x".repeat(LONGEST);
        assert!(ask(&longest) && ask(&longest));
        assert_eq!(checks.get(), 5, "the longest that is kept");
    }

    #[test]
    fn a_refusal_is_not_remembered() {
        let tokens = VerifiedTokens::new();
        assert!(tokens.look_up("a", || Err("forged")).is_err());
        assert!(tokens.look_up("a", || Ok::<_, &str>(())).is_ok());
    }

    #[test]
    fn as_many_tokens_as_a_generation_has_room_for_are_verified_once_each() {
        let (tokens, checks) = (VerifiedTokens::new(), Cell::new(0));
        for number in (0..MOST).chain(0..MOST) {
            let verify = || {
                checks.set(checks.get() + 1);
                Ok::<_, ()>(())
            };
            assert!(tokens.look_up(&number.to_string(), verify).is_ok());
        }
        assert_eq!(checks.get(), MOST);
    }

    #[test]
    fn a_crowd_of_tokens_is_forgotten_and_one_in_use_is_not() {
        let tokens = VerifiedTokens::new();
        let verify = || Ok::<_, ()>(());
        for number in 0..10 * MOST {
            assert!(
                tokens.look_up("used", || if number == 0 { verify() } else { Err(()) }).is_ok()
            );
            assert!(tokens.look_up(&number.to_string(), verify).is_ok());
        }
        let kept = tokens.with(|generations| generations.young.len() + generations.old.len());
        assert!(kept <= 2 * MOST, "{kept}");
    }
}
