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

/// What the client wants and what it was told.
struct Client {
    content: Vec<u8>,
    upload: Option<UploadId>,
    /// The highest offset that was acknowledged.
    acknowledged: u64,
    tried_to_finish: bool,
    object: Option<Object>,
    tried_to_delete: bool,
    /// An error that was not a fault of the plan's kind, or none.
    errors: Vec<BlobError>,
}

impl Client {
    fn new() -> Self {
        Self {
            content: crate::blobs::fs::tests::content(LENGTH),
            upload: None,
            acknowledged: 0,
            tried_to_finish: false,
            object: None,
            tried_to_delete: false,
            errors: Vec::new(),
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
                Err(BlobError::UnknownUpload(_)) => {
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
        assert!(offset >= self.acknowledged, "{offset} bytes of {} acknowledged", self.acknowledged);
        let at = usize::try_from(offset).expect("small");
        if at == LENGTH {
            self.tried_to_finish = true;
            self.object = Some(store.finish(id, &Algorithm::Sha256.hash(&self.content)).await?);
            return Ok(());
        }
        let end = if at < FIRST_BODY { FIRST_BODY } else { LENGTH };
        let body = ByteStream::once(self.content[at..end].to_vec());
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
        self.tried_to_delete = true;
        if let Err(error) = store.delete(object.key).await {
            self.errors.push(error);
        }
    }

    /// Holds what the client was told against what is there.
    async fn check(&self, store: &dyn BlobStore, may_die: bool) {
        let objects = store.objects(None, usize::MAX).await.expect("lists");
        for key in &objects {
            let size = store.object_size(*key).await.expect("is there");
            let content = read(store, Object { key: *key, size }).await.expect("reads");
            assert!(content == self.content, "an object with wrong content");
        }
        if let Some(object) = self.object {
            let there = objects.contains(&object.key);
            assert!(there || self.tried_to_delete, "a finished object is lost");
            return;
        }
        let Some(id) = self.upload.filter(|_| self.acknowledged > 0) else { return };
        match store.upload_offset(id).await {
            Ok(offset) => assert!(offset >= self.acknowledged, "acknowledged bytes are lost"),
            Err(BlobError::UnknownUpload(_)) => {
                assert!(self.tried_to_finish || may_die, "an acknowledged upload is lost");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn read(store: &dyn BlobStore, object: Object) -> Result<Vec<u8>, BlobError> {
    let stream = store.read(object.key, 0, object.size).await?;
    stream.collect().await.map_err(BlobError::Body)
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
    drop(store);

    // A new process on the same machine.
    disk.plan().disarm();
    client.check(&open(Path::new("/"), disk.clone()).expect("opens"), may_die).await;
    // The machine lost power instead. A sync that failed there made nothing durable that was
    // acknowledged, so only an upload that was given up and removed may be missing.
    for seed in 0..4 {
        let rebooted = disk.after_power_loss(seed * 1000 + n);
        let store = open(Path::new("/"), rebooted.clone()).expect("opens");
        client.check(&store, may_die).await;
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
        for m in [1, 2, 256, 258, 259, 260, 261, 262, 263, 264, 265, 266, 268, 270, 275] {
            let second = rebooted.after_power_loss(m);
            second.plan().arm(m, Fault::Io, Lasting::Forever);
            if let Ok(store) = open(Path::new("/"), second.clone()) {
                // The upload may be cut back to its checkpoint, which is a write too.
                let mut again = Client::new();
                again.upload = client.upload;
                again.tried_to_finish = true;
                again.store(&store, || true).await;
            }
            let third = second.after_power_loss(m + n);
            let store = open(Path::new("/"), third.clone()).expect("opens");
            client.tried_to_finish = true;
            client.check(&store, true).await;
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
        client.check(&store, may_die).await;
    }
}
