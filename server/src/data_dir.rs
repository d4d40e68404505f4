//! The data directory as a whole: is it ours, and are we alone in it?
//!
//! Invariant: nothing in the directory is touched before its lock is held, and a directory that
//! holds something else is never written to.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// The lock file; a running server holds it.
const LOCK: &str = "LOCK";
/// The metadata database.
const DATABASE: &str = "meta.redb";
/// Where a running server can be reached, for scripts.
const LISTEN: &str = "listen";
/// What a finished backup says about itself.
const BACKUP_NOTE: &str = "backup.json";
/// What may be in a directory that we are asked to begin in: what `mkfs` and our own lock leave.
const HARMLESS: [&str; 3] = [LOCK, "lost+found", ".gitkeep"];

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The directory cannot be made or read.
    #[error("{path}: {source}")]
    Io {
        /// What was tried on.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// Another server runs on it.
    #[error("{path} is in use by another standpipe-server{holder}; stop it first")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process, if known.
        holder: String,
    },
    /// There are blobs but no database.
    #[error(
        "{0} has blobs but no {DATABASE}; put back the database that belongs to them, or start with an empty directory"
    )]
    NoDatabase(PathBuf),
    /// Something else is in it.
    #[error(
        "{path} is not empty and is not a Standpipe data directory (it has {found:?}); give an empty or a new directory with --data-dir"
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Something that is in it.
        found: String,
    },
}

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // Held until dropped; the kernel releases it however the process ends.
    _lock: File,
}

impl DataDir {
    /// Takes a directory, making it if there is none.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn hold(path: &Path) -> Result<Self, DataDirError> {
        let held = Self::hold_target(path)?;
        if !held.database().exists() && path.join("blobs/instance").exists() {
            return Err(DataDirError::NoDatabase(path.to_owned()));
        }
        Ok(held)
    }

    /// Takes a directory that a backup is written to; it may hold an unfinished one.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn hold_target(path: &Path) -> Result<Self, DataDirError> {
        let io = |source| DataDirError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        check_ours(path)?;
        let lock_path = path.join(LOCK);
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if mutant!("no-lock") => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The holder's number is a courtesy; an unreadable one changes nothing.
                let read = lock.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
                let holder =
                    if read { format!(" (process {})", pid.trim()) } else { String::new() };
                return Err(DataDirError::InUse { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        lock.set_len(0).and_then(|()| lock.rewind()).map_err(io)?;
        writeln!(lock, "{}", std::process::id()).map_err(io)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata database's file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// A path for a database that is not whole yet; what an earlier try left there is removed.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn fresh_database(&self) -> Result<PathBuf, DataDirError> {
        let path = self.path.join(format!("{DATABASE}.new"));
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(DataDirError::Io { path, source })
            }
            _ => Ok(path),
        }
    }

    /// Makes a database that is whole and durable the one of this directory.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn accept_database(&self, fresh: &Path) -> Result<(), DataDirError> {
        let path = self.database();
        let accepted = std::fs::rename(fresh, &path)
            .and_then(|()| File::open(&self.path))
            .and_then(|directory| directory.sync_all());
        accepted.map_err(|source| DataDirError::Io { path, source })
    }

    /// Leaves a note about a backup; it makes the directory one.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn leave_note(&self, text: &str) -> Result<(), DataDirError> {
        let path = self.path.join(BACKUP_NOTE);
        std::fs::write(&path, text).map_err(|source| DataDirError::Io { path, source })
    }

    /// Whether this is a backup that no server has worked in.
    #[must_use]
    pub fn is_backup(&self) -> bool {
        self.path.join(BACKUP_NOTE).exists()
    }

    /// Takes the note away, because from here on this is more than a backup.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn forget_note(&self) -> Result<(), DataDirError> {
        let path = self.path.join(BACKUP_NOTE);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(DataDirError::Io { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Writes down where the server can be reached.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn announce(&self, address: &str) -> Result<(), DataDirError> {
        let path = self.path.join(LISTEN);
        std::fs::write(&path, format!("{address}\n"))
            .map_err(|source| DataDirError::Io { path, source })
    }
}

/// Where the server of a directory said that it can be reached when it last started.
#[must_use]
pub fn announced(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path.join(LISTEN)).ok()?;
    text.lines().next().map(str::to_owned)
}

/// Refuses a directory that holds something else than our data.
fn check_ours(path: &Path) -> Result<(), DataDirError> {
    let io = |source| DataDirError::Io { path: path.to_owned(), source };
    if path.join(DATABASE).exists() || path.join("blobs/instance").exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.to_string_lossy();
        // A first start that was cut off leaves our empty folders.
        let own = matches!(&*name, "blobs" | "uploads" | "ballast" | BACKUP_NOTE)
            || name.starts_with(DATABASE);
        if !own && !HARMLESS.contains(&&*name) {
            return Err(DataDirError::NotOurs { path: path.to_owned(), found: name.into_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one_only() {
        let directory = tempfile::tempdir().unwrap();
        let held = DataDir::hold(directory.path()).unwrap();
        let second = DataDir::hold(directory.path()).unwrap_err();
        assert!(matches!(second, DataDirError::InUse { .. }));
        assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
        drop(held);
        DataDir::hold(directory.path()).unwrap();
    }

    #[test]
    fn a_strangers_directory_is_refused_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("thesis.txt"), "x").unwrap();
        let error = DataDir::hold(directory.path()).unwrap_err();
        assert!(error.to_string().contains("thesis.txt"), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn blobs_without_a_database_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("blobs")).unwrap();
        std::fs::write(directory.path().join("blobs/instance"), "{}").unwrap();
        assert!(matches!(DataDir::hold(directory.path()), Err(DataDirError::NoDatabase(_))));
    }
}
