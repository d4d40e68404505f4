//! Backup and restoring: a consistent copy of the whole data directory while pushes run.
//!
//! Invariant: the copy is a data directory by itself. Objects are copied after a snapshot of the rows
//! was taken, and while the copy runs a pin, renewed like a heartbeat however long one object takes,
//! keeps the collector from removing any object that the snapshot names. The database gets its name
//! only when every object is there, so a copy that was cut off is not taken for one, and an earlier
//! copy in the same place stays whole until then. Objects that are there already are not copied again.
//! A directory that a server has worked in is never a place for a backup: its database would be
//! replaced by an older one.

use super::access::InstanceAdmin;
use super::{Registry, RegistryError, Result, verify};
use crate::blobs::fs::FsBlobStore;
use crate::blobs::fs::files::SystemFiles;
use crate::blobs::hasher::Hasher;
use crate::blobs::{BlobError, BlobStore as _, ByteStream};
use crate::data_dir::{DataDir, DataDirError};
use crate::domain::{Change, Digest, ObjectKey, Timestamp};
use crate::metadata::redb::{RedbOptions, RedbStore};
use crate::metadata::{DocumentKind, MetadataStore, StoredObject};
use futures_util::StreamExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a pin holds without being renewed, and how often it is renewed.
const PIN: Duration = Duration::from_secs(600);
const RENEW: Duration = Duration::from_secs(60);
/// How often it is asked whether it is time to.
const TICK: Duration = Duration::from_secs(1);
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
    /// A server has worked in it.
    #[error("{0} is the data directory of a server and not a backup; choose another directory")]
    NoBackup(PathBuf),
    /// Writing there failed.
    #[error("writing the backup failed: {0}")]
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
    running: AtomicBool,
    now: Mutex<Option<Backup>>,
}

/// The only backup at a time; dropping it ends that.
#[derive(Debug)]
pub struct BackingUp {
    state: Arc<BackupState>,
    backup: Backup,
}

impl Drop for BackingUp {
    fn drop(&mut self) {
        self.state.running.store(false, Ordering::Release);
    }
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
        self.backups.running.load(Ordering::Acquire)
    }

    /// Copies everything into a directory, which is empty or has an earlier backup.
    ///
    /// # Errors
    /// [`BackupError`]. An earlier backup in the same place is whole until this one is.
    pub async fn backup(
        &self,
        proof: InstanceAdmin,
        path: &Path,
        progress: impl Fn(&Backup) + Send,
    ) -> std::result::Result<Backup, BackupError> {
        let begun = self.begin_backup(proof, path)?;
        self.back_up_begun(begun, progress).await
    }

    /// Takes the turn to back up. From here on [`Registry::last_backup`] tells of this one.
    ///
    /// # Errors
    /// [`BackupError::Runs`].
    pub fn begin_backup(
        &self,
        _proof: InstanceAdmin,
        path: &Path,
    ) -> std::result::Result<BackingUp, BackupError> {
        if self.backups.running.swap(true, Ordering::AcqRel) {
            return Err(BackupError::Runs);
        }
        let taken = self.clock.now().0;
        let backup = Backup { path: path.to_owned(), taken, ..Backup::default() };
        self.show_backup(&backup);
        Ok(BackingUp { state: Arc::clone(&self.backups), backup })
    }

    /// Copies everything, in the turn that was taken.
    ///
    /// # Errors
    /// As [`Registry::backup`].
    pub async fn back_up_begun(
        &self,
        mut begun: BackingUp,
        progress: impl Fn(&Backup) + Send,
    ) -> std::result::Result<Backup, BackupError> {
        let outcome = self.back_up(&mut begun.backup, &progress).await;
        begun.backup.failure = outcome.as_ref().err().map(ToString::to_string);
        self.show_backup(&begun.backup);
        outcome.map(|()| begun.backup.clone())
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
        if place.database().exists() && !place.is_backup() {
            return Err(BackupError::NoBackup(backup.path.clone()));
        }
        let store = FsBlobStore::open(place.path(), self.clock.clone(), SystemFiles)
            .map_err(BackupError::Write)?;
        self.claim(&store, place.path()).await?;
        self.date_earlier(&place).await;
        // The pin comes before the snapshot: nothing that the snapshot names is removed from here on.
        let pinned = self.pin_objects().await?;
        backup.taken = self.clock.now().0;
        let unfinished = place.fresh_database()?;
        let copied = async {
            let rows = self.copy_rows(&unfinished).await?;
            self.copy_objects(&*rows, &store, backup, progress).await?;
            Ok::<_, BackupError>(rows)
        };
        let rows = tokio::select! {
            copied = copied => copied?,
            lapsed = self.keep_pinned(pinned) => return Err(lapsed.into()),
        };
        backup.finished = Some(self.clock.now().0);
        leave_note(&place, backup)?;
        place.accept_database(&unfinished)?;
        // What only an older backup named goes after the newer one is whole.
        backup.removed = prune(&*rows, &store).await?;
        drop(rows);
        leave_note(&place, backup)?;
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

fn leave_note(place: &DataDir, backup: &Backup) -> std::result::Result<(), DataDirError> {
    place.leave_note(&serde_json::to_string_pretty(backup).unwrap_or_default())
}

/// What became of one object.
enum Copied {
    /// It was there.
    There,
    /// It is there now.
    New,
    /// It is not as it should be here, or could not be read.
    Lacking,
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

    /// Lets the database of an earlier backup know that time went on, so that it is not taken for one
    /// that is older than its blobs if this backup is cut off and leaves newer objects beside it.
    async fn date_earlier(&self, place: &DataDir) {
        let (path, clock) = (place.database(), self.clock.clone());
        if !path.exists() {
            return;
        }
        let now = clock.now();
        let options = RedbOptions { cache_bytes: 1 << 20 };
        let opened =
            tokio::task::spawn_blocking(move || RedbStore::open(&path, options, clock)).await;
        let dated = match opened {
            Ok(Ok(earlier)) => earlier.pin(now).await.map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        // Then the earlier backup was of no use before.
        if let Err(error) = dated {
            tracing::warn!(error, "the earlier backup cannot be opened; this one replaces it");
        }
    }

    async fn pin_objects(&self) -> Result<Timestamp> {
        let until = self.clock.now().plus(PIN);
        self.metadata.pin(until).await?;
        Ok(until)
    }

    /// Renews the pin for ever; returns only if that failed until it lapsed.
    async fn keep_pinned(&self, mut until: Timestamp) -> RegistryError {
        loop {
            tokio::time::sleep(TICK).await;
            let now = self.clock.now();
            if now.plus(PIN).since(until) < RENEW {
                continue;
            }
            match self.pin_objects().await {
                Ok(renewed) => until = renewed,
                Err(error) if now >= until => return error,
                Err(error) => {
                    tracing::warn!(error = %error, "the pin of a backup was not renewed yet");
                }
            }
        }
    }

    /// Copies the rows. What says how far a verification of this directory is says nothing of another.
    async fn copy_rows(&self, path: &Path) -> Result<Arc<dyn MetadataStore>> {
        let rows = self.metadata.copy_to(path).await?;
        let (kind, change) = (DocumentKind::Setting, Change::by_server("backup"));
        if let Some(noted) = rows.document(kind, verify::DOCUMENT).await? {
            rows.delete_document(&change, kind, verify::DOCUMENT, noted.version).await?;
        }
        Ok(rows)
    }

    async fn copy_objects(
        &self,
        rows: &dyn MetadataStore,
        store: &FsBlobStore,
        backup: &mut Backup,
        progress: &(impl Fn(&Backup) + Send),
    ) -> std::result::Result<(), BackupError> {
        let mut after = None;
        loop {
            let page = rows.objects(after, PAGE).await.map_err(RegistryError::from)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.object);
            for object in page {
                let copied = self.copy_object(store, object).await?;
                count(backup, &copied, object);
                let lacking = matches!(copied, Copied::Lacking);
                if lacking != object.damaged {
                    let marked = rows.mark_damaged(object.object, lacking).await;
                    marked.map_err(RegistryError::from)?;
                }
                self.show_backup(backup);
                progress(backup);
            }
        }
    }

    async fn copy_object(
        &self,
        store: &FsBlobStore,
        object: StoredObject,
    ) -> std::result::Result<Copied, BackupError> {
        let StoredObject { object: key, digest, size, damaged } = object;
        match store.object_size(key).await {
            // What is damaged here may be sound in an earlier copy, or may not.
            Ok(there) if there == size && (!damaged || is_sound(store, object).await) => {
                return Ok(Copied::There);
            }
            Ok(_) | Err(BlobError::UnknownObject(_)) => {}
            Err(error) => return Err(BackupError::Write(error)),
        }
        // Damage here must not cost the rest of the backup; the copy knows what it lacks.
        let error = match self.blobs.read(key, 0, size).await {
            Ok(opened) => match store.import(key, &digest, opened.bytes).await {
                Ok(_) => return Ok(Copied::New),
                Err(error @ (BlobError::Digest { .. } | BlobError::Body(_))) => error,
                Err(error) => return Err(BackupError::Write(error)),
            },
            Err(error) => error,
        };
        tracing::error!(object = %key, error = %error, "blob {digest} is damaged and not in the backup");
        let certain = matches!(
            error,
            BlobError::Digest { .. } | BlobError::UnknownObject(_) | BlobError::Damaged(_)
        );
        if certain && !damaged {
            self.metadata.mark_damaged(key, true).await.map_err(RegistryError::from)?;
        }
        Ok(Copied::Lacking)
    }
}

fn count(backup: &mut Backup, copied: &Copied, object: StoredObject) {
    match copied {
        Copied::Lacking => {
            backup.damaged.push(object.digest.to_string());
            return;
        }
        Copied::New => {
            backup.copied += 1;
            backup.copied_bytes += object.size;
        }
        Copied::There => {}
    }
    backup.objects += 1;
    backup.bytes += object.size;
}

/// Whether a copy has the bytes it should have.
async fn is_sound(store: &FsBlobStore, object: StoredObject) -> bool {
    match store.read(object.object, 0, object.size).await {
        Ok(opened) => has_digest(opened.bytes, &object.digest).await,
        Err(_) => false,
    }
}

async fn has_digest(mut body: ByteStream, digest: &Digest) -> bool {
    let mut hasher = Hasher::new(digest.algorithm());
    while let Some(piece) = body.next().await {
        let Ok(piece) = piece else { return false };
        hasher.update(&piece);
    }
    hasher.finish() == *digest
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
