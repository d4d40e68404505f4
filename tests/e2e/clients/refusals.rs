//! What people read when they may not, or when it is gone: each client ends with an error, and where
//! it shows what the registry says, the words are there.

use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::images::{self, BuiltImage};
use standpipe_tests::oras::Oras;
use standpipe_tests::process::{Finished, Program};
use standpipe_tests::rest::Credential;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_in_words() {
    let Some(people) = People::new().await else { return };
    let authority = people.world.server.authority();
    let wrong = Credential { username: "rita".to_owned(), secret: "a wrong password".to_owned() };
    for client in &people.clients {
        let login = match client.name() {
            // It has no login.
            "ctr" => {
                let pair = format!("{}:{}", wrong.username, wrong.secret);
                let source = people.world.reference("app", "1");
                let pull = ["images", "pull", "--plain-http", "--user", &pair, &source];
                client.command(&pull).finish().await
            }
            _ => client.login(authority, &wrong).await,
        };
        failed(&login);
        let words = match client.name() {
            "docker" => "unauthorized: the credential is not valid",
            // Both have words of their own and do not show ours.
            "ctr" => "401 Unauthorized",
            _ => "invalid username/password",
        };
        assert!(login.output().contains(words), "{login}");
    }
    // With a password that comes with the call, ours are shown.
    let skopeo = people.client(Kind::Skopeo);
    let remote = format!("docker://{}", people.world.reference("app", "1"));
    let pair = format!("--creds={}:{}", wrong.username, wrong.secret);
    let asked = skopeo.command(&["inspect", TLS, &pair, &remote]).finish().await;
    failed(&asked);
    assert!(asked.output().contains("the credential is not valid"), "{asked}");
    people.oras.login(authority, &wrong).await;
    let target = people.world.reference("app", "1");
    let pulled = people.oras.command(&["--auth=basic", "pull", &target, "pulled"]).finish().await;
    failed(&pulled);
    assert!(pulled.output().contains("the credential is not valid"), "{pulled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_pushes_is_told_which_role_that_takes() {
    let Some(people) = People::new().await else { return };
    people.sign_in(&people.reader()).await;
    let target = people.world.reference("app", "2");
    for client in &people.clients {
        let pushed = people.push(client, &target).await;
        failed(&pushed);
        let words = match client.name() {
            "ctr" => "403 Forbidden",
            _ => "the role write on the repository is needed to push",
        };
        assert!(pushed.output().contains(words), "{pushed}");
    }
    people.oras.write("file.txt", b"text");
    let pushed = people.oras.command(&["--auth=basic", "push", &target, "file.txt"]).finish().await;
    failed(&pushed);
    assert!(pushed.output().contains("the role write on the repository is needed"), "{pushed}");
    let remote = format!("docker://{}", people.world.reference("app", "1"));
    let deleted = people.client(Kind::Skopeo).command(&["delete", TLS, &remote]).finish().await;
    failed(&deleted);
    let words = "the role write on the repository is needed to delete";
    assert!(deleted.output().contains(words), "{deleted}");
    let raw = people.world.raw();
    let _ = raw.manifest("acme/app", "1").await.expect(200);
    raw.manifest("acme/app", "2").await.refused(404, "MANIFEST_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_pushes_to_a_package_that_is_not_there_is_told_so() {
    let Some(people) = People::new().await else { return };
    people.sign_in(&people.world.pipeline_token().await).await;
    let target = people.world.reference("nowhere", "1");
    for client in &people.clients {
        let pushed = people.push(client, &target).await;
        failed(&pushed);
        let words = match client.name() {
            "ctr" => "404 Not Found",
            _ => "there is no package acme/nowhere, and creating it takes the role admin",
        };
        assert!(pushed.output().contains(words), "{pushed}");
    }
    people.oras.write("file.txt", b"text");
    let pushed = people.oras.command(&["--auth=basic", "push", &target, "file.txt"]).finish().await;
    failed(&pushed);
    assert!(
        pushed.output().contains("there is no package acme/nowhere, and creating it"),
        "{pushed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_skopeo_has_deleted_no_client_pulls() {
    let Some(people) = People::new().await else { return };
    people.sign_in(&people.world.pipeline_token().await).await;
    let source = people.world.reference("app", "1");
    let digest = people.pushed.clone();
    for client in &people.clients {
        assert_eq!(client.pull(&source).await, digest, "{}", client.name());
    }
    let remote = format!("docker://{source}");
    let _ = people.client(Kind::Skopeo).run(&["delete", TLS, &remote]).await;

    let raw = people.world.raw();
    raw.manifest("acme/app", "1").await.refused(404, "MANIFEST_UNKNOWN");
    raw.manifest("acme/app", &digest).await.refused(404, "MANIFEST_UNKNOWN");
    for client in &people.clients {
        let pulled = match client.name() {
            "ctr" => client.remote(&["images", "pull"], &[&source]),
            "docker" => client.command(&["pull", &source]),
            "skopeo" => client.command(&["inspect", TLS, &remote]),
            _ => client.command(&["pull", TLS, &source]),
        };
        let pulled = pulled.finish().await;
        failed(&pulled);
        let words = match client.name() {
            "ctr" => "not found",
            _ => "the package has no manifest 1",
        };
        assert!(pulled.output().contains(words), "{pulled}");
    }
    let again = people.client(Kind::Skopeo).command(&["delete", TLS, &remote]).finish().await;
    failed(&again);
    assert!(again.output().contains("Image may not exist"), "{again}");
}

/// A server with an image, a user who may only read it, and every client.
struct People {
    world: World,
    image: BuiltImage,
    /// The digest of the image in the registry, as `app:1`.
    pushed: String,
    clients: Vec<Client>,
    oras: Oras,
}

impl People {
    async fn new() -> Option<Self> {
        let mut clients = Vec::new();
        for kind in Kind::ALL {
            clients.push(Client::find(kind).await?);
        }
        let oras = Oras::find()?;
        let world = World::with_packages(&["app"]).await;
        world.admin.user("rita", PASSWORD).await;
        world.admin.permit("acme", "shop", "rita", "read").await;
        let name = format!("localhost/refused-{}:1", world.server.pid());
        let image = images::build(&clients[0], &name, 5, &[20_000, 30_000]).await;
        let pusher = Client::find(Kind::Skopeo).await?;
        pusher.sign_in(world.server.authority(), &world.pipeline_token().await).await;
        let pushed = pusher.push(&image, &world.reference("app", "1")).await;
        Some(Self { world, image, pushed, clients, oras })
    }

    fn reader(&self) -> Credential {
        Credential { username: "rita".to_owned(), secret: PASSWORD.to_owned() }
    }

    async fn sign_in(&self, credential: &Credential) {
        for client in &self.clients {
            client.sign_in(self.world.server.authority(), credential).await;
        }
        self.oras.login(self.world.server.authority(), credential).await;
    }

    fn client(&self, kind: Kind) -> &Client {
        let position = Kind::ALL.iter().position(|known| *known == kind);
        &self.clients[position.expect("the kind is one of all")]
    }

    /// Tries to push the image.
    async fn push(&self, client: &Client, target: &str) -> Finished {
        client.take_in(&self.image).await;
        self.push_of(client, target).finish().await
    }

    fn push_of(&self, client: &Client, target: &str) -> Program {
        let local = &self.image.reference;
        let remote = format!("docker://{target}");
        match client.name() {
            "ctr" => client.remote(&["images", "push"], &[target, local]),
            "docker" => {
                let both = format!("docker tag {local} {target} && docker push {target}");
                client.run_by("sh").args(["-c", &both])
            }
            "skopeo" => {
                let archive = format!("docker-archive:{}", self.image.archive.display());
                client.command(&["copy", "--dest-tls-verify=false", &archive, &remote])
            }
            _ => client.command(&["push", TLS, local, &remote]),
        }
    }
}

#[track_caller]
fn failed(finished: &Finished) {
    assert!(finished.code.is_some_and(|code| code != 0), "it was not refused: {finished}");
}

const TLS: &str = "--tls-verify=false";
const PASSWORD: &str = "a long enough password";
