//! Packages: names, links to repositories, deletion with a hold.

use super::batch::{Batch, Rows, Table, Walk};
use super::causes::CauseRow;
use super::due::{self, Item};
use super::keys::Key;
use super::rows::{NumberRow, PackageRow, Row as _, StampRow};
use super::{audit, listing, repositories, workspaces};
use crate::domain::{
    Change, Event, Name, PackageId, PackageName, RepositoryId, Timestamp, WorkspaceId,
    WorkspaceSettings,
};
use crate::metadata::{
    Conflict, MetadataError, Package, PackageFilter, Page, Repository, Resolution, Result, Target,
    Why,
};
use std::time::Duration;

/// How long after something was kept the cap is looked at: one look for all that was kept meanwhile.
const CAP_DELAY: Duration = Duration::from_secs(1);

pub(super) fn key(id: PackageId) -> Key {
    Key::new().package(id)
}

pub(super) fn name_key(workspace: WorkspaceId, name: &PackageName) -> Key {
    Key::new().workspace(workspace).text(name.as_str())
}

/// The row of a package that was not deleted.
pub(super) fn live_row(rows: &impl Rows, id: PackageId) -> Result<Option<PackageRow>> {
    let row: Option<PackageRow> = rows.row(Table::Package, &Key::new().package(id))?;
    Ok(row.filter(|row| row.deleted.is_none()))
}

pub(super) fn by_id(rows: &impl Rows, id: PackageId) -> Result<Option<Package>> {
    live_row(rows, id)?.map(|row| row.read(id)).transpose()
}

fn by_name(
    rows: &impl Rows,
    workspace: WorkspaceId,
    name: &PackageName,
) -> Result<Option<Package>> {
    match rows.row(Table::PackageName, &name_key(workspace, name))? {
        Some(NumberRow(id)) => by_id(rows, PackageId(id)),
        None => Ok(None),
    }
}

pub(super) fn resolve(rows: &impl Rows, name: &Name) -> Result<Resolution> {
    let Some(workspace) = workspaces::by_slug(rows, &name.workspace)? else {
        return Ok(Resolution::default());
    };
    let package = match by_name(rows, workspace.id, &name.package)? {
        Some(package) => {
            let repository = repository_of(rows, &package)?;
            Some((package, repository))
        }
        None => None,
    };
    Ok(Resolution { workspace: Some(workspace), package })
}

fn repository_of(rows: &impl Rows, package: &Package) -> Result<Repository> {
    repositories::by_id(rows, package.repository)?
        .ok_or(MetadataError::Corrupt("repository of a package"))
}

pub(super) fn list(
    rows: &impl Rows,
    workspace: WorkspaceId,
    filter: &PackageFilter,
    page: &Page,
) -> Result<Vec<Package>> {
    let mut found = Vec::new();
    let prefix = Key::new().workspace(workspace);
    let after = page.after.as_deref().map(|after| prefix.clone().text(after));
    rows.prefix(Table::PackageName, &prefix, after.as_ref(), &mut |_, value| {
        if found.len() >= page.limit {
            return Ok(Walk::Stop);
        }
        let id = PackageId(NumberRow::decode(value)?.0);
        let package = by_id(rows, id)?.ok_or(MetadataError::Corrupt("package name"))?;
        if wanted(rows, filter, &package)? {
            found.push(package);
        }
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

fn wanted(rows: &impl Rows, filter: &PackageFilter, package: &Package) -> Result<bool> {
    if filter.repository.is_some_and(|repository| repository != package.repository)
        || filter.name.as_ref().is_some_and(|name| *name != package.name)
    {
        return Ok(false);
    }
    match &filter.project {
        Some(project) => Ok(repository_of(rows, package)?.fields.project.as_ref() == Some(project)),
        None => Ok(true),
    }
}

pub(super) fn create(
    batch: &mut Batch<'_>,
    change: &Change,
    workspace: WorkspaceId,
    name: &PackageName,
    repository: RepositoryId,
) -> Result<Package> {
    match repositories::by_id(batch, repository)? {
        Some(found) if found.workspace == workspace => {}
        _ => return Err(MetadataError::NotFound),
    }
    if batch.has(Table::PackageName, &name_key(workspace, name))? {
        return Err(Conflict::SlugTaken.into());
    }
    let id = PackageId(batch.next_id("next_package")?);
    let now = batch.now();
    let row = PackageRow {
        workspace: workspace.0,
        name: name.to_string(),
        repository: repository.0,
        created: StampRow::new(change, now),
        updated: now.0,
        deleted: None,
        next_sequence: 0,
        confirmed: 0,
        given_up: false,
        removing: false,
    };
    batch.put(Table::PackageName, &name_key(workspace, name), &NumberRow(id.0))?;
    batch.put(Table::Package, &Key::new().package(id), &row)?;
    batch.mark(Table::PackagesOf, &Key::new().repository(repository).package(id))?;
    batch.mark(Table::Recent, &listing::recent_key(workspace, now.0, id))?;
    audit::note(batch, change, &Event::workspace(workspace, "package.create", name))?;
    row.read(id)
}

pub(super) fn delete(batch: &mut Batch<'_>, change: &Change, id: PackageId) -> Result<()> {
    let mut row = live_row(batch, id)?.ok_or(MetadataError::NotFound)?;
    let package = row.clone().read(id)?;
    let settings = workspaces::settings(batch, package.workspace)?;
    batch.remove(Table::PackageName, &name_key(package.workspace, &package.name))?;
    batch.remove(Table::PackagesOf, &Key::new().repository(package.repository).package(id))?;
    batch.remove(Table::Recent, &listing::recent_key(package.workspace, row.updated, id))?;
    let now = batch.now();
    let by = StampRow::new(change, now);
    row.next_sequence += 1;
    let of = (id, row.name.as_str());
    let cause = CauseRow::new(Why::PackageDeleted, of, row.next_sequence, None, None, by.clone());
    row.deleted = Some(by);
    row.given_up = false;
    row.updated = now.0;
    batch.put(Table::Package, &Key::new().package(id), &row)?;
    batch.mark(Table::Deleted, &deleted_key(package.workspace, id))?;
    watch_cap(batch, package.workspace, &settings)?;
    audit::note(
        batch,
        change,
        &Event::workspace(package.workspace, "package.delete", &package.name),
    )?;
    let keep = if mutant!("package-freed-at-once") { Duration::ZERO } else { settings.keep };
    due::set(batch, &Item::Package(id), now.plus(keep), Some(cause))
}

pub(super) fn deleted_key(workspace: WorkspaceId, package: PackageId) -> Key {
    Key::new().workspace(workspace).package(package)
}

/// Writes down that a writer is told something: what loses its last reference stays at least until
/// then.
pub(super) fn confirm(batch: &mut Batch<'_>, id: PackageId, until: Timestamp) -> Result<()> {
    let key = Key::new().package(id);
    let row: Option<PackageRow> = batch.row(Table::Package, &key)?;
    let mut row = row.ok_or(MetadataError::Corrupt("package"))?;
    row.confirmed = row.confirmed.max(until.0);
    batch.put(Table::Package, &key, &row)
}

/// Something is kept from now on: if the workspace has a cap, it will be looked at soon.
pub(super) fn watch_cap(
    batch: &mut Batch<'_>,
    workspace: WorkspaceId,
    settings: &WorkspaceSettings,
) -> Result<()> {
    let item = Item::Cap(workspace);
    if settings.keep_bytes.is_none() || due::of(batch, &item)?.is_some() {
        return Ok(());
    }
    due::set(batch, &item, batch.now().plus(CAP_DELAY), None)
}

/// What a push to a target may rely on, before anything is written.
pub(super) enum Planned {
    Existing(PackageId, Box<PackageRow>),
    New { workspace: WorkspaceId, name: PackageName, repository: RepositoryId },
}

impl Planned {
    pub(super) const fn workspace(&self) -> WorkspaceId {
        match self {
            Self::Existing(_, row) => WorkspaceId(row.workspace),
            Self::New { workspace, .. } => *workspace,
        }
    }

    /// The package's id, unless it is about to be created (then it has no content either).
    pub(super) const fn existing(&self) -> Option<PackageId> {
        match self {
            Self::Existing(id, _) => Some(*id),
            Self::New { .. } => None,
        }
    }

    /// Creates the package if need be. Call after all checks.
    pub(super) fn package(self, batch: &mut Batch<'_>, change: &Change) -> Result<PackageId> {
        match self {
            Self::Existing(id, _) => Ok(id),
            Self::New { workspace, name, repository } => {
                Ok(create(batch, change, workspace, &name, repository)?.id)
            }
        }
    }
}

/// Reads what a target is now. If somebody else created the package meanwhile and linked it to the
/// same repository, the same right holds and theirs is used; linked to another one, it does not.
pub(super) fn plan(rows: &impl Rows, target: &Target) -> Result<Planned> {
    let id = match target {
        Target::Existing(id) => *id,
        Target::Create { workspace, name, repository } => match by_name(rows, *workspace, name)? {
            Some(package) if package.repository == *repository => package.id,
            Some(_) => return Err(MetadataError::NotFound),
            None => {
                return Ok(Planned::New {
                    workspace: *workspace,
                    name: name.clone(),
                    repository: *repository,
                });
            }
        },
    };
    let row = live_row(rows, id)?.ok_or(MetadataError::NotFound)?;
    Ok(Planned::Existing(id, Box::new(row)))
}
