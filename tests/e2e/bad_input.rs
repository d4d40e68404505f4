//! What the server says to what it cannot take, and that nothing of it can be seen afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use standpipe_tests::disk::{BindMount, files_below, temporary_directory};
use standpipe_tests::http::Answer;
use standpipe_tests::manifest::{CONFIG, IMAGE, LAYER, Manifest, descriptor};
use standpipe_tests::payload::{Payload, digest_of};
use standpipe_tests::raw::{Raw, answered, last_byte, with_query};
use standpipe_tests::rest::Rest;
use standpipe_tests::server::Server;

use crate::lifecycle::Halting;
use crate::world::{World, location};

const NAME: &str = "acme/shop-api";

#[tokio::test]
async fn a_wrong_password_is_told_in_the_form_of_each_interface() {
    let world = World::with_packages(&["shop-api"]).await;
    let url = world.server.url();
    let registry = Raw::basic(&url, "admin", "wrong");
    registry.get("/v2/").await.refused(401, "UNAUTHORIZED");
    let rest = Rest::new(&url, "admin", "wrong");
    let answer = rest.call(Method::GET, "/workspaces", None).await;
    let _ = problem(answer, 401);
    let token = registry.get("/token?service=standpipe").await;
    let _ = token.expect(401);
}

#[tokio::test]
async fn a_push_to_a_package_that_was_not_created_says_so_and_creates_nothing() {
    let world = World::with_packages(&["shop-api"]).await;
    world.admin.settings("acme", json!({"create_on_push": "never"})).await;
    let raw = world.raw();
    let started = answered(raw.start_upload("acme/shop-web").await);
    assert!(started.text().contains("create"), "advice in {}", started.text());
    started.refused(404, "NAME_UNKNOWN");
    let manifest = Manifest::image(1, &[]);
    let put = answered(raw.put_manifest("acme/shop-web", "latest", &manifest).await);
    put.refused(404, "NAME_UNKNOWN");
    let listed = world.admin.fetch("/workspaces/acme/packages?name=shop-web").await;
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn names_outside_the_grammar_are_refused() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let long = format!("acme/{}", "a".repeat(300));
    for name in ["acme/Shop", "acme/shop_", "acme/-shop", "acme/a..b", "acme", &long] {
        let answer = answered(raw.start_upload(name).await);
        assert!(matches!(answer.status, 400 | 404), "{name}: {}", answer.status);
        let code = answer.error_code();
        assert!(code == "NAME_INVALID" || name == "acme", "{name}: {code:?} {}", answer.text());
    }
    for name in ["Shop", "a//b", "../up", "a b", "", "a\u{0}b"] {
        let body = json!({"name": name, "repository": "shop"});
        let answer = world.admin.call(Method::POST, "/workspaces/acme/packages", Some(body)).await;
        assert!(matches!(answer.status, 400 | 422), "{name:?}: {}", answer.status);
        let status = answer.status;
        let _ = problem(answer, status);
    }
}

#[tokio::test]
async fn tags_outside_the_grammar_are_refused() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let manifest = raw.push_image(NAME, "good", 1).await;
    let long = "t".repeat(129);
    for tag in [".hidden", "-dash", "a%20b", "a+b", "%C3%A9", &long] {
        let answer = answered(raw.put_manifest(NAME, tag, &manifest).await);
        assert!(matches!(answer.status, 400 | 404), "{tag}: {}", answer.status);
        assert!(!answer.error_code().is_empty(), "{tag}: {}", answer.text());
    }
    assert_eq!(tags(&raw).await, ["good"]);
}

#[tokio::test]
async fn a_manifest_over_the_limit_is_refused() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let annotations = json!({"filler": "x".repeat(4 << 20)});
    let manifest = Manifest::of(
        IMAGE,
        &json!({"schemaVersion": 2, "mediaType": IMAGE, "annotations": annotations}),
    );
    let answer = answered(raw.put_manifest(NAME, "large", &manifest).await).expect(413);
    assert!(!answer.error_code().is_empty(), "{}", answer.text());
    assert_eq!(tags(&raw).await, Vec::<String>::new());
}

#[tokio::test]
async fn malformed_manifests_are_refused() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let good = raw.push_image(NAME, "good", 1).await;
    let content: Value = serde_json::from_slice(&good.bytes).expect("our own manifest is JSON");
    let changed = |field: &str, value: Value| {
        let mut content = content.clone();
        content[field] = value;
        Manifest::of(IMAGE, &content)
    };
    let not_json =
        Manifest { media_type: IMAGE.to_owned(), bytes: b"{\"schemaVersion\": 2,".to_vec() };
    for (what, manifest) in [
        ("not JSON", not_json),
        ("a list", Manifest::of(IMAGE, &json!([1, 2]))),
        ("schema 1", changed("schemaVersion", json!(1))),
        (
            "another type inside",
            changed("mediaType", json!("application/vnd.oci.image.index.v1+json")),
        ),
        ("no config", changed("config", json!(null))),
        ("a digest that is none", changed("config", descriptor(CONFIG, "sha256:xyz", 2))),
        (
            "a negative size",
            changed("layers", json!([{"mediaType": LAYER, "digest": good.digest(), "size": -1}])),
        ),
    ] {
        let answer = answered(raw.put_manifest(NAME, "bad", &manifest).await).expect(400);
        assert_eq!(answer.error_code(), "MANIFEST_INVALID", "{what}: {}", answer.text());
    }
    assert_eq!(tags(&raw).await, ["good"]);
}

#[tokio::test]
async fn a_manifest_under_another_digest_is_refused() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let good = raw.push_image(NAME, "good", 1).await;
    let other = digest_of(b"something else");
    let answer = answered(raw.put_manifest(NAME, &other, &good).await);
    answer.refused(400, "DIGEST_INVALID");
    let _ = raw.manifest(NAME, &other).await.expect(404);
}

#[tokio::test]
async fn a_manifest_that_names_what_the_package_does_not_have_is_refused() {
    let world = World::with_packages(&["shop-api", "other"]).await;
    let raw = world.raw();
    let elsewhere = raw.push_image("acme/other", "latest", 1).await;
    for manifest in [
        // Its blobs are in the workspace, but not in this package.
        elsewhere.clone(),
        Manifest::index(&[elsewhere]),
        Manifest::image(2, &[Payload::new(3, 10)]),
    ] {
        let answer = answered(raw.put_manifest(NAME, "latest", &manifest).await);
        assert!(matches!(answer.status, 400 | 404), "{}", answer.status);
        assert_eq!(answer.error_code(), "MANIFEST_BLOB_UNKNOWN", "{}", answer.text());
    }
    assert_eq!(tags(&raw).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_manifest_with_a_wrong_size_is_refused() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let good = raw.push_image(NAME, "good", 1).await;
    let mut content: Value = serde_json::from_slice(&good.bytes).expect("our own manifest is JSON");
    content["layers"][0]["size"] = json!(1);
    let answer = answered(raw.put_manifest(NAME, "bad", &Manifest::of(IMAGE, &content)).await);
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(!answer.error_code().is_empty(), "{}", answer.text());
    assert_eq!(tags(&raw).await, ["good"]);
}

#[tokio::test]
async fn bytes_under_another_digest_are_refused_and_not_kept() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let (sent, named) = (Payload::new(1, 50_000), Payload::new(2, 50_000));
    let upload = location(&answered(raw.start_upload(NAME).await).expect(202));
    let finished = answered(raw.finish_upload(&upload, &named.digest(), sent.bytes()).await);
    finished.refused(400, "DIGEST_INVALID");
    for payload in [&sent, &named] {
        let _ = raw.head(&format!("/v2/{NAME}/blobs/{}", payload.digest())).await.expect(404);
    }
    assert!(world.server.objects().is_empty());
    for digest in ["sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", "nonsense", ""] {
        let upload = location(&answered(raw.start_upload(NAME).await).expect(202));
        let finished = answered(raw.finish_upload(&upload, digest, sent.bytes()).await);
        finished.refused(400, "DIGEST_INVALID");
    }
    assert!(world.server.objects().is_empty());
}

#[tokio::test]
async fn a_chunk_that_does_not_fit_is_refused_with_the_true_offset() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let payload = Payload::new(3, 300_000);
    let upload = location(&answered(raw.start_upload(NAME).await).expect(202));
    let sent = answered(raw.append_chunk(&upload, &payload, 0, 100_000).await).expect(202);
    let upload = location(&sent);
    for (what, start, end) in
        [("a gap", 200_000, 300_000), ("again", 0, 100_000), ("overlap", 50_000, 150_000)]
    {
        let refused = answered(raw.append_chunk(&upload, &payload, start, end).await);
        assert_eq!(refused.status, 416, "{what}: {}", refused.text());
        assert_eq!(last_byte(&refused), Some(99_999), "{what}");
    }
    for range in ["0-", "5-3", "100000-99999999999999999999", "x-y", "100000-100000"] {
        let headers = [("content-range", range)];
        let refused = answered(raw.send(Method::PATCH, &upload, &headers, vec![0; 5]).await);
        assert!(matches!(refused.status, 400 | 416), "{range}: {}", refused.status);
    }
    let rest = answered(raw.append_chunk(&upload, &payload, 100_000, 300_000).await).expect(202);
    let finished = answered(raw.finish_upload(&location(&rest), &payload.digest(), "").await);
    let _ = finished.expect(201);
}

#[tokio::test]
async fn of_two_writers_on_one_upload_one_is_refused_and_nothing_is_mixed() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let (first, halting) = Halting::body(4);
    let upload = location(&answered(raw.start_upload(NAME).await).expect(202));
    let slow = {
        let (raw, upload) = (raw.clone(), upload.clone());
        tokio::spawn(async move { raw.send(Method::PATCH, &upload, &[], first).await })
    };
    halting.begun.await.expect("the first half is sent");
    let other = Payload::new(5, 400_000);
    let target = with_query(&upload, "digest", &other.digest());
    let refused = answered(raw.send(Method::PUT, &target, &[], other.bytes()).await);
    assert!(matches!(refused.status, 409 | 416), "{} {}", refused.status, refused.text());
    halting.go_on.send(()).expect("the first writer still waits");
    let sent = answered(slow.await.expect("the first writer does not panic")).expect(202);
    assert_eq!(last_byte(&sent), Some(halting.payload.length() - 1));
    let digest = halting.payload.digest();
    let finished = answered(raw.finish_upload(&location(&sent), &digest, "").await);
    let _ = finished.expect(201);
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_an_upload_that_can_be_resumed() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let payload = Payload::new(6, 500_000);
    let upload = location(&answered(raw.start_upload(NAME).await).expect(202));
    let broken = stream::iter([
        Ok(payload.range(0, 250_000)),
        Err(std::io::Error::other("the client breaks off")),
    ]);
    let sent = raw.send(Method::PATCH, &upload, &[], Body::wrap_stream(broken)).await;
    assert!(sent.is_err(), "the request broke off");
    let head = raw.head(&format!("/v2/{NAME}/blobs/{}", payload.digest())).await;
    let _ = head.expect(404);
    let status = standpipe_tests::poll::until(
        "free upload",
        std::time::Duration::from_secs(60),
        async || {
            let status = answered(raw.upload_status(&upload).await);
            (status.status == 204).then_some(status).ok_or("busy")
        },
    )
    .await;
    let offset = last_byte(&status).map_or(0, |last| if last == 0 { 0 } else { last + 1 });
    assert!(offset <= 250_000, "{offset}");
    let rest = answered(raw.append_chunk(&location(&status), &payload, offset, 500_000).await);
    let rest = rest.expect(202);
    let finished = answered(raw.finish_upload(&location(&rest), &payload.digest(), "").await);
    let _ = finished.expect(201);
}

#[tokio::test]
async fn a_strangers_data_directory_is_refused_and_left_as_it_was() {
    let folder = temporary_directory("foreign");
    fs::write(folder.path().join("thesis.txt"), "years of work")
        .expect("our own folder is writable");
    let refused = Server::refused(folder.path(), None).await;
    refuses(&refused, "thesis.txt");
    let left: Vec<_> = fs::read_dir(folder.path()).expect("our own folder is readable").collect();
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn a_second_server_on_one_directory_is_refused_and_the_first_goes_on() {
    let world = World::with_packages(&["shop-api"]).await;
    let before = world.raw().push_image(NAME, "before", 1).await;
    let data = world.server.data();
    // Another way to the same directory, as a second container would have it.
    let other = temporary_directory("mounted");
    let mounted = BindMount::of(&data, other.path());
    let link = other.path().with_extension("link");
    symlink(&data, &link).expect("our own folder is writable");
    let mut ways = vec![data.clone(), link.clone()];
    match &mounted {
        Some(_) => ways.push(other.path().to_owned()),
        None => standpipe_tests::clients::skip("a directory must be mounted a second time by root"),
    }
    let holder = format!("process {}", world.server.pid());
    for way in ways {
        let files = contents(&data);
        let start = Instant::now();
        let refused = Server::refused(&way, None).await;
        assert!(start.elapsed() < QUICK, "{:?} for a refusal", start.elapsed());
        refuses(&refused, "in use");
        refuses(&refused, &holder);
        assert_eq!(contents(&data), files, "it changed something");
    }
    fs::remove_file(&link).expect("our own link can be removed");
    let _ = world.raw().push_image(NAME, "latest", 2).await;
    assert_eq!(world.raw().manifest(NAME, "before").await.expect(200).body, before.bytes);
}

#[tokio::test]
async fn halves_of_different_instances_and_newer_formats_are_refused() {
    let mut first = World::with_packages(&["shop-api"]).await;
    let mut second = World::with_packages(&["shop-api"]).await;
    let _ = first.raw().push_image(NAME, "latest", 1).await;
    let _ = first.server.stop().await;
    let _ = second.server.stop().await;
    let data = first.server.data();
    let (database, aside) = (data.join("meta.redb"), data.join("../meta.redb"));

    fs::rename(&database, &aside).expect("our own folder is writable");
    refuses(&Server::refused(&data, None).await, "database");

    fs::copy(second.server.data().join("meta.redb"), &database)
        .expect("our own folder is writable");
    refuses(&Server::refused(&data, None).await, "instance");
    fs::rename(&aside, &database).expect("our own folder is writable");

    let identity = data.join("blobs/instance");
    let text = fs::read_to_string(&identity).expect("the identity lies beside the blobs");
    let mut newer: Value = serde_json::from_str(&text).expect("the identity is JSON");
    newer["format"] = json!(9999);
    fs::write(&identity, newer.to_string()).expect("our own folder is writable");
    let before = blobs_and_uploads(&data);
    refuses(&Server::refused(&data, None).await, "newer");
    assert!(blobs_and_uploads(&data) == before, "a refused start wrote something");

    fs::write(&identity, text).expect("our own folder is writable");
    first.server.start_again().await;
    let _ = first.raw().manifest(NAME, "latest").await.expect(200);
}

/// Files of blobs and uploads with their bytes.
fn blobs_and_uploads(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = ["blobs", "uploads"].map(|folder| files_below(&data.join(folder)));
    let files = folders.into_iter().flatten();
    files.map(|path| (path.clone(), fs::read(path).expect("our own file"))).collect()
}

#[tokio::test]
async fn a_misspelt_setting_is_refused_by_its_name() {
    let folder = temporary_directory("config");
    let config = folder.path().join("server.yaml");
    fs::write(&config, "limits:\n  blob_byts: 5\n").expect("our own folder is writable");
    let refused = Server::refused(&folder.path().join("data"), Some(&config)).await;
    refuses(&refused, "blob_byts");
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

/// All files below a directory with their bytes and times.
fn contents(directory: &Path) -> Vec<(PathBuf, SystemTime, Vec<u8>)> {
    let read = |path: PathBuf| {
        let time = fs::metadata(&path).and_then(|found| found.modified());
        let bytes = fs::read(&path).expect("our own file can be read");
        (path, time.expect("our own file has a time"), bytes)
    };
    files_below(directory).into_iter().map(read).collect()
}

/// A refusal takes a fraction of this; the machine may be busy with other tests.
const QUICK: Duration = Duration::from_secs(20);

fn problem(answer: Answer, status: u16) -> Value {
    let answer = answer.expect(status);
    let kind = answer.header("content-type");
    assert!(kind.starts_with("application/problem+json"), "{kind}");
    let body = answer.json();
    assert_eq!(body["status"], status, "{body}");
    assert!(body["title"].is_string(), "{body}");
    body
}

#[track_caller]
fn refuses(finished: &standpipe_tests::process::Finished, word: &str) {
    assert!(finished.code.is_some_and(|code| code != 0), "{finished}");
    assert!(finished.stderr.contains(word), "no {word:?} in {finished}");
    assert!(!finished.stderr.contains("panicked"), "{finished}");
}

async fn tags(raw: &Raw) -> Vec<String> {
    let answer = raw.get(&format!("/v2/{NAME}/tags/list")).await.expect(200);
    serde_json::from_value(answer.json()["tags"].clone()).expect("a list of names")
}
