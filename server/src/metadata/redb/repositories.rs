//! Repositories.

use super::audit;
use super::batch::{Batch, Rows, Table, Walk};
use super::keys::Key;
use super::rows::{NumberRow, RepositoryRow, Row as _};
use crate::domain::{Change, Event, RepositoryId, Slug, WorkspaceId};
use crate::metadata::{
    Conflict, MetadataError, Page, Repository, RepositoryFields, Result, Stamped,
};

fn slug_key(workspace: WorkspaceId, slug: &Slug) -> Key {
    Key::new().workspace(workspace).text(slug.as_str())
}

pub(super) fn by_id(rows: &impl Rows, id: RepositoryId) -> Result<Option<Repository>> {
    let row: Option<RepositoryRow> = rows.row(Table::Repository, &Key::new().repository(id))?;
    row.map(|row| row.read(id)).transpose()
}

pub(super) fn by_slug(
    rows: &impl Rows,
    workspace: WorkspaceId,
    slug: &Slug,
) -> Result<Option<Repository>> {
    match rows.row(Table::RepositorySlug, &slug_key(workspace, slug))? {
        Some(NumberRow(id)) => by_id(rows, RepositoryId(id)),
        None => Ok(None),
    }
}

pub(super) fn list(
    rows: &impl Rows,
    workspace: WorkspaceId,
    page: &Page,
) -> Result<Vec<Repository>> {
    let mut ids = Vec::new();
    let prefix = Key::new().workspace(workspace);
    let after = page.after.as_deref().map(|after| prefix.clone().text(after));
    rows.prefix(Table::RepositorySlug, &prefix, after.as_ref(), &mut |_, value| {
        if ids.len() >= page.limit {
            return Ok(Walk::Stop);
        }
        ids.push(RepositoryId(NumberRow::decode(value)?.0));
        Ok(Walk::Continue)
    })?;
    let missing = || MetadataError::Corrupt("repository slug");
    ids.into_iter().map(|id| by_id(rows, id)?.ok_or_else(missing)).collect()
}

pub(super) fn create(
    batch: &mut Batch<'_>,
    change: &Change,
    workspace: WorkspaceId,
    fields: &RepositoryFields,
) -> Result<Repository> {
    if super::workspaces::by_id(batch, workspace)?.is_none() {
        return Err(MetadataError::NotFound);
    }
    if batch.has(Table::RepositorySlug, &slug_key(workspace, &fields.slug))? {
        return Err(Conflict::SlugTaken.into());
    }
    let id = RepositoryId(batch.next_id("next_repository")?);
    let created = Stamped { at: batch.now(), change: change.clone() };
    let repository = Repository { id, workspace, fields: fields.clone(), created };
    write(batch, &repository)?;
    note(batch, change, "repository.create", &repository)?;
    Ok(repository)
}

fn note(
    batch: &mut Batch<'_>,
    change: &Change,
    action: &'static str,
    repository: &Repository,
) -> Result<()> {
    let fields = &repository.fields;
    let event = Event::workspace(repository.workspace, action, &fields.slug)
        .with("visibility", fields.visibility.as_str());
    audit::note(batch, change, &event)
}

pub(super) fn update(
    batch: &mut Batch<'_>,
    change: &Change,
    id: RepositoryId,
    fields: &RepositoryFields,
) -> Result<Repository> {
    let mut repository = by_id(batch, id)?.ok_or(MetadataError::NotFound)?;
    let workspace = repository.workspace;
    if fields.slug != repository.fields.slug {
        if batch.has(Table::RepositorySlug, &slug_key(workspace, &fields.slug))? {
            return Err(Conflict::SlugTaken.into());
        }
        batch.remove(Table::RepositorySlug, &slug_key(workspace, &repository.fields.slug))?;
    }
    repository.fields = fields.clone();
    write(batch, &repository)?;
    note(batch, change, "repository.change", &repository)?;
    Ok(repository)
}

pub(super) fn delete(batch: &mut Batch<'_>, change: &Change, id: RepositoryId) -> Result<()> {
    let repository = by_id(batch, id)?.ok_or(MetadataError::NotFound)?;
    if batch.has_prefix(Table::PackagesOf, &Key::new().repository(id))? {
        return Err(Conflict::HasPackages.into());
    }
    batch
        .remove(Table::RepositorySlug, &slug_key(repository.workspace, &repository.fields.slug))?;
    batch.remove(Table::Repository, &Key::new().repository(id))?;
    note(batch, change, "repository.delete", &repository)
}

fn write(batch: &mut Batch<'_>, repository: &Repository) -> Result<()> {
    let slug = slug_key(repository.workspace, &repository.fields.slug);
    batch.put(Table::RepositorySlug, &slug, &NumberRow(repository.id.0))?;
    let key = Key::new().repository(repository.id);
    batch.put(Table::Repository, &key, &RepositoryRow::new(repository))
}
