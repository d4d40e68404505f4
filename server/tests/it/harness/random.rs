//! Numbers that can be had again from the seed that a failing test shows.

/// A small generator (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    /// A generator with a new seed, or that of `STANDPIPE_SEED`; what it is stands in the output of a
    /// test that fails.
    #[expect(clippy::print_stdout, reason = "the test runner shows it with the failure")]
    pub(crate) fn new() -> Self {
        let given = std::env::var_os("STANDPIPE_SEED");
        let given = given.map(|seed| seed.to_string_lossy().parse().expect("a number"));
        let seed = given.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
        println!("repeat with STANDPIPE_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` up to, but without, `high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + usize::try_from(self.next() % (high - low) as u64).expect("it was a usize before")
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
