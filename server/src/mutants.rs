//! Which protection is taken out, in a build for `tests/run.sh --mutants`.
//!
//! Invariant: in an ordinary build every question is answered `false` by a constant, so nothing of
//! this is left in it. With `STANDPIPE_MUTANT=<name>` at build time that protection is gone; with
//! `STANDPIPE_MUTANT=any` the variable is read when the tests run, so that one build serves all.

/// Whether the variable names this mutant now.
#[cfg(mutants)]
#[expect(clippy::disallowed_methods, reason = "only in a build that tests the tests")]
pub(crate) fn is_active(name: &str) -> bool {
    static ACTIVE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ACTIVE.get_or_init(|| std::env::var("STANDPIPE_MUTANT").ok()).as_deref() == Some(name)
}

/// Never, in an ordinary build.
#[cfg(not(mutants))]
pub(crate) const fn is_active(_name: &str) -> bool {
    false
}
