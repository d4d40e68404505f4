//! Pushing blobs in every style.

use crate::harness::{Answer, Client, Halting, Settings, World, digest, digest512, halting};
use axum::body::Body;
use axum::http::Method;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use standpipe_server::http::pace::Pace;
use standpipe_server::registry::Limits;
use std::time::Duration;

const NAME: &str = "acme/shop";

async fn ann() -> (World, Client) {
    let world = World::new().await;
    let ann = world.client("ann").await;
    (world, ann)
}

async fn patch(client: &Client, upload: &str, range: &str, body: impl Into<Body>) -> Answer {
    let headers: &[(&str, &str)] = &[("content-range", range)];
    client.send(Method::PATCH, upload, if range.is_empty() { &[] } else { headers }, body).await
}

async fn close(client: &Client, upload: &str, content: &[u8], body: impl Into<Body>) -> Answer {
    let path = format!("{upload}?digest={}", digest(content));
    client.send(Method::PUT, &path, &[], body).await
}

async fn stored(client: &Client, content: &[u8]) {
    let answer = client.get(&format!("/v2/{NAME}/blobs/{}", digest(content))).await.expect(200);
    assert!(answer.body == content);
}

#[tokio::test]
async fn an_upload_begins_with_a_location_of_ours() {
    let (_world, ann) = ann().await;
    for path in [format!("/v2/{NAME}/blobs/uploads/"), format!("/v2/{NAME}/blobs/uploads")] {
        let headers = [("host", "evil.example"), ("x-forwarded-proto", "gopher")];
        let begun = ann.send(Method::POST, &path, &headers, "").await.expect(202);
        let id = begun.header("docker-upload-uuid");
        assert_eq!(begun.header("location"), format!("/v2/{NAME}/blobs/uploads/{id}"));
        assert_eq!(begun.header("range"), "0-0");
        assert_eq!(begun.body.len(), 0);
    }
}

#[tokio::test]
async fn dockers_way_a_stream_and_an_empty_close() {
    let (_world, ann) = ann().await;
    let upload = ann.start_upload(NAME).await;
    let pieces = [Bytes::from_static(b"hello "), Bytes::from_static(b"world")];
    let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>)));
    let sent = patch(&ann, &upload, "", body).await.expect(202);
    assert_eq!(sent.header("range"), "0-10");
    assert_eq!(sent.header("location"), upload);
    assert!(upload.ends_with(sent.header("docker-upload-uuid")));
    let closed = close(&ann, &upload, b"hello world", "").await.expect(201);
    let sum = digest(b"hello world");
    assert_eq!(closed.header("location"), format!("/v2/{NAME}/blobs/{sum}"));
    assert_eq!(closed.header("docker-content-digest"), sum);
    stored(&ann, b"hello world").await;
    let _ = ann.get(&upload).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_whole_blob_goes_in_the_closing_request_or_in_the_first() {
    let (_world, ann) = ann().await;
    let upload = ann.start_upload(NAME).await;
    let _ = close(&ann, &upload, b"at the end", "at the end").await.expect(201);
    stored(&ann, b"at the end").await;
    let sum = ann.push_blob(NAME, b"at once").await;
    stored(&ann, b"at once").await;
    // The same again changes nothing; a percent-encoded digest is the same digest.
    let path = format!("/v2/{NAME}/blobs/uploads/?digest={}", sum.replace(':', "%3A"));
    let again = ann.send(Method::POST, &path, &[], "at once").await.expect(201);
    assert_eq!(again.header("location"), format!("/v2/{NAME}/blobs/{sum}"));
}

#[tokio::test]
async fn chunks_follow_each_other_exactly() {
    let (_world, ann) = ann().await;
    let upload = ann.start_upload(NAME).await;
    assert_eq!(patch(&ann, &upload, "0-3", "0123").await.expect(202).header("range"), "0-3");
    for (what, range, body) in
        [("again", "0-3", "0123"), ("gap", "6-7", "67"), ("overlap", "2-5", "2345")]
    {
        let refused = patch(&ann, &upload, range, body).await.refused(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(refused.header("range"), "0-3", "{what}");
        assert_eq!(refused.header("location"), upload, "{what}");
        assert!(upload.ends_with(refused.header("docker-upload-uuid")), "{what}");
    }
    let status = ann.get(&upload).await.expect(204);
    assert_eq!(status.header("range"), "0-3");
    assert_eq!(status.header("location"), upload);
    // The form of RFC 9110, which some clients send.
    let _ = patch(&ann, &upload, "bytes 4-7/*", "4567").await.expect(202);
    let path = format!("{upload}?digest={}", digest(b"0123456789"));
    let wrong = ann.send(Method::PUT, &path, &[("content-range", "9-9")], "9").await;
    assert_eq!(wrong.refused(416, "BLOB_UPLOAD_INVALID").header("range"), "0-7");
    let _ = ann.send(Method::PUT, &path, &[("content-range", "8-9")], "89").await.expect(201);
    stored(&ann, b"0123456789").await;
}

#[tokio::test]
async fn headers_that_contradict_the_chunk_are_refused() {
    let (_world, ann) = ann().await;
    let upload = ann.start_upload(NAME).await;
    for range in ["0-", "5-3", "0-99999999999999999999", "bytes=0-3", "x-y", "-", "é"] {
        let _ = patch(&ann, &upload, range, "0123").await.refused(400, "BLOB_UPLOAD_INVALID");
    }
    let headers = [("content-range", "0-9"), ("content-length", "4")];
    let announced = ann.send(Method::PATCH, &upload, &headers, "0123").await;
    let _ = announced.refused(400, "SIZE_INVALID");
    assert_eq!(ann.get(&upload).await.expect(204).header("range"), "0-0");
    // Without an announced length the contradiction shows when the body ends.
    let body = Body::from_stream(stream::iter([Ok::<_, std::io::Error>("0123")]));
    let _ = patch(&ann, &upload, "0-9", body).await.refused(400, "SIZE_INVALID");
}

#[tokio::test]
async fn a_wrong_digest_ends_the_upload_and_leaves_nothing() {
    let (_world, ann) = ann().await;
    let upload = ann.start_upload(NAME).await;
    let wrong = close(&ann, &upload, b"announced", "sent").await.refused(400, "DIGEST_INVALID");
    assert!(wrong.message().contains(&digest(b"sent")), "{}", wrong.message());
    let _ = ann.get(&upload).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    let at_once = format!("/v2/{NAME}/blobs/uploads/?digest={}", digest(b"announced"));
    let _ = ann.send(Method::POST, &at_once, &[], "sent").await.refused(400, "DIGEST_INVALID");
    for content in ["announced", "sent"] {
        let path = format!("/v2/{NAME}/blobs/{}", digest(content.as_bytes()));
        let _ = ann.get(&path).await.refused(404, "BLOB_UNKNOWN");
    }
}

#[tokio::test]
async fn a_close_without_one_legal_digest_is_refused_and_the_upload_goes_on() {
    let (_world, ann) = ann().await;
    let upload = ann.start_upload(NAME).await;
    let _ = patch(&ann, &upload, "", "0123").await.expect(202);
    let sum = digest(b"0123");
    for query in [
        String::new(),
        "?digest=".to_owned(),
        "?digest=sha256:abc".to_owned(),
        format!("?digest={}", sum.to_uppercase()),
        "?digest=sha1:0123456789012345678901234567890123456789".to_owned(),
        format!("?digest={sum}&digest={sum}"),
    ] {
        let answer = ann.send(Method::PUT, &format!("{upload}{query}"), &[], "").await;
        let _ = answer.refused(400, "DIGEST_INVALID");
    }
    let _ = close(&ann, &upload, b"0123", "").await.expect(201);
}

#[tokio::test]
async fn another_algorithm_is_used_when_it_is_asked_for() {
    let (_world, ann) = ann().await;
    let path = format!("/v2/{NAME}/blobs/uploads/?digest-algorithm=sha512");
    let upload = ann.post(&path).await.expect(202).header("location").to_owned();
    let _ = patch(&ann, &upload, "", "0123").await.expect(202);
    let path = format!("{upload}?digest={}", digest512(b"0123"));
    let _ = ann.send(Method::PUT, &path, &[], "").await.expect(201);
    let unknown = format!("/v2/{NAME}/blobs/uploads/?digest-algorithm=md5");
    let _ = ann.post(&unknown).await.refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let (_world, ann) = ann().await;
    let upload = ann.start_upload(NAME).await;
    let _ = patch(&ann, &upload, "", "0123").await.expect(202);
    assert_eq!(ann.delete(&upload).await.expect(204).body.len(), 0);
    let _ = ann.get(&upload).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    let _ = ann.delete(&upload).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    let _ = patch(&ann, &upload, "", "4567").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn what_came_before_a_break_is_kept_and_the_upload_goes_on() {
    let (_world, ann) = ann().await;
    let upload = ann.start_upload(NAME).await;
    let pieces = [Ok(Bytes::from_static(b"0123")), Err(std::io::Error::other("gone"))];
    let broken = patch(&ann, &upload, "", Body::from_stream(stream::iter(pieces))).await;
    let _ = broken.refused(400, "BLOB_UPLOAD_INVALID");
    assert_eq!(ann.get(&upload).await.expect(204).header("range"), "0-3");
    let _ = patch(&ann, &upload, "4-9", "456789").await.expect(202);
    let _ = close(&ann, &upload, b"0123456789", "").await.expect(201);
    stored(&ann, b"0123456789").await;
}

#[tokio::test]
async fn a_body_that_stalls_is_cut_and_kept_up_to_there() {
    let pace = Pace { patience: Duration::from_millis(100), ..Pace::default() };
    let world = World::with(Settings { pace, ..Settings::default() }).await;
    let ann = world.client("ann").await;
    let upload = ann.start_upload(NAME).await;
    let start = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"0123"))]);
    let body = Body::from_stream(start.chain(stream::pending()));
    let _ = patch(&ann, &upload, "", body).await.refused(408, "BLOB_UPLOAD_INVALID");
    assert_eq!(ann.get(&upload).await.expect(204).header("range"), "0-3");
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_cut_the_change_it_asked_for() {
    let (_world, ann) = ann().await;
    let upload = ann.start_upload(NAME).await;
    let Halting { body, reached, rest } = halting("0123");
    let request = tokio::spawn({
        let (ann, upload) = (ann.clone(), upload.clone());
        async move { close(&ann, &upload, b"01234567", body).await }
    });
    reached.await.expect("the body is read");
    request.abort();
    assert!(request.await.is_err(), "the handler was dropped in the middle");
    rest.send("4567").expect("the verb still reads");
    let path = format!("/v2/{NAME}/blobs/{}", digest(b"01234567"));
    let finished = async {
        while ann.head(&path).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), finished).await.expect("in time");
}

#[tokio::test]
async fn a_second_writer_is_told_that_the_first_is_at_work() {
    let (_world, ann) = ann().await;
    let upload = ann.start_upload(NAME).await;
    let Halting { body, reached, rest } = halting("0123");
    let first = tokio::spawn({
        let (ann, upload) = (ann.clone(), upload.clone());
        async move { patch(&ann, &upload, "", body).await }
    });
    reached.await.expect("the body is read");
    let second = patch(&ann, &upload, "", "xyz").await.refused(409, "BLOB_UPLOAD_INVALID");
    assert!(second.message().contains("another request"), "{}", second.message());
    let _ = close(&ann, &upload, b"xyz", "").await.refused(409, "BLOB_UPLOAD_INVALID");
    rest.send("4567").expect("the first writer still waits");
    let first = first.await.expect("an answer").expect(202);
    assert_eq!(first.header("range"), "0-7");
    let _ = close(&ann, &upload, b"01234567", "").await.expect(201);
}

#[tokio::test]
async fn a_blob_over_the_limit_is_refused_by_its_announcement_or_when_it_gets_too_long() {
    let limits = Limits { blob_bytes: Some(8), ..Limits::default() };
    let world = World::with(Settings { limits, ..Settings::default() }).await;
    let ann = world.client("ann").await;
    let upload = ann.start_upload(NAME).await;
    let announced = [("content-length", "9")];
    let refused = ann.send(Method::PATCH, &upload, &announced, "012345678").await;
    let _ = refused.refused(413, "SIZE_INVALID");
    let body = Body::from_stream(stream::iter(["01234", "5678"].map(Ok::<_, std::io::Error>)));
    let _ = patch(&ann, &upload, "", body).await.refused(413, "SIZE_INVALID");
    let fits = ann.start_upload(NAME).await;
    let _ = close(&ann, &fits, b"01234567", "01234567").await.expect(201);
}

#[tokio::test]
async fn a_mount_needs_a_package_that_may_be_read_in_the_same_workspace() {
    let (world, ann) = ann().await;
    let admin = world.client("admin").await;
    let content = b"a layer";
    let sum = admin.push_blob("acme/vault", content).await;
    let _ = admin.push_blob("other/tool", content).await;
    let mount = async |client: &Client, query: &str| {
        client.post(&format!("/v2/acme/shop-web/blobs/uploads/?mount={sum}{query}")).await
    };
    let here = format!("/v2/acme/shop-web/blobs/{sum}");
    for (why, query) in [
        ("no source", ""),
        ("a source that has it and may not be read", "&from=acme/vault"),
        ("a source that does not exist", "&from=acme/nothing"),
        ("a source that does not have it", "&from=acme/shop"),
        ("a source in another workspace", "&from=other/tool"),
        ("no name", "&from=Nonsense"),
    ] {
        let answer = mount(&ann, query).await.expect(202);
        assert!(answer.header("location").starts_with("/v2/acme/shop-web/blobs/uploads/"), "{why}");
        assert_eq!(ann.head(&here).await.status, 404, "{why}");
    }
    let _ = ann.push_blob("acme/shop", content).await;
    let mounted = mount(&ann, "&from=acme/shop").await.expect(201);
    assert_eq!(mounted.header("location"), here);
    assert_eq!(mounted.header("docker-content-digest"), sum);
    assert_eq!(ann.get(&here).await.expect(200).body, &content[..]);
    let _ = ann
        .post("/v2/acme/shop/blobs/uploads/?mount=x&from=acme/shop")
        .await
        .refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_token_that_covers_only_the_target_opens_an_upload_instead_of_mounting() {
    let (world, ann) = ann().await;
    let sum = ann.push_blob("acme/shop", b"a layer").await;
    let path = format!("/v2/acme/shop-web/blobs/uploads/?mount={sum}&from=acme/shop");
    let narrow = world.narrowed(&ann, &["repository:acme/shop-web:pull,push"]).await;
    let _ = narrow.post(&path).await.expect(202);
    let both = ["repository:acme/shop-web:pull,push", "repository:acme/shop:pull"];
    let _ = world.narrowed(&ann, &both).await.post(&path).await.expect(201);
}
