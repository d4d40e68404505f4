//! The audit log, for people and for files.
//!
//! Invariant: who reads the log of a workspace administers it; who reads all of it administers the
//! instance. Nothing here writes an event: that is done in the transaction of each change.

use super::access::{Administered, InstanceAdmin};
use super::{Registry, Result};
use crate::domain::{Change, Timestamp};
use crate::metadata::documents::Body;
use crate::metadata::{
    AuditEvent, AuditFilter, AuditPage, AuditPlace, DocumentKind, MetadataError, Workspace,
};
use serde::{Deserialize, Serialize};

/// Where it is noted how far the log was written to files.
const SETTING: &str = "audit-written";
/// How many events are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: usize = 1000;

/// How far the log was written to files.
#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    at: u64,
    sequence: u64,
}

impl Body for Written {
    const NAME: &'static str = "place in the audit log";
}

/// How far the log was written out, with the version of the note.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditWritten {
    place: Option<AuditPlace>,
    version: Option<u64>,
}

impl Registry {
    /// A page of the whole audit log, newest first, before a place if given.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn audit(
        &self,
        _proof: InstanceAdmin,
        filter: &AuditFilter,
        before: Option<AuditPlace>,
        limit: usize,
    ) -> Result<AuditPage> {
        Ok(self.metadata.audit(filter, before, limit).await?)
    }

    /// The same of what was done in one workspace.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn workspace_audit(
        &self,
        access: &Administered<Workspace>,
        filter: AuditFilter,
        before: Option<AuditPlace>,
        limit: usize,
    ) -> Result<AuditPage> {
        let filter = AuditFilter { workspace: Some(access.subject.id), ..filter };
        Ok(self.metadata.audit(&filter, before, limit).await?)
    }

    /// How far the log was written out.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn audit_written(&self) -> Result<AuditWritten> {
        let found = self.metadata.document(DocumentKind::Setting, SETTING).await?;
        let Some(found) = found else { return Ok(AuditWritten::default()) };
        let Written { at, sequence } = Written::decode(&found.body)?;
        let place = Some(AuditPlace { at: Timestamp(at), sequence });
        Ok(AuditWritten { place, version: Some(found.version) })
    }

    /// The next events to be written out, oldest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn audit_to_write(
        &self,
        written: &AuditWritten,
        limit: usize,
    ) -> Result<Vec<AuditEvent>> {
        Ok(self.metadata.audit_after(written.place, limit).await?)
    }

    /// Notes that the log was written out up to there.
    ///
    /// # Errors
    /// Those of the storage; [`super::RegistryError::ChangedMeanwhile`] if another server did.
    pub async fn note_audit_written(
        &self,
        written: AuditWritten,
        place: AuditPlace,
    ) -> Result<AuditWritten> {
        let body = Written { at: place.at.0, sequence: place.sequence }.encode();
        let (kind, change) = (DocumentKind::Setting, Change::by_server("audit log"));
        let version =
            self.metadata.put_document(&change, kind, SETTING, written.version, body).await?;
        Ok(AuditWritten { place: Some(place), version: Some(version) })
    }

    /// Forgets events from before a moment, but none that is still to be written out (`written`).
    /// Returns how many.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn forget_audit(
        &self,
        before: Timestamp,
        written: Option<&AuditWritten>,
    ) -> Result<usize> {
        let before = match written {
            Some(written) => before.min(written.place.map_or(Timestamp(0), |place| place.at)),
            None => before,
        };
        let mut forgotten = 0;
        loop {
            match self.metadata.forget_audit(before, FORGOTTEN_AT_ONCE).await {
                Ok(count) => {
                    forgotten += count;
                    if count < FORGOTTEN_AT_ONCE {
                        return Ok(forgotten);
                    }
                }
                // Others have something more urgent; what is left goes the next time.
                Err(MetadataError::Busy) => return Ok(forgotten),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
