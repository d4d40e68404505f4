//! Backup and restoring: a consistent copy of the whole data directory while pushes run.
//!
//! Invariant: the copy is a data directory by itself. Objects are copied after a snapshot of the rows
//! was taken, and while the copy runs a pin, renewed like a heartbeat, keeps the collector from
//! removing any object that the snapshot names. The database gets its name only when every object is
//! there, so a copy that was cut off is not taken for one, and an earlier copy in the same place stays
//! whole until then. Objects that are there already are not copied again.

use super::access::InstanceAdmin;
use super::{Registry, RegistryError, Result};
use crate::blobs::fs::FsBlobStore;
use crate::blobs::fs::files::SystemFiles;
use crate::blobs::{BlobError, BlobStore as _};
use crate::clock::Stopwatch;
use crate::data_dir::{DataDir, DataDirError};
use crate::domain::ObjectKey;
use crate::metadata::{MetadataStore, StoredObject};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a pin holds without being renewed, and how often it is renewed.
const PIN: Duration = Duration::from_secs(600);
const RENEW: Duration = Duration::from_secs(60);
/// Objects read from the rows at once.
const PAGE: usize = 500;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A backup runs already.
    #[error("a backup runs already")]
    Runs,
    /// The place is not one for a backup.
    #[error(transparent)]
    Place(#[from] DataDirError),
    /// It holds the backup of something else.
    #[error("{0} holds the data of another instance; choose another directory")]
    OtherInstance(PathBuf),
    /// Writing there failed.
    #[error("writing the backup failed")]
    Write(#[source] BlobError),
    /// This server's storage failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Where a backup stands, or how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Backup {
    /// Where it is written.
    pub path: PathBuf,
    /// The moment it shows, in milliseconds since the epoch.
    pub taken: u64,
    /// When it was finished.
    pub finished: Option<u64>,
    /// Objects in it so far.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Objects that had to be copied.
    pub copied: u64,
    /// Bytes of those.
    pub copied_bytes: u64,
    /// Objects that an earlier backup had left and no row names any more.
    pub removed: u64,
    /// Blobs that are not in it, because their objects are missing or damaged.
    pub damaged: Vec<String>,
    /// Why it did not end well.
    pub failure: Option<String>,
}

/// The backup that runs or ran last.
#[derive(Debug, Default)]
pub(super) struct BackupState {
    running: tokio::sync::Mutex<()>,
    now: Mutex<Option<Backup>>,
}

impl Registry {
    /// The backup that runs or ran last in this process.
    #[must_use]
    pub fn last_backup(&self, _proof: InstanceAdmin) -> Option<Backup> {
        self.backups.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a backup runs.
    #[must_use]
    pub fn is_backing_up(&self) -> bool {
        self.backups.running.try_lock().is_err()
    }

    /// Copies everything into a directory, which is empty or has an earlier backup.
    ///
    /// # Errors
    /// [`BackupError`]. An earlier backup in the same place is whole until this one is.
    pub async fn backup(
        &self,
        _proof: InstanceAdmin,
        path: &Path,
        progress: impl Fn(&Backup) + Send,
    ) -> std::result::Result<Backup, BackupError> {
        let Ok(_running) = self.backups.running.try_lock() else { return Err(BackupError::Runs) };
        let mut backup = Backup { path: path.to_owned(), ..Backup::default() };
        let outcome = self.back_up(&mut backup, &progress).await;
        if let Err(error) = &outcome {
            backup.failure = Some(error.to_string());
        }
        self.show_backup(&backup);
        outcome.map(|()| backup)
    }

    fn show_backup(&self, backup: &Backup) {
        *self.backups.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(backup.clone());
    }

    async fn back_up(
        &self,
        backup: &mut Backup,
        progress: &(impl Fn(&Backup) + Send),
    ) -> std::result::Result<(), BackupError> {
        let place = DataDir::hold_target(&backup.path)?;
        let store = FsBlobStore::open(place.path(), self.clock.clone(), SystemFiles)
            .map_err(BackupError::Write)?;
        self.claim(&store, place.path()).await?;
        // The pin comes before the snapshot: nothing that the snapshot names is removed from here on.
        self.renew_pin().await?;
        backup.taken = self.clock.now().0;
        let unfinished = place.fresh_database()?;
        let rows = self.metadata.copy_to(&unfinished).await.map_err(RegistryError::from)?;
        self.copy_objects(&*rows, &store, backup, progress).await?;
        place.accept_database(&unfinished)?;
        // What only an older backup named goes after the newer one is whole.
        backup.removed = prune(&*rows, &store).await?;
        drop(rows);
        backup.finished = Some(self.clock.now().0);
        // For people; nothing reads it.
        place.leave_note(&serde_json::to_string_pretty(backup).unwrap_or_default())?;
        tracing::info!(
            objects = backup.objects,
            bytes = backup.bytes,
            copied = backup.copied,
            copied_bytes = backup.copied_bytes,
            "backed up {} objects, {} of them new",
            backup.objects,
            backup.copied
        );
        Ok(())
    }
}

impl Registry {
    /// Makes sure that the place belongs to this instance.
    async fn claim(
        &self,
        store: &FsBlobStore,
        path: &Path,
    ) -> std::result::Result<(), BackupError> {
        let own = self.blobs.identity().await.map_err(RegistryError::from)?.unwrap_or_default();
        match store.identity().await.map_err(BackupError::Write)? {
            Some(found) if found != own => Err(BackupError::OtherInstance(path.to_owned())),
            Some(_) => Ok(()),
            None => store.set_identity(&own).await.map_err(BackupError::Write),
        }
    }

    async fn renew_pin(&self) -> Result<()> {
        Ok(self.metadata.pin(self.clock.now().plus(PIN)).await?)
    }

    async fn copy_objects(
        &self,
        rows: &dyn MetadataStore,
        store: &FsBlobStore,
        backup: &mut Backup,
        progress: &(impl Fn(&Backup) + Send),
    ) -> std::result::Result<(), BackupError> {
        let mut since_renewal = Stopwatch::start();
        let mut after = None;
        loop {
            let page = rows.objects(after, PAGE).await.map_err(RegistryError::from)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.object);
            for object in page {
                // One object may be large, but a pin outlasts ten times the pause between renewals,
                // and a reader's open file outlasts its name.
                if since_renewal.elapsed() >= RENEW {
                    self.renew_pin().await?;
                    since_renewal = Stopwatch::start();
                }
                self.copy_object(rows, store, object, backup).await?;
                self.show_backup(backup);
                progress(backup);
            }
        }
    }

    async fn copy_object(
        &self,
        rows: &dyn MetadataStore,
        store: &FsBlobStore,
        object: StoredObject,
        backup: &mut Backup,
    ) -> std::result::Result<(), BackupError> {
        let StoredObject { object: key, digest, size, .. } = object;
        backup.objects += 1;
        backup.bytes += size;
        match store.object_size(key).await {
            Ok(there) if there == size => return Ok(()),
            Ok(_) | Err(BlobError::UnknownObject(_)) => {}
            Err(error) => return Err(BackupError::Write(error)),
        }
        let imported = match self.blobs.read(key, 0, size).await {
            Ok(body) => store.import(key, &digest, body).await,
            Err(error) => Err(error),
        };
        match imported {
            Ok(_) => {
                backup.copied += 1;
                backup.copied_bytes += size;
                Ok(())
            }
            // Damage here must not cost the rest of the backup; the copy knows what it lacks.
            Err(
                error @ (BlobError::Digest { .. }
                | BlobError::UnknownObject(_)
                | BlobError::Damaged(_)
                | BlobError::Body(_)),
            ) => {
                tracing::error!(object = %key, error = %error, "blob {digest} is damaged and not in the backup");
                rows.mark_damaged(key, true).await.map_err(RegistryError::from)?;
                backup.damaged.push(digest.to_string());
                Ok(())
            }
            Err(error) => Err(BackupError::Write(error)),
        }
    }
}

/// Removes objects that the copied rows do not name.
async fn prune(
    rows: &dyn MetadataStore,
    store: &FsBlobStore,
) -> std::result::Result<u64, BackupError> {
    let (mut after, mut removed): (Option<ObjectKey>, u64) = (None, 0);
    loop {
        let page = store.objects(after, PAGE).await.map_err(BackupError::Write)?;
        let Some(last) = page.last() else { return Ok(removed) };
        after = Some(*last);
        let known = rows.known_objects(&page).await.map_err(RegistryError::from)?;
        for (key, known) in page.iter().zip(known) {
            if !known {
                store.delete(*key).await.map_err(BackupError::Write)?;
                removed += 1;
            }
        }
    }
}
