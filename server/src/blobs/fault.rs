//! Files that fail on purpose, for tests of this crate and of those that drive it from outside.
//!
//! [`FaultyFiles`] passes calls on to other files and fails those that its plan names.
//! [`SimulatedDisk`] is a file system in memory that, at a power loss, forgets what was not synced.
//! Nothing here is used by the server itself.

mod disk;

use super::fs::files::{Facts, Files, OpenFile, Stat};
use super::space::Space;
use crate::fault::FaultPlan;
pub use disk::SimulatedDisk;
use std::ffi::OsString;
use std::io;
use std::path::Path;

/// Files whose n-th call fails.
#[derive(Clone, Debug)]
pub struct FaultyFiles<F> {
    files: F,
    plan: FaultPlan,
}

/// An open file whose calls count too.
#[derive(Debug)]
pub struct FaultyFile<T> {
    file: T,
    plan: FaultPlan,
}

impl<F> FaultyFiles<F> {
    /// Fails the calls to `files` that `plan` says.
    pub const fn new(files: F, plan: FaultPlan) -> Self {
        Self { files, plan }
    }
}

impl<F: Files> FaultyFiles<F> {
    fn faulty(&self, file: F::File) -> FaultyFile<F::File> {
        FaultyFile { file, plan: self.plan.clone() }
    }
}

impl<F: Files> Files for FaultyFiles<F> {
    type File = FaultyFile<F::File>;

    fn open(&self, path: &Path) -> io::Result<Self::File> {
        self.plan.call("open")?;
        self.files.open(path).map(|file| self.faulty(file))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Self::File> {
        self.plan.call("open_to_write")?;
        self.files.open_to_write(path).map(|file| self.faulty(file))
    }

    fn create(&self, path: &Path) -> io::Result<Self::File> {
        self.plan.call("create")?;
        self.files.create(path).map(|file| self.faulty(file))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.call("create_dir")?;
        self.files.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.call("rename")?;
        self.files.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.plan.call("remove")?;
        self.files.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.call("sync_dir")?;
        self.files.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.plan.call("list")?;
        self.files.list(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.plan.call("stat")?;
        self.files.stat(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.plan.call("space")?;
        self.files.space(path)
    }
}

impl<T: OpenFile> OpenFile for FaultyFile<T> {
    fn length(&self) -> io::Result<u64> {
        self.plan.call("length")?;
        self.file.length()
    }

    fn facts(&self) -> io::Result<Facts> {
        self.plan.call("length")?;
        self.file.facts()
    }

    fn read(&self, offset: u64, length: usize, into: Vec<u8>) -> io::Result<Vec<u8>> {
        self.plan.call("read")?;
        self.file.read(offset, length, into)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.plan.call("write") {
            // A write that fails may have written some of it.
            let _ = self.file.write(offset, &bytes[..bytes.len() / 2]);
            return Err(error);
        }
        self.file.write(offset, bytes)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.plan.call("set_length")?;
        self.file.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.plan.call("sync_data")?;
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.plan.call("sync_all")?;
        self.file.sync_all()
    }
}
