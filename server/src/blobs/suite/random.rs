//! Random operations, with restarts at random points, against a model in memory.

use super::Backend;
use crate::blobs::{BlobError, BlobStore, ByteStream};
use crate::domain::{Algorithm, ObjectKey, Timestamp, UploadId};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Operation {
    Begin(Algorithm),
    /// Bytes in frames, and whether the body breaks off after them.
    Append(prop::sample::Index, Vec<Vec<u8>>, bool),
    Finish(prop::sample::Index, Algorithm, Claim),
    Cancel(prop::sample::Index),
    Read(prop::sample::Index, prop::sample::Index, prop::sample::Index),
    Delete(prop::sample::Index),
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Claim {
    Right,
    Wrong,
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    uploads: BTreeMap<UploadId, Vec<u8>>,
    objects: BTreeMap<ObjectKey, Vec<u8>>,
}

/// Each run is a fresh place of the same kind; the one given only says which kind.
pub(super) async fn random_operations_agree_with_a_model<B: Backend>(_: &B) {
    let handle = tokio::runtime::Handle::current();
    let run = tokio::task::spawn_blocking(move || {
        let mut runner =
            TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
        runner.run(&prop::collection::vec(operation(), 1..40), |operations| {
            handle.block_on(async {
                let backend = B::new();
                let mut model = Model::default();
                let mut process = backend.open();
                for operation in operations {
                    if matches!(operation, Operation::Restart) {
                        process = backend.open();
                    }
                    model.apply(&process, operation).await;
                    model.compare(&*process).await;
                }
                Ok(())
            })
        })
    });
    run.await.expect("runs").expect("the store agrees with the model");
}

fn operation() -> impl Strategy<Value = Operation> {
    let algorithm = || prop_oneof![Just(Algorithm::Sha256), Just(Algorithm::Sha512)];
    let frame = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..50),
        1 => (any::<u8>(), 60_000usize..200_000).prop_map(|(byte, length)| vec![byte; length]),
    ];
    let claim = prop_oneof![4 => Just(Claim::Right), 1 => Just(Claim::Wrong)];
    prop_oneof![
        3 => algorithm().prop_map(Operation::Begin),
        6 => (any::<prop::sample::Index>(), prop::collection::vec(frame, 0..4), prop::bool::weighted(0.2))
            .prop_map(|(upload, frames, breaks)| Operation::Append(upload, frames, breaks)),
        2 => (any::<prop::sample::Index>(), algorithm(), claim)
            .prop_map(|(upload, algorithm, claim)| Operation::Finish(upload, algorithm, claim)),
        1 => any::<prop::sample::Index>().prop_map(Operation::Cancel),
        3 => any::<[prop::sample::Index; 3]>().prop_map(|[key, from, to]| Operation::Read(key, from, to)),
        1 => any::<prop::sample::Index>().prop_map(Operation::Delete),
        1 => Just(Operation::Restart),
    ]
}

impl Model {
    async fn apply(&mut self, process: &Arc<dyn BlobStore>, operation: Operation) {
        match operation {
            Operation::Begin(algorithm) => {
                let id = UploadId::random();
                process.create_upload(id, algorithm, Timestamp(77)).await.expect("begins");
                self.uploads.insert(id, Vec::new());
            }
            Operation::Append(index, frames, breaks) => {
                let Some(id) = pick(&self.uploads, index) else { return };
                let before = self.uploads[&id].len() as u64;
                let outcome = process.append(id, Some(before), None, body(&frames, breaks)).await;
                let content = self.uploads.entry(id).or_default();
                content.extend(frames.concat());
                match outcome {
                    Ok(offset) if !breaks => assert_eq!(offset, content.len() as u64),
                    Err(BlobError::Body(_)) if breaks => {}
                    other => panic!("{other:?}"),
                }
            }
            Operation::Finish(index, algorithm, claim) => {
                let Some(id) = pick(&self.uploads, index) else { return };
                let content = self.uploads.remove(&id).expect("was picked");
                let digest = match claim {
                    Claim::Right => algorithm.hash(&content),
                    Claim::Wrong => algorithm.hash(&[&content[..], b"!"].concat()),
                };
                match process.finish(id, &digest).await {
                    Ok(object) if claim == Claim::Right => {
                        assert_eq!(object.size, content.len() as u64);
                        assert!(
                            self.objects.insert(object.key, content).is_none(),
                            "a key was used again"
                        );
                    }
                    Err(BlobError::Digest { .. }) if claim == Claim::Wrong => {}
                    other => panic!("{other:?}"),
                }
            }
            Operation::Cancel(index) => {
                let Some(id) = pick(&self.uploads, index) else { return };
                process.cancel_upload(id).await.expect("cancels");
                self.uploads.remove(&id);
            }
            Operation::Read(index, from, to) => {
                let Some(key) = pick(&self.objects, index) else { return };
                let content = &self.objects[&key];
                let (a, b) = (from.index(content.len() + 1), to.index(content.len() + 1));
                let (from, to) = (a.min(b), a.max(b));
                let stream =
                    process.read(key, from as u64, (to - from) as u64).await.expect("opens");
                assert!(stream.bytes.collect().await.expect("reads") == content[from..to]);
            }
            Operation::Delete(index) => {
                let Some(key) = pick(&self.objects, index) else { return };
                process.delete(key).await.expect("deletes");
                self.objects.remove(&key);
            }
            Operation::Restart => {}
        }
    }

    async fn compare(&self, process: &dyn BlobStore) {
        let mut uploads = process.uploads().await.expect("lists");
        uploads.sort_unstable();
        assert!(uploads.iter().eq(self.uploads.keys()));
        for (id, content) in &self.uploads {
            assert_eq!(process.upload_offset(*id).await.expect("is known"), content.len() as u64);
        }
        let objects = process.objects(None, usize::MAX).await.expect("lists");
        assert!(objects.iter().eq(self.objects.keys()));
        for (key, content) in &self.objects {
            assert_eq!(process.object_size(*key).await.expect("is known"), content.len() as u64);
        }
    }
}

fn pick<K: Copy, V>(map: &BTreeMap<K, V>, index: prop::sample::Index) -> Option<K> {
    if map.is_empty() { None } else { map.keys().nth(index.index(map.len())).copied() }
}

fn body(frames: &[Vec<u8>], breaks: bool) -> ByteStream {
    let mut pieces: Vec<Result<Bytes, &str>> =
        frames.iter().cloned().map(|frame| Ok(frame.into())).collect();
    if breaks {
        pieces.push(Err("the client went away"));
    }
    ByteStream::new(futures_util::stream::iter(pieces))
}
