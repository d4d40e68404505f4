//! Backup while everything goes on, and what is left when it is cut off.
//!
//! A backup is a data directory, so each test opens it as one, verifies it and pulls from it.

use crate::harness::{Client, Gate, Hook, Manifest, Settings, World, digest};
use crate::verify::{
    Damage, collect_all, damage, instance_admin, is_object, object_of, verified, verifies_clean,
};
use axum::body::Body;
use axum::http::Method;
use serde_json::json;
use standpipe_server::domain::{Change, WorkspaceId, WorkspaceSettings};
use standpipe_server::registry::backup::{Backup, BackupError};
use standpipe_server::registry::verify::FindingKind;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "acme/shop";

async fn back_up(world: &World, to: &Path) -> Result<Backup, BackupError> {
    world.app.registry.backup(instance_admin(world).await, to, |_| {}).await
}

/// Begins a backup and is gone after so many objects.
async fn back_up_and_vanish(world: &World, to: &Path, after: u64) {
    let reached = tokio::sync::Notify::new();
    let progress = |backup: &Backup| {
        if backup.objects >= after {
            reached.notify_one();
        }
    };
    let proof = instance_admin(world).await;
    tokio::select! {
        biased;
        () = reached.notified() => {}
        ended = world.app.registry.backup(proof, to, progress) => panic!("it ended: {ended:?}"),
    }
}

fn place() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Opens a backup as what it is.
async fn open(place: tempfile::TempDir) -> World {
    World::open(place, Settings::default()).await
}

/// An image that must be there whole.
struct Image {
    tag: String,
    layer: String,
    manifest: Manifest,
}

async fn push(client: &Client, tag: &str) -> Image {
    let layer = format!("layer of {tag} ").repeat(20);
    let manifest = client.push_image(NAME, tag, &layer).await;
    Image { tag: tag.to_owned(), layer, manifest }
}

async fn pull(client: &Client, image: &Image) {
    let path = format!("/v2/{NAME}/manifests/{}", image.tag);
    assert_eq!(client.get(&path).await.expect(200).body, image.manifest.bytes, "{}", image.tag);
    for content in [image.layer.as_bytes(), b"{}"] {
        let path = format!("/v2/{NAME}/blobs/{}", digest(content));
        assert_eq!(client.get(&path).await.expect(200).body, content, "{}", image.tag);
    }
}

/// Delays so short that a backup takes longer than all of them.
async fn shorten_delays(world: &World) -> WorkspaceId {
    let metadata = world.app.registry.metadata();
    let workspace = metadata.workspace(&"acme".parse().expect("a slug")).await.expect("readable");
    let id = workspace.expect("it is there").id;
    let (lease, keep) = (Duration::from_secs(60), Duration::from_secs(60));
    let purge = Duration::from_secs(10);
    let settings = WorkspaceSettings { lease, keep, purge, ..WorkspaceSettings::default() };
    let change = Change::by_server("test");
    let updated = metadata.update_workspace(&change, id, "acme".to_owned(), settings).await;
    updated.expect("updated").id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_all_that_was_acknowledged_before_it_and_collection_waits_for_it() {
    let (gate, calls) = Gate::new();
    let hook = Hook::new(move |call, path| {
        if call == "open" && is_object(path) {
            calls.pass();
        }
        Ok(())
    });
    let world = World::with(Settings { disk: Some(hook), ..Settings::default() }).await;
    let workspace = shorten_delays(&world).await;
    let ann = world.client("ann").await;
    let mut images = Vec::new();
    for number in 0..8 {
        images.push(push(&ann, &format!("t{number}")).await);
    }
    let objects = world.objects();
    gate.shut();
    let to = place();
    let running = tokio::spawn({
        let (registry, proof) = (world.app.registry.clone(), instance_admin(&world).await);
        let to = to.path().to_owned();
        async move { registry.backup(proof, &to, |_| {}).await }
    });
    // The rows are copied, and the first object is on its way and stays there.
    gate.holds(1).await;
    for image in &images[..5] {
        let path = format!("/v2/{NAME}/manifests/{}", image.tag);
        let _ = ann.delete(&path).await.expect(202);
    }
    ann.push_image(NAME, "t5", "overwritten meanwhile").await;
    ann.push_image(NAME, "new", "pushed meanwhile").await;
    outlast_all_delays(&world).await;
    let usage = world.app.registry.metadata().workspace_usage(workspace).await.expect("readable");
    let gone: usize = images[..6].iter().map(|image| image.layer.len()).sum();
    assert!(usage.doomed_bytes >= gone as u64, "the rows are long gone: {usage:?}");
    for object in &objects {
        assert!(object.exists(), "the backup holds {}", object.display());
    }
    gate.open();
    let backup = running.await.expect("no panic").expect("backed up");
    assert_eq!((backup.objects, backup.damaged.len()), (9, 0), "{backup:?}");
    // After it, collection goes on where it waited.
    world.clock.advance(Duration::from_secs(700));
    collect_all(&world).await;
    assert_eq!(objects.iter().filter(|object| object.exists()).count(), 3, "t6, t7 and the config");

    let restored = open(to).await;
    verifies_clean(&restored).await;
    let ann = restored.holder(ann.authorization.as_ref().expect("her token is in it too"));
    for image in &images {
        pull(&ann, image).await;
    }
    let _ = ann.get(&format!("/v2/{NAME}/manifests/new")).await.expect(404);
    // Elsewhere again, as `restore` does it.
    let elsewhere = place();
    back_up(&restored, elsewhere.path()).await.expect("restored");
    drop((ann, restored));
    let elsewhere = open(elsewhere).await;
    verifies_clean(&elsewhere).await;
    pull(&elsewhere.client("bob").await, &images[0]).await;
}

/// Lets more time go by than lease, keep, purge and a pin that nobody renews, collecting all the way.
async fn outlast_all_delays(world: &World) {
    let pinned = async || {
        let backlog = world.app.registry.backlog().await.expect("readable");
        backlog.pinned_until.expect("a backup runs")
    };
    for _ in 0..4 {
        let before = pinned().await;
        world.clock.advance(Duration::from_secs(300));
        collect_all(world).await;
        let renewed = async {
            while pinned().await <= before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, renewed).await.expect("the pin is renewed like a heartbeat");
    }
    collect_all(world).await;
}

#[tokio::test]
async fn the_second_backup_into_the_same_place_copies_what_is_new_and_removes_what_is_gone() {
    let world = World::new().await;
    let _ = shorten_delays(&world).await;
    let ann = world.client("ann").await;
    let (old, kept) = (push(&ann, "old").await, push(&ann, "kept").await);
    let to = place();
    let first = back_up(&world, to.path()).await.expect("backed up");
    assert_eq!((first.objects, first.copied, first.removed), (3, 3, 0));
    let again = back_up(&world, to.path()).await.expect("backed up");
    assert_eq!((again.objects, again.copied, again.removed), (3, 0, 0));

    let new = push(&ann, "new").await;
    let _ = ann.delete(&format!("/v2/{NAME}/manifests/old")).await.expect(202);
    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(500));
        collect_all(&world).await;
    }
    let second = back_up(&world, to.path()).await.expect("backed up");
    assert_eq!((second.objects, second.copied, second.removed), (3, 1, 1), "{second:?}");
    assert_eq!(second.copied_bytes, new.layer.len() as u64);

    let restored = open(to).await;
    verifies_clean(&restored).await;
    assert_eq!(restored.objects().len(), 3);
    let bob = restored.client("bob").await;
    pull(&bob, &kept).await;
    pull(&bob, &new).await;
    let _ = bob.get(&format!("/v2/{NAME}/manifests/{}", old.tag)).await.expect(404);
}

#[tokio::test]
async fn a_first_backup_that_was_cut_off_is_not_taken_for_one_and_the_next_finishes_it() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let mut images = Vec::new();
    for number in 0..5 {
        images.push(push(&ann, &format!("t{number}")).await);
    }
    let to = place();
    back_up_and_vanish(&world, to.path(), 3).await;
    assert!(!world.app.registry.is_backing_up(), "a backup that vanished is over");
    assert!(!to.path().join("meta.redb").exists());
    let done = back_up(&world, to.path()).await.expect("backed up");
    assert_eq!((done.objects, done.copied), (6, 3), "{done:?}");
    let restored = open(to).await;
    verifies_clean(&restored).await;
    for image in &images {
        pull(&restored.client("bob").await, image).await;
    }
}

#[tokio::test]
async fn an_earlier_backup_stays_whole_and_usable_when_a_later_one_is_cut_off() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let early = push(&ann, "early").await;
    let to = place();
    back_up(&world, to.path()).await.expect("backed up");
    // Long enough that the new objects are later than all that the earlier rows have seen.
    world.clock.advance(Duration::from_secs(24 * 3600));
    let mut late = Vec::new();
    for number in 0..5 {
        late.push(push(&ann, &format!("late{number}")).await);
    }
    back_up_and_vanish(&world, to.path(), 5).await;

    let earlier = open(to).await;
    assert_eq!(earlier.objects().len(), 5, "three of them are new");
    pull(&earlier.client("bob").await, &early).await;
    let found = verified(&earlier).await;
    let unnamed = found.findings.iter().filter(|finding| finding.kind == FindingKind::Unnamed);
    assert_eq!((found.wrong, unnamed.count()), (3, 3), "nothing but what was left over: {found:?}");
    let elsewhere = place();
    back_up(&earlier, elsewhere.path()).await.expect("restored from the earlier one");
    verifies_clean(&open(elsewhere).await).await;

    let to = earlier.close();
    let done = back_up(&world, to.path()).await.expect("backed up");
    assert_eq!((done.objects, done.removed), (7, 0), "{done:?}");
    assert!(done.copied < 5, "what was copied before counts: {done:?}");
    let restored = open(to).await;
    verifies_clean(&restored).await;
    for image in late.iter().chain([&early]) {
        pull(&restored.client("bob").await, image).await;
    }
}

#[tokio::test]
async fn places_that_are_not_for_this_backup_are_refused_and_left_as_they_are() {
    let world = World::new().await;
    push(&world.client("ann").await, "latest").await;
    let foreign = place();
    std::fs::write(foreign.path().join("thesis.txt"), "x").expect("our own folder");
    let refused = back_up(&world, foreign.path()).await.expect_err("something else is there");
    assert!(refused.to_string().contains("thesis.txt"), "{refused}");
    assert_eq!(std::fs::read_dir(foreign.path()).expect("ours").count(), 1);

    let other = World::new().await;
    let others = place();
    back_up(&other, others.path()).await.expect("backed up");
    let refused = back_up(&world, others.path()).await.expect_err("of another instance");
    assert!(matches!(refused, BackupError::OtherInstance(_)), "{refused}");
    verifies_clean(&open(others).await).await;

    let own = back_up(&world, world.path()).await.expect_err("its own directory");
    assert!(matches!(own, BackupError::NoBackup(_) | BackupError::Place(_)), "{own}");
    let beside = place();
    let below = beside.path().join("a/b");
    back_up(&world, &below).await.expect("directories are made");
}

#[tokio::test]
async fn a_directory_that_a_server_worked_in_is_no_place_for_a_backup_of_the_same_instance() {
    let world = World::new().await;
    push(&world.client("ann").await, "latest").await;
    let to = place();
    back_up(&world, to.path()).await.expect("backed up");
    // What `serve` and `restore` do.
    std::fs::remove_file(to.path().join("backup.json")).expect("a backup has a note");
    let moved = open(to).await;
    let newer = push(&moved.client("ann").await, "pushed-after-the-move").await;
    let to = moved.close();
    let refused = back_up(&world, to.path()).await.expect_err("it would take that push away");
    assert!(matches!(refused, BackupError::NoBackup(_)), "{refused}");
    let moved = open(to).await;
    pull(&moved.client("bob").await, &newer).await;
}

#[tokio::test]
async fn damaged_objects_cost_the_backup_nothing_but_themselves() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let (flipped, removed) = (push(&ann, "flipped").await, push(&ann, "removed").await);
    let sound = push(&ann, "sound").await;
    damage(&object_of(&world, flipped.layer.as_bytes()), Damage::Flip(7));
    damage(&object_of(&world, removed.layer.as_bytes()), Damage::Remove);
    let to = place();
    let backup = back_up(&world, to.path()).await.expect("the rest is backed up");
    let mut expected = vec![digest(flipped.layer.as_bytes()), digest(removed.layer.as_bytes())];
    expected.sort();
    let mut told = backup.damaged.clone();
    told.sort();
    assert_eq!((told, backup.objects), (expected.clone(), 2));
    for blob in &expected {
        let _ = ann.head(&format!("/v2/{NAME}/blobs/{blob}")).await.expect(404);
    }
    let restored = open(to).await;
    let client = restored.client("ann").await;
    pull(&client, &sound).await;
    for blob in &expected {
        let _ = client.head(&format!("/v2/{NAME}/blobs/{blob}")).await.expect(404);
        let _ = client.get(&format!("/v2/{NAME}/blobs/{blob}")).await.expect(500);
    }
    let found = verified(&restored).await;
    assert!(found.findings.iter().all(|finding| finding.kind == FindingKind::Missing), "{found:?}");
    assert_eq!(found.wrong, 2);
    for image in [&flipped, &removed] {
        client.push_blob(NAME, image.layer.as_bytes()).await;
        pull(&client, image).await;
    }
    verifies_clean(&restored).await;
}

#[tokio::test]
async fn a_sound_copy_in_an_earlier_backup_outlives_damage_here() {
    let world = World::new().await;
    let image = push(&world.client("ann").await, "latest").await;
    let to = place();
    back_up(&world, to.path()).await.expect("backed up");
    damage(&object_of(&world, image.layer.as_bytes()), Damage::Flip(0));
    assert_eq!(verified(&world).await.wrong, 1);
    let again = back_up(&world, to.path()).await.expect("backed up");
    assert_eq!((again.damaged.len(), again.copied), (0, 0), "{again:?}");
    let restored = open(to).await;
    pull(&restored.client("bob").await, &image).await;
    verifies_clean(&restored).await;
    // But not if it is damaged there as well.
    damage(&object_of(&restored, image.layer.as_bytes()), Damage::Flip(1));
    let to = restored.close();
    let again = back_up(&world, to.path()).await.expect("backed up");
    assert_eq!(again.damaged, [digest(image.layer.as_bytes())]);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_told_and_not_taken_for_damaged_here() {
    let failing = Arc::new(AtomicBool::new(false));
    let hook = Hook::new({
        let failing = Arc::clone(&failing);
        move |call, path| {
            let fails = call == "open" && is_object(path) && failing.load(Ordering::Relaxed);
            if fails { Err(io::Error::other("injected")) } else { Ok(()) }
        }
    });
    let world = World::with(Settings { disk: Some(hook), ..Settings::default() }).await;
    let ann = world.client("ann").await;
    let image = push(&ann, "latest").await;
    let to = place();
    failing.store(true, Ordering::Relaxed);
    let backup = back_up(&world, to.path()).await.expect("it comes to its end");
    assert_eq!((backup.objects, backup.damaged.len()), (0, 2), "{backup:?}");
    failing.store(false, Ordering::Relaxed);
    pull(&ann, &image).await;
    let backup = back_up(&world, to.path()).await.expect("backed up");
    assert_eq!((backup.objects, backup.damaged.len()), (2, 0), "{backup:?}");
    verifies_clean(&open(to).await).await;
}

#[tokio::test]
async fn what_was_verified_here_says_nothing_of_the_copy() {
    let world = World::new().await;
    push(&world.client("ann").await, "latest").await;
    verifies_clean(&world).await;
    let to = place();
    back_up(&world, to.path()).await.expect("backed up");
    let copy = open(to).await;
    let proof = instance_admin(&copy).await;
    assert_eq!(copy.app.registry.verification(proof).await.expect("readable"), None);
}

#[tokio::test]
async fn a_running_server_backs_up_below_the_directory_of_its_settings_only() {
    let below = place();
    let mut settings = Settings::default();
    settings.http.backup_directory = Some(below.path().to_owned());
    let world = World::with(settings).await;
    let (ann, admin) = (world.client("ann").await, world.client("admin").await);
    push(&ann, "latest").await;
    let path = "/api/v1/backup";
    let begin = async |client: &Client, name: &str| {
        let headers = [("content-type", "application/json")];
        let body = json!({ "name": name }).to_string();
        client.send(Method::POST, path, &headers, Body::from(body)).await
    };
    let _ = begin(&ann, "nightly").await.expect(403);
    let _ = ann.get(path).await.expect(403);
    let _ = admin.get(path).await.expect(404);
    for name in ["", ".", "..", "../x", "a/b", "/etc", "a b", &"x".repeat(101)] {
        let _ = begin(&admin, name).await.expect(400);
    }
    assert_eq!(std::fs::read_dir(below.path()).expect("ours").count(), 0);
    let finished = async || loop {
        let state = admin.get(path).await.expect(200).json();
        if state["running"] == false {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    for copied in [2, 0] {
        let begun = begin(&admin, "nightly").await.expect(202).json();
        assert_eq!((&begun["running"], &begun["objects"]), (&json!(true), &json!(0)), "{begun}");
        let state = tokio::time::timeout(PATIENCE, finished()).await.expect("it ends");
        assert_eq!((&state["name"], &state["failure"]), (&json!("nightly"), &json!(null)));
        assert_eq!((&state["objects"], &state["copied"]), (&json!(2), &json!(copied)), "{state}");
        assert!(state["finished_at"].is_string(), "{state}");
    }
    std::fs::create_dir(below.path().join("taken")).expect("ours");
    std::fs::write(below.path().join("taken/thesis.txt"), "x").expect("ours");
    let _ = begin(&admin, "taken").await.expect(202);
    let state = tokio::time::timeout(PATIENCE, finished()).await.expect("it ends");
    assert!(state["failure"].as_str().is_some_and(|why| why.contains("thesis.txt")), "{state}");
    assert_eq!(state["finished_at"], json!(null));

    let without = World::new().await;
    let admin = without.client("admin").await;
    let refused = begin(&admin, "nightly").await.expect(400);
    assert!(refused.text().contains("backup.directory"), "{}", refused.text());
}
