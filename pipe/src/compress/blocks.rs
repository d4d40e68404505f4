//! Work on the blocks of a stream by several threads, with the results in order.
//!
//! Invariant: a block is whole unless the input ends, however the input was read, so that what is made
//! of it depends on the input alone; a few blocks for each thread are in memory and no more.
//! Must not know: what is made of a block.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A block and where it stands.
pub(super) struct Block {
    /// Its bytes.
    pub(super) bytes: Arc<Vec<u8>>,
    /// The block before it.
    pub(super) before: Option<Arc<Vec<u8>>>,
    /// Nothing follows it.
    pub(super) last: bool,
}

/// Reads `input` to its end in blocks of `size` bytes, lets `work` make something of each on one of
/// `threads` threads, and writes the results to `output` in order. `seen` sees the blocks in order. An
/// empty input is one empty block.
///
/// # Errors
/// The first error of `input`, `work` or `output`.
pub(super) fn map(
    input: &mut impl Read,
    output: &mut impl Write,
    size: usize,
    threads: NonZeroUsize,
    seen: &mut impl FnMut(&[u8]),
    work: impl Fn(&Block) -> io::Result<Vec<u8>> + Sync,
) -> io::Result<()> {
    thread::scope(|scope| {
        // One block may wait, so that reading goes on while every worker is busy.
        let (jobs, queue) = sync_channel::<Job>(1);
        let queue = Arc::new(Mutex::new(queue));
        let work = &work;
        for _ in 0..threads.get() {
            let queue = Arc::clone(&queue);
            scope.spawn(move || {
                give_way();
                serve(&queue, work);
            });
        }
        // Dropping the sender at the end of this closure ends the workers.
        let mut pipeline = Pipeline { jobs, running: VecDeque::new(), most: threads.get() + 2 };
        let mut before: Option<Arc<Vec<u8>>> = None;
        let mut block = read_block(input, size)?;
        loop {
            // Whether a block is the last is known only when nothing follows it.
            let next = if block.len() < size { Vec::new() } else { read_block(input, size)? };
            seen(&block);
            let last = next.is_empty();
            let bytes = Arc::new(block);
            let before = before.replace(Arc::clone(&bytes));
            pipeline.submit(Block { bytes, before, last }, output)?;
            if last {
                return pipeline.drain(output);
            }
            block = next;
        }
    })
}

/// Threads that are worth using on this machine, at most so many.
pub(super) fn useful_threads(most: NonZeroUsize) -> NonZeroUsize {
    processors().min(most)
}

/// Processors that this machine lets us use.
pub(crate) fn processors() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Lets this thread go last where all processors are busy. Who reads, hashes, sends or exports has little
/// to do at a time, and those who compress wait for it: an image of 1.2 GB took 12.0 s instead of 12.6.
fn give_way() {
    #[cfg(target_os = "linux")]
    {
        // On Linux this is about the thread. To be refused is to be as urgent as before.
        let own = rustix::process::getpriority_process(None).unwrap_or(0);
        let _ = rustix::process::setpriority_process(None, own + LESS_URGENT);
    }
}

/// In steps of `nice`.
#[cfg(target_os = "linux")]
const LESS_URGENT: i32 = 10;

struct Job {
    block: Block,
    reply: Sender<io::Result<Vec<u8>>>,
}

struct Pipeline {
    jobs: SyncSender<Job>,
    running: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    most: usize,
}

impl Pipeline {
    fn submit(&mut self, block: Block, output: &mut impl Write) -> io::Result<()> {
        if self.running.len() == self.most
            && let Some(reply) = self.running.pop_front()
        {
            output.write_all(&receive(&reply)?)?;
        }
        let (reply, result) = channel();
        self.jobs.send(Job { block, reply }).map_err(|_| stopped())?;
        self.running.push_back(result);
        Ok(())
    }

    fn drain(&mut self, output: &mut impl Write) -> io::Result<()> {
        while let Some(reply) = self.running.pop_front() {
            output.write_all(&receive(&reply)?)?;
        }
        Ok(())
    }
}

fn serve(queue: &Mutex<Receiver<Job>>, work: &impl Fn(&Block) -> io::Result<Vec<u8>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return;
        };
        let result = work(&job.block);
        // The pipeline may have failed meanwhile; then nobody waits for the reply.
        let _ = job.reply.send(result);
    }
}

fn receive(reply: &Receiver<io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    reply.recv().map_err(|_| stopped())?
}

fn stopped() -> io::Error {
    io::Error::other("the compressor stopped")
}

/// One block, whole unless the input ends: short reads must not show in the output.
fn read_block(input: &mut impl Read, size: usize) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(size);
    input.by_ref().take(size as u64).read_to_end(&mut block)?;
    Ok(block)
}
