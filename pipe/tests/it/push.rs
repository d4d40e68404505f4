//! Pushes that succeed, and what is in the registry afterwards.

use std::io::Read as _;

use axum::http::Method;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::harness::Step;
use crate::image::{Fault, Image, Layout, digest, noise};
use crate::registry::{Login, Registry};

/// The manifest behind a tag: its media type, its bytes, and the same parsed.
fn manifest(registry: &Registry, tag: &str) -> (String, Vec<u8>, Value) {
    let (kind, bytes) = registry.content().manifests[tag].clone();
    let parsed = serde_json::from_slice(&bytes).unwrap();
    (kind, bytes, parsed)
}

/// Pulls what a tag names and compares it with the local image, byte by byte.
fn assert_pulls(registry: &Registry, tag: &str, image: &Image) {
    let (_, _, manifest) = manifest(registry, tag);
    let content = registry.content();
    assert_eq!(content.blobs[manifest["config"]["digest"].as_str().unwrap()], image.config);
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), image.layers.len());
    for (layer, expected) in layers.iter().zip(&image.layers) {
        let blob = &content.blobs[layer["digest"].as_str().unwrap()];
        let mut raw = Vec::new();
        flate2::read::GzDecoder::new(&blob[..]).read_to_end(&mut raw).unwrap();
        assert_eq!(digest(&raw), digest(expected));
    }
}

fn two_layers(layout: Layout) -> Image {
    Image::new("app:latest", layout, &[&noise(3_000_000, 1), b"small layer"])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_either_raw_layout_arrives_whole_and_equal() {
    let mut digests = Vec::new();
    let faults = [Fault::Empty, Fault::NoLayers, Fault::WrongSizes, Fault::WrongOrder];
    let layouts = [Layout::Legacy, Layout::Oci].into_iter().chain(faults.map(Layout::Faulty));
    for layout in layouts {
        let image = two_layers(layout);
        let daemon = Daemon::start(vec![image.clone()]).await;
        let registry = Registry::start(Login::Bearer).await;
        let outcome = Step::new(&daemon, &registry).login().run().await;
        let (kind, bytes, parsed) = manifest(&registry, "latest");
        let reference = format!("{}/acme/app:latest@{}", registry.address, digest(&bytes));
        assert_eq!(outcome.references(), [reference]);
        assert_eq!(kind, "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(parsed["mediaType"], kind.as_str());
        assert_pulls(&registry, "latest", &image);
        digests.push(digest(&bytes));
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "the layout of the export must not show");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_layers_of_the_containerd_store_keep_their_digests() {
    let image = two_layers(Layout::Containerd);
    let daemon = Daemon::start(vec![image.clone()]).await;
    let registry = Registry::start(Login::Basic).await;
    let outcome = Step::new(&daemon, &registry).login().run().await;
    let reference = format!("{}/acme/app:latest@{}", registry.address, image.id());
    assert_eq!(outcome.references(), [reference]);
    let (kind, bytes, _) = manifest(&registry, "latest");
    assert_eq!(kind, "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(bytes, image.manifest());
    assert_pulls(&registry, "latest", &image);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_push_sends_no_blob() {
    let daemon = Daemon::start(vec![two_layers(Layout::Legacy)]).await;
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::new(&daemon, &registry);
    let first = step.run().await;
    assert_eq!(first.count(": pushed "), 3, "{first:#?}");
    let uploads = registry.count(&Method::POST, "/uploads/");
    let second = step.run().await;
    assert_eq!(first.references(), second.references());
    assert_eq!(second.count(": exists "), 3, "{second:#?}");
    assert_eq!(registry.count(&Method::POST, "/uploads/"), uploads);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_layer_is_sent_once_and_named_twice() {
    let base = noise(100_000, 5);
    for layout in [Layout::Legacy, Layout::Oci] {
        let image = Image::new("app:latest", layout, &[&base, b"other", &base]);
        let daemon = Daemon::start(vec![image.clone()]).await;
        let registry = Registry::start(Login::Nobody).await;
        Step::new(&daemon, &registry).run().await.references();
        assert_pulls(&registry, "latest", &image);
        assert_eq!(registry.count(&Method::POST, "/uploads/"), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_layers_is_pushed() {
    let image = Image::new("app:latest", Layout::Oci, &[]);
    let daemon = Daemon::start(vec![image.clone()]).await;
    let registry = Registry::start(Login::Nobody).await;
    Step::new(&daemon, &registry).run().await.references();
    assert_pulls(&registry, "latest", &image);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tags_are_pushed_with_one_upload_and_in_order() {
    let daemon = Daemon::start(vec![two_layers(Layout::Oci)]).await;
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::new(&daemon, &registry).set("TAGS", "1.2, latest\nedge 1.2");
    let outcome = step.run().await;
    let tags: Vec<&str> = outcome
        .references()
        .iter()
        .map(|reference| reference.rsplit_once('@').unwrap().0.rsplit_once(':').unwrap().1)
        .collect();
    assert_eq!(tags, ["1.2", "latest", "edge"]);
    assert_eq!(registry.count(&Method::POST, "/uploads/"), 3);
    assert_eq!(registry.count(&Method::PUT, "/manifests/"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_last_means_that_no_manifest_comes_before_a_blob() {
    let daemon = Daemon::start(vec![two_layers(Layout::Oci)]).await;
    let registry = Registry::start(Login::Nobody).await;
    Step::new(&daemon, &registry).run().await.references();
    let content = registry.content();
    let puts = content.seen.iter().filter(|seen| seen.method == Method::PUT);
    let kinds: Vec<bool> = puts.map(|seen| seen.path.contains("/manifests/")).collect();
    assert_eq!(kinds, [false, false, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tag_means_its_own_local_image_or_latest() {
    let latest = Image::new("app:latest", Layout::Oci, &[b"latest"]);
    let numbered = Image::new("app:1.2", Layout::Oci, &[b"numbered"]);
    let daemon = Daemon::start(vec![latest.clone(), numbered.clone()]).await;
    let registry = Registry::start(Login::Nobody).await;
    Step::new(&daemon, &registry).set("TAGS", "1.2 edge").run().await.references();
    assert_pulls(&registry, "1.2", &numbered);
    assert_pulls(&registry, "edge", &latest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_in_the_name_chooses_the_image_and_is_the_default_tag() {
    let latest = Image::new("app:latest", Layout::Oci, &[b"latest"]);
    let numbered = Image::new("app:1.2", Layout::Oci, &[b"numbered"]);
    let daemon = Daemon::start(vec![latest, numbered.clone()]).await;
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::new(&daemon, &registry).set("IMAGE_NAME", "app:1.2");
    step.run().await.references();
    assert_pulls(&registry, "1.2", &numbered);
    assert!(!registry.content().manifests.contains_key("latest"));
    let list = step.set("TAGS_COUNT", "2").set("TAGS_0", "a").set("TAGS_1", "latest");
    list.run().await.references();
    assert_pulls(&registry, "a", &numbered);
    assert_pulls(&registry, "latest", &numbered);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_local_tag_is_found_and_a_choice_is_not_guessed() {
    let only = Image::new("app:build-7", Layout::Oci, &[b"only"]);
    let daemon = Daemon::start(vec![only.clone()]).await;
    let registry = Registry::start(Login::Nobody).await;
    Step::new(&daemon, &registry).set("TAGS", "2.0").run().await.references();
    assert_pulls(&registry, "2.0", &only);

    let other = Image::new("app:build-8", Layout::Oci, &[b"other"]);
    let daemon = Daemon::start(vec![only, other]).await;
    let outcome = Step::new(&daemon, &registry).set("TAGS", "3.0").run().await;
    outcome.fails(3, &["there is no local image app:3.0", "app:build-7, app:build-8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_on_a_socket_and_a_name_with_slashes_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new("team/api/app:latest", Layout::Legacy, &[b"layer"]);
    let daemon = Daemon::on_socket(vec![image], &folder.path().join("d.sock"));
    let registry = Registry::start(Login::Bearer).await;
    let step = Step::new(&daemon, &registry).login().set("IMAGE_NAME", "team/api/app");
    let outcome = step.run().await;
    let prefix = format!("{}/acme/team/api/app:latest@sha256:", registry.address);
    assert!(outcome.references()[0].starts_with(&prefix), "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_step_gets_the_results_as_variables() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let daemon = Daemon::start(vec![two_layers(Layout::Oci)]).await;
    let registry = Registry::start(Login::Nobody).await;
    let path = file.path().to_str().unwrap();
    let step = Step::new(&daemon, &registry).set("TAGS", "a b");
    let outcome = step.set("BITBUCKET_PIPELINES_VARIABLES_PATH", path).run().await;
    let text = std::fs::read_to_string(file.path()).unwrap();
    let reference = outcome.references()[0];
    let digest = reference.rsplit_once('@').unwrap().1;
    assert!(text.starts_with(&format!("IMAGE_REF={reference}\nIMAGE_DIGEST={digest}\n")), "{text}");
    assert!(text.contains("\nIMAGE_TAGS=a b\nIMAGE_ID=sha256:"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_learns_which_build_is_pushing() {
    let daemon = Daemon::start(vec![two_layers(Layout::Oci)]).await;
    let registry = Registry::start(Login::Bearer).await;
    let step = Step::new(&daemon, &registry).login().set("BITBUCKET_BUILD_NUMBER", "42");
    let step = step.set("BITBUCKET_COMMIT", "abc").set("BITBUCKET_BRANCH", "feature/x y");
    step.set("BITBUCKET_PIPELINE_UUID", "{1-2}").run().await.references();
    let expected = concat!(
        "standpipe-pipe/",
        env!("CARGO_PKG_VERSION"),
        " build/42 commit/abc branch/feature/x%20y pipeline/{1-2}"
    );
    let content = registry.content();
    assert!(content.seen.iter().all(|seen| seen.user_agent == expected), "{:#?}", content.seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_colours_unless_they_are_switched_off() {
    let daemon = Daemon::start(vec![two_layers(Layout::Oci)]).await;
    let registry = Registry::start(Login::Nobody).await;
    // An empty NO_COLOR is none.
    let step = Step::new(&daemon, &registry).set("NO_COLOR", "").set("DEBUG", "");
    let outcome = step.finish(step.spawn()).await;
    assert!(outcome.log.contains("\u{1b}[34mINFO: "), "{outcome:#?}");
    assert!(!outcome.log.contains("DEBUG"), "{outcome:#?}");
    assert!(outcome.out.lines().last().unwrap().starts_with("\u{1b}[32m✔ "), "{outcome:#?}");
}
