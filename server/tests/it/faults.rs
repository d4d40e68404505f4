//! The n-th call to the disk fails, for every n, during a push and a deletion.
//!
//! Blob files and the database share one plan, so n counts all their calls. Whatever n is: what was
//! acknowledged holds with the right bytes after reopening, nothing is half visible, the rows agree,
//! and after the sweep no object is without a row.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test where it went wrong")]

mod accounts;
mod collection;

use redb::StorageBackend;
use standpipe_server::blobs::fault::{FaultyFiles, SimulatedDisk};
use standpipe_server::blobs::fs::FsBlobStore;
use standpipe_server::blobs::fs::files::Files as _;
use standpipe_server::blobs::{BlobStore, ByteStream};
use standpipe_server::clock::Clock;
use standpipe_server::domain::{
    Algorithm, Caller, Change, Digest, Name, Principal, Reference, Timestamp, WorkspaceSettings,
};
use standpipe_server::fault::{Fault, FaultPlan, Lasting};
use standpipe_server::metadata::documents::{self, Body as _};
use standpipe_server::metadata::redb::{RedbOptions, RedbStore};
use standpipe_server::metadata::{DocumentKind, MetadataStore, NewWorkspace, RepositoryFields};
use standpipe_server::registry::blobs::{ByteRange, Purpose};
use standpipe_server::registry::manifests::ManifestUpload;
use standpipe_server::registry::uploads::Chunk;
use standpipe_server::registry::{Limits, Registry, RegistryError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where the blobs are on the simulated disk.
const ROOT: &str = "/data";

/// The database's file, kept in memory so that it outlives the handle, with faults.
#[derive(Clone, Debug)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    plan: FaultPlan,
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        self.plan.call("database len")?;
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.plan.call("database read")?;
        let (bytes, offset) = (self.bytes.lock().unwrap(), usize::try_from(offset).unwrap());
        out.copy_from_slice(&bytes[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.plan.call("database set_len")?;
        self.bytes.lock().unwrap().resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.plan.call("database sync")
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.plan.call("database write")?;
        let (mut bytes, offset) = (self.bytes.lock().unwrap(), usize::try_from(offset).unwrap());
        bytes[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// A registry on faulty storage, with its two stores for looking behind it.
struct World {
    registry: Registry,
    metadata: Arc<dyn MetadataStore>,
    blobs: Arc<dyn BlobStore>,
    clock: Clock,
}

fn open(files: &SimulatedDisk, disk: &Disk) -> World {
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let (backend, options) = (disk.clone(), RedbOptions::default());
    let metadata: Arc<dyn MetadataStore> =
        Arc::new(RedbStore::open_with(move || backend.clone(), options, clock.clone()).unwrap());
    let files = FaultyFiles::new(files.clone(), disk.plan.clone());
    let blobs: Arc<dyn BlobStore> =
        Arc::new(FsBlobStore::open(Path::new(ROOT), clock.clone(), files).unwrap());
    let (limits, space) = (Limits::default(), None);
    let registry =
        Registry::new(Arc::clone(&metadata), Arc::clone(&blobs), clock.clone(), limits, space);
    World { registry, metadata, blobs, clock }
}

fn admin() -> Caller {
    Caller::of(Principal::User("admin".parse().unwrap()))
}

fn change() -> Change {
    Change::by_server("test")
}

fn name() -> Name {
    "acme/app".parse().unwrap()
}

/// Workspace, repository, package and an administrator.
async fn prepare(world: &World) {
    let metadata = &world.metadata;
    let user = documents::User { instance_admin: true, ..documents::User::default() };
    let (kind, change) = (DocumentKind::User, change());
    metadata.put_document(&change, kind, "admin", None, user.encode()).await.unwrap();
    let new = NewWorkspace {
        slug: "acme".parse().unwrap(),
        name: String::new(),
        settings: WorkspaceSettings::default(),
    };
    let workspace = metadata.create_workspace(&change, new).await.unwrap().id;
    let fields = RepositoryFields {
        slug: "shop".parse().unwrap(),
        name: String::new(),
        project: None,
        visibility: Default::default(),
    };
    let repository = metadata.create_repository(&change, workspace, fields).await.unwrap().id;
    metadata.create_package(&change, workspace, &name().package, repository).await.unwrap();
    world.registry.check_identity().await.unwrap();
}

/// What was acknowledged, and so must hold.
struct Acknowledged {
    blobs: BTreeMap<Digest, Vec<u8>>,
    manifests: Vec<(Digest, Vec<u8>)>,
    /// Where the tag may be: an answer leaves one place, an error adds the place it may have gone to.
    tag: BTreeSet<Option<Digest>>,
}

impl Acknowledged {
    fn new() -> Self {
        Self { blobs: BTreeMap::new(), manifests: Vec::new(), tag: BTreeSet::from([None]) }
    }

    fn tag_went(&mut self, to: Option<Digest>, acknowledged: bool) {
        if acknowledged {
            self.tag.clear();
        }
        self.tag.insert(to);
    }
}

/// Uploads a blob in so many chunks; a single one comes with the request that ends the upload. Much time
/// passes before each step, as on a registry that few use.
async fn upload(world: &World, content: &[u8], chunks: usize) -> Result<Digest, RegistryError> {
    const PAUSE: Duration = Duration::from_secs(600);
    let registry = &world.registry;
    let access = registry.writable(&admin(), &name()).await?;
    world.clock.advance(PAUSE);
    let started = registry.start_upload(&access, &change(), Algorithm::Sha256, None).await?;
    let mut pieces = content.chunks(content.len().div_ceil(chunks));
    let mut last = None;
    if chunks == 1 {
        // Of this length, so the session is not settled first.
        let chunk = Chunk { at: None, length: Some(content.len() as u64) };
        last = pieces.next().map(|piece| (chunk, ByteStream::once(piece.to_vec())));
    }
    for piece in pieces {
        world.clock.advance(PAUSE);
        let body = ByteStream::once(piece.to_vec());
        registry.append_chunk(&access, started.id, Chunk::default(), body).await?;
    }
    world.clock.advance(PAUSE);
    let digest = Algorithm::Sha256.hash(content);
    registry.finish_upload(&access, &change(), started.id, &digest, last).await?;
    Ok(digest)
}

fn image(layer: &[u8], config: &[u8]) -> Vec<u8> {
    let one = |content: &[u8]| {
        let digest = Algorithm::Sha256.hash(content);
        format!(r#"{{"mediaType":"x","digest":"{digest}","size":{}}}"#, content.len())
    };
    format!(r#"{{"config":{},"layers":[{}]}}"#, one(config), one(layer)).into_bytes()
}

/// A push of two images over one tag, then the tag's deletion. Goes on after an error as a client
/// would that retries nothing.
async fn push(world: &World, done: &mut Acknowledged) {
    for (layer, chunks) in [(&b"layer one"[..], 1), (b"layer two", 3)] {
        for content in [layer, b"config"] {
            if let Ok(digest) = upload(world, content, chunks).await {
                done.blobs.insert(digest, content.to_vec());
            }
        }
        let bytes = image(layer, b"config");
        let Ok(access) = world.registry.writable(&admin(), &name()).await else { continue };
        let manifest = ManifestUpload {
            reference: "latest".parse().unwrap(),
            tags: Vec::new(),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            bytes: bytes.clone().into(),
        };
        let put = world.registry.put_manifest(&access, &change(), manifest).await;
        done.tag_went(Some(Algorithm::Sha256.hash(&bytes)), put.is_ok());
        if let Ok(stored) = put {
            done.manifests.push((stored.digest, bytes));
        }
    }
    if let Ok(access) = world.registry.deletable(&admin(), &name()).await {
        let latest: Reference = "latest".parse().unwrap();
        let deleted = world.registry.delete_manifest(&access, &change(), &latest).await;
        done.tag_went(None, deleted.is_ok());
    }
}

/// Everything acknowledged is there, whole.
async fn verify(world: &World, done: &Acknowledged, what: &str) {
    let registry = &world.registry;
    registry.check_identity().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    registry.recover_uploads().await.unwrap();
    registry.sweep().await.unwrap();
    registry.collect().await.unwrap();
    assert_eq!(world.metadata.check().await.unwrap(), Vec::<String>::new(), "{what}");
    let objects = world.blobs.objects(None, 1000).await.unwrap();
    let known = world.metadata.known_objects(&objects).await.unwrap();
    assert!(known.iter().all(|known| *known), "{what}: an object without a row");
    assert!(world.metadata.doomed(10).await.unwrap().is_empty(), "{what}: doomed and not removed");
    let access = registry.readable(&admin(), &name()).await.unwrap();
    for (digest, content) in &done.blobs {
        let facts = registry.blob(&access, digest, Purpose::Look).await;
        let facts = facts.unwrap_or_else(|error| panic!("{what}: {digest} is gone: {error}"));
        let range = ByteRange { offset: 0, length: facts.size };
        let stream = registry.read_blob(&access, digest, facts, range).await.unwrap();
        assert_eq!(&stream.collect().await.unwrap(), content, "{what}");
    }
    for (digest, bytes) in &done.manifests {
        let found = registry.manifest(&access, &Reference::Digest(*digest)).await;
        let found = found.unwrap_or_else(|error| panic!("{what}: {digest} is gone: {error}"));
        assert_eq!(found.bytes, bytes, "{what}");
    }
    let latest: Reference = "latest".parse().unwrap();
    let latest = registry.manifest_facts(&access, &latest).await.ok().map(|facts| facts.digest);
    assert!(done.tag.contains(&latest), "{what}: the tag is at {latest:?}, not in {:?}", done.tag);
}

/// Runs the push with the n-th call failing, for every n, until a run is over before n.
async fn every_call_fails_once(fault: Fault, lasting: Lasting) {
    let plan = FaultPlan::new();
    let base = SimulatedDisk::new();
    base.create_dir(Path::new(ROOT)).unwrap();
    base.sync_dir(Path::new("/")).unwrap();
    let disk = Disk { bytes: Arc::default(), plan: plan.clone() };
    prepare(&open(&base, &disk)).await;
    let image = disk.bytes.lock().unwrap().clone();
    for n in 1.. {
        let what = format!("call {n}, {fault:?}, {lasting:?}");
        // A copy: all that was done so far is durable, so nothing of it is lost.
        let files = base.after_power_loss(n);
        let bytes = Arc::new(Mutex::new(image.clone()));
        let disk = Disk { bytes, plan: plan.clone() };
        plan.disarm();
        let world = open(&files, &disk);
        let mut done = Acknowledged::new();
        plan.arm(n, fault, lasting);
        push(&world, &mut done).await;
        drop(world);
        let finished = plan.struck().is_empty();
        let struck = plan.struck().first().copied().unwrap_or_default();
        plan.disarm();
        let world = open(&files, &disk);
        verify(&world, &done, &format!("{what}, {struck}")).await;
        if finished {
            assert_eq!((done.blobs.len(), done.manifests.len()), (3, 2));
            assert_eq!(done.tag, BTreeSet::from([None]), "the last step deleted it");
            assert!(n > 100, "a push makes many calls; only {n} were seen");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_call_never_breaks_a_promise() {
    every_call_fails_once(Fault::Io, Lasting::Once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_never_breaks_a_promise() {
    every_call_fails_once(Fault::NoSpace, Lasting::Once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_dies_never_breaks_a_promise() {
    every_call_fails_once(Fault::Io, Lasting::Forever).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stays_full_never_breaks_a_promise() {
    every_call_fails_once(Fault::NoSpace, Lasting::Forever).await;
}
