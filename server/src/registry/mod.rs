//! The registry's verbs: what can be done, whoever asks and however.
//!
//! Invariant: a verb takes proof of access as an argument ([`access`]), makes one metadata
//! transaction and at most one blob operation, and leaves nothing half visible when it fails. This
//! folder must not know HTTP or how callers prove who they are.

pub mod access;
pub mod audit;
pub mod backup;
pub mod bindings;
pub mod blobs;
pub mod catalog;
mod checked;
pub mod collection;
pub mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod image;
pub mod layers;
pub mod manifests;
pub mod packages;
pub mod projects;
pub mod pulls;
pub mod repositories;
pub mod robots;
pub mod startup;
mod statistics;
pub mod tags;
pub mod undo;
pub mod uploads;
pub mod verify;
pub mod viewing;
pub mod workspaces;

use crate::blobs::BlobStore;
use crate::blobs::space::{Room, SpaceWatch};
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::metadata::{self, MetadataError, MetadataStore};
use checked::Sound;
pub use error::{RegistryError, Result};
use std::sync::Arc;
use std::time::Duration;

/// Limits that hold for the whole instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest manifest in bytes (distribution-spec asks for at least 4 MiB).
    pub manifest_bytes: usize,
    /// Most descriptors in one manifest.
    pub manifest_descriptors: usize,
    /// Largest blob in bytes; `None` for no limit.
    pub blob_bytes: Option<u64>,
    /// Longest time from an upload's beginning to its end; `None` for no limit.
    pub upload_duration: Option<Duration>,
    /// For how long a blob that was hashed whole is not hashed again when it is pulled.
    pub rehash_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            manifest_descriptors: 4000,
            blob_bytes: None,
            upload_duration: None,
            rehash_after: Duration::from_secs(3600),
        }
    }
}

/// The registry itself: two stores and the rules.
#[derive(Clone, Debug)]
pub struct Registry {
    metadata: Arc<dyn MetadataStore>,
    blobs: Arc<dyn BlobStore>,
    clock: Clock,
    limits: Limits,
    pulls: Arc<pulls::PullCounter>,
    space: Option<SpaceWatch>,
    /// Held for reading while an object has its name but not yet its row.
    finishing: Arc<tokio::sync::RwLock<()>>,
    collector: Arc<collection::Collector>,
    verifier: Arc<verify::Verifier>,
    backups: Arc<backup::BackupState>,
    sound: Arc<Sound>,
    platforms: Arc<viewing::Platforms>,
    /// When this registry was opened.
    started: Timestamp,
}

impl Registry {
    /// Joins the two stores.
    #[must_use]
    pub fn new(
        metadata: Arc<dyn MetadataStore>,
        blobs: Arc<dyn BlobStore>,
        clock: Clock,
        limits: Limits,
        space: Option<SpaceWatch>,
    ) -> Self {
        let (pulls, finishing, collector) = Default::default();
        let (verifier, backups, platforms) = Default::default();
        let started = clock.now();
        let sound = Arc::new(Sound::new(limits.rehash_after));
        Self {
            metadata,
            blobs,
            clock,
            limits,
            pulls,
            space,
            finishing,
            collector,
            verifier,
            backups,
            sound,
            platforms,
            started,
        }
    }

    /// The metadata store, for layers that own documents (accounts).
    #[must_use]
    pub fn metadata(&self) -> &Arc<dyn MetadataStore> {
        &self.metadata
    }

    /// The registry's clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The instance's limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether this server can do its work now: the metadata answers and uploads have room.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`] if the metadata cannot be read.
    pub async fn readiness(&self) -> Result<Readiness> {
        self.metadata.last_seen().await?;
        Ok(Readiness { uploads: self.room() == Room::Plenty })
    }

    fn room(&self) -> Room {
        self.space.as_ref().map_or(Room::Plenty, SpaceWatch::room)
    }

    /// Refuses uploads below the soft mark of free space.
    fn require_room_for_uploads(&self) -> Result<()> {
        match self.room() {
            Room::Plenty => Ok(()),
            Room::NoUploads | Room::DeletesOnly => Err(RegistryError::NoSpace),
        }
    }

    /// Runs a deletion, which must work on a full disk too: the ballast is released first when space
    /// is short, and once more when the disk filled up faster than it is measured.
    async fn deleting<T, D>(&self, delete: impl Fn() -> D) -> metadata::Result<T>
    where
        D: Future<Output = metadata::Result<T>>,
    {
        let _room = self.room();
        match (delete().await, &self.space) {
            (Err(MetadataError::NoSpace), Some(space)) => {
                space.measure_now();
                delete().await
            }
            (outcome, _) => outcome,
        }
    }

    /// Refuses everything but deletions below the hard mark of free space.
    pub(crate) fn require_room_for_changes(&self) -> Result<()> {
        match self.room() {
            Room::Plenty | Room::NoUploads => Ok(()),
            Room::DeletesOnly => Err(RegistryError::NoSpace),
        }
    }
}

/// What the server can do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether uploads have room.
    pub uploads: bool,
}
