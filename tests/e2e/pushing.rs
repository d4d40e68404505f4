//! A push costs what changed, and a break no more than a piece: the built pipe against the built
//! server, with images of a real Docker Engine where that matters.

use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::cutter::Cutter;
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::dockerd::Dockerd;
use standpipe_tests::environment;
use standpipe_tests::images;
use standpipe_tests::manifest::{CONFIG, IMAGE, LAYER, descriptor};
use standpipe_tests::payload::{Payload, digest_of};
use standpipe_tests::pipe::{PipeOutcome, PipeRun};
use standpipe_tests::rest::Credential;
use standpipe_tests::server::ServerOptions;

use crate::world::{World, turn};

const MIB: u64 = 1 << 20;

/// Writes an OCI layout with an image of one layer of noise; the layer's digest.
pub(crate) fn layout(directory: &Path, seed: u64, size: u64) -> String {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("our own folder is writable");
    let file = |digest: &str| blobs.join(digest.trim_start_matches("sha256:"));
    let payload = Payload::new(seed, size);
    let layer = payload.digest();
    payload.write_to(&file(&layer)).expect("our own folder is writable");
    let add = |kind: &str, content: Value| {
        let content = content.to_string();
        let digest = digest_of(content.as_bytes());
        fs::write(file(&digest), &content).expect("our own folder is writable");
        descriptor(kind, &digest, content.len() as u64)
    };
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(b"not looked at")]}});
    let config = add(CONFIG, config);
    let layers = [descriptor(LAYER, &layer, size)];
    let manifest =
        json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers});
    let index = json!({"schemaVersion": 2, "manifests": [add(IMAGE, manifest)]});
    fs::write(directory.join("index.json"), index.to_string()).expect("our own folder is writable");
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .expect("our own folder is writable");
    layer
}

/// Reading a layout needs no daemon.
pub(crate) const NO_DAEMON: &str = "tcp://127.0.0.1:1";

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_was_cut_goes_on_in_a_new_run_with_a_new_token() {
    let _turn = turn().await;
    let (size, piece) = match environment::is_soak() {
        true => (2048 * MIB, 64 * MIB),
        false => (48 * MIB, 4 * MIB),
    };
    let (line, lead) = Cutter::open().await;
    let address = ("STANDPIPE_PUBLIC_URL", format!("http://{}", line.authority()));
    let options = ServerOptions { environment: vec![address], ..Default::default() };
    let world = World::with_options(options, &["app"]).await;
    lead.to(world.server.authority());
    let folder = temporary_directory("resumed");
    for (round, (percent, remembers)) in
        [(50, true), (50, false), (90, false), (99, false), (99, true)].into_iter().enumerate()
    {
        let place = folder.path().join(format!("layout-{round}"));
        let layer = layout(&place, 100 + round as u64, size);
        let storage = folder.path().join(format!("storage-{round}"));
        fs::create_dir(&storage).expect("our own folder is writable");
        let run = async |retries: &str| {
            let credential = world.pipeline_token().await;
            let mut run = PipeRun::new(NO_DAEMON)
                .set("REGISTRY", &line.authority())
                .set("BITBUCKET_PACKAGES_USERNAME", &credential.username)
                .set("BITBUCKET_PACKAGES_TOKEN", &credential.secret)
                .set("IMAGE_NAME", "app")
                .set("SOURCE", &format!("oci:{}", place.display()))
                .set("CHUNK_SIZE", &format!("{}M", piece / MIB))
                .set("RETRIES", retries);
            if remembers {
                run = run.set("BITBUCKET_PIPE_STORAGE_DIR", &storage.to_string_lossy());
            }
            run.finish().await
        };
        let before = line.sent();
        line.cut_after(size * percent / 100);
        run("0").await.failed(5, &[]);
        assert!(line.sent() - before >= size * percent / 100);
        line.mend();
        let again = run("5").await;
        let _ = again.digest();
        assert!(again.finished.stderr.contains("an earlier run has sent"), "{}", again.finished);
        let sent = line.sent() - before;
        // What is not the layer: tokens, manifests, the heads of requests.
        let most = size + piece + MIB;
        assert!(sent <= most, "cut at {percent} %: {sent} bytes for a layer of {size}");
        assert_eq!(world.raw().pull_blob("acme/app", &layer).await, layer);
        fs::remove_dir_all(&place).expect("our own folder is writable");
    }
    // Nothing is left open.
    assert_eq!(world.server.unfinished(), Vec::<std::path::PathBuf>::new());
}

struct Setting {
    docker: Client,
    host: String,
    world: World,
    token: Credential,
}

impl Setting {
    async fn new() -> Option<Self> {
        let docker = Client::find(Kind::Docker).await?;
        let host = Dockerd::shared().await?.host();
        let world = World::with_packages(&["app", "base"]).await;
        let token = world.pipeline_token().await;
        docker.sign_in(world.server.authority(), &token).await;
        Some(Self { docker, host, world, token })
    }

    async fn push(&self, package: &str, local: &str, variables: &[(&str, &str)]) -> PipeOutcome {
        let run = PipeRun::push(&self.host, &self.world.server, &self.token, package);
        let run = run.set("SOURCE_IMAGE", local);
        let run = variables.iter().fold(run, |run, (name, value)| run.set(name, value));
        run.finish().await
    }

    /// Pulls into the daemon, which unpacks and compares every layer; the image's ID.
    async fn pulled_id(&self, package: &str, tag: &str) -> String {
        let reference = self.world.reference(package, tag);
        let _ = self.docker.run(&["pull", "--quiet", &reference]).await;
        let id = self.docker.run(&["image", "inspect", "--format={{.Id}}", &reference]).await;
        let _ = self.docker.run(&["rmi", &reference]).await;
        id.stdout.trim().to_owned()
    }
}

/// A name that no other test of the shared daemon has.
fn unique(name: &str) -> String {
    format!("localhost/pushing-{name}-{}:1", std::process::id())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_what_need_not_be_sent_under_a_new_tag_too() {
    let Some(setting) = Setting::new().await else { return };
    let (old, new) = (unique("old"), unique("new"));
    let image = images::build(&setting.docker, &old, 31, &[2_000_000, 70_000, 3000]).await;
    let first = setting.push("app", &old, &[("TAGS", "build-1")]).await;
    let second = setting.push("app", &old, &[("TAGS", "build-2")]).await;
    assert_eq!(first.digest(), second.digest());
    let told = second.finished.output();
    assert!(told.contains("nothing had to be read") && told.contains(" 0 B sent"), "{told}");

    // The same layers and one more.
    let folder = temporary_directory("changed");
    fs::write(folder.path().join("more"), "one more layer").expect("our own folder is writable");
    let recipe = format!("FROM {old}\nCOPY more /more\n");
    fs::write(folder.path().join("Dockerfile"), recipe).expect("our own folder is writable");
    let context = folder.path().to_string_lossy();
    let _ = setting.docker.run(&["build", "--tag", &new, &context]).await;
    let third = setting.push("app", &new, &[("TAGS", "build-3")]).await;
    let told = third.finished.output();
    assert!(told.contains("the registry has 3 of 4 layers already"), "{told}");
    assert!(told.contains("3 there already, 2 sent"), "{told}");

    // And once more into another package, where CACHE_FROM says that they are to be had.
    let cached = [("TAGS", "1"), ("CACHE_FROM", "app:build-3")];
    let fourth = setting.push("base", &new, &cached).await;
    assert_eq!(third.digest(), fourth.digest());
    let told = fourth.finished.output();
    assert!(told.contains("4 mounted"), "{told}");

    let id = setting.docker.run(&["image", "inspect", "--format={{.Id}}", &new]).await;
    let _ = setting.docker.run(&["rmi", "--force", &new]).await;
    let _ = setting.docker.run(&["rmi", "--force", &old]).await;
    assert_eq!(setting.pulled_id("app", "build-2").await, image.id);
    assert_eq!(setting.pulled_id("app", "build-3").await, id.stdout.trim());
    assert_eq!(setting.pulled_id("base", "1").await, id.stdout.trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_docker_pushed_is_not_sent_again_by_the_pipe_nor_the_other_way_round() {
    let Some(setting) = Setting::new().await else { return };
    let name = unique("both");
    let image = images::build(&setting.docker, &name, 41, &[400_000, 50_000]).await;
    let reference = setting.world.reference("app", "latest");
    let _ = setting.docker.run(&["tag", &name, &reference]).await;
    let _ = setting.docker.run(&["push", &reference]).await;
    let _ = setting.docker.run(&["rmi", &reference]).await;
    let pushed = setting.push("app", &name, &[]).await;
    let _ = pushed.digest();
    let told = pushed.finished.output();
    assert!(told.contains("nothing had to be read"), "{told}");
    let _ = setting.docker.run(&["rmi", "--force", &name]).await;
    assert_eq!(setting.pulled_id("app", "latest").await, image.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_layer_is_pulled_and_unpacked() {
    let Some(setting) = Setting::new().await else { return };
    let podman = Client::find(Kind::Podman).await;
    let name = unique("forms");
    // More than two blocks, so that their borders are unpacked as well.
    let image = images::build(&setting.docker, &name, 51, &[2_600_000, 3000]).await;
    let forms =
        [("gzip:1", 1), ("gzip", 2), ("gzip:9", 3), ("zstd", 4), ("zstd:19", 5), ("none", 6)];
    for (form, number) in forms {
        let tag = format!("form-{number}");
        let variables = [("TAGS", tag.as_str()), ("COMPRESSION", form)];
        let _ = setting.push("app", &name, &variables).await.digest();
    }
    let _ = setting.docker.run(&["rmi", "--force", &name]).await;
    for (form, number) in forms {
        let tag = format!("form-{number}");
        // This engine is older than zstd.
        if !form.starts_with("zstd") {
            assert_eq!(setting.pulled_id("app", &tag).await, image.id, "{form}");
        }
        if let Some(podman) = &podman {
            podman.sign_in(setting.world.server.authority(), &setting.token).await;
            let reference = setting.world.reference("app", &tag);
            let pull = ["pull", "--quiet", "--tls-verify=false", &reference];
            let id = podman.run(&pull).await.stdout.trim().to_owned();
            assert_eq!(format!("sha256:{id}"), image.id, "{form}");
            let _ = podman.run(&["rmi", "--all", "--force"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_answered_to_the_owner_alone() {
    let world = World::with_packages(&["app"]).await;
    let stranger = world.admin.user("eve", "a good password").await;
    for client in [&world.admin, &stranger] {
        let path = format!("/workspaces/acme/uploads?package=app&digest={}", digest_of(b"x"));
        let answer = client.call(Method::GET, &path, None).await;
        let body = json!({"package": "app", "diff_ids": [digest_of(b"x")]});
        let known = client.call(Method::POST, "/workspaces/acme/known-layers", Some(body)).await;
        let expected = if client.credential().username == "eve" { 404 } else { 200 };
        assert_eq!((answer.status, known.status), (expected, expected));
    }
}
