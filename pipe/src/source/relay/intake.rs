//! The layers that an engine pushes, each held against what is needed.
//!
//! Invariant: a layer is known by the hash of its tar alone; it is on disk as it came (compressed)
//! until it is known, and goes then through the same compressor as a layer of an export.
//! Must not know: HTTP.

use std::io::{self, Read, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::pace::Pace;
use crate::image::{Blob, Digest, Hashing};
use crate::source::files::{Reading, invalid};
use crate::source::pack;
use crate::spool::SpoolWriter;

/// Takes layers.
#[derive(Debug)]
pub(super) struct Intake {
    layers: Vec<Digest>,
    limit: u64,
    reading: Reading,
    found: UnboundedSender<(Digest, Blob)>,
    pace: Pace,
    /// Raw bytes of all streams.
    passed: AtomicU64,
    /// Raw bytes that were hashed or compressed.
    worked: AtomicU64,
    exceeded: Notify,
}

impl Intake {
    pub(super) fn new(
        layers: Vec<Digest>,
        limit: u64,
        reading: Reading,
        found: UnboundedSender<(Digest, Blob)>,
    ) -> Self {
        let (pace, passed, worked, exceeded) = Default::default();
        Self { layers, limit, reading, found, pace, passed, worked, exceeded }
    }

    /// Raw bytes that have passed.
    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// A number that grows while something is done.
    pub(super) fn worked(&self) -> u64 {
        self.worked.load(Ordering::Relaxed)
    }

    /// Waits until more has passed than should.
    pub(super) async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// Ends all streams.
    pub(super) fn close(&self) {
        self.pace.close();
    }

    /// Takes a stream to its end. Blocks.
    pub(super) fn take(&self, input: impl Read) -> io::Result<()> {
        let mut copy = Copied { inner: input, writer: self.reading.spool.writer()? };
        let raw = self.hash(&mut copy)?;
        if !self.layers.contains(&raw) {
            return Ok(());
        }
        let file = copy.writer.into_reader()?;
        let mut raw_again = Counted { inner: MultiGzDecoder::new(file), count: &self.worked };
        let packed = pack::pack(&mut raw_again, &self.reading)?;
        if packed.raw != raw {
            return Err(invalid(format!("layer {raw} hashes to {}", packed.raw)));
        }
        // Nobody listens any more when the relay has ended.
        let _ = self.found.send((raw, packed.blob));
        Ok(())
    }

    fn hash(&self, input: &mut impl Read) -> io::Result<Digest> {
        let lane = self.pace.enter();
        let mut hashing = Hashing::default();
        let mut decoder = MultiGzDecoder::new(&mut *input);
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = decoder.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hashing.update(&buffer[..count]);
            self.reading.progress.add(count as u64);
            self.worked.fetch_add(count as u64, Ordering::Relaxed);
            let passed = self.passed.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
            if passed > self.limit {
                self.exceeded.notify_one();
                return Err(io::Error::other("more came than was expected"));
            }
            lane.advance(count as u64)?;
        }
        Ok(hashing.finish().0)
    }
}

/// Keeps what is read.
struct Copied<'a, R> {
    inner: R,
    writer: SpoolWriter<'a>,
}

impl<R: Read> Read for Copied<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.writer.write_all(&into[..count])?;
        Ok(count)
    }
}

/// Counts what is read.
struct Counted<'a, R> {
    inner: R,
    count: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

const BUFFER: usize = 64 << 10;
