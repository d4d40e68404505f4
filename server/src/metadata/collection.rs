//! What the metadata seam takes and gives for collection, undo and accounting (DESIGN §5).
//! Values, not stored forms.

use super::Stamped;
use crate::domain::{
    Digest, ObjectKey, PackageId, PackageName, Tag, Timestamp, UploadId, WorkspaceId,
};
use std::time::Duration;

/// Why something is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Its tag was pointed to something else.
    TagMoved,
    /// Its tag was deleted.
    TagDeleted,
    /// The manifest was deleted by digest.
    ManifestDeleted,
    /// The blob was deleted by digest.
    BlobDeleted,
    /// Its package was deleted.
    PackageDeleted,
    /// Its lease ran out and nothing had come to refer to it.
    NeverReferenced,
}

impl Why {
    /// The name in the API and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TagMoved => "tag-moved",
            Self::TagDeleted => "tag-deleted",
            Self::ManifestDeleted => "manifest-deleted",
            Self::BlobDeleted => "blob-deleted",
            Self::PackageDeleted => "package-deleted",
            Self::NeverReferenced => "never-referenced",
        }
    }
}

/// The event that made something collectable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What kind of event.
    pub why: Why,
    /// Where.
    pub package: PackageId,
    /// The package's name when it happened.
    pub name: PackageName,
    /// Counts the package's events; 0 for what never had one.
    pub sequence: u64,
    /// The tag that moved or went.
    pub tag: Option<Tag>,
    /// What it was about.
    pub digest: Option<Digest>,
    /// Whose event it was and when.
    pub by: Stamped,
}

/// What is freed, in exact numbers unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Manifests.
    pub manifests: u64,
    /// Their bytes.
    pub manifest_bytes: u64,
    /// Blobs that no package of the workspace needs any more; each is one object.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
}

impl Freed {
    /// All bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.manifest_bytes.saturating_add(self.blob_bytes)
    }

    /// Adds another sum.
    pub const fn add(&mut self, other: &Self) {
        self.manifests += other.manifests;
        self.manifest_bytes += other.manifest_bytes;
        self.blobs += other.blobs;
        self.blob_bytes += other.blob_bytes;
    }
}

/// What one event freed so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event.
    pub cause: Cause,
    /// What was freed.
    pub freed: Freed,
    /// When the first and the last of it was.
    pub first: Timestamp,
    /// When the last of it was.
    pub last: Timestamp,
}

/// Where a list of receipts goes on; opaque to callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptCursor(pub Vec<u8>);

/// What one step of collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Due entries looked at.
    pub reviewed: u64,
    /// Rows read and written.
    pub rows: u64,
    /// What was freed, by event.
    pub receipts: Vec<(Cause, Freed)>,
    /// Uploads that may be abandoned: whoever knows when their last byte came decides. Each is looked
    /// at again after a part of its lease.
    pub uploads: Vec<IdleUpload>,
    /// Workspaces in which something is kept since their cap was last looked at. What is beyond it is
    /// given up by `enforce_cap`; after a restart all capped workspaces are looked at.
    pub caps: Vec<WorkspaceId>,
    /// Whether more is due now.
    pub more: bool,
}

/// An upload whose lease may have run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleUpload {
    /// The session.
    pub id: UploadId,
    /// How long it may be silent.
    pub lease: Duration,
}

/// What of a package is asked about or to be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Tags as they stand.
    Tags(Vec<Tag>),
    /// Manifests, with all their tags.
    Manifests(Vec<Digest>),
    /// The whole package.
    Package,
}

/// What a deletion would free once nothing is kept for undo any more and nothing else has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// What only the selection keeps.
    pub freed: Freed,
    /// The search was cut short: it frees at least this.
    pub at_least: bool,
}

/// What a workspace holds that no tag leads to: kept for undo, or under a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// What it is.
    pub held: Freed,
    /// The search was cut short: it is at least this.
    pub at_least: bool,
}

/// Something that was deleted or replaced and can be put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptItem {
    /// What.
    pub what: Kept,
    /// Until when at least.
    pub until: Timestamp,
    /// Who deleted or replaced it, and when.
    pub by: Stamped,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A blob that was deleted.
    Blob(Digest),
    /// A manifest that was deleted.
    Manifest(Digest),
    /// What a tag pointed to before it moved or was deleted.
    Tag {
        /// The tag.
        tag: Tag,
        /// What it pointed to.
        digest: Digest,
        /// The history row.
        sequence: u64,
    },
}

/// A package that was deleted and can be put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedPackage {
    /// The package as it was.
    pub package: super::Package,
    /// Until when at least.
    pub until: Timestamp,
    /// Who deleted it, and when.
    pub by: Stamped,
}

/// What is to be put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// A deleted manifest, without its tags, or a deleted blob.
    Manifest(Digest),
    /// A deleted package, under another name or linked to another repository if asked for.
    Package {
        /// Another name.
        name: Option<PackageName>,
        /// Another repository.
        repository: Option<crate::domain::RepositoryId>,
    },
    /// A tag: to the digest, or else to what its last movement released.
    Tag {
        /// The tag.
        tag: Tag,
        /// What it is to point to.
        digest: Option<Digest>,
    },
}

/// What is given up before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// All that is kept in the package.
    All,
    /// What movements of this tag released.
    Tag(Tag),
    /// One digest: as a deleted blob or manifest, and in the history of every tag.
    Digest(Digest),
}

/// Something that is looked at again at a certain time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueEntry {
    /// What.
    pub what: DueKind,
    /// When.
    pub at: Timestamp,
    /// The event behind it, if there was one.
    pub cause: Option<Cause>,
}

/// What is looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DueKind {
    /// A blob.
    Blob(Digest),
    /// A manifest.
    Manifest(Digest),
    /// A movement of a tag.
    History(Tag, Digest),
    /// The package.
    Package,
}

/// What keeps a blob or manifest in a package now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Tags that point to it.
    pub tags: Vec<Tag>,
    /// Manifests that need it.
    pub parents: Vec<Digest>,
    /// Tags whose history keeps it.
    pub history: Vec<Tag>,
    /// The manifest it refers to and falls with.
    pub subject: Option<Digest>,
    /// Its lease ends at this moment.
    pub lease: Option<Timestamp>,
    /// It was deleted, and is held for restoring until this moment.
    pub deleted_until: Option<Timestamp>,
    /// There are more tags, parents or history rows than are listed.
    pub more: bool,
}

/// How far collection is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Due entries whose time has come, counted up to the limit asked for.
    pub due: u64,
    /// The oldest of them.
    pub oldest: Option<Timestamp>,
    /// Objects whose removal is due, counted up to the limit.
    pub doomed: u64,
    /// Until when a backup holds back the removal of objects.
    pub pinned_until: Option<Timestamp>,
}

/// What the writer has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStatistics {
    /// Transactions.
    pub batches: u64,
    /// Operations in them.
    pub operations: u64,
    /// Rows read and written by those that did not fail.
    pub rows: u64,
    /// Time from taking a batch to having answered, in microseconds.
    pub busy_micros: u64,
    /// Operations that wait now.
    pub waiting: u64,
    /// Batches by duration: at most 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000 ms, and longer.
    pub durations: [u64; 11],
}

/// A blob of a workspace with its object, for backup and verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// The object.
    pub object: ObjectKey,
    /// What its content must be.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// It was found damaged; the next push of the digest replaces it.
    pub damaged: bool,
}
