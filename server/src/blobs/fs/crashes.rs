//! What a client was told holds after every failure of every call, and after power losses.
//!
//! A client stores one blob in two bodies, reads it, and remembers each acknowledgement. The n-th
//! call to the file system fails, once or from then on, for every n; then the power goes. On the
//! rebooted disk the acknowledgements are held against what is there, and the client goes on.

use super::FsBlobStore;
use super::files::Files;
use crate::blobs::fault::{FaultyFiles, SimulatedDisk};
use crate::blobs::fs::files::SystemFiles;
use crate::blobs::{BlobError, BlobStore, ByteStream, Object};
use crate::clock::Clock;
use crate::domain::{Algorithm, Timestamp, UploadId};
use crate::fault::{Fault, FaultPlan, Lasting};
use std::path::Path;

/// Several pieces and checkpoints in each body, and no multiple of a block.
const LENGTH: usize = 130_001;
const FIRST_BODY: usize = 60_002;
const LAST_BODY: usize = 20_003;

/// What the client wants and what it was told.
struct Client {
    content: Vec<u8>,
    upload: Option<UploadId>,
    /// The highest offset that was acknowledged.
    acknowledged: u64,
    tried_to_finish: bool,
    object: Option<Object>,
    deleted: bool,
    errors: Vec<BlobError>,
    /// Uploads that a running server called unknown, and what it had acknowledged of them.
    given_up: Vec<(UploadId, u64)>,
}

/// What may have become of an upload that a server gave up because a sync failed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum GivenUp {
    /// It was removed.
    MayBeGone,
    /// The machine stopped before anything could be removed.
    MustBeThere,
}

impl Client {
    fn new() -> Self {
        Self {
            content: crate::blobs::fs::tests::content(LENGTH),
            upload: None,
            acknowledged: 0,
            tried_to_finish: false,
            object: None,
            deleted: false,
            errors: Vec::new(),
            given_up: Vec::new(),
        }
    }

    /// Tries to store the blob, with a few more tries after failures. `may_die` says whether an
    /// upload may have been given up.
    async fn store(&mut self, store: &dyn BlobStore, may_die: impl Fn() -> bool) {
        for _ in 0..12 {
            if self.object.is_some() {
                return;
            }
            let step = self.step(store).await;
            match step {
                Ok(()) => {}
                Err(BlobError::UnknownUpload(id)) => {
                    self.given_up.push((id, self.acknowledged));
                    let excused = self.acknowledged == 0 || self.tried_to_finish || may_die();
                    assert!(excused, "an acknowledged upload is unknown");
                    self.upload = None;
                    self.acknowledged = 0;
                }
                Err(error) => self.errors.push(error),
            }
        }
    }

    async fn step(&mut self, store: &dyn BlobStore) -> Result<(), BlobError> {
        let Some(id) = self.upload else {
            let id = UploadId::random();
            store.create_upload(id, Algorithm::Sha256, Timestamp(5)).await?;
            self.upload = Some(id);
            return Ok(());
        };
        let offset = store.upload_offset(id).await?;
        assert!(
            offset >= self.acknowledged,
            "{offset} bytes of {} acknowledged",
            self.acknowledged
        );
        let at = usize::try_from(offset).expect("small");
        if at == LENGTH {
            self.tried_to_finish = true;
            self.object = Some(store.finish(id, &Algorithm::Sha256.hash(&self.content)).await?);
            return Ok(());
        }
        let end = [FIRST_BODY, LENGTH - LAST_BODY, LENGTH];
        let end = end.into_iter().find(|end| *end > at).expect("it is not all there");
        let body = ByteStream::once(self.content[at..end].to_vec());
        if end == LENGTH {
            // Nobody is told of these bytes before they are an object.
            self.tried_to_finish = true;
            let last = store.append_last(id, Some(offset), None, body).await?;
            let digest = Algorithm::Sha256.hash(&self.content);
            self.object = Some(store.finish_last(last, &digest).await?);
            return Ok(());
        }
        self.acknowledged = store.append(id, Some(offset), None, body).await?;
        assert_eq!(self.acknowledged, end as u64);
        Ok(())
    }

    async fn read_and_delete(&mut self, store: &dyn BlobStore) {
        let Some(object) = self.object else { return };
        match read(store, object).await {
            Ok(content) => assert!(content == self.content, "wrong content was read"),
            Err(BlobError::UnknownObject(_)) => panic!("a finished object is unknown"),
            Err(error) => self.errors.push(error),
        }
        match store.delete(object.key).await {
            Ok(()) => self.deleted = true,
            Err(error) => self.errors.push(error),
        }
    }

    /// Holds what the client was told against what is there.
    async fn check(&self, store: &dyn BlobStore, given_up: GivenUp) {
        let objects = store.objects(None, usize::MAX).await.expect("lists");
        for key in &objects {
            let size = store.object_size(*key).await.expect("is there");
            let content = read(store, Object { key: *key, size }).await.expect("reads");
            assert!(content == self.content, "an object with wrong content");
        }
        if let Some(object) = self.object {
            let there = objects.contains(&object.key);
            assert!(there || self.deleted, "a finished object is lost");
            return;
        }
        let current = self.upload.map(|id| (id, self.acknowledged));
        for (id, acknowledged) in
            current.iter().chain(&self.given_up).filter(|(_, bytes)| *bytes > 0)
        {
            match store.upload_offset(*id).await {
                Ok(offset) => assert!(offset >= *acknowledged, "acknowledged bytes are lost"),
                Err(BlobError::UnknownUpload(_)) => {
                    // It became an object that nobody was told of, or it was given up.
                    let became = self.tried_to_finish && !objects.is_empty();
                    assert!(
                        became || given_up == GivenUp::MayBeGone,
                        "an acknowledged upload is lost"
                    );
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

async fn read(store: &dyn BlobStore, object: Object) -> Result<Vec<u8>, BlobError> {
    let stream = store.read(object.key, 0, object.size).await?;
    stream.bytes.collect().await.map_err(BlobError::Body)
}

fn open<F: Files>(root: &Path, files: F) -> Result<FsBlobStore<F>, BlobError> {
    FsBlobStore::open(root, Clock::manual(Timestamp(1_700_000_000_000)), files)
}

/// An upload is given up if and only if a sync failed.
fn a_sync_failed(plan: &FaultPlan) -> bool {
    plan.struck().iter().any(|name| name.starts_with("sync"))
}

/// The calls that a client's whole life makes.
async fn calls_without_faults() -> u64 {
    let disk = SimulatedDisk::new();
    let store = open(Path::new("/"), disk.clone()).expect("opens");
    disk.plan().disarm();
    let mut client = Client::new();
    client.store(&store, || false).await;
    client.read_and_delete(&store).await;
    assert!(client.errors.is_empty() && client.object.is_some());
    disk.plan().calls()
}

async fn fail_then_lose_power(n: u64, fault: Fault, lasting: Lasting) {
    let disk = SimulatedDisk::new();
    let store = open(Path::new("/"), disk.clone()).expect("opens");
    disk.plan().arm(n, fault, lasting);
    let mut client = Client::new();
    client.store(&store, || a_sync_failed(disk.plan())).await;
    client.read_and_delete(&store).await;
    assert!(lasting == Lasting::Forever || client.object.is_some(), "one failure was not survived");
    for error in &client.errors {
        let right = match error {
            BlobError::NoSpace(_) => fault == Fault::NoSpace,
            // Errors of a body being read are wrapped by the reader here.
            BlobError::Storage { .. } => fault == Fault::Io,
            BlobError::Body(_) => true,
            _ => false,
        };
        assert!(right, "{error:?}");
    }
    let may_die = a_sync_failed(disk.plan());
    let given_up =
        if lasting == Lasting::Once && may_die { GivenUp::MayBeGone } else { GivenUp::MustBeThere };
    drop(store);

    // A new process on the same machine.
    disk.plan().disarm();
    client.check(&open(Path::new("/"), disk.clone()).expect("opens"), given_up).await;
    // The machine lost power instead.
    for seed in 0..4 {
        let rebooted = disk.after_power_loss(seed * 1000 + n);
        let store = open(Path::new("/"), rebooted.clone()).expect("opens");
        client.check(&store, given_up).await;
        go_on_to_the_end(&store, &client, may_die).await;
    }
}

/// Whatever happened, the client can store its blob afterwards.
async fn go_on_to_the_end(store: &dyn BlobStore, before: &Client, may_die: bool) {
    let mut client = Client::new();
    client.upload = before.upload.filter(|_| before.object.is_none());
    if client.upload.is_some() {
        client.acknowledged = before.acknowledged;
        client.tried_to_finish = before.tried_to_finish;
    }
    client.store(store, || may_die).await;
    assert!(client.errors.is_empty(), "{:?}", client.errors);
    assert!(client.object.is_some());
    client.read_and_delete(store).await;
    assert!(client.errors.is_empty(), "{:?}", client.errors);
}

#[tokio::test]
async fn every_single_failure_of_the_device_is_survived() {
    for n in 1..=calls_without_faults().await {
        fail_then_lose_power(n, Fault::Io, Lasting::Once).await;
    }
}

#[tokio::test]
async fn every_moment_at_which_the_disk_fills_up_is_survived() {
    for n in 1..=calls_without_faults().await {
        fail_then_lose_power(n, Fault::NoSpace, Lasting::Once).await;
    }
}

#[tokio::test]
async fn a_power_loss_at_any_moment_loses_nothing_acknowledged() {
    for n in 1..=calls_without_faults().await {
        fail_then_lose_power(n, Fault::Io, Lasting::Forever).await;
    }
}

#[tokio::test]
async fn a_second_power_loss_during_recovery_loses_nothing_either() {
    for n in (1..=calls_without_faults().await).step_by(3) {
        let disk = SimulatedDisk::new();
        let store = open(Path::new("/"), disk.clone()).expect("opens");
        disk.plan().arm(n, Fault::Io, Lasting::Forever);
        let mut client = Client::new();
        client.store(&store, || true).await;
        let rebooted = disk.after_power_loss(n);
        // Opening makes 256 directories again in vain; what matters comes before and after.
        for m in [1, 2].into_iter().chain(258..320) {
            let second = rebooted.after_power_loss(m);
            second.plan().arm(m, Fault::Io, Lasting::Forever);
            let mut again = Client::new();
            again.upload = client.upload;
            // Who was told of the object does not go on with its upload, whose row is gone: this disk may
            // bring its name back beside the object's, which no journaling file system would.
            again.object = client.object;
            again.acknowledged = client.acknowledged;
            again.tried_to_finish = client.tried_to_finish;
            again.given_up.clone_from(&client.given_up);
            if let Ok(store) = open(Path::new("/"), second.clone()) {
                again.store(&store, || true).await;
            }
            let third = second.after_power_loss(m + n);
            let store = open(Path::new("/"), third.clone()).expect("opens");
            again.check(&store, GivenUp::MustBeThere).await;
        }
    }
}

#[tokio::test]
async fn a_failure_at_any_moment_of_the_first_start_leaves_a_directory_that_opens() {
    let disk = SimulatedDisk::new();
    open(Path::new("/"), disk.clone()).expect("opens");
    for n in 1..=disk.plan().calls() {
        let disk = SimulatedDisk::new();
        disk.plan().arm(n, Fault::Io, Lasting::Once);
        assert!(open(Path::new("/"), disk.clone()).is_err(), "call {n} was not checked");
        let rebooted = disk.after_power_loss(n);
        let store = open(Path::new("/"), rebooted).expect("opens");
        go_on_to_the_end(&store, &Client::new(), false).await;
    }
}

#[tokio::test]
async fn every_single_failure_on_real_files_is_survived() {
    let directory = tempfile::tempdir().expect("a directory");
    for n in 1..=calls_without_faults().await {
        let plan = FaultPlan::new();
        let files = FaultyFiles::new(SystemFiles, plan.clone());
        let store = open(directory.path(), files.clone()).expect("opens");
        plan.arm(n, Fault::Io, Lasting::Once);
        let mut client = Client::new();
        client.store(&store, || a_sync_failed(&plan)).await;
        client.read_and_delete(&store).await;
        assert!(client.object.is_some(), "one failure was not survived");
        assert_eq!(plan.struck().len(), 1, "call {n} was made");
        let may_die = a_sync_failed(&plan);
        plan.disarm();
        let store = open(directory.path(), files).expect("opens");
        let given_up = if may_die { GivenUp::MayBeGone } else { GivenUp::MustBeThere };
        client.check(&store, given_up).await;
    }
}
