//! The one thread that writes (DESIGN §4).
//!
//! Invariant: an operation is answered only after `commit()` returned, and what it wrote is durable
//! then. Operations of one batch share a transaction; one that is refused must have written nothing,
//! one that fails takes the batch down with it, and then each is run alone so that only the guilty one
//! is answered with an error. After a storage fault the database is dropped and opened again, because redb refuses all work on a
//! handle that has seen an I/O error.

use super::batch::{Batch, storage};
use super::manifests;
use crate::clock::{Clock, Stopwatch};
use crate::metadata::{MetadataError, Result, WriterStatistics};
use redb::{Database, WriteTransaction};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// Most operations that wait; more are answered with [`MetadataError::Busy`].
const MOST_WAITING: usize = 1024;
/// Most operations, rows and bytes of one batch.
const MOST_OPERATIONS: usize = 256;
const MOST_ROWS: usize = 20_000;
const MOST_BYTES: usize = 4 << 20;

/// How large an operation is about to be, and whose it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// Operations take turns by workspace, so that one busy workspace cannot starve the others.
    pub(super) workspace: u64,
    /// Rows it writes, roughly.
    pub(super) rows: usize,
    /// Bytes it writes, roughly.
    pub(super) bytes: usize,
}

/// One operation: checks everything, then writes. May be run more than once; only the last run counts.
pub(super) trait Job: Send {
    fn size(&self) -> Size;
    fn run(&mut self, batch: &mut Batch<'_>) -> Outcome;
    /// Answers with the result of the last run.
    fn answer(self: Box<Self>);
    /// Answers with an error instead.
    fn fail(self: Box<Self>, error: MetadataError);
}

/// How a run ended.
pub(super) enum Outcome {
    /// Done, or refused before anything was written.
    Settled,
    /// The transaction must not be committed.
    Failed(MetadataError),
}

/// Operations that wait, by workspace.
#[derive(Default)]
struct Lanes {
    lanes: BTreeMap<u64, VecDeque<Box<dyn Job>>>,
    waiting: usize,
    last: u64,
    closed: bool,
    reopen: bool,
}

/// The queue between callers and the writer.
#[derive(Default)]
pub(super) struct Queue {
    lanes: Mutex<Lanes>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        // Lanes are only moved around under the lock, never left half changed.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an operation; gives it back if too many wait or the writer has stopped.
    pub(super) fn push(&self, job: Box<dyn Job>) -> std::result::Result<(), Box<dyn Job>> {
        let mut lanes = self.lock();
        if lanes.closed || lanes.waiting >= MOST_WAITING {
            return Err(job);
        }
        lanes.waiting += 1;
        lanes.lanes.entry(job.size().workspace).or_default().push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    /// How many operations wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Asks the writer to drop and reopen the database; for readers that met a storage fault.
    pub(super) fn ask_to_reopen(&self) {
        self.lock().reopen = true;
        self.changed.notify_one();
    }

    /// Lets the writer finish what waits and stop.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits for work. `None` when closed and empty.
    fn next(&self) -> Option<Work> {
        let mut lanes = self.lock();
        loop {
            if std::mem::take(&mut lanes.reopen) {
                return Some(Work::Reopen);
            }
            if lanes.waiting > 0 {
                return Some(Work::Jobs(take_batch(&mut lanes)));
            }
            if lanes.closed {
                return None;
            }
            lanes = self.changed.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

enum Work {
    Jobs(Vec<Box<dyn Job>>),
    Reopen,
}

/// Takes operations in turns by workspace until the batch is full.
fn take_batch(lanes: &mut Lanes) -> Vec<Box<dyn Job>> {
    let mut jobs: Vec<Box<dyn Job>> = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    while jobs.len() < MOST_OPERATIONS {
        let turn = lanes.lanes.range(lanes.last + 1..).next().or_else(|| lanes.lanes.iter().next());
        let Some((&workspace, lane)) = turn else { break };
        let size = lane.front().map_or_else(Size::default, |job| job.size());
        let fits = rows + size.rows <= MOST_ROWS && bytes + size.bytes <= MOST_BYTES;
        if !jobs.is_empty() && !fits {
            break;
        }
        rows += size.rows;
        bytes += size.bytes;
        lanes.last = workspace;
        if let Some(lane) = lanes.lanes.get_mut(&workspace) {
            jobs.extend(lane.pop_front());
            if lane.is_empty() {
                lanes.lanes.remove(&workspace);
            }
        }
        lanes.waiting -= 1;
    }
    jobs
}

/// Counts what the writer does.
#[derive(Debug, Default)]
pub(super) struct Meter {
    batches: AtomicU64,
    operations: AtomicU64,
    rows: AtomicU64,
    busy_micros: AtomicU64,
    durations: [AtomicU64; 11],
}

/// Upper bounds of [`WriterStatistics::durations`] in milliseconds.
const BOUNDS: [u128; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

impl Meter {
    fn count(&self, operations: usize, took: Duration) {
        let slot = BOUNDS.iter().position(|bound| took.as_micros() <= bound * 1000);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.operations.fetch_add(u64::try_from(operations).unwrap_or(0), Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.busy_micros.fetch_add(micros, Ordering::Relaxed);
        self.durations[slot.unwrap_or(BOUNDS.len())].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, waiting: usize) -> WriterStatistics {
        let mut durations = [0; 11];
        for (to, from) in durations.iter_mut().zip(&self.durations) {
            *to = from.load(Ordering::Relaxed);
        }
        WriterStatistics {
            batches: self.batches.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            busy_micros: self.busy_micros.load(Ordering::Relaxed),
            waiting: u64::try_from(waiting).unwrap_or(u64::MAX),
            durations,
        }
    }
}

/// Opens the database again after a fault.
pub(super) type Opener = Box<dyn Fn() -> Result<Database> + Send + Sync>;

/// The database, shared by the writer and all readers. `None` while it could not be reopened.
pub(super) type SharedDatabase = Arc<RwLock<Option<Database>>>;

/// The writer's side.
pub(super) struct Writer {
    pub(super) database: SharedDatabase,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Clock,
    pub(super) opener: Opener,
    pub(super) meter: Arc<Meter>,
    /// The time of the last batch that wrote, in milliseconds.
    pub(super) seen: Arc<AtomicU64>,
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub(super) fn run(self) {
        while let Some(work) = self.queue.next() {
            match work {
                Work::Reopen => self.reopen(),
                Work::Jobs(jobs) => {
                    let (watch, operations) = (Stopwatch::start(), jobs.len());
                    self.write(jobs);
                    self.meter.count(operations, watch.elapsed());
                }
            }
        }
    }

    fn write(&self, mut jobs: Vec<Box<dyn Job>>) {
        match self.attempt(&mut jobs) {
            Ok(()) => jobs.into_iter().for_each(|job| job.answer()),
            Err(Failure { error, commit }) => {
                self.recover(&error);
                // A commit that failed may have happened. Running its operations again could turn
                // "it is done" into "there is no such upload", so the callers are told the truth:
                // the outcome is unknown.
                if commit || jobs.len() == 1 {
                    jobs.into_iter().for_each(|job| job.fail(again(&error)));
                    return;
                }
                for job in jobs {
                    self.write(vec![job]);
                }
            }
        }
    }

    /// After a fault: a panic or a damaged record leaves the handle usable, an I/O error does not.
    fn recover(&self, error: &MetadataError) {
        tracing::error!(error = %error, cause = ?error, "a metadata transaction failed and was rolled back");
        if !matches!(error, MetadataError::Corrupt(_)) {
            self.reopen();
        }
    }

    fn reopen(&self) {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *database = None;
        match (self.opener)() {
            Ok(open) => *database = Some(open),
            Err(error) => {
                tracing::error!(error = %error, cause = ?error, "the database could not be reopened");
            }
        }
    }

    fn attempt(&self, jobs: &mut [Box<dyn Job>]) -> std::result::Result<(), Failure> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.reopen();
        }
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(closed)?;
        let transaction = begin(database)?;
        let mut written = false;
        let now = self.clock.now();
        {
            let mut batch = Batch::open(&transaction, now)?;
            for job in jobs {
                let outcome = catch_unwind(AssertUnwindSafe(|| job.run(&mut batch)));
                match outcome {
                    Ok(Outcome::Settled) => {
                        written |= batch.take_written();
                    }
                    Ok(Outcome::Failed(error)) => return Err(error.into()),
                    Err(_) => {
                        let error = MetadataError::Unavailable("an operation panicked".into());
                        return Err(error.into());
                    }
                }
            }
            if written {
                manifests::be_seen(&mut batch)?;
            }
            self.meter.rows.fetch_add(batch.touched(), Ordering::Relaxed);
        }
        if !written {
            return transaction.abort().map_err(|error| storage(error).into());
        }
        let failure = |error| Failure { error: storage(error), commit: true };
        transaction.commit().map_err(failure)?;
        // Nobody has been answered yet, so whoever asks after an answer sees this.
        self.seen.store(now.0, Ordering::SeqCst);
        Ok(())
    }
}

/// Ends the process when the writer's thread panics outside an operation: a server that lives on
/// without a writer would answer every change with an error until somebody noticed.
#[derive(Debug)]
pub(super) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "the metadata writer panicked; the server ends, because it cannot write"
            );
            std::process::abort();
        }
    }
}

/// Why a batch did not happen, and whether that was while committing.
struct Failure {
    error: MetadataError,
    commit: bool,
}

impl From<MetadataError> for Failure {
    fn from(error: MetadataError) -> Self {
        Self { error, commit: false }
    }
}

fn begin(database: &Database) -> Result<WriteTransaction> {
    let mut transaction = database.begin_write().map_err(storage)?;
    // Two-phase commit and a saved allocator: reopening after a kill takes milliseconds instead of
    // a walk over the whole file.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn closed() -> MetadataError {
    MetadataError::Unavailable("the database is closed after a fault".into())
}

/// The same error for the caller; causes are logged once and not cloned.
fn again(error: &MetadataError) -> MetadataError {
    match error {
        MetadataError::NoSpace => MetadataError::NoSpace,
        MetadataError::Corrupt(what) => MetadataError::Corrupt(what),
        other => MetadataError::Unavailable(other.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing(Size);

    impl Job for Nothing {
        fn size(&self) -> Size {
            self.0
        }

        fn run(&mut self, _: &mut Batch<'_>) -> Outcome {
            Outcome::Settled
        }
        fn answer(self: Box<Self>) {}
        fn fail(self: Box<Self>, _: MetadataError) {}
    }

    fn push(queue: &Queue, workspace: u64, rows: usize) -> bool {
        queue.push(Box::new(Nothing(Size { workspace, rows, bytes: 1 }))).is_ok()
    }

    fn batch(queue: &Queue) -> Vec<u64> {
        match queue.next() {
            Some(Work::Jobs(jobs)) => jobs.iter().map(|job| job.size().workspace).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn workspaces_take_turns() {
        let queue = Queue::default();
        for _ in 0..3 {
            push(&queue, 1, 1);
        }
        push(&queue, 2, 1);
        push(&queue, 3, 1);
        assert_eq!(batch(&queue), [1, 2, 3, 1, 1]);
    }

    #[test]
    fn a_batch_ends_at_its_budget_but_always_takes_one() {
        let queue = Queue::default();
        push(&queue, 1, MOST_ROWS * 2);
        push(&queue, 1, MOST_ROWS);
        push(&queue, 1, 1);
        assert_eq!(batch(&queue).len(), 1);
        assert_eq!(batch(&queue).len(), 1);
        assert_eq!(batch(&queue).len(), 1);
        for _ in 0..MOST_OPERATIONS + 10 {
            push(&queue, 1, 1);
        }
        assert_eq!(batch(&queue).len(), MOST_OPERATIONS);
        assert_eq!(batch(&queue).len(), 10);
    }

    #[test]
    fn a_full_queue_refuses() {
        let queue = Queue::default();
        for _ in 0..MOST_WAITING {
            assert!(push(&queue, 1, 1));
        }
        assert!(!push(&queue, 1, 1));
    }
}
