//! Due entries: what is to be looked at again, and when (DESIGN §5).
//!
//! Invariant: an item has at most one entry, found from both sides. Setting it again moves it.

use super::batch::{Batch, Rows as _, Table};
use super::keys::Key;
use super::rows::NumberRow;
use crate::domain::{Digest, PackageId, Timestamp, UploadId};
use crate::metadata::Result;

/// What an entry is about.
pub(super) enum Item<'a> {
    /// A history row whose `keep` ends: the digest it keeps, the tag, the sequence.
    History(PackageId, &'a Digest, &'a crate::domain::Tag, u64),
    /// A blob's link: its lease or its hiding ends.
    Link(PackageId, &'a Digest),
    /// A manifest: its lease or its hiding ends.
    Manifest(PackageId, &'a Digest),
    /// A deleted package whose `keep` ends.
    Package(PackageId),
    /// An upload that may be abandoned.
    Upload(UploadId),
}

impl Item<'_> {
    fn key(&self) -> Key {
        match self {
            Self::History(package, digest, tag, sequence) => {
                Key::new().byte(1).package(*package).digest(digest).tag_and(tag).number(*sequence)
            }
            Self::Link(package, digest) => Key::new().byte(2).package(*package).digest(digest),
            Self::Manifest(package, digest) => Key::new().byte(3).package(*package).digest(digest),
            Self::Package(package) => Key::new().byte(4).package(*package),
            Self::Upload(id) => Key::new().byte(5).raw(id.0.as_bytes()),
        }
    }
}

/// Sets or moves the entry of an item.
pub(super) fn set(batch: &mut Batch<'_>, item: &Item<'_>, time: Timestamp) -> Result<()> {
    clear(batch, item)?;
    let key = item.key();
    batch.mark(Table::Due, &Key::new().time(time).raw(key.bytes()))?;
    batch.put(Table::DueOf, &key, &NumberRow(time.0))
}

/// Removes the entry of an item, if it has one.
pub(super) fn clear(batch: &mut Batch<'_>, item: &Item<'_>) -> Result<()> {
    let key = item.key();
    if let Some(NumberRow(time)) = batch.row(Table::DueOf, &key)? {
        batch.remove(Table::Due, &Key::new().number(time).raw(key.bytes()))?;
        batch.remove(Table::DueOf, &key)?;
    }
    Ok(())
}
