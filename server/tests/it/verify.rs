//! Verification and damage: each kind is found and told, nothing is deleted, a damaged blob is absent
//! to pushes and an error to pulls, and the next push of it heals it.

mod pulls;
mod rows;

use crate::harness::{Client, Hook, Random, Settings, World, digest};
use axum::body::Body;
use axum::http::Method;
use serde_json::json;
use standpipe_server::clock::{Clock, Stopwatch};
use standpipe_server::domain::{Caller, Principal, Timestamp};
use standpipe_server::registry::access::InstanceAdmin;
use standpipe_server::registry::verify::{FindingKind, Verification, VerifyOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn instance_admin(world: &World) -> InstanceAdmin {
    let principal = Principal::User("admin".parse().expect("a name"));
    let caller = Caller::of(principal);
    world.app.registry.instance_admin(&caller).await.expect("the administrator")
}

pub(crate) async fn verified(world: &World) -> Verification {
    let proof = instance_admin(world).await;
    let run = world.app.registry.verify(proof, VerifyOptions::default(), |_| {}).await;
    run.expect("verification itself works")
}

pub(crate) async fn verifies_clean(world: &World) {
    let run = verified(world).await;
    assert_eq!((run.wrong, &run.findings[..]), (0, &[][..]));
}

fn kinds(run: &Verification) -> Vec<FindingKind> {
    assert_eq!(run.wrong, run.findings.len() as u64);
    let mut kinds: Vec<_> = run.findings.iter().map(|finding| finding.kind).collect();
    kinds.sort_by_key(|kind| kind.as_str());
    kinds
}

/// The object with this content.
pub(crate) fn object_of(world: &World, content: &[u8]) -> PathBuf {
    let has = |path: &PathBuf| std::fs::read(path).expect("our own file") == content;
    world.objects().into_iter().find(has).expect("it was pushed")
}

/// Whether a path is that of an object: it is in a folder of two digits.
pub(crate) fn is_object(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|folder| folder.len() == 2)
}

/// What can happen to an object's file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Damage {
    Flip(usize),
    Truncate(usize),
    Remove,
}

pub(crate) fn damage(path: &Path, how: Damage) {
    let mut bytes = std::fs::read(path).expect("our own file");
    match how {
        Damage::Flip(at) => bytes[at] ^= 1,
        Damage::Truncate(length) => bytes.truncate(length),
        Damage::Remove => return std::fs::remove_file(path).expect("our own file"),
    }
    std::fs::write(path, bytes).expect("our own file");
}

/// Lets a collector work until there is nothing to do at this time.
pub(crate) async fn collect_all(world: &World) {
    while world.app.registry.collect().await.expect("collected").more {}
}

#[tokio::test]
async fn every_damage_to_the_files_is_found_and_told_and_nothing_is_deleted() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    for content in ["flipped", "truncated", "removed", "sound"] {
        ann.push_image("acme/shop", content, content).await;
    }
    verifies_clean(&world).await;
    let sound = object_of(&world, b"sound");
    damage(&object_of(&world, b"flipped"), Damage::Flip(3));
    damage(&object_of(&world, b"truncated"), Damage::Truncate(4));
    damage(&object_of(&world, b"removed"), Damage::Remove);
    // The key of another object, which no row names; the folder follows from its end.
    let name = sound.file_name().and_then(|name| name.to_str()).expect("a key");
    let unnamed = sound.with_file_name(format!("00{}", &name[2..]));
    std::fs::write(&unnamed, "whose is it?").expect("our own folder");
    let foreign = sound.with_file_name("notes\u{1b}[31m.txt");
    std::fs::write(&foreign, "by hand").expect("our own folder");
    let before = world.objects();

    let run = verified(&world).await;
    let expected = [
        FindingKind::Damaged,
        FindingKind::Foreign,
        FindingKind::Missing,
        FindingKind::Unnamed,
        FindingKind::WrongSize,
    ];
    assert_eq!(kinds(&run), expected, "{run:?}");
    let what = |kind: FindingKind| {
        let found = run.findings.iter().find(|finding| finding.kind == kind).expect("found");
        assert!(!found.what.contains('\u{1b}'), "a terminal would act on it: {}", found.what);
        (found.what.clone(), kind.advice())
    };
    for (kind, content) in [
        (FindingKind::Damaged, "flipped"),
        (FindingKind::WrongSize, "truncated"),
        (FindingKind::Missing, "removed"),
    ] {
        let (words, advice) = what(kind);
        assert!(words.contains(&digest(content.as_bytes())), "{kind:?}: {words}");
        assert!(advice.contains("push"), "{advice}");
    }
    assert!(what(FindingKind::Unnamed).0.contains(&format!("00{}", &name[2..])));
    assert!(what(FindingKind::Unnamed).1.contains("lost+found"));
    assert!(what(FindingKind::Foreign).0.contains("notes"));
    assert_eq!(world.objects(), before, "nothing is deleted or moved");
    assert_eq!(kinds(&verified(&world).await), expected, "and it stays so until it is healed");
}

#[tokio::test]
async fn a_damaged_blob_is_absent_to_pushes_and_the_next_push_heals_it() {
    for how in [Damage::Flip(100), Damage::Truncate(100), Damage::Remove] {
        let world = World::new().await;
        let ann = world.client("ann").await;
        let layer = "layer".repeat(1000);
        let image = ann.push_image("acme/shop", "latest", &layer).await;
        let (blob, object) = (digest(layer.as_bytes()), object_of(&world, layer.as_bytes()));
        damage(&object, how);
        assert_eq!(verified(&world).await.wrong, 1, "{how:?}");

        let path = format!("/v2/acme/shop/blobs/{blob}");
        let _ = ann.head(&path).await.expect(404);
        let refused = ann.get(&path).await.refused(500, "UNKNOWN");
        assert!(refused.message().contains("heals"), "{}", refused.text());
        let mount = format!("/v2/acme/shop-web/blobs/uploads/?mount={blob}&from=acme/shop");
        let _ = ann.post(&mount).await.expect(202);
        let _ = ann
            .put_manifest("acme/shop", "again", &image)
            .await
            .refused(404, "MANIFEST_BLOB_UNKNOWN");

        ann.push_blob("acme/shop", layer.as_bytes()).await;
        let _ = ann.head(&path).await.expect(200);
        assert_eq!(ann.get(&path).await.expect(200).body, layer.as_bytes(), "{how:?}");
        let _ = ann.post(&mount).await.expect(201);
        let _ = ann.put_manifest("acme/shop", "again", &image).await.expect(201);
        verifies_clean(&world).await;
        world.clock.advance(Duration::from_secs(2 * 3600));
        collect_all(&world).await;
        assert!(!object.exists(), "the damaged object goes after the purge delay: {how:?}");
        assert_eq!(ann.get(&path).await.expect(200).body, layer.as_bytes(), "{how:?}");
        verifies_clean(&world).await;
    }
}

#[tokio::test]
async fn a_blob_that_is_sound_again_is_served_again() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let blob = ann.push_blob("acme/shop", b"comes back from a backup").await;
    let object = object_of(&world, b"comes back from a backup");
    damage(&object, Damage::Flip(0));
    assert_eq!(verified(&world).await.wrong, 1);
    damage(&object, Damage::Flip(0));
    let path = format!("/v2/acme/shop/blobs/{blob}");
    let _ = ann.get(&path).await.expect(500);
    verifies_clean(&world).await;
    let _ = ann.get(&path).await.expect(200);
}

/// A world whose disk counts how often objects are opened.
async fn counting() -> (World, Arc<AtomicUsize>) {
    counting_calls("open").await
}

async fn counting_calls(counted: &'static str) -> (World, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let hook = Hook::new({
        let calls = Arc::clone(&calls);
        move |call, path| {
            if call == counted && is_object(path) {
                calls.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    });
    let world = World::with(Settings { disk: Some(hook), ..Settings::default() }).await;
    (world, calls)
}

/// Begins to verify and is gone after so many objects.
async fn verify_and_vanish(world: &World, after: u64) {
    let reached = tokio::sync::Notify::new();
    let progress = |run: &Verification| {
        if run.objects >= after {
            reached.notify_one();
        }
    };
    let proof = instance_admin(world).await;
    tokio::select! {
        biased;
        () = reached.notified() => {}
        run = world.app.registry.verify(proof, VerifyOptions::default(), progress) => {
            panic!("it came to its end: {run:?}");
        }
    }
}

#[tokio::test]
async fn a_verification_that_was_stopped_goes_on_where_it_was_noted_even_after_a_restart() {
    let (world, opened) = counting().await;
    let ann = world.client("ann").await;
    for number in 0..150 {
        ann.push_blob("acme/shop", format!("blob {number}").as_bytes()).await;
    }
    drop(ann);
    damage(&world.objects()[20], Damage::Flip(0));
    verify_and_vanish(&world, 120).await;
    assert!(!world.app.registry.is_verifying(), "a run that vanished is over");

    let world = world.restart(Clock::manual(Timestamp(1_800_000_100_000))).await;
    let proof = instance_admin(&world).await;
    let noted = world.app.registry.verification(proof).await.expect("readable").expect("noted");
    assert_eq!((noted.objects, noted.finished), (100, None), "a page is a hundred");
    opened.store(0, Ordering::Relaxed);
    let options = VerifyOptions { resume: true, ..VerifyOptions::default() };
    let run = world.app.registry.verify(proof, options, |_| {}).await.expect("it works");
    assert_eq!(opened.swap(0, Ordering::Relaxed), 50, "only what had not been looked at");
    assert_eq!((run.objects, run.wrong), (150, 1), "with what was found before");
    assert!(run.finished.is_some());
    // One that came to its end is not gone on with.
    let run = world.app.registry.verify(proof, options, |_| {}).await.expect("it works");
    assert_eq!((run.objects, opened.load(Ordering::Relaxed)), (150, 150));
}

#[tokio::test]
async fn a_verification_keeps_to_its_bytes_per_second_even_within_one_object() {
    let (world, reads) = counting_calls("read").await;
    let ann = world.client("ann").await;
    let content = Random::new().bytes(900_000);
    ann.push_blob("acme/shop", &content).await;
    let verify = async |bytes_per_second| {
        let options = VerifyOptions { bytes_per_second, resume: false };
        let watch = Stopwatch::start();
        let proof = instance_admin(&world).await;
        let run = world.app.registry.verify(proof, options, |_| {}).await.expect("it works");
        assert_eq!(run.bytes, 900_000);
        watch.elapsed()
    };
    reads.store(0, Ordering::Relaxed);
    verify(None).await;
    let all = reads.swap(0, Ordering::Relaxed);
    assert!(all > 3, "the object is read in pieces, not in {all}");
    let took = verify(Some(1_000_000)).await;
    assert!(took >= Duration::from_millis(890), "{took:?} is faster than was allowed");

    reads.store(0, Ordering::Relaxed);
    let cut = tokio::time::timeout(Duration::from_millis(500), verify(Some(100_000))).await;
    assert!(cut.is_err(), "it would take nine seconds");
    let read = reads.load(Ordering::Relaxed);
    assert!(read < all, "in its first half second it read all {read} pieces");
}

#[tokio::test]
async fn how_far_a_verification_is_can_be_seen_while_it_runs() {
    let world = World::new().await;
    let (ann, admin) = (world.client("ann").await, world.client("admin").await);
    for number in 0..20_u8 {
        ann.push_blob("acme/shop", &[number; 20_000]).await;
    }
    let path = "/api/v1/verification";
    let begin = async |client: &Client, body: serde_json::Value| {
        let headers = [("content-type", "application/json")];
        client.send(Method::POST, path, &headers, Body::from(body.to_string())).await
    };
    let _ = ann.get(path).await.expect(403);
    let _ = begin(&ann, json!({})).await.expect(403);
    let _ = admin.get(path).await.expect(404);
    let _ = begin(&admin, json!({"bytes_per_second": 0})).await.expect(400);
    let begun = begin(&admin, json!({"bytes_per_second": 400_000})).await.expect(202).json();
    assert_eq!((&begun["running"], &begun["objects"]), (&json!(true), &json!(0)));
    let _ = begin(&admin, json!({})).await.expect(409);
    let mut seen = Vec::new();
    let ended = async {
        loop {
            let state = admin.get(path).await.expect(200).json();
            if state["running"] == false {
                return state;
            }
            assert_eq!(state["finished_at"], json!(null), "{state}");
            seen.push(state["objects"].as_u64().expect("a number"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let state = tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
    assert!(seen.iter().any(|objects| (1..20).contains(objects)), "{seen:?}");
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!((&state["objects"], &state["wrong"]), (&json!(20), &json!(0)), "{state}");
    assert_eq!((&state["bytes"], &state["findings"]), (&json!(400_000), &json!([])), "{state}");
    // The next one is not taken for the last one, however early it is asked for.
    let _ = begin(&admin, json!({"bytes_per_second": 400_000})).await.expect(202);
    let state = admin.get(path).await.expect(200).json();
    assert_eq!((&state["running"], &state["finished_at"]), (&json!(true), &json!(null)));
}
