//! A push costs what changed: layers that the registry has are neither read nor sent.

use axum::http::Method;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::harness::{Outcome, Step};
use crate::image::{Image, Layout, digest, foreign_gzip, noise};
use crate::registry::{Faults, Login, Registry};

/// The bottom layers of the images here; each is larger than a few pieces of an export.
fn base() -> Vec<Vec<u8>> {
    (0..4).map(|index| noise(300_000, 41 + 2 * index)).collect()
}

fn image(layout: Layout, top: &[u8]) -> Image {
    let base = base();
    let layers: Vec<&[u8]> = base.iter().map(Vec::as_slice).chain([top]).collect();
    Image::new("app:latest", layout, &layers)
}

/// Forgets what the registry was asked so far.
fn forget(registry: &Registry) {
    let mut content = registry.content();
    content.seen.clear();
    content.uploaded = 0;
}

async fn push(image: &Image, registry: &Registry) -> (Daemon, Outcome) {
    let daemon = Daemon::start(vec![image.clone()]).await;
    let outcome = Step::new(&daemon, registry).login().run().await;
    (daemon, outcome)
}

/// The reference that a push of the image into an empty registry gives, without the host.
async fn digest_of(image: &Image) -> String {
    let registry = Registry::start(Login::Nobody).await;
    let (_, outcome) = push(image, &registry).await;
    outcome.references()[0].rsplit_once('@').unwrap().1.to_owned()
}

fn pushed_digest(outcome: &Outcome) -> &str {
    outcome.references()[0].rsplit_once('@').unwrap().1
}

/// Every tag leads to blobs that are there, with the sizes that the manifest names.
fn assert_whole(registry: &Registry, tag: &str) {
    let content = registry.content();
    let manifest: Value = serde_json::from_slice(&content.manifests[tag].1).unwrap();
    for blob in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
        let stored = &content.blobs[blob["digest"].as_str().unwrap()];
        assert_eq!(stored.len() as u64, blob["size"].as_u64().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_image_is_not_exported_and_costs_a_look_at_each_layer_and_six_requests() {
    for layout in [Layout::Legacy, Layout::Oci, Layout::Containerd] {
        for login in [Login::Nobody, Login::Basic, Login::Bearer] {
            let registry = Registry::start(login).await;
            let image = image(layout, b"top");
            let (_, first) = push(&image, &registry).await;
            forget(&registry);
            let (daemon, second) = push(&image, &registry).await;
            assert_eq!(first.references(), second.references());
            assert_eq!(daemon.exported(), (0, 0), "{second:#?}");
            let content = registry.content();
            assert_eq!(content.uploaded, 0);
            let asked = content.seen.len();
            assert!(asked <= 6 + image.layers.len(), "{asked}: {:#?}", content.seen);
            assert!(content.seen.iter().all(|seen| seen.method != Method::POST));
            assert_eq!(second.count("nothing had to be read"), 1, "{second:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_changed_image_only_the_layer_that_changed_is_sent() {
    for layout in [Layout::Legacy, Layout::Oci] {
        let registry = Registry::start(Login::Bearer).await;
        push(&image(layout, b"top"), &registry).await.1.references();
        forget(&registry);
        let changed = image(layout, &noise(50_000, 7));
        let (daemon, outcome) = push(&changed, &registry).await;
        assert_eq!(pushed_digest(&outcome), digest_of(&changed).await);
        assert_whole(&registry, "latest");
        assert_eq!(daemon.exported().0, 1);
        assert_eq!(
            registry.count(&Method::POST, "/uploads/"),
            2,
            "the layer and the configuration"
        );
        let sent = registry.content().uploaded;
        assert!(sent < 50_000 + 500 + changed.config.len(), "{sent} bytes were sent");
        assert_eq!(outcome.count(": pushed "), 2, "{outcome:#?}");
        assert_eq!(outcome.count("exists"), 4, "{outcome:#?}");
        assert_eq!(outcome.count("4 there already, 2 sent"), 1, "{outcome:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_read_no_further_than_to_the_last_layer_that_is_needed() {
    // A top whose name sorts before most others, and a configuration that is no obstacle.
    for layout in [Layout::Oci, Layout::Legacy] {
        let image = (0..2000).map(|seed| {
            let base: Vec<Vec<u8>> = (0..4).map(|index| noise(3_000_000, 41 + 2 * index)).collect();
            let top = noise(1000, 2 * seed);
            let layers: Vec<&[u8]> = base.iter().map(Vec::as_slice).chain([&top[..]]).collect();
            Image::new("app:latest", layout, &layers)
        });
        let lowest = |image: &Image| {
            let mut names = image.diff_ids();
            names.push(image.id());
            let needed = [image.diff_ids().pop().unwrap(), image.id()];
            names.sort();
            layout == Layout::Legacy
                || names[..3].iter().filter(|n| needed.contains(n)).count() == 2
        };
        let image = image.take(200).find(lowest).unwrap();
        let registry = Registry::start(Login::Nobody).await;
        let mut before = image.clone();
        *before.layers.last_mut().unwrap() = b"before".to_vec();
        let layers: Vec<&[u8]> = before.layers.iter().map(Vec::as_slice).collect();
        push(&Image::new("app:latest", layout, &layers), &registry).await.1.references();
        let (daemon, outcome) = push(&image, &registry).await;
        outcome.references();
        let (exports, bytes) = daemon.exported();
        assert_eq!(exports, 1);
        if layout == Layout::Oci {
            // What is in buffers between the two is not read, but taken.
            assert!(bytes < 11_000_000, "{bytes} bytes of the export were taken");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_of_old_layers_is_all_that_is_sent() {
    let registry = Registry::start(Login::Nobody).await;
    let old = image(Layout::Legacy, b"top");
    push(&old, &registry).await.1.references();
    forget(&registry);
    let mut new = old.clone();
    new.config = String::from_utf8(old.config.clone()).unwrap().replace("/app", "/new").into();
    let (daemon, outcome) = push(&new, &registry).await;
    assert_eq!(pushed_digest(&outcome), digest_of(&new).await);
    assert_eq!((daemon.exported().0, registry.content().uploaded), (1, new.config.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_and_the_tag_of_the_branch_are_looked_at_for_a_new_tag() {
    for (variables, tag) in [
        (vec![("TAGS", "7")], "latest"),
        (vec![("TAGS", "7"), ("BITBUCKET_BRANCH", "feature/x y")], "feature-x-y"),
    ] {
        let registry = Registry::start(Login::Nobody).await;
        let daemon = Daemon::start(vec![image(Layout::Oci, b"top")]).await;
        Step::new(&daemon, &registry).set("TAGS", tag).run().await.references();
        forget(&registry);
        let step = Step::new(&daemon, &registry);
        let step = variables.iter().fold(step, |step, (name, value)| step.set(name, value));
        step.run().await.references();
        assert_eq!(daemon.exported().0, 1, "only the first time");
        assert_eq!(registry.content().uploaded, 0, "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_another_package_are_mounted_where_it_is_named_or_where_the_daemon_has_seen_them()
{
    for by_name in [true, false] {
        let faults = Faults { mountable: Some("acme/base"), ..Faults::default() };
        let registry = Registry::with_faults(Login::Bearer, faults).await;
        // The registry of these tests has one space for all packages, so nothing is there at first.
        let base = Image::new("base:3", Layout::Oci, &[&base()[0]]);
        let daemon = Daemon::start(vec![base.clone()]).await;
        let step = Step::new(&daemon, &registry).login().set("IMAGE_NAME", "base:3");
        let outcome = step.run().await;
        let manifest = pushed_digest(&outcome).to_owned();
        let layer = {
            let mut content = registry.content();
            let manifest: Value = serde_json::from_slice(&content.manifests["3"].1).unwrap();
            let layer = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
            content.blobs.remove(&layer).unwrap();
            layer
        };
        forget(&registry);
        let mut app = Image::new("app:latest", Layout::Oci, &[&self::base()[0], b"top"]);
        let variable = if by_name { "base:3" } else { "" };
        if !by_name {
            app.seen_as = vec![format!("{}/acme/base@{manifest}", registry.address)];
            app.seen_as.push(format!("elsewhere.example/acme/base@{manifest}"));
        }
        let daemon = Daemon::start(vec![app]).await;
        let step = Step::new(&daemon, &registry).login().set("CACHE_FROM", variable);
        let outcome = step.run().await;
        outcome.references();
        assert_eq!(outcome.count("mounted from acme/base"), 1, "{outcome:#?}");
        assert!(!registry.content().blobs.contains_key(&layer), "it was sent");
    }
}

/// Puts an image under `latest` whose configuration and layers are these.
fn plant(registry: &Registry, diff_ids: &[String], layers: &[Vec<u8>]) {
    let config = json!({"rootfs": {"type": "layers", "diff_ids": diff_ids}}).to_string();
    let kind = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let described: Vec<Value> = layers
        .iter()
        .map(|layer| json!({"mediaType": kind, "digest": digest(layer), "size": layer.len()}))
        .collect();
    let manifest = json!({"schemaVersion": 2, "layers": described,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": digest(config.as_bytes()), "size": config.len()}});
    let manifest = manifest.to_string().into_bytes();
    let kind = "application/vnd.docker.distribution.manifest.v2+json".to_owned();
    let mut content = registry.content();
    content.blobs.insert(digest(config.as_bytes()), config.into_bytes());
    for layer in layers {
        content.blobs.insert(digest(layer), layer.clone());
    }
    content.manifests.insert("latest".to_owned(), (kind, manifest));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_has_pushed_is_used_if_it_is_in_the_form_that_is_asked_for() {
    let image = image(Layout::Oci, b"top");
    let theirs: Vec<Vec<u8>> = image.layers.iter().map(|layer| foreign_gzip(layer)).collect();
    for (compression, used) in [("gzip:9", 5), ("zstd", 0), ("none", 0)] {
        let registry = Registry::start(Login::Nobody).await;
        plant(&registry, &image.diff_ids(), &theirs);
        let daemon = Daemon::start(vec![image.clone()]).await;
        let step = Step::new(&daemon, &registry).set("COMPRESSION", compression);
        let outcome = step.run().await;
        outcome.references();
        assert_eq!(outcome.count("exists"), used, "{compression}: {outcome:#?}");
        assert_whole(&registry, "latest");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_contradicts_itself_is_not_believed() {
    let image = image(Layout::Legacy, b"top");
    let theirs: Vec<Vec<u8>> = image.layers.iter().map(|layer| foreign_gzip(layer)).collect();
    let expected = digest_of(&image).await;
    let fewer = image.diff_ids()[..4].to_vec();
    for (diff_ids, garbles) in [(fewer, false), (image.diff_ids(), true)] {
        let faults = Faults { garbles, ..Faults::default() };
        let registry = Registry::with_faults(Login::Nobody, faults).await;
        plant(&registry, &diff_ids, &theirs);
        let (_, outcome) = push(&image, &registry).await;
        assert_eq!(pushed_digest(&outcome), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_vanishes_after_it_was_found_is_sent_after_all() {
    let registry = Registry::start(Login::Bearer).await;
    let image = image(Layout::Oci, b"top");
    let (_, first) = push(&image, &registry).await;
    registry.content().faults().losing = 2;
    let (daemon, second) = push(&image, &registry).await;
    assert_eq!(first.references(), second.references());
    assert_eq!(second.count("does not have what it named before"), 1, "{second:#?}");
    assert_eq!(daemon.exported().0, 1);
    assert_whole(&registry, "latest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_shows_no_manifests_gets_everything() {
    for status in [401, 403, 404, 500] {
        let faults = Faults { no_manifests: Some(status), ..Faults::default() };
        let registry = Registry::with_faults(Login::Nobody, faults).await;
        let (_, outcome) = push(&image(Layout::Oci, b"top"), &registry).await;
        // The tag cannot be verified then, which is another matter; the blobs have arrived.
        assert_eq!(registry.content().blobs.len(), 6, "{status}: {outcome:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_an_archive_that_are_known_are_not_compressed() {
    let registry = Registry::start(Login::Nobody).await;
    let image = image(Layout::Legacy, b"top");
    push(&image, &registry).await.1.references();
    forget(&registry);
    let changed = self::image(Layout::Legacy, b"other top");
    let step = Step::without_daemon(&registry).file("image.tar", &changed.export());
    let outcome = step.set("SOURCE", "docker-archive:image.tar").run().await;
    assert_eq!(pushed_digest(&outcome), digest_of(&changed).await);
    assert_eq!(outcome.count("the registry has 4 of 5 layers already"), 1, "{outcome:#?}");
    assert_whole(&registry, "latest");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_build_is_annotated_though_nothing_is_exported() {
    let registry = Registry::start(Login::Nobody).await;
    let mut image = image(Layout::Oci, b"top");
    let config = String::from_utf8(image.config.clone()).unwrap();
    image.config = config.replacen('{', r#"{"created":"2026-01-02T03:04:05Z","#, 1).into_bytes();
    let daemon = Daemon::start(vec![image.clone()]).await;
    let step = Step::new(&daemon, &registry).set("PROVENANCE", "true");
    let first = step.run().await;
    let second = step.run().await;
    assert_eq!(first.references(), second.references());
    assert_eq!(daemon.exported().0, 1);
    let manifest: Value =
        serde_json::from_slice(&registry.content().manifests["latest"].1).unwrap();
    let created = &manifest["annotations"]["org.opencontainers.image.created"];
    assert_eq!(created, "2026-01-02T03:04:05Z");
}
