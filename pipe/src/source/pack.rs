//! Layers into the form in which they are pushed: raw ones are compressed, others hashed.
//!
//! Must not know: where they come from.

use std::io::{self, Read, Write as _};

use flate2::read::MultiGzDecoder;

use super::files::{Reading, invalid};
use crate::image::{Blob, Digest, Hashing, LAYER_GZIP, LAYER_RAW, LAYER_ZSTD};
use crate::spool::{Spool, SpoolFile};
use crate::{compress, config};

/// How something is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// Told by the first bytes. A tar begins with the name of a file, so it cannot be mistaken.
    pub(super) fn of(first: &[u8]) -> Option<Self> {
        match first {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The media type of a layer that is compressed so.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => LAYER_GZIP,
            Self::Zstd => LAYER_ZSTD,
        }
    }

    /// A reader of what is inside.
    fn decoder<'a>(self, input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(input)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(input)?),
        })
    }
}

/// A raw layer that was compressed.
#[derive(Debug)]
pub(super) struct Packed {
    /// Digest of the raw layer.
    pub(super) raw: Digest,
    /// Bytes of the raw layer.
    pub(super) size: u64,
    pub(super) blob: Blob,
}

/// A compressed layer that was looked into.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Digest of the raw layer.
    pub(super) raw: Digest,
    /// Digest of the compressed layer.
    pub(super) digest: Digest,
    /// Bytes of the compressed layer.
    pub(super) size: u64,
}

/// Compresses a raw layer into the spool, hashing both sides.
pub(super) fn pack(input: &mut impl Read, reading: &Reading) -> io::Result<Packed> {
    let mut input = Hashed::new(input);
    let mut writer = reading.spool.writer()?;
    compress::pack(reading.compression, &mut input, &mut writer)?;
    let (raw, size) = input.hashing.finish();
    let media_type = match reading.compression {
        config::Compression::Gzip(_) => LAYER_GZIP,
        config::Compression::Zstd(_) => LAYER_ZSTD,
        config::Compression::Raw => LAYER_RAW,
    };
    let blob = Blob { raw: Some(size), ..Blob::here(media_type, writer.finish()?) };
    Ok(Packed { raw, size, blob })
}

/// Hashes a compressed layer and what is inside it. Nothing is kept, so it may be any size.
pub(super) fn unpack(input: impl Read, kind: Compression) -> io::Result<Unpacked> {
    let mut input = Hashed::new(input);
    let (raw, _) = hash(&mut kind.decoder(&mut input)?).map_err(in_words)?;
    // What follows the compressed data belongs to the blob all the same.
    io::copy(&mut input, &mut io::sink())?;
    let (digest, size) = input.hashing.finish();
    Ok(Unpacked { raw, digest, size })
}

/// Writes what is inside a compressed file to the spool, which watches the free space.
pub(super) fn expand(input: impl Read, kind: Compression, spool: &Spool) -> io::Result<SpoolFile> {
    let mut writer = spool.writer()?;
    let mut decoder = kind.decoder(input)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match decoder.read(&mut buffer).map_err(in_words)? {
            0 => return writer.finish(),
            count => writer.write_all(&buffer[..count])?,
        }
    }
}

/// Copies to the spool as it is.
pub(super) fn copy(input: &mut impl Read, spool: &Spool) -> io::Result<SpoolFile> {
    let mut writer = spool.writer()?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match input.read(&mut buffer)? {
            0 => return writer.finish(),
            count => writer.write_all(&buffer[..count])?,
        }
    }
}

/// The digest and the size of everything in `input`.
pub(super) fn hash(input: &mut impl Read) -> io::Result<(Digest, u64)> {
    let mut hashing = Hashing::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(hashing.finish()),
            count => hashing.update(&buffer[..count]),
        }
    }
}

/// Enough bytes to tell what follows.
pub(super) fn first_bytes(input: impl Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    input.take(FIRST).read_to_end(&mut first)?;
    Ok(first)
}

/// The decoders' own words are for programmers.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            invalid(format!("compressed data is damaged: {error}"))
        }
        io::ErrorKind::Other => invalid(format!("compressed data cannot be read: {error}")),
        _ => error,
    }
}

struct Hashed<R> {
    inner: R,
    hashing: Hashing,
}

impl<R> Hashed<R> {
    fn new(inner: R) -> Self {
        Self { inner, hashing: Hashing::default() }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.hashing.update(&into[..count]);
        Ok(count)
    }
}

const BUFFER: usize = 256 << 10;
/// The longest magic number that is looked for.
const FIRST: u64 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_a_compressed_layer_are_hashed() {
        let raw = b"some layer".repeat(1000);
        let packed = zstd::encode_all(&raw[..], 3).unwrap();
        let kind = Compression::of(&packed).unwrap();
        let unpacked = unpack(&packed[..], kind).unwrap();
        assert_eq!(unpacked.raw, Digest::of(&raw));
        assert_eq!(unpacked.digest, Digest::of(&packed));
        assert_eq!(unpacked.size, packed.len() as u64);
    }

    #[test]
    fn damage_is_told_in_words() {
        let mut packed = zstd::encode_all(&b"some layer".repeat(1000)[..], 3).unwrap();
        packed.truncate(20);
        let error = unpack(&packed[..], Compression::Zstd).unwrap_err();
        assert!(error.to_string().contains("compressed data"), "{error}");
        assert!(unpack(&[0x1f, 0x8b, 9, 9][..], Compression::Gzip).is_err());
    }
}
