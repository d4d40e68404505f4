//! Pushing, pulling and deleting manifests.

use crate::harness::{Client, IMAGE, INDEX, Manifest, Settings, World, digest, digest512, image};
use axum::body::Body;
use axum::http::Method;
use futures_util::stream;
use serde_json::json;
use standpipe_server::registry::Limits;

const NAME: &str = "acme/shop";

async fn ann() -> (World, Client) {
    let world = World::new().await;
    let ann = world.client("ann").await;
    (world, ann)
}

fn path(reference: &str) -> String {
    format!("/v2/{NAME}/manifests/{reference}")
}

#[tokio::test]
async fn a_manifest_comes_back_byte_for_byte_by_tag_and_by_digest() {
    let (_world, ann) = ann().await;
    let mut manifest = ann.push_image(NAME, "plain", "one").await;
    // Not as any program would write it again.
    manifest.bytes = [&b"\n "[..], &manifest.bytes, b" \n"].concat();
    let _ = ann.put_manifest(NAME, "latest", &manifest).await.expect(201);
    for reference in ["latest", &manifest.digest()] {
        // Whatever a client accepts, it gets what is stored.
        let accept = [("accept", "application/vnd.docker.distribution.manifest.v2+json")];
        let get = ann.send(Method::GET, &path(reference), &accept, "").await.expect(200);
        assert_eq!(get.body, manifest.bytes);
        let head = ann.head(&path(reference)).await.expect(200);
        assert_eq!(head.body.len(), 0);
        for answer in [get, head] {
            assert_eq!(answer.header("content-type"), IMAGE);
            assert_eq!(answer.header("content-length"), manifest.bytes.len().to_string());
            assert_eq!(answer.header("docker-content-digest"), manifest.digest());
            assert_eq!(answer.header("etag"), format!("\"{}\"", manifest.digest()));
        }
    }
}

#[tokio::test]
async fn a_push_answers_where_the_manifest_is_and_what_it_refers_to() {
    let (_world, ann) = ann().await;
    let subject = ann.push_image(NAME, "latest", "one").await;
    let plain = ann.put_manifest(NAME, "again", &subject).await.expect(201);
    assert_eq!(plain.header("location"), path(&subject.digest()));
    assert_eq!(plain.header("docker-content-digest"), subject.digest());
    assert_eq!(plain.header("oci-subject"), "");
    let about = image(&[b"one"], &json!({ "subject": subject.descriptor() }));
    let answer = ann.put_manifest(NAME, &about.digest(), &about).await.expect(201);
    assert_eq!(answer.header("oci-subject"), subject.digest());
}

#[tokio::test]
async fn tags_can_be_set_beside_a_digest() {
    let (_world, ann) = ann().await;
    let manifest = ann.push_image(NAME, "latest", "one").await;
    let put = async |query: &str| {
        let path = path(&format!("{}?{query}", manifest.digest()));
        ann.send(Method::PUT, &path, &[("content-type", IMAGE)], manifest.bytes.clone()).await
    };
    let answer = put("tag=v1&tag=v1.2&tag=v1").await.expect(201);
    let told: Vec<_> = answer.headers.get_all("oci-tag").iter().collect();
    assert_eq!(told, ["v1", "v1.2"]);
    for tag in ["v1", "v1.2"] {
        assert_eq!(ann.get(&path(tag)).await.expect(200).body, manifest.bytes);
    }
    let _ = put("tag=.bad").await.refused(400, "MANIFEST_INVALID");
    let _ = put(&format!("tag={}", "a".repeat(129))).await.refused(400, "MANIFEST_INVALID");
    let many: Vec<String> = (0..1000).map(|number| format!("tag=t{number}")).collect();
    let _ = put(&many.join("&")).await.refused(414, "MANIFEST_INVALID");
    assert_eq!(ann.head(&path("t0")).await.status, 404);
}

#[tokio::test]
async fn a_manifest_under_a_longer_digest_is_found_under_it() {
    let (_world, ann) = ann().await;
    let manifest = ann.push_image(NAME, "latest", "one").await;
    let long = digest512(&manifest.bytes);
    let answer = ann.put_manifest(NAME, &long, &manifest).await.expect(201);
    assert_eq!(answer.header("docker-content-digest"), long);
    let got = ann.get(&path(&long)).await.expect(200);
    assert_eq!(got.body, manifest.bytes);
    let head = ann.head(&path(&long)).await.expect(200);
    for answer in [got, head] {
        assert_eq!(answer.header("docker-content-digest"), long);
    }
}

#[tokio::test]
async fn what_is_no_manifest_is_refused_in_words() {
    let (_world, ann) = ann().await;
    let good = ann.push_image(NAME, "good", "one").await;
    let both = image(&[b"one"], &json!({ "manifests": [good.descriptor()] }));
    let put = async |media_type: &str, bytes: &[u8]| {
        let headers = [("content-type", media_type)];
        ann.send(Method::PUT, &path("bad"), &headers, bytes.to_vec()).await
    };
    let twice = String::from_utf8(good.bytes.clone()).expect("JSON").replacen(
        '{',
        "{\"config\":{\"mediaType\":\"x\",\"size\":2,\"digest\":\"sha256:x\"},",
        1,
    );
    let mut trailing = good.bytes.clone();
    trailing.extend_from_slice(b"{}");
    for (what, media_type, bytes) in [
        ("nothing", IMAGE, &b""[..]),
        ("not JSON", IMAGE, b"<html>"),
        ("not UTF-8", IMAGE, b"{\"a\":\"\xff\"}"),
        ("both kinds", IMAGE, &both.bytes),
        ("another type", INDEX, &good.bytes),
        ("a key twice", IMAGE, twice.as_bytes()),
        ("bytes after the end", IMAGE, &trailing),
        ("no type", "", &good.bytes),
    ] {
        let refused = put(media_type, bytes).await;
        assert_eq!(refused.status, 400, "{what}: {}", refused.text());
        let _ = refused.refused(400, "MANIFEST_INVALID");
    }
    let no_type = ann.send(Method::PUT, &path("bad"), &[], good.bytes.clone()).await;
    assert!(no_type.refused(400, "MANIFEST_INVALID").message().contains("Content-Type"));
    assert_eq!(ann.head(&path("bad")).await.status, 404);
    // Parameters of the media type are not part of it.
    let with_parameters = put(&format!("{IMAGE}; charset=utf-8"), &good.bytes).await.expect(201);
    assert_eq!(with_parameters.header("docker-content-digest"), good.digest());
    assert_eq!(ann.get(&path("bad")).await.expect(200).header("content-type"), IMAGE);
}

#[tokio::test]
async fn a_manifest_needs_what_it_names_in_this_very_package() {
    let (_world, ann) = ann().await;
    let elsewhere = ann.push_image("acme/shop-web", "latest", "web").await;
    let index =
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [elsewhere.descriptor()] });
    for manifest in [elsewhere, Manifest::of(INDEX, &index)] {
        let refused = ann.put_manifest(NAME, "latest", &manifest).await;
        let _ = refused.refused(404, "MANIFEST_BLOB_UNKNOWN");
    }
    assert_eq!(ann.head(&path("latest")).await.status, 404);
}

#[tokio::test]
async fn bytes_of_another_digest_are_refused() {
    let (_world, ann) = ann().await;
    let manifest = ann.push_image(NAME, "latest", "one").await;
    let refused = ann.put_manifest(NAME, &digest(b"other"), &manifest).await;
    let _ = refused.refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_manifest_over_the_limit_is_refused_before_or_while_it_is_read() {
    let limits = Limits { manifest_bytes: 1000, ..Limits::default() };
    let world = World::with(Settings { limits, ..Settings::default() }).await;
    let ann = world.client("ann").await;
    let put = async |headers: &[(&str, &str)], body: Body| {
        ann.send(Method::PUT, &path("latest"), headers, body).await
    };
    // Announced too long, it is refused although its body never comes.
    let announced = [("content-type", IMAGE), ("content-length", "1001")];
    let silent = Body::from_stream(stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let _ = put(&announced, silent).await.refused(413, "MANIFEST_INVALID");
    let endless = Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>("  ")));
    let _ = put(&[("content-type", IMAGE)], endless).await.refused(413, "MANIFEST_INVALID");
    let broken = Body::from_stream(stream::iter([Err::<&str, _>(std::io::Error::other("gone"))]));
    let _ = put(&[("content-type", IMAGE)], broken).await.refused(400, "BLOB_UPLOAD_INVALID");
}

#[tokio::test]
async fn a_client_that_has_the_manifest_is_told_so() {
    let (_world, ann) = ann().await;
    let manifest = ann.push_image(NAME, "latest", "one").await;
    let known = format!("\"{}\"", manifest.digest());
    let headers = [("if-none-match", known.as_str())];
    for method in [Method::GET, Method::HEAD] {
        let answer = ann.send(method, &path("latest"), &headers, "").await.expect(304);
        assert_eq!(answer.header("docker-content-digest"), manifest.digest());
    }
    let _ = ann.push_image(NAME, "latest", "two").await;
    let _ = ann.send(Method::GET, &path("latest"), &headers, "").await.expect(200);
}

#[tokio::test]
async fn a_deleted_tag_leaves_the_manifest_and_a_deleted_manifest_takes_its_tags() {
    let (_world, ann) = ann().await;
    let manifest = ann.push_image(NAME, "latest", "one").await;
    let _ = ann.put_manifest(NAME, "stable", &manifest).await.expect(201);
    assert_eq!(ann.delete(&path("latest")).await.expect(202).body.len(), 0);
    let _ = ann.get(&path("latest")).await.refused(404, "MANIFEST_UNKNOWN");
    let _ = ann.get(&path("stable")).await.expect(200);
    // Without its last tag, too, it is there under its digest.
    let _ = ann.delete(&path("stable")).await.expect(202);
    assert_eq!(ann.get(&path(&manifest.digest())).await.expect(200).body, manifest.bytes);
    let _ = ann.put_manifest(NAME, "stable", &manifest).await.expect(201);
    let _ = ann.delete(&path(&manifest.digest())).await.expect(202);
    for reference in ["stable", &manifest.digest()] {
        let _ = ann.get(&path(reference)).await.refused(404, "MANIFEST_UNKNOWN");
        let _ = ann.delete(&path(reference)).await.refused(404, "MANIFEST_UNKNOWN");
    }
}
