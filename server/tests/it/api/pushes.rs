//! What a client asks that is about to push.

use super::{get, post, problem};
use crate::harness::{Client, IMAGE, INDEX, Manifest, World, digest};
use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

const NAME: &str = "acme/shop";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A content's layer in the registry.
fn packed(content: &str) -> String {
    format!("gzip of {content}")
}

/// Pushes the image of these contents whose configuration names `said`.
async fn push(client: &Client, tag: &str, said: &[&str], contents: &[&str]) -> Manifest {
    let diff_ids: Vec<String> = said.iter().map(|content| digest(content.as_bytes())).collect();
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = config.to_string();
    let _ = client.push_blob(NAME, config.as_bytes()).await;
    let mut layers = Vec::new();
    for content in contents {
        let layer = packed(content);
        let digest = client.push_blob(NAME, layer.as_bytes()).await;
        layers.push(json!({"mediaType": GZIP, "digest": digest, "size": layer.len()}));
    }
    let manifest = Manifest::of(
        IMAGE,
        &json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": layers, "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(config.as_bytes()), "size": config.len()}}),
    );
    let _ = client.put_manifest(NAME, tag, &manifest).await.expect(201);
    manifest
}

async fn known(client: &Client, contents: &[&str]) -> Value {
    let diff_ids: Vec<String> = contents.iter().map(|content| digest(content.as_bytes())).collect();
    let body = json!({"package": "shop", "diff_ids": diff_ids});
    post(client, "/workspaces/acme/known-layers", body).await.expect(200).json()["items"].take()
}

/// How a layer is told.
fn told(content: &str) -> Value {
    let layer = packed(content);
    json!({"diff_id": digest(content.as_bytes()), "digest": digest(layer.as_bytes()),
        "size_bytes": layer.len(), "media_type": GZIP})
}

#[tokio::test]
async fn layers_are_found_by_their_content_in_the_images_of_the_package() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    assert_eq!(known(&ann, &["base"]).await, json!([]));
    push(&ann, "1", &["base", "one"], &["base", "one"]).await;
    let two = push(&ann, "2", &["base", "two"], &["base", "two"]).await;
    assert_eq!(known(&ann, &["none", "one"]).await, json!([told("one")]));
    let mut both = vec![told("base"), told("two")];
    both.sort_by_key(|layer| layer["diff_id"].as_str().map(str::to_owned));
    assert_eq!(known(&ann, &["base", "two"]).await, json!(both));
    // Through an index, too.
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [two.descriptor()]});
    let _ = ann.put_manifest(NAME, "2", &Manifest::of(INDEX, &index)).await.expect(201);
    assert_eq!(known(&ann, &["two"]).await, json!([told("two")]));
}

#[tokio::test]
async fn an_image_whose_configuration_does_not_fit_its_layers_tells_nothing() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    push(&ann, "1", &["base", "one", "more"], &["base", "one"]).await;
    assert_eq!(known(&ann, &["base", "one"]).await, json!([]));
    // Nor does one whose configuration is none.
    let _ = ann.push_image(NAME, "2", "layer").await;
    assert_eq!(known(&ann, &["layer"]).await, json!([]));
}

#[tokio::test]
async fn a_layer_that_the_package_has_no_more_is_not_told() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    push(&ann, "1", &["base", "one"], &["base", "one"]).await;
    let blob = format!("/v2/{NAME}/blobs/{}", digest(packed("one").as_bytes()));
    let deleted = ann.delete(&blob).await;
    if deleted.status.is_success() {
        assert_eq!(known(&ann, &["one"]).await, json!([]));
    }
    assert_eq!(known(&ann, &["base"]).await, json!([told("base")]));
}

#[tokio::test]
async fn who_may_not_read_a_package_learns_nothing_of_its_layers() {
    let world = World::new().await;
    let (ann, eve) = (world.client("ann").await, world.client("eve").await);
    push(&ann, "1", &["base"], &["base"]).await;
    let diff_ids = json!([digest(b"base")]);
    let body = json!({"package": "vault", "diff_ids": diff_ids});
    let hidden = post(&eve, "/workspaces/acme/known-layers", body).await;
    let missing = json!({"package": "nothing-here", "diff_ids": diff_ids});
    let missing = post(&eve, "/workspaces/acme/known-layers", missing).await;
    let (hidden, missing) = (problem(hidden, 404, ""), problem(missing, 404, ""));
    assert_eq!(hidden["type"], missing["type"]);
    let many = vec![digest(b"base"); 501];
    let body = json!({"package": "shop", "diff_ids": many});
    let _ = problem(post(&ann, "/workspaces/acme/known-layers", body).await, 400, "diff_ids");
    let body = json!({"package": "shop", "diff_ids": ["sha256:x"]});
    let _ = problem(post(&ann, "/workspaces/acme/known-layers", body).await, 400, "diff_ids");
}

async fn begin(client: &Client, content: &str) -> String {
    let digest = digest(content.as_bytes());
    let headers = [("standpipe-upload-digest", digest.as_str())];
    let path = format!("/v2/{NAME}/blobs/uploads/");
    let begun = client.send(Method::POST, &path, &headers, Body::empty()).await.expect(202);
    begun.header("location").to_owned()
}

async fn open(client: &Client, content: &str) -> Value {
    let path =
        format!("/workspaces/acme/uploads?package=shop&digest={}", digest(content.as_bytes()));
    get(client, &path).await.expect(200).json()["items"].take()
}

#[tokio::test]
async fn an_upload_is_found_again_by_its_owner_and_by_nobody_else() {
    let world = World::new().await;
    let (ann, admin) = (world.client("ann").await, world.client("admin").await);
    let content = "a layer";
    assert_eq!(open(&ann, content).await, json!([]));
    let (near, far) = (begin(&ann, content).await, begin(&ann, content).await);
    let _ = begin(&ann, "another").await;
    let range = [("content-range", "0-3")];
    let _ = ann.send(Method::PATCH, &far, &range, "a la").await.expect(202);
    let expected = json!([{"location": far, "offset": 4}, {"location": near, "offset": 0}]);
    assert_eq!(open(&ann, content).await, expected);
    // Another login of the same person.
    assert_eq!(open(&world.client("ann").await, content).await, expected);
    assert_eq!(open(&admin, content).await, json!([]));
    assert_eq!(open(&world.pipeline("acme", "shop").await, content).await, json!([]));
    let path = format!("/workspaces/acme/uploads?package=shop&digest={}", digest(b"x"));
    let _ = problem(get(&world.client("eve").await, &path).await, 404, "");
    let close = format!("{far}?digest={}", digest(content.as_bytes()));
    let _ = ann.send(Method::PUT, &close, &[], "yer").await.expect(201);
    let _ = ann.delete(&near).await.expect(204);
    assert_eq!(open(&ann, content).await, json!([]));
    let wrong = [("standpipe-upload-digest", "sha256:x")];
    let path = format!("/v2/{NAME}/blobs/uploads/");
    let _ =
        ann.send(Method::POST, &path, &wrong, Body::empty()).await.refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_build_finds_the_upload_of_a_build_before_it() {
    let world = World::new().await;
    let first = world.pipeline("acme", "shop").await;
    let location = begin(&first, "layer").await;
    let next = world.pipeline("acme", "shop").await;
    assert_eq!(open(&next, "layer").await, json!([{"location": location, "offset": 0}]));
}

#[tokio::test]
async fn every_answer_of_the_registry_says_what_may_be_asked() {
    let world = World::new().await;
    for client in [world.anonymous(), world.client("ann").await] {
        let answer = client.get("/v2/").await;
        assert_eq!(answer.header("standpipe-extensions"), "known-layers, declared-uploads");
    }
}
