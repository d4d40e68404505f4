//! Free space, and how much of it must stay free.
//!
//! A full disk must stop uploads and nothing else: pulls need no space, and deletions need a little of
//! it before they give some back. So there are two marks. Below the soft one no upload begins; below
//! the hard one only deletions write, and the ballast, a file that is there for nothing else, is
//! removed for them. Invariant: the space of a removed ballast is not counted as free, so removing it
//! does not let uploads in again; it is put back when there is plenty.
//!
//! Small file systems have smaller marks, so that a test volume of 100 MiB is usable. This file must
//! not know what is stored.

mod ballast;

use crate::clock::Clock;
use crate::domain::Timestamp;
use ballast::Ballast;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// How long a measurement is good for.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// Bytes that a free inode is worth. Inodes run out too; counting each as this much space brings
/// the marks into play some thousands of files before the last.
const INODE_WORTH: u64 = 64 << 10;

/// What a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that an unprivileged process can still write, or less if inodes are scarcer.
    pub free: u64,
    /// Size of the file system in bytes.
    pub total: u64,
}

impl Space {
    /// Measures the file system that holds `path`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(path)?;
        let bytes = found.f_bavail.saturating_mul(found.f_frsize);
        // A file system that makes inodes as it needs them says that it has none at all.
        let inodes =
            if found.f_files == 0 { u64::MAX } else { found.f_favail.saturating_mul(INODE_WORTH) };
        Ok(Self { free: bytes.min(inodes), total: found.f_blocks.saturating_mul(found.f_frsize) })
    }
}

/// What must stay free, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Below this no upload begins. At most a tenth of the file system counts.
    pub soft: u64,
    /// Below this only deletions write. At most a twentieth of the file system counts.
    pub hard: u64,
    /// Size of the ballast. At most a fiftieth of the file system counts.
    pub ballast: u64,
}

impl Default for Marks {
    fn default() -> Self {
        Self { soft: 1 << 30, hard: 256 << 20, ballast: 64 << 20 }
    }
}

impl Marks {
    /// The marks as they apply to a file system of this size.
    #[must_use]
    pub fn within(self, total: u64) -> Self {
        Self {
            soft: self.soft.min(total / 10),
            hard: self.hard.min(total / 20),
            ballast: self.ballast.min(total / 50),
        }
    }

    /// What there is room for if `free` bytes are left, apart from the ballast's.
    #[must_use]
    pub fn room(self, free: u64) -> Room {
        if free < self.hard {
            Room::DeletesOnly
        } else if free < self.soft {
            Room::NoUploads
        } else {
            Room::Plenty
        }
    }
}

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Everything.
    Plenty,
    /// Everything but uploads.
    NoUploads,
    /// Deletions only.
    DeletesOnly,
}

/// Watches the free space of a data directory and keeps its ballast. Clones watch together.
#[derive(Clone)]
pub struct SpaceWatch(Arc<Watch>);

struct Watch {
    measure: Box<dyn Fn() -> io::Result<Space> + Send + Sync>,
    directory: PathBuf,
    marks: Marks,
    clock: Clock,
    ballast: Ballast,
    /// When the next measurement is due.
    due: AtomicU64,
    room: AtomicU8,
    restoring: AtomicBool,
}

impl SpaceWatch {
    /// Measures the file system of a data directory for the first time, and takes the ballast from
    /// it if there is enough. Blocks.
    ///
    /// # Errors
    /// The operating system's, if the space cannot be measured. A ballast that cannot be made is
    /// only logged.
    pub fn start(directory: &Path, marks: Marks, clock: Clock) -> io::Result<Self> {
        let measured = directory.to_owned();
        Self::start_with(directory, marks, clock, Box::new(move || Space::of(&measured)))
    }

    fn start_with(
        directory: &Path,
        marks: Marks,
        clock: Clock,
        measure: Box<dyn Fn() -> io::Result<Space> + Send + Sync>,
    ) -> io::Result<Self> {
        let watch = Self(Arc::new(Watch {
            measure,
            directory: directory.to_owned(),
            marks,
            clock,
            ballast: Ballast::find(directory)?,
            due: AtomicU64::new(0),
            room: AtomicU8::new(Room::Plenty as u8),
            restoring: AtomicBool::new(false),
        }));
        let space = (watch.0.measure)()?;
        if watch.0.ballast_is_affordable(space) {
            watch.0.restore_ballast(space);
        }
        watch.0.measured((watch.0.measure)()?);
        Ok(watch)
    }

    /// What there is room for now. Measures at most once a second, which takes some microseconds, so
    /// it may be asked for each request.
    #[must_use]
    pub fn room(&self) -> Room {
        let watch = &*self.0;
        if watch.claim_measurement() {
            match (watch.measure)() {
                Ok(space) => {
                    watch.measured(space);
                    if watch.ballast_is_affordable(space) {
                        self.restore_ballast_aside(space);
                    }
                }
                // The last answer stands.
                Err(error) => tracing::warn!(error = %error, "could not measure free space"),
            }
        }
        match watch.room.load(Ordering::Relaxed) {
            room if room == Room::Plenty as u8 => Room::Plenty,
            room if room == Room::NoUploads as u8 => Room::NoUploads,
            _ => Room::DeletesOnly,
        }
    }

    /// What the file system has now; `None` if it does not tell.
    #[must_use]
    pub fn measure(&self) -> Option<Space> {
        (self.0.measure)().ok()
    }

    /// Measures now, whenever the last time was: for a caller that was just told the disk is full.
    pub fn measure_now(&self) {
        self.0.due.store(0, Ordering::Relaxed);
        let _room = self.room();
    }

    /// Puts the ballast back on a thread of its own: where files cannot be allocated at once it is
    /// written out, and a request should not wait for that.
    fn restore_ballast_aside(&self, space: Space) {
        if self.0.restoring.swap(true, Ordering::Relaxed) {
            return;
        }
        let watch = self.clone();
        let thread = std::thread::Builder::new().name("ballast".into());
        let started = thread.spawn(move || {
            watch.0.restore_ballast(space);
            watch.0.restoring.store(false, Ordering::Relaxed);
        });
        if started.is_err() {
            self.0.restoring.store(false, Ordering::Relaxed);
        }
    }
}

impl Watch {
    /// Whether this caller is the one that measures.
    fn claim_measurement(&self) -> bool {
        let now = self.clock.now();
        let due = self.due.load(Ordering::Relaxed);
        let next = now.plus(GOOD_FOR).0;
        now >= Timestamp(due)
            && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn measured(&self, space: Space) {
        let marks = self.marks.within(space.total);
        let owed = marks.ballast.saturating_sub(self.ballast.length());
        let room = marks.room(space.free.saturating_sub(owed));
        if room == Room::DeletesOnly && self.ballast.length() > 0 {
            match self.ballast.release() {
                Ok(()) => tracing::warn!(
                    space.free,
                    directory = %self.directory.display(),
                    "the disk is nearly full: gave the ballast's space to deletions"
                ),
                Err(error) => tracing::warn!(error = %error, "could not remove the ballast"),
            }
        }
        let before = self.room.swap(room as u8, Ordering::Relaxed);
        if before != room as u8 {
            tracing::warn!(space.free, space.total, ?room, "what there is room for has changed");
        }
    }

    fn ballast_is_affordable(&self, space: Space) -> bool {
        let marks = self.marks.within(space.total);
        let owed = marks.ballast.saturating_sub(self.ballast.length());
        owed > 0 && space.free > marks.soft.saturating_add(owed)
    }

    fn restore_ballast(&self, space: Space) {
        if let Err(error) = self.ballast.restore(self.marks.within(space.total).ballast) {
            tracing::warn!(error = %error, "could not put the ballast back");
        }
    }
}

impl fmt::Debug for SpaceWatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SpaceWatch")
            .field("directory", &self.0.directory)
            .field("marks", &self.0.marks)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
