//! The threads that hash and write what large bodies bring.
//!
//! They are fewer than the processors and less urgent than all others: one processor is left for those who
//! answer requests, and a thread that hashes is faster than most disks and networks. Everything short is
//! done on tokio's blocking threads, which are as urgent as those that answer.
//!
//! Invariant: work that was given here is done, whether or not anybody still waits for it.

use super::CHANGING_THREADS;
use crate::blobs::BlobError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};
use tokio::sync::oneshot;

/// How much less urgent they are, in steps of `nice`: about a tenth of the processor, if others want it, too.
const LESS_URGENT: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// The threads of a store; they end with it.
#[derive(Debug)]
pub(super) struct Hashing(Sender<Job>);

impl Hashing {
    /// Starts them.
    pub(super) fn start() -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let (sender, jobs) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..(processors - 1).clamp(1, CHANGING_THREADS) {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new().name("hashing".to_owned()).spawn(move || work_on(&jobs))?;
        }
        Ok(Self(sender))
    }

    /// Does this on one of the threads, after what came before.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let (reply, answer) = oneshot::channel();
        // Whoever asked may have gone away.
        let job = move || drop(reply.send(work()));
        // If the threads are gone, so is the job with its reply.
        drop(self.0.send(Box::new(job)));
        answer.await.unwrap_or_else(|error| {
            let source = Box::new(error);
            Err(BlobError::Storage { doing: "finish a background operation", source })
        })
    }
}

fn work_on(jobs: &Mutex<Receiver<Job>>) {
    // To be refused is to be as urgent as the others.
    let own = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, own + LESS_URGENT);
    loop {
        // Only the one that waits holds the lock; the others wait for it.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A job that panics drops its reply, which its caller notices.
        let _: Result<(), _> = catch_unwind(AssertUnwindSafe(job));
    }
}
