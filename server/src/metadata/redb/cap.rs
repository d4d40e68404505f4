//! The cap on what is kept for undo (`keep_bytes`): over it, the oldest goes first.
//!
//! Invariant: the sum is that of [`reach`]: what no tag leads to, each content once,
//! counted from the newest event on. What is found here is given up in transactions of their own that
//! look again; giving up something that is current again meanwhile costs only its place in history.

use super::batch::{Batch, Rows, Table};
use super::reach::{self, Reach};
use super::rows::HistoryValue;
use super::{collect, packages, tags, undo, workspaces};
use crate::domain::{Digest, PackageId, Tag, WorkspaceId};
use crate::metadata::{GiveUp, Kept, MetadataError, Result};

/// Something that is kept.
#[derive(Clone, Debug)]
pub(super) enum Item {
    History(PackageId, Digest, Tag, u64),
    Hidden(PackageId, Kept),
    Package(PackageId),
}

/// What is beyond a workspace's cap.
pub(super) fn beyond(
    rows: &impl Rows,
    workspace: WorkspaceId,
    most_probes: u64,
) -> Result<Vec<Item>> {
    let Some(cap) = workspaces::settings(rows, workspace)?.keep_bytes else {
        return Ok(Vec::new());
    };
    let mut items = all(rows, workspace)?;
    items.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut reach = Reach::new(rows, workspace, most_probes).remembering();
    let mut sum = 0;
    let mut beyond = Vec::new();
    for (_, item) in items {
        let mark = reach.mark();
        let bytes = match &item {
            Item::History(package, digest, ..)
            | Item::Hidden(package, Kept::Manifest(digest) | Kept::Tag { digest, .. }) => {
                reach.count(vec![(*package, *digest)])?.bytes()
            }
            Item::Hidden(_, Kept::Blob(digest)) => reach.count_blobs(vec![*digest])?.bytes(),
            Item::Package(package) => reach.count_package(*package)?.bytes(),
        };
        sum += bytes;
        // What costs nothing more than what stays may stay; what goes is not counted for the others.
        if sum > cap && bytes > 0 && !mutant!("cap-ignored") {
            reach.take_back(mark);
            beyond.push(item);
        }
    }
    Ok(beyond)
}

/// All that is kept in a workspace, with the time of the event.
fn all(rows: &impl Rows, workspace: WorkspaceId) -> Result<Vec<(u64, Item)>> {
    let mut items = Vec::new();
    let (live, deleted) = reach::packages_of(rows, workspace)?;
    for package in live {
        for row in undo::kept_rows(rows, package, None, usize::MAX)? {
            let key = tags::history_key(package, &row.tag, row.sequence);
            let history: Option<HistoryValue> = rows.row(Table::History, &key)?;
            let at = history.ok_or(MetadataError::Corrupt("history of what is kept"))?.moved.at;
            items.push((at, Item::History(package, row.digest, row.tag, row.sequence)));
        }
        for (kept, by, given_up) in undo::hidden(rows, package)? {
            if !given_up {
                items.push((by.at, Item::Hidden(package, kept)));
            }
        }
    }
    for package in deleted {
        let row = reach::any_package(rows, package)?;
        let row = row.ok_or(MetadataError::Corrupt("deleted package"))?;
        if let (Some(by), false) = (&row.deleted, row.given_up || row.removing) {
            items.push((by.at, Item::Package(package)));
        }
    }
    Ok(items)
}

/// Gives up what was found beyond the cap.
pub(super) fn give_up(batch: &mut Batch<'_>, items: &[Item]) -> Result<u64> {
    let mut given_up = 0;
    for item in items {
        given_up += 1;
        match item {
            Item::History(package, digest, tag, sequence) => {
                let Some(row) = packages::live_row(batch, *package)? else { continue };
                let of = (*package, row.name.as_str());
                collect::let_history_go(batch, of, digest, tag, *sequence, false)?;
            }
            Item::Hidden(package, Kept::Blob(digest) | Kept::Manifest(digest)) => {
                if packages::live_row(batch, *package)?.is_some() {
                    undo::end_keeping(batch, *package, &GiveUp::Digest(*digest))?;
                }
            }
            Item::Hidden(..) => {}
            Item::Package(package) => {
                if undo::deleted_package(batch, *package)?.is_some() {
                    undo::end_keeping(batch, *package, &GiveUp::All)?;
                }
            }
        }
    }
    Ok(given_up)
}
