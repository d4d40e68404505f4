//! The file system as the blob store uses it: a narrow shim, so that faults can be injected.
//!
//! Invariant: each method is one operation of the operating system (or a loop of one), with no
//! policy. This file must not know uploads, objects or digests.

use crate::blobs::space::Space;
use rustix::buffer::spare_capacity;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Operations on names. Every path is absolute or relative to the process's working directory.
pub trait Files: Clone + fmt::Debug + Send + Sync + 'static {
    /// An open file.
    type File: OpenFile;

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// The operating system's, as with every method here.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens an existing file for reading and writing.
    fn open_to_write(&self, path: &Path) -> io::Result<Self::File>;

    /// Creates a file that only its owner may read (mode 0600); it must not exist yet.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Creates a directory that only its owner may enter (mode 0700); its parent must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// What is known about a name.
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// Space on the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// Operations on an open file. All positions are absolute; there is no cursor.
pub trait OpenFile: fmt::Debug + Send + Sync + 'static {
    /// The file's length in bytes.
    ///
    /// # Errors
    /// The operating system's, as with every method here.
    fn length(&self) -> io::Result<u64>;

    /// The file's length, and a number that changes when anybody touches the file.
    fn facts(&self) -> io::Result<Facts>;

    /// Reads exactly `length` bytes from `offset` into the memory of `into`, whose content is dropped; a
    /// file that ends before is [`io::ErrorKind::UnexpectedEof`].
    fn read(&self, offset: u64, length: usize, into: Vec<u8>) -> io::Result<Vec<u8>>;

    /// Writes all of `bytes` at `offset`.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends the file.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Makes the content and length durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the content and everything about the file durable.
    fn sync_all(&self) -> io::Result<()>;
}

/// What is known about an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Length in bytes.
    pub length: u64,
    /// Made of its inode, its length and when it was last changed in any way (the change time, which
    /// no call can set); `None` if that is not known.
    pub version: Option<u64>,
}

/// What is known about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Length in bytes.
    pub length: u64,
    /// The device it is on; files can be renamed within one device only.
    pub device: u64,
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

impl Files for SystemFiles {
    type File = File;

    fn open(&self, path: &Path) -> io::Result<File> {
        let file = File::open(path)?;
        // Blobs are read from front to back; advice that is not taken is no error.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
        Ok(file)
    }

    fn open_to_write(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let found = fs::metadata(path)?;
        Ok(Stat { length: found.len(), device: found.dev() })
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        Space::of(path)
    }
}

impl OpenFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn facts(&self) -> io::Result<Facts> {
        let found = self.metadata()?;
        let mut hasher = DefaultHasher::new();
        (found.ino(), found.len(), found.ctime(), found.ctime_nsec()).hash(&mut hasher);
        Ok(Facts { length: found.len(), version: Some(hasher.finish()) })
    }

    fn read(&self, offset: u64, length: usize, into: Vec<u8>) -> io::Result<Vec<u8>> {
        // Reading into spare capacity saves zeroing a chunk before each read.
        let mut bytes = into;
        bytes.clear();
        bytes.reserve_exact(length);
        while bytes.len() < length {
            let at = offset + bytes.len() as u64;
            match rustix::io::pread(self, spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // A vector may have been given more room than was asked for.
        bytes.truncate(length);
        Ok(bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        Self::sync_all(self)
    }
}
