//! Deterministic gzip: equal layers give equal bytes, whoever compresses them and with how many
//! threads, so that a registry already has them and digests do not change under people.
//!
//! The input is cut into blocks of 1 MiB. Each is deflated on its own, with the
//! 32 KiB before it as dictionary, and flushed to a byte border; the pieces in order are one
//! gzip member (RFC 1952) with time 0 and operating system 255 (unknown).
//! Invariant: the output is a function of the input and the level alone. The deflater never sees how
//! the input was read, because its output depends on the size of the pieces it is given. It also
//! depends on the version of zlib-rs; a test here fails when an upgrade changes it.
//! Must not know: layers, files, registries. Memory: about 4 MiB and 3 MiB for each thread.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::blocks::{self, Block};

/// Reads `input` to its end and writes it compressed to `output`.
///
/// # Errors
/// The first error of `input` or `output`; `output` is then incomplete.
pub(crate) fn gzip(
    input: &mut impl Read,
    output: &mut impl Write,
    level: u32,
    threads: NonZeroUsize,
) -> io::Result<()> {
    output.write_all(&HEADER)?;
    let (mut checksum, mut length) = (crc32fast::Hasher::new(), 0_u64);
    let mut seen = |block: &[u8]| {
        checksum.update(block);
        length += block.len() as u64;
    };
    blocks::map(input, output, BLOCK, threads, &mut seen, |block| deflate(block, level))?;
    output.write_all(&checksum.finalize().to_le_bytes())?;
    // RFC 1952, 2.3.1: the length modulo 2^32.
    output.write_all(&(length & 0xffff_ffff).to_le_bytes()[..4])
}

/// Threads that are worth using on this machine.
pub(crate) fn useful_threads() -> NonZeroUsize {
    blocks::useful_threads(MOST_THREADS)
}

fn deflate(block: &Block, level: u32) -> io::Result<Vec<u8>> {
    let mut deflater = Compress::new(Compression::new(level), false);
    if let Some(before) = &block.before {
        let dictionary = &before[before.len().saturating_sub(WINDOW)..];
        deflater.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    let flush = if block.last { FlushCompress::Finish } else { FlushCompress::Sync };
    // Room for a block that does not shrink (level 1 spends up to nine bits on a byte): the deflater
    // needs one call and no second flush.
    let length = block.bytes.len();
    let mut out = Vec::with_capacity(length + length / 8 + 1024);
    let status = deflater.compress_vec(&block.bytes, &mut out, flush).map_err(io::Error::other)?;
    let finished = match (block.last, status) {
        (true, Status::StreamEnd) => true,
        (false, Status::Ok) => out.len() < out.capacity(),
        _ => false,
    };
    if !finished || deflater.total_in() != length as u64 {
        return Err(io::Error::other("a block grew beyond what deflate may add"));
    }
    Ok(out)
}

/// Magic, method deflate, no flags, time 0, no extra flags, system unknown.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const BLOCK: usize = 1 << 20;
const WINDOW: usize = 32 << 10;
/// More threads only wait for the disk and the network, and each needs memory.
const MOST_THREADS: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not 0");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// Hands out at most `step` bytes at a time.
    struct Dribble<'a> {
        rest: &'a [u8],
        step: usize,
    }

    impl Read for Dribble<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.step.min(into.len()).min(self.rest.len());
            into[..count].copy_from_slice(&self.rest[..count]);
            self.rest = &self.rest[count..];
            Ok(count)
        }
    }

    fn compressed(data: &[u8], threads: usize, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let threads = NonZeroUsize::new(threads).unwrap();
        gzip(&mut Dribble { rest: data, step }, &mut out, 6, threads).unwrap();
        out
    }

    fn expanded(gzip: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        // Not MultiGzDecoder: what follows the first member would be an error of ours.
        let mut decoder = flate2::bufread::GzDecoder::new(gzip);
        decoder.read_to_end(&mut out).unwrap();
        assert!(decoder.into_inner().is_empty(), "more than one member");
        out
    }

    /// Bytes with the repetitions of a file system and the noise of packed files.
    fn sample(length: usize, mut seed: u64) -> Vec<u8> {
        let mut data = Vec::with_capacity(length + 64);
        while data.len() < length {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match seed >> 62 {
                0 => data.extend_from_slice(&seed.to_le_bytes()),
                1 => data.extend_from_slice(b"usr/share/doc/package/copyright\0\0"),
                _ => {
                    let back = (seed >> 32) as usize % 40_000;
                    let from = data.len().saturating_sub(back);
                    let piece = data[from..].iter().take(50).copied().collect::<Vec<_>>();
                    data.extend_from_slice(&piece);
                    data.push(0);
                }
            }
        }
        data.truncate(length);
        data
    }

    #[test]
    fn borders_of_blocks_make_one_valid_member() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 7] {
            let data = sample(length, 7);
            assert_eq!(expanded(&compressed(&data, 2, 1 << 16)), data, "{length}");
        }
    }

    #[test]
    fn noise_does_not_overflow_a_block() {
        let mut noise = Vec::new();
        for counter in 0_u32..70_000 {
            noise.extend_from_slice(&Sha256::digest(counter.to_le_bytes()));
        }
        for level in 1..=9 {
            let mut out = Vec::new();
            gzip(&mut noise.as_slice(), &mut out, level, NonZeroUsize::MIN).unwrap();
            assert_eq!(expanded(&out), noise, "level {level}");
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_last_release_at_every_level_with_any_number_of_threads() {
        let data = sample(3 * BLOCK + 12_345, 42);
        for threads in [1, 2, 7] {
            let threads = NonZeroUsize::new(threads).unwrap();
            let digests = (1..=9).map(|level| {
                let mut out = Vec::new();
                gzip(&mut &data[..], &mut out, level, threads).unwrap();
                Sha256::digest(&out).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
            });
            let digests: Vec<String> = digests.collect();
            assert_eq!(digests, GOLDEN, "every layer of every user would be uploaded again");
        }
    }

    #[test]
    fn a_failing_input_is_reported() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("cut"))
            }
        }
        let error = gzip(&mut Broken, &mut Vec::new(), 6, NonZeroUsize::MIN).unwrap_err();
        assert_eq!(error.to_string(), "cut");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn threads_and_read_sizes_do_not_show_and_nothing_is_lost(
            length in 0_usize..3 * BLOCK,
            seed in any::<u64>(),
            threads in 1_usize..5,
            step in 1_usize..200_000,
        ) {
            let data = sample(length, seed);
            let one = compressed(&data, 1, usize::MAX);
            prop_assert_eq!(&compressed(&data, threads, step.max(length / 5000)), &one);
            prop_assert_eq!(expanded(&one), data);
        }
    }

    /// By level, from 1 on.
    const GOLDEN: [&str; 9] = [
        "42a3fb25fc31a303e5508ca392691d2a921bfe9ddf803f85b212831f1fe1c65c",
        "05192ca2c3690d86f75f15cdd080bbc37bde40baa3549744331e9a1c4e2e5a4b",
        "c1176b19b27c6f74aace3ae04c2a148a5c74dff327999fc036b57f8db1334e2d",
        "b280329ccbdada7a58420cd938569601ee7ccea244e22a60680b82d57f4b066e",
        "eb2d2252a0b29f64e8191064e9168f53db24d3486cedffa5b5084a0b7dc8aea8",
        "c9e7a67fba188dd54e4e53f323d9790832fd9069d1bb7aa2ae19ba4fdd425675",
        "d127ee31432bdee3aba2dbf1c530380d398478c6ac3e259f888113f2340f677d",
        "bdedf35f709c6c468ac72fa62e413b8597481cc65ad9435da16d0e65318e8443",
        "741b0f4bf3b8a4ec1f2f911e98111a20c1986395d75fc064d06cee1aa8f0369d",
    ];
}
