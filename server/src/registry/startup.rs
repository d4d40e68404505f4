//! What has to be right before the first request: two stores that belong together, and nothing left
//! over from a crash.
//!
//! Invariant: nothing is deleted here except uploads that no row knows. An object without a row is set aside into `lost+found`.

use super::{Registry, RegistryError, Result};
use crate::blobs::BlobError;
use crate::domain::{ObjectKey, Timestamp};
use crate::metadata::Instance;
use std::time::Duration;

/// How many objects are held against the rows at a time.
const BATCH: usize = 1000;
/// How long `lost+found` keeps things.
const KEEP_LOST: Duration = Duration::from_secs(7 * 24 * 3600);
/// An object's key carries a time at which it was uploaded, and before it gets its name the database
/// notes that it was there [lately](LATELY). A key later than what the database has seen by more than
/// this is of another history.
const SLACK: Duration = Duration::from_secs(60);
/// How long ago the database may have noted that it was there when an object gets its name. Else a crash
/// before the object's row, in the first push after a quiet time, would look like an older database.
pub(super) const LATELY: Duration = Duration::from_secs(30);

/// Why the two stores may not be used together.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// The identity file cannot be read.
    #[error("the identity written beside the blobs cannot be read; is this Standpipe's directory?")]
    Unreadable,
    /// Two halves of different instances.
    #[error(
        "the blobs belong to instance {blobs}, but the database to {database}; put back the half that belongs here"
    )]
    OtherInstance {
        /// The blobs' instance.
        blobs: uuid::Uuid,
        /// The database's.
        database: uuid::Uuid,
    },
    /// A newer server wrote the blobs.
    #[error("the blobs have format {0}, which is newer than this server knows; use a newer server")]
    NewerFormat(u32),
    /// A fresh database beside blobs.
    #[error(
        "the database is new, but there are blobs; put back the database that belongs to them, or start with an empty directory"
    )]
    NewDatabase,
    /// The database is older than the blobs.
    #[error(
        "object {object} was stored after the last moment this database has seen; the database is older than the blobs: put back the newer one"
    )]
    OlderDatabase {
        /// The object.
        object: ObjectKey,
    },
    /// A store did not answer.
    #[error(transparent)]
    Store(#[from] RegistryError),
}

/// What start-up found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartupReport {
    /// Objects without a row, set aside.
    pub set_aside: u64,
    /// Uploads without a row, removed.
    pub uploads_removed: u64,
    /// Upload rows without bytes, forgotten.
    pub uploads_forgotten: u64,
}

/// The identity written beside the blobs.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    instance: uuid::Uuid,
    format: u32,
}

/// What is written beside the blobs of a database.
pub(super) fn identity_of(database: &Instance) -> std::result::Result<Vec<u8>, Mismatch> {
    let identity = Identity { instance: database.id, format: database.format };
    serde_json::to_vec(&identity).map_err(|_| Mismatch::Unreadable)
}

/// Whether the blobs beside which these bytes stand are those of the database.
pub(super) fn belong_together(
    bytes: &[u8],
    database: &Instance,
) -> std::result::Result<(), Mismatch> {
    let blobs: Identity = serde_json::from_slice(bytes).map_err(|_| Mismatch::Unreadable)?;
    if blobs.format > database.format {
        return Err(Mismatch::NewerFormat(blobs.format));
    }
    if blobs.instance != database.id {
        return Err(Mismatch::OtherInstance { blobs: blobs.instance, database: database.id });
    }
    Ok(())
}

impl Registry {
    /// Checks that the two stores belong together, and claims an empty blob store for the database.
    ///
    /// # Errors
    /// [`Mismatch`] says what is wrong and what to do.
    pub async fn check_identity(&self) -> std::result::Result<(), Mismatch> {
        let database = self.metadata.instance().await.map_err(RegistryError::from)?;
        let found = self.blobs.identity().await.map_err(RegistryError::from)?;
        if let Some(bytes) = found {
            belong_together(&bytes, &database)?;
            return self.check_age().await;
        }
        if !self.blobs.objects(None, 1).await.map_err(RegistryError::from)?.is_empty() {
            return Err(Mismatch::NewDatabase);
        }
        let bytes = identity_of(&database)?;
        Ok(self.blobs.set_identity(&bytes).await.map_err(RegistryError::from)?)
    }

    /// Looks for objects that this database cannot know because it is older than they are.
    async fn check_age(&self) -> std::result::Result<(), Mismatch> {
        let seen = self.metadata.last_seen().await.map_err(RegistryError::from)?.plus(SLACK);
        let mut after = Some(ObjectKey::mint(seen));
        // Keys carry their time, so only what is later than that moment is read.
        while let Some(key) = after {
            let page = self.blobs.objects(Some(key), BATCH).await.map_err(RegistryError::from)?;
            if let Some(object) = page.iter().find(|object| object.minted_at() > seen) {
                return Err(Mismatch::OlderDatabase { object: *object });
            }
            after = page.last().copied();
        }
        Ok(())
    }

    /// Cleans up what an unclean stop left in the upload sessions. Runs before the port is open, so
    /// nothing is in flight; the work is in proportion to the open uploads.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn recover_uploads(&self) -> Result<StartupReport> {
        let mut report = StartupReport::default();
        self.match_uploads(&mut report).await?;
        Ok(report)
    }

    /// Sets objects without a row aside, empties old `lost+found`. The work
    /// is in proportion to all objects, so it runs beside the service. An object that just got its
    /// name and not yet its row is not mistaken for an orphan: its upload holds `finishing`.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn sweep(&self) -> Result<StartupReport> {
        let mut report = StartupReport::default();
        self.set_orphans_aside(&mut report).await?;
        let before = Timestamp(self.clock.now().0.saturating_sub(Timestamp(0).plus(KEEP_LOST).0));
        self.blobs.empty_lost_and_found(before).await?;
        Ok(report)
    }

    /// Uploads and their rows, each held against the other.
    async fn match_uploads(&self, report: &mut StartupReport) -> Result<()> {
        for id in self.blobs.uploads().await? {
            if self.metadata.upload(id).await?.is_none() {
                self.blobs.cancel_upload(id).await?;
                report.uploads_removed += 1;
            }
        }
        let mut after = None;
        loop {
            let rows = self.metadata.uploads(after, BATCH).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.id);
            for row in rows {
                match self.blobs.upload_offset(row.id).await {
                    Ok(_) => {}
                    Err(BlobError::UnknownUpload(_)) => {
                        // One that was only half removed is no upload, and still lies about.
                        self.blobs.cancel_upload(row.id).await?;
                        self.metadata.end_upload(row.id).await?;
                        report.uploads_forgotten += 1;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    async fn set_orphans_aside(&self, report: &mut StartupReport) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.blobs.objects(after, BATCH).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            let _none_finishing = self.finishing.write().await;
            let known = self.metadata.known_objects(&page).await?;
            for (key, known) in page.iter().zip(known) {
                if !known {
                    self.blobs.set_aside(*key).await?;
                    tracing::warn!(object = %key, "an object without a row was moved to lost+found");
                    report.set_aside += 1;
                }
            }
        }
    }
}
