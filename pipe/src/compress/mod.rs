//! Compressing layers, always to the same bytes, so that a registry already has what it was sent
//! before and digests do not change under people.
//!
//! Invariant: the output is a function of the input and the method, not of the machine, the number
//! of threads or how the input was read. It also depends on the version of the compressing library;
//! tests here fail when an upgrade changes it.
//! Must not know: layers, files, registries.

mod blocks;
mod gzip;
mod zstd;

use std::io::{self, Read, Write};

use crate::config::Compression;

pub(crate) use self::blocks::processors;

/// Reads `input` to its end and writes it to `output`, compressed.
///
/// # Errors
/// The first error of `input` or `output`; `output` is then incomplete.
pub(crate) fn pack(
    method: Compression,
    input: &mut impl Read,
    output: &mut impl Write,
) -> io::Result<()> {
    match method {
        Compression::Gzip(level) => gzip::gzip(input, output, level, gzip::useful_threads()),
        Compression::Zstd(level) => zstd::zstd(input, output, level, zstd::useful_threads(level)),
        Compression::Raw => io::copy(input, output).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(method: Compression, input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        pack(method, &mut &input[..], &mut output).unwrap();
        output
    }

    fn sample() -> Vec<u8> {
        (0..300_000_u32).flat_map(|number| (number / 7 % 1000).to_le_bytes()).collect()
    }

    #[test]
    fn a_higher_level_is_another_output_and_raw_is_none() {
        for (low, high) in [
            (Compression::Gzip(1), Compression::Gzip(9)),
            (Compression::Zstd(1), Compression::Zstd(19)),
        ] {
            assert!(packed(low, &sample()).len() > packed(high, &sample()).len());
        }
        assert_eq!(packed(Compression::Raw, b"as it is"), b"as it is");
    }
}
