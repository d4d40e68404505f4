//! The metadata seam: everything the registry knows that is not a blob's bytes.
//!
//! Invariant: each method of [`MetadataStore`] is one serializable transaction that checks
//! everything and then writes. Two calls never need a lock around them, and nothing outside relies
//! on in-process state, so that a backend for many nodes fits the same trait.
//!
//! This folder must not know HTTP, who may do what, or where blobs are kept. It stores object keys
//! without understanding them.

pub mod audit;
pub mod collection;
pub mod documents;
pub mod error;
pub mod listing;
pub mod records;
pub mod redb;
#[cfg(test)]
mod suite;

use crate::domain::{
    Change, Digest, Name, ObjectKey, PackageId, PackageName, Reference, RepositoryId, Slug, Tag,
    Timestamp, UploadId, WorkspaceId, WorkspaceSettings,
};
use async_trait::async_trait;
pub use audit::{AuditEvent, AuditFilter, AuditPage, AuditPlace, InvalidPlace, LoginSummary};
pub use collection::*;
pub use error::{Conflict, MetadataError, Result};
pub use listing::*;
pub use records::*;
use std::time::Duration;

/// A transactional store of metadata.
///
/// # Contract
/// Every backend passes `suite.rs`.
///
/// - **Atomic.** A method that returns an error has changed nothing, except
///   [`MetadataError::Unavailable`] with an unknown outcome after a storage fault: then the change is
///   either whole or absent, and reading tells which. All mutations can be repeated.
/// - **Durable.** A mutation that returned `Ok` survives a crash of the process and of the machine.
/// - **Visible.** After a mutation returned, every later read sees it.
/// - **Stamped.** The store adds the time to each [`Change`]; times never run backwards.
/// - **Told.** Each change of something that people see writes an audit event in its transaction.
/// - **Kept.** Each tag movement, deletion and manifest records its `Change`. What loses its last
///   reference gets a due entry in the same transaction; what is confirmed to a client gets a lease.
/// - **Counted.** Byte totals change in the transaction that changes them.
#[async_trait]
pub trait MetadataStore: std::fmt::Debug + Send + Sync {
    /// The identity of this database.
    async fn instance(&self) -> Result<Instance>;

    // Documents: users, tokens, permissions, projects, settings. Small, versioned, compare-and-set.

    /// Reads one document.
    async fn document(&self, kind: DocumentKind, key: &str) -> Result<Option<Document>>;

    /// At most `page.limit` documents whose key begins with `prefix`, by key.
    async fn documents(
        &self,
        kind: DocumentKind,
        prefix: &str,
        page: Page,
    ) -> Result<Vec<Document>>;

    /// Writes a document if its version is still `expected` (`None`: if it does not exist yet).
    /// Returns the new version.
    async fn put_document(
        &self,
        change: &Change,
        kind: DocumentKind,
        key: &str,
        expected: Option<u64>,
        body: Vec<u8>,
    ) -> Result<u64>;

    /// Deletes a document if its version is still `expected`.
    async fn delete_document(
        &self,
        change: &Change,
        kind: DocumentKind,
        key: &str,
        expected: u64,
    ) -> Result<()>;

    // Workspaces and repositories.

    /// Creates a workspace; [`Conflict::SlugTaken`] if there is one of that slug.
    async fn create_workspace(&self, change: &Change, new: NewWorkspace) -> Result<Workspace>;

    /// Changes a workspace's display name and settings; the slug stays.
    async fn update_workspace(
        &self,
        change: &Change,
        id: WorkspaceId,
        name: String,
        settings: WorkspaceSettings,
    ) -> Result<Workspace>;

    /// The workspace of a slug.
    async fn workspace(&self, slug: &Slug) -> Result<Option<Workspace>>;

    /// The workspace of an id.
    async fn workspace_by_id(&self, id: WorkspaceId) -> Result<Option<Workspace>>;

    /// Workspaces by slug.
    async fn workspaces(&self, page: Page) -> Result<Vec<Workspace>>;

    /// A workspace's byte totals.
    async fn workspace_usage(&self, id: WorkspaceId) -> Result<WorkspaceUsage>;

    /// Creates a repository; [`Conflict::SlugTaken`] if the workspace has one of that slug.
    async fn create_repository(
        &self,
        change: &Change,
        workspace: WorkspaceId,
        new: RepositoryFields,
    ) -> Result<Repository>;

    /// Replaces a repository's fields, the slug included.
    async fn update_repository(
        &self,
        change: &Change,
        id: RepositoryId,
        fields: RepositoryFields,
    ) -> Result<Repository>;

    /// Deletes a repository; [`Conflict::HasPackages`] if packages are linked to it.
    async fn delete_repository(&self, change: &Change, id: RepositoryId) -> Result<()>;

    /// The repository of a slug.
    async fn repository(&self, workspace: WorkspaceId, slug: &Slug) -> Result<Option<Repository>>;

    /// The repository of an id.
    async fn repository_by_id(&self, id: RepositoryId) -> Result<Option<Repository>>;

    /// A workspace's repositories by slug.
    async fn repositories(&self, workspace: WorkspaceId, page: Page) -> Result<Vec<Repository>>;

    // Packages.

    /// Everything an access decision about a name needs, read at one moment.
    async fn resolve(&self, name: &Name) -> Result<Resolution>;

    /// Creates a package; [`Conflict::SlugTaken`] if the name is in use.
    async fn create_package(
        &self,
        change: &Change,
        workspace: WorkspaceId,
        name: &PackageName,
        repository: RepositoryId,
    ) -> Result<Package>;

    /// Deletes a package: its name is free at once, its content is held for the workspace's `keep`.
    async fn delete_package(&self, change: &Change, id: PackageId) -> Result<()>;

    /// The package of an id, unless it was deleted.
    async fn package(&self, id: PackageId) -> Result<Option<Package>>;

    /// A workspace's packages by name.
    async fn packages(
        &self,
        workspace: WorkspaceId,
        filter: &PackageFilter,
        page: Page,
    ) -> Result<Vec<Package>>;

    /// A package's byte totals.
    async fn package_usage(&self, id: PackageId) -> Result<PackageUsage>;

    // Lists that people look at; rows in proportion to the page.

    /// A page of a workspace's packages with their repositories and byte totals.
    async fn package_list(
        &self,
        workspace: WorkspaceId,
        query: PackageQuery,
    ) -> Result<PackageList>;

    /// A page of a package's tags with the manifests that they point to.
    async fn tag_list(&self, package: PackageId, query: TagQuery) -> Result<TagList>;

    /// A manifest with its children and what refers to it.
    async fn inspect(
        &self,
        package: PackageId,
        reference: &Reference,
        most_children: usize,
        most_referrers: usize,
    ) -> Result<Option<ManifestInspection>>;

    /// How widely blobs of a package are used, in the order asked for.
    async fn blob_uses(&self, package: PackageId, digests: Vec<Digest>) -> Result<Vec<BlobUse>>;

    /// What of a workspace is looked at again next.
    async fn upcoming(&self, workspace: WorkspaceId, limit: usize) -> Result<Upcoming>;

    /// The packages of a workspace that have most bytes of their own, looking at no more than `most`.
    async fn largest_packages(
        &self,
        workspace: WorkspaceId,
        limit: usize,
        most: usize,
    ) -> Result<Largest>;

    // Uploads and blobs.

    /// Records an upload session, creating the package first if the target says so. In a package that
    /// exists the session may be forgotten by a crash until [`Self::settle_upload`] was answered.
    async fn start_upload(
        &self,
        change: &Change,
        target: &Target,
        upload: NewUpload,
    ) -> Result<Upload>;

    /// Waits until the session cannot be forgotten any more; before anybody is told that bytes of it
    /// are stored.
    ///
    /// # Errors
    /// [`MetadataError::NotFound`] when there is no such session.
    async fn settle_upload(&self, id: UploadId) -> Result<()>;

    /// An upload session's record.
    async fn upload(&self, id: UploadId) -> Result<Option<Upload>>;

    /// All upload sessions, by id; for the start-up check.
    async fn uploads(&self, after: Option<UploadId>, limit: usize) -> Result<Vec<Upload>>;

    /// The upload sessions of a package that were declared to become this, at most `limit`.
    async fn declared_uploads(
        &self,
        package: PackageId,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Upload>>;

    /// Forgets an upload session.
    async fn end_upload(&self, id: UploadId) -> Result<()>;

    /// Links a finished upload's object to its package under a digest, with a lease. If the workspace
    /// has the content already, the new object is the loser: it is doomed at once and named in the
    /// answer, and the caller deletes it.
    async fn finish_upload(
        &self,
        change: &Change,
        id: UploadId,
        digest: &Digest,
        object: ObjectKey,
        size: u64,
    ) -> Result<FinishedUpload>;

    /// Mounts a blob that is linked in `source`, with a lease. [`MetadataError::NotFound`] if it is
    /// not linked there or the packages are of different workspaces.
    async fn mount_blob(
        &self,
        change: &Change,
        target: &Target,
        source: PackageId,
        digest: &Digest,
    ) -> Result<PackageId>;

    /// Packages of a workspace that a blob is linked in, at most `limit`, oldest first.
    async fn blob_packages(
        &self,
        workspace: WorkspaceId,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Package>>;

    /// A blob as this package sees it.
    async fn blob(&self, package: PackageId, digest: &Digest) -> Result<Option<BlobFacts>>;

    /// Extends the lease of a blob or manifest that was just confirmed to a client. `false` if it is
    /// gone meanwhile; then the confirmation must be taken back.
    async fn renew_lease(&self, package: PackageId, item: Leased, digest: &Digest) -> Result<bool>;

    /// Hides a blob from this package at a client's request.
    async fn delete_blob(&self, change: &Change, package: PackageId, digest: &Digest)
    -> Result<()>;

    // Manifests and tags.

    /// Admits a manifest if every blob and child it needs is linked in this package, else
    /// [`MetadataError::MissingContent`]; writes edges, referrer, tags, history, totals, due entries.
    async fn put_manifest(
        &self,
        change: &Change,
        target: &Target,
        manifest: NewManifest,
    ) -> Result<PutManifest>;

    /// A manifest with its bytes, re-hashed.
    async fn manifest(&self, package: PackageId, reference: &Reference)
    -> Result<Option<Manifest>>;

    /// A manifest without its bytes.
    async fn manifest_facts(
        &self,
        package: PackageId,
        reference: &Reference,
    ) -> Result<Option<ManifestFacts>>;

    /// Hides a manifest and removes its tags at a client's request; returns the removed tags.
    async fn delete_manifest(
        &self,
        change: &Change,
        package: PackageId,
        digest: &Digest,
    ) -> Result<Vec<Tag>>;

    /// Removes a tag at a client's request; history keeps what it pointed to.
    async fn delete_tag(&self, change: &Change, package: PackageId, tag: &Tag) -> Result<()>;

    /// A package's tags, sorted as the specification demands (lexically, by bytes).
    async fn tags(&self, package: PackageId, page: Page) -> Result<Vec<TagRow>>;

    /// The names of a package's tags in the same order, and whether the page ended before they did.
    async fn tag_names(&self, package: PackageId, page: Page) -> Result<TagNames>;

    /// One tag.
    async fn tag(&self, package: PackageId, tag: &Tag) -> Result<Option<TagRow>>;

    /// The manifests that name `subject`, by digest.
    async fn referrers(
        &self,
        package: PackageId,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<ManifestFacts>>;

    /// What happened to a package's tags, newest first; of one tag if given.
    async fn history(
        &self,
        package: PackageId,
        tag: Option<&Tag>,
        limit: usize,
    ) -> Result<Vec<HistoryRow>>;

    /// Adds pulls that were counted in memory.
    async fn record_pulls(&self, pulls: Vec<Pull>) -> Result<()>;

    // What start-up and collection need.

    /// Which of these objects are named by a row, live or doomed.
    async fn known_objects(&self, keys: &[ObjectKey]) -> Result<Vec<bool>>;

    /// The last moment this database has seen.
    async fn last_seen(&self) -> Result<Timestamp>;

    /// Sees to it that [`last_seen`](Self::last_seen) is no more than `lately` ago, after a crash too.
    async fn be_seen(&self, lately: Duration) -> Result<()>;

    /// Objects whose removal is due, oldest first. None while a backup holds them.
    async fn doomed(&self, limit: usize) -> Result<Vec<ObjectKey>>;

    /// Forgets doomed objects after they were removed.
    async fn forget_doomed(&self, keys: &[ObjectKey]) -> Result<()>;

    /// Puts off the removal of objects that could not be removed.
    async fn postpone_doomed(&self, keys: &[ObjectKey], until: Timestamp) -> Result<()>;

    // Collection, undo, accounting (DESIGN §5).

    /// One bounded step of collection: looks at due entries, oldest first, until about `most_rows`
    /// rows are written or `most_entries` entries are looked at. Each entry is re-checked and acted on
    /// in this one transaction.
    async fn collect(&self, most_entries: usize, most_rows: u64) -> Result<Collected>;

    /// Puts off the first due entry, because looking at it failed.
    async fn postpone_first_due(&self, by: Duration) -> Result<()>;

    /// How much is due now, counted up to `limit`.
    async fn backlog(&self, limit: usize) -> Result<Backlog>;

    /// What a deletion would free, searching at most `most_probes` rows.
    async fn preview(
        &self,
        package: PackageId,
        selection: &Selection,
        most_probes: u64,
    ) -> Result<Preview>;

    /// What a workspace holds that no tag leads to.
    async fn held(&self, workspace: WorkspaceId, most_probes: u64) -> Result<Held>;

    /// Gives up what is kept beyond the workspace's `keep_bytes`, oldest first; returns how many items
    /// that were.
    async fn enforce_cap(&self, workspace: WorkspaceId, most_probes: u64) -> Result<u64>;

    /// What of a package can be put back, newest first.
    async fn kept(&self, package: PackageId, limit: usize) -> Result<Vec<KeptItem>>;

    /// Packages that were deleted and can be put back, by id.
    async fn deleted_packages(
        &self,
        workspace: WorkspaceId,
        after: Option<PackageId>,
        limit: usize,
    ) -> Result<Vec<DeletedPackage>>;

    /// A deleted package that can be put back.
    async fn deleted_package(&self, id: PackageId) -> Result<Option<DeletedPackage>>;

    /// Puts something back. [`MetadataError::NotFound`] if it is gone;
    /// [`Conflict::SlugTaken`] if a package of that name exists.
    async fn restore(&self, change: &Change, package: PackageId, what: &Restore) -> Result<()>;

    /// Ends the keeping of things before their time, a bounded number at once; leases still run.
    /// Returns the events concerned, and whether to call again.
    async fn give_up(
        &self,
        change: &Change,
        package: PackageId,
        what: &GiveUp,
    ) -> Result<(Vec<Cause>, bool)>;

    /// What of a package is looked at again and when, by kind and digest.
    async fn pending(&self, package: PackageId, limit: usize) -> Result<Vec<DueEntry>>;

    /// What keeps a blob or manifest; `None` if the package has neither.
    async fn holders(
        &self,
        package: PackageId,
        digest: &Digest,
        limit: usize,
    ) -> Result<Option<Holders>>;

    /// What was freed in a workspace, by event, newest event first.
    async fn receipts(
        &self,
        workspace: WorkspaceId,
        before: Option<&ReceiptCursor>,
        limit: usize,
    ) -> Result<Vec<(ReceiptCursor, Receipt)>>;

    // The audit log. Every mutation above that takes a `Change` writes its event in its transaction;
    // uploads and mounts do not, since what they bring is seen only when a manifest names it.

    /// Writes summaries of logins as events, and when tokens were last used.
    async fn record_logins(
        &self,
        logins: Vec<LoginSummary>,
        uses: Vec<(String, Timestamp)>,
    ) -> Result<()>;

    /// When a token was last used, as far as it was recorded.
    async fn token_use(&self, id: &str) -> Result<Option<Timestamp>>;

    /// A page of the audit log, newest first, before a place if given.
    async fn audit(
        &self,
        filter: &AuditFilter,
        before: Option<AuditPlace>,
        limit: usize,
    ) -> Result<AuditPage>;

    /// Audit events after a place, oldest first.
    async fn audit_after(&self, after: Option<AuditPlace>, limit: usize)
    -> Result<Vec<AuditEvent>>;

    /// Forgets the oldest audit events from before a moment, at most `limit`; returns how many.
    async fn forget_audit(&self, before: Timestamp, limit: usize) -> Result<usize>;

    // Verification and backup.

    /// Holds back the removal of objects until then, for a backup. Never shortens an earlier hold.
    async fn pin(&self, until: Timestamp) -> Result<()>;

    /// Writes a consistent copy of everything into a new database file, durably, and opens it; pushes
    /// go on meanwhile.
    async fn copy_to(&self, path: &std::path::Path) -> Result<std::sync::Arc<dyn MetadataStore>>;

    /// Objects with the blobs they are, by key. One whose rows contradict each other is left out.
    async fn objects(&self, after: Option<ObjectKey>, limit: usize) -> Result<Vec<StoredObject>>;

    /// Marks an object as damaged or sound. `false` if no blob names it any more.
    async fn mark_damaged(&self, object: ObjectKey, damaged: bool) -> Result<bool>;

    /// What reading has done since the start.
    fn reader_statistics(&self) -> ReaderStatistics;

    /// What the writer has done since the start.
    fn writer_statistics(&self) -> WriterStatistics;

    /// Recounts every total and edge and compares; for tests and `verify`. Returns what differs, in
    /// words.
    async fn check(&self) -> Result<Vec<String>>;
}
