//! What `docker buildx` makes of a build for two platforms, with a statement beside each image, pushed
//! twice to one tag: the tag moves, and the first build stays whole for whoever knows its digest.

use std::path::PathBuf;

use serde_json::Value;
use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::images;
use standpipe_tests::manifest::{INDEX, Manifest};
use standpipe_tests::pipe::PipeRun;
use standpipe_tests::raw::Raw;
use standpipe_tests::rest::Credential;

use crate::artifacts::{Blob, Image};
use crate::soak::others::pull_whole;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attested_build_pushed_by_skopeo_moves_the_tag_and_leaves_the_first_whole() {
    let Some(builds) = Builds::pushed_by(Pusher::Skopeo).await else { return };
    builds.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attested_build_pushed_by_ctr_moves_the_tag_and_leaves_the_first_whole() {
    let Some(builds) = Builds::pushed_by(Pusher::Ctr).await else { return };
    builds.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attested_build_pushed_by_the_pipe_moves_the_tag_and_leaves_the_first_whole() {
    let Some(builds) = Builds::pushed_by(Pusher::Pipe).await else { return };
    builds.check().await;
}

#[derive(Clone, Copy)]
enum Pusher {
    Ctr,
    Pipe,
    Skopeo,
}

/// A server with two builds of one tag, and clients that are logged in there.
struct Builds {
    world: World,
    builds: [Build; 2],
    skopeo: Client,
    podman: Client,
    docker: Client,
    ctr: Client,
    /// What was said about the first build, about its amd64 image, and about the second build.
    signatures: [(String, String); 3],
}

/// A build as an OCI layout.
struct Build {
    layout: PathBuf,
    digest: String,
    /// All that is in it.
    digests: Vec<String>,
}

impl Builds {
    async fn pushed_by(pusher: Pusher) -> Option<Self> {
        let skopeo = Client::find(Kind::Skopeo).await?;
        let podman = Client::find(Kind::Podman).await?;
        let docker = Client::find(Kind::Docker).await?;
        let ctr = Client::find(Kind::Ctr).await?;
        let world = World::with_packages(&["api"]).await;
        let token = world.pipeline_token().await;
        for client in [&skopeo, &podman, &docker, &ctr] {
            client.sign_in(world.server.authority(), &token).await;
        }
        // The second build has the same image for amd64, another for arm64, and new statements.
        // No two tests have an image in common, because all have the same Docker.
        let seed = match pusher {
            Pusher::Skopeo => 300,
            Pusher::Ctr => 400,
            Pusher::Pipe => 500,
        };
        let builds = [1, 2].map(|number| {
            let layout = skopeo.fresh_folder(&format!("build-{number}"));
            let images = [("amd64", seed), ("arm64", seed + number)];
            let digest = images::attested_layout(&layout, &images, number);
            let digests = images::digests_in(&layout);
            Build { layout, digest, digests }
        });
        let raw = world.raw();
        let mut signatures = Vec::new();
        for (number, build) in builds.iter().enumerate() {
            match pusher {
                Pusher::Ctr => push_by_ctr(&ctr, build, &world).await,
                Pusher::Pipe => push_by_pipe(&token, build, &world).await,
                Pusher::Skopeo => push_by_skopeo(&skopeo, build, &world).await,
            }
            signatures.push(sign(&raw, &build.digest, number).await);
            if number == 0 {
                let amd64 = raw.manifest(NAME, &build.digest).await.expect(200).json();
                let amd64 = amd64["manifests"][0]["digest"].as_str().unwrap_or_default().to_owned();
                signatures.push(sign(&raw, &amd64, 7).await);
            }
        }
        let signatures = signatures.try_into().expect("there are three");
        Some(Self { world, builds, skopeo, podman, docker, ctr, signatures })
    }

    async fn check(&self) {
        let raw = self.world.raw();
        let [first, second] = &self.builds;
        assert_ne!(first.digest, second.digest);
        assert_eq!(pull_whole(&raw, NAME, TAG).await, second.digest, "the tag has moved");
        assert_eq!(pull_whole(&raw, NAME, &first.digest).await, first.digest);
        for build in &self.builds {
            let source = self.by_digest(build);
            self.skopeo_fetches(build, &source).await;
            self.ctr_fetches(build, &source).await;
        }
        self.skopeo_fetches(second, &self.world.reference("api", TAG)).await;
        self.engines_pull_each_platform().await;
        for (subject, signature) in &self.signatures {
            let referrers = raw.get(&format!("/v2/{NAME}/referrers/{subject}")).await.expect(200);
            let listed = referrers.json()["manifests"].as_array().cloned().unwrap_or_default();
            let listed: Vec<&Value> = listed.iter().map(|entry| &entry["digest"]).collect();
            assert_eq!(listed, [signature], "what refers to {subject}");
            assert_eq!(pull_whole(&raw, NAME, signature).await, *signature);
        }
    }

    fn by_digest(&self, build: &Build) -> String {
        format!("{}/{NAME}@{}", self.world.server.authority(), build.digest)
    }

    async fn skopeo_fetches(&self, build: &Build, source: &str) {
        let folder = self.skopeo.fresh_folder("fetched");
        let (from, to) = (format!("docker://{source}"), format!("oci:{}:1", folder.display()));
        let all = ["copy", "--all", "--preserve-digests", "--src-tls-verify=false", &from, &to];
        let _ = self.skopeo.run(&all).await;
        assert_eq!(images::digests_in(&folder), build.digests, "skopeo, {source}");
        std::fs::remove_dir_all(folder).expect("our own folder can be removed");
    }

    /// Without unpacking: containerd has nothing to unpack statements with.
    async fn ctr_fetches(&self, build: &Build, source: &str) {
        self.ctr.forget_all_images().await;
        let fetch = self.ctr.remote(&["content", "fetch", "--all-platforms"], &[source]);
        let _ = fetch.finish().await.succeeded();
        assert_eq!(self.ctr.listed(source).await, build.digest);
        let content = self.ctr.run(&["content", "ls", "--quiet"]).await;
        let mut content: Vec<&str> = content.stdout.lines().collect();
        content.sort_unstable();
        assert_eq!(content, build.digests, "ctr, {source}");
    }

    async fn engines_pull_each_platform(&self) {
        let source = self.world.reference("api", TAG);
        let format = "--format={{.Architecture}}";
        for architecture in ["amd64", "arm64"] {
            let platform = format!("--platform=linux/{architecture}");
            let pulled = self.docker.run(&["pull", &platform, &source]).await;
            assert!(pulled.stdout.contains(&self.builds[1].digest), "{pulled}");
            let found = self.docker.run(&["image", "inspect", format, &source]).await;
            assert_eq!(found.stdout.trim(), architecture, "docker");
            let tls = "--tls-verify=false";
            let _ = self.podman.run(&["pull", "--quiet", tls, &platform, &source]).await;
            let found = self.podman.run(&["image", "inspect", format, &source]).await;
            assert_eq!(found.stdout.trim(), architecture, "podman");
        }
        let first = self.by_digest(&self.builds[0]);
        let pulled = self.docker.run(&["pull", "--platform=linux/arm64", &first]).await;
        assert!(pulled.stdout.contains(&self.builds[0].digest), "{pulled}");
        let _ = self.docker.run(&["rmi", "--force", &source, &first]).await;
    }
}

async fn push_by_skopeo(skopeo: &Client, build: &Build, world: &World) {
    let from = format!("oci:{}", build.layout.display());
    let to = format!("docker://{}", world.reference("api", TAG));
    let all = ["copy", "--all", "--preserve-digests", "--dest-tls-verify=false", &from, &to];
    let _ = skopeo.run(&all).await;
}

async fn push_by_ctr(ctr: &Client, build: &Build, world: &World) {
    let archive = images::archive_of(&build.layout).to_string_lossy().into_owned();
    let import = ["images", "import", "--all-platforms", "--no-unpack", "--digests"];
    let _ = ctr.run(&[&import[..], &["--base-name=local/api", &archive]].concat()).await;
    let local = format!("local/api@{}", build.digest);
    let _ = ctr
        .remote(&["images", "push"], &[&world.reference("api", TAG), &local])
        .finish()
        .await
        .succeeded();
}

async fn push_by_pipe(token: &Credential, build: &Build, world: &World) {
    // Reading a layout needs no daemon.
    let run = PipeRun::push("tcp://127.0.0.1:1", &world.server, token, "api");
    let run = run.set("SOURCE", &format!("oci:{}", build.layout.display())).set("TAGS", TAG);
    assert_eq!(run.finish().await.digest(), build.digest, "the pipe tells the digest");
}

/// Says something about a manifest, as a tool that signs does; returns both digests.
async fn sign(raw: &Raw, subject: &str, number: usize) -> (String, String) {
    let bytes = raw.manifest(NAME, subject).await.expect(200);
    let media_type = bytes.json()["mediaType"].as_str().unwrap_or(INDEX).to_owned();
    let about = Manifest { media_type, bytes: bytes.body.to_vec() };
    let seed = 900 + 10 * number as u64;
    let said = Image::new(Blob::new(seed, 2), vec![Blob::new(seed + 1, 900)], Some(&about));
    let digest = said.manifest.digest();
    said.push(raw, NAME, &digest, std::time::Duration::MAX).await;
    (subject.to_owned(), digest)
}

const NAME: &str = "acme/api";
const TAG: &str = "latest";
