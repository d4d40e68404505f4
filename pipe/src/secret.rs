//! Values that must not reach a log: passwords, tokens, authorization headers.
//!
//! Invariant: a [`Secret`] has no `Display`, and its `Debug` prints `***`. [`Mask`] is the second
//! line of defence: every line the pipe writes passes through it, so that a secret which a
//! registry or a daemon echoes back is starred out too.
//! Must not know: where a secret comes from or what it opens.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A string that redacts itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`; from here on only [`Secret::expose`] shows it.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that puts it into a request.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// The secrets known so far, shared by everything that writes.
#[derive(Clone, Default)]
pub struct Mask(Arc<RwLock<Vec<String>>>);

impl Mask {
    /// From now on `secret` is replaced in every line.
    ///
    /// Values shorter than four characters are not masked: starring out every `a` of the
    /// log would hide the message and reveal the secret.
    pub fn hide(&self, secret: &Secret) {
        self.insert(secret.expose());
    }

    /// Hides the password and the base64 form in which HTTP Basic carries it.
    pub fn hide_login(&self, username: &str, password: &Secret) {
        self.hide(password);
        self.insert(&STANDARD.encode(format!("{username}:{}", password.expose())));
    }

    /// `text` with every known secret replaced by `***`.
    pub fn apply(&self, text: &str) -> String {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }

    fn insert(&self, value: &str) {
        if value.len() < SHORTEST {
            return;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|secret| secret == value) {
            known.push(value.to_owned());
            // Longest first, so that a secret inside another one cannot leave a visible rest.
            known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Mask(***)")
    }
}

const SHORTEST: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_stars() {
        assert_eq!(format!("{:?}", Secret::new("hunter22")), "***");
    }

    #[test]
    fn known_secrets_are_starred_out_in_every_form_they_travel_in() {
        let mask = Mask::default();
        mask.hide_login("ann", &Secret::new("hunter22"));
        let header = STANDARD.encode("ann:hunter22");
        assert_eq!(mask.apply(&format!("a hunter22 b {header} c")), "a *** b *** c");
    }

    #[test]
    fn a_secret_that_contains_another_leaves_no_rest() {
        let mask = Mask::default();
        mask.hide(&Secret::new("abcd"));
        mask.hide(&Secret::new("abcdefgh"));
        assert_eq!(mask.apply("abcdefgh"), "***");
    }
}
