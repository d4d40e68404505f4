//! What clients rely on in `/v2/`: login, uploads in every style, mounts, ranges, lists, deletion.

use reqwest::{Body, Method};
use serde_json::Value;
use standpipe_tests::http::Answer;
use standpipe_tests::manifest::Manifest;
use standpipe_tests::payload::{Payload, digest_of};
use standpipe_tests::raw::{Raw, Style, answered, last_byte, with_query};
use standpipe_tests::server::{ADMIN, ADMIN_PASSWORD};

use crate::world::{World, location};

#[tokio::test]
async fn without_a_credential_the_challenge_names_our_own_token_endpoint() {
    let world = World::with_packages(&[]).await;
    let answer = world.anonymous().get("/v2/").await.expect(401);
    let challenge = answer.header("www-authenticate");
    let realm = format!("realm=\"{}/token\"", world.server.url());
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    assert!(challenge.contains(&realm), "{challenge}");
    assert!(challenge.contains("service=\""), "{challenge}");
    answer.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn the_challenge_does_not_follow_a_forged_host_header() {
    let world = World::with_packages(&[]).await;
    let answer = answered(
        world.anonymous().send(Method::GET, "/v2/", &[("host", "evil.example")], "").await,
    );
    let challenge = answer.expect(401).header("www-authenticate");
    assert!(!challenge.contains("evil.example"), "{challenge}");
}

#[tokio::test]
async fn basic_authentication_opens_the_registry() {
    let world = World::with_packages(&[]).await;
    let answer = world.raw().get("/v2/").await.expect(200);
    assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    let wrong = Raw::basic(&world.server.url(), ADMIN, "not the password");
    wrong.get("/v2/").await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_token_from_get_and_from_post_pushes_and_pulls() {
    let world = World::with_packages(&["shop-api"]).await;
    for (number, token) in
        [token_by_get(&world).await, token_by_post(&world).await].into_iter().enumerate()
    {
        let raw = Raw::bearer(&world.server.url(), &token);
        let _ = raw.get("/v2/").await.expect(200);
        let payload = Payload::new(number as u64, 4000);
        let _ = answered(raw.upload("acme/shop-api", &payload, Style::Put).await).expect(201);
        let pulled = raw.get(&blob_path("acme/shop-api", &payload)).await.expect(200);
        assert_eq!(pulled.body, payload.bytes());
    }
}

#[tokio::test]
async fn a_token_for_pulling_does_not_push() {
    let world = World::with_packages(&["shop-api"]).await;
    let path = "/token?service=standpipe&scope=repository:acme/shop-api:pull";
    let answer = world.raw().get(path).await.expect(200);
    let raw = Raw::bearer(&world.server.url(), &token_of(&answer, "token"));
    let refused = answered(raw.start_upload("acme/shop-api").await).expect(401);
    let challenge = refused.header("www-authenticate");
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
}

#[tokio::test]
async fn a_blob_sent_in_any_style_is_the_same_blob() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let styles = [Style::Single, Style::Put, Style::Streamed, Style::Chunked(100_000)];
    for (style, seed) in styles.into_iter().zip(1..) {
        let payload = Payload::new(seed, 350_001);
        let created = answered(raw.upload("acme/shop-api", &payload, style).await).expect(201);
        assert_eq!(created.header("docker-content-digest"), payload.digest());
        assert!(created.header("location").contains(&payload.digest()));
        let head = raw.head(&blob_path("acme/shop-api", &payload)).await.expect(200);
        assert_eq!(head.header("content-length"), "350001");
        assert_eq!(head.header("docker-content-digest"), payload.digest());
        let pulled = raw.get(&blob_path("acme/shop-api", &payload)).await.expect(200);
        assert_eq!(pulled.body, payload.bytes(), "{style:?}");
    }
    assert_eq!(world.server.objects().len(), styles.len());
    assert!(world.server.unfinished().is_empty());
}

#[tokio::test]
async fn the_empty_blob_is_a_blob() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let empty = Payload::new(0, 0);
    let _ = answered(raw.upload("acme/shop-api", &empty, Style::Put).await).expect(201);
    let pulled = raw.get(&blob_path("acme/shop-api", &empty)).await.expect(200);
    assert_eq!(pulled.header("content-length"), "0");
}

#[tokio::test]
async fn a_blob_mounts_from_a_package_of_the_same_workspace() {
    let world = World::with_packages(&["shop-api", "shop-web"]).await;
    let raw = world.raw();
    let payload = Payload::new(7, 20_000);
    let _ = answered(raw.upload("acme/shop-api", &payload, Style::Put).await).expect(201);
    let _ = raw.head(&blob_path("acme/shop-web", &payload)).await.expect(404);

    let mounted = mount(&raw, "acme/shop-web", &payload, "acme/shop-api").await.expect(201);
    assert_eq!(mounted.header("docker-content-digest"), payload.digest());
    let pulled = raw.get(&blob_path("acme/shop-web", &payload)).await.expect(200);
    assert_eq!(pulled.body, payload.bytes());
    assert_eq!(world.server.objects().len(), 1);
}

#[tokio::test]
async fn a_mount_across_workspaces_starts_an_upload_instead() {
    let world = World::with_packages(&["shop-api"]).await;
    world.admin.workspace("other").await;
    world.admin.package("other", "tool", "shop").await;
    let raw = world.raw();
    let payload = Payload::new(8, 20_000);
    let _ = answered(raw.upload("acme/shop-api", &payload, Style::Put).await).expect(201);
    let started = mount(&raw, "other/tool", &payload, "acme/shop-api").await.expect(202);
    assert!(!location(&started).is_empty());
    let _ = raw.head(&blob_path("other/tool", &payload)).await.expect(404);
}

#[tokio::test]
async fn a_pull_may_ask_for_a_range() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let payload = Payload::new(9, 3_000_000);
    let _ = answered(raw.upload("acme/shop-api", &payload, Style::Put).await).expect(201);
    for (asked, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-1999999", 1_000_000, 2_000_000),
        ("bytes=2999990-", 2_999_990, 3_000_000),
        ("bytes=-10", 2_999_990, 3_000_000),
        ("bytes=2999990-9999999", 2_999_990, 3_000_000),
    ] {
        let answer = range(&raw, &payload, asked).await.expect(206);
        let expected = format!("bytes {start}-{}/3000000", end - 1);
        assert_eq!(answer.header("content-range"), expected, "{asked}");
        assert_eq!(answer.body, payload.range(start, end), "{asked}");
    }
    let beyond = range(&raw, &payload, "bytes=3000000-").await.expect(416);
    assert_eq!(beyond.header("content-range"), "bytes */3000000");
}

#[tokio::test]
async fn the_tag_list_is_sorted_and_paged() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let empty = raw.get("/v2/acme/shop-api/tags/list").await.expect(200);
    assert_eq!(empty.json()["name"], "acme/shop-api");
    assert_eq!(tags(&empty), Vec::<String>::new());
    let manifest = raw.push_image("acme/shop-api", "v3", 1).await;
    for tag in ["v1", "latest", "v2"] {
        let _ = answered(raw.put_manifest("acme/shop-api", tag, &manifest).await).expect(201);
    }
    let all = raw.get("/v2/acme/shop-api/tags/list").await.expect(200);
    assert_eq!(tags(&all), ["latest", "v1", "v2", "v3"]);
    let first = raw.get("/v2/acme/shop-api/tags/list?n=2").await.expect(200);
    assert_eq!(tags(&first), ["latest", "v1"]);
    let link = first.header("link");
    assert!(link.ends_with("rel=\"next\""), "{link}");
    let target = link.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
    let second = raw.get(&target).await.expect(200);
    assert_eq!(tags(&second), ["v2", "v3"]);
    assert_eq!(second.header("link"), "");
    let after = raw.get("/v2/acme/shop-api/tags/list?last=v1&n=1").await.expect(200);
    assert_eq!(tags(&after), ["v2"]);
}

#[tokio::test]
async fn a_deleted_tag_is_gone_and_its_manifest_stays() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let manifest = raw.push_image("acme/shop-api", "latest", 2).await;
    let _ = raw.delete("/v2/acme/shop-api/manifests/latest").await.expect(202);
    raw.manifest("acme/shop-api", "latest").await.refused(404, "MANIFEST_UNKNOWN");
    let kept = raw.manifest("acme/shop-api", &manifest.digest()).await.expect(200);
    assert_eq!(kept.body, manifest.bytes);
    let again = raw.delete("/v2/acme/shop-api/manifests/latest").await;
    again.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_deleted_manifest_takes_its_tags_along_and_comes_back_by_a_push() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let manifest = raw.push_image("acme/shop-api", "latest", 3).await;
    let path = format!("/v2/acme/shop-api/manifests/{}", manifest.digest());
    let _ = raw.delete(&path).await.expect(202);
    for reference in ["latest", manifest.digest().as_str()] {
        raw.manifest("acme/shop-api", reference).await.refused(404, "MANIFEST_UNKNOWN");
    }
    let _ = raw.push_image("acme/shop-api", "latest", 3).await;
    let back = raw.manifest("acme/shop-api", "latest").await.expect(200);
    assert_eq!(back.body, manifest.bytes);
}

#[tokio::test]
async fn a_deleted_blob_is_gone_here_and_stays_in_other_packages() {
    let world = World::with_packages(&["shop-api", "shop-web"]).await;
    let raw = world.raw();
    let payload = Payload::new(4, 9000);
    for name in ["acme/shop-api", "acme/shop-web"] {
        let _ = answered(raw.upload(name, &payload, Style::Put).await).expect(201);
    }
    let _ = raw.delete(&blob_path("acme/shop-api", &payload)).await.expect(202);
    raw.get(&blob_path("acme/shop-api", &payload)).await.refused(404, "BLOB_UNKNOWN");
    let _ = raw.head(&blob_path("acme/shop-web", &payload)).await.expect(200);
}

#[tokio::test]
async fn an_overwritten_tag_names_the_new_image_and_the_old_one_stays_pullable_by_digest() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let old = raw.push_image("acme/shop-api", "latest", 5).await;
    let new = raw.push_image("acme/shop-api", "latest", 6).await;
    let latest = raw.manifest("acme/shop-api", "latest").await.expect(200);
    assert_eq!(latest.header("docker-content-digest"), new.digest());
    assert_eq!(latest.header("content-type"), new.media_type);
    let _ = raw.manifest("acme/shop-api", &old.digest()).await.expect(200);
}

#[tokio::test]
async fn an_index_is_kept_with_its_children() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let children = [
        raw.push_image("acme/shop-api", "amd64", 10).await,
        raw.push_image("acme/shop-api", "arm64", 11).await,
    ];
    let index = Manifest::index(&children);
    let _ = answered(raw.put_manifest("acme/shop-api", "multi", &index).await).expect(201);
    let pulled = raw.manifest("acme/shop-api", "multi").await.expect(200);
    assert_eq!(pulled.body, index.bytes);
    assert_eq!(pulled.header("content-type"), index.media_type);
    assert_eq!(digest_of(&pulled.body), pulled.header("docker-content-digest"));
}

#[tokio::test]
async fn an_upload_goes_on_after_a_clean_restart() {
    let mut world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let payload = Payload::new(12, 1_500_000);
    let started = answered(raw.start_upload("acme/shop-api").await).expect(202);
    let upload = location(&started);
    let sent = answered(raw.append_chunk(&upload, &payload, 0, 900_000).await).expect(202);
    assert_eq!(last_byte(&sent), Some(899_999));

    assert!(world.server.stop().await.success(), "SIGTERM ends the server cleanly");
    world.server.start_again().await;

    let status = answered(raw.upload_status(&location(&sent)).await).expect(204);
    assert_eq!(last_byte(&status), Some(899_999), "a clean stop loses nothing");
    let rest =
        answered(raw.append_chunk(&location(&status), &payload, 900_000, payload.length()).await)
            .expect(202);
    let _ = answered(raw.finish_upload(&location(&rest), &payload.digest(), "").await).expect(201);
    let pulled = raw.get(&blob_path("acme/shop-api", &payload)).await.expect(200);
    assert_eq!(pulled.body, payload.bytes());
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let payload = Payload::new(13, 100_000);
    let started = answered(raw.start_upload("acme/shop-api").await).expect(202);
    let sent = answered(raw.append_stream(&location(&started), &payload, 0).await).expect(202);
    let _ = raw.delete(&location(&sent)).await.expect(204);
    let status = answered(raw.upload_status(&location(&sent)).await);
    status.refused(404, "BLOB_UPLOAD_UNKNOWN");
    assert!(world.server.unfinished().is_empty());
}

async fn token_by_get(world: &World) -> String {
    let scope = "repository:acme/shop-api:pull,push";
    let path = with_query("/token?service=standpipe", "scope", scope);
    let answer = world.raw().get(&path).await.expect(200);
    token_of(&answer, "token")
}

async fn token_by_post(world: &World) -> String {
    let form = format!(
        "grant_type=password&service=standpipe&client_id=tests&username={ADMIN}&password={ADMIN_PASSWORD}\
         &scope=repository%3Aacme%2Fshop-api%3Apull%2Cpush"
    );
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let anonymous = world.anonymous();
    let answer = answered(anonymous.send(Method::POST, "/token", &headers, form).await).expect(200);
    token_of(&answer, "access_token")
}

fn token_of(answer: &Answer, field: &str) -> String {
    let body = answer.json();
    assert!(body["expires_in"].as_u64().is_some_and(|seconds| seconds >= 60), "{body}");
    body[field].as_str().expect("the token protocol names this field").to_owned()
}

async fn mount(raw: &Raw, target: &str, payload: &Payload, source: &str) -> Answer {
    let digest = payload.digest();
    let path = format!("/v2/{target}/blobs/uploads/?mount={digest}&from={source}");
    answered(raw.send(Method::POST, &path, &[], Body::default()).await)
}

async fn range(raw: &Raw, payload: &Payload, asked: &str) -> Answer {
    let path = blob_path("acme/shop-api", payload);
    answered(raw.send(Method::GET, &path, &[("range", asked)], "").await)
}

fn tags(answer: &Answer) -> Vec<String> {
    let tags: Value = answer.json()["tags"].clone();
    serde_json::from_value(tags).expect("a tag list holds a list of names")
}

fn blob_path(name: &str, payload: &Payload) -> String {
    format!("/v2/{name}/blobs/{}", payload.digest())
}
