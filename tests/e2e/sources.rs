//! Archives and layouts that real tools wrote, pushed by the pipe without a daemon and pulled
//! back: the configuration must be the one in the archive, byte for byte.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use standpipe_tests::clients::{self, Client, Kind};
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::images::{self, BuiltImage};
use standpipe_tests::payload::{Payload, digest_of};
use standpipe_tests::pipe::{PipeOutcome, PipeRun};
use standpipe_tests::process::Program;
use standpipe_tests::rest::Credential;
use tempfile::TempDir;

use crate::world::World;

/// Reading an archive needs none.
const NO_DAEMON: &str = "tcp://127.0.0.1:1";

#[tokio::test(flavor = "multi_thread")]
async fn what_docker_saves_is_pushed_plain_and_compressed() {
    let Some(bench) = Bench::new().await else { return };
    let Some((_docker, image)) = bench.docker_image().await else { return };
    let archive = image.archive.display().to_string();
    let pushed = bench.check(&format!("docker-archive:{archive}")).await;
    assert_eq!(pushed.config, image.id);

    let packed = bench.path("saved.tar.gz");
    let mut packer = GzEncoder::new(File::create(&packed).expect("readable"), Compression::fast());
    io::copy(&mut File::open(&image.archive).expect("readable"), &mut packer).unwrap();
    packer.finish().expect("readable");
    let again = bench.push(&format!("docker-archive:{}", packed.display())).await.digest();
    assert_eq!(again, pushed.digest, "compressing the archive does not show");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_podman_saves_is_pushed() {
    let Some(bench) = Bench::new().await else { return };
    let Some((_docker, image)) = bench.docker_image().await else { return };
    let Some(podman) = Client::find(Kind::Podman).await else { return };
    let source = format!("docker-archive:{}", image.archive.display());
    let _ = podman.run(&["pull", "--quiet", &source]).await;
    for (format, transport) in
        [("docker-archive", "docker-archive"), ("oci-archive", "oci-archive"), ("oci-dir", "oci")]
    {
        let file = bench.path(format).display().to_string();
        let save = ["save", "--quiet", "--format", format, "--output", &file, &image.reference];
        let _ = podman.run(&save).await;
        bench.check(&format!("{transport}:{file}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_images_that_podman_saves_is_chosen_by_its_name() {
    let Some(bench) = Bench::new().await else { return };
    let Some((_docker, image)) = bench.docker_image().await else { return };
    let Some(podman) = Client::find(Kind::Podman).await else { return };
    let source = format!("docker-archive:{}", image.archive.display());
    let _ = podman.run(&["pull", "--quiet", &source]).await;
    let dockerfile = bench.path("Dockerfile");
    fs::write(&dockerfile, format!("FROM {}\nLABEL other=yes\n", image.reference))
        .expect("readable");
    let (dockerfile, folder) = (dockerfile.display().to_string(), bench.folder.path().display());
    let folder = folder.to_string();
    let _ = podman.run(&["build", "--quiet", "--tag", "other:2", "-f", &dockerfile, &folder]).await;
    let file = bench.path("two.tar").display().to_string();
    let save = ["save", "--quiet", "--multi-image-archive", "--output", &file];
    let _ = podman.run(&[&save[..], &[&image.reference, "other:2"]].concat()).await;
    let source = format!("docker-archive:{file}");
    bench.push(&source).await.failed(3, &["has 2 images", "localhost/other:2"]);
    // Podman saves it as localhost/other:2.
    let id = podman.run(&["image", "inspect", "--format={{.Id}}", "other:2"]).await;
    let pushed = bench.push(&format!("{source}:other:2")).await.digest();
    assert_eq!(bench.config_of(&pushed).await, format!("sha256:{}", id.stdout.trim()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_buildah_pushes_to_disk_is_pushed_on() {
    let Some(bench) = Bench::new().await else { return };
    let Some(buildah) = Client::find(Kind::Buildah).await else { return };
    let content = bench.path("content");
    Payload::new(5, 70_000).write_to(&content).expect("readable");
    let container = buildah.run(&["from", "scratch"]).await.stdout.trim().to_owned();
    let content = content.display().to_string();
    let _ = buildah.run(&["copy", "--quiet", &container, &content, "/content"]).await;
    let _ = buildah.run(&["commit", "--quiet", &container, "built:1"]).await;
    for transport in ["docker-archive", "oci-archive", "oci"] {
        let file = bench.path(transport).display().to_string();
        let target = format!("{transport}:{file}:built:1");
        let _ = buildah.run(&["push", "--quiet", "built:1", &target]).await;
        bench.check(&format!("{transport}:{file}")).await;
        // The reference that buildah wrote into it is found by its name, too.
        bench.check(&target).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_skopeo_copies_is_pushed_with_every_compression() {
    let Some(bench) = Bench::new().await else { return };
    let Some((_docker, image)) = bench.docker_image().await else { return };
    let source = format!("docker-archive:{}", image.archive.display());
    for (name, options) in [
        ("oci-archive", &[][..]),
        ("oci", &[]),
        ("oci", &["--dest-compress-format", "zstd"]),
        ("oci", &["--dest-decompress"]),
    ] {
        let file = bench.path(&format!("{name}{}", options.len())).display().to_string();
        let file = if options == ["--dest-decompress"] { format!("{file}-raw") } else { file };
        let target = format!("{name}:{file}:1.2");
        let _ = bench.skopeo.run(&[&["copy"][..], options, &[&source, &target]].concat()).await;
        let pushed = bench.check(&target).await;
        let raw = bench.skopeo.run(&["inspect", "--raw", &target]).await.stdout;
        assert_eq!(pushed.digest, digest_of(raw.as_bytes()), "the manifest stays as it is");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_umoci_built_is_pushed() {
    let Some(bench) = Bench::new().await else { return };
    if !clients::is_installed("umoci") {
        clients::skip("umoci is not installed");
        return;
    }
    let umoci = async |arguments: &[&str]| {
        let program = Program::new("umoci").env("HOME", bench.folder.path());
        program.args(arguments).finish().await.succeeded()
    };
    let layout = bench.path("umoci").display().to_string();
    let image = format!("{layout}:1.2");
    let content = bench.path("content");
    Payload::new(6, 70_000).write_to(&content).expect("readable");
    let content = content.display().to_string();
    let _ = umoci(&["init", "--layout", &layout]).await;
    let _ = umoci(&["new", "--image", &image]).await;
    let _ = umoci(&["insert", "--image", &image, &content, "/content"]).await;
    let _ = umoci(&["config", "--image", &image, "--config.cmd", "/content"]).await;
    let pushed = bench.check(&format!("oci:{image}")).await;
    let _ = umoci(&["tag", "--image", &image, "stable"]).await;
    let again = bench.push(&format!("oci:{layout}")).await.digest();
    assert_eq!(again, pushed.digest, "two names of one image are no choice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_three_platforms_comes_back_as_it_was() {
    let Some(bench) = Bench::new().await else { return };
    let layout = bench.path("multi");
    let digest = images::oci_layout(&layout, 3, &["amd64", "arm64", "s390x"]);
    let source = format!("oci:{}", layout.display());
    assert_eq!(bench.push(&source).await.digest(), digest);
    let back = bench.path("back");
    let remote = format!("docker://{}", bench.world.reference("app", "latest"));
    let all = ["copy", "--all", "--preserve-digests", "--src-tls-verify=false", &remote];
    let _ = bench.skopeo.run(&[&all[..], &[&format!("oci:{}:1", back.display())]].concat()).await;
    for blob in fs::read_dir(layout.join("blobs/sha256")).expect("readable") {
        let name = blob.expect("readable").file_name();
        assert!(back.join("blobs/sha256").join(&name).is_file(), "{} is missing", name.display());
    }
    let alone = bench.run(&source).set("PLATFORMS", "linux/arm64").finish().await.digest();
    assert_ne!(alone, digest);
    let config = bench.config_of(&alone).await;
    let config = fs::read(layout.join("blobs").join(config.replace(':', "/"))).expect("readable");
    let config: Value = serde_json::from_slice(&config).expect("readable");
    assert_eq!(config["architecture"], "arm64");
    let two = bench.run(&source).set("PLATFORMS", "linux/arm64,linux/s390x").finish().await;
    let _ = two.digest();
    let both = format!("dir:{}", bench.skopeo.fresh_folder("both").display());
    let _ = bench.skopeo.run(&[&all[..], &[&both]].concat()).await;
}

/// A server, a folder, and skopeo to look at what is in both.
struct Bench {
    world: World,
    token: Credential,
    skopeo: Client,
    folder: TempDir,
}

/// What a push left in the registry.
struct Pushed {
    digest: String,
    config: String,
}

impl Bench {
    async fn new() -> Option<Self> {
        let skopeo = Client::find(Kind::Skopeo).await?;
        let world = World::with_packages(&["app"]).await;
        let token = world.pipeline_token().await;
        let _ = skopeo.login(world.server.authority(), &token).await.succeeded();
        Some(Self { world, token, skopeo, folder: temporary_directory("sources") })
    }

    /// An image of the Docker daemon, and what `docker save` wrote of it.
    async fn docker_image(&self) -> Option<(Client, BuiltImage)> {
        let docker = Client::find(Kind::Docker).await?;
        // The daemon is shared; the name of our own folder tells the images apart.
        let folder = self.folder.path().file_name()?.to_string_lossy().to_ascii_lowercase();
        let unique: String = folder.chars().filter(char::is_ascii_alphanumeric).collect();
        let name = format!("localhost/{unique}:1");
        let image = images::build(&docker, &name, 9, &[3000, 60_000, 3000]).await;
        Some((docker, image))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, source: &str) -> PipeRun {
        PipeRun::push(NO_DAEMON, &self.world.server, &self.token, "app").set("SOURCE", source)
    }

    async fn push(&self, source: &str) -> PipeOutcome {
        self.run(source).finish().await
    }

    /// Pushes an image that skopeo can read as well, and compares what arrived with it.
    async fn check(&self, source: &str) -> Pushed {
        let digest = self.push(source).await.digest();
        let there = self.skopeo.run(&["inspect", "--raw", source]).await.stdout;
        let there: Value = serde_json::from_str(&there).expect("readable");
        let config = self.config_of(&digest).await;
        assert_eq!(there["config"]["digest"], config.as_str(), "{source}");
        // Pulling compares every layer with its digest, and converting it with its diffID.
        let copy = self.folder.path().join("copy");
        let _ = fs::remove_dir_all(&copy);
        let (remote, copy_name) = (self.remote(&digest), format!("dir:{}", copy.display()));
        let pull = ["copy", "--src-tls-verify=false", "--dest-decompress", &remote, &copy_name];
        let _ = self.skopeo.run(&pull).await;
        assert_eq!(diff_ids(&copy, &config), layers(&copy), "{source}");
        Pushed { digest, config }
    }

    /// The digest of the configuration that a manifest in the registry names.
    async fn config_of(&self, digest: &str) -> String {
        let remote = self.remote(digest);
        let raw = self.skopeo.run(&["inspect", "--raw", "--tls-verify=false", &remote]).await;
        let manifest: Value = serde_json::from_str(&raw.stdout).expect("readable");
        manifest["config"]["digest"].as_str().unwrap_or_default().to_owned()
    }

    fn remote(&self, digest: &str) -> String {
        format!("docker://{}/acme/app@{digest}", self.world.server.authority())
    }
}

/// The digests of raw layers that a configuration in a folder of skopeo's names.
fn diff_ids(folder: &Path, config: &str) -> Vec<Value> {
    let config = fs::read(folder.join(config.trim_start_matches("sha256:"))).expect("readable");
    let config: Value = serde_json::from_slice(&config).expect("readable");
    config["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default()
}

/// The digests of the layers, unpacked, that a manifest in a folder of skopeo's names.
fn layers(folder: &Path) -> Vec<Value> {
    let manifest = fs::read(folder.join("manifest.json")).expect("readable");
    let manifest: Value = serde_json::from_slice(&manifest).expect("readable");
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    layers.into_iter().map(|layer| layer["digest"].clone()).collect()
}
