//! Reviews of history rows: first what they keep, one day they themselves.

use super::super::batch::{Batch, Rows as _, Table};
use super::super::causes::CauseRow;
use super::super::due::{self, Item};
use super::super::release;
use super::super::rows::HistoryValue;
use super::super::tags::{self, HISTORY_KEPT};
use super::Place;
use crate::domain::{Digest, PackageId, Tag, Timestamp};
use crate::metadata::{Result, Why};

pub(super) fn review(
    batch: &mut Batch<'_>,
    place: &Place,
    digest: &Digest,
    tag: &Tag,
    sequence: u64,
) -> Result<()> {
    let item = Item::History(place.id, *digest, tag.clone(), sequence);
    let history = tags::history_key(place.id, tag, sequence);
    let row: Option<HistoryValue> = batch.row(Table::History, &history)?;
    let Some(row) = row else { return due::clear(batch, &item) };
    let moved = Timestamp(row.moved.at);
    if batch.has(Table::Kept, &tags::kept_key(place.id, digest, tag, sequence))? {
        let until = moved.plus(place.settings.keep);
        if batch.now() < until {
            return due::set(batch, &item, until, None);
        }
        return let_go(batch, place.of(), digest, tag, sequence, false).map(|_| ());
    }
    let until = moved.plus(HISTORY_KEPT);
    if batch.now() < until {
        return due::set(batch, &item, until, None);
    }
    batch.remove(Table::History, &history)?;
    due::clear(batch, &item)
}

/// Ends the keeping of what a history row released. Returns the event, or `None` if it keeps nothing.
pub(in super::super) fn let_go(
    batch: &mut Batch<'_>,
    of: (PackageId, &str),
    digest: &Digest,
    tag: &Tag,
    sequence: u64,
    on_purpose: bool,
) -> Result<Option<CauseRow>> {
    let package = of.0;
    let history = tags::history_key(package, tag, sequence);
    let row: Option<HistoryValue> = batch.row(Table::History, &history)?;
    let Some(row) = row else { return Ok(None) };
    if !batch.remove(Table::Kept, &tags::kept_key(package, digest, tag, sequence))? {
        return Ok(None);
    }
    let why = if row.deleted { Why::TagDeleted } else { Why::TagMoved };
    let until = Timestamp(row.moved.at).plus(HISTORY_KEPT);
    let mut cause = CauseRow::new(why, of, sequence, Some(tag), Some(digest), row.moved);
    cause.now = on_purpose;
    release::manifest(batch, package, digest, &cause)?;
    let item = Item::History(package, *digest, tag.clone(), sequence);
    due::set(batch, &item, until, None)?;
    Ok(Some(cause))
}
