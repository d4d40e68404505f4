//! Numbers for random tests that are not proptest's, because what they do is decided while they run.
//!
//! Invariant: the same seed makes the same numbers for ever; a test prints its seed, and
//! `STANDPIPE_SEED` repeats it. `STANDPIPE_ROUNDS` makes a run so many times as long as CI's.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// The seed of this run: that of `STANDPIPE_SEED`, else a fresh one. Printed with the name, so that
/// the output of a failed test says how to repeat it.
pub(in crate::metadata) fn seed(name: &str) -> u64 {
    let seed =
        number("STANDPIPE_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    say(&format!("{name}: repeat with STANDPIPE_SEED={seed}"));
    seed
}

/// Tells what a run did; the test runner shows it with a failure, and with `--nocapture`.
#[expect(clippy::print_stderr, reason = "tests have no log")]
pub(in crate::metadata) fn say(text: &str) {
    eprintln!("{text}");
}

/// How many rounds to run: `usual`, times `STANDPIPE_ROUNDS` if that is set.
pub(in crate::metadata) fn rounds(usual: u64) -> u64 {
    usual * number("STANDPIPE_ROUNDS").unwrap_or(1)
}

#[expect(clippy::disallowed_methods, reason = "tests have no configuration to take these from")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a whole number, not {text:?}")))
}

/// The numbers (SplitMix64, by Guy Steele and others: one addition and two multiplications).
#[derive(Clone, Debug)]
pub(in crate::metadata) struct Seeded(u64);

impl Seeded {
    /// The numbers of one round of a run.
    pub(in crate::metadata) fn of(seed: u64, round: u64) -> Self {
        let mut mixed = Self(seed);
        Self(mixed.next() ^ round)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from zero to one less than `end`, which is not zero.
    pub(in crate::metadata) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a length");
        usize::try_from(self.next() % end).expect("smaller than a length")
    }

    /// True so many times in a hundred.
    pub(in crate::metadata) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these, which are not none.
    pub(in crate::metadata) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// 128 bits, for ids.
    pub(in crate::metadata) fn id(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}
