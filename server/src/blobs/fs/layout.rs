//! Where everything is in the data directory, and what a name in it means.
//!
//! Invariant: a name is either one that this file can read back, or a stranger's, which is left
//! alone and warned about once.

use crate::blobs::set_aside_at;
use crate::domain::{ObjectKey, Timestamp, UploadId};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Strangers named in the log before it says no more of them.
const NAMED_STRANGERS: usize = 20;

/// The paths of a data directory.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
    pub(super) blobs: PathBuf,
    pub(super) uploads: PathBuf,
    pub(super) lost_and_found: PathBuf,
    strangers: Mutex<HashSet<PathBuf>>,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        let blobs = root.join("blobs");
        Self {
            root: root.to_owned(),
            uploads: root.join("uploads"),
            lost_and_found: blobs.join("lost+found"),
            blobs,
            strangers: Mutex::default(),
        }
    }

    /// The directory of objects whose key ends with this byte. The last byte of a UUIDv7 is random,
    /// so the directories fill evenly.
    pub(super) fn shard(&self, last: u8) -> PathBuf {
        self.blobs.join(format!("{last:02x}"))
    }

    pub(super) fn shard_of(&self, key: ObjectKey) -> PathBuf {
        self.shard(last_byte(key))
    }

    pub(super) fn object(&self, key: ObjectKey) -> PathBuf {
        self.shard_of(key).join(key.to_string())
    }

    pub(super) fn data(&self, id: UploadId) -> PathBuf {
        self.uploads.join(id.to_string())
    }

    pub(super) fn state(&self, id: UploadId) -> PathBuf {
        self.uploads.join(format!("{id}.state"))
    }

    pub(super) fn identity(&self) -> PathBuf {
        self.blobs.join("instance")
    }

    pub(super) fn new_identity(&self) -> PathBuf {
        self.blobs.join("instance.tmp")
    }

    pub(super) fn set_aside(&self, key: ObjectKey, now: Timestamp) -> PathBuf {
        self.lost_and_found.join(format!("{key}.{}", now.0))
    }

    /// The key that a name in a shard stands for.
    pub(super) fn read_object(&self, shard: u8, name: &OsStr) -> Option<ObjectKey> {
        let key = name.to_str().and_then(|name| name.parse().ok());
        let key = key.filter(|key| last_byte(*key) == shard);
        self.known(key, || self.shard(shard).join(name))
    }

    /// The upload that a name in `uploads` belongs to.
    pub(super) fn read_upload(&self, name: &OsStr) -> Option<UploadId> {
        let id =
            name.to_str().and_then(|name| name.strip_suffix(".state").unwrap_or(name).parse().ok());
        self.known(id, || self.uploads.join(name))
    }

    /// The time at which a name in `lost+found` was put there.
    pub(super) fn read_set_aside(&self, name: &OsStr) -> Option<Timestamp> {
        let time = name.to_str().and_then(set_aside_at);
        self.known(time, || self.lost_and_found.join(name))
    }

    fn known<T>(&self, meaning: Option<T>, path: impl FnOnce() -> PathBuf) -> Option<T> {
        if meaning.is_none() {
            self.warn_of_stranger(path());
        }
        meaning
    }

    /// Names met so far that are not ours.
    pub(super) fn strangers(&self) -> Vec<String> {
        let strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> = strangers
            .iter()
            .filter(|path| path.exists())
            .map(|path| path.display().to_string())
            .collect();
        names.sort();
        names
    }

    fn warn_of_stranger(&self, path: PathBuf) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.len() >= NAMED_STRANGERS || strangers.contains(&path) {
            return;
        }
        tracing::warn!(file.path = %path.display(), "left alone a file that is not Standpipe's");
        strangers.insert(path);
        if strangers.len() == NAMED_STRANGERS {
            tracing::warn!("further files that are not Standpipe's will not be named");
        }
    }
}

fn last_byte(key: ObjectKey) -> u8 {
    key.0.as_bytes()[15]
}
