//! Due entries: what is to be looked at again, and when (DESIGN §5).
//!
//! Invariant: an item has at most one entry, found from both sides. Setting it again moves it. The
//! entry carries the event that made the item collectable, if there was one.

use super::batch::{Batch, Rows, Table, Walk};
use super::causes::{CauseRow, DueRow};
use super::keys::{Key, KeyReader};
use super::rows::Row as _;
use crate::domain::{Digest, PackageId, Tag, Timestamp, UploadId, WorkspaceId};
use crate::metadata::{MetadataError, Result};

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A history row: its digest, the tag, the sequence. First its `keep` ends, later its own life.
    History(PackageId, Digest, Tag, u64),
    /// A blob's link: its lease or its hiding ends.
    Link(PackageId, Digest),
    /// A manifest: its lease or its hiding ends.
    Manifest(PackageId, Digest),
    /// A deleted package whose `keep` ends.
    Package(PackageId),
    /// An upload that may be abandoned.
    Upload(UploadId),
    /// What a removed manifest has not let go yet.
    Fan(PackageId, Digest),
    /// A receipt that is old enough to be forgotten: its key.
    Receipt(Vec<u8>),
    /// A workspace whose kept bytes are held against its cap.
    Cap(WorkspaceId),
}

/// The first byte of the key of [`Item::Link`] and its kin, for prefixes.
pub(super) const HISTORY: u8 = 1;
pub(super) const LINK: u8 = 2;
pub(super) const MANIFEST: u8 = 3;
pub(super) const PACKAGE: u8 = 4;
pub(super) const FAN: u8 = 6;

impl Item {
    pub(super) fn key(&self) -> Key {
        let of = |kind: u8, package: &PackageId, digest: &Digest| {
            Key::new().byte(kind).package(*package).digest(digest)
        };
        match self {
            Self::History(package, digest, tag, sequence) => {
                of(HISTORY, package, digest).tag_and(tag).number(*sequence)
            }
            Self::Link(package, digest) => of(LINK, package, digest),
            Self::Manifest(package, digest) => of(MANIFEST, package, digest),
            Self::Package(package) => Key::new().byte(PACKAGE).package(*package),
            Self::Upload(id) => Key::new().byte(5).raw(id.0.as_bytes()),
            Self::Fan(package, digest) => of(FAN, package, digest),
            Self::Receipt(key) => Key::new().byte(7).raw(key),
            Self::Cap(workspace) => Key::new().byte(8).workspace(*workspace),
        }
    }

    pub(super) fn decode(key: &[u8]) -> Option<Self> {
        let mut reader = KeyReader(key);
        let kind = reader.byte()?;
        Some(match kind {
            5 => Self::Upload(UploadId(uuid::Uuid::from_slice(reader.0).ok()?)),
            7 => Self::Receipt(reader.0.to_vec()),
            8 => Self::Cap(WorkspaceId(reader.number()?)),
            PACKAGE => Self::Package(PackageId(reader.number()?)),
            HISTORY | LINK | MANIFEST | FAN => {
                let (package, digest) = (PackageId(reader.number()?), reader.digest()?);
                match kind {
                    HISTORY => {
                        let tag = reader.text()?.parse().ok()?;
                        Self::History(package, digest, tag, reader.number()?)
                    }
                    LINK => Self::Link(package, digest),
                    MANIFEST => Self::Manifest(package, digest),
                    _ => Self::Fan(package, digest),
                }
            }
            _ => return None,
        })
    }

    /// The package it belongs to, if it belongs to one.
    pub(super) const fn package(&self) -> Option<PackageId> {
        match self {
            Self::History(package, ..)
            | Self::Link(package, _)
            | Self::Manifest(package, _)
            | Self::Package(package)
            | Self::Fan(package, _) => Some(*package),
            Self::Upload(_) | Self::Receipt(_) | Self::Cap(_) => None,
        }
    }
}

/// Sets or moves the entry of an item.
pub(super) fn set(
    batch: &mut Batch<'_>,
    item: &Item,
    time: Timestamp,
    cause: Option<CauseRow>,
) -> Result<()> {
    clear(batch, item)?;
    let key = item.key();
    batch.mark(Table::Due, &Key::new().time(time).raw(key.bytes()))?;
    batch.put(Table::DueOf, &key, &DueRow { time: time.0, cause })
}

/// The entry of an item.
pub(super) fn of(rows: &impl Rows, item: &Item) -> Result<Option<DueRow>> {
    rows.row(Table::DueOf, &item.key())
}

/// Removes the entry of an item, if it has one.
pub(super) fn clear(batch: &mut Batch<'_>, item: &Item) -> Result<()> {
    let key = item.key();
    if let Some(DueRow { time, .. }) = of(batch, item)? {
        batch.remove(Table::Due, &Key::new().number(time).raw(key.bytes()))?;
        batch.remove(Table::DueOf, &key)?;
    }
    Ok(())
}

/// At most `limit` items whose time has come, oldest first.
pub(super) fn until(
    rows: &impl Rows,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(Timestamp, Item)>> {
    let mut found = Vec::new();
    rows.prefix(Table::Due, &Key::new(), None, &mut |key, _| {
        let mut reader = KeyReader(key);
        let time = Timestamp(reader.number().ok_or(MetadataError::Corrupt("due entry"))?);
        if time > now || found.len() >= limit {
            return Ok(Walk::Stop);
        }
        let item = Item::decode(reader.0).ok_or(MetadataError::Corrupt("due entry"))?;
        found.push((time, item));
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

/// The first entry as it stands, whatever it is about.
pub(super) fn first_raw(rows: &impl Rows) -> Result<Option<(Timestamp, Vec<u8>)>> {
    let mut found = None;
    rows.prefix(Table::Due, &Key::new(), None, &mut |key, _| {
        let mut reader = KeyReader(key);
        let time = Timestamp(reader.number().ok_or(MetadataError::Corrupt("due entry"))?);
        found = Some((time, reader.0.to_vec()));
        Ok(Walk::Stop)
    })?;
    Ok(found)
}

/// Moves the first entry without understanding it.
pub(super) fn postpone_first(batch: &mut Batch<'_>, until: Timestamp) -> Result<()> {
    let Some((time, item)) = first_raw(batch)? else { return Ok(()) };
    if time > batch.now() {
        return Ok(());
    }
    batch.remove(Table::Due, &Key::new().time(time).raw(&item))?;
    batch.mark(Table::Due, &Key::new().time(until).raw(&item))?;
    let key = Key::new().raw(&item);
    let cause = match batch.value(Table::DueOf, key.bytes())? {
        Some(bytes) => DueRow::decode(&bytes).ok().and_then(|row| row.cause),
        None => None,
    };
    batch.put(Table::DueOf, &key, &DueRow { time: until.0, cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Algorithm;

    #[test]
    fn every_kind_of_item_is_read_back_from_its_key() {
        let (package, digest) = (PackageId(7), Algorithm::Sha512.hash(b"x"));
        let tag: Tag = "v1".parse().unwrap();
        for item in [
            Item::History(package, digest, tag, 3),
            Item::Link(package, digest),
            Item::Manifest(package, digest),
            Item::Package(package),
            Item::Upload(UploadId::random()),
            Item::Fan(package, digest),
            Item::Receipt(vec![1, 2, 3]),
            Item::Cap(WorkspaceId(2)),
        ] {
            assert_eq!(Item::decode(item.key().bytes()), Some(item));
        }
    }
}
