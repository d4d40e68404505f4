//! Collection as the registry runs it: steps of the metadata, then the objects that no row names any
//! more (DESIGN §5).
//!
//! Invariant: an object is removed only after the transaction that forgot it is durable, and never
//! while a backup holds it. One thing that cannot be looked at or removed postpones itself and is
//! counted; it never stops the run. "Could not look" is never taken for "absent".

use super::access::Administered;
use super::{Registry, RegistryError, Result};
use crate::blobs::BlobError;
use crate::blobs::space::Room;
use crate::clock::Stopwatch;
use crate::domain::{Change, Digest, ObjectKey, PackageId, Timestamp, UploadId};
use crate::metadata::{
    Backlog, Cause, Collected, DueEntry, Freed, GiveUp, Held, Holders, IdleUpload, ListCursor,
    MetadataError, Package, PackageQuery, Page, Preview, Receipt, ReceiptCursor, Selection,
    Workspace,
};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Entries looked at and rows written in one step, so that the writer is never busy for long.
const MOST_ENTRIES: usize = 64;
const MOST_ROWS: u64 = 400;
/// Objects removed in one round.
const OBJECTS: usize = 256;
/// When what could not be looked at or removed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(600);
/// Most rows read to answer a question about bytes; beyond that the answer is a lower bound.
pub const MOST_PROBES: u64 = 2_000_000;
/// How many packages one part of the reclaim of a workspace looks at.
const PACKAGES: usize = 200;
/// How much of the backlog is counted.
const MOST_COUNTED: usize = 10_000;

/// What collection has done since the start.
#[derive(Debug, Default)]
pub struct CollectionMeter {
    reviewed: AtomicU64,
    manifests: AtomicU64,
    blobs: AtomicU64,
    bytes: AtomicU64,
    objects: AtomicU64,
    uploads: AtomicU64,
    given_up: AtomicU64,
    failures: AtomicU64,
    pub(super) damaged: AtomicU64,
}

/// The same as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectionStatistics {
    /// Due entries looked at.
    pub reviewed: u64,
    /// What was freed: manifests, blobs and their bytes.
    pub manifests: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Objects removed.
    pub objects: u64,
    /// Uploads ended because nothing came any more.
    pub uploads: u64,
    /// Things given up because of a cap.
    pub given_up: u64,
    /// Entries and objects that could not be looked at or removed, each time.
    pub failures: u64,
    /// Times that a pull found a blob damaged.
    pub damaged: u64,
}

impl CollectionMeter {
    /// The numbers now.
    #[must_use]
    pub fn read(&self) -> CollectionStatistics {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        CollectionStatistics {
            reviewed: of(&self.reviewed),
            manifests: of(&self.manifests),
            blobs: of(&self.blobs),
            bytes: of(&self.bytes),
            objects: of(&self.objects),
            uploads: of(&self.uploads),
            given_up: of(&self.given_up),
            failures: of(&self.failures),
            damaged: of(&self.damaged),
        }
    }
}

fn add(to: &AtomicU64, number: u64) {
    to.fetch_add(number, Ordering::Relaxed);
}

/// What collection keeps in memory: nothing that it could not do without.
#[derive(Debug, Default)]
pub struct Collector {
    pub(super) meter: CollectionMeter,
    /// When something last came for an upload that is open. An upload that is not in here has been
    /// silent since the start at the latest.
    touched: Mutex<HashMap<UploadId, Timestamp>>,
    /// One run at a time, so that a receipt says what its own run freed.
    running: tokio::sync::Mutex<()>,
    /// Wakes the collector when there may be something to do.
    pub(super) wake: tokio::sync::Notify,
}

impl Collector {
    /// Something came for an upload.
    pub(super) fn touch(&self, id: UploadId, now: Timestamp) {
        self.lock().insert(id, now);
    }

    pub(super) fn ended(&self, id: UploadId) {
        self.lock().remove(&id);
    }

    pub(super) fn uploads_in_progress(&self) -> usize {
        self.lock().len()
    }

    /// When the last byte of an upload came, if that was since the start.
    pub(super) fn last_byte(&self, id: UploadId) -> Option<Timestamp> {
        self.touched(id)
    }

    fn touched(&self, id: UploadId) -> Option<Timestamp> {
        self.lock().get(&id).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, Timestamp>> {
        // A map of times is whole at every moment.
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Due entries looked at.
    pub reviewed: u64,
    /// Rows read and written for that.
    pub rows: u64,
    /// Objects removed.
    pub objects: u64,
    /// What was freed, by event.
    pub receipts: Vec<(Cause, Freed)>,
    /// Whether there is more to do now.
    pub more: bool,
    /// How long the writer of the metadata was kept busy. Removing files does not hold it.
    pub stepping: Duration,
}

/// The answer to a reclaim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Events whose keeping was ended.
    pub events: u64,
    /// What that freed at once.
    pub freed: Freed,
    /// Things that wait for the end of a lease.
    pub waiting: u64,
    /// When the last of those leases ends, as far as is known.
    pub waiting_until: Option<Timestamp>,
}

impl Registry {
    /// One round of collection: a step of the metadata, and the removal of objects that are due.
    ///
    /// # Errors
    /// Those of the storage; what was done stays done, and the next round goes on.
    pub async fn collect(&self) -> Result<Round> {
        let _alone = self.collector.running.lock().await;
        self.collect_alone().await
    }

    async fn collect_alone(&self) -> Result<Round> {
        let (mut round, watch) = (Round::default(), Stopwatch::start());
        if self.metadata.backlog(1).await?.due > 0 {
            let collected = self.collect_step().await?;
            self.note(&collected);
            for upload in &collected.uploads {
                self.end_if_abandoned(*upload).await?;
            }
            for workspace in &collected.caps {
                let given_up = self.metadata.enforce_cap(*workspace, MOST_PROBES).await?;
                add(&self.collector.meter.given_up, given_up);
            }
            round.more = collected.more || !collected.caps.is_empty();
            (round.reviewed, round.rows) = (collected.reviewed, collected.rows);
            round.receipts = collected.receipts;
            round.stepping = watch.elapsed();
        }
        let due = self.metadata.doomed(OBJECTS).await?;
        round.more |= due.len() >= OBJECTS;
        round.objects = self.remove_objects(&due).await?;
        Ok(round)
    }

    /// One step; if something due cannot be read, that alone is postponed.
    async fn collect_step(&self) -> Result<Collected> {
        let step = self.deleting(|| self.metadata.collect(MOST_ENTRIES, MOST_ROWS)).await;
        let Err(MetadataError::Corrupt(_)) = step else { return Ok(step?) };
        match self.deleting(|| self.metadata.collect(1, MOST_ROWS)).await {
            Err(MetadataError::Corrupt(what)) if !mutant!("bad-item-stops-the-run") => {
                tracing::error!(
                    what,
                    "collection could not look at something, because a stored record is damaged: {what}; run standpipe-server verify"
                );
                add(&self.collector.meter.failures, 1);
                self.metadata.postpone_first_due(TRY_AGAIN).await?;
                Ok(Collected { reviewed: 1, more: true, ..Collected::default() })
            }
            step => Ok(step?),
        }
    }

    /// Counts and logs what a step did.
    fn note(&self, collected: &Collected) {
        let meter = &self.collector.meter;
        add(&meter.reviewed, collected.reviewed);
        for (cause, freed) in &collected.receipts {
            add(&meter.manifests, freed.manifests);
            add(&meter.blobs, freed.blobs);
            add(&meter.bytes, freed.bytes());
            tracing::info!(
                why = cause.why.as_str(),
                package = %cause.name,
                package_id = cause.package.0,
                event = cause.sequence,
                tag = cause.tag.as_ref().map(tracing::field::display),
                digest = cause.digest.as_ref().map(tracing::field::display),
                by = cause.by.change.actor,
                request_id = cause.by.change.request_id,
                event_at = %cause.by.at,
                manifests = freed.manifests,
                blobs = freed.blobs,
                bytes = freed.bytes(),
                "freed {} bytes of package {} ({})",
                freed.bytes(),
                cause.name,
                cause.why.as_str(),
            );
        }
    }

    /// Ends an upload that has been silent for a lease. One that is being written to is busy, and is
    /// looked at again.
    async fn end_if_abandoned(&self, upload: IdleUpload) -> Result<()> {
        let now = self.clock.now();
        let last = self.collector.touched(upload.id).unwrap_or(self.started);
        let last = if mutant!("upload-expires-by-start") { Timestamp(0) } else { last };
        if now.since(last) < upload.lease {
            return Ok(());
        }
        match self.blobs.cancel_upload(upload.id).await {
            Ok(()) | Err(BlobError::UnknownUpload(_)) => {}
            Err(BlobError::Busy) => return Ok(()),
            Err(error) => {
                add(&self.collector.meter.failures, 1);
                tracing::warn!(upload = %upload.id, error = %error, "an abandoned upload was not removed yet");
                return Ok(());
            }
        }
        self.deleting(|| self.metadata.end_upload(upload.id)).await?;
        self.collector.ended(upload.id);
        add(&self.collector.meter.uploads, 1);
        tracing::info!(upload = %upload.id, "ended an upload that was abandoned");
        Ok(())
    }

    /// Removes objects whose rows are doomed and due, then forgets them.
    async fn remove_objects(&self, due: &[ObjectKey]) -> Result<u64> {
        let (mut removed, mut failed) = (Vec::new(), Vec::new());
        if mutant!("forgets-before-removing") {
            self.deleting(|| self.metadata.forget_doomed(due)).await?;
        }
        for key in due {
            match self.blobs.delete(*key).await {
                Ok(()) => removed.push(*key),
                Err(error) => {
                    tracing::warn!(object = %key, error = %error, "a doomed object was not removed yet; it is tried again later");
                    failed.push(*key);
                }
            }
        }
        if !removed.is_empty() && !mutant!("doomed-objects-stay") {
            self.deleting(|| self.metadata.forget_doomed(&removed)).await?;
        }
        if !failed.is_empty() {
            add(&self.collector.meter.failures, u64::try_from(failed.len()).unwrap_or(u64::MAX));
            let later = self.clock.now().plus(TRY_AGAIN);
            self.metadata.postpone_doomed(&failed, later).await?;
        }
        let removed = u64::try_from(removed.len()).unwrap_or(u64::MAX);
        add(&self.collector.meter.objects, removed);
        Ok(removed)
    }

    /// Looks at the caps of all workspaces, which a restart may have interrupted.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn enforce_all_caps(&self) -> Result<()> {
        let mut page = Page { after: None, limit: 100 };
        loop {
            let workspaces = self.metadata.workspaces(page.clone()).await?;
            let Some(last) = workspaces.last() else { return Ok(()) };
            page.after = Some(last.slug.to_string());
            for workspace in workspaces {
                if workspace.settings.keep_bytes.is_some() {
                    let given_up = self.metadata.enforce_cap(workspace.id, MOST_PROBES).await?;
                    add(&self.collector.meter.given_up, given_up);
                }
            }
        }
    }

    /// Whether space is so short that collection must not spare the machine.
    pub(crate) fn is_short_of_space(&self) -> bool {
        self.room() != Room::Plenty
    }

    /// Waits until something may have become due.
    pub(crate) async fn wait_for_collection(&self, at_most: Duration) {
        // Both ends of this wait mean the same: look again.
        let _ = tokio::time::timeout(at_most, self.collector.wake.notified()).await;
    }

    /// Gives up what is kept for undo, without waiting for its time, and collects what that frees
    /// without the purge delay. Leases still run. The proof must be for
    /// [`Action::DeletePackage`](crate::domain::Action::DeletePackage).
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn reclaim(
        &self,
        access: &Administered<Package>,
        change: &Change,
        what: &GiveUp,
    ) -> Result<Reclaimed> {
        self.reclaim_package(change, access.subject.id, what).await
    }

    pub(super) async fn reclaim_package(
        &self,
        change: &Change,
        package: PackageId,
        what: &GiveUp,
    ) -> Result<Reclaimed> {
        let _alone = self.collector.running.lock().await;
        let mut events = HashSet::new();
        loop {
            let (causes, more) =
                self.deleting(|| self.metadata.give_up(change, package, what)).await?;
            events.extend(causes.iter().map(|cause| (cause.sequence, cause.why)));
            if !more {
                break;
            }
        }
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let mut reclaimed = Reclaimed { events: count, ..Reclaimed::default() };
        loop {
            let round = self.collect_alone().await?;
            for (cause, freed) in &round.receipts {
                if cause.package == package && events.contains(&(cause.sequence, cause.why)) {
                    reclaimed.freed.add(freed);
                }
            }
            if !round.more {
                break;
            }
        }
        for entry in self.metadata.pending(package, MOST_COUNTED).await? {
            let ours =
                entry.cause.is_some_and(|cause| events.contains(&(cause.sequence, cause.why)));
            if ours {
                reclaimed.waiting += 1;
                reclaimed.waiting_until = reclaimed.waiting_until.max(Some(entry.at));
            }
        }
        Ok(reclaimed)
    }

    /// The same for a workspace, a part at a time: its packages by name after the one given, and with
    /// the last of them all its deleted packages. Returns what that freed and the name to go on after.
    ///
    /// # Errors
    /// Those of the storage; what was given up until then stays so.
    pub async fn reclaim_workspace(
        &self,
        access: &Administered<Workspace>,
        change: &Change,
        after: Option<String>,
    ) -> Result<(Reclaimed, Option<String>)> {
        let after = after.map(ListCursor::Name);
        let query = PackageQuery { after, limit: PACKAGES, ..PackageQuery::default() };
        let found = self.metadata.package_list(access.subject.id, query).await?;
        let mut reclaimed = Reclaimed::default();
        for overview in found.packages {
            let package = overview.package.id;
            // Whatever is kept has a time at which it is looked at.
            if !self.metadata.pending(package, 1).await?.is_empty() {
                self.reclaim_into(&mut reclaimed, change, package).await?;
            }
        }
        if let Some(ListCursor::Name(next)) = found.next {
            return Ok((reclaimed, Some(next)));
        }
        let mut after = None;
        loop {
            let deleted =
                self.metadata.deleted_packages(access.subject.id, after, PACKAGES).await?;
            let Some(last) = deleted.last() else { return Ok((reclaimed, None)) };
            after = Some(last.package.id);
            for found in deleted {
                self.reclaim_into(&mut reclaimed, change, found.package.id).await?;
            }
        }
    }

    /// Reclaims a package, unless it went meanwhile.
    async fn reclaim_into(
        &self,
        sum: &mut Reclaimed,
        change: &Change,
        package: PackageId,
    ) -> Result<()> {
        match self.reclaim_package(change, package, &GiveUp::All).await {
            Ok(done) => {
                sum.events += done.events;
                sum.freed.add(&done.freed);
                sum.waiting += done.waiting;
                sum.waiting_until = sum.waiting_until.max(done.waiting_until);
                Ok(())
            }
            Err(RegistryError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a deletion would free in the end.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if something selected is not there.
    pub async fn deletion_preview(
        &self,
        access: &Administered<Package>,
        selection: &Selection,
    ) -> Result<Preview> {
        match self.metadata.preview(access.subject.id, selection, MOST_PROBES).await {
            Err(MetadataError::NotFound) => {
                Err(RegistryError::NotFound("such tag or manifest in the package".to_owned()))
            }
            other => Ok(other?),
        }
    }

    /// What a workspace holds that no tag leads to.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn held(&self, workspace: &Workspace) -> Result<Held> {
        Ok(self.metadata.held(workspace.id, MOST_PROBES).await?)
    }

    /// What of a package is looked at again, and when.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn pending(
        &self,
        access: &Administered<Package>,
        limit: usize,
    ) -> Result<Vec<DueEntry>> {
        Ok(self.metadata.pending(access.subject.id, limit).await?)
    }

    /// What keeps a blob or manifest of a package.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn holders(
        &self,
        access: &Administered<Package>,
        digest: &Digest,
        limit: usize,
    ) -> Result<Holders> {
        let holders = self.metadata.holders(access.subject.id, digest, limit).await?;
        holders.ok_or_else(|| RegistryError::NotFound(format!("blob or manifest {digest}")))
    }

    /// What was freed in a workspace, by event, newest event first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn receipts(
        &self,
        access: &Administered<Workspace>,
        before: Option<&ReceiptCursor>,
        limit: usize,
    ) -> Result<Vec<(ReceiptCursor, Receipt)>> {
        Ok(self.metadata.receipts(access.subject.id, before, limit).await?)
    }

    /// How far collection is behind.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn backlog(&self) -> Result<Backlog> {
        Ok(self.metadata.backlog(MOST_COUNTED).await?)
    }

    /// What collection has done since the start.
    #[must_use]
    pub fn collection_statistics(&self) -> CollectionStatistics {
        self.collector.meter.read()
    }
}
