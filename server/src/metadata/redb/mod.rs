//! The metadata store on redb.
//!
//! Invariant: this folder alone names redb. Reads are inline: a snapshot, copied out, dropped before
//! anything is awaited. Writes go through one thread ([`writer`]), which answers after the commit.
//! Every method below is one function of a sibling file; this file only joins them to the trait.

mod audit;
mod batch;
mod begun;
mod blobs;
mod cap;
mod causes;
mod check;
mod circles;
mod collect;
mod copy;
#[cfg(test)]
mod damage;
mod documents;
mod due;
mod fans;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod keys;
mod listing;
mod look;
mod manifests;
mod open;
mod packages;
#[cfg(test)]
mod panics;
#[cfg(test)]
mod powerloss;
mod reach;
mod release;
mod repositories;
mod rows;
mod tags;
mod undo;
mod usage;
mod workspaces;
mod writer;

use super::{
    AuditEvent, AuditFilter, AuditPage, AuditPlace, BlobFacts, Document, DocumentKind,
    FinishedUpload, HistoryRow, Instance, Leased, LoginSummary, Manifest, ManifestFacts,
    MetadataError, MetadataStore, NewManifest, NewUpload, NewWorkspace, Package, PackageFilter,
    PackageUsage, Page, Pull, PutManifest, Repository, RepositoryFields, Resolution, Result,
    TagNames, TagRow, Target, Upload, Workspace, WorkspaceUsage,
};
use super::{
    Backlog, Cause, Collected, DeletedPackage, DueEntry, GiveUp, Held, Holders, KeptItem, Preview,
    Receipt, ReceiptCursor, Restore, Selection, StoredObject, WriterStatistics,
};
use super::{
    BlobUse, Largest, ManifestInspection, PackageList, PackageQuery, ReaderStatistics, TagList,
    TagQuery, Upcoming,
};
use crate::clock::Clock;
use crate::domain::{
    Change, Digest, Name, ObjectKey, PackageId, PackageName, Reference, RepositoryId, Slug, Tag,
    Timestamp, UploadId, WorkspaceId, WorkspaceSettings,
};
use async_trait::async_trait;
use batch::{Batch, Snapshot, storage};
use begun::{Begun, Session};
pub use open::{OpenError, RedbOptions};
use redb::ReadableDatabase as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use writer::{Job, Meter, Outcome, Queue, SharedDatabase, Size};

/// Metadata in one redb file.
pub struct RedbStore {
    database: SharedDatabase,
    queue: Arc<Queue>,
    clock: Clock,
    /// When this process opened the database, by its own clock.
    boot: Timestamp,
    meter: Arc<Meter>,
    /// Upload sessions without rows.
    begun: Arc<Begun>,
    /// The time of the last batch that wrote, in milliseconds.
    seen: Arc<AtomicU64>,
    reads: Arc<Reads>,
    /// Searches that may run at a time: each remembers what it saw, which is tens of megabytes in a
    /// package of a hundred thousand images.
    searches: Arc<tokio::sync::Semaphore>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

impl Drop for RedbStore {
    /// Lets the writer finish what waits, and the rows of uploads that go on.
    fn drop(&mut self) {
        let (begun, all) = (Arc::clone(&self.begun), self.begun.older_than(Timestamp(u64::MAX)));
        if !all.is_empty() {
            // Nobody waits for the answer. If it is not written, a crash might have come as well.
            drop(self.enqueue(small(0), move |batch| begun.settle_all(batch, &all), |()| {}));
        }
        self.queue.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the metadata writer had panicked");
        }
    }
}

/// Counts what is read.
#[derive(Debug, Default)]
struct Reads {
    transactions: AtomicU64,
    rows: AtomicU64,
}

impl Reads {
    fn add(&self, snapshot: &Snapshot) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(snapshot.touched(), Ordering::Relaxed);
    }
}

/// An operation with the caller that waits for it.
struct Work<T, F, A> {
    size: Size,
    run: F,
    /// What is done with a result that is committed, before anybody hears of it.
    after: A,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F, A> Job for Work<T, F, A>
where
    T: Send,
    F: FnMut(&mut Batch<'_>) -> Result<T> + Send,
    A: FnOnce(&T) + Send,
{
    fn size(&self) -> Size {
        self.size
    }

    fn run(&mut self, batch: &mut Batch<'_>) -> Outcome {
        batch.take_written();
        let result = (self.run)(batch);
        match result {
            Ok(done) => self.result = Some(Ok(done)),
            Err(error) if is_refusal(&error) => {
                if batch.take_written() {
                    let error = "an operation was refused after it had written".into();
                    return Outcome::Failed(MetadataError::Unavailable(error));
                }
                self.result = Some(Err(error));
            }
            Err(error) => return Outcome::Failed(error),
        }
        Outcome::Settled
    }

    fn answer(self: Box<Self>) {
        if let Some(result) = self.result {
            if let Ok(done) = &result {
                (self.after)(done);
            }
            // The caller may have gone away; what was done stays done.
            drop(self.reply.send(result));
        }
    }

    fn fail(self: Box<Self>, error: MetadataError) {
        drop(self.reply.send(Err(error)));
    }
}

/// Whether an error says no to one operation and leaves the others alone.
const fn is_refusal(error: &MetadataError) -> bool {
    matches!(
        error,
        MetadataError::Busy
            | MetadataError::Conflict(_)
            | MetadataError::MissingContent(_)
            | MetadataError::NotFound
            | MetadataError::SizeMismatch { .. }
    )
}

fn gone() -> MetadataError {
    MetadataError::Unavailable("the metadata writer has stopped".into())
}

/// The lane of the writer's queue that collection takes its turns in.
const COLLECTION: u64 = u64::MAX - 1;

/// Most audit events that are looked at for one page.
const MOST_LOOKED_AT: usize = 20_000;

/// Milliseconds that an upload session may go on without rows after collection has come by.
const YOUNG: u64 = 10_000;

/// Size of an ordinary small operation.
const fn small(workspace: u64) -> Size {
    Size { workspace, rows: 16, bytes: 1024 }
}

impl RedbStore {
    /// Runs a read in a snapshot.
    fn read<T>(&self, read: impl FnOnce(&Snapshot) -> Result<T>) -> Result<T> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else {
            self.queue.ask_to_reopen();
            return Err(gone());
        };
        // redb panics on some pages that something else has damaged, and nothing of ours is half
        // done then: a read leaves nothing behind.
        let result = catch_unwind(AssertUnwindSafe(|| {
            let transaction = database.begin_read().map_err(storage)?;
            let snapshot = Snapshot::new(transaction);
            let found = read(&snapshot);
            self.reads.add(&snapshot);
            found
        }));
        let result = result.unwrap_or_else(|_| {
            tracing::error!("reading metadata panicked; the database may be damaged");
            Err(MetadataError::Corrupt("page"))
        });
        if matches!(result, Err(MetadataError::Unavailable(_) | MetadataError::NoSpace)) {
            self.queue.ask_to_reopen();
        }
        result
    }

    /// Runs a read that may take long in a snapshot of its own, off the runtime's threads.
    async fn read_long<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let snapshot = self.snapshot()?;
        let reads = Arc::clone(&self.reads);
        let task = tokio::task::spawn_blocking(move || {
            let found = read(&snapshot);
            reads.add(&snapshot);
            found
        });
        task.await.unwrap_or_else(|error| {
            // See `read`.
            let damaged = error.is_panic();
            let unavailable = || MetadataError::Unavailable(error.into());
            Err(if damaged { MetadataError::Corrupt("page") } else { unavailable() })
        })
    }

    /// A read that remembers what it saw; few run at a time, each on a thread of its own. glibc keeps
    /// what a thread has freed for that thread, so on the pool every thread would end up with the
    /// memory of the largest search; the next short-lived one takes over what the last one left.
    async fn search<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // The semaphore is never closed, so this only waits.
        let turn = Arc::clone(&self.searches).acquire_owned().await;
        let snapshot = self.snapshot()?;
        let (answer, answered) = tokio::sync::oneshot::channel();
        let reads = Arc::clone(&self.reads);
        let thread = std::thread::Builder::new().name("metadata-search".to_owned());
        let started = thread.spawn(move || {
            let found = read(&snapshot);
            reads.add(&snapshot);
            drop((snapshot, turn));
            // Nobody waits any more if the request has gone.
            let _: std::result::Result<(), _> = answer.send(found);
        });
        started.map_err(|error| MetadataError::Unavailable(error.into()))?;
        // A thread that ends without an answer has met damage; see `read`.
        answered.await.unwrap_or(Err(MetadataError::Corrupt("page")))
    }

    /// A snapshot that outlives the borrow of the database.
    fn snapshot(&self) -> Result<Snapshot> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else {
            self.queue.ask_to_reopen();
            return Err(gone());
        };
        Ok(Snapshot::new(database.begin_read().map_err(storage)?))
    }

    /// Runs a write on the writer's thread and waits for its commit.
    async fn write<T: Send + 'static>(
        &self,
        size: Size,
        run: impl FnMut(&mut Batch<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.enqueue(size, run, |_| {})?.await.map_err(|_| gone())?
    }

    /// The same for an operation that ends upload sessions without rows, or gives them rows.
    async fn write_sessions<T: Send + 'static>(
        &self,
        ids: Vec<UploadId>,
        mut run: impl FnMut(&mut Batch<'_>, &Begun) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let [writing, forgetting] = [(); 2].map(|()| Arc::clone(&self.begun));
        let run = move |batch: &mut Batch<'_>| run(batch, &writing);
        let after = move |_: &T| forgetting.remove(&ids);
        self.enqueue(small(0), run, after)?.await.map_err(|_| gone())?
    }

    /// Gives the writer an operation.
    fn enqueue<T: Send + 'static>(
        &self,
        size: Size,
        run: impl FnMut(&mut Batch<'_>) -> Result<T> + Send + 'static,
        after: impl FnOnce(&T) + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (reply, answer) = oneshot::channel();
        let work = Work { size, run, after, result: None, reply };
        self.queue.push(Box::new(work)).map_err(|_| MetadataError::Busy)?;
        Ok(answer)
    }

    /// Gives rows to the upload sessions that are not small blobs on their way.
    async fn settle_old_uploads(&self) -> Result<()> {
        let old = self.begun.older_than(Timestamp(self.clock.now().0.saturating_sub(YOUNG)));
        if old.is_empty() {
            return Ok(());
        }
        let ids = old.clone();
        self.write_sessions(old, move |batch, begun| begun.settle_all(batch, &ids)).await
    }
}

fn target_workspace(target: &Target) -> u64 {
    match target {
        Target::Create { workspace, .. } => workspace.0,
        // Packages of one workspace take turns with each other; that is fair enough.
        Target::Existing(package) => package.0,
    }
}

#[async_trait]
impl MetadataStore for RedbStore {
    async fn instance(&self) -> Result<Instance> {
        self.read(open::instance)
    }

    async fn document(&self, kind: DocumentKind, key: &str) -> Result<Option<Document>> {
        self.read(|rows| documents::one(rows, kind, key))
    }

    async fn documents(
        &self,
        kind: DocumentKind,
        prefix: &str,
        page: Page,
    ) -> Result<Vec<Document>> {
        self.read(|rows| documents::list(rows, kind, prefix, &page))
    }

    async fn put_document(
        &self,
        change: &Change,
        kind: DocumentKind,
        key: &str,
        expected: Option<u64>,
        body: Vec<u8>,
    ) -> Result<u64> {
        let (change, key) = (change.clone(), key.to_owned());
        self.write(small(0), move |batch| {
            documents::put(batch, &change, kind, &key, expected, &body)
        })
        .await
    }

    async fn delete_document(
        &self,
        change: &Change,
        kind: DocumentKind,
        key: &str,
        expected: u64,
    ) -> Result<()> {
        let (change, key) = (change.clone(), key.to_owned());
        self.write(small(0), move |batch| documents::delete(batch, &change, kind, &key, expected))
            .await
    }

    async fn create_workspace(&self, change: &Change, new: NewWorkspace) -> Result<Workspace> {
        let change = change.clone();
        self.write(small(0), move |batch| workspaces::create(batch, &change, &new)).await
    }

    async fn update_workspace(
        &self,
        change: &Change,
        id: WorkspaceId,
        name: String,
        settings: WorkspaceSettings,
    ) -> Result<Workspace> {
        let change = change.clone();
        self.write(small(id.0), move |batch| {
            workspaces::update(batch, &change, id, &name, &settings)
        })
        .await
    }

    async fn workspace(&self, slug: &Slug) -> Result<Option<Workspace>> {
        self.read(|rows| workspaces::by_slug(rows, slug))
    }

    async fn workspace_by_id(&self, id: WorkspaceId) -> Result<Option<Workspace>> {
        self.read(|rows| workspaces::by_id(rows, id))
    }

    async fn workspaces(&self, page: Page) -> Result<Vec<Workspace>> {
        self.read(|rows| workspaces::list(rows, &page))
    }

    async fn workspace_usage(&self, id: WorkspaceId) -> Result<WorkspaceUsage> {
        self.read(|rows| usage::of_workspace(rows, id))
    }

    async fn create_repository(
        &self,
        change: &Change,
        workspace: WorkspaceId,
        new: RepositoryFields,
    ) -> Result<Repository> {
        let change = change.clone();
        self.write(small(workspace.0), move |batch| {
            repositories::create(batch, &change, workspace, &new)
        })
        .await
    }

    async fn update_repository(
        &self,
        change: &Change,
        id: RepositoryId,
        fields: RepositoryFields,
    ) -> Result<Repository> {
        let change = change.clone();
        self.write(small(0), move |batch| repositories::update(batch, &change, id, &fields)).await
    }

    async fn delete_repository(&self, change: &Change, id: RepositoryId) -> Result<()> {
        let change = change.clone();
        self.write(small(0), move |batch| repositories::delete(batch, &change, id)).await
    }

    async fn repository(&self, workspace: WorkspaceId, slug: &Slug) -> Result<Option<Repository>> {
        self.read(|rows| repositories::by_slug(rows, workspace, slug))
    }

    async fn repository_by_id(&self, id: RepositoryId) -> Result<Option<Repository>> {
        self.read(|rows| repositories::by_id(rows, id))
    }

    async fn repositories(&self, workspace: WorkspaceId, page: Page) -> Result<Vec<Repository>> {
        self.read(|rows| repositories::list(rows, workspace, &page))
    }

    async fn resolve(&self, name: &Name) -> Result<Resolution> {
        self.read(|rows| packages::resolve(rows, name))
    }

    async fn create_package(
        &self,
        change: &Change,
        workspace: WorkspaceId,
        name: &PackageName,
        repository: RepositoryId,
    ) -> Result<Package> {
        let (change, name) = (change.clone(), name.clone());
        self.write(small(workspace.0), move |batch| {
            packages::create(batch, &change, workspace, &name, repository)
        })
        .await
    }

    async fn delete_package(&self, change: &Change, id: PackageId) -> Result<()> {
        let change = change.clone();
        self.write(small(id.0), move |batch| packages::delete(batch, &change, id)).await
    }

    async fn package(&self, id: PackageId) -> Result<Option<Package>> {
        self.read(|rows| packages::by_id(rows, id))
    }

    async fn packages(
        &self,
        workspace: WorkspaceId,
        filter: &PackageFilter,
        page: Page,
    ) -> Result<Vec<Package>> {
        self.read(|rows| packages::list(rows, workspace, filter, &page))
    }

    async fn package_usage(&self, id: PackageId) -> Result<PackageUsage> {
        self.read(|rows| usage::of_package(rows, id))
    }

    async fn package_list(
        &self,
        workspace: WorkspaceId,
        query: PackageQuery,
    ) -> Result<PackageList> {
        self.read(|rows| listing::packages(rows, workspace, &query))
    }

    async fn tag_list(&self, package: PackageId, query: TagQuery) -> Result<TagList> {
        self.read(|rows| listing::tag_list(rows, package, &query))
    }

    async fn inspect(
        &self,
        package: PackageId,
        reference: &Reference,
        most_children: usize,
        most_referrers: usize,
    ) -> Result<Option<ManifestInspection>> {
        self.read(|rows| listing::inspect(rows, package, reference, most_children, most_referrers))
    }

    async fn blob_uses(&self, package: PackageId, digests: Vec<Digest>) -> Result<Vec<BlobUse>> {
        self.read(|rows| listing::blob_uses(rows, package, &digests))
    }

    async fn upcoming(&self, workspace: WorkspaceId, limit: usize) -> Result<Upcoming> {
        self.read(|rows| listing::upcoming(rows, workspace, limit))
    }

    async fn largest_packages(
        &self,
        workspace: WorkspaceId,
        limit: usize,
        most: usize,
    ) -> Result<Largest> {
        self.read_long(move |rows| listing::largest(rows, workspace, limit, most)).await
    }

    async fn start_upload(
        &self,
        change: &Change,
        target: &Target,
        upload: NewUpload,
    ) -> Result<Upload> {
        let now = self.clock.now();
        if let Some(begun) =
            self.read(|rows| blobs::begin_upload(rows, change, target, &upload, now))?
        {
            let session = Session { upload: begun.clone(), declared: upload.declared };
            if self.begun.add(session) {
                return Ok(begun);
            }
        }
        let (change, target) = (change.clone(), target.clone());
        self.write(small(target_workspace(&target)), move |batch| {
            blobs::start_upload(batch, &change, &target, &upload)
        })
        .await
    }

    async fn settle_upload(&self, id: UploadId) -> Result<()> {
        if self.begun.get(id).is_none() || mutant!("uploads-stay-unsettled") {
            return self.upload(id).await?.map(drop).ok_or(MetadataError::NotFound);
        }
        self.write_sessions(vec![id], move |batch, begun| begun.settle(batch, id)).await
    }

    async fn upload(&self, id: UploadId) -> Result<Option<Upload>> {
        self.begun.upload(id, || self.read(|rows| blobs::upload(rows, id)))
    }

    async fn uploads(&self, after: Option<UploadId>, limit: usize) -> Result<Vec<Upload>> {
        let begun = self.begun.matching(|session| Some(session.upload.id) > after);
        let rows = self.read(|rows| blobs::uploads(rows, after, limit))?;
        Ok(Begun::merge(begun, rows, limit))
    }

    async fn declared_uploads(
        &self,
        package: PackageId,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Upload>> {
        let begun = self.begun.declared(package, digest);
        let rows = self.read(|rows| blobs::declared_uploads(rows, package, digest, limit))?;
        Ok(Begun::merge(begun, rows, limit))
    }

    async fn end_upload(&self, id: UploadId) -> Result<()> {
        self.write_sessions(vec![id], move |batch, _| blobs::end_upload(batch, id)).await
    }

    async fn finish_upload(
        &self,
        _change: &Change,
        id: UploadId,
        digest: &Digest,
        object: ObjectKey,
        size: u64,
    ) -> Result<FinishedUpload> {
        let digest = *digest;
        self.write_sessions(vec![id], move |batch, begun| {
            let upload = begun.find(batch, id)?.ok_or(MetadataError::NotFound)?;
            blobs::finish_upload(batch, &upload, &digest, object, size)
        })
        .await
    }

    async fn mount_blob(
        &self,
        change: &Change,
        target: &Target,
        source: PackageId,
        digest: &Digest,
    ) -> Result<PackageId> {
        let (change, target, digest) = (change.clone(), target.clone(), *digest);
        self.write(small(target_workspace(&target)), move |batch| {
            blobs::mount(batch, &change, &target, source, &digest)
        })
        .await
    }

    async fn blob_packages(
        &self,
        workspace: WorkspaceId,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Package>> {
        self.read(|rows| blobs::linked_in(rows, workspace, digest, limit))
    }

    async fn blob(&self, package: PackageId, digest: &Digest) -> Result<Option<BlobFacts>> {
        let now = self.clock.now();
        self.read(|rows| blobs::facts(rows, package, digest, now))
    }

    async fn renew_lease(&self, package: PackageId, item: Leased, digest: &Digest) -> Result<bool> {
        let digest = *digest;
        self.write(small(package.0), move |batch| match item {
            Leased::Blob => blobs::renew_link(batch, package, &digest),
            Leased::Manifest => manifests::renew(batch, package, &digest),
        })
        .await
    }

    async fn delete_blob(
        &self,
        change: &Change,
        package: PackageId,
        digest: &Digest,
    ) -> Result<()> {
        let (change, digest) = (change.clone(), *digest);
        self.write(small(package.0), move |batch| blobs::hide(batch, &change, package, &digest))
            .await
    }

    async fn put_manifest(
        &self,
        change: &Change,
        target: &Target,
        manifest: NewManifest,
    ) -> Result<PutManifest> {
        let (change, target) = (change.clone(), target.clone());
        let size = Size {
            workspace: target_workspace(&target),
            rows: 16 + manifest.view.blobs.len() + manifest.view.children.len(),
            bytes: 1024 + manifest.bytes.len(),
        };
        self.write(size, move |batch| manifests::put(batch, &change, &target, &manifest)).await
    }

    async fn manifest(
        &self,
        package: PackageId,
        reference: &Reference,
    ) -> Result<Option<Manifest>> {
        let now = self.clock.now();
        self.read(|rows| manifests::one(rows, package, reference, now))
    }

    async fn manifest_facts(
        &self,
        package: PackageId,
        reference: &Reference,
    ) -> Result<Option<ManifestFacts>> {
        let now = self.clock.now();
        self.read(|rows| manifests::facts(rows, package, reference, now))
    }

    async fn delete_manifest(
        &self,
        change: &Change,
        package: PackageId,
        digest: &Digest,
    ) -> Result<Vec<Tag>> {
        let (change, digest) = (change.clone(), *digest);
        self.write(small(package.0), move |batch| manifests::hide(batch, &change, package, &digest))
            .await
    }

    async fn delete_tag(&self, change: &Change, package: PackageId, tag: &Tag) -> Result<()> {
        let (change, tag) = (change.clone(), tag.clone());
        self.write(small(package.0), move |batch| tags::delete(batch, &change, package, &tag)).await
    }

    async fn tags(&self, package: PackageId, page: Page) -> Result<Vec<TagRow>> {
        self.read(|rows| tags::list(rows, package, &page))
    }

    async fn tag_names(&self, package: PackageId, page: Page) -> Result<TagNames> {
        self.read(|rows| tags::names(rows, package, &page))
    }

    async fn tag(&self, package: PackageId, tag: &Tag) -> Result<Option<TagRow>> {
        self.read(|rows| tags::one(rows, package, tag))
    }

    async fn referrers(
        &self,
        package: PackageId,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<ManifestFacts>> {
        self.read(|rows| manifests::referrers(rows, package, subject, artifact_type, after, limit))
    }

    async fn history(
        &self,
        package: PackageId,
        tag: Option<&Tag>,
        limit: usize,
    ) -> Result<Vec<HistoryRow>> {
        self.read(|rows| tags::history(rows, package, tag, limit))
    }

    async fn record_pulls(&self, pulls: Vec<Pull>) -> Result<()> {
        let size = Size { workspace: 0, rows: pulls.len() * 2, bytes: pulls.len() * 64 };
        self.write(size, move |batch| manifests::record_pulls(batch, &pulls)).await
    }

    async fn known_objects(&self, keys: &[ObjectKey]) -> Result<Vec<bool>> {
        self.read(|rows| blobs::known(rows, keys))
    }

    async fn last_seen(&self) -> Result<Timestamp> {
        self.read(manifests::last_seen)
    }

    async fn be_seen(&self, lately: Duration) -> Result<()> {
        let seen = Timestamp(self.seen.load(Ordering::SeqCst));
        if self.clock.now().since(seen) <= lately || mutant!("time-is-not-noted") {
            return Ok(());
        }
        // Whatever is written takes the time with it.
        self.write(small(0), manifests::be_seen).await
    }

    async fn doomed(&self, limit: usize) -> Result<Vec<ObjectKey>> {
        let now = self.clock.now();
        self.read(|rows| blobs::doomed(rows, limit, now))
    }

    async fn forget_doomed(&self, keys: &[ObjectKey]) -> Result<()> {
        let keys = keys.to_vec();
        let size = Size { workspace: 0, rows: keys.len() * 2, bytes: keys.len() * 64 };
        self.write(size, move |batch| blobs::forget_doomed(batch, &keys)).await
    }

    async fn postpone_doomed(&self, keys: &[ObjectKey], until: Timestamp) -> Result<()> {
        let keys = keys.to_vec();
        let size = Size { workspace: COLLECTION, rows: keys.len() * 4, bytes: keys.len() * 128 };
        self.write(size, move |batch| blobs::postpone_doomed(batch, &keys, until)).await
    }

    async fn collect(&self, most_entries: usize, most_rows: u64) -> Result<Collected> {
        self.settle_old_uploads().await?;
        let boot = self.boot;
        let rows = usize::try_from(most_rows).unwrap_or(usize::MAX);
        let size = Size { workspace: COLLECTION, rows, bytes: rows.saturating_mul(64) };
        self.write(size, move |batch| collect::step(batch, boot, most_entries, most_rows)).await
    }

    async fn postpone_first_due(&self, by: Duration) -> Result<()> {
        self.write(small(COLLECTION), move |batch| due::postpone_first(batch, batch.now().plus(by)))
            .await
    }

    async fn backlog(&self, limit: usize) -> Result<Backlog> {
        let now = self.clock.now();
        self.read(|rows| collect::backlog(rows, now, limit))
    }

    async fn preview(
        &self,
        package: PackageId,
        selection: &Selection,
        most_probes: u64,
    ) -> Result<Preview> {
        let selection = selection.clone();
        self.search(move |rows| reach::preview(rows, package, &selection, most_probes)).await
    }

    async fn held(&self, workspace: WorkspaceId, most_probes: u64) -> Result<Held> {
        self.search(move |rows| reach::held(rows, workspace, most_probes)).await
    }

    async fn enforce_cap(&self, workspace: WorkspaceId, most_probes: u64) -> Result<u64> {
        let beyond = self.search(move |rows| cap::beyond(rows, workspace, most_probes)).await?;
        let mut given_up = 0;
        for page in beyond.chunks(64) {
            let page = page.to_vec();
            let size = Size { workspace: COLLECTION, rows: 1024, bytes: 64 << 10 };
            given_up += self.write(size, move |batch| cap::give_up(batch, &page)).await?;
        }
        Ok(given_up)
    }

    async fn kept(&self, package: PackageId, limit: usize) -> Result<Vec<KeptItem>> {
        self.read_long(move |rows| undo::kept(rows, package, limit)).await
    }

    async fn deleted_packages(
        &self,
        workspace: WorkspaceId,
        after: Option<PackageId>,
        limit: usize,
    ) -> Result<Vec<DeletedPackage>> {
        self.read(|rows| undo::deleted_packages(rows, workspace, after, limit))
    }

    async fn deleted_package(&self, id: PackageId) -> Result<Option<DeletedPackage>> {
        self.read(|rows| undo::deleted_package(rows, id))
    }

    async fn restore(&self, change: &Change, package: PackageId, what: &Restore) -> Result<()> {
        let (change, what) = (change.clone(), what.clone());
        self.write(small(package.0), move |batch| undo::restore(batch, &change, package, &what))
            .await
    }

    async fn give_up(
        &self,
        change: &Change,
        package: PackageId,
        what: &GiveUp,
    ) -> Result<(Vec<Cause>, bool)> {
        let (change, what) = (change.clone(), what.clone());
        let size = Size { workspace: COLLECTION, rows: 1024, bytes: 64 << 10 };
        self.write(size, move |batch| undo::give_up(batch, &change, package, &what)).await
    }

    async fn pending(&self, package: PackageId, limit: usize) -> Result<Vec<DueEntry>> {
        self.read(|rows| look::pending(rows, package, limit))
    }

    async fn holders(
        &self,
        package: PackageId,
        digest: &Digest,
        limit: usize,
    ) -> Result<Option<Holders>> {
        self.read(|rows| look::holders(rows, package, digest, limit))
    }

    async fn receipts(
        &self,
        workspace: WorkspaceId,
        before: Option<&ReceiptCursor>,
        limit: usize,
    ) -> Result<Vec<(ReceiptCursor, Receipt)>> {
        self.read(|rows| collect::receipts(rows, workspace, before, limit))
    }

    async fn record_logins(
        &self,
        logins: Vec<LoginSummary>,
        uses: Vec<(String, Timestamp)>,
    ) -> Result<()> {
        let rows = logins.len() * 3 + uses.len() * 2;
        let size = Size { workspace: 0, rows, bytes: logins.len() * 512 + uses.len() * 64 };
        self.write(size, move |batch| audit::record_logins(batch, &logins, &uses)).await
    }

    async fn token_use(&self, id: &str) -> Result<Option<Timestamp>> {
        self.read(|rows| audit::token_use(rows, id))
    }

    async fn audit(
        &self,
        filter: &AuditFilter,
        before: Option<AuditPlace>,
        limit: usize,
    ) -> Result<AuditPage> {
        let filter = filter.clone();
        self.read_long(move |rows| audit::list(rows, &filter, before, limit, MOST_LOOKED_AT)).await
    }

    async fn audit_after(
        &self,
        after: Option<AuditPlace>,
        limit: usize,
    ) -> Result<Vec<AuditEvent>> {
        self.read(|rows| audit::after(rows, after, limit))
    }

    async fn forget_audit(&self, before: Timestamp, limit: usize) -> Result<usize> {
        let size = Size { workspace: COLLECTION, rows: limit * 2, bytes: limit * 64 };
        self.write(size, move |batch| audit::forget(batch, before, limit)).await
    }

    async fn pin(&self, until: Timestamp) -> Result<()> {
        self.write(small(COLLECTION), move |batch| blobs::pin(batch, until)).await
    }

    async fn copy_to(&self, path: &std::path::Path) -> Result<Arc<dyn MetadataStore>> {
        let (path, clock) = (path.to_owned(), self.clock.clone());
        self.read_long(move |rows| {
            copy::everything(rows, &path)?;
            let options = RedbOptions { cache_bytes: copy::CACHE };
            let copy = Self::open(&path, options, clock);
            let copy = copy.map_err(|error| MetadataError::Unavailable(error.into()))?;
            Ok(Arc::new(copy) as Arc<dyn MetadataStore>)
        })
        .await
    }

    async fn objects(&self, after: Option<ObjectKey>, limit: usize) -> Result<Vec<StoredObject>> {
        self.read(|rows| blobs::objects(rows, after, limit))
    }

    async fn mark_damaged(&self, object: ObjectKey, damaged: bool) -> Result<bool> {
        self.write(small(COLLECTION), move |batch| blobs::mark_damaged(batch, object, damaged))
            .await
    }

    fn reader_statistics(&self) -> ReaderStatistics {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        ReaderStatistics { transactions: of(&self.reads.transactions), rows: of(&self.reads.rows) }
    }

    fn writer_statistics(&self) -> WriterStatistics {
        self.meter.read(self.queue.waiting())
    }

    async fn check(&self) -> Result<Vec<String>> {
        self.read_long(check::everything).await
    }
}
