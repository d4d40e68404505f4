//! Upload sessions that were begun and have no rows yet.
//!
//! Most sessions end milliseconds after they began, with a small blob, and until then nobody is told
//! that bytes of one are stored. So the rows of such a session would be written to be removed by the next
//! commit. They are written when the session is settled, when it has become old, at once if there are
//! too many here, or when the store is closed; a crash before that forgets it, as it may.
//!
//! Invariant: a session is here or has rows, or both while the batch that writes them is answered. A
//! batch asks its own rows first and here after them; a reader asks here first, so that it never looks
//! for rows that are not there yet and then here for what is no longer here.

use super::batch::Batch;
use super::blobs;
use crate::domain::{Digest, PackageId, Timestamp, UploadId};
use crate::metadata::{MetadataError, Result, Upload};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most sessions without rows; each is some hundred bytes.
const MOST: usize = 256;

/// A session with what its rows will say.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) upload: Upload,
    pub(super) declared: Option<Digest>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Begun(Mutex<BTreeMap<UploadId, Arc<Session>>>);

impl Begun {
    /// Remembers a session; `false` if there are too many.
    pub(super) fn add(&self, session: Session) -> bool {
        let mut sessions = self.lock();
        if sessions.len() >= MOST {
            return false;
        }
        sessions.insert(session.upload.id, Arc::new(session));
        true
    }

    pub(super) fn get(&self, id: UploadId) -> Option<Arc<Session>> {
        self.lock().get(&id).cloned()
    }

    /// Forgets sessions that have ended, or have rows now.
    pub(super) fn remove(&self, ids: &[UploadId]) {
        let mut sessions = self.lock();
        for id in ids {
            sessions.remove(id);
        }
    }

    /// Those that satisfy a condition, by id.
    pub(super) fn matching(&self, wanted: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        self.lock().values().filter(|session| wanted(session)).cloned().collect()
    }

    /// Those that began before a moment.
    pub(super) fn older_than(&self, moment: Timestamp) -> Vec<UploadId> {
        let old = self.matching(|session| session.upload.started.at < moment);
        old.iter().map(|session| session.upload.id).collect()
    }

    /// A session as a reader sees it. `rows` is asked second.
    pub(super) fn upload(
        &self,
        id: UploadId,
        rows: impl FnOnce() -> Result<Option<Upload>>,
    ) -> Result<Option<Upload>> {
        self.get(id).map_or_else(rows, |session| Ok(Some(session.upload.clone())))
    }

    /// Adds sessions to what a reader found in rows after it had asked for them.
    pub(super) fn merge(
        sessions: Vec<Arc<Session>>,
        rows: Vec<Upload>,
        limit: usize,
    ) -> Vec<Upload> {
        let mut all: BTreeMap<_, _> = rows.into_iter().map(|upload| (upload.id, upload)).collect();
        for session in sessions {
            all.entry(session.upload.id).or_insert_with(|| session.upload.clone());
        }
        all.into_values().take(limit).collect()
    }

    /// The sessions of a package that were declared to become `digest`.
    pub(super) fn declared(&self, package: PackageId, digest: &Digest) -> Vec<Arc<Session>> {
        self.matching(|session| {
            session.upload.package == package && session.declared.as_ref() == Some(digest)
        })
    }

    /// A session as a batch sees it.
    pub(super) fn find(&self, batch: &Batch<'_>, id: UploadId) -> Result<Option<Upload>> {
        if batch.has_ended(id) {
            return Ok(None);
        }
        let row = blobs::upload(batch, id)?;
        Ok(row.or_else(|| self.get(id).map(|session| session.upload.clone())))
    }

    /// Writes the rows of a session that has none yet.
    ///
    /// # Errors
    /// [`MetadataError::NotFound`] if it has ended.
    pub(super) fn settle(&self, batch: &mut Batch<'_>, id: UploadId) -> Result<()> {
        if batch.has_ended(id) {
            return Err(MetadataError::NotFound);
        }
        if blobs::upload(batch, id)?.is_some() {
            return Ok(());
        }
        let session = self.get(id).ok_or(MetadataError::NotFound)?;
        blobs::record(batch, &session.upload, session.declared.as_ref())
    }

    /// The same for some, of which those that have ended are passed over.
    pub(super) fn settle_all(&self, batch: &mut Batch<'_>, ids: &[UploadId]) -> Result<()> {
        for id in ids {
            match self.settle(batch, *id) {
                Ok(()) | Err(MetadataError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<UploadId, Arc<Session>>> {
        // Every change of the map is one call, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::powerloss::disk::Disk;
    use super::super::{RedbOptions, RedbStore};
    use super::*;
    use crate::clock::Clock;
    use crate::domain::{Change, ObjectKey};
    use crate::metadata::suite::Fixture;
    use crate::metadata::{MetadataStore, NewUpload, Target};
    use std::time::Duration;

    fn open(disk: &Disk) -> (Arc<dyn MetadataStore>, Clock) {
        let (disk, clock) = (disk.clone(), Clock::manual(Timestamp(1_800_000_000_000)));
        let options = RedbOptions { cache_bytes: 1 << 20 };
        let store = RedbStore::open_with(move || disk.clone(), options, clock.clone());
        (Arc::new(store.expect("opens")), clock)
    }

    async fn begin(on: &Fixture, declared: Option<Digest>) -> UploadId {
        let upload = NewUpload { id: UploadId::random(), owner: "user:ann".to_owned(), declared };
        let target = Target::Existing(on.first);
        let begun = on.store.start_upload(&Change::by_server("test"), &target, upload).await;
        begun.expect("begins").id
    }

    /// The sessions that a process finds which starts after this one was killed now.
    async fn after_a_crash(disk: &Disk) -> Vec<UploadId> {
        let (store, _) = open(&Disk::of(disk.contents()));
        assert_eq!(store.check().await.expect("checks"), Vec::<String>::new());
        let uploads = store.uploads(None, 1000).await.expect("lists");
        uploads.into_iter().map(|upload| upload.id).collect()
    }

    async fn fixture() -> (Disk, Fixture) {
        let disk = Disk::of(Vec::new());
        let (store, clock) = open(&disk);
        (disk, Fixture::new(store, clock).await)
    }

    #[tokio::test]
    async fn a_crash_forgets_what_was_only_begun_and_nothing_that_was_settled() {
        let (disk, on) = fixture().await;
        let (settled, begun) = (begin(&on, None).await, begin(&on, None).await);
        on.store.settle_upload(settled).await.expect("settles");
        on.store.settle_upload(settled).await.expect("is settled");
        assert_eq!(on.store.uploads(None, 9).await.expect("lists").len(), 2);
        assert!(on.store.upload(begun).await.expect("looks").is_some());
        assert_eq!(after_a_crash(&disk).await, [settled]);
        on.store.end_upload(begun).await.expect("ends");
        let late = on.store.settle_upload(begun).await;
        assert!(matches!(late, Err(MetadataError::NotFound)), "{late:?}");
        on.store.end_upload(settled).await.expect("ends");
        assert!(after_a_crash(&disk).await.is_empty());
    }

    #[tokio::test]
    async fn a_store_that_is_closed_forgets_nothing() {
        let (disk, on) = fixture().await;
        let begun = begin(&on, Some(crate::domain::Algorithm::Sha256.hash(b"x"))).await;
        drop(on);
        assert_eq!(after_a_crash(&disk).await, [begun]);
    }

    #[tokio::test]
    async fn only_so_many_are_without_rows() {
        let (disk, on) = fixture().await;
        for _ in 0..MOST + 3 {
            begin(&on, None).await;
        }
        assert_eq!(on.store.uploads(None, 1000).await.expect("lists").len(), MOST + 3);
        assert_eq!(after_a_crash(&disk).await.len(), 3);
    }

    #[tokio::test]
    async fn collection_gives_rows_to_those_that_go_on() {
        let (disk, on) = fixture().await;
        let old = begin(&on, None).await;
        on.clock.advance(Duration::from_secs(60));
        let young = begin(&on, None).await;
        on.store.collect(100, 1000).await.expect("collects");
        assert_eq!(after_a_crash(&disk).await, [old]);
        let digest = crate::domain::Algorithm::Sha256.hash(b"x");
        for id in [old, young] {
            let object = ObjectKey::mint(on.clock.now());
            let change = Change::by_server("test");
            on.store.finish_upload(&change, id, &digest, object, 1).await.expect("finishes");
        }
        assert!(after_a_crash(&disk).await.is_empty());
        on.assert_sound().await;
    }
}
