//! One image through every client: each pushes it, and each pulls what the others pushed. Below: the
//! other things that people do with them.

mod attachments;
mod attested;
mod copies;
mod refusals;
mod umoci;

use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::dockerd::Dockerd;
use standpipe_tests::images::{self, BuiltImage};
use standpipe_tests::payload::digest_of;
use standpipe_tests::pipe::PipeRun;
use standpipe_tests::rest::Credential;

use crate::world::{World, turn};

const MIB: u64 = 1024 * 1024;
/// The large one last: clients that copy whole file systems copy it only once.
const LAYERS: [u64; 3] = [2 * MIB, 5 * MIB, 110 * MIB];

#[tokio::test(flavor = "multi_thread")]
async fn every_client_pulls_the_digest_that_every_other_client_reported() {
    let Some(matrix) = Matrix::new().await else { return };
    let _turn = turn().await;
    let mut pushed = Vec::new();
    pushed.push(("pipe", matrix.push_twice_by_pipe().await));
    for client in &matrix.clients {
        pushed.push((client.name(), matrix.push_twice(client).await));
    }
    for client in &matrix.clients {
        client.forget_images(&matrix.image).await;
    }
    for (pusher, digest) in &pushed {
        for puller in matrix.clients.iter().filter(|client| client.name() != *pusher) {
            let source = matrix.world.reference(&format!("from-{pusher}"), "1");
            let pulled = puller.pull(&source).await;
            assert_eq!(pulled, *digest, "{} pulls what {pusher} pushed", puller.name());
        }
    }
}

/// A server, an image of three layers and the clients, all logged in.
struct Matrix {
    world: World,
    image: BuiltImage,
    clients: Vec<Client>,
    token: Credential,
    docker_host: String,
}

impl Matrix {
    async fn new() -> Option<Self> {
        let mut clients = Vec::new();
        for kind in Kind::ALL {
            clients.push(Client::find(kind).await?);
        }
        let docker_host = Dockerd::shared().await?.host();
        let world = World::with_packages(&[]).await;
        let token = world.pipeline_token().await;
        for pusher in ["pipe", "docker", "podman", "buildah", "skopeo", "ctr"] {
            for package in ["from", "again"] {
                world.admin.package("acme", &format!("{package}-{pusher}"), "shop").await;
            }
        }
        for client in &clients {
            client.sign_in(world.server.authority(), &token).await;
        }
        let image = images::build(&clients[0], "localhost/matrix:1", 77, &LAYERS).await;
        Some(Self { world, image, clients, token, docker_host })
    }

    /// Pushes to one package and then to another; returns the digest reported both times.
    async fn push_twice(&self, client: &Client) -> String {
        let name = client.name();
        let first =
            client.push(&self.image, &self.world.reference(&format!("from-{name}"), "1")).await;
        let objects = self.world.server.objects().len();
        let second =
            client.push(&self.image, &self.world.reference(&format!("again-{name}"), "1")).await;
        assert_eq!(first, second, "{name} reports one digest for one image");
        assert_eq!(
            self.world.server.objects().len(),
            objects,
            "{name}: shared layers are one object"
        );
        self.check_stored(&format!("from-{name}"), &first).await;
        first
    }

    async fn push_twice_by_pipe(&self) -> String {
        let first = self.push_by_pipe("from-pipe").await;
        let objects = self.world.server.objects().len();
        let second = self.push_by_pipe("again-pipe").await;
        assert_eq!(first, second, "the pipe reports one digest for one image");
        assert_eq!(
            self.world.server.objects().len(),
            objects,
            "pipe: shared layers are one object"
        );
        self.check_stored("from-pipe", &first).await;
        first
    }

    async fn push_by_pipe(&self, package: &str) -> String {
        let local = format!("{package}:1");
        let _ = self.clients[0].run(&["tag", &self.image.reference, &local]).await;
        PipeRun::push(&self.docker_host, &self.world.server, &self.token, &local)
            .finish()
            .await
            .digest()
    }

    /// The registry names the digest that the client reported, over three layers.
    async fn check_stored(&self, package: &str, digest: &str) {
        let stored = self.world.raw().manifest(&format!("acme/{package}"), "1").await.expect(200);
        assert_eq!(digest_of(&stored.body), digest, "{package}");
        let layers = stored.json()["layers"].as_array().map_or(0, Vec::len);
        assert_eq!(layers, LAYERS.len(), "{package}");
    }
}
