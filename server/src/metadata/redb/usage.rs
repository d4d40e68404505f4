//! Byte totals, changed in the transaction that changes the bytes (DESIGN §4, "Bytes").

use super::batch::{Batch, Rows, Table, Walk};
use super::keys::{Key, KeyReader};
use super::rows::{PackageUsageRow, WorkspaceUsageRow};
use crate::domain::{Digest, PackageId, WorkspaceId};
use crate::metadata::{MetadataError, PackageUsage, Result, WorkspaceUsage};

/// Adds to a total, or takes away; a total below zero is damage.
fn shift(total: &mut u64, by: i64) -> Result<()> {
    *total = total.checked_add_signed(by).ok_or(MetadataError::Corrupt("byte total"))?;
    Ok(())
}

/// A size as something to add.
pub(super) fn plus(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub(super) fn workspace_row(rows: &impl Rows, id: WorkspaceId) -> Result<WorkspaceUsageRow> {
    Ok(rows.row(Table::WorkspaceUsage, &Key::new().workspace(id))?.unwrap_or_default())
}

pub(super) fn package_row(rows: &impl Rows, id: PackageId) -> Result<PackageUsageRow> {
    Ok(rows.row(Table::PackageUsage, &Key::new().package(id))?.unwrap_or_default())
}

pub(super) fn of_workspace(rows: &impl Rows, id: WorkspaceId) -> Result<WorkspaceUsage> {
    let row = workspace_row(rows, id)?;
    Ok(WorkspaceUsage {
        blob_bytes: row.blob_bytes,
        manifest_bytes: row.manifest_bytes,
        doomed_bytes: row.doomed_bytes,
    })
}

pub(super) fn of_package(rows: &impl Rows, id: PackageId) -> Result<PackageUsage> {
    let row = package_row(rows, id)?;
    Ok(PackageUsage {
        linked_bytes: row.linked_bytes,
        exclusive_bytes: row.exclusive_bytes,
        manifest_bytes: row.manifest_bytes,
    })
}

/// What changes of a workspace's totals.
#[derive(Clone, Copy, Default)]
pub(super) struct WorkspaceDelta {
    pub(super) blobs: i64,
    pub(super) manifests: i64,
    pub(super) doomed: i64,
}

pub(super) fn change_workspace(
    batch: &mut Batch<'_>,
    id: WorkspaceId,
    delta: WorkspaceDelta,
) -> Result<()> {
    let mut row = workspace_row(batch, id)?;
    shift(&mut row.blob_bytes, delta.blobs)?;
    shift(&mut row.manifest_bytes, delta.manifests)?;
    shift(&mut row.doomed_bytes, delta.doomed)?;
    batch.put(Table::WorkspaceUsage, &Key::new().workspace(id), &row)
}

/// What changes of a package's totals.
#[derive(Clone, Copy, Default)]
pub(super) struct PackageDelta {
    pub(super) linked: i64,
    pub(super) exclusive: i64,
    pub(super) manifests: i64,
}

pub(super) fn change_package(
    batch: &mut Batch<'_>,
    id: PackageId,
    delta: PackageDelta,
) -> Result<()> {
    let mut row = package_row(batch, id)?;
    shift(&mut row.linked_bytes, delta.linked)?;
    shift(&mut row.exclusive_bytes, delta.exclusive)?;
    shift(&mut row.manifest_bytes, delta.manifests)?;
    batch.put(Table::PackageUsage, &Key::new().package(id), &row)
}

/// Makes a package a holder of a blob that it did not hold, and moves the exclusive bytes: the only
/// holder has them exclusively, a second one ends that.
pub(super) fn add_holder(
    batch: &mut Batch<'_>,
    workspace: WorkspaceId,
    package: PackageId,
    digest: &Digest,
    size: u64,
) -> Result<()> {
    let holders = first_holders(batch, workspace, digest)?;
    let size = plus(size);
    let exclusive = if holders.is_empty() { size } else { 0 };
    if let [only] = holders[..] {
        change_package(batch, only, PackageDelta { exclusive: -size, ..Default::default() })?;
    }
    change_package(batch, package, PackageDelta { linked: size, exclusive, manifests: 0 })?;
    batch.mark(Table::Holder, &Key::new().workspace(workspace).digest(digest).package(package))
}

/// Ends a package's holding of a blob and moves the exclusive bytes back to the only holder that is
/// left. `true` if nobody holds it any more.
pub(super) fn remove_holder(
    batch: &mut Batch<'_>,
    workspace: WorkspaceId,
    package: PackageId,
    digest: &Digest,
    size: u64,
) -> Result<bool> {
    batch
        .remove(Table::Holder, &Key::new().workspace(workspace).digest(digest).package(package))?;
    let left = first_holders(batch, workspace, digest)?;
    let size = plus(size);
    let exclusive = if left.is_empty() { -size } else { 0 };
    if let [only] = left[..] {
        change_package(batch, only, PackageDelta { exclusive: size, ..Default::default() })?;
    }
    change_package(batch, package, PackageDelta { linked: -size, exclusive, manifests: 0 })?;
    Ok(left.is_empty())
}

/// At most two of a blob's holders: enough to tell none, one and several apart.
fn first_holders(
    rows: &impl Rows,
    workspace: WorkspaceId,
    digest: &Digest,
) -> Result<Vec<PackageId>> {
    let mut holders = Vec::new();
    let prefix = Key::new().workspace(workspace).digest(digest);
    rows.prefix(Table::Holder, &prefix, None, &mut |rest, _| {
        let id = KeyReader(rest).number().ok_or(MetadataError::Corrupt("holder"))?;
        holders.push(PackageId(id));
        Ok(if holders.len() < 2 { Walk::Continue } else { Walk::Stop })
    })?;
    Ok(holders)
}
