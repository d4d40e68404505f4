//! Archives that somebody has tampered with: each is refused with words, and nothing is pushed.

use axum::http::Method;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::harness::{Outcome, Step};
use crate::image::{Image, Layout, Tar, digest, foreign_gzip, hex};
use crate::layout::{CONFIG, IMAGE, LAYER, Store};
use crate::registry::{Login, Registry};

/// Pushes an archive; the run must end with code 3 and push nothing.
async fn refused(kind: &str, archive: &[u8], words: &[&str]) -> Outcome {
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).file("bad.tar", archive);
    let outcome = step.set("SOURCE", &format!("{kind}:bad.tar")).run().await;
    outcome.fails(3, words);
    assert_eq!(registry.count(&Method::POST, "/uploads/"), 0);
    assert_eq!(registry.count(&Method::PUT, "/manifests/"), 0);
    outcome
}

async fn refused_store(store: &Store, words: &[&str]) {
    refused("oci-archive", &store.tar(), words).await;
}

/// A layout with one image whose manifest was changed by `change`.
fn store(change: impl FnOnce(&mut Store, &mut Value)) -> Store {
    let mut store = Store::default();
    let good = store.image("linux/amd64", &[b"one", b"two"]);
    let mut manifest = store.parsed(&good);
    store.forget(&good);
    change(&mut store, &mut manifest);
    let descriptor = store.document(IMAGE, &manifest);
    store.enter(&descriptor, None);
    store
}

/// A list in Docker's form of one image with these files.
fn archive(
    files: &[(&str, &[u8])],
    links: &[(&str, &str)],
    config: &[u8],
    layers: &[&str],
) -> Vec<u8> {
    let mut tar = Tar::new();
    for (name, target) in links {
        tar.link(name, target);
    }
    for (name, content) in files {
        tar.file(name, content);
    }
    let name = format!("{}.json", hex(config));
    tar.file(&name, config);
    let list = json!([{"Config": name, "RepoTags": ["app:1"], "Layers": layers}]);
    tar.file("manifest.json", list.to_string().as_bytes());
    tar.finish()
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    Image::new("app:1", Layout::Legacy, layers).config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let config = config(&[b"right"]);
    let wrong = archive(&[("a/layer.tar", b"wrong")], &[], &config, &["a/layer.tar"]);
    refused("docker-archive", &wrong, &["layer a/layer.tar hashes to", "expected"]).await;
    let packed = foreign_gzip(b"wrong");
    let wrong = archive(&[("a/layer.tar", &packed)], &[], &config, &["a/layer.tar"]);
    refused("docker-archive", &wrong, &["layer a/layer.tar hashes to", "expected"]).await;
    let broken = archive(&[("a/layer.tar", &packed[..20])], &[], &config, &["a/layer.tar"]);
    refused("docker-archive", &broken, &["compressed data is damaged"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_or_other_layers_than_the_configuration_has_are_refused() {
    let two = config(&[b"one", b"two"]);
    let files: [(&str, &[u8]); 2] = [("a/layer.tar", b"one"), ("b/layer.tar", b"two")];
    let fewer = archive(&files, &[], &two, &["a/layer.tar"]);
    refused("docker-archive", &fewer, &["1 layers are listed, 2 expected"]).await;
    let turned = archive(&files, &[], &two, &["b/layer.tar", "a/layer.tar"]);
    refused("docker-archive", &turned, &["hashes to"]).await;
    let missing = archive(&files, &[], &two, &["a/layer.tar", "c/layer.tar"]);
    refused("docker-archive", &missing, &["layer c/layer.tar is missing"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_nowhere_but_into_the_archive() {
    let secret = config(&[b"secret"]);
    for target in ["/etc/passwd", "../../../../../etc/passwd", "layer.tar", "../a/layer.tar"] {
        let tar = archive(&[], &[("a/layer.tar", target)], &secret, &["a/layer.tar"]);
        refused("docker-archive", &tar, &["layer a/layer.tar is missing"]).await;
    }
    let list = archive(&[], &[], &secret, &["/etc/passwd"]);
    refused("docker-archive", &list, &["layer /etc/passwd is missing"]).await;
    let list = archive(&[], &[], &secret, &["../../../../etc/passwd"]);
    refused("docker-archive", &list, &["etc/passwd is missing"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_climbs_is_a_name_inside_the_archive() {
    let config = config(&[b"layer"]);
    let tar = archive(&[("../../x/layer.tar", b"layer")], &[], &config, &["x/layer.tar"]);
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).file("odd.tar", &tar);
    let step = step.set("SOURCE", "docker-archive:odd.tar");
    step.run().await.references();
    assert_eq!(std::fs::read_dir(step.folder()).unwrap().count(), 1, "a file was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_a_wrong_name_is_refused() {
    let config = config(&[b"layer"]);
    let mut tar = Tar::new();
    tar.file("a/layer.tar", b"layer");
    let name = format!("{}.json", hex(b"another"));
    tar.file(&name, &config);
    let list = json!([{"Config": name, "Layers": ["a/layer.tar"]}]);
    tar.file("manifest.json", list.to_string().as_bytes());
    refused("docker-archive", &tar.finish(), &["hashes to"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_everything_may_not_be_said_twice() {
    let mut tar = Tar::new();
    tar.file("manifest.json", b"[]");
    tar.file("./manifest.json", b"[]");
    refused("docker-archive", &tar.finish(), &["it has two files manifest.json"]).await;
    let mut tar = Tar::new();
    tar.file("index.json", b"{}");
    tar.file("blobs/../index.json", b"{}");
    refused("oci-archive", &tar.finish(), &["it has two files index.json"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_does_not_match_its_name_is_refused() {
    let mut layer = store(|_, _| {});
    let name = layer.parsed(&layer.entries[0].clone())["layers"][1].clone();
    let hex = name["digest"].as_str().unwrap()["sha256:".len()..].to_owned();
    let size = layer.blobs[&hex].len();
    layer.blobs.insert(hex.clone(), vec![7; size]);
    refused_store(&layer, &[&format!("blob sha256:{hex} hashes to")]).await;

    let mut manifest = store(|_, _| {});
    let hex = manifest.entries[0]["digest"].as_str().unwrap()["sha256:".len()..].to_owned();
    manifest.blobs.get_mut(&hex).unwrap().push(b'\n');
    refused_store(&manifest, &["hashes to"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_lies_is_refused() {
    let wrong_size = store(|_, manifest| manifest["layers"][0]["size"] = json!(7));
    refused_store(&wrong_size, &["bytes, 7 are named"]).await;
    let no_layers = store(|_, manifest| manifest["layers"] = json!([]));
    refused_store(&no_layers, &["has 0 layers, its configuration has 2"]).await;
    let missing = store(|store, manifest| {
        let layer = manifest["layers"][0].clone();
        store.forget(&layer);
    });
    refused_store(&missing, &["is missing"]).await;
    let other_type = store(|_, manifest| manifest["mediaType"] = json!("text/plain"));
    refused_store(&other_type, &["says \"text/plain\""]).await;
    let sha512 = store(|_, manifest| {
        manifest["layers"][0]["digest"] = json!(format!("sha512:{}", "a".repeat(128)));
    });
    refused_store(&sha512, &["is not sha256"]).await;
    let path = store(|_, manifest| manifest["layers"][0]["digest"] = json!("sha256:../../etc"));
    refused_store(&path, &["is not sha256"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_layers_in_a_wrong_order_are_refused() {
    let mut store = Store::default();
    let raw = "application/vnd.oci.image.layer.v1.tar";
    let layers: [Value; 2] = [store.blob(raw, b"one"), store.blob(raw, b"two")];
    let diff_ids = [digest(b"two"), digest(b"one")];
    let config = json!({"rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = store.document(CONFIG, &config);
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let manifest = store.document(IMAGE, &manifest);
    store.enter(&manifest, None);
    refused_store(&store, &["where", "belongs"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_end_somewhere() {
    let mut deep = Store::default();
    let mut top = deep.image("linux/amd64", &[b"layer"]);
    for _ in 0..8 {
        top = deep.index(&[&top]);
    }
    deep.enter(&top, None);
    refused_store(&deep, &["nested too deeply"]).await;
    // Four times twenty is more than any walk should take.
    let mut wide = Store::default();
    let mut top = wide.image("linux/amd64", &[b"layer"]);
    for _ in 0..4 {
        top = wide.index(&[&top; 20]);
    }
    wide.enter(&top, None);
    refused_store(&wide, &["more manifests than any image"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_bounded() {
    let mut store = Store::default();
    let huge = store.blob(IMAGE, &vec![b' '; 5 << 20]);
    store.enter(&huge, None);
    refused_store(&store, &["bytes; 4194304 are allowed"]).await;
    let mut tar = Tar::new();
    tar.file("manifest.json", "[".repeat(100_000).as_bytes());
    refused("docker-archive", &tar.finish(), &["manifest.json is not readable"]).await;
    let mut tar = Tar::new();
    tar.file("manifest.json", &vec![b' '; 17 << 20]);
    refused("docker-archive", &tar.finish(), &["bytes; 16777216 are allowed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_cut_short_is_refused() {
    let mut store = Store::default();
    let app = store.image("linux/amd64", &[&crate::image::noise(100_000, 2)]);
    store.enter(&app, None);
    let whole = store.tar();
    for cut in [700, 5000, 60_000, 100_000] {
        refused("oci-archive", &whole[..cut], &["cannot be used"]).await;
    }
    let packed = foreign_gzip(&whole);
    refused("oci-archive", &packed[..packed.len() / 2], &["compressed data"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_cannot_write_into_the_log() {
    let config = config(&[b"layer"]);
    let name = format!("{}.json", hex(&config));
    let mut tar = Tar::new();
    tar.file("a/layer.tar", b"layer");
    tar.file(&name, &config);
    let list = json!([
        {"Config": name, "RepoTags": ["app:1\n✔ pushed"], "Layers": ["a/layer.tar"]},
        {"Config": "other.json", "RepoTags": ["app:\u{1b}[2J2"], "Layers": []},
    ]);
    tar.file("manifest.json", list.to_string().as_bytes());
    let outcome = refused("docker-archive", &tar.finish(), &["has 2 images"]).await;
    assert!(!outcome.log.contains('\u{1b}') && !outcome.log.contains("✔"), "{outcome:#?}");
    let mut tar = Tar::new();
    let list = json!([{"Config": "a\nb", "RepoTags": ["app:1"], "Layers": []}]);
    tar.file("manifest.json", list.to_string().as_bytes());
    refused("docker-archive", &tar.finish(), &["names a file as no file is named"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_with_odd_files_is_no_way_out() {
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::without_daemon(&registry).set("SOURCE", "oci:out");
    let mut store = Store::default();
    let app = store.image("linux/amd64", &[b"layer"]);
    let layer = store.parsed(&app)["layers"][0].clone();
    store.enter(&app, None);
    store.write(&step.folder().join("out"));
    let name = layer["digest"].as_str().unwrap().replace(':', "/");
    let blob = step.folder().join("out/blobs").join(name);
    std::fs::remove_file(&blob).unwrap();
    // A device without end and a link to a file that is something else.
    for target in ["/dev/zero", "/proc/self/environ"] {
        std::os::unix::fs::symlink(target, &blob).unwrap();
        let outcome = step.run().await;
        assert_eq!(outcome.status.code(), Some(3), "{outcome:#?}");
        assert!(!outcome.log.contains("BITBUCKET_WORKSPACE="), "{outcome:#?}");
        std::fs::remove_file(&blob).unwrap();
    }
    assert_eq!(registry.count(&Method::POST, "/uploads/"), 0);
    assert_eq!(layer["mediaType"], LAYER);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_without_a_usable_image_is_refused_with_the_reason() {
    let registry = Registry::start(Login::Nobody).await;
    let mut image = Image::new("app:latest", Layout::Containerd, &[b"one", b"two"]);
    let lying = store(|_, manifest| manifest["layers"][0]["size"] = json!(7));
    let id = lying.entries[0]["digest"].as_str().unwrap().to_owned();
    image.given = Some((id, lying.tar()));
    let daemon = Daemon::start(vec![image.clone()]).await;
    let outcome = Step::new(&daemon, &registry).run().await;
    outcome.fails(3, &["the export of image app:latest", "bytes, 7 are named"]);

    let mut tar = Tar::new();
    tar.file("index.json", br#"{"manifests":[]}"#);
    image.given = Some((digest(b"other"), tar.finish()));
    let daemon = Daemon::start(vec![image]).await;
    let outcome = Step::new(&daemon, &registry).run().await;
    outcome.fails(3, &["the export of image app:latest", "it has no manifest.json"]);
    assert_eq!(registry.count(&Method::POST, "/uploads/"), 0);
}
