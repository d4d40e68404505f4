//! Bytes that look random, are the same for the same seed and need no memory of their size.
//!
//! Content is a function of seed and offset, so an upload can go on from any offset that a server
//! reports, and bytes pulled back can be compared without keeping a copy.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use sha2::{Digest, Sha256};

/// A small generator (SplitMix64): good enough to be incompressible, and repeatable.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that gives the same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` up to, but without, `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next_u64() % (high - low)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(0, 100) < percent
    }
}

/// `length` bytes that follow from `seed`.
#[derive(Clone, Debug)]
pub struct Payload {
    seed: u64,
    length: u64,
    block: Bytes,
}

impl Payload {
    /// Describes the bytes; nothing but one block is generated yet.
    #[must_use]
    pub fn new(seed: u64, length: u64) -> Self {
        let size = usize::try_from(length.min(BLOCK)).expect("a block fits into memory");
        let mut random = Random::new(seed);
        let mut block = BytesMut::with_capacity(size + 8);
        while block.len() < size {
            block.extend_from_slice(&random.next_u64().to_le_bytes());
        }
        block.truncate(size);
        Self { seed, length, block: block.freeze() }
    }

    /// How many bytes there are.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `start` up to, but without, `end`, in memory.
    ///
    /// # Panics
    /// When the range does not lie inside.
    #[must_use]
    pub fn range(&self, start: u64, end: u64) -> Bytes {
        assert!(start <= end && end <= self.length, "{start}..{end}");
        let mut bytes = BytesMut::new();
        let mut offset = start;
        while offset < end {
            let piece = self.piece(offset, end);
            offset += piece.len() as u64;
            bytes.extend_from_slice(&piece);
        }
        bytes.freeze()
    }

    /// All bytes, in memory.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.range(0, self.length)
    }

    /// The bytes from `start` up to, but without, `end`, generated as they are read.
    pub fn stream(
        &self,
        start: u64,
        end: u64,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static + use<> {
        let payload = self.clone();
        stream::unfold(start, move |offset| {
            let next = (offset < end).then(|| payload.piece(offset, end));
            async move { next.map(|piece| (Ok(piece.clone()), offset + piece.len() as u64)) }
        })
    }

    /// Writes all bytes into a file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        self.pieces().try_for_each(|piece| file.write_all(&piece))
    }

    /// `sha256:` and the hash of all bytes.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = Hasher::default();
        self.pieces().for_each(|piece| hasher.update(&piece));
        hasher.digest()
    }

    fn pieces(&self) -> impl Iterator<Item = Bytes> {
        let mut offset = 0;
        std::iter::from_fn(move || {
            let piece = (offset < self.length).then(|| self.piece(offset, self.length))?;
            offset += piece.len() as u64;
            Some(piece)
        })
    }

    /// What lies from `offset` to the end of its block, or to `end`.
    fn piece(&self, offset: u64, end: u64) -> Bytes {
        let number = offset / BLOCK;
        let from = (offset % BLOCK) as usize;
        let to = (end - number * BLOCK).min(BLOCK) as usize;
        if number == 0 {
            return self.block.slice(from..to);
        }
        // Later blocks are the first one with a few bytes of their own: as good for hashing and
        // compressing (the distance is beyond gzip's window), and as cheap as a copy.
        let mut block = BytesMut::from(&self.block[..to]);
        let own = (self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes();
        let count = own.len().min(to);
        block[..count].copy_from_slice(&own[..count]);
        block.freeze().slice(from..to)
    }
}

/// Hashes bytes that come piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    state: Sha256,
}

impl Hasher {
    /// Adds the next bytes.
    pub fn update(&mut self, piece: &[u8]) {
        self.state.update(piece);
    }

    /// `sha256:` and the hash of all bytes added.
    #[must_use]
    pub fn digest(self) -> String {
        render_digest(&self.state.finalize())
    }
}

/// `sha256:` and the hash of these bytes.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    render_digest(&Sha256::digest(bytes))
}

fn render_digest(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // Writing to a string cannot fail.
        text
    })
}

const BLOCK: u64 = 1024 * 1024;
