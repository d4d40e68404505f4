//! What only the local backend promises: its layout, its costs, and what it makes of strange files.

use super::files::{Files as _, OpenFile as _, SystemFiles};
use super::state::State;
use super::{FsBlobStore, Layout};
use crate::blobs::fault::SimulatedDisk;
use crate::blobs::{BlobError, BlobStore, ByteStream, Object};
use crate::clock::Clock;
use crate::domain::{Algorithm, ObjectKey, Timestamp, UploadId};
use crate::fault::{Fault, Lasting};
use futures_util::StreamExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Content that differs at every position.
pub(super) fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8).collect()
}

fn clock() -> Clock {
    Clock::manual(Timestamp(1_700_000_000_000))
}

fn real(directory: &tempfile::TempDir) -> FsBlobStore {
    FsBlobStore::open(directory.path(), clock(), SystemFiles).expect("opens")
}

fn simulated(disk: &SimulatedDisk) -> FsBlobStore<SimulatedDisk> {
    FsBlobStore::open(Path::new("/"), clock(), disk.clone()).expect("opens")
}

async fn begin(store: &dyn BlobStore) -> UploadId {
    let id = UploadId::random();
    store.create_upload(id, Algorithm::Sha256, Timestamp(7)).await.expect("begins");
    id
}

async fn append(store: &dyn BlobStore, id: UploadId, content: &[u8]) -> u64 {
    store.append(id, None, None, ByteStream::once(content.to_vec())).await.expect("appends")
}

async fn store_blob(store: &dyn BlobStore, content: &[u8]) -> Object {
    let id = begin(store).await;
    append(store, id, content).await;
    store.finish(id, &Algorithm::Sha256.hash(content)).await.expect("finishes")
}

/// Syncs since the plan was disarmed: of data, of files, of directories.
fn syncs(disk: &SimulatedDisk) -> [u64; 3] {
    ["sync_data", "sync_all", "sync_dir"].map(|name| disk.plan().calls_of(name))
}

#[tokio::test]
async fn a_small_blob_costs_four_syncs() {
    let disk = SimulatedDisk::new();
    let store = simulated(&disk);
    disk.plan().disarm();
    let id = begin(&store).await;
    assert_eq!(syncs(&disk), [0, 0, 0], "beginning");
    append(&store, id, b"a small blob").await;
    assert_eq!(syncs(&disk), [2, 0, 1], "the first body");
    append(&store, id, b", continued").await;
    assert_eq!(syncs(&disk), [4, 0, 1], "a later body");
    append(&store, id, b"").await;
    assert_eq!(syncs(&disk), [4, 0, 1], "an empty body");
    let object = store.finish(id, &Algorithm::Sha256.hash(b"a small blob, continued")).await;
    assert_eq!(syncs(&disk), [4, 0, 2], "finishing");
    store.delete(object.expect("finishes").key).await.expect("deletes");
    assert_eq!(syncs(&disk), [4, 0, 2], "deleting");
}

#[tokio::test]
async fn a_long_body_is_made_durable_on_the_way() {
    let disk = SimulatedDisk::new();
    let store = simulated(&disk);
    disk.plan().disarm();
    let id = begin(&store).await;
    append(&store, id, &content(200_000)).await;
    // Pieces of 16 KiB, one or two at a time, and a checkpoint as soon as 40 KiB are reached: after three
    // or four pieces, and at the end.
    let [data, rest @ ..] = syncs(&disk);
    assert!((2 * 4..=2 * 5).contains(&data), "{data}");
    assert_eq!(rest, [0, 1]);
}

#[tokio::test]
async fn files_are_where_the_layout_says_and_only_their_owner_can_read_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = real(&directory);
    let id = begin(&store).await;
    append(&store, id, b"abc").await;
    let mode = |path: &Path| path.metadata().expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&directory.path().join("uploads")), 0o700);
    assert_eq!(mode(&directory.path().join(format!("uploads/{id}"))), 0o600);
    assert_eq!(mode(&directory.path().join(format!("uploads/{id}.state"))), 0o600);
    let key =
        store.finish(id, &Algorithm::Sha256.hash(b"abc")).await.expect("finishes").key.to_string();
    let path = directory.path().join("blobs").join(&key[30..]).join(&key);
    assert_eq!(std::fs::read(&path).expect("is there"), b"abc");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(std::fs::read_dir(directory.path().join("uploads")).expect("lists").count(), 0);
}

#[test]
fn parts_on_different_file_systems_are_refused() {
    for part in ["/uploads", "/blobs", "/blobs/lost+found"] {
        let disk = SimulatedDisk::new();
        disk.mount(Path::new(part), 2);
        let error = FsBlobStore::open(Path::new("/"), clock(), disk).expect_err("refuses");
        let BlobError::Storage { source, .. } = error else { panic!("{error:?}") };
        assert!(source.to_string().contains("one file system"), "{source}");
    }
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = real(&directory);
    let kept = store_blob(&store, b"kept").await;
    let misplaced = ObjectKey::mint(Timestamp(1)).to_string();
    let wrong_shard = if misplaced.ends_with("00") { "01" } else { "00" };
    let strange = [
        "blobs/README".to_owned(),
        "blobs/00/README".to_owned(),
        format!("blobs/{wrong_shard}/{misplaced}"),
        "uploads/notes.txt".to_owned(),
        "blobs/lost+found/#1234".to_owned(),
        format!("blobs/lost+found/{misplaced}.soon"),
        format!("blobs/lost+found/{misplaced}.+17"),
        format!("blobs/lost+found/{misplaced}.017"),
    ];
    for name in &strange {
        std::fs::write(directory.path().join(name), "mine").expect("written");
    }
    let store = real(&directory);
    assert_eq!(store.objects(None, 9).await.expect("lists"), [kept.key]);
    assert!(store.uploads().await.expect("lists").is_empty());
    assert_eq!(store.empty_lost_and_found(Timestamp(u64::MAX)).await.expect("empties"), 0);
    for name in &strange {
        assert_eq!(
            std::fs::read(directory.path().join(name)).expect("still there"),
            b"mine",
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_object_that_was_cut_short_is_damaged_and_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = real(&directory);
    let body = content(1_500_000);
    let object = store_blob(&store, &body).await;
    let path = Layout::new(directory.path()).object(object.key);
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("opens");

    let stream = store.read(object.key, 0, object.size).await.expect("opens");
    file.set_len(700_000).expect("cut");
    assert!(stream.bytes.collect().await.is_err(), "cut while it is read");
    let refused = store.read(object.key, 0, object.size).await;
    assert!(matches!(refused, Err(BlobError::Damaged(key)) if key == object.key));
}

#[tokio::test]
async fn bytes_after_the_last_checkpoint_are_not_trusted() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = real(&directory);
    let id = begin(&store).await;
    append(&store, id, b"abc").await;
    let path = directory.path().join(format!("uploads/{id}"));
    std::fs::write(&path, b"abc and what a crash left").expect("written");
    let store = real(&directory);
    assert_eq!(store.upload_offset(id).await.expect("is known"), 3);
    assert_eq!(append(&store, id, b"d").await, 4);
    assert_eq!(std::fs::read(&path).expect("is there"), b"abcd");
}

#[tokio::test]
async fn an_upload_whose_bytes_are_lost_fails_and_is_not_called_unknown() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = real(&directory);
    let id = begin(&store).await;
    append(&store, id, b"abc").await;
    std::fs::write(directory.path().join(format!("uploads/{id}")), b"ab").expect("written");
    let failed = store.append(id, None, None, ByteStream::once("d")).await;
    assert!(matches!(failed, Err(BlobError::Storage { .. })));
    store.cancel_upload(id).await.expect("can be removed");
}

#[tokio::test]
async fn an_upload_begun_with_another_hash_library_is_hashed_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = real(&directory);
    let id = begin(&store).await;
    append(&store, id, &content(50_000)).await;
    let path = Layout::new(directory.path()).state(id);
    let file = SystemFiles.open_to_write(&path).expect("opens");
    let state = State::read(&file).expect("reads").expect("whole");
    state.of_another_library().write(&file).expect("written");
    append(&store, id, &content(60_000)[50_000..]).await;
    store.finish(id, &Algorithm::Sha256.hash(&content(60_000))).await.expect("finishes");
}

#[tokio::test]
async fn a_sync_that_failed_ends_the_upload() {
    let disk = SimulatedDisk::new();
    let store = simulated(&disk);
    let id = begin(&store).await;
    append(&store, id, b"abc").await;
    let calls = {
        disk.plan().disarm();
        append(&store, id, b"d").await;
        disk.plan().calls()
    };
    for n in 1..=calls {
        let id = begin(&store).await;
        append(&store, id, b"abc").await;
        disk.plan().arm(n, Fault::Io, Lasting::Once);
        let outcome = store.append(id, None, None, ByteStream::once("d")).await;
        let struck = disk.plan().struck();
        disk.plan().disarm();
        assert!(matches!(outcome, Err(BlobError::Storage { .. })), "{struck:?}");
        let known = store.upload_offset(id).await;
        if struck[0].starts_with("sync") {
            assert!(matches!(known, Err(BlobError::UnknownUpload(_))), "{struck:?}");
        } else {
            assert_eq!(known.expect("goes on"), 3, "{struck:?}");
        }
    }
}

#[tokio::test]
async fn an_upload_that_could_neither_be_synced_nor_removed_is_not_used_again() {
    let disk = SimulatedDisk::new();
    let store = simulated(&disk);
    let id = begin(&store).await;
    append(&store, id, b"abc").await;
    // The calls of a body: two opens, the state's length and bytes, the data's length and bytes.
    disk.plan().arm(7, Fault::Io, Lasting::Forever);
    assert!(store.append(id, None, None, ByteStream::once("d")).await.is_err());
    assert_eq!(disk.plan().struck()[0], "sync_data");
    disk.plan().disarm();
    assert!(matches!(store.upload_offset(id).await, Err(BlobError::UnknownUpload(_))));
    let refused = store.append(id, None, None, ByteStream::once("d")).await;
    assert!(matches!(refused, Err(BlobError::UnknownUpload(_))));
    store.cancel_upload(id).await.expect("can be removed");
    assert!(store.uploads().await.expect("lists").is_empty());
}

#[tokio::test]
async fn a_full_disk_gives_back_what_the_body_took() {
    let disk = SimulatedDisk::new();
    let store = simulated(&disk);
    let id = begin(&store).await;
    append(&store, id, b"abc").await;
    disk.plan().arm(8, Fault::NoSpace, Lasting::Once);
    let full = store.append(id, None, None, ByteStream::once(content(60_000))).await;
    assert!(matches!(full, Err(BlobError::NoSpace(_))));
    assert_eq!(disk.plan().struck(), ["write"]);
    disk.plan().disarm();
    let length = disk.stat(Path::new(&format!("/uploads/{id}"))).expect("is there").length;
    assert_eq!(length, store.upload_offset(id).await.expect("is known"));
}

#[tokio::test]
async fn an_object_is_never_longer_after_a_power_loss_than_it_was_before() {
    let disk = SimulatedDisk::new();
    let store = simulated(&disk);
    let id = begin(&store).await;
    append(&store, id, b"abc").await;
    // The system wrote back what a process that was killed had not made durable.
    let data = disk.open_to_write(Path::new(&format!("/uploads/{id}"))).expect("opens");
    data.write(3, &content(9000)).expect("written");
    data.sync_data().expect("synced");
    let object = store.finish(id, &Algorithm::Sha256.hash(b"abc")).await.expect("finishes");
    for seed in 0..16 {
        let store = simulated(&disk.after_power_loss(seed));
        assert_eq!(store.object_size(object.key).await.expect("is there"), 3);
    }
}

#[tokio::test]
async fn an_offset_told_after_a_restart_survives_a_power_loss() {
    let disk = SimulatedDisk::new();
    let store = simulated(&disk);
    let id = begin(&store).await;
    append(&store, id, b"abc").await;
    drop(store);
    // A process was killed between writing a state and syncing it.
    let data = disk.open_to_write(Path::new(&format!("/uploads/{id}"))).expect("opens");
    data.write(3, b"d").expect("written");
    data.sync_data().expect("synced");
    let file = disk.open_to_write(Path::new(&format!("/uploads/{id}.state"))).expect("opens");
    let state = State::read(&file).expect("reads").expect("whole");
    let mut hasher = state.hasher().expect("known");
    hasher.update(b"d");
    state.next(4, &hasher).write(&file).expect("written");

    let told = simulated(&disk).upload_offset(id).await.expect("is known");
    assert_eq!(told, 4);
    for seed in 0..16 {
        let store = simulated(&disk.after_power_loss(seed));
        assert_eq!(store.upload_offset(id).await.expect("is known"), told);
        store.finish(id, &Algorithm::Sha256.hash(b"abcd")).await.expect("finishes");
    }
}

#[tokio::test]
async fn one_upload_that_cannot_be_synced_does_not_stop_the_start() {
    let disk = SimulatedDisk::new();
    let store = simulated(&disk);
    let id = begin(&store).await;
    append(&store, id, b"abc").await;
    let object = store_blob(&store, b"object").await;
    disk.plan().disarm();
    drop(simulated(&disk));
    let calls = disk.plan().calls();
    // The last call of a start is the sync of the only state.
    disk.plan().arm(calls, Fault::Io, Lasting::Once);
    let store = simulated(&disk);
    assert_eq!(disk.plan().struck(), ["sync_data"]);
    assert!(matches!(store.upload_offset(id).await, Err(BlobError::UnknownUpload(_))));
    assert_eq!(store.objects(None, 9).await.expect("lists"), [object.key]);
}

#[tokio::test]
async fn a_power_loss_leaves_the_old_identity_or_the_new_and_nothing_between() {
    let disk = SimulatedDisk::new();
    simulated(&disk).set_identity(b"old").await.expect("writes");
    for n in 1.. {
        let disk = disk.after_power_loss(n);
        let store = simulated(&disk);
        disk.plan().arm(n, Fault::Io, Lasting::Forever);
        let written = store.set_identity(b"new").await;
        let over = disk.plan().struck().is_empty();
        for seed in 0..8 {
            let store = simulated(&disk.after_power_loss(seed));
            let found = store.identity().await.expect("reads").expect("is there");
            assert!(found == b"new" || (found == b"old" && written.is_err()), "{found:?} at {n}");
        }
        if over {
            break;
        }
    }
}

#[tokio::test]
async fn requests_hold_only_so_many_files_and_the_next_is_told_to_come_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = FsBlobStore::open_within(directory.path(), clock(), SystemFiles, 3).expect("opens");
    let (long, short) = (content(200_000), content(100));
    let object = store_blob(&store, &long).await;
    let small = store_blob(&store, &short).await;
    let read = || store.read(object.key, 0, long.len() as u64);
    let held = [read().await.expect("one"), read().await.expect("two"), read().await.expect("all")];
    assert!(matches!(read().await, Err(BlobError::Occupied)));
    let id = begin(&store).await;
    let refused = store.append(id, None, None, ByteStream::once(vec![1])).await;
    assert!(matches!(refused, Err(BlobError::Occupied)));
    // What is read at once holds nothing.
    store.read(small.key, 0, short.len() as u64).await.expect("reads");
    drop(held);
    assert_eq!(append(&store, id, b"now there is room").await, 17);
    let mut again = read().await.expect("there is room");
    let mut length = 0;
    while let Some(piece) = again.bytes.next().await {
        length += piece.expect("reads").len();
    }
    assert_eq!(length, long.len());
}
