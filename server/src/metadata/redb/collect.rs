//! Collection (DESIGN §5): looking at what is due, and removing what nothing holds.
//!
//! Invariant: a review is one transaction that looks again at everything it relies on. It either
//! removes the item and releases what it held, or moves its entry to when there is something new to
//! see, or drops the entry because something holds the item, and then whatever lets go of it enters it
//! again. Nothing is decided on what was read before. No review is larger than a page.

mod history;
mod items;
mod packages;
mod receipts;

use super::batch::{Batch, Rows as _, Table};
use super::causes::CauseRow;
use super::due::{self, Item};
use super::rows::{PackageRow, UploadRow};
use super::{blobs, fans, release, workspaces};
use crate::domain::{PackageId, Timestamp, UploadId, WorkspaceId, WorkspaceSettings};
use crate::metadata::{Backlog, Collected, Freed, IdleUpload, Result};
pub(super) use history::let_go as let_history_go;
pub(super) use receipts::list as receipts;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Nothing is removed for this long after a start, or for a lease if that is shorter: a wall clock
/// that jumped while the server was down must not expire everything at once.
const AFTER_START: Duration = Duration::from_secs(3600);
/// When what cannot be decided now is looked at again.
const LATER: Duration = Duration::from_secs(60);

/// A package as its reviews need it.
#[derive(Clone)]
struct Place {
    id: PackageId,
    workspace: WorkspaceId,
    name: String,
    settings: WorkspaceSettings,
    /// Until when its content is kept, if it was deleted.
    deleted_until: Option<Timestamp>,
}

impl Place {
    fn of(&self) -> (PackageId, &str) {
        (self.id, &self.name)
    }
}

/// One step of collection.
struct Step {
    boot: Timestamp,
    places: HashMap<PackageId, Option<Place>>,
    freed: BTreeMap<(WorkspaceId, Vec<u8>), (CauseRow, Freed)>,
    uploads: Vec<IdleUpload>,
    caps: Vec<WorkspaceId>,
}

/// Looks at what is due, oldest first, within the budgets.
pub(super) fn step(
    batch: &mut Batch<'_>,
    boot: Timestamp,
    most_entries: usize,
    most_writes: u64,
) -> Result<Collected> {
    let now = batch.now();
    let (touched, writes) = (batch.touched(), batch.writes());
    let (places, freed) = (HashMap::new(), BTreeMap::new());
    let mut step = Step { boot, places, freed, uploads: Vec::new(), caps: Vec::new() };
    let mut reviewed = 0;
    for (_, item) in due::until(batch, now, most_entries)? {
        if reviewed > 0 && batch.writes() - writes >= most_writes {
            break;
        }
        step.review(batch, &item)?;
        reviewed += 1;
    }
    let receipts = receipts::write(batch, std::mem::take(&mut step.freed))?;
    let more = reviewed > 0 && !due::until(batch, now, 1)?.is_empty();
    let rows = batch.touched() - touched;
    let Step { uploads, caps, .. } = step;
    Ok(Collected { reviewed, rows, receipts, uploads, caps, more })
}

impl Step {
    fn review(&mut self, batch: &mut Batch<'_>, item: &Item) -> Result<()> {
        match item {
            Item::Upload(id) => return self.upload(batch, *id),
            Item::Receipt(key) => return receipts::forget(batch, key),
            // What is beyond the cap is found by reading for a while, so not in this transaction.
            Item::Cap(workspace) => {
                self.caps.push(*workspace);
                return due::clear(batch, item);
            }
            _ => {}
        }
        let Some(package) = item.package() else { return due::clear(batch, item) };
        let Some(place) = self.place(batch, package)? else { return due::clear(batch, item) };
        let cause = due::of(batch, item)?.and_then(|entry| entry.cause);
        let guarded = self.boot.plus(place.settings.lease.min(AFTER_START));
        if batch.now() < guarded && !mutant!("no-guard-after-start") {
            return due::set(batch, item, guarded, cause);
        }
        match (item, place.deleted_until) {
            (Item::Package(_), _) => self.package(batch, &place, cause),
            (_, Some(until)) => {
                // The whole package is kept until then, and then goes as a whole.
                due::set(batch, item, until.max(batch.now().plus(LATER)), cause)
            }
            (Item::History(_, digest, tag, sequence), None) => {
                history::review(batch, &place, digest, tag, *sequence)
            }
            (Item::Link(_, digest), None) => self.link(batch, &place, digest, cause),
            (Item::Manifest(_, digest), None) => self.manifest(batch, &place, digest, cause),
            (Item::Fan(_, digest), None) => fans::review(batch, package, digest),
            (Item::Upload(_) | Item::Receipt(_) | Item::Cap(_), None) => Ok(()),
        }
    }

    fn place(&mut self, batch: &Batch<'_>, id: PackageId) -> Result<Option<Place>> {
        if let Some(known) = self.places.get(&id) {
            return Ok(known.clone());
        }
        let row: Option<PackageRow> = batch.row(Table::Package, &super::packages::key(id))?;
        let place = match row {
            None => None,
            Some(row) => {
                let workspace = WorkspaceId(row.workspace);
                let settings = workspaces::settings(batch, workspace)?;
                let deleted_until =
                    release::kept_until(row.deleted.as_ref(), row.given_up, settings.keep);
                Some(Place { id, workspace, name: row.name, settings, deleted_until })
            }
        };
        self.places.insert(id, place.clone());
        Ok(place)
    }

    /// An upload's last byte is known to the blob store only; whoever asks it decides. Looked at
    /// again after a part of its lease.
    fn upload(&mut self, batch: &mut Batch<'_>, id: UploadId) -> Result<()> {
        let item = Item::Upload(id);
        let row: Option<UploadRow> = batch.row(Table::Upload, &blobs::upload_key(id))?;
        let Some(row) = row else { return due::clear(batch, &item) };
        let lease = workspaces::settings(batch, row.read(id).workspace)?.lease;
        let guarded = self.boot.plus(lease.min(AFTER_START));
        if batch.now() < guarded {
            return due::set(batch, &item, guarded, None);
        }
        self.uploads.push(IdleUpload { id, lease });
        let pause = (lease / 8).max(Duration::from_millis(250));
        due::set(batch, &item, batch.now().plus(pause), None)
    }

    /// Counts what was freed for the event that made it collectable.
    fn count(&mut self, workspace: WorkspaceId, cause: &CauseRow, freed: &Freed) {
        let key = (workspace, receipts::key(workspace, cause));
        self.freed.entry(key).or_insert_with(|| (cause.clone(), Freed::default())).1.add(freed);
    }
}

/// How much is due, counted up to a limit.
pub(super) fn backlog(
    rows: &impl super::batch::Rows,
    now: Timestamp,
    limit: usize,
) -> Result<Backlog> {
    let due = due::until(rows, now, limit)?;
    let pinned = blobs::pinned_until(rows)?;
    let count = |found: usize| u64::try_from(found).unwrap_or(u64::MAX);
    Ok(Backlog {
        due: count(due.len()),
        oldest: due.first().map(|(time, _)| *time),
        doomed: count(blobs::doomed(rows, limit, now)?.len()),
        pinned_until: (pinned > now).then_some(pinned),
    })
}
