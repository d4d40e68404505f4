//! Panics: in a handler they are one failed request, in the thread that writes they end the server.

use crate::harness::{Hook, Settings, World, digest};
use axum::body::Body;
use axum::http::Method;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use standpipe_server::clock::Clock;
use standpipe_server::domain::{Change, Timestamp};
use standpipe_server::metadata::redb::{RedbOptions, RedbStore};
use standpipe_server::metadata::{DocumentKind, MetadataStore as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const NAME: &str = "acme/shop";

/// A body that panics when it is read on after its first piece.
fn bomb() -> Body {
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"0123"))]);
    Body::from_stream(first.chain(stream::poll_fn(|_| panic!("a bomb in the body"))))
}

#[tokio::test]
async fn a_panic_in_a_handler_is_one_failed_request() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let image = ann.push_image(NAME, "latest", "seed").await;
    let path = format!("/v2/{NAME}/manifests/other");
    for _ in 0..20 {
        let headers = [("content-type", image.media_type)];
        let failed = ann.send(Method::PUT, &path, &headers, bomb()).await;
        let failed = failed.refused(500, "UNKNOWN");
        let id = failed.header("x-request-id").to_owned();
        assert_eq!(failed.json()["errors"][0]["detail"]["request_id"], id);
        assert!(!failed.text().contains("bomb"), "{}", failed.text());
    }
    let _ = ann.put_manifest(NAME, "other", &image).await.expect(201);
    let _ = ann.get("/readyz").await.expect(200);
}

#[tokio::test]
async fn a_panic_in_the_middle_of_an_upload_leaves_it_usable() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let upload = ann.start_upload(NAME).await;
    let _ = ann.send(Method::PATCH, &upload, &[], bomb()).await.refused(500, "UNKNOWN");
    // What arrived may still be on its way to the disk; then the upload is busy for a moment.
    let offset = loop {
        let status = ann.get(&upload).await.expect(204);
        let first = ann.send(Method::PATCH, &upload, &[], "").await;
        if first.status == 202 {
            break status.header("range").to_owned();
        }
        let _ = first.refused(409, "BLOB_UPLOAD_INVALID");
        tokio::task::yield_now().await;
    };
    assert!(matches!(&*offset, "0-0" | "0-3"), "{offset}");
    let rest = ann.get(&upload).await.expect(204);
    let rest = if rest.header("range") == "0-3" { "4567" } else { "01234567" };
    let path = format!("{upload}?digest={}", digest(b"01234567"));
    let _ = ann.send(Method::PUT, &path, &[], rest).await.expect(201);
}

#[tokio::test]
async fn a_panic_at_the_disk_is_one_failed_request() {
    let armed = Arc::new(AtomicBool::new(false));
    let hook = Hook::new({
        let armed = Arc::clone(&armed);
        move |call, _| {
            assert!(call != "read" || !armed.load(Ordering::Relaxed), "a bomb on the disk");
            Ok(())
        }
    });
    let world = World::with(Settings { disk: Some(hook), ..Settings::default() }).await;
    let ann = world.client("ann").await;
    let path = format!("/v2/{NAME}/blobs/{}", ann.push_blob(NAME, b"a layer").await);
    armed.store(true, Ordering::Relaxed);
    for _ in 0..20 {
        let _ = ann.get(&path).await.refused(500, "UNKNOWN");
    }
    armed.store(false, Ordering::Relaxed);
    let _ = ann.get(&path).await.expect(200);
}

/// The directory in which the process that is to die works.
const VICTIM: &str = "STANDPIPE_TEST_VICTIM";

/// Runs this test once more in a process of its own, where the writer panics while it commits.
#[test]
fn a_panic_of_the_writer_ends_the_server_and_loses_nothing_acknowledged() {
    if let Some(directory) = std::env::var_os(VICTIM) {
        return die_while_writing(Path::new(&directory));
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let name = "panics::a_panic_of_the_writer_ends_the_server_and_loses_nothing_acknowledged";
    let mut victim = Command::new(std::env::current_exe().expect("this program has a path"));
    victim.args([name, "--exact", "--nocapture"]).env(VICTIM, directory.path());
    let ended = victim.output().expect("this program can be run");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.signal(), Some(6), "not aborted: {}\n{said}", ended.status);
    assert!(said.contains("acknowledged") && !said.contains("lived on"), "{said}");
    assert!(said.contains("the metadata writer panicked"), "no reason is logged: {said}");

    let database = directory.path().join("meta.redb");
    let clock = Clock::manual(Timestamp(1));
    let store = RedbStore::open(&database, RedbOptions::default(), clock).expect("it opens again");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let kept = store.document(DocumentKind::Setting, "first").await.expect("reads");
        assert_eq!(kept.expect("it was acknowledged").body, b"1");
        assert_eq!(store.check().await.expect("rows"), Vec::<String>::new());
    });
}

#[expect(clippy::print_stderr, reason = "it tells the test, which is another process")]
fn die_while_writing(directory: &Path) {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let armed = Arc::new(AtomicBool::new(false));
    let hook = Hook::new({
        let armed = Arc::clone(&armed);
        move |call, _| {
            assert!(call != "database sync" || !armed.load(Ordering::Relaxed), "a bomb");
            Ok(())
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let clock = Clock::manual(Timestamp(1));
        let (store, _) = crate::harness::stores(directory, &clock, Some(&hook), usize::MAX);
        let (change, kind) = (Change::by_server("test"), DocumentKind::Setting);
        store.put_document(&change, kind, "first", None, b"1".to_vec()).await.expect("written");
        eprintln!("acknowledged");
        armed.store(true, Ordering::Relaxed);
        let answer = store.put_document(&change, kind, "second", None, b"2".to_vec()).await;
        // Without its caller noticing, the writer is dead; only time tells whether all of it is.
        assert!(answer.is_err(), "answered before the commit");
        std::thread::sleep(std::time::Duration::from_secs(5));
        eprintln!("lived on");
        std::mem::forget(store);
    });
}
