//! What it costs to delete and to collect, counted in rows: the same however much else there is.
//!
//! The store is filled without files, because only rows are counted. `STANDPIPE_SOAK=1` adds the size
//! 100,000. The times of the writer are said and not judged.

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use standpipe_server::blobs::fs::FsBlobStore;
use standpipe_server::blobs::fs::files::SystemFiles;
use standpipe_server::clock::Clock;
use standpipe_server::domain::manifest::{OCI_INDEX, OCI_MANIFEST};
use standpipe_server::domain::{
    Algorithm, Change, Digest, ManifestView, ObjectKey, PackageId, Tag, Timestamp, UploadId,
    Visibility, WorkspaceSettings,
};
use standpipe_server::metadata::redb::{RedbOptions, RedbStore};
use standpipe_server::metadata::{
    Freed, MetadataStore, NewManifest, NewUpload, NewWorkspace, RepositoryFields, Target,
    WriterStatistics,
};
use standpipe_server::registry::{Limits, Registry};
use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Operations in flight while filling: as many as share a transaction.
const AT_ONCE: usize = 256;
const CHILDREN: usize = 1000;
/// Most rows read and written in one transaction of collection.
const MOST_ROWS_OF_A_STEP: u64 = 2500;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_costs_the_same_rows_however_many_images_there_are() {
    let (mut tags, mut indexes, mut packages) = (Vec::new(), Vec::new(), Vec::new());
    for images in sizes() {
        let shelf = Shelf::filled(images).await;
        // The first, the middle and the last tag of the list.
        for image in [0, images / 2, images - 1] {
            let cost = shelf.delete_tag(&format!("v{image:06}")).await;
            say(&format!("1 tag of {images}: {cost}"));
            assert_eq!((cost.freed.manifests, cost.freed.blobs), (1, 1), "the base layer stays");
            tags.push(cost.rows);
        }
        indexes.push(index_deleted(&shelf, images).await);
        packages.push(package_deleted(&shelf, images - 3).await);
        shelf.assert_sound().await;
    }
    assert!(tags.iter().all(|rows| *rows == tags[0]), "{tags:?} rows for a tag");
    assert!(tags[0] < 200, "{} rows for a tag", tags[0]);
    // Which children share a step depends on their digests, and each step writes the receipt.
    let differ = |rows: &u64| rows.abs_diff(indexes[0]) * 1000 > indexes[0];
    assert!(!indexes.iter().any(differ), "{indexes:?} rows for an index");
    // What is paid once for a package counts most in the smallest.
    assert!(packages.iter().all(|rows| *rows <= packages[0]), "{packages:?} rows for each image");
}

/// Rows for the deletion of an index of a thousand images.
async fn index_deleted(shelf: &Shelf, images: usize) -> u64 {
    shelf.push_index().await;
    let cost = shelf.delete_tag("all").await;
    say(&format!("1 index of {CHILDREN} beside {images}: {cost}"));
    let children = CHILDREN as u64;
    assert_eq!((cost.freed.manifests, cost.freed.blobs), (children + 1, children));
    assert!(cost.largest_step < MOST_ROWS_OF_A_STEP, "{cost}");
    cost.rows
}

/// Rows for each image of the deletion of the package.
async fn package_deleted(shelf: &Shelf, images: usize) -> u64 {
    let (images, before) = (images as u64, shelf.store.writer_statistics());
    shelf.store.delete_package(&change(), shelf.package).await.expect("there is one");
    let cost = shelf.collect_all(before).await;
    say(&format!("a package of {images}: {cost}"));
    assert_eq!((cost.freed.manifests, cost.freed.blobs), (images, images), "the base stays");
    assert!(cost.largest_step < MOST_ROWS_OF_A_STEP, "{cost}");
    cost.rows / images
}

fn sizes() -> Vec<usize> {
    let mut sizes = vec![100, 1000, 10_000];
    if std::env::var_os("STANDPIPE_SOAK").is_some() {
        sizes.push(100_000);
    }
    sizes
}

/// What something cost.
struct Cost {
    /// Rows read and written by all of it.
    rows: u64,
    /// Rows read and written by the largest step of collection.
    largest_step: u64,
    steps: u64,
    freed: Freed,
    /// How long the writer worked.
    writer: Duration,
    /// Transactions.
    batches: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, largest_step, steps, writer, batches, .. } = self;
        let images = u32::try_from(self.freed.manifests.max(1)).unwrap_or(u32::MAX);
        write!(
            formatter,
            "{rows} rows, {steps} steps of at most {largest_step}, writer {writer:.1?} in {batches} transactions, {:.1?} for each image",
            *writer / images
        )
    }
}

/// A package of images that share their base layer, and another package.
struct Shelf {
    store: Arc<dyn MetadataStore>,
    registry: Registry,
    clock: Clock,
    package: PackageId,
    _directory: tempfile::TempDir,
}

fn change() -> Change {
    Change::by_server("test")
}

fn digest(text: &str) -> Digest {
    Algorithm::Sha256.hash(text.as_bytes())
}

fn config_of(image: &str) -> String {
    format!(r#"{{"config of":"{image}"}}"#)
}

const BASE: &str = "the base layer";

fn descriptor(content: &str) -> Value {
    json!({ "mediaType": "x", "digest": digest(content).to_string(), "size": content.len() })
}

fn image(name: &str) -> String {
    let layers = [descriptor(BASE)];
    json!({ "config": descriptor(&config_of(name)), "layers": layers }).to_string()
}

impl Shelf {
    async fn filled(images: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock = Clock::manual(Timestamp(1_800_000_000_000));
        let database = directory.path().join("meta.redb");
        let store = RedbStore::open(&database, RedbOptions::default(), clock.clone());
        let store: Arc<dyn MetadataStore> = Arc::new(store.expect("a database"));
        let blobs = FsBlobStore::open(directory.path(), clock.clone(), SystemFiles);
        let blobs = Arc::new(blobs.expect("blobs"));
        let (metadata, limits) = (Arc::clone(&store), Limits::default());
        let registry = Registry::new(metadata, blobs, clock.clone(), limits, None);
        let [package, other] = packages(&*store).await;
        let shelf = Self { store, registry, clock, package, _directory: directory };
        shelf.push_blob(package, BASE).await;
        // No key of the package is the last of its table, where a search would find one row less.
        shelf.push_blob(other, BASE).await;
        shelf.push_image(other, "other", &["latest"]).await;
        let names = (0..images).map(|number| format!("v{number:06}"));
        let push = async |name: String| shelf.push_image(package, &name, &[&name]).await;
        stream::iter(names).for_each_concurrent(AT_ONCE, push).await;
        let rest = shelf.collect_all(WriterStatistics::default()).await;
        assert_eq!(rest.freed, Freed::default(), "everything is tagged");
        shelf
    }

    async fn push_blob(&self, package: PackageId, content: &str) {
        let (id, target) = (UploadId::random(), Target::Existing(package));
        let upload = NewUpload { id, owner: "user:ann".to_owned(), declared: None };
        let started = self.store.start_upload(&change(), &target, upload).await;
        started.expect("an upload");
        let object = ObjectKey::mint(self.clock.now());
        let (digest, size) = (digest(content), content.len() as u64);
        let linked = self.store.finish_upload(&change(), id, &digest, object, size).await;
        linked.expect("a linked blob");
    }

    async fn put(&self, package: PackageId, media_type: &str, text: String, tags: &[&str]) {
        let manifest = NewManifest {
            digest: digest(&text),
            media_type: media_type.to_owned(),
            view: ManifestView::parse(media_type, text.as_bytes(), 4000).expect("a manifest"),
            bytes: text.into(),
            tags: tags.iter().map(|tag| tag.parse().expect("a tag")).collect(),
        };
        let target = Target::Existing(package);
        self.store.put_manifest(&change(), &target, manifest).await.expect("an admitted manifest");
    }

    async fn push_image(&self, package: PackageId, name: &str, tags: &[&str]) {
        self.push_blob(package, &config_of(name)).await;
        self.put(package, OCI_MANIFEST, image(name), tags).await;
    }

    /// Pushes an index of a thousand images that nothing else refers to.
    async fn push_index(&self) {
        let names: Vec<_> = (0..CHILDREN).map(|number| format!("child {number}")).collect();
        let push = async |name: &String| self.push_image(self.package, name, &[]).await;
        stream::iter(&names).for_each_concurrent(AT_ONCE, push).await;
        let child = |name: &String| {
            let text = image(name);
            let digest = digest(&text).to_string();
            json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": text.len() })
        };
        let children: Vec<Value> = names.iter().map(child).collect();
        let index = json!({ "manifests": children }).to_string();
        self.put(self.package, OCI_INDEX, index, &["all"]).await;
        let rest = self.collect_all(WriterStatistics::default()).await;
        assert_eq!(rest.freed, Freed::default(), "the index holds its children");
    }

    async fn delete_tag(&self, tag: &str) -> Cost {
        let tag: Tag = tag.parse().expect("a tag");
        let before = self.store.writer_statistics();
        self.store.delete_tag(&change(), self.package, &tag).await.expect("there is one");
        self.collect_all(before).await
    }

    /// Lets every clock run out and collects until nothing is due.
    async fn collect_all(&self, before: WriterStatistics) -> Cost {
        let (mut steps, mut largest_step, mut freed) = (0, 0, Freed::default());
        for _ in 0..12 {
            self.clock.advance(DAY);
            loop {
                let round = self.registry.collect().await.expect("a sound store");
                steps += u64::from(round.reviewed > 0);
                largest_step = largest_step.max(round.rows);
                round.receipts.iter().for_each(|(_, more)| freed.add(more));
                if !round.more {
                    break;
                }
            }
        }
        let after = self.store.writer_statistics();
        Cost {
            rows: after.rows - before.rows,
            largest_step,
            steps,
            freed,
            writer: Duration::from_micros(after.busy_micros - before.busy_micros),
            batches: after.batches - before.batches,
        }
    }

    async fn assert_sound(&self) {
        assert_eq!(self.store.check().await.expect("a readable store"), Vec::<String>::new());
    }
}

async fn packages(store: &dyn MetadataStore) -> [PackageId; 2] {
    let new = NewWorkspace {
        slug: "acme".parse().expect("a slug"),
        name: "Acme".to_owned(),
        settings: WorkspaceSettings::default(),
    };
    let workspace = store.create_workspace(&change(), new).await.expect("a workspace").id;
    let fields = RepositoryFields {
        slug: "shop".parse().expect("a slug"),
        name: "Shop".to_owned(),
        project: None,
        visibility: Visibility::Private,
    };
    let repository = store.create_repository(&change(), workspace, fields).await;
    let repository = repository.expect("a repository").id;
    let mut ids = [PackageId(0); 2];
    for (id, name) in ids.iter_mut().zip(["large", "other"]) {
        let name = name.parse().expect("a name");
        let made = store.create_package(&change(), workspace, &name, repository).await;
        *id = made.expect("a package").id;
    }
    ids
}

fn say(line: &str) {
    // Past the test runner's capture: the times are of interest when all is well, too.
    let _ = writeln!(std::io::stderr(), "cost: {line}");
}
