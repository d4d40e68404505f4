//! Images for several platforms: pushed whole, in part, and from a store that has only a part.

use axum::http::Method;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::harness::{Outcome, Step};
use crate::image::{Image, Layout, digest, noise};
use crate::layout::{IMAGE, INDEX, Store};
use crate::registry::{Login, Registry};

/// An image for three platforms, two of them with an attestation.
struct Multi {
    store: Store,
    amd64: Value,
    arm64: Value,
    arm: Value,
    index: Value,
}

impl Multi {
    fn new() -> Self {
        let mut store = Store::default();
        let base = noise(50_000, 7);
        let amd64 = store.image("linux/amd64", &[&base, b"amd64"]);
        let arm64 = store.image("linux/arm64", &[&base, b"arm64"]);
        let arm = store.image("linux/arm/v7", &[b"arm"]);
        let proofs = [&amd64, &arm64].map(|image| store.attestation(image));
        let index = store.index(&[&amd64, &arm64, &arm, &proofs[0], &proofs[1]]);
        Self { store, amd64, arm64, arm, index }
    }

    /// As a layout in the step's folder.
    async fn push(mut self, platforms: &str, tags: &str) -> (Self, Registry, Outcome) {
        self.store.enter(&self.index.clone(), Some("1"));
        let registry = Registry::start(Login::Bearer).await;
        let step = Step::without_daemon(&registry).login().set("SOURCE", "oci:out");
        let step = step.set("PLATFORMS", platforms).set("TAGS", tags);
        self.store.write(&step.folder().join("out"));
        let outcome = step.run().await;
        (self, registry, outcome)
    }
}

/// What a tag names: its media type and its bytes.
fn tagged(registry: &Registry, tag: &str) -> (String, Vec<u8>) {
    registry.content().manifests[tag].clone()
}

/// The digests that the index behind a tag names.
fn children(registry: &Registry, tag: &str) -> Vec<String> {
    let index: Value = serde_json::from_slice(&tagged(registry, tag).1).unwrap();
    let children = index["manifests"].as_array().unwrap().iter();
    children.map(|child| child["digest"].as_str().unwrap().to_owned()).collect()
}

/// The image of an export as the containerd store of a daemon describes it.
fn local(store: &Store, top: &Value) -> Image {
    let mut image = Image::new("app:latest", Layout::Containerd, &[b"amd64"]);
    image.given = Some((top["digest"].as_str().unwrap().to_owned(), store.tar()));
    image
}

/// Adds something that is about a manifest, as `oras attach` and `cosign` do.
fn about(store: &mut Store, subject: &Value, statement: &str) -> Value {
    let config = store.blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = store.blob("text/plain", statement.as_bytes());
    let subject = json!({"mediaType": subject["mediaType"], "digest": subject["digest"],
        "size": subject["size"]});
    let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "artifactType": "text/plain",
        "config": config, "layers": [layer], "subject": subject});
    let descriptor = store.document(IMAGE, &manifest);
    store.enter(&descriptor, None);
    descriptor
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_beside_an_image_go_along_and_those_of_others_do_not() {
    for (named, whole) in [(true, true), (false, true), (true, false)] {
        let mut store = Store::default();
        let (amd64, arm64) =
            (store.image("linux/amd64", &[b"one"]), store.image("linux/arm64", &[b"two"]));
        let app = store.index(&[&amd64, &arm64]);
        let signature = about(&mut store, &app, "signed");
        let materials = about(&mut store, &amd64, "made of");
        let countersigned = about(&mut store, &materials, "looked at");
        store.enter(&app, named.then_some("app:1"));
        let other = store.image("linux/amd64", &[b"other"]);
        let of_other = about(&mut store, &other, "not this");
        let registry = Registry::start(Login::Nobody).await;
        let step = Step::without_daemon(&registry).file("app.tar", &store.tar());
        let step = step.set("SOURCE", "oci-archive:app.tar");
        let step = if whole { step } else { step.set("PLATFORMS", "linux/amd64") };
        step.run().await.references();
        let content = registry.content();
        let is_there =
            |what: &Value| content.manifests.contains_key(what["digest"].as_str().unwrap());
        assert_eq!(is_there(&signature), whole, "the index that it is about");
        assert!(is_there(&materials) && is_there(&countersigned));
        assert!(!is_there(&of_other));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_platforms_are_pushed_with_their_index_and_attestations() {
    let (multi, registry, outcome) = Multi::new().push("", "1 latest").await;
    for (tag, reference) in ["1", "latest"].iter().zip(outcome.references()) {
        assert!(reference.ends_with(multi.index["digest"].as_str().unwrap()), "{reference}");
        let expected = (INDEX.to_owned(), multi.store.bytes(&multi.index).to_vec());
        assert_eq!(tagged(&registry, tag), expected);
    }
    let content = registry.content();
    let is_manifest = |bytes: &[u8]| bytes.windows(9).any(|part| part == b"\"layers\":");
    for (hex, bytes) in &multi.store.blobs {
        let (digest, known) = (format!("sha256:{hex}"), &content.manifests);
        let there = if is_manifest(bytes) {
            known.contains_key(&digest)
        } else {
            content.blobs.contains_key(&digest) || known.contains_key(&digest)
        };
        assert!(there, "{digest} is missing");
    }
    drop(content);
    assert_eq!(registry.count(&Method::PUT, "/manifests/sha256:"), 5, "each manifest once");
    assert!(outcome.log.contains("linux/amd64, linux/arm64, linux/arm/v7"), "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_platform_of_several_goes_alone() {
    for (wish, by_config) in [("linux/arm64", false), ("Linux/aarch64", false), ("linux/arm", true)]
    {
        let (multi, registry, outcome) = Multi::new().push(wish, "1").await;
        let expected = if by_config { &multi.arm } else { &multi.arm64 };
        outcome.references();
        assert_eq!(tagged(&registry, "1").1, multi.store.bytes(expected), "{wish}");
        let manifest = multi.store.parsed(expected);
        let blobs = manifest["layers"].as_array().unwrap().len() + 1;
        assert_eq!(registry.content().blobs.len(), blobs, "nothing else was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_of_many_get_an_index_of_their_own() {
    let (multi, registry, outcome) = Multi::new().push("linux/arm/v7, linux/amd64", "1").await;
    outcome.references();
    let (kind, bytes) = tagged(&registry, "1");
    assert_eq!(kind, INDEX);
    let index: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(index["mediaType"], INDEX);
    let chosen = children(&registry, "1");
    assert_eq!(chosen.len(), 3, "two images and the attestation of one");
    assert_eq!(
        chosen[..2],
        [&multi.amd64["digest"], &multi.arm["digest"]]
            .map(|digest| digest.as_str().unwrap().to_owned())
    );
    let proof = &index["manifests"][2]["annotations"]["vnd.docker.reference.digest"];
    assert_eq!(*proof, multi.amd64["digest"]);
    // The same wish makes the same index.
    let (_, again, _) = Multi::new().push("linux/amd64 linux/arm/v7", "1").await;
    assert_eq!(tagged(&again, "1").1, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_platforms_by_name_are_the_index_itself() {
    let all = "linux/amd64\nlinux/arm64\nlinux/arm";
    let (multi, registry, _) = Multi::new().push(all, "1").await;
    assert_eq!(tagged(&registry, "1").1, multi.store.bytes(&multi.index));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_not_there_is_told_with_those_that_are() {
    let (_, registry, outcome) = Multi::new().push("linux/amd64 linux/s390x", "1").await;
    outcome.fails(
        3,
        &[
            "there is no platform linux/s390x",
            "Platforms that are there: linux/amd64, linux/arm64, linux/arm/v7.",
        ],
    );
    assert!(registry.content().seen.is_empty(), "nobody was asked before");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_for_one_platform_is_not_pushed_as_another() {
    let image = Image::new("app:latest", Layout::Legacy, &[b"layer"]);
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).file("app.tar", &image.export());
    let step = step.set("SOURCE", "docker-archive:app.tar");
    step.set("PLATFORMS", "linux/amd64").run().await.references();
    let step = Step::without_daemon(&registry).file("app.tar", &image.export());
    let step = step.set("SOURCE", "docker-archive:app.tar").set("PLATFORMS", "linux/arm64");
    step.run().await.fails(3, &["no platform linux/arm64", "is for linux/amd64 alone"]);
    let daemon = Daemon::start(vec![image]).await;
    let step = Step::new(&daemon, &registry).set("PLATFORMS", "linux/arm64");
    step.run().await.fails(3, &["no platform linux/arm64"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_indexes_are_pushed_from_the_inside_out() {
    let mut store = Store::default();
    let amd64 = store.image("linux/amd64", &[b"amd64"]);
    let arm64 = store.image("linux/arm64", &[b"arm64"]);
    let inner = store.index(&[&arm64]);
    let index = store.index(&[&amd64, &inner]);
    store.enter(&index, None);
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).file("app.tar", &store.tar());
    step.set("SOURCE", "oci-archive:app.tar").run().await.references();
    assert_eq!(tagged(&registry, "latest").1, store.bytes(&index));
    // One platform is found inside of it, too.
    let step = Step::without_daemon(&registry).file("app.tar", &store.tar());
    let step = step.set("SOURCE", "oci-archive:app.tar").set("PLATFORMS", "linux/arm64");
    step.run().await.references();
    assert_eq!(tagged(&registry, "latest").1, store.bytes(&arm64));
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_without_an_index_get_one() {
    let mut store = Store::default();
    let amd64 = store.image("linux/amd64", &[b"amd64"]);
    let arm64 = store.image("linux/arm64", &[b"arm64"]);
    store.enter(&amd64, None);
    store.enter(&arm64, None);
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).set("SOURCE", "oci:out");
    store.write(&step.folder().join("out"));
    step.run().await.references();
    let expected = [amd64, arm64].map(|image| image["digest"].as_str().unwrap().to_owned());
    assert_eq!(children(&registry, "latest"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_containerd_store_of_a_daemon_pushes_its_index_as_it_is() {
    let mut multi = Multi::new();
    multi.store.enter(&multi.index, None);
    multi.store.list(&multi.amd64, &["app:latest"]);
    let daemon = Daemon::start(vec![local(&multi.store, &multi.index)]).await;
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::new(&daemon, &registry);
    let outcome = step.run().await;
    assert!(outcome.references()[0].ends_with(multi.index["digest"].as_str().unwrap()));
    assert_eq!(tagged(&registry, "latest").1, multi.store.bytes(&multi.index));
    let step = step.set("PLATFORMS", "linux/arm64");
    step.run().await.references();
    assert_eq!(tagged(&registry, "latest").1, multi.store.bytes(&multi.arm64));
    // What docker save writes of it is the same.
    let step = Step::without_daemon(&registry).file("app.tar", &multi.store.tar());
    step.set("SOURCE", "docker-archive:app.tar").run().await.references();
    assert_eq!(tagged(&registry, "latest").1, multi.store.bytes(&multi.index));
}

/// As a daemon has it that has pulled an image for its own platform.
#[tokio::test(flavor = "multi_thread")]
async fn platforms_that_a_daemon_never_had_are_left_out_with_a_line() {
    let mut multi = Multi::new();
    let all = multi.store.parsed(&multi.index)["manifests"].as_array().unwrap().clone();
    for missing in &all[1..] {
        multi.store.forget(missing);
    }
    multi.store.enter(&multi.index, None);
    multi.store.list(&multi.amd64, &["app:latest"]);
    let daemon = Daemon::start(vec![local(&multi.store, &multi.index)]).await;
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::new(&daemon, &registry);
    let outcome = step.run().await;
    outcome.references();
    assert_eq!(tagged(&registry, "latest").1, multi.store.bytes(&multi.amd64));
    let line = "names linux/arm64, linux/arm/v7 too, but without content: pushing linux/amd64";
    assert_eq!(outcome.count(line), 1, "{outcome:#?}");
    let outcome = step.set("PLATFORMS", "linux/arm64").run().await;
    outcome.fails(3, &["linux/arm64 is named, but its content is not there", "docker pull"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_platforms_that_are_there_get_an_index() {
    let mut multi = Multi::new();
    multi.store.forget(&multi.arm);
    let (multi, registry, outcome) = multi.push("", "1").await;
    assert_eq!(outcome.count("names linux/arm/v7 too, but without content"), 1, "{outcome:#?}");
    let chosen = children(&registry, "1");
    assert_eq!(chosen.len(), 4, "two images with their attestations");
    assert_eq!(json!(chosen[0]), multi.amd64["digest"]);
    assert_eq!(json!(chosen[1]), multi.arm64["digest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_layers_of_the_containerd_store_keep_their_digests() {
    let mut store = Store::default();
    let raw = noise(40_000, 8);
    let layer = store.blob("application/vnd.oci.image.layer.v1.tar", &raw);
    let rootfs = json!({"type": "layers", "diff_ids": [digest(&raw)]});
    let config = json!({"os": "linux", "architecture": "amd64", "rootfs": rootfs});
    let config = store.document(crate::layout::CONFIG, &config);
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let app = store.document(crate::layout::IMAGE, &manifest);
    store.enter(&app, None);
    store.list(&app, &["app:latest"]);
    let mut image = local(&store, &app);
    image.layers = vec![raw];
    let daemon = Daemon::start(vec![image]).await;
    let registry = Registry::start(Login::Nobody).await;
    Step::new(&daemon, &registry).run().await.references();
    assert_eq!(tagged(&registry, "latest").1, store.bytes(&app));
}
