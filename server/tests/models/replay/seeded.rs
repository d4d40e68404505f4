//! Numbers for walks. The same seed makes the same walks for ever.

/// The generator (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Seeded(u64);

impl Seeded {
    /// The numbers of one walk of a run.
    pub(super) fn of(seed: u64, walk: u64) -> Self {
        let mut mixed = Self(seed);
        Self(mixed.next() ^ walk)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from zero to one less than `end`, which is not zero.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a length");
        usize::try_from(self.next() % end).expect("smaller than a length")
    }

    /// One of these, which are not none.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// The seed of this run: that of `STANDPIPE_SEED`, else a fresh one. Printed with the name, so that
/// the output of a failed test says how to repeat it.
pub(super) fn seed(name: &str) -> u64 {
    let fresh = || uuid::Uuid::new_v4().as_u64_pair().0;
    let seed = number("STANDPIPE_SEED").unwrap_or_else(fresh);
    say(&format!("{name}: repeat with STANDPIPE_SEED={seed}"));
    seed
}

/// How many walks to take: `usual`, times `STANDPIPE_ROUNDS` if that is set.
pub(super) fn rounds(usual: u64) -> u64 {
    usual * number("STANDPIPE_ROUNDS").unwrap_or(1)
}

/// Tells what a run did; the test runner shows it with a failure, and with `--nocapture`.
#[expect(clippy::print_stdout, reason = "tests have no log")]
pub(super) fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::disallowed_methods, reason = "tests have no configuration to take these from")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a whole number, not {text:?}")))
}
