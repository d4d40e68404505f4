//! Single calls to the disk that fail, and files that are gone: who is told what, and what goes on.
//!
//! That nothing acknowledged is lost whichever call fails is shown in `faults`.

use crate::harness::{Client, Hook, Settings, World, digest};
use axum::body::Body;
use axum::http::{Method, Request, header};
use http_body_util::BodyExt as _;
use standpipe_server::registry::verify::FindingKind;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tower::ServiceExt as _;

const NAME: &str = "acme/shop";

/// A disk that does as it is told.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    failing: Option<Failing>,
    calls: Vec<String>,
}

/// Which calls fail.
struct Failing {
    call: String,
    /// On this file, or on files below it.
    path: PathBuf,
    /// How many pass before.
    after: usize,
    /// How many fail.
    most: usize,
}

impl Disk {
    async fn world(&self) -> World {
        let disk = self.clone();
        let hook = Hook::new(move |call, path| disk.call(call, path));
        World::with(Settings { disk: Some(hook), ..Settings::default() }).await
    }

    fn call(&self, call: &str, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().expect("never poisoned");
        state.calls.push(call.to_owned());
        match &mut state.failing {
            Some(failing) if failing.call == call && path.starts_with(&failing.path) => {
                failing.strike()
            }
            _ => Ok(()),
        }
    }

    fn fail(&self, call: &str, path: &Path, after: usize) {
        let (call, path, most) = (call.to_owned(), path.into(), usize::MAX);
        self.0.lock().expect("never poisoned").failing = Some(Failing { call, path, after, most });
    }

    fn fail_once(&self, call: &str, path: &Path) {
        let failing = Failing { call: call.to_owned(), path: path.into(), after: 0, most: 1 };
        self.0.lock().expect("never poisoned").failing = Some(failing);
    }

    fn heal(&self) {
        self.0.lock().expect("never poisoned").failing = None;
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("never poisoned").calls)
    }
}

impl Failing {
    fn strike(&mut self) -> io::Result<()> {
        if self.after > 0 {
            self.after -= 1;
        } else if self.most > 0 {
            self.most -= 1;
            return Err(rustix::io::Errno::IO.into());
        }
        Ok(())
    }
}

fn blob(content: &[u8]) -> String {
    format!("/v2/{NAME}/blobs/{}", digest(content))
}

async fn push(client: &Client, content: &[u8]) -> crate::harness::Answer {
    let path = format!("/v2/{NAME}/blobs/uploads/?digest={}", digest(content));
    client.send(Method::POST, &path, &[], content.to_vec()).await
}

#[tokio::test]
async fn an_object_that_cannot_be_removed_waits_until_it_can() {
    let disk = Disk::default();
    let world = disk.world().await;
    let ann = world.client("ann").await;
    let (registry, metadata) = (&world.app.registry, world.app.registry.metadata());
    let _ = push(&ann, b"a layer").await.expect(201);
    disk.fail("remove", &world.path().join("blobs"), 0);
    // The second object of one digest is superfluous; whoever pushed it has what was wanted.
    let _ = push(&ann, b"a layer").await.expect(201);
    assert_eq!(metadata.doomed(9).await.expect("rows").len(), 1);
    assert_eq!(world.objects().len(), 2);
    registry.collect().await.expect("collection goes on");
    assert_eq!(world.objects().len(), 2);
    assert!(registry.collection_statistics().failures > 0, "it is counted");
    disk.heal();
    // It postponed itself, so that it does not stand in the way of others.
    world.clock.advance(std::time::Duration::from_secs(3600));
    registry.collect().await.expect("collection goes on");
    assert_eq!(metadata.doomed(9).await.expect("rows"), []);
    assert_eq!(world.objects().len(), 1);
    assert_eq!(ann.get(&blob(b"a layer")).await.expect(200).body, &b"a layer"[..]);
}

#[tokio::test]
async fn a_read_that_fails_fails_for_that_blob_alone() {
    let disk = Disk::default();
    let world = disk.world().await;
    let ann = world.client("ann").await;
    let _ = push(&ann, b"a layer").await.expect(201);
    let [bad] = <[PathBuf; 1]>::try_from(world.objects()).expect("one object");
    let _ = push(&ann, b"another").await.expect(201);
    for call in ["open", "length", "read"] {
        disk.fail(call, &bad, 0);
        let failed = ann.get(&blob(b"a layer")).await.refused(500, "UNKNOWN");
        assert!(failed.json()["errors"][0]["detail"]["request_id"].is_string(), "{call}");
        let _ = ann.head(&blob(b"a layer")).await.expect(200);
        assert_eq!(ann.get(&blob(b"another")).await.expect(200).body, &b"another"[..]);
        let _ = push(&ann, call.as_bytes()).await.expect(201);
        disk.heal();
        assert_eq!(ann.get(&blob(b"a layer")).await.expect(200).body, &b"a layer"[..]);
    }
}

#[tokio::test]
async fn a_read_that_fails_in_the_middle_breaks_off_and_does_not_look_whole() {
    let disk = Disk::default();
    let world = disk.world().await;
    let ann = world.client("ann").await;
    let content = vec![7; 2_000_000];
    let _ = push(&ann, &content).await.expect(201);
    disk.fail("read", &world.objects()[0], 3);
    let request = Request::get(blob(&content))
        .header(header::AUTHORIZATION, ann.authorization.as_deref().expect("a token"))
        .body(Body::empty())
        .expect("a legal request");
    let response = world.router.clone().oneshot(request).await.expect("the router answers");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "2000000");
    let mut body = response.into_body();
    let (mut received, mut broken) = (0, false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => received += frame.into_data().map_or(0, |data| data.len()),
            Err(_) => broken = true,
        }
    }
    assert!(broken && (1..2_000_000).contains(&received), "{broken}, {received}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_listed_stops_the_sweep_and_nothing_else() {
    let disk = Disk::default();
    let world = disk.world().await;
    let ann = world.client("ann").await;
    let _ = push(&ann, b"a layer").await.expect(201);
    disk.fail("list", &world.path().join("blobs"), 3);
    assert!(world.app.registry.sweep().await.is_err(), "what cannot be looked at is not absent");
    assert_eq!(world.objects().len(), 1);
    let _ = push(&ann, b"another").await.expect(201);
    assert_eq!(ann.get(&blob(b"a layer")).await.expect(200).body, &b"a layer"[..]);
    disk.heal();
    let report = world.app.registry.sweep().await.expect("it goes on");
    assert_eq!((report.set_aside, world.objects().len()), (0, 2));
}

#[tokio::test]
async fn after_a_fault_the_database_is_opened_again_and_its_sync_is_not_repeated() {
    let disk = Disk::default();
    let world = disk.world().await;
    let ann = world.client("ann").await;
    for call in ["database sync", "database write"] {
        let _ = push(&ann, call.as_bytes()).await.expect(201);
        disk.calls();
        disk.fail_once(call, world.path());
        let failed = push(&ann, format!("that fails in {call}").as_bytes()).await;
        let _ = failed.refused(500, "UNKNOWN");
        let calls = disk.calls();
        let struck = calls.iter().position(|found| found == call).expect("it was called");
        let database: Vec<_> =
            calls[struck + 1..].iter().filter(|call| call.starts_with("database")).collect();
        assert_eq!(
            database.first().map(|call| call.as_str()),
            Some("database open"),
            "{database:?}"
        );
        // Nobody has to restart anything.
        let _ = push(&ann, format!("after {call}").as_bytes()).await.expect(201);
        assert_eq!(ann.get(&blob(call.as_bytes())).await.expect(200).body, call.as_bytes());
        let _ = ann.get("/readyz").await.expect(200);
    }
}

#[tokio::test]
async fn a_blob_whose_file_is_gone_is_an_error_and_never_an_empty_answer() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let _ = push(&ann, b"a layer").await.expect(201);
    let [file] = <[PathBuf; 1]>::try_from(world.objects()).expect("one object");
    let _ = push(&ann, b"another").await.expect(201);
    std::fs::remove_file(&file).expect("our own file can be removed");

    let _ = ann.get(&blob(b"a layer")).await.refused(500, "UNKNOWN");
    let part = ann.send(Method::GET, &blob(b"a layer"), &[("range", "bytes=0-1")], "").await;
    let _ = part.refused(500, "UNKNOWN");
    // Once a pull has met it, it is absent to pushes, and the next push heals it.
    let _ = ann.head(&blob(b"a layer")).await.expect(404);
    let _ = push(&ann, b"a layer").await.expect(201);
    assert_eq!(ann.get(&blob(b"a layer")).await.expect(200).body, &b"a layer"[..]);
    assert_eq!(ann.get(&blob(b"another")).await.expect(200).body, &b"another"[..]);
}

#[tokio::test]
async fn what_verification_cannot_look_at_is_told_and_not_taken_for_damaged() {
    let disk = Disk::default();
    let world = disk.world().await;
    let ann = world.client("ann").await;
    let _ = push(&ann, b"a layer").await.expect(201);
    let [file] = <[PathBuf; 1]>::try_from(world.objects()).expect("one object");
    for call in ["open", "stat", "length", "read"] {
        disk.fail(call, &file, 0);
        let run = crate::verify::verified(&world).await;
        disk.heal();
        for finding in &run.findings {
            assert_eq!(finding.kind, FindingKind::Unreadable, "{call}: {finding:?}");
        }
        let _ = ann.head(&blob(b"a layer")).await.expect(200);
        assert_eq!(ann.get(&blob(b"a layer")).await.expect(200).body, &b"a layer"[..]);
    }
    assert_eq!(crate::verify::verified(&world).await.wrong, 0);
}

/// Found by the histories of `machine`: the row was forgotten and the rest of the files was not.
#[tokio::test]
async fn an_upload_that_was_half_removed_is_gone_after_the_next_start() {
    let (world, upload) = with_one_file_lost(0).await;
    assert_eq!(world.unfinished(), Vec::<PathBuf>::new());
    let _ = world.client("ann").await.get(&upload).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

/// Its bytes are nothing without it; they are not taken for the first ones of what comes.
#[tokio::test]
async fn an_upload_that_lost_its_state_begins_anew() {
    let (world, upload) = with_one_file_lost(1).await;
    let writer = world.client("ann").await;
    assert_eq!(writer.get(&upload).await.expect(204).header("range"), "0-0");
    let path = format!("{upload}?digest={}", digest(b"other"));
    let _ = writer.send(Method::PUT, &path, &[], "other").await.expect(201);
    assert_eq!(writer.get(&blob(b"other")).await.expect(200).body, &b"other"[..]);
    assert_eq!(world.unfinished(), Vec::<PathBuf>::new());
}

/// A server that started when one of the two files of an upload, its bytes or its state, was gone.
async fn with_one_file_lost(lost: usize) -> (World, String) {
    let world = World::new().await;
    let writer = world.client("ann").await;
    let upload = writer.start_upload(NAME).await;
    let _ = writer.send(Method::PATCH, &upload, &[], "something").await.expect(202);
    let mut files = world.unfinished();
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    std::fs::remove_file(&files[lost]).expect("our own file");
    drop(writer);
    let clock = world.clock.clone();
    (world.restart(clock).await, upload)
}
