//! Reviews of links and manifests.

use super::super::batch::{Batch, Rows as _, Table};
use super::super::causes::CauseRow;
use super::super::due::{self, Item};
use super::super::rows::{LinkRow, ManifestRow};
use super::super::usage::{self, PackageDelta, WorkspaceDelta, plus};
use super::super::{blobs, fans, manifests, release};
use super::{Place, Step};
use crate::domain::{Digest, Timestamp};
use crate::metadata::{Freed, MetadataError, Result};
use std::time::Duration;

/// When something is looked at again that waits for a page of another's removal.
const SOON: Duration = Duration::from_millis(500);

impl Step {
    /// Removes a link that nothing refers to, once its lease and its hiding are over.
    pub(super) fn link(
        &mut self,
        batch: &mut Batch<'_>,
        place: &Place,
        digest: &Digest,
        cause: Option<CauseRow>,
    ) -> Result<()> {
        let item = Item::Link(place.id, *digest);
        let key = blobs::link_key(place.id, digest);
        let row: Option<LinkRow> = batch.row(Table::Link, &key)?;
        let Some(row) = row else { return due::clear(batch, &item) };
        let kept = release::kept_until(row.hidden.as_ref(), row.given_up, place.settings.keep);
        if batch.has_prefix(Table::Edge, &key)? && !mutant!("review-ignores-edges") {
            return set_held(batch, &item, kept, cause);
        }
        let until = Timestamp(row.lease).max(kept.unwrap_or_default());
        if batch.now() < until && !mutant!("review-ignores-leases") {
            return due::set(batch, &item, until, cause);
        }
        let cause = cause.unwrap_or_else(|| CauseRow::never_referenced(place.of(), batch.now()));
        due::clear(batch, &item)?;
        self.remove_link(batch, place, digest, &cause)
    }

    /// Removes a link, and with the last one the blob.
    pub(super) fn remove_link(
        &mut self,
        batch: &mut Batch<'_>,
        place: &Place,
        digest: &Digest,
        cause: &CauseRow,
    ) -> Result<()> {
        batch.remove(Table::Link, &blobs::link_key(place.id, digest))?;
        let blob = blobs::blob_row(batch, place.workspace, digest)?;
        let blob = blob.ok_or(MetadataError::Corrupt("blob of a link"))?;
        if !usage::remove_holder(batch, place.workspace, place.id, digest, blob.size)?
            && !mutant!("review-ignores-holders")
        {
            return Ok(());
        }
        let now = batch.now();
        let at_once = cause.now || mutant!("no-purge-delay");
        let when = if at_once { now } else { now.plus(place.settings.purge) };
        blobs::forget(batch, place.workspace, digest, &blob, when)?;
        let freed = Freed { blobs: 1, blob_bytes: blob.size, ..Freed::default() };
        self.count(place.workspace, cause, &freed);
        Ok(())
    }

    /// Removes a manifest that nothing holds, once its lease and its hiding are over, and lets go what
    /// it held.
    pub(super) fn manifest(
        &mut self,
        batch: &mut Batch<'_>,
        place: &Place,
        digest: &Digest,
        cause: Option<CauseRow>,
    ) -> Result<()> {
        let item = Item::Manifest(place.id, *digest);
        let key = manifests::key(place.id, digest);
        let row: Option<ManifestRow> = batch.row(Table::Manifest, &key)?;
        let Some(row) = row else { return due::clear(batch, &item) };
        let kept = release::kept_until(row.hidden.as_ref(), row.given_up, place.settings.keep);
        if manifests::is_held(batch, place.id, digest, &row)? {
            return set_held(batch, &item, kept, cause);
        }
        if let Some(subject) = &row.subject
            && fans::is_pending(batch, place.id, &subject.read()?)?
            && !mutant!("going-subject-holds-nothing")
        {
            // Its subject has just gone and has not told it yet. With the news comes the lease that
            // covers what clients were told while the subject was there.
            return due::set(batch, &item, batch.now().plus(SOON), cause);
        }
        let until = Timestamp(row.lease).max(kept.unwrap_or_default());
        if batch.now() < until && !mutant!("review-ignores-leases") {
            return due::set(batch, &item, until, cause);
        }
        let cause = cause.unwrap_or_else(|| CauseRow::never_referenced(place.of(), batch.now()));
        due::clear(batch, &item)?;
        self.remove_manifest_row(batch, place, digest, &row, &cause)?;
        if let Some(subject) = &row.subject {
            let own = manifests::key(place.id, &subject.read()?).digest(digest);
            batch.remove(Table::Referrer, &own)?;
        }
        fans::begin(batch, place.id, digest, row, &cause)
    }

    /// Removes a manifest's own rows and counts them; its edges stay.
    pub(super) fn remove_manifest_row(
        &mut self,
        batch: &mut Batch<'_>,
        place: &Place,
        digest: &Digest,
        row: &ManifestRow,
        cause: &CauseRow,
    ) -> Result<()> {
        let key = manifests::key(place.id, digest);
        batch.remove(Table::Manifest, &key)?;
        batch.remove(Table::ManifestBytes, &key)?;
        batch.remove(Table::Pull, &manifests::pull_key(place.id, digest))?;
        let bytes = plus(row.size);
        if !mutant!("totals-drift") {
            let delta = PackageDelta { manifests: -bytes, ..Default::default() };
            usage::change_package(batch, place.id, delta)?;
        }
        let delta = WorkspaceDelta { manifests: -bytes, ..Default::default() };
        usage::change_workspace(batch, place.workspace, delta)?;
        let freed = Freed { manifests: 1, manifest_bytes: row.size, ..Freed::default() };
        self.count(place.workspace, cause, &freed);
        Ok(())
    }
}

/// What is held needs no entry, unless a client deleted it and it is kept for longer than was entered,
/// because `keep` is longer now: undo and the cap find what is deleted by its entry.
fn set_held(
    batch: &mut Batch<'_>,
    item: &Item,
    kept: Option<Timestamp>,
    cause: Option<CauseRow>,
) -> Result<()> {
    match kept {
        Some(until) if batch.now() < until => due::set(batch, item, until, cause),
        _ => due::clear(batch, item),
    }
}
