//! A disk that is slow to make things durable: changes wait and in the end are sent away, everything
//! else goes on.
//!
//! Where it matters that something does *not* wait, the disk does not only take long: it does not
//! come back at all until the test says so.

use crate::harness::{Calls, Client, Gate, Hook, Settings, World};
use axum::http::{Method, StatusCode};
use standpipe_server::blobs::fs::BLOCKING_THREADS;
use standpipe_server::clock::Stopwatch;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longer than any answer takes that does not wait for the disk.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many changes wait at most; see the writer of the metadata.
const MOST_WAITING: usize = 1024;

/// Runs a test with as many threads for files as the server has.
fn as_served(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test);
}

/// A world in which some calls to the disk wait at a gate.
async fn gated(stops: impl Fn(&str) -> bool + Send + Sync + 'static) -> (World, Gate) {
    let (gate, calls): (Gate, Calls) = Gate::new();
    let hook = Hook::new(move |call, _| {
        if stops(call) {
            calls.pass();
        }
        Ok(())
    });
    let world = World::with(Settings { disk: Some(hook), ..Settings::default() }).await;
    (world, gate)
}

/// Everything that only reads is answered.
async fn reads_go_on(bob: &Client, paths: &[String]) {
    for path in paths {
        let answer = timeout(PATIENCE, bob.get(path)).await;
        let answer = answer.unwrap_or_else(|_| panic!("GET {path} waits for the disk"));
        let _ = answer.expect(200);
    }
}

#[test]
fn changes_wait_in_a_bounded_queue_and_reads_do_not_wait_at_all() {
    as_served(async {
        let (world, gate) = gated(|call| call == "database sync").await;
        let (ann, bob) = (world.client("ann").await, world.client("bob").await);
        let layer = "x".repeat(600_000);
        let image = ann.push_image("acme/shop", "latest", &layer).await;
        let paths = [
            "/v2/acme/shop/manifests/latest".to_owned(),
            format!("/v2/acme/shop/manifests/{}", image.digest()),
            format!("/v2/acme/shop/blobs/{}", crate::harness::digest(layer.as_bytes())),
            "/v2/acme/shop/tags/list".to_owned(),
            "/api/v1/workspaces/acme".to_owned(),
            "/readyz".to_owned(),
            "/healthz".to_owned(),
        ];
        gate.shut();
        let digest = crate::harness::digest(layer.as_bytes());
        let mount = || {
            let ann = ann.clone();
            let path = format!("/v2/acme/shop/blobs/uploads/?mount={digest}&from=acme/shop");
            async move { ann.post(&path).await }
        };
        let first = tokio::spawn(mount());
        gate.holds(1).await;
        let more = 100;
        let mut waiting = JoinSet::new();
        for _ in 0..MOST_WAITING + more {
            waiting.spawn(mount());
        }
        for _ in 0..more {
            let refused = timeout(PATIENCE, waiting.join_next()).await.expect("does not wait");
            let refused = refused.expect("there are more").expect("no panic");
            let refused = refused.refused(503, "UNAVAILABLE");
            assert_eq!(refused.header("retry-after"), "1");
        }
        assert_eq!(world.unfinished(), Vec::<std::path::PathBuf>::new(), "and leaves nothing");
        // To begin an upload waits for no disk, and for nobody who does.
        let begun = timeout(PATIENCE, ann.start_upload("acme/shop")).await.expect("does not wait");
        reads_go_on(&bob, &paths).await;
        assert!(waiting.try_join_next().is_none(), "the others wait for the disk");
        gate.open();
        for answer in waiting.join_all().await {
            let _ = answer.expect(201);
        }
        let _ = first.await.expect("no panic").expect(201);
        let _ = ann.send(Method::DELETE, &begun, &[], "").await.expect(204);
        assert_eq!(world.unfinished(), Vec::<std::path::PathBuf>::new(), "nothing is left over");
    });
}

#[test]
fn uploads_that_wait_for_the_disk_leave_threads_for_readers() {
    as_served(async {
        let (world, gate) = gated(|call| call == "sync_data").await;
        let (ann, bob) = (world.client("ann").await, world.client("bob").await);
        // Many chunks, each of which is read on a thread for files.
        let layer = "x".repeat(3_000_000);
        let _ = ann.push_image("acme/shop", "latest", &layer).await;
        let blob = format!("/v2/acme/shop/blobs/{}", crate::harness::digest(layer.as_bytes()));
        let mut uploads = Vec::new();
        for _ in 0..4 * BLOCKING_THREADS {
            uploads.push(ann.start_upload("acme/shop").await);
        }
        gate.shut();
        let mut waiting = JoinSet::new();
        for upload in uploads {
            let ann = ann.clone();
            waiting.spawn(async move { ann.send(Method::PATCH, &upload, &[], "0123").await });
        }
        gate.holds(BLOCKING_THREADS / 2).await;
        // All uploads that are let in are at the disk by now, or will be while this goes on.
        reads_go_on(&bob, &vec![blob; 50]).await;
        reads_go_on(&bob, &["/readyz".to_owned()]).await;
        assert!(waiting.try_join_next().is_none(), "the uploads wait for the disk");
        gate.open();
        for answer in waiting.join_all().await {
            let _ = answer.expect(202);
        }
    });
}

#[test]
fn a_slow_disk_slows_pushes_down_and_pulls_not() {
    let slow = Arc::new(AtomicBool::new(false));
    let sync = Duration::from_millis(100);
    let hook = Hook::new({
        let slow = Arc::clone(&slow);
        move |call, _| -> io::Result<()> {
            if call.contains("sync") && slow.load(Ordering::Relaxed) {
                std::thread::sleep(sync);
            }
            Ok(())
        }
    });
    as_served(async {
        let world = World::with(Settings { disk: Some(hook), ..Settings::default() }).await;
        let (ann, bob) = (world.client("ann").await, world.client("bob").await);
        let layer = "x".repeat(100_000);
        let _ = ann.push_image("acme/shop", "latest", &layer).await;
        let blob = format!("/v2/acme/shop/blobs/{}", crate::harness::digest(layer.as_bytes()));
        slow.store(true, Ordering::Relaxed);
        let mut pushes = JoinSet::new();
        for number in 0..30 {
            let ann = ann.clone();
            pushes.spawn(async move {
                let watch = Stopwatch::start();
                let content = format!("layer {number}");
                let path = format!(
                    "/v2/acme/shop/blobs/uploads/?digest={}",
                    crate::harness::digest(content.as_bytes())
                );
                let answer = ann.send(Method::POST, &path, &[], content).await;
                (answer.status, watch.elapsed())
            });
        }
        let mut pulls = Vec::new();
        let mut fastest_push = Duration::MAX;
        while !pushes.is_empty() {
            let watch = Stopwatch::start();
            let _ = bob.get(&blob).await.expect(200);
            pulls.push(watch.elapsed());
            while let Some(push) = pushes.try_join_next() {
                let (status, took) = push.expect("no panic");
                assert_eq!(status, StatusCode::CREATED);
                fastest_push = fastest_push.min(took);
            }
        }
        pulls.sort_unstable();
        let p99 = pulls[pulls.len() * 99 / 100 - usize::from(pulls.len() < 2)];
        assert!(fastest_push >= 5 * sync, "a push takes many syncs, not {fastest_push:?}");
        // Not held against one sync: on a busy machine everything takes longer, pushes too.
        assert!(p99 < fastest_push, "{} pulls, the slow ones in {p99:?}", pulls.len());
    });
}
