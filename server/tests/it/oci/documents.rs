//! What kinds of manifests are taken, and that they come back as they are.

use crate::harness::{
    BOTH, Client, IMAGE, INDEX, Manifest, World, described, digest, image, index_in,
};
use axum::http::Method;
use serde_json::{Value, json};
use standpipe_server::domain::Algorithm::Sha256;

const NAME: &str = "acme/shop";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Somebody with a package that has the blobs `{}` and `layer`.
async fn ann() -> (World, Client) {
    let world = World::new().await;
    let ann = world.client("ann").await;
    for content in [&b"{}"[..], b"layer"] {
        let _ = ann.push_blob(NAME, content).await;
    }
    (world, ann)
}

/// Pushes a document by tag and by digest and pulls it in all ways.
async fn assert_kept(ann: &Client, what: &str, manifest: &Manifest) {
    for reference in [what, &manifest.digest()] {
        let stored = ann.put_manifest(NAME, reference, manifest).await;
        assert_eq!(stored.status, 201, "{what}: {}", stored.text());
        assert_eq!(stored.header("docker-content-digest"), manifest.digest(), "{what}");
        let path = format!("/v2/{NAME}/manifests/{reference}");
        let got = ann.get(&path).await.expect(200);
        assert_eq!(got.body, manifest.bytes, "{what}");
        let head = ann.head(&path).await.expect(200);
        for answer in [got, head] {
            // Exactly what it was pushed as: no parameters are added.
            assert_eq!(answer.header("content-type"), manifest.media_type, "{what}");
            assert_eq!(answer.header("content-length"), manifest.bytes.len().to_string(), "{what}");
        }
    }
}

async fn refused(ann: &Client, media_type: &str, bytes: &[u8]) -> String {
    let path = format!("/v2/{NAME}/manifests/refused");
    let headers = [("content-type", media_type)];
    let answer = ann.send(Method::PUT, &path, &headers, bytes.to_vec()).await;
    answer.refused(400, "MANIFEST_INVALID").message()
}

fn layer(media_type: &str) -> Value {
    described(Sha256, media_type, b"layer")
}

#[tokio::test]
async fn dockers_documents_are_kept_as_they_are() {
    let (_world, ann) = ann().await;
    let image = Manifest::of(
        DOCKER_IMAGE,
        &json!({
            "schemaVersion": 2, "mediaType": DOCKER_IMAGE,
            "config": described(Sha256, "application/vnd.docker.container.image.v1+json", b"{}"),
            "layers": [layer("application/vnd.docker.image.rootfs.diff.tar.gzip")],
        }),
    );
    assert_kept(&ann, "image", &image).await;
    let mut entry = image.descriptor();
    entry["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    let list = json!({ "schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [entry] });
    assert_kept(&ann, "list", &Manifest::of(DOCKER_LIST, &list)).await;
}

#[tokio::test]
async fn a_document_of_dockers_first_schema_is_refused_with_words() {
    let (_world, ann) = ann().await;
    let sum = digest(b"layer");
    let first = json!({
        "schemaVersion": 1, "name": NAME, "tag": "latest", "architecture": "amd64",
        "fsLayers": [{ "blobSum": sum }], "history": [{ "v1Compatibility": "{}" }],
    });
    for media_type in [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/json",
        DOCKER_IMAGE,
    ] {
        let words = refused(&ann, media_type, first.to_string().as_bytes()).await;
        assert!(words.contains("schema 1"), "{media_type}: {words}");
    }
}

#[tokio::test]
async fn a_media_type_that_nobody_knows_is_kept_with_what_it_names() {
    let (_world, ann) = ann().await;
    for (what, media_type, content) in [
        ("helm", "application/vnd.example.chart.v7+json", json!({ "layers": [layer("a/b")] })),
        ("list", "application/vnd.example.list+json", json!({ "manifests": [] })),
        ("bare", "application/vnd.example.thing+json", json!({ "anything": ["goes", 1, null] })),
        (
            "wasm",
            IMAGE,
            json!({
                "schemaVersion": 2, "mediaType": IMAGE,
                "config": described(Sha256, "application/vnd.wasm.config.v0+json", b"{}"),
                "layers": [layer("application/vnd.example.unheard-of")],
            }),
        ),
    ] {
        assert_kept(&ann, what, &Manifest::of(media_type, &content)).await;
    }
    // What it names must be there, whatever it is called.
    let lacking = json!({ "layers": [described(Sha256, "a/b", b"never pushed")] });
    let lacking = Manifest::of("application/vnd.example.chart.v7+json", &lacking);
    let answer = ann.put_manifest(NAME, "lacking", &lacking).await;
    let _ = answer.refused(404, "MANIFEST_BLOB_UNKNOWN");
}

#[tokio::test]
async fn fields_of_others_and_every_byte_are_kept() {
    let (_world, ann) = ann().await;
    let config = described(Sha256, "application/vnd.oci.image.config.v1+json", b"{}");
    let mut child = image(&[b"layer"], &json!({})).descriptor();
    child["vnd.example.rating"] = json!(5);
    let _ = ann.put_manifest(NAME, "child", &image(&[b"layer"], &json!({}))).await.expect(201);
    // Odd spaces, the order of the fields, escapes and numbers as they were written.
    let image = format!(
        "\n {{ \"org.example.extra\" : [1.50, 1e3, \"\\u00e9\"], \"layers\" :[ ],\r\n\t\"config\":{config} ,\"schemaVersion\":2,\"mediaType\":\"{IMAGE}\"}}\n\n"
    );
    let index = format!(
        "{{\"zzz\":{{\"b\":1,\"a\":2}},\"manifests\":[{child}],\"mediaType\":\"{INDEX}\",\"schemaVersion\":2}}  "
    );
    for (what, media_type, text) in [("image", IMAGE, image), ("index", INDEX, index)] {
        assert_kept(&ann, what, &Manifest { media_type, bytes: text.into_bytes() }).await;
    }
}

#[tokio::test]
async fn a_document_needs_no_media_type_field_and_no_layers() {
    let (_world, ann) = ann().await;
    let config = described(Sha256, "application/vnd.oci.image.config.v1+json", b"{}");
    for (what, media_type, content) in [
        ("untyped", IMAGE, json!({ "schemaVersion": 2, "config": config, "layers": [] })),
        ("without", IMAGE, json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config })),
        ("empty", INDEX, json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] })),
    ] {
        assert_kept(&ann, what, &Manifest::of(media_type, &content)).await;
    }
}

#[tokio::test]
async fn artifacts_are_taken_with_an_empty_config_and_with_inline_data() {
    let (_world, ann) = ann().await;
    let empty = described(Sha256, EMPTY, b"{}");
    let mut inline = empty.clone();
    inline["data"] = json!("e30=");
    for (what, content) in [
        ("artifact", json!({ "config": empty, "layers": [layer("application/vnd.example+json")] })),
        // One empty document as config and as the only layer.
        ("no-layers", json!({ "config": empty, "layers": [empty] })),
        ("inline", json!({ "config": inline, "layers": [inline] })),
    ] {
        let mut content = content;
        content["schemaVersion"] = json!(2);
        content["mediaType"] = json!(IMAGE);
        content["artifactType"] = json!("application/vnd.example.v1");
        assert_kept(&ann, what, &Manifest::of(IMAGE, &content)).await;
    }
    let index = index_in(Sha256, &[], &json!({ "artifactType": "application/vnd.example.v1" }));
    assert_kept(&ann, "index", &index).await;
}

#[tokio::test]
async fn indexes_may_name_indexes() {
    let (_world, ann) = ann().await;
    for algorithm in BOTH {
        let one = ann.push_image_in(algorithm, NAME, "one").await;
        let mut inner = one;
        for depth in 0..5 {
            let outer = index_in(
                algorithm,
                &[&inner],
                &json!({ "annotations": { "depth": depth.to_string() } }),
            );
            let digest = outer.digest_in(algorithm);
            let _ = ann.put_manifest(NAME, &digest, &outer).await.expect(201);
            let path = format!("/v2/{NAME}/manifests/{digest}");
            assert_eq!(ann.get(&path).await.expect(200).body, outer.bytes);
            inner = outer;
        }
    }
}

#[tokio::test]
async fn an_index_with_gaps_is_refused_unless_the_workspace_allows_it() {
    let (world, ann) = ann().await;
    let admin = world.client("admin").await;
    let there = ann.push_image(NAME, "there", "one").await;
    for algorithm in BOTH {
        let there_too = ann.push_image_in(algorithm, NAME, "one").await;
        let gap = image(&[b"never pushed"], &json!({}));
        let index = index_in(algorithm, &[&there_too, &gap], &json!({}));
        let path = format!("/v2/{NAME}/manifests/{}", index.digest_in(algorithm));
        let digest = index.digest_in(algorithm);
        let lacking = ann.put_manifest(NAME, &digest, &index).await;
        let lacking = lacking.refused(404, "MANIFEST_BLOB_UNKNOWN");
        assert!(lacking.message().contains(&gap.digest_in(algorithm)), "{}", lacking.message());
        admin.set(&json!({ "sparse_indexes": true })).await;
        let _ = ann.put_manifest(NAME, &digest, &index).await.expect(201);
        assert_eq!(ann.get(&path).await.expect(200).body, index.bytes);
        let missing = format!("/v2/{NAME}/manifests/{}", gap.digest_in(algorithm));
        let _ = ann.get(&missing).await.refused(404, "MANIFEST_UNKNOWN");
        // Gaps in images are not gaps in indexes.
        let refused = ann.put_manifest(NAME, "gap", &gap).await;
        let _ = refused.refused(404, "MANIFEST_BLOB_UNKNOWN");
        admin.set(&json!({ "sparse_indexes": false })).await;
    }
    let _ = ann.put_manifest(NAME, "there", &there).await.expect(201);
}

#[tokio::test]
async fn layers_that_may_not_be_handed_on_need_not_be_there() {
    let (_world, ann) = ann().await;
    let config = described(Sha256, "application/vnd.oci.image.config.v1+json", b"{}");
    let elsewhere = |media_type: &str| {
        let mut layer = described(Sha256, media_type, b"at the vendor's");
        layer["urls"] = json!(["https://example.com/layer"]);
        layer
    };
    for (what, image, media_type) in [
        ("oci", IMAGE, "application/vnd.oci.image.layer.nondistributable.v1.tar"),
        ("gzip", IMAGE, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        ("zstd", IMAGE, "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"),
        ("docker", DOCKER_IMAGE, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    ] {
        let layers = [elsewhere(media_type), layer("application/vnd.oci.image.layer.v1.tar")];
        let content =
            json!({ "schemaVersion": 2, "mediaType": image, "config": config, "layers": layers });
        assert_kept(&ann, what, &Manifest::of(image, &content)).await;
    }
    // An address alone excuses nothing.
    let ordinary = elsewhere("application/vnd.oci.image.layer.v1.tar");
    let content =
        json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [ordinary] });
    let answer = ann.put_manifest(NAME, "bad", &Manifest::of(IMAGE, &content)).await;
    let _ = answer.refused(404, "MANIFEST_BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_manifest_of_four_megabytes_is_taken_and_one_over_the_limit_is_not() {
    let (_world, ann) = ann().await;
    let many: serde_json::Map<String, Value> =
        (0..401).map(|at| (format!("large-{at}"), json!("A".repeat(10_000)))).collect();
    let large = image(&[b"layer"], &json!({ "annotations": many }));
    assert!((4_000_000..4 << 20).contains(&large.bytes.len()), "{}", large.bytes.len());
    assert_kept(&ann, "large", &large).await;
    let mut larger = large;
    larger.bytes.resize((4 << 20) + 1, b' ');
    let answer = ann.put_manifest(NAME, "larger", &larger).await;
    let _ = answer.refused(413, "MANIFEST_INVALID");
}

#[tokio::test]
async fn a_package_that_does_not_exist_has_nothing() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let sum = digest(b"x");
    for name in ["acme/nothing", "nowhere/nothing"] {
        for rest in
            ["manifests/latest".to_owned(), format!("manifests/{sum}"), format!("blobs/{sum}")]
        {
            let path = format!("/v2/{name}/{rest}");
            let _ = admin.get(&path).await.refused(404, "NAME_UNKNOWN");
            let _ = admin.head(&path).await.expect(404);
            let _ = admin.delete(&path).await.refused(404, "NAME_UNKNOWN");
        }
        let path = format!("/v2/{name}/tags/list");
        let _ = admin.get(&path).await.refused(404, "NAME_UNKNOWN");
    }
}

#[tokio::test]
async fn the_name_of_another_registry_in_the_query_changes_nothing() {
    let (_world, ann) = ann().await;
    let manifest = ann.push_image(NAME, "latest", "one").await;
    for (path, expected) in [
        (format!("/v2/{NAME}/manifests/latest?ns=docker.io"), &manifest.bytes[..]),
        (format!("/v2/{NAME}/blobs/{}?ns=docker.io", digest(b"one")), b"one"),
    ] {
        let got = ann.get(&path).await.expect(200);
        assert_eq!(got.body, expected, "{path}");
        assert_eq!(got.header("oci-namespace"), "", "{path}");
    }
}
