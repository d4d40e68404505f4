//! What a removed manifest held, let go page by page.
//!
//! A manifest may name thousands of blobs and children, and thousands of referrers may name it. Its
//! row goes in one transaction; what it held is let go in as many as it takes, so that the writer is
//! never busy for long. Invariant: until an edge is let go it still holds, so nothing is collected too
//! early; a push of the same manifest meanwhile writes all edges again and ends the fan.

use super::batch::{Batch, Rows, Table, Walk};
use super::causes::{CauseRow, FanRow};
use super::due::{self, Item};
use super::keys::Key;
use super::rows::ManifestRow;
use super::{blobs, manifests, release};
use crate::domain::{Digest, PackageId};
use crate::metadata::Result;

/// Edges let go, and referrers told, in one transaction.
const PAGE: usize = 64;

fn key(package: PackageId, digest: &Digest) -> Key {
    Key::new().package(package).digest(digest)
}

/// Ends the fan of a manifest that is pushed again.
pub(super) fn cancel(batch: &mut Batch<'_>, package: PackageId, digest: &Digest) -> Result<()> {
    let key = key(package, digest);
    if batch.has(Table::Fan, &key)? {
        batch.remove(Table::Fan, &key)?;
        due::clear(batch, &Item::Fan(package, *digest))?;
    }
    Ok(())
}

/// Whether a manifest that is gone has not let go everything yet.
pub(super) fn is_pending(rows: &impl Rows, package: PackageId, digest: &Digest) -> Result<bool> {
    rows.has(Table::Fan, &key(package, digest))
}

/// Lets go what a manifest held whose row has just been removed; what does not fit into this
/// transaction is entered for the next.
pub(super) fn begin(
    batch: &mut Batch<'_>,
    package: PackageId,
    digest: &Digest,
    row: ManifestRow,
    cause: &CauseRow,
) -> Result<()> {
    let mut children = row.blobs;
    children.extend(row.children);
    let fan = FanRow { children, told: None, cause: cause.clone() };
    go_on(batch, package, digest, fan)
}

/// Lets go the next page.
pub(super) fn review(batch: &mut Batch<'_>, package: PackageId, digest: &Digest) -> Result<()> {
    let fan: Option<FanRow> = batch.row(Table::Fan, &key(package, digest))?;
    match fan {
        Some(fan) => go_on(batch, package, digest, fan),
        None => due::clear(batch, &Item::Fan(package, *digest)),
    }
}

fn go_on(
    batch: &mut Batch<'_>,
    package: PackageId,
    digest: &Digest,
    mut fan: FanRow,
) -> Result<()> {
    let mut budget = if mutant!("fan-at-once") { usize::MAX } else { PAGE };
    while budget > 0
        && let Some(child) = fan.children.pop()
    {
        let child = child.read()?;
        batch.remove(Table::Edge, &manifests::key(package, &child).digest(digest))?;
        release::blob(batch, package, &child, &fan.cause)?;
        release::manifest(batch, package, &child, &fan.cause)?;
        budget -= 1;
    }
    let told = tell_referrers(batch, package, digest, &mut fan, budget)?;
    if fan.children.is_empty() && told {
        batch.remove(Table::Fan, &key(package, digest))?;
        return due::clear(batch, &Item::Fan(package, *digest));
    }
    batch.put(Table::Fan, &key(package, digest), &fan)?;
    due::set(batch, &Item::Fan(package, *digest), batch.now(), None)
}

/// Releases what referred to the manifest; `false` if there may be more.
fn tell_referrers(
    batch: &mut Batch<'_>,
    package: PackageId,
    subject: &Digest,
    fan: &mut FanRow,
    budget: usize,
) -> Result<bool> {
    if mutant!("subject-forgets-referrers") {
        return Ok(true);
    }
    let prefix = manifests::key(package, subject);
    let told = fan.told.as_ref().map(|told| told.read()).transpose()?;
    let after = told.map(|told| prefix.clone().digest(&told));
    let mut found = Vec::new();
    batch.prefix(Table::Referrer, &prefix, after.as_ref(), &mut |rest, _| {
        found.push(blobs::digest_of(rest, "referrer")?);
        Ok(if found.len() <= budget { Walk::Continue } else { Walk::Stop })
    })?;
    let done = found.len() <= budget;
    for referrer in found.iter().take(budget) {
        release::manifest(batch, package, referrer, &fan.cause)?;
        fan.told = Some(referrer.into());
    }
    Ok(done)
}
