//! Workspaces.

use super::batch::{Batch, Rows, Table, Walk};
use super::keys::Key;
use super::rows::{NumberRow, Row as _, WorkspaceRow};
use super::{audit, packages};
use crate::domain::{Change, Event, Slug, WorkspaceId, WorkspaceSettings};
use crate::metadata::{Conflict, MetadataError, NewWorkspace, Page, Result, Stamped, Workspace};

pub(super) fn by_id(rows: &impl Rows, id: WorkspaceId) -> Result<Option<Workspace>> {
    let row: Option<WorkspaceRow> = rows.row(Table::Workspace, &Key::new().workspace(id))?;
    row.map(|row| row.read(id)).transpose()
}

pub(super) fn by_slug(rows: &impl Rows, slug: &Slug) -> Result<Option<Workspace>> {
    match rows.row(Table::WorkspaceSlug, &Key::new().text(slug.as_str()))? {
        Some(NumberRow(id)) => by_id(rows, WorkspaceId(id)),
        None => Ok(None),
    }
}

pub(super) fn list(rows: &impl Rows, page: &Page) -> Result<Vec<Workspace>> {
    let mut ids = Vec::new();
    let after = page.after.as_deref().map(|after| Key::new().text(after));
    rows.prefix(Table::WorkspaceSlug, &Key::new(), after.as_ref(), &mut |_, value| {
        if ids.len() >= page.limit {
            return Ok(Walk::Stop);
        }
        ids.push(WorkspaceId(NumberRow::decode(value)?.0));
        Ok(Walk::Continue)
    })?;
    let missing = || MetadataError::Corrupt("workspace slug");
    ids.into_iter().map(|id| by_id(rows, id)?.ok_or_else(missing)).collect()
}

pub(super) fn create(
    batch: &mut Batch<'_>,
    change: &Change,
    new: &NewWorkspace,
) -> Result<Workspace> {
    let slug = Key::new().text(new.slug.as_str());
    if batch.has(Table::WorkspaceSlug, &slug)? {
        return Err(Conflict::SlugTaken.into());
    }
    let id = WorkspaceId(batch.next_id("next_workspace")?);
    let created = Stamped { at: batch.now(), change: change.clone() };
    let workspace = Workspace {
        id,
        slug: new.slug.clone(),
        name: new.name.clone(),
        settings: new.settings.clone(),
        created,
    };
    batch.put(Table::WorkspaceSlug, &slug, &NumberRow(id.0))?;
    batch.put(Table::Workspace, &Key::new().workspace(id), &WorkspaceRow::new(&workspace))?;
    audit::note(batch, change, &Event::workspace(id, "workspace.create", &new.slug))?;
    Ok(workspace)
}

pub(super) fn update(
    batch: &mut Batch<'_>,
    change: &Change,
    id: WorkspaceId,
    name: &str,
    settings: &WorkspaceSettings,
) -> Result<Workspace> {
    let mut workspace = by_id(batch, id)?.ok_or(MetadataError::NotFound)?;
    workspace.name = name.to_owned();
    workspace.settings = settings.clone();
    batch.put(Table::Workspace, &Key::new().workspace(id), &WorkspaceRow::new(&workspace))?;
    packages::watch_cap(batch, id, settings)?;
    audit::note(batch, change, &Event::workspace(id, "workspace.change", &workspace.slug))?;
    Ok(workspace)
}

/// The settings that a change in this workspace follows.
pub(super) fn settings(rows: &impl Rows, id: WorkspaceId) -> Result<WorkspaceSettings> {
    Ok(by_id(rows, id)?.ok_or(MetadataError::Corrupt("workspace of a package"))?.settings)
}
