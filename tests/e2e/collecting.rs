//! What people do with Docker all day, with collection running all the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::environment;
use standpipe_tests::images::{self, BuiltImage};
use standpipe_tests::manifest::Manifest;
use tokio::time::sleep;

use crate::artifacts::{Blob, Image};
use crate::soak::Shared;
use crate::soak::client::{Client as PatientClient, Target};
use crate::soak::others::{pull_whole, read};
use crate::space::{Clocks, Live, ShortWorld, wait_for_rest};
use crate::world::say;

#[tokio::test(flavor = "multi_thread")]
async fn docker_builds_pushes_deletes_and_pushes_again_while_space_is_collected() {
    let Some(story) = Story::new().await else { return };
    let rounds = if environment::is_soak() { 20 } else { 3 };
    let mut latest = String::new();
    for round in 0..rounds {
        let image = story.build(round).await;
        let first = story.push(&image, "latest").await;
        let again = story.push(&image, "stable").await;
        assert_eq!(first, again, "the same image under another tag");
        story.delete(round, &first).await;
        match round % 3 {
            0 => story.wait_until_collected(round).await,
            1 => {}
            // In the middle of it, whatever it is doing then.
            _ => sleep(Duration::from_secs(CLOCKS.keep)).await,
        }
        let rebuilt = story.build(round).await;
        assert_eq!(rebuilt.id, image.id, "docker builds from its cache");
        latest = story.push(&rebuilt, "latest").await;
        assert_eq!(latest, first, "the same image pushed again");
        story.pull(&rebuilt, &latest, round + 1 == rounds).await;
    }
    let reader = story.world.reader();
    let manifest = reader.manifest(NAME, "latest").await.expect(200);
    let manifest = Manifest { media_type: String::new(), bytes: manifest.body.to_vec() };
    assert_eq!(manifest.digest(), latest);
    let mut live = Live::default();
    live.add_manifest(NAME, &manifest);
    let stable = reader.manifest(NAME, "stable").await;
    assert_eq!(stable.status, 404, "the last round deleted it");
    wait_for_rest(&story.world.world, &live, REST_LIMIT).await;
    assert_eq!(pull_whole(&reader, NAME, "latest").await, latest);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_with_attestations_pushed_again_stays_whole_while_space_is_collected() {
    let clocks = Clocks { lease: 3, keep: 1, purge: 1 };
    let world = ShortWorld::new(clocks, &["api"]).await;
    let shared = Arc::new(Shared::new(clocks));
    say(&format!("attestations: repeat with STANDPIPE_SEED={}", shared.seed));
    let reader = tokio::spawn(read(PatientClient::new(1, world.reader(), Arc::clone(&shared))));
    let mut pusher = PatientClient::new(0, world.writer(), Arc::clone(&shared));
    let pushes = if environment::is_soak() { 60 } else { 7 };
    let mut last = attested_index(0);
    for push in 0..pushes {
        last = attested_index(push);
        shared.memory.remember(ATTESTED, &last.manifest, true);
        pusher.deliver(ATTESTED, &last, Target::Contested("latest")).await;
        assert_eq!(
            pull_whole(&world.reader(), ATTESTED, "latest").await,
            last.manifest.digest(),
            "all that the index of push {push} names"
        );
    }
    shared.end();
    reader.await.expect("the reader ends without a panic");
    let root = (ATTESTED.to_owned(), last.manifest.digest());
    wait_for_rest(&world.world, &shared.memory.live(&[root]), REST_LIMIT).await;
    assert_eq!(pull_whole(&world.reader(), ATTESTED, "latest").await, last.manifest.digest());
    copy_whole(&world, &last).await;
}

/// Copies the index with all it names by a client that people use.
async fn copy_whole(world: &ShortWorld, index: &Image) {
    let Some(skopeo) = Client::find(Kind::Skopeo).await else { return };
    let folder = skopeo.fresh_folder("copy");
    let source = format!("docker://{}", world.world.reference("api", "latest"));
    let target = format!("dir:{}", folder.display());
    let all = ["copy", "--all", "--preserve-digests", "--src-tls-verify=false", &source, &target];
    let _ = skopeo.run(&all).await;
    for child in &index.children {
        for blob in &child.blobs {
            let (_, name) = blob.digest.split_once(':').expect("a digest");
            assert!(folder.join(name).is_file(), "{} came along", blob.digest);
        }
    }
}

/// Two platforms, each with a statement about it. The second platform's image is another every third
/// time, the statements are new at every build.
fn attested_index(push: u64) -> Image {
    let base = Blob::new(1, 90_000);
    let platforms = [("amd64", 10), ("arm64", 20 + push / 3)];
    let mut children = Vec::new();
    for (architecture, seed) in platforms {
        let layers = vec![base.clone(), Blob::new(seed << 8, 50_000)];
        let image = Image::new(Blob::new(seed << 8 | 1, 700), layers, None);
        let about = image.manifest.digest();
        children.push((image, json!({"platform": {"architecture": architecture, "os": "linux"}})));
        let own = (push + 1) << 32 | seed << 8;
        let statement = Image::attestation(Blob::new(own, 200), Blob::new(own | 1, 4_000));
        let more = json!({
            "platform": {"architecture": "unknown", "os": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": about,
            },
        });
        children.push((statement, more));
    }
    Image::index(push, children)
}

/// A server, Docker, and a client that has no memory of its own.
struct Story {
    world: ShortWorld,
    docker: Client,
    skopeo: Client,
}

impl Story {
    async fn new() -> Option<Self> {
        let docker = Client::find(Kind::Docker).await?;
        let skopeo = Client::find(Kind::Skopeo).await?;
        let world = ShortWorld::new(CLOCKS, &["story"]).await;
        for client in [&docker, &skopeo] {
            let login = client.login(world.world.server.authority(), &world.writer).await;
            let _ = login.succeeded();
        }
        Some(Self { world, docker, skopeo })
    }

    /// Two layers that every round has and one of its own.
    async fn build(&self, round: u64) -> BuiltImage {
        let sizes = [200_000, 300_000, 40_000 + round];
        images::build(&self.docker, "localhost/story:1", STORY_SEED, &sizes).await
    }

    /// Pushes; returns the digest that Docker reports. A push that took longer than the lease may fail,
    /// and is made again; any other may not.
    async fn push(&self, image: &BuiltImage, tag: &str) -> String {
        let target = self.world.world.reference("story", tag);
        let _ = self.docker.run(&["tag", &image.id, &target]).await;
        loop {
            let begin = Instant::now();
            let pushed = self.docker.command(&["push", &target]).finish().await;
            if pushed.code != Some(0) && begin.elapsed() > Duration::from_secs(CLOCKS.lease) {
                continue;
            }
            let pushed = pushed.succeeded();
            let found = pushed.stdout.lines().find_map(|line| line.split_once("digest: "));
            let digest = found.and_then(|(_, rest)| rest.split_whitespace().next());
            return digest.unwrap_or_else(|| panic!("no digest in {pushed}")).to_owned();
        }
    }

    /// Deletes the image by digest with all its tags, or one tag after the other.
    async fn delete(&self, round: u64, digest: &str) {
        let references =
            if round.is_multiple_of(2) { vec![digest] } else { vec!["stable", "latest"] };
        for reference in references {
            let path = format!("/v2/{NAME}/manifests/{reference}");
            let _ = self.world.writer().delete(&path).await.expect(202);
        }
        for reference in ["stable", "latest"] {
            let answer = self.world.reader().manifest(NAME, reference).await;
            assert_eq!(answer.status, 404, "{reference} was deleted");
        }
    }

    /// Waits until nothing is left.
    async fn wait_until_collected(&self, round: u64) {
        wait_for_rest(&self.world.world, &Live::default(), REST_LIMIT).await;
        say(&format!("docker's story: all of round {round} was collected"));
    }

    /// Pulls by skopeo, and by Docker once it has forgotten all of it.
    async fn pull(&self, image: &BuiltImage, digest: &str, forget: bool) {
        let source = self.world.world.reference("story", "latest");
        assert_eq!(self.skopeo.pull(&source).await, digest);
        if forget {
            self.docker.forget_images(image).await;
            assert_eq!(self.docker.pull(&source).await, digest);
        }
    }
}

const NAME: &str = "acme/story";
const ATTESTED: &str = "acme/api";
const STORY_SEED: u64 = 9_100;
const CLOCKS: Clocks = Clocks { lease: 4, keep: 2, purge: 1 };
const REST_LIMIT: Duration = Duration::from_secs(300);
