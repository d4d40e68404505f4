//! What happens to a blob or manifest when something that held it lets go.
//!
//! Invariant: whatever nothing holds any more has, after the same transaction, a lease that covers
//! every promise a client may have been given while it was held, and a due entry at the end of it
//! (DESIGN §5 point 2). What is still held is left alone.

use super::batch::{Batch, Rows as _, Table};
use super::causes::CauseRow;
use super::due::{self, Item};
use super::rows::{LinkRow, ManifestRow, PackageRow, StampRow};
use super::{blobs, manifests, packages, workspaces};
use crate::domain::{Digest, PackageId, Timestamp, WorkspaceId};
use crate::metadata::{MetadataError, Result};
use std::time::Duration;

/// Until when something that a client deleted is kept; `None` if it was not deleted.
pub(super) fn kept_until(
    hidden: Option<&StampRow>,
    given_up: bool,
    keep: Duration,
) -> Option<Timestamp> {
    let hidden = hidden?;
    Some(if given_up { Timestamp(0) } else { Timestamp(hidden.at).plus(keep) })
}

/// What the package's rows say that a release needs to know.
fn owner(batch: &Batch<'_>, package: PackageId) -> Result<(PackageRow, Duration)> {
    let row: Option<PackageRow> = batch.row(Table::Package, &packages::key(package))?;
    let row = row.ok_or(MetadataError::Corrupt("package of a manifest"))?;
    let keep = workspaces::settings(batch, WorkspaceId(row.workspace))?.keep;
    Ok((row, keep))
}

/// A blob may have lost its last edge.
pub(super) fn blob(
    batch: &mut Batch<'_>,
    package: PackageId,
    digest: &Digest,
    cause: &CauseRow,
) -> Result<()> {
    let key = blobs::link_key(package, digest);
    let Some(mut row) = batch.row::<LinkRow>(Table::Link, &key)? else { return Ok(()) };
    if batch.has_prefix(Table::Edge, &key)? {
        return Ok(());
    }
    let (owner, keep) = owner(batch, package)?;
    if !mutant!("no-lease-on-release") {
        row.lease = row.lease.max(owner.confirmed);
    }
    batch.put(Table::Link, &key, &row)?;
    let kept = kept_until(row.hidden.as_ref(), row.given_up, keep).unwrap_or_default();
    let at = Timestamp(row.lease).max(kept);
    if mutant!("release-forgets-due") {
        return Ok(());
    }
    due::set(batch, &Item::Link(package, *digest), at, Some(cause.clone()))
}

/// A manifest may have lost the last tag, parent, history row or subject that held it.
pub(super) fn manifest(
    batch: &mut Batch<'_>,
    package: PackageId,
    digest: &Digest,
    cause: &CauseRow,
) -> Result<()> {
    let key = manifests::key(package, digest);
    let Some(mut row) = batch.row::<ManifestRow>(Table::Manifest, &key)? else { return Ok(()) };
    if manifests::is_held(batch, package, digest, &row)? {
        return Ok(());
    }
    let (owner, keep) = owner(batch, package)?;
    if !mutant!("no-lease-on-release") && row.lease < owner.confirmed {
        row.lease = owner.confirmed;
        batch.put(Table::Manifest, &key, &row)?;
    }
    let kept = kept_until(row.hidden.as_ref(), row.given_up, keep).unwrap_or_default();
    let at = Timestamp(row.lease).max(kept);
    due::set(batch, &Item::Manifest(package, *digest), at, Some(cause.clone()))
}
