//! Archives and layouts instead of a daemon: what is pushed of them, and which image is meant.

use std::io::Read as _;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::harness::Step;
use crate::image::{Fault, Image, Layout, Tar, digest, foreign_gzip, hex, noise};
use crate::layout::Store;
use crate::registry::{Login, Registry};

/// The manifest behind a tag.
fn manifest(registry: &Registry, tag: &str) -> Value {
    serde_json::from_slice(&registry.content().manifests[tag].1).unwrap()
}

/// The raw layers behind a tag, as somebody gets them who pulls it.
fn pulled(registry: &Registry, tag: &str) -> Vec<Vec<u8>> {
    let manifest = manifest(registry, tag);
    let content = registry.content();
    let blob = |layer: &Value| content.blobs[layer["digest"].as_str().unwrap()].clone();
    let layers = manifest["layers"].as_array().unwrap().iter().map(blob);
    layers.map(|layer| raw(&layer)).collect()
}

fn raw(layer: &[u8]) -> Vec<u8> {
    if layer.starts_with(&[0x28, 0xb5]) {
        return zstd::decode_all(layer).unwrap();
    }
    let mut raw = Vec::new();
    flate2::read::GzDecoder::new(layer).read_to_end(&mut raw).unwrap();
    raw
}

fn config_digest(registry: &Registry, tag: &str) -> String {
    manifest(registry, tag)["config"]["digest"].as_str().unwrap().to_owned()
}

fn image(layout: Layout) -> Image {
    Image::new("app:1", layout, &[&noise(300_000, 1), b"small layer", &noise(300_000, 1)])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_docker_saved_arrives_whole_whatever_the_engine() {
    let faults = [Fault::Empty, Fault::NoLayers, Fault::WrongSizes, Fault::WrongOrder];
    let layouts = [Layout::Legacy, Layout::Oci].into_iter().chain(faults.map(Layout::Faulty));
    let mut digests = Vec::new();
    for layout in layouts {
        let image = image(layout);
        let registry = Registry::start(Login::Nobody).await;
        let step = Step::without_daemon(&registry).file("app.tar", &image.export());
        step.set("SOURCE", "docker-archive:app.tar").run().await.references();
        assert_eq!(pulled(&registry, "latest"), image.layers, "{layout:?}");
        assert_eq!(config_digest(&registry, "latest"), digest(&image.config));
        digests.push(digest(&registry.content().manifests["latest"].1));
        assert_eq!(registry.count(&Method::POST, "/uploads/"), 3, "a repeated layer is sent once");
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "the layout of the archive must not show");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_may_be_compressed_as_a_whole() {
    let image = image(Layout::Legacy);
    let tar = image.export();
    for packed in [foreign_gzip(&tar), zstd::encode_all(&tar[..], 1).unwrap()] {
        let registry = Registry::start(Login::Nobody).await;
        let step = Step::without_daemon(&registry).file("app.tar.gz", &packed);
        step.set("SOURCE", "docker-archive:app.tar.gz").run().await.references();
        assert_eq!(pulled(&registry, "latest"), image.layers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_containerd_store_saved_keeps_its_digest() {
    let image = image(Layout::Containerd);
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).file("app.tar", &image.export());
    let outcome = step.set("SOURCE", "docker-archive:app.tar").run().await;
    let reference = format!("{}/acme/app:latest@{}", registry.address, image.id());
    assert_eq!(outcome.references(), [reference]);
    assert_eq!(registry.content().manifests["latest"].1, image.manifest());
    assert_eq!(pulled(&registry, "latest"), image.layers);
}

/// As Go's registry tools write it: compressed layers, named by nobody's digest.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_layers_of_a_plain_list_stay_as_they_are() {
    let layers = [noise(50_000, 3), noise(60_000, 4)];
    let image = Image::new("app:1", Layout::Legacy, &[&layers[0], &layers[1]]);
    let packed = [foreign_gzip(&layers[0]), zstd::encode_all(&layers[1][..], 3).unwrap()];
    let mut tar = Tar::new();
    tar.file(&digest(&image.config), &image.config);
    tar.file("a.tar.gz", &packed[0]);
    tar.file("b.tar.zst", &packed[1]);
    let list = json!([{
        "Config": digest(&image.config), "RepoTags": ["app:1"], "Layers": ["a.tar.gz", "b.tar.zst"],
    }]);
    tar.file("manifest.json", list.to_string().as_bytes());
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).file("app.tar", &tar.finish());
    step.set("SOURCE", "docker-archive:app.tar").run().await.references();
    assert_eq!(pulled(&registry, "latest"), image.layers);
    let layers = manifest(&registry, "latest")["layers"].clone();
    assert_eq!(layers[0]["digest"], digest(&packed[0]));
    assert_eq!(layers[1]["digest"], digest(&packed[1]));
    assert_eq!(layers[1]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_is_pushed_as_it_is_from_a_folder_and_from_an_archive() {
    let mut store = Store::default();
    let layers = [noise(200_000, 5), b"small".to_vec()];
    let app = store.image("linux/amd64", &[&layers[0], &layers[1]]);
    store.enter(&app, Some("1.2"));
    for source in ["oci:layout", "oci:layout:1.2", "oci-archive:app.tar", "oci-archive:app.tar.gz"]
    {
        let registry = Registry::start(Login::Nobody).await;
        let step = Step::without_daemon(&registry).file("app.tar", &store.tar());
        let step = step.file("app.tar.gz", &foreign_gzip(&store.tar())).set("SOURCE", source);
        store.write(&step.folder().join("layout"));
        let outcome = step.set("TAGS", "a b").run().await;
        for (tag, reference) in ["a", "b"].iter().zip(outcome.references()) {
            assert!(reference.ends_with(app["digest"].as_str().unwrap()), "{reference}");
            assert_eq!(registry.content().manifests[*tag].1, store.bytes(&app), "{source}");
            assert_eq!(pulled(&registry, tag), layers);
        }
        assert!(!outcome.log.contains("daemon"), "{outcome:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_needs_no_work_is_sent_from_where_it_lies() {
    let mut store = Store::default();
    let app = store.image("linux/amd64", &[&noise(3_000_000, 6)]);
    store.enter(&app, None);
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).file("app.tar", &store.tar());
    let copied = most_spooled(&step.set("SOURCE", "oci-archive:app.tar")).await;
    assert_eq!(copied, 0, "bytes were copied");
    // A raw layer has to be compressed somewhere; so the measure measures.
    let raw = Image::new("app:1", Layout::Oci, &[&noise(3_000_000, 9)]).export();
    let step = Step::without_daemon(&registry).file("app.tar", &raw);
    let copied = most_spooled(&step.set("SOURCE", "docker-archive:app.tar")).await;
    assert!(copied > 1_000_000, "{copied}");
}

/// The most bytes that lay in the spool at any time of a run.
async fn most_spooled(step: &Step) -> u64 {
    let mut child = step.spawn();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(step.spooled_bytes());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    step.finish(child).await.references();
    most
}

/// An archive of three images, as `docker save a b c` writes it.
fn several(names: [&[&str]; 3]) -> (Vec<u8>, [Image; 3]) {
    let images = [b"one", b"two", b"six"]
        .map(|layer: &[u8; 3]| Image::new("x", Layout::Legacy, &[&layer[..]]));
    let mut tar = Tar::new();
    let mut list = Vec::new();
    for (image, names) in images.iter().zip(names) {
        let layer = format!("{}/layer.tar", hex(&image.config));
        let config = format!("{}.json", hex(&image.config));
        tar.file(&layer, &image.layers[0]);
        tar.file(&config, &image.config);
        let tags = if names.is_empty() { Value::Null } else { json!(names) };
        list.push(json!({"Config": config, "RepoTags": tags, "Layers": [layer]}));
    }
    tar.file("manifest.json", json!(list).to_string().as_bytes());
    (tar.finish(), images)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_images_is_chosen_by_name_by_digest_or_by_place() {
    let (tar, images) = several([&["app:1", "app:one"], &["localhost/other:2"], &[]]);
    let id = digest(&images[2].config);
    let first = [
        ("docker-archive:all.tar:app:one", ""),
        ("docker-archive:all.tar", "docker.io/library/app:1"),
        ("docker-archive:all.tar:@0", ""),
    ];
    let others = [("docker-archive:all.tar", "other:2", 1), ("docker-archive:all.tar", &id, 2)];
    let first = first.map(|(source, image)| (source, image, 0));
    for (source, image, expected) in first.into_iter().chain(others) {
        let registry = Registry::start(Login::Nobody).await;
        let step = Step::without_daemon(&registry).file("all.tar", &tar).set("SOURCE", source);
        step.set("SOURCE_IMAGE", image).set("TAGS", "t").run().await.references();
        let pushed = config_digest(&registry, "t");
        assert_eq!(pushed, digest(&images[expected].config), "{source} {image}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_name_each_tag_finds_its_image_by_the_rule_for_the_daemon() {
    let (tar, images) = several([&["localhost/app:1.2"], &["app:latest"], &["other:1"]]);
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).file("all.tar", &tar);
    let step = step.set("SOURCE", "docker-archive:all.tar");
    step.set("TAGS", "1.2 edge").run().await.references();
    assert_eq!(config_digest(&registry, "1.2"), digest(&images[0].config));
    assert_eq!(config_digest(&registry, "edge"), digest(&images[1].config));

    let (tar, images) = several([&["app:7"], &["other:1"], &["other:latest"]]);
    let step = Step::without_daemon(&registry).file("all.tar", &tar);
    let step = step.set("SOURCE", "docker-archive:all.tar").set("TAGS", "new");
    step.run().await.references();
    assert_eq!(config_digest(&registry, "new"), digest(&images[0].config));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_that_is_not_clear_is_refused_with_what_there_is() {
    let registry = Registry::start(Login::Nobody).await;
    let (tar, _) = several([&["app:7"], &["app:8"], &[]]);
    let step = Step::without_daemon(&registry).file("all.tar", &tar);
    let step = step.set("SOURCE", "docker-archive:all.tar");
    let outcome = step.run().await;
    outcome.fails(3, &["has 3 images", "SOURCE_IMAGE", "app:7, app:8, @2 (without a name"]);
    let outcome = step.set("SOURCE_IMAGE", "app:9").run().await;
    outcome.fails(3, &["docker-archive:all.tar has no image app:9", "Images in it: app:7, app:8"]);
    let step = Step::without_daemon(&registry).file("all.tar", &tar);
    let step = step.set("SOURCE", "docker-archive:all.tar:app:7").set("SOURCE_IMAGE", "app:8");
    step.run().await.fails(2, &["SOURCE_IMAGE: is \"app:8\", but SOURCE ends in \"app:7\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_a_layout_may_be_nothing_but_a_tag() {
    let mut store = Store::default();
    let old = store.image("linux/amd64", &[b"old"]);
    let new = store.image("linux/amd64", &[b"new"]);
    store.enter(&old, Some("1"));
    store.enter(&new, Some("2"));
    store.enter(&new, Some("latest"));
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).set("SOURCE", "oci:out").set("TAGS", "1 2 3");
    store.write(&step.folder().join("out"));
    step.run().await.references();
    for (tag, expected) in [("1", &old), ("2", &new), ("3", &new)] {
        assert_eq!(registry.content().manifests[tag].1, store.bytes(expected), "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_there_is_told_with_what_is() {
    let registry = Registry::start(Login::Nobody).await;
    let cases: [(&str, &[&str]); 7] = [
        ("docker-archive:apps.tar", &["there is no file apps.tar", "are: app.tar"]),
        ("oci:app.tar", &["app.tar is not a folder", "oci-archive:app.tar"]),
        ("oci-archive:.", &["is not a file", "oci:."]),
        ("oci-archive:text", &["oci-archive:text", "is not a tar"]),
        ("oci-archive:empty", &["the file is empty"]),
        ("docker-archive:xz", &["compressed with xz"]),
        ("oci:.", &["it has no index.json"]),
    ];
    for (source, words) in cases {
        let step = Step::without_daemon(&registry).file("app.tar", b"x").file("empty", b"");
        let step = step.file("text", &b"no archive".repeat(100)).file("xz", b"\xfd7zXZ\0 and more");
        step.set("SOURCE", source).run().await.fails(3, words);
    }
    assert!(registry.content().seen.is_empty(), "nobody was asked before the image was found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_another_kind_is_recognised() {
    let registry = Registry::start(Login::Nobody).await;
    let mut store = Store::default();
    let app = store.image("linux/amd64", &[b"layer"]);
    store.enter(&app, None);
    let mut root = Tar::new();
    root.file("etc/hostname", b"container");
    root.file("bin/sh", b"shell");
    let root = root.finish();
    let (legacy, layout) = (image(Layout::Legacy).export(), store.tar());
    for (source, content, words) in [
        ("docker-archive:a.tar", &layout, "oci-archive:PATH"),
        ("oci-archive:a.tar", &legacy, "docker-archive:PATH"),
        ("docker-archive:a.tar", &root, "docker export"),
    ] {
        let step = Step::without_daemon(&registry).file("a.tar", content);
        step.set("SOURCE", source).run().await.fails(3, &[words]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_layers_are_compressed_as_it_is_asked_for() {
    let image = image(Layout::Legacy);
    for (method, ending) in [("zstd:1", "tar+zstd"), ("none", "tar"), ("gzip:1", "tar+gzip")] {
        let registry = Registry::start(Login::Nobody).await;
        let step = Step::without_daemon(&registry).file("app.tar", &image.export());
        let step = step.set("SOURCE", "docker-archive:app.tar").set("COMPRESSION", method);
        step.run().await.references();
        let from_archive = manifest(&registry, "latest");
        let kind = from_archive["layers"][0]["mediaType"].as_str().unwrap();
        assert_eq!(kind, format!("application/vnd.oci.image.layer.v1.{ending}"));
        if method == "none" {
            assert_eq!(from_archive["layers"][1]["digest"], digest(&image.layers[1]));
        } else {
            assert_eq!(pulled(&registry, "latest"), image.layers);
        }
        let daemon = Daemon::start(vec![image.clone()]).await;
        let step = Step::new(&daemon, &registry).set("COMPRESSION", method);
        step.set("TAGS", "again").run().await.references();
        assert_eq!(manifest(&registry, "again"), from_archive, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_of_a_daemon_may_have_another_name_than_the_package() {
    let named = Image::new("reg.example/team/built:7", Layout::Oci, &[b"built"]);
    let latest = Image::new("app:latest", Layout::Oci, &[b"latest"]);
    let daemon = Daemon::start(vec![named.clone(), latest]).await;
    let registry = Registry::start(Login::Nobody).await;
    for image in ["reg.example/team/built:7", &named.id()] {
        let step = Step::new(&daemon, &registry).set("SOURCE_IMAGE", image).set("TAGS", "a b");
        step.run().await.references();
        assert_eq!(config_digest(&registry, "a"), named.id());
        assert_eq!(config_digest(&registry, "b"), named.id());
    }
    let step = Step::new(&daemon, &registry).set("SOURCE_IMAGE", "built:8");
    step.run().await.fails(3, &["there is no local image built:8", "reg.example/team/built:7"]);
}

/// As podman's service answers to Docker's clients.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_with_layers_beside_each_other_is_read() {
    let mut image = Image::new("app:latest", Layout::Legacy, &[b"one", b"two"]);
    let mut tar = Tar::new();
    let mut paths = Vec::new();
    for layer in &image.layers {
        let name = format!("{}.tar", hex(layer));
        tar.file(&name, layer);
        tar.link(&format!("{}/layer.tar", hex(&name.clone().into_bytes())), &format!("../{name}"));
        paths.push(name);
    }
    let config = format!("{}.json", hex(&image.config));
    tar.file(&config, &image.config);
    let list = json!([{"Config": config, "RepoTags": null, "Layers": paths}]);
    tar.file("manifest.json", list.to_string().as_bytes());
    image.given = Some((image.id(), tar.finish()));
    let daemon = Daemon::start(vec![image.clone()]).await;
    let registry = Registry::start(Login::Nobody).await;
    Step::new(&daemon, &registry).run().await.references();
    assert_eq!(pulled(&registry, "latest"), image.layers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_may_not_be_handed_on_may_be_missing() {
    let mut store = Store::default();
    let app = store.image("windows/amd64", &[b"base", b"app"]);
    let mut manifest = store.parsed(&app);
    let base = manifest["layers"][0].clone();
    manifest["layers"][0]["mediaType"] =
        json!("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
    manifest["layers"][0]["urls"] = json!(["https://windows.example/base"]);
    store.forget(&base);
    let app = store.document(crate::layout::IMAGE, &manifest);
    store.enter(&app, None);
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).file("app.tar", &store.tar());
    let outcome = step.set("SOURCE", "oci-archive:app.tar").run().await;
    outcome.references();
    assert_eq!(registry.content().manifests["latest"].1, store.bytes(&app));
    assert_eq!(outcome.count("may not be handed on: left out"), 1, "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_stopped_while_it_reads_leaves_nothing_behind() {
    let registry = Registry::start(Login::Nobody).await;
    let image = Image::new("app:1", Layout::Legacy, &[&noise(80_000_000, 11)]);
    let step = Step::without_daemon(&registry).file("app.tar", &image.export());
    let step = step.set("SOURCE", "docker-archive:app.tar");
    let child = step.spawn();
    let deadline = Instant::now() + Duration::from_secs(60);
    while step.spooled_bytes() == 0 {
        assert!(Instant::now() < deadline, "nothing was read");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    step.finish(child).await.fails(1, &["stopped by SIGTERM"]);
}
