//! `docker login`, push and pull with everything that is a login, and what is said of what is none.

use reqwest::Method;
use serde_json::{Value, json};
use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::images;
use standpipe_tests::issuer::Issuer;
use standpipe_tests::rest::{Credential, id_of, text_of};
use standpipe_tests::server::ServerOptions;

use crate::world::World;

const PASSWORD: &str = "a long enough password";
const SOURCE: &str = "{6b1c3b9e-35a7-4d0f-9d25-0d6ff2b1a004}";
const AUDIENCE: &str = "https://registry.example.com";

/// A login that works, and what is done so that it does not any more.
struct Login {
    called: &'static str,
    credential: Credential,
    end: End,
    /// What is said then.
    said: &'static str,
}

enum End {
    Delete(String),
    Disable(String),
}

async fn world() -> (Issuer, World) {
    let issuer = Issuer::start().await;
    let config = format!(
        "oidc:\n  issuers:\n    - issuer: {}\n      audiences: [{AUDIENCE}]\n",
        issuer.url()
    );
    let options = ServerOptions { config: Some(config), ..ServerOptions::default() };
    (issuer, World::with_options(options, &["shop-api"]).await)
}

fn credential(username: &str, made: &Value) -> Credential {
    Credential { username: username.to_owned(), secret: text_of(made, "token") }
}

/// Everything that `docker login` takes.
async fn logins(issuer: &Issuer, world: &World) -> Vec<Login> {
    let will = world.admin.user("will", PASSWORD).await;
    world.admin.permit("acme", "shop", "will", "write").await;
    let wanda = world.admin.user("wanda", PASSWORD).await;
    world.admin.permit("acme", "shop", "wanda", "write").await;
    let scopes = json!({"name": "laptop", "scopes": ["pull", "push"]});
    let personal = wanda.create("/tokens", scopes).await;
    let shop = "/workspaces/acme/repositories/shop";
    let tokens = format!("{shop}/pipeline-tokens");
    let pipeline = world.admin.create(&tokens, json!({"name": "ci"})).await;
    let robots = "/workspaces/acme/robots";
    let _ = world.admin.create(robots, json!({"name": "bot"})).await;
    let role = Some(json!({"role": "write"}));
    let _ =
        world.admin.call(Method::PUT, &format!("{robots}/bot/roles/shop"), role).await.expect(200);
    let robot = world.admin.create(&format!("{robots}/bot/tokens"), json!({"name": "t"})).await;
    let binding = json!({"issuer": issuer.url(), "source_repository": SOURCE});
    let binding = world.admin.create(&format!("{shop}/oidc-bindings"), binding).await;
    let step = issuer.token(AUDIENCE, SOURCE, "main");
    vec![
        Login {
            called: "password",
            credential: will.credential(),
            end: End::Disable("/users/will".to_owned()),
            said: "the user name or the password is wrong",
        },
        Login {
            called: "personal token",
            credential: credential("wanda", &personal),
            end: End::Disable("/users/wanda".to_owned()),
            said: "the account or repository behind the token is switched off or gone; ask an administrator",
        },
        Login {
            called: "pipeline token",
            credential: credential("pipeline", &pipeline),
            end: End::Delete(format!("{tokens}/{}", id_of(&pipeline))),
            said: "the token was revoked or is not of this registry; make another one",
        },
        Login {
            called: "robot",
            credential: credential("bot", &robot),
            end: End::Disable(format!("{robots}/bot")),
            said: "the account or repository behind the token is switched off or gone; ask an administrator",
        },
        Login {
            called: "OIDC token",
            credential: Credential { username: "oidc".to_owned(), secret: step },
            end: End::Delete(format!("{shop}/oidc-bindings/{}", id_of(&binding))),
            said: "no repository is bound to",
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_pushes_and_pulls_with_every_kind_of_login_until_it_is_taken_away() {
    let Some(docker) = Client::find(Kind::Docker).await else { return };
    let (issuer, world) = world().await;
    let authority = world.server.authority().to_owned();
    let image = images::build(&docker, "logins-test:1", 7, &[50_000]).await;
    for login in logins(&issuer, &world).await {
        let called = login.called;
        let welcome = docker.login(&authority, &login.credential).await.succeeded();
        assert!(welcome.output().contains("Login Succeeded"), "{called}: {welcome}");
        let target = world.reference("shop-api", &called.to_lowercase().replace(' ', "-"));
        let digest = docker.push(&image, &target).await;
        assert_eq!(docker.pull(&target).await, digest, "{called}");

        // Cut off, as by copying from a terminal.
        let secret = &login.credential.secret;
        let cut = Credential {
            secret: secret[..secret.len() - 4].to_owned(),
            ..login.credential.clone()
        };
        let refused = docker.login(&authority, &cut).await.ended_with(1);
        let words = match called {
            "password" => {
                "the user name or the password is wrong; log in with your password or a token"
            }
            "OIDC token" => "OIDC token",
            _ => "the token is damaged or cut off; copy it whole",
        };
        assert!(refused.output().contains(words), "{called}: {refused}");

        match &login.end {
            End::Delete(path) => {
                let _ = world.admin.call(Method::DELETE, path, None).await.expect(204);
            }
            End::Disable(path) => {
                let off = Some(json!({"disabled": true}));
                let _ = world.admin.call(Method::PATCH, path, off).await.expect(200);
            }
        }
        // Docker is still logged in, but that is over with the next request.
        let refused = docker.command(&["pull", &target]).finish().await;
        assert_ne!(refused.code, Some(0), "{called}: {refused}");
        let refused = docker.login(&authority, &login.credential).await.ended_with(1);
        assert!(refused.output().contains(login.said), "{called}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_is_told_which_scope_a_token_lacks_and_which_role() {
    let Some(docker) = Client::find(Kind::Docker).await else { return };
    let (_issuer, world) = world().await;
    let authority = world.server.authority().to_owned();
    let image = images::build(&docker, "scopes-test:1", 8, &[50_000]).await;
    let will = world.admin.user("will", PASSWORD).await;
    world.admin.permit("acme", "shop", "will", "write").await;
    let made = will.create("/tokens", json!({"name": "t", "scopes": ["pull"]})).await;
    let _ = docker.login(&authority, &credential("will", &made)).await.succeeded();
    let target = world.reference("shop-api", "latest");
    let refused = refused_push(&docker, &image.reference, &target).await;
    assert!(refused.contains("without the scope push; use one that has it"), "{refused}");
    world.admin.permit("acme", "shop", "will", "read").await;
    let _ = docker.login(&authority, &will.credential()).await.succeeded();
    let refused = refused_push(&docker, &image.reference, &target).await;
    assert!(refused.contains("the role write on the repository is needed to push"), "{refused}");
}

async fn refused_push(docker: &Client, image: &str, target: &str) -> String {
    let _ = docker.command(&["tag", image, target]).finish().await.succeeded();
    let pushed = docker.command(&["push", target]).finish().await;
    assert_ne!(pushed.code, Some(0), "{pushed}");
    pushed.output()
}
