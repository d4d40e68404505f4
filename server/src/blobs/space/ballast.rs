//! A file that takes space so that it can be given back.
//!
//! Invariant: [`Ballast::length`] is what the file really takes from the disk, or less.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The unit in which `stat` counts what a file takes, whatever the file system's blocks are.
const STAT_BLOCK: u64 = 512;

/// Bytes written at once where a file cannot be allocated.
const STEP: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    length: AtomicU64,
}

impl Ballast {
    /// Looks for the ballast of a data directory.
    pub(super) fn find(directory: &Path) -> io::Result<Self> {
        let path = directory.join("ballast");
        let length = match path.metadata() {
            Ok(found) => found.len().min(found.blocks() * STAT_BLOCK),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self { path, length: AtomicU64::new(length) })
    }

    /// Bytes that the file takes.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    /// Gives the space back.
    pub(super) fn release(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                self.length.store(0, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Takes this much space. If there is not enough, takes none.
    pub(super) fn restore(&self, length: u64) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        match allocate(&file, length) {
            Ok(()) => {
                self.length.store(length, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                drop(file);
                self.release()?;
                Err(error)
            }
        }
    }
}

fn allocate(file: &File, length: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_out(file, length),
        allocated => Ok(allocated?),
    }
}

/// For file systems that cannot allocate: zeros might be stored as nothing, random bytes cannot.
fn write_out(mut file: &File, length: u64) -> io::Result<()> {
    let mut noise = vec![0; usize::try_from(STEP).expect("a mebibyte is a small number")];
    getrandom::fill(&mut noise).map_err(io::Error::other)?;
    let mut left = length;
    while left > 0 {
        let part = left.min(STEP);
        file.write_all(&noise[..usize::try_from(part).expect("at most STEP")])?;
        left -= part;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_takes_real_space_and_is_found_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let ballast = Ballast::find(directory.path()).expect("looked");
        assert_eq!(ballast.length(), 0);
        ballast.restore(3 << 20).expect("there is space");
        assert_eq!(Ballast::find(directory.path()).expect("looked").length(), 3 << 20);
        ballast.release().expect("removed");
        ballast.release().expect("removing it twice is no error");
        assert_eq!(Ballast::find(directory.path()).expect("looked").length(), 0);
    }

    #[test]
    fn a_sparse_file_is_no_ballast() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = File::create(directory.path().join("ballast")).expect("created");
        file.set_len(1 << 20).expect("extended");
        assert_eq!(Ballast::find(directory.path()).expect("looked").length(), 0);
    }

    #[test]
    fn where_files_cannot_be_allocated_they_are_written_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ballast");
        write_out(&File::create(&path).expect("created"), (2 << 20) + 7).expect("written");
        assert_eq!(Ballast::find(directory.path()).expect("looked").length(), (2 << 20) + 7);
    }
}
