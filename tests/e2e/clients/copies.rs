//! Indexes go from one package to another with all their platforms, by each client that can do it.

use std::fs;

use serde_json::Value;
use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::images;
use standpipe_tests::payload::digest_of;

use crate::soak::others::pull_whole;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_copies_an_index_with_all_platforms_there_and_back() {
    let Some(source) = Source::new().await else { return };
    let (first, second) = (source.remote("multi", "1"), source.remote("copy", "1"));
    let objects = source.world.server.objects().len();
    let _ = source.skopeo.run(&[&COPY[..], &[&first, &second]].concat()).await;
    source.check_the_same(objects).await;

    let back = source.skopeo.fresh_folder("back");
    let target = format!("oci:{}:1", back.display());
    let _ = source.skopeo.run(&[&COPY[..], &[&second, &target]].concat()).await;
    assert_eq!(images::digests_in(&back), source.digests, "all of it came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctr_copies_an_index_with_all_platforms() {
    let Some(ctr) = Client::find(Kind::Ctr).await else { return };
    let Some(source) = Source::new().await else { return };
    ctr.sign_in(source.world.server.authority(), &source.world.pipeline_token().await).await;
    let first = source.world.reference("multi", "1");
    let pull =
        ctr.remote(&["images", "pull", "--all-platforms", "--snapshotter=native"], &[&first]);
    let _ = pull.finish().await.succeeded();
    assert_eq!(ctr.listed(&first).await, source.digest);
    let mut content: Vec<String> =
        ctr.run(&["content", "ls", "-q"]).await.stdout.lines().map(str::to_owned).collect();
    content.sort();
    assert_eq!(content, source.digests, "all platforms were fetched");

    let objects = source.world.server.objects().len();
    let push = ctr.remote(&["images", "push"], &[&source.world.reference("copy", "1"), &first]);
    let _ = push.finish().await.succeeded();
    source.check_the_same(objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_pushes_a_list_with_all_platforms() {
    let Some(podman) = Client::find(Kind::Podman).await else { return };
    let Some(source) = Source::new().await else { return };
    podman.sign_in(source.world.server.authority(), &source.world.pipeline_token().await).await;
    let _ = podman.run(&["manifest", "create", "list"]).await;
    let (first, second) = (source.remote("multi", "1"), source.remote("copy", "1"));
    let _ = podman.run(&["manifest", "add", "--all", TLS, "list", &first]).await;
    let objects = source.world.server.objects().len();
    let _ = podman.run(&["manifest", "push", "--all", TLS, "list", &second]).await;
    // The list is written anew by the client; what it names is not.
    source.check_the_same_images(objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_pushes_a_list_over_images_of_two_platforms() {
    let Some(docker) = Client::find(Kind::Docker).await else { return };
    let Some(source) = Source::new().await else { return };
    docker.sign_in(source.world.server.authority(), &source.world.pipeline_token().await).await;
    let list = source.world.reference("copy", "1");
    let mut create =
        vec!["manifest".to_owned(), "create".into(), "--insecure".into(), list.clone()];
    for (architecture, digest) in source.platforms("multi").await {
        let from = source.world.reference("multi", "1").replace(":1", &format!("@{digest}"));
        let tagged = source.remote("copy", &architecture);
        // A list names images of its own package only.
        let one = ["copy", "--preserve-digests", "--src-tls-verify=false"];
        let one = [&one[..], &["--dest-tls-verify=false", &format!("docker://{from}"), &tagged]];
        let _ = source.skopeo.run(&one.concat()).await;
        create.push(source.world.reference("copy", &architecture));
    }
    let create: Vec<&str> = create.iter().map(String::as_str).collect();
    let objects = source.world.server.objects().len();
    let _ = docker.run(&create).await;
    let _ = docker.run(&["manifest", "push", "--insecure", &list]).await;
    source.check_the_same_images(objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_buildah_built_for_two_platforms_is_pulled_for_each() {
    let mut clients = Vec::new();
    for kind in [Kind::Buildah, Kind::Podman, Kind::Docker, Kind::Skopeo] {
        let Some(client) = Client::find(kind).await else { return };
        clients.push(client);
    }
    let world = World::with_packages(&["built"]).await;
    let token = world.pipeline_token().await;
    for client in &clients {
        client.sign_in(world.server.authority(), &token).await;
    }
    let [buildah, podman, docker, skopeo] = &clients[..] else { unreachable!("there are four") };
    let context = buildah.fresh_folder("context");
    fs::create_dir(&context).expect("our own folder is writable");
    fs::write(context.join("Dockerfile"), RECIPE).expect("our own folder is writable");
    fs::write(context.join("data"), vec![7; 300_000]).expect("our own folder is writable");
    let platforms = "--platform=linux/amd64,linux/arm64";
    let context = context.to_string_lossy();
    let _ = buildah.run(&["bud", platforms, "--manifest=list", &context]).await;
    let target = format!("docker://{}", world.reference("built", "1"));
    let _ = buildah.run(&["manifest", "push", "--all", TLS, "list", &target]).await;
    let digest = pull_whole(&world.raw(), "acme/built", "1").await;

    let source = world.reference("built", "1");
    for architecture in ["amd64", "arm64"] {
        let wanted = format!("--platform=linux/{architecture}");
        let pulled = docker.run(&["pull", &wanted, &source]).await;
        assert!(pulled.stdout.contains(&digest), "{pulled}");
        let format = "--format={{.Architecture}}";
        let found = docker.run(&["image", "inspect", format, &source]).await;
        assert_eq!(found.stdout.trim(), architecture, "docker");
        let _ = podman.run(&["pull", "--quiet", TLS, &wanted, &source]).await;
        let found = podman.run(&["image", "inspect", format, &source]).await;
        assert_eq!(found.stdout.trim(), architecture, "podman");
        let wanted = format!("--override-arch={architecture}");
        let found = skopeo.run(&[&wanted, "inspect", TLS, format, &target]).await;
        assert_eq!(found.stdout.trim(), architecture, "skopeo");
    }
    let _ = docker.run(&["rmi", "--force", &source]).await;
}

/// A server with an index of two platforms as `multi:1`, and the client that pushed it.
struct Source {
    world: World,
    skopeo: Client,
    digest: String,
    digests: Vec<String>,
}

impl Source {
    async fn new() -> Option<Self> {
        let skopeo = Client::find(Kind::Skopeo).await?;
        let world = World::with_packages(&["multi", "copy"]).await;
        skopeo.sign_in(world.server.authority(), &world.pipeline_token().await).await;
        let layout = skopeo.fresh_folder("layout");
        let digest = images::oci_layout(&layout, 1, &["amd64", "arm64"]);
        let digests = images::digests_in(&layout);
        let source = Self { world, skopeo, digest, digests };
        let from = format!("oci:{}", layout.display());
        let to = source.remote("multi", "1");
        let _ = source.skopeo.run(&[&COPY[..], &[&from, &to]].concat()).await;
        assert_eq!(pull_whole(&source.world.raw(), "acme/multi", "1").await, source.digest);
        Some(source)
    }

    fn remote(&self, package: &str, tag: &str) -> String {
        format!("docker://{}", self.world.reference(package, tag))
    }

    /// The copy is the same, byte for byte, and no blob is stored twice.
    async fn check_the_same(&self, objects: usize) {
        assert_eq!(pull_whole(&self.world.raw(), "acme/copy", "1").await, self.digest);
        assert_eq!(self.world.server.objects().len(), objects, "the packages share every blob");
    }

    /// The copy leads to the same images, and no blob is stored twice.
    async fn check_the_same_images(&self, objects: usize) {
        let digest = pull_whole(&self.world.raw(), "acme/copy", "1").await;
        assert_eq!(self.platforms("copy").await, self.platforms("multi").await, "{digest}");
        assert_eq!(self.world.server.objects().len(), objects, "the packages share every blob");
    }

    /// Architectures and digests that the index names, in its order.
    async fn platforms(&self, package: &str) -> Vec<(String, String)> {
        let index = self.world.raw().manifest(&format!("acme/{package}"), "1").await.expect(200);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = index.json()["manifests"].as_array().cloned().unwrap_or_default();
        let platforms = entries
            .iter()
            .map(|entry| (text(&entry["platform"]["architecture"]), text(&entry["digest"])));
        let platforms: Vec<_> = platforms.collect();
        assert_eq!(platforms.len(), 2, "{}: {}", digest_of(&index.body), index.text());
        platforms
    }
}

const TLS: &str = "--tls-verify=false";
const COPY: [&str; 5] =
    ["copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"];
const RECIPE: &str = "FROM scratch
ARG TARGETARCH
COPY data /data
LABEL architecture=$TARGETARCH
";
