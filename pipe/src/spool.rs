//! The directory in which layers lie between the daemon and the registry.
//!
//! Invariant: the space is checked before and while it is used, and the directory is gone when
//! the [`Spool`] is, whatever happened. A file is named by its digest, so equal layers are
//! stored once.
//! Must not know: what the files are.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Take, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::{NamedTempFile, TempDir};

use crate::error::{Error, Failure};
use crate::image::{Digest, Hashing};
use crate::output::megabytes;

/// A directory of our own, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: TempDir,
    /// Bytes written since the free space was last looked at.
    unchecked: AtomicU64,
}

impl Spool {
    /// Makes a directory inside `parent`.
    pub(crate) fn create(parent: &Path) -> Result<Self, Error> {
        let directory = tempfile::Builder::new().prefix("standpipe-").tempdir_in(parent);
        let directory = directory.map_err(|error| {
            let message = format!("could not make a directory in {}: {error}", parent.display());
            Error::Unexpected(Failure::new(message).hint("TMPDIR names another place for layers."))
        })?;
        Ok(Self { directory, unchecked: AtomicU64::new(0) })
    }

    /// Refuses an image for which the space could run out.
    ///
    /// Layers are stored compressed, but some do not shrink, so `bytes` is what the image
    /// takes unpacked.
    pub(crate) fn expect(&self, bytes: u64) -> Result<(), Error> {
        let free = self.free().map_err(|error| Error::local("read the free disk space", &error))?;
        let needed = bytes.saturating_add(RESERVE);
        tracing::debug!("{} are free for layers", megabytes(free));
        if free >= needed {
            return Ok(());
        }
        let place = self.directory.path().parent().unwrap_or(self.directory.path());
        let message = format!(
            "not enough disk space for the layers: the image has up to {}, {} has {} free",
            megabytes(bytes),
            place.display(),
            megabytes(free)
        );
        Err(Error::Unexpected(
            Failure::new(message)
                .hint("TMPDIR names another place; size: 2x gives a step more space."),
        ))
    }

    /// A new file, to be named when its content is known.
    pub(crate) fn writer(&self) -> io::Result<SpoolWriter<'_>> {
        let file = NamedTempFile::new_in(self.directory.path())?;
        Ok(SpoolWriter { spool: self, file, hashing: Hashing::default() })
    }

    /// Keeps a few bytes.
    pub(crate) fn keep(&self, bytes: &[u8]) -> io::Result<SpoolFile> {
        let mut writer = self.writer()?;
        writer.write_all(bytes)?;
        writer.finish()
    }

    /// Removes the directory and says so if that fails.
    pub(crate) fn close(self) {
        let path = self.directory.path().to_owned();
        if let Err(error) = self.directory.close() {
            tracing::warn!("could not remove {}: {error}", path.display());
        }
    }

    fn free(&self) -> io::Result<u64> {
        let file_system = rustix::fs::statvfs(self.directory.path())?;
        Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
    }

    /// A daemon that sends more than it announced must not fill the disk.
    fn account(&self, bytes: usize) -> io::Result<()> {
        let before = self.unchecked.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + (bytes as u64) < CHECK_EVERY {
            return Ok(());
        }
        self.unchecked.store(0, Ordering::Relaxed);
        if self.free()? < RESERVE {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("less than {} of disk space are left", megabytes(RESERVE)),
            ));
        }
        Ok(())
    }
}

/// A file that is being written and hashed.
pub(crate) struct SpoolWriter<'a> {
    spool: &'a Spool,
    file: NamedTempFile,
    hashing: Hashing,
}

impl SpoolWriter<'_> {
    /// Reads what was written; the file goes with the result.
    pub(crate) fn into_reader(mut self) -> io::Result<impl io::Read + use<>> {
        self.file.rewind()?;
        Ok(self.file)
    }

    /// Names the file by its digest.
    pub(crate) fn finish(self) -> io::Result<SpoolFile> {
        let (digest, size) = self.hashing.finish();
        let path = self.spool.directory.path().join(digest.hex());
        self.file.persist(&path).map_err(|error| error.error)?;
        Ok(SpoolFile { path, offset: 0, digest, size })
    }
}

impl Write for SpoolWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hashing.update(&bytes[..count]);
        self.spool.account(count)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Content that lies on disk and is hashed: a finished file of the spool, or a piece of an archive
/// that needed no copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpoolFile {
    pub(crate) path: PathBuf,
    /// Where in the file it begins, in bytes.
    pub(crate) offset: u64,
    pub(crate) digest: Digest,
    /// In bytes.
    pub(crate) size: u64,
}

impl SpoolFile {
    /// The whole content, if it is at most `most` bytes.
    pub(crate) fn read(&self, most: u64) -> io::Result<Vec<u8>> {
        if self.size > most {
            let message = format!("{} has {} bytes; {most} are allowed", self.digest, self.size);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut bytes = Vec::new();
        self.open()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn open(&self) -> io::Result<Take<File>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.take(self.size))
    }
}

/// Space that is left to others.
const RESERVE: u64 = 32 << 20;
const CHECK_EVERY: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_named_by_its_content_and_gone_with_the_spool() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::create(parent.path()).unwrap();
        let mut writer = spool.writer().unwrap();
        writer.write_all(b"hello").unwrap();
        let file = writer.finish().unwrap();
        assert_eq!(file.read(5).unwrap(), b"hello");
        assert!(file.read(4).is_err());
        assert!(file.digest.as_str().starts_with("sha256:2cf24dba5fb0a30e"));
        drop(spool.writer().unwrap());
        spool.close();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_image_larger_than_the_disk_is_refused_before_it_is_read() {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::create(parent.path()).unwrap();
        let refusal = spool.expect(u64::MAX).unwrap_err();
        assert_eq!(refusal.exit_code(), 1);
        assert!(refusal.to_string().contains("not enough disk space"), "{refusal}");
        assert!(spool.expect(1).is_ok());
    }
}
