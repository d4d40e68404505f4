//! Deterministic gzip: equal layers give equal bytes, whoever compresses them and with how many
//! threads, so that a registry already has them and digests do not change under people.
//!
//! The input is cut into blocks of 1 MiB. Each is deflated on its own, with the
//! 32 KiB before it as dictionary, and flushed to a byte border; the pieces in order are one
//! gzip member (RFC 1952) with time 0 and operating system 255 (unknown).
//! Invariant: the output is a function of the input alone. The deflater never sees how the
//! input was read, because its output depends on the size of the pieces it is given. It also
//! depends on the version of zlib-rs; a test here fails when an upgrade changes it.
//! Must not know: layers, files, registries. Memory: about 4 MiB and 3 MiB for each thread.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flate2::{Compress, Compression, FlushCompress, Status};

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
    thread::scope(|scope| {
        // One block may wait, so that reading goes on while every worker is busy.
        let (jobs, queue) = sync_channel::<Job>(1);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.get() {
            let queue = Arc::clone(&queue);
            scope.spawn(move || work(&queue, level));
        }
        // Dropping the sender at the end of this closure ends the workers.
        Pipeline { jobs, running: VecDeque::new(), most: threads.get() + 2 }.run(input, output)
    })
}

/// Threads that are worth using on this machine.
pub(crate) fn useful_threads() -> NonZeroUsize {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    cores.min(MOST_THREADS)
}

struct Job {
    block: Arc<Vec<u8>>,
    before: Option<Arc<Vec<u8>>>,
    last: bool,
    reply: Sender<io::Result<Vec<u8>>>,
}

struct Pipeline {
    jobs: SyncSender<Job>,
    running: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    most: usize,
}

impl Pipeline {
    fn run(mut self, input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
        output.write_all(&HEADER)?;
        let mut checksum = crc32fast::Hasher::new();
        let mut length = 0_u64;
        let mut before: Option<Arc<Vec<u8>>> = None;
        let mut block = read_block(input)?;
        loop {
            // Whether a block is the last is known only when nothing follows it.
            let next = if block.len() < BLOCK { Vec::new() } else { read_block(input)? };
            checksum.update(&block);
            length += block.len() as u64;
            let last = next.is_empty();
            let current = Arc::new(block);
            self.submit(Arc::clone(&current), before.replace(current), last, output)?;
            if last {
                break;
            }
            block = next;
        }
        while let Some(reply) = self.running.pop_front() {
            output.write_all(&receive(&reply)?)?;
        }
        output.write_all(&checksum.finalize().to_le_bytes())?;
        // RFC 1952, 2.3.1: the length modulo 2^32.
        output.write_all(&(length & 0xffff_ffff).to_le_bytes()[..4])
    }

    fn submit(
        &mut self,
        block: Arc<Vec<u8>>,
        before: Option<Arc<Vec<u8>>>,
        last: bool,
        output: &mut impl Write,
    ) -> io::Result<()> {
        if self.running.len() == self.most
            && let Some(reply) = self.running.pop_front()
        {
            output.write_all(&receive(&reply)?)?;
        }
        let (reply, result) = channel();
        let job = Job { block, before, last, reply };
        self.jobs.send(job).map_err(|_| io::Error::other("the compressor stopped"))?;
        self.running.push_back(result);
        Ok(())
    }
}

fn receive(reply: &Receiver<io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    reply.recv().map_err(|_| io::Error::other("the compressor stopped"))?
}

/// One block, whole unless the input ends: short reads must not show in the output.
fn read_block(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK);
    input.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
    Ok(block)
}

fn work(queue: &Mutex<Receiver<Job>>, level: u32) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return;
        };
        let result = deflate(&job, level);
        // The pipeline may have failed meanwhile; then nobody waits for the reply.
        let _ = job.reply.send(result);
    }
}

fn deflate(job: &Job, level: u32) -> io::Result<Vec<u8>> {
    let mut deflater = Compress::new(Compression::new(level), false);
    if let Some(before) = &job.before {
        let dictionary = &before[before.len().saturating_sub(WINDOW)..];
        deflater.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    let flush = if job.last { FlushCompress::Finish } else { FlushCompress::Sync };
    // Room for a block that does not shrink: the deflater needs one call and no second flush. The
    // fixed codes of level 1 take nine bits for half of all bytes (RFC 1951, 3.2.6).
    let mut out = Vec::with_capacity(job.block.len() + job.block.len() / 8 + 1024);
    let status = deflater.compress_vec(&job.block, &mut out, flush).map_err(io::Error::other)?;
    let finished = match (job.last, status) {
        (true, Status::StreamEnd) => true,
        (false, Status::Ok) => out.len() < out.capacity(),
        _ => false,
    };
    if !finished || deflater.total_in() != job.block.len() as u64 {
        return Err(io::Error::other("a block grew beyond what deflate may add"));
    }
    Ok(out)
}

/// Magic, method deflate, no flags, time 0, no extra flags, system unknown.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const BLOCK: usize = 1 << 20;
const WINDOW: usize = 32 << 10;
/// More threads only wait for the disk and the network, and each needs memory.
const MOST_THREADS: NonZeroUsize = NonZeroUsize::new(4).expect("4 is not 0");

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
        // What fixed codes are worst for.
        let high: Vec<u8> = noise.iter().map(|byte| byte | 0x90).collect();
        for data in [noise, high] {
            for level in 1..=9 {
                let mut out = Vec::new();
                gzip(&mut &data[..], &mut out, level, NonZeroUsize::MIN).unwrap();
                assert_eq!(expanded(&out), data, "level {level}");
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_last_release() {
        let digest = Sha256::digest(compressed(&sample(3 * BLOCK + 12_345, 42), 2, 1 << 20));
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, GOLDEN, "every layer of every user would be uploaded again");
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

    const GOLDEN: &str = "c9e7a67fba188dd54e4e53f323d9790832fd9069d1bb7aa2ae19ba4fdd425675";
}
