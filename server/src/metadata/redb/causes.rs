//! Stored forms of what collection remembers: why, what it freed, what is left to do.

use super::rows::{RawDigest, Row, StampRow};
use crate::domain::{Change, Digest, PackageId, Tag, Timestamp};
use crate::metadata::{Cause, Freed, MetadataError, Receipt, Result, Why};
use serde::{Deserialize, Serialize};

macro_rules! row {
    ($name:ident, $text:literal) => {
        impl Row for $name {
            const NAME: &'static str = $text;
        }
    };
}

/// The event behind a due entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CauseRow {
    why: u8,
    pub(super) package: u64,
    name: String,
    pub(super) sequence: u64,
    tag: Option<String>,
    digest: Option<RawDigest>,
    pub(super) by: StampRow,
    /// The keeping was ended on purpose: objects are removed without the purge delay.
    pub(super) now: bool,
}
row!(CauseRow, "cause");

impl CauseRow {
    pub(super) fn new(
        why: Why,
        package: (PackageId, &str),
        sequence: u64,
        tag: Option<&Tag>,
        digest: Option<&Digest>,
        by: StampRow,
    ) -> Self {
        Self {
            why: why_byte(why),
            package: package.0.0,
            name: package.1.to_owned(),
            sequence,
            tag: tag.map(ToString::to_string),
            digest: digest.map(Into::into),
            by,
            now: false,
        }
    }

    /// What nothing ever referred to has no event; the server's own review stands for it.
    pub(super) fn never_referenced(package: (PackageId, &str), now: Timestamp) -> Self {
        let by = StampRow::new(&Change::by_server("collection"), now);
        Self::new(Why::NeverReferenced, package, 0, None, None, by)
    }

    /// The same, ended on purpose.
    pub(super) fn on_purpose(mut self) -> Self {
        self.now = true;
        self
    }

    pub(super) const fn why_byte(&self) -> u8 {
        self.why
    }

    pub(super) fn read(self) -> Result<Cause> {
        let damaged = || MetadataError::Corrupt("cause");
        Ok(Cause {
            why: read_why(self.why).ok_or_else(damaged)?,
            package: PackageId(self.package),
            name: self.name.parse().map_err(|_| damaged())?,
            sequence: self.sequence,
            tag: self.tag.map(|tag| tag.parse().map_err(|_| damaged())).transpose()?,
            digest: self.digest.map(|digest| digest.read()).transpose()?,
            by: self.by.read(),
        })
    }
}

const fn why_byte(why: Why) -> u8 {
    match why {
        Why::TagMoved => 1,
        Why::TagDeleted => 2,
        Why::ManifestDeleted => 3,
        Why::BlobDeleted => 4,
        Why::PackageDeleted => 5,
        Why::NeverReferenced => 6,
    }
}

const fn read_why(byte: u8) -> Option<Why> {
    Some(match byte {
        1 => Why::TagMoved,
        2 => Why::TagDeleted,
        3 => Why::ManifestDeleted,
        4 => Why::BlobDeleted,
        5 => Why::PackageDeleted,
        6 => Why::NeverReferenced,
        _ => return None,
    })
}

/// When something is looked at again, and the event behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DueRow {
    pub(super) time: u64,
    pub(super) cause: Option<CauseRow>,
}
row!(DueRow, "due entry");

/// What a manifest that is gone held and has not let go yet (large fans go page by page).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FanRow {
    pub(super) children: Vec<RawDigest>,
    /// Referrers up to this one have been told.
    pub(super) told: Option<RawDigest>,
    pub(super) cause: CauseRow,
}
row!(FanRow, "fan");

/// What one event freed so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReceiptRow {
    pub(super) cause: CauseRow,
    pub(super) manifests: u64,
    pub(super) manifest_bytes: u64,
    pub(super) blobs: u64,
    pub(super) blob_bytes: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}
row!(ReceiptRow, "receipt");

impl ReceiptRow {
    pub(super) fn add(&mut self, freed: &Freed, now: Timestamp) {
        self.manifests += freed.manifests;
        self.manifest_bytes += freed.manifest_bytes;
        self.blobs += freed.blobs;
        self.blob_bytes += freed.blob_bytes;
        self.last = now.0;
    }

    pub(super) fn read(self) -> Result<Receipt> {
        Ok(Receipt {
            freed: Freed {
                manifests: self.manifests,
                manifest_bytes: self.manifest_bytes,
                blobs: self.blobs,
                blob_bytes: self.blob_bytes,
            },
            first: Timestamp(self.first),
            last: Timestamp(self.last),
            cause: self.cause.read()?,
        })
    }
}
