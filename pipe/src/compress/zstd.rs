//! Deterministic zstd: the input in blocks of 4 MiB, each a frame of its own (RFC 8878, 3.1: frames
//! that follow each other are one content), compressed by several threads.
//!
//! Invariant: the output is a function of the input and the level alone, and of the version of
//! libzstd; a test fails when an upgrade changes it. Frames have no checksum: digests check content.
//! Must not know: layers, files, registries.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use super::blocks;

/// Reads `input` to its end and writes it compressed to `output`.
///
/// # Errors
/// The first error of `input` or `output`; `output` is then incomplete.
pub(crate) fn zstd(
    input: &mut impl Read,
    output: &mut impl Write,
    level: i32,
    threads: NonZeroUsize,
) -> io::Result<()> {
    let work = |block: &blocks::Block| ::zstd::bulk::compress(&block.bytes, level);
    blocks::map(input, output, BLOCK, threads, &mut |_| {}, work)
}

/// Threads that are worth using on this machine. The higher the level, the more memory each needs.
pub(crate) fn useful_threads(level: i32) -> NonZeroUsize {
    let most = match level {
        ..=5 => 6,
        6..=9 => 3,
        10..=12 => 2,
        _ => 1,
    };
    blocks::useful_threads(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN))
}

const BLOCK: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    fn sample() -> Vec<u8> {
        (0..2_500_000_u32).flat_map(|number| (number / 7 % 1000).to_le_bytes()).collect()
    }

    fn packed(level: i32, threads: usize, input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let threads = NonZeroUsize::new(threads).unwrap();
        zstd(&mut &input[..], &mut output, level, threads).unwrap();
        output
    }

    #[test]
    fn the_bytes_are_those_of_the_last_release_with_any_number_of_threads() {
        let data = sample();
        for threads in [1, 2] {
            let digests = LEVELS.map(|level| {
                let packed = packed(level, threads, &data);
                assert!(::zstd::decode_all(&packed[..]).unwrap() == data, "level {level}");
                Digest::of(&packed).hex().to_owned()
            });
            assert_eq!(digests, GOLDEN, "every layer of every user of zstd would be sent again");
        }
    }

    #[test]
    fn borders_of_blocks_lose_nothing() {
        let data = sample();
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK] {
            let packed = packed(1, 2, &data[..length]);
            assert!(::zstd::decode_all(&packed[..]).unwrap() == data[..length], "{length}");
            assert!(!packed.is_empty(), "nothing is no frame");
        }
    }

    const LEVELS: [i32; 4] = [1, 3, 9, 19];
    const GOLDEN: [&str; 4] = [
        "cf5c8bf78fa0d00fd73298af88cf3f2073a30aa5e98fc81fbe50b7e043f78f55",
        "08f958d678afbe6f792a1580d3aaf9736d4c714b35203dfc7e54880fb6c6d0f9",
        "c1b5f188a9ba940eb47237ba24f7d7fae145f1fc69018a6bdb1636ae90f1ae64",
        "006ea4185cce456115eaa2ee8db5e795c9c1db0935a990d566a1fb2744ea46a9",
    ];
}
