//! The audit log: an event in the transaction of each change, and when tokens were last used.
//!
//! Invariant: `audit_of` is the reverse of `audit` for events of a workspace. Places only grow: time
//! never runs backwards and numbers are not used again.

use super::batch::{Batch, Rows, Table, Walk};
use super::keys::{Key, KeyReader};
use super::rows::{AuditRow, NumberRow, Row as _, StampRow};
use crate::domain::{Change, Event, Timestamp, WorkspaceId};
use crate::metadata::{
    AuditEvent, AuditFilter, AuditPage, AuditPlace, DocumentKind, LoginSummary, MetadataError,
    Result,
};

/// The counter of events in [`Table::Meta`].
const COUNTER: &str = "next_audit";

fn key(place: AuditPlace) -> Key {
    Key::new().time(place.at).number(place.sequence)
}

fn of_key(workspace: WorkspaceId, place: AuditPlace) -> Key {
    Key::new().workspace(workspace).time(place.at).number(place.sequence)
}

fn place(rest: &[u8]) -> Result<AuditPlace> {
    let mut reader = KeyReader(rest);
    match (reader.number(), reader.number(), reader.0) {
        (Some(at), Some(sequence), []) => Ok(AuditPlace { at: Timestamp(at), sequence }),
        _ => Err(MetadataError::Corrupt("audit place")),
    }
}

/// Writes down what is done in this batch. Call after all checks.
pub(super) fn note(batch: &mut Batch<'_>, change: &Change, event: &Event) -> Result<()> {
    let at = batch.now();
    write(batch, change, event, 1, at)
}

fn write(
    batch: &mut Batch<'_>,
    change: &Change,
    event: &Event,
    count: u64,
    first: Timestamp,
) -> Result<()> {
    let place = AuditPlace { at: batch.now(), sequence: batch.next_id(COUNTER)? };
    let details = event.details.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let row = AuditRow {
        workspace: event.workspace.map(|id| id.0),
        by: StampRow::new(change, place.at),
        action: event.action.to_owned(),
        target: event.target.clone(),
        details: details.collect(),
        count,
        first: first.0,
    };
    batch.put(Table::Audit, &key(place), &row)?;
    if let Some(workspace) = event.workspace {
        batch.mark(Table::AuditOf, &of_key(workspace, place))?;
    }
    Ok(())
}

/// What is done to a document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Created,
    Changed,
    Deleted,
}

/// Writes down a change of a document. Whoever makes it says what it is; else the kind does, so that
/// no change is without an event. Settings are the server's own notes.
pub(super) fn note_document(
    batch: &mut Batch<'_>,
    change: &Change,
    kind: DocumentKind,
    name: &str,
    done: Done,
) -> Result<()> {
    if let Some(event) = &change.event {
        return note(batch, change, event);
    }
    // A session is told as the login that began it.
    if matches!(kind, DocumentKind::Session | DocumentKind::Setting) {
        return Ok(());
    }
    note(batch, change, &Event::instance(document_action(kind, done), name))
}

const fn document_action(kind: DocumentKind, done: Done) -> &'static str {
    let actions = match kind {
        DocumentKind::OidcBinding => ["binding.create", "binding.change", "binding.end"],
        DocumentKind::Permission => ["role.set", "role.set", "role.remove"],
        DocumentKind::Project => ["project.create", "project.change", "project.delete"],
        DocumentKind::Robot => ["robot.create", "robot.change", "robot.delete"],
        DocumentKind::Session => ["session.begin", "session.change", "session.end"],
        DocumentKind::Setting => ["setting.create", "setting.change", "setting.delete"],
        DocumentKind::Token => ["token.create", "token.change", "token.revoke"],
        DocumentKind::User => ["user.create", "user.change", "user.delete"],
        DocumentKind::WorkspacePermission => ["admin.add", "admin.add", "admin.remove"],
    };
    match done {
        Done::Created => actions[0],
        Done::Changed => actions[1],
        Done::Deleted => actions[2],
    }
}

/// Writes down summaries of logins, and when tokens were last used.
pub(super) fn record_logins(
    batch: &mut Batch<'_>,
    logins: &[LoginSummary],
    uses: &[(String, Timestamp)],
) -> Result<()> {
    for login in logins {
        let Some(event) = &login.change.event else { continue };
        write(batch, &login.change, event, login.count, login.first)?;
    }
    for (id, at) in uses {
        // It may have been revoked since.
        if super::documents::one(batch, DocumentKind::Token, id)?.is_none() {
            continue;
        }
        let key = Key::new().text(id);
        let before = batch.number(Table::TokenUse, &key)?;
        batch.put(Table::TokenUse, &key, &NumberRow(at.0.max(before)))?;
    }
    Ok(())
}

pub(super) fn token_use(rows: &impl Rows, id: &str) -> Result<Option<Timestamp>> {
    let row: Option<NumberRow> = rows.row(Table::TokenUse, &Key::new().text(id))?;
    Ok(row.map(|NumberRow(at)| Timestamp(at)))
}

/// A token is gone, and with it when it was used.
pub(super) fn forget_use(batch: &mut Batch<'_>, id: &str) -> Result<()> {
    let key = Key::new().text(id);
    if batch.has(Table::TokenUse, &key)? {
        batch.remove(Table::TokenUse, &key)?;
    }
    Ok(())
}

/// A page of the log, newest first, looking at no more than `most_looked_at` events.
pub(super) fn list(
    rows: &impl Rows,
    filter: &AuditFilter,
    before: Option<AuditPlace>,
    limit: usize,
    most_looked_at: usize,
) -> Result<AuditPage> {
    let until = filter.until.map(|at| AuditPlace { at, sequence: 0 });
    let end = match (before, until) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let mut page = AuditPage::default();
    let mut looked_at = 0;
    let since = filter.since.unwrap_or(Timestamp(0));
    let mut visit = |place: AuditPlace, event: Option<AuditEvent>| -> Result<Walk> {
        if place.at < since {
            return Ok(Walk::Stop);
        }
        if page.events.len() >= limit || looked_at >= most_looked_at {
            // The last that was looked at is where the next page goes on, so it is left out there.
            return Ok(Walk::Stop);
        }
        looked_at += 1;
        page.next = Some(place);
        let event = event.ok_or(MetadataError::Corrupt("audit event of a workspace"))?;
        if filter.wants(&event) {
            page.events.push(event);
        }
        Ok(Walk::Continue)
    };
    match filter.workspace {
        None => rows.prefix_before(
            Table::Audit,
            &Key::new(),
            end.map(key).as_ref(),
            &mut |rest, value| {
                let place = place(rest)?;
                visit(place, Some(AuditRow::decode(value)?.read(place)))
            },
        )?,
        Some(workspace) => {
            let (prefix, end) =
                (Key::new().workspace(workspace), end.map(|end| of_key(workspace, end)));
            rows.prefix_before(Table::AuditOf, &prefix, end.as_ref(), &mut |rest, _| {
                let place = place(rest)?;
                let row: Option<AuditRow> = rows.row(Table::Audit, &key(place))?;
                visit(place, row.map(|row| row.read(place)))
            })?;
        }
    }
    if page.events.len() < limit && looked_at < most_looked_at {
        page.next = None;
    }
    Ok(page)
}

/// Events after a place, oldest first.
pub(super) fn after(
    rows: &impl Rows,
    after: Option<AuditPlace>,
    limit: usize,
) -> Result<Vec<AuditEvent>> {
    let mut found = Vec::new();
    let after = after.map(key);
    rows.prefix(Table::Audit, &Key::new(), after.as_ref(), &mut |rest, value| {
        if found.len() >= limit {
            return Ok(Walk::Stop);
        }
        let place = place(rest)?;
        found.push(AuditRow::decode(value)?.read(place));
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

/// Forgets the oldest events that are older than a moment, at most so many; returns how many.
pub(super) fn forget(batch: &mut Batch<'_>, before: Timestamp, limit: usize) -> Result<usize> {
    let mut old = Vec::new();
    batch.prefix(Table::Audit, &Key::new(), None, &mut |rest, value| {
        let place = place(rest)?;
        if place.at >= before || old.len() >= limit {
            return Ok(Walk::Stop);
        }
        old.push((place, AuditRow::decode(value)?.workspace));
        Ok(Walk::Continue)
    })?;
    for (place, workspace) in &old {
        batch.remove(Table::Audit, &key(*place))?;
        if let Some(workspace) = workspace {
            batch.remove(Table::AuditOf, &of_key(WorkspaceId(*workspace), *place))?;
        }
    }
    Ok(old.len())
}

/// Whether the two tables fit together; what does not is told in words.
pub(super) fn check(rows: &impl Rows, words: &mut Vec<String>) -> Result<()> {
    let last = rows.number(Table::Meta, &Key::new().text(COUNTER))?;
    rows.prefix(Table::Audit, &Key::new(), None, &mut |rest, value| {
        let (at, row) = (place(rest)?, AuditRow::decode(value)?);
        if at.sequence > last {
            words.push(format!("the audit event {at} has a number that was never given"));
        }
        let workspace = row.workspace.map(WorkspaceId);
        if let Some(workspace) = workspace
            && !rows.has(Table::AuditOf, &of_key(workspace, at))?
        {
            words.push(format!("the audit event {at} is missing in workspace {workspace}"));
        }
        Ok(Walk::Continue)
    })?;
    rows.prefix(Table::AuditOf, &Key::new(), None, &mut |rest, _| {
        let mut reader = KeyReader(rest);
        let workspace = reader.number().ok_or(MetadataError::Corrupt("audit place"))?;
        let at = place(reader.0)?;
        let row: Option<AuditRow> = rows.row(Table::Audit, &key(at))?;
        if row.is_none_or(|row| row.workspace != Some(workspace)) {
            words.push(format!("workspace {workspace} has no audit event {at}"));
        }
        Ok(Walk::Continue)
    })
}
