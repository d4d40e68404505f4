//! What was freed, by the event that made it collectable.

use super::super::batch::{Batch, Rows, Table, Walk};
use super::super::causes::{CauseRow, ReceiptRow};
use super::super::due::{self, Item};
use super::super::keys::Key;
use super::super::rows::Row as _;
use crate::domain::WorkspaceId;
use crate::metadata::{Cause, Freed, Receipt, ReceiptCursor, Result};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

/// How long a receipt is kept after the last of it.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// The key of an event's receipt.
pub(super) fn key(workspace: WorkspaceId, cause: &CauseRow) -> Vec<u8> {
    let key = Key::new().workspace(workspace).number(cause.by.at).number(cause.package);
    key.number(cause.sequence).byte(cause.why_byte()).bytes().to_vec()
}

/// Adds what a step freed to the receipts.
pub(super) fn write(
    batch: &mut Batch<'_>,
    freed: BTreeMap<(WorkspaceId, Vec<u8>), (CauseRow, Freed)>,
) -> Result<Vec<(Cause, Freed)>> {
    let now = batch.now();
    let mut written = Vec::new();
    for ((_, raw), (cause, freed)) in freed {
        let key = Key::new().raw(&raw);
        let mut row = batch.row(Table::Receipt, &key)?.unwrap_or_else(|| ReceiptRow {
            cause: cause.clone(),
            manifests: 0,
            manifest_bytes: 0,
            blobs: 0,
            blob_bytes: 0,
            first: now.0,
            last: now.0,
        });
        row.add(&freed, now);
        batch.put(Table::Receipt, &key, &row)?;
        due::set(batch, &Item::Receipt(raw), now.plus(KEPT), None)?;
        written.push((cause.read()?, freed));
    }
    Ok(written)
}

/// Forgets a receipt whose time is over.
pub(super) fn forget(batch: &mut Batch<'_>, raw: &[u8]) -> Result<()> {
    batch.remove(Table::Receipt, &Key::new().raw(raw))?;
    due::clear(batch, &Item::Receipt(raw.to_vec()))
}

/// A workspace's receipts, newest event first.
pub(in super::super) fn list(
    rows: &impl Rows,
    workspace: WorkspaceId,
    before: Option<&ReceiptCursor>,
    limit: usize,
) -> Result<Vec<(ReceiptCursor, Receipt)>> {
    let mut found = Vec::new();
    let prefix = Key::new().workspace(workspace);
    let end = match before {
        Some(before) => prefix.clone().raw(&before.0),
        None => Key::new().number(workspace.0.saturating_add(1)),
    };
    let bounds = (Bound::Included(prefix.bytes()), Bound::Excluded(end.bytes()));
    rows.visit(Table::Receipt, bounds, true, &mut |key, value| {
        if found.len() >= limit {
            return Ok(Walk::Stop);
        }
        let rest = &key[prefix.bytes().len()..];
        found.push((ReceiptCursor(rest.to_vec()), ReceiptRow::decode(value)?.read()?));
        Ok(Walk::Continue)
    })?;
    Ok(found)
}
