//! Random operations: whatever is done in whatever order, the recount finds nothing, and what was
//! answered is what is read afterwards, also after the file was closed and opened again.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Blobs, images and tags are small numbers, so that operations meet.
#[derive(Clone, Debug)]
enum Step {
    Blob { package: bool, blob: u8 },
    Mount { to_second: bool, blob: u8 },
    DeleteBlob { package: bool, blob: u8 },
    Image { package: bool, blobs: Vec<u8>, tag: Option<u8> },
    Index { package: bool, children: Vec<Vec<u8>>, tag: Option<u8> },
    DeleteTag { package: bool, tag: u8 },
    DeleteImage { package: bool, blobs: Vec<u8> },
    Advance(u32),
    Reopen,
}

fn blobs() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..6u8, 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    let (package, tag) = (any::<bool>(), proptest::option::of(0..3u8));
    prop_oneof![
        6 => (package, 0..6u8).prop_map(|(package, blob)| Step::Blob { package, blob }),
        2 => (any::<bool>(), 0..6u8).prop_map(|(to_second, blob)| Step::Mount { to_second, blob }),
        1 => (any::<bool>(), 0..6u8).prop_map(|(package, blob)| Step::DeleteBlob { package, blob }),
        4 => (any::<bool>(), blobs(), tag.clone())
            .prop_map(|(package, blobs, tag)| Step::Image { package, blobs, tag }),
        2 => (any::<bool>(), proptest::collection::vec(blobs(), 1..3), tag)
            .prop_map(|(package, children, tag)| Step::Index { package, children, tag }),
        2 => (any::<bool>(), 0..3u8).prop_map(|(package, tag)| Step::DeleteTag { package, tag }),
        1 => (any::<bool>(), blobs()).prop_map(|(package, blobs)| Step::DeleteImage { package, blobs }),
        1 => (0..100_000u32).prop_map(Step::Advance),
        1 => Just(Step::Reopen),
    ]
}

fn image_of(blobs: &[u8], tag: Option<u8>) -> NewManifest {
    let names: Vec<_> = blobs.iter().map(|blob| format!("blob{blob}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut image = Fixture::image(&names, &[]);
    image.tags = tag.iter().map(|tag| format!("t{tag}").parse().unwrap()).collect();
    image
}

/// What the answers so far promise: tags, by package.
type Promised = BTreeMap<(bool, String), Digest>;

async fn apply(on: &Fixture, promised: &mut Promised, step: Step) {
    let id = |second: bool| if second { on.second } else { on.first };
    match step {
        Step::Blob { package, blob } => {
            on.blob(id(package), &format!("blob{blob}")).await;
        }
        Step::Mount { to_second, blob } => {
            let target = Target::Existing(id(to_second));
            let blob = digest(&format!("blob{blob}"));
            let _ = on.store.mount_blob(&change(), &target, id(!to_second), &blob).await;
        }
        Step::DeleteBlob { package, blob } => {
            let blob = digest(&format!("blob{blob}"));
            let _ = on.store.delete_blob(&change(), id(package), &blob).await;
        }
        Step::Image { package, blobs, tag } => {
            put(on, promised, package, image_of(&blobs, tag)).await;
        }
        Step::Index { package, children, tag } => {
            let children: Vec<_> = children.iter().map(|blobs| image_of(blobs, None)).collect();
            let mut index = index(&children.iter().collect::<Vec<_>>(), &[]);
            index.tags = tag.iter().map(|tag| format!("t{tag}").parse().unwrap()).collect();
            put(on, promised, package, index).await;
        }
        Step::DeleteTag { package, tag } => {
            let tag: Tag = format!("t{tag}").parse().unwrap();
            let done = on.store.delete_tag(&change(), id(package), &tag).await.is_ok();
            let was = promised.remove(&(package, tag.to_string())).is_some();
            assert_eq!(done, was, "a tag is deleted if and only if it was there");
        }
        Step::DeleteImage { package, blobs } => {
            let digest = image_of(&blobs, None).digest;
            if on.store.delete_manifest(&change(), id(package), &digest).await.is_ok() {
                promised.retain(|(of, _), to| *of != package || *to != digest);
            }
        }
        Step::Advance(seconds) => on.clock.advance(Duration::from_secs(seconds.into())),
        Step::Reopen => {}
    }
}

async fn put(on: &Fixture, promised: &mut Promised, package: bool, manifest: NewManifest) {
    let (digest, tags) = (manifest.digest, manifest.tags.clone());
    if on.put(if package { on.second } else { on.first }, manifest).await.is_ok() {
        for tag in tags {
            promised.insert((package, tag.to_string()), digest);
        }
    }
}

async fn verify(on: &Fixture, promised: &Promised) {
    on.assert_sound().await;
    for second in [false, true] {
        let package = if second { on.second } else { on.first };
        let page = Page { after: None, limit: 100 };
        let found = on.store.tags(package, page).await.unwrap();
        let found: BTreeMap<_, _> =
            found.into_iter().map(|row| ((second, row.tag.to_string()), row.digest)).collect();
        let expected: BTreeMap<_, _> = promised
            .iter()
            .filter(|((of, _), _)| *of == second)
            .map(|(key, to)| (key.clone(), *to))
            .collect();
        assert_eq!(found, expected);
        for digest in expected.into_values() {
            let manifest = on.store.manifest(package, &Reference::Digest(digest)).await.unwrap();
            assert!(manifest.is_some(), "a tagged manifest is there");
        }
    }
}

fn open(path: &std::path::Path, clock: &Clock) -> Arc<dyn MetadataStore> {
    Arc::new(RedbStore::open(path, RedbOptions::default(), clock.clone()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_done_the_rows_agree_and_answers_hold(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("meta.redb");
            let clock = Clock::manual(Timestamp(1_800_000_000_000));
            let mut on = Fixture::new(open(&path, &clock), clock.clone()).await;
            let mut promised = Promised::new();
            for step in steps {
                if matches!(step, Step::Reopen) {
                    on.store = Arc::new(
                        RedbStore::open_with(
                            ::redb::backends::InMemoryBackend::new,
                            RedbOptions::default(),
                            clock.clone(),
                        )
                        .unwrap(),
                    );
                    on.store = open(&path, &clock);
                    verify(&on, &promised).await;
                }
                apply(&on, &mut promised, step).await;
            }
            verify(&on, &promised).await;
        });
    }
}
