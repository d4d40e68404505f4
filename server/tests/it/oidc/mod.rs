//! Logins with OIDC tokens, against an issuer that is a real HTTP server with keys of its own.

mod bindings;
mod issuer;
mod keys;
mod login;
mod refusals;
mod tags;

use crate::harness::{Answer, Client, Settings, World};
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuer::Issuer;
use serde_json::{Value, json};
use standpipe_server::auth::{IssuerSettings, OidcAlgorithm};
use standpipe_server::domain::ClaimNames;

/// An issuer and a build of it, for tests about something else.
pub(crate) struct Builds {
    issuer: Issuer,
    key: issuer::Key,
}

impl Builds {
    pub(crate) async fn start() -> Self {
        let issuer = Issuer::start().await;
        let key = issuer.fresh_key();
        Self { issuer, key }
    }

    /// A world that trusts the issuer.
    pub(crate) async fn world(&self) -> World {
        trusting(vec![trusted(&self.issuer)]).await
    }

    /// A build with the role `write` on a repository.
    pub(crate) async fn bound_to(&self, world: &World, repository: &str) -> Client {
        let body = binding(&self.issuer, json!({}));
        let _ = try_bind(world, "admin", repository, body).await.expect(201);
        build(world, &self.issuer.token(&self.key, json!({})))
    }

    /// What a binding is made with.
    pub(crate) fn binding(&self) -> Value {
        binding(&self.issuer, json!({ "source_repository": "another" }))
    }
}

/// The repository that builds.
const SOURCE: &str = "{9b21ae2c-4f4f-4c6e-8a2e-0b7f6f3f2f10}";
/// For whom its tokens are.
const AUDIENCE: &str = "https://registry.example.com";
/// What time it is in a world of tests.
const NOW: u64 = 1_800_000_000;

/// The issuer in the settings.
fn trusted(issuer: &Issuer) -> IssuerSettings {
    IssuerSettings {
        issuer: issuer.url.clone(),
        audiences: vec![AUDIENCE.to_owned()],
        jwks_uri: None,
        algorithms: vec![OidcAlgorithm::Rs256, OidcAlgorithm::Es256],
        claims: ClaimNames::default(),
    }
}

/// A world that trusts some issuers.
async fn trusting(issuers: Vec<IssuerSettings>) -> World {
    World::with(Settings { issuers, ..Settings::default() }).await
}

/// An issuer, and a world that trusts it and has one binding without conditions.
async fn bound() -> (Issuer, World) {
    let issuer = Issuer::start().await;
    let world = trusting(vec![trusted(&issuer)]).await;
    let _ = bind(&world, &issuer, json!({})).await;
    (issuer, world)
}

/// Binds the source repository to `acme/shop`; returns the binding's path.
async fn bind(world: &World, issuer: &Issuer, more: Value) -> String {
    let made = try_bind(world, "admin", "acme/shop", binding(issuer, more)).await.expect(201);
    made.header("location").to_owned()
}

fn binding(issuer: &Issuer, more: Value) -> Value {
    let mut body = json!({ "issuer": issuer.url, "source_repository": SOURCE });
    for (name, value) in more.as_object().expect("fields") {
        body[name] = value.clone();
    }
    body
}

async fn try_bind(world: &World, who: &str, repository: &str, body: Value) -> Answer {
    let (workspace, repository) = repository.split_once('/').expect("workspace/repository");
    let path = format!("/api/v1/workspaces/{workspace}/repositories/{repository}/oidc-bindings");
    let json = [("content-type", "application/json")];
    world.client(who).await.send(Method::POST, &path, &json, body.to_string()).await
}

/// What `docker login -u oidc -p <token>` sends.
fn basic(token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("oidc:{token}")))
}

fn build(world: &World, token: &str) -> Client {
    world.holder(&basic(token))
}

async fn form(client: &Client, fields: &[(&str, &str)]) -> Answer {
    let body = reqwest::Url::parse_with_params("http://x", fields).expect("fields");
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let body = body.query().unwrap_or_default().to_owned();
    client.send(Method::POST, "/token", &kind, body).await
}

async fn exchange(world: &World, token: &str) -> Answer {
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", token),
        ("service", "standpipe"),
        ("scope", "repository:acme/shop:pull,push repository:acme/vault:pull"),
    ];
    form(&world.anonymous(), &fields).await
}

/// A client with what an exchange gave.
fn bearer(world: &World, exchanged: &Answer) -> Client {
    let token = exchanged.json()["access_token"].as_str().expect("a token").to_owned();
    world.holder(&format!("Bearer {token}"))
}
