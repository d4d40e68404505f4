//! What the metadata seam takes and gives. These are values, not stored forms: a backend encodes
//! them as it likes.

use crate::domain::{
    Change, Digest, ManifestView, ObjectKey, PackageId, PackageName, ProjectKey, RepositoryId,
    Slug, Tag, Timestamp, UploadId, Visibility, WorkspaceId, WorkspaceSettings,
};

/// A change with the time the store gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// When.
    pub at: Timestamp,
    /// Who, with what, from where.
    pub change: Change,
}

/// The identity of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Written into the blob store too, so that two halves that do not belong together are noticed.
    pub id: uuid::Uuid,
    /// The format of the rows.
    pub format: u32,
}

/// A page of a list ordered by some text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Only what comes after this.
    pub after: Option<String>,
    /// At most this many.
    pub limit: usize,
}

/// What a document is about. The key's form is the business of whoever writes the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DocumentKind {
    /// What builds of another system may do: the binding's id.
    OidcBinding,
    /// A role on a repository: `<repository id>/<username>`.
    Permission,
    /// A project: `<workspace id>/<key>`.
    Project,
    /// A machine account: `<workspace id>/<name>`.
    Robot,
    /// Somebody signed in to the pages: `<username>/<hash of the cookie's secret>`.
    Session,
    /// Something of the whole instance, such as the token signing key.
    Setting,
    /// A machine or personal token: its id.
    Token,
    /// A user: the username.
    User,
    /// A role on a workspace: `<workspace id>/<username>`.
    WorkspacePermission,
}

/// A small versioned document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its key.
    pub key: String,
    /// Counts its changes; compare-and-set works on it.
    pub version: u64,
    /// Its content, in the writer's own encoding.
    pub body: Vec<u8>,
    /// Who changed it last.
    pub changed: Stamped,
}

/// A workspace to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWorkspace {
    /// The slug, for ever.
    pub slug: Slug,
    /// The display name.
    pub name: String,
    /// Settings.
    pub settings: WorkspaceSettings,
}

/// A workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Its slug.
    pub slug: Slug,
    /// Its display name.
    pub name: String,
    /// Its settings.
    pub settings: WorkspaceSettings,
    /// Who created it.
    pub created: Stamped,
}

/// Byte totals of a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceUsage {
    /// Bytes of blobs, each stored once.
    pub blob_bytes: u64,
    /// Bytes of manifests.
    pub manifest_bytes: u64,
    /// Bytes of objects that are forgotten but not removed yet.
    pub doomed_bytes: u64,
}

/// What can be changed of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryFields {
    /// The slug.
    pub slug: Slug,
    /// The display name.
    pub name: String,
    /// The project it belongs to.
    pub project: Option<ProjectKey>,
    /// Who may pull without a role.
    pub visibility: Visibility,
}

/// A source repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its id.
    pub id: RepositoryId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The rest.
    pub fields: RepositoryFields,
    /// Who created it.
    pub created: Stamped,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its id.
    pub id: PackageId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Its name there.
    pub name: PackageName,
    /// The repository it inherits its permissions from.
    pub repository: RepositoryId,
    /// Who created it.
    pub created: Stamped,
    /// When a tag or manifest of it last changed.
    pub updated: Timestamp,
}

/// Byte totals of a package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackageUsage {
    /// Bytes of the blobs linked in it.
    pub linked_bytes: u64,
    /// Bytes of the blobs that no other package of the workspace has.
    pub exclusive_bytes: u64,
    /// Bytes of its manifests.
    pub manifest_bytes: u64,
}

/// Which packages a list wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageFilter {
    /// Only those linked to this repository.
    pub repository: Option<RepositoryId>,
    /// Only those linked to a repository of this project.
    pub project: Option<ProjectKey>,
    /// Only the one of this name.
    pub name: Option<PackageName>,
}

/// What a name leads to, read at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// The workspace, if it exists.
    pub workspace: Option<Workspace>,
    /// The package and its repository, if it exists.
    pub package: Option<(Package, Repository)>,
}

/// The package a push goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It does not exist and is created in the same transaction; if somebody else was faster with the
    /// same repository, theirs is used.
    Create {
        /// The workspace.
        workspace: WorkspaceId,
        /// The package's name.
        name: PackageName,
        /// The repository it is linked to.
        repository: RepositoryId,
    },
    /// It exists.
    Existing(PackageId),
}

/// An upload session to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUpload {
    /// The session's id.
    pub id: UploadId,
    /// The principal who owns it.
    pub owner: String,
    /// What it will be, if the client has said so: by this it is found again.
    pub declared: Option<Digest>,
}

/// An upload session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The session's id.
    pub id: UploadId,
    /// The package it uploads to.
    pub package: PackageId,
    /// The package's workspace.
    pub workspace: WorkspaceId,
    /// The principal who owns it.
    pub owner: String,
    /// Who began it and when.
    pub started: Stamped,
}

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedUpload {
    /// The object that lost against one already there, to be removed now.
    pub loser: Option<ObjectKey>,
}

/// A blob as a package sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobFacts {
    /// Where its bytes are.
    pub object: ObjectKey,
    /// Its size in bytes.
    pub size: u64,
    /// Whether a confirmation must be written down first, because less than a whole lease is left.
    pub lease_wanted: bool,
    /// The object is not what it should be: to a push it is absent, to a pull an error.
    pub damaged: bool,
}

/// What a lease is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leased {
    /// A blob's link.
    Blob,
    /// A manifest.
    Manifest,
}

/// A manifest to be admitted.
#[derive(Clone, Debug)]
pub struct NewManifest {
    /// Its digest, already checked against the bytes.
    pub digest: Digest,
    /// Its Content-Type, given back on every pull.
    pub media_type: String,
    /// Its bytes, kept verbatim.
    pub bytes: bytes::Bytes,
    /// What was read of them.
    pub view: ManifestView,
    /// Tags to point to it.
    pub tags: Vec<Tag>,
}

/// What became of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutManifest {
    /// The package it went to.
    pub package: PackageId,
    /// Whether the package did not have it before.
    pub new: bool,
}

/// What is known of a manifest without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFacts {
    /// Its digest.
    pub digest: Digest,
    /// Its Content-Type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its artifact type, if it has one.
    pub artifact_type: Option<String>,
    /// Its config's digest, if it has one.
    pub config: Option<Digest>,
    /// The manifest it refers to.
    pub subject: Option<Digest>,
    /// Its annotations.
    pub annotations: Vec<(String, String)>,
    /// Bytes of itself and all it needs, each content once; immutable.
    pub closure_bytes: u64,
    /// Who pushed it first.
    pub pushed: Stamped,
    /// Whether a confirmation must renew its lease.
    pub lease_wanted: bool,
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What is known of it.
    pub facts: ManifestFacts,
    /// Its bytes, verbatim.
    pub bytes: bytes::Bytes,
}

/// A tag and what it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRow {
    /// The tag.
    pub tag: Tag,
    /// What it points to.
    pub digest: Digest,
    /// Who put it there.
    pub moved: Stamped,
    /// Pulls by this tag, and the last one.
    pub pulls: Pulls,
}

/// Names of tags in order, in one piece of memory however many they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagNames {
    names: String,
    ends: Vec<u32>,
    /// Whether there are others behind them.
    pub more: bool,
}

impl TagNames {
    /// Adds one at the end.
    pub fn push(&mut self, name: &str) {
        self.names.push_str(name);
        // A page of names is far below 4 GiB: a name has at most 128 characters.
        self.ends.push(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let end = *end as usize;
            let name = self.names.get(start..end).unwrap_or_default();
            start = end;
            name
        })
    }
}

/// How often something was pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulls {
    /// How often.
    pub count: u64,
    /// When last.
    pub last: Option<Timestamp>,
}

/// Pulls counted in memory, to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The package.
    pub package: PackageId,
    /// The manifest.
    pub digest: Digest,
    /// The tag it was pulled by.
    pub tag: Option<Tag>,
    /// How often, and when last.
    pub pulls: Pulls,
}

/// One movement of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The tag.
    pub tag: Tag,
    /// Counts the package's history.
    pub sequence: u64,
    /// What happened.
    pub event: TagEvent,
    /// Who did it and when.
    pub moved: Stamped,
}

/// What happened to a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagEvent {
    /// It was removed; it pointed to this.
    Deleted(Digest),
    /// It was pointed to `to`; before it pointed to `from`, if it existed.
    Moved {
        /// Before.
        from: Option<Digest>,
        /// After.
        to: Digest,
    },
}
