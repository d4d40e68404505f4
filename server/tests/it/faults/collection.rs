//! The n-th call to the disk fails, for every n, during collection.

use super::*;
use standpipe_server::domain::manifest::OCI_MANIFEST;

/// A story that leaves something of every kind to collect: an overwritten tag, a deleted one, a
/// manifest and a blob deleted by digest, a blob nobody ever referred to, an abandoned upload and a
/// deleted package. What must stay is returned.
async fn leave_garbage(world: &World) -> Acknowledged {
    let registry = &world.registry;
    let mut done = Acknowledged::new();
    let access = registry.writable(&admin(), &name()).await.unwrap();
    for (round, tag) in [(0, "latest"), (1, "latest"), (2, "old"), (3, "gone")] {
        let shared = upload(world, b"shared", 1).await.unwrap();
        let own = format!("layer {round}");
        let layer = upload(world, own.as_bytes(), 1).await.unwrap();
        let manifest = image(own.as_bytes(), b"shared");
        let stored = put(world, &manifest, tag).await.unwrap();
        if round == 1 {
            done.blobs.insert(shared, b"shared".to_vec());
            done.blobs.insert(layer, own.into_bytes());
            done.manifests.push((stored, manifest));
            done.tag = BTreeSet::from([Some(stored)]);
        }
        let deletable = registry.deletable(&admin(), &name()).await.unwrap();
        if round == 2 {
            let old = "old".parse().unwrap();
            registry.delete_manifest(&deletable, &change(), &old).await.unwrap();
        }
        if round == 3 {
            let gone = Reference::Digest(stored);
            registry.delete_manifest(&deletable, &change(), &gone).await.unwrap();
        }
    }
    upload(world, b"nobody ever wants this", 1).await.unwrap();
    let doomed = upload(world, b"deleted at once", 1).await.unwrap();
    let deletable = registry.deletable(&admin(), &name()).await.unwrap();
    registry.delete_blob(&deletable, &change(), &doomed).await.unwrap();
    registry.start_upload(&access, &change(), Algorithm::Sha256, None).await.unwrap();
    done
}

async fn put(world: &World, bytes: &[u8], tag: &str) -> Result<Digest, RegistryError> {
    let access = world.registry.writable(&admin(), &name()).await?;
    let upload = ManifestUpload {
        reference: tag.parse().unwrap(),
        tags: Vec::new(),
        media_type: OCI_MANIFEST.to_owned(),
        bytes: bytes.to_vec().into(),
    };
    Ok(world.registry.put_manifest(&access, &change(), upload).await?.digest)
}

/// Lets every clock run out and collects until nothing is due. Errors are what is tested.
async fn collect_all(world: &World) -> bool {
    let mut failed = false;
    for _ in 0..14 {
        world.clock.advance(std::time::Duration::from_secs(24 * 3600));
        loop {
            match world.registry.collect().await {
                Ok(round) if round.more => {}
                Ok(_) => break,
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
    }
    failed
}

/// What the sweep has set aside.
fn set_aside(files: &SimulatedDisk) -> BTreeSet<std::ffi::OsString> {
    files.list(&Path::new(ROOT).join("blobs/lost+found")).unwrap().into_iter().collect()
}

/// Collects with the n-th call failing, for every n, until a run is over before n. Whatever fails,
/// what must stay stays, and a later run ends where an undisturbed one would have.
async fn every_call_of_collection_fails_once(fault: Fault, lasting: Lasting) {
    let plan = FaultPlan::new();
    let base = SimulatedDisk::new();
    base.create_dir(Path::new(ROOT)).unwrap();
    base.sync_dir(Path::new("/")).unwrap();
    let disk = Disk { bytes: Arc::default(), plan: plan.clone() };
    let world = open(&base, &disk);
    prepare(&world).await;
    let done = leave_garbage(&world).await;
    drop(world);
    let image = disk.bytes.lock().unwrap().clone();
    for n in 1.. {
        let what = format!("collection, call {n}, {fault:?}, {lasting:?}");
        let files = base.after_power_loss(n);
        let disk = Disk { bytes: Arc::new(Mutex::new(image.clone())), plan: plan.clone() };
        plan.disarm();
        let world = open(&files, &disk);
        // A name that comes back after the power loss behind the copy is set aside before.
        world.registry.sweep().await.unwrap();
        let before = set_aside(&files);
        plan.arm(n, fault, lasting);
        collect_all(&world).await;
        drop(world);
        let finished = plan.struck().is_empty();
        let what = format!("{what}, {:?}", plan.struck().first());
        plan.disarm();
        let world = open(&files, &disk);
        verify(&world, &done, &what).await;
        let lost: Vec<_> = set_aside(&files).difference(&before).cloned().collect();
        assert!(lost.is_empty(), "{what}: an object lost its row before it was removed: {lost:?}");
        assert!(!collect_all(&world).await, "{what}: collection fails on a sound disk");
        verify(&world, &done, &what).await;
        let left = world.blobs.objects(None, 1000).await.unwrap().len();
        assert_eq!(left, done.blobs.len(), "{what}: objects are left");
        assert!(world.blobs.uploads().await.unwrap().is_empty(), "{what}: an upload is left");
        if finished {
            assert!(n > 50, "collection makes many calls; only {n} were seen");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_call_never_breaks_collection() {
    every_call_of_collection_fails_once(Fault::Io, Lasting::Once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_never_breaks_collection() {
    every_call_of_collection_fails_once(Fault::NoSpace, Lasting::Once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_dies_never_breaks_collection() {
    every_call_of_collection_fails_once(Fault::Io, Lasting::Forever).await;
}
