//! Who may do what, asked over real HTTP: each kind of caller times each kind of action.

use reqwest::Method;
use serde_json::json;
use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::http::Answer;
use standpipe_tests::payload::Payload;
use standpipe_tests::raw::{Raw, Style, answered};
use standpipe_tests::rest::{Credential, Rest, id_of};

use crate::world::World;

const PASSWORD: &str = "a long enough password";

/// Statuses of the actions of [`Attempt`], in its order.
type Row = [u16; 5];

const NOBODY: Row = [401, 401, 401, 401, 401];
const NO_ROLE: Row = [404, 404, 404, 404, 404];
const READ: Row = [200, 403, 403, 403, 403];
const WRITE: Row = [200, 202, 202, 403, 403];
const ADMIN: Row = [200, 202, 202, 201, 204];

#[tokio::test]
async fn every_role_may_do_what_it_says_and_nothing_more() {
    let world = World::with_packages(&["shop-api"]).await;
    for (user, role, expected) in
        [("rita", "read", READ), ("will", "write", WRITE), ("anna", "admin", ADMIN)]
    {
        let rest = world.admin.user(user, PASSWORD).await;
        world.admin.permit("acme", "shop", user, role).await;
        let attempt = Attempt::new(&world, &rest, user).await;
        assert_eq!(attempt.everything().await, expected, "{role}");
    }
    let rest = world.admin.user("nora", PASSWORD).await;
    let attempt = Attempt::new(&world, &rest, "nora").await;
    assert_eq!(attempt.everything().await, NO_ROLE, "no role");
}

#[tokio::test]
async fn without_a_valid_credential_everything_is_401() {
    let world = World::with_packages(&[]).await;
    let stranger = Rest::new(&world.server.url(), "nobody", "wrong password");
    let attempt = Attempt::new(&world, &stranger, "nobody").await;
    assert_eq!(attempt.everything().await, NOBODY, "wrong password");

    let anonymous = world.anonymous();
    let pulled = anonymous.manifest("acme/for-nobody", "latest").await;
    pulled.refused(401, "UNAUTHORIZED");
    let pushed = answered(anonymous.start_upload("acme/for-nobody").await);
    pushed.refused(401, "UNAUTHORIZED");
    let deleted = anonymous.delete("/v2/acme/for-nobody/manifests/latest").await;
    deleted.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_pipeline_token_writes_in_its_own_repository_only() {
    let world = World::with_packages(&[]).await;
    let token = world.pipeline_token().await;
    let rest = Rest::new(&world.server.url(), &token.username, &token.secret);
    let attempt = Attempt::new(&world, &rest, "token").await;
    assert_eq!(attempt.everything().await, WRITE);

    world.admin.repository("acme", "office", "private").await;
    world.admin.package("acme", "payroll", "office").await;
    let raw = world.raw_as(&token);
    let pulled = raw.manifest("acme/payroll", "latest").await;
    pulled.refused(404, "NAME_UNKNOWN");
    let pushed = answered(raw.start_upload("acme/payroll").await);
    pushed.refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn the_user_name_beside_a_pipeline_token_does_not_matter() {
    let world = World::with_packages(&["shop-api"]).await;
    let token = world.pipeline_token().await;
    let other = Credential { username: "x-token-auth".to_owned(), secret: token.secret };
    let started = answered(world.raw_as(&other).start_upload("acme/shop-api").await);
    let _ = started.expect(202);
}

#[tokio::test]
async fn a_revoked_pipeline_token_is_refused_at_once() {
    let world = World::with_packages(&["shop-api"]).await;
    let path = "/workspaces/acme/repositories/shop/pipeline-tokens";
    let body = json!({"name": "ci", "lifetime_seconds": 600});
    let token = world.admin.create(path, body).await;
    let secret = token["token"].as_str().expect("a new token is shown once").to_owned();
    let raw = Raw::basic(&world.server.url(), "ci", &secret);
    let _ = raw.get("/v2/").await.expect(200);

    let revoke = format!("{path}/{}", id_of(&token));
    let _ = world.admin.call(Method::DELETE, &revoke, None).await.expect(204);
    raw.get("/v2/").await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_role_taken_away_counts_at_the_next_request() {
    let world = World::with_packages(&["shop-api"]).await;
    let rest = world.admin.user("will", PASSWORD).await;
    world.admin.permit("acme", "shop", "will", "write").await;
    let raw = world.raw_as(&rest.credential());
    let _ = answered(raw.start_upload("acme/shop-api").await).expect(202);

    world.admin.permit("acme", "shop", "will", "read").await;
    answered(raw.start_upload("acme/shop-api").await).refused(403, "DENIED");
    let path = "/workspaces/acme/repositories/shop/permissions/will";
    let _ = world.admin.call(Method::DELETE, path, None).await.expect(204);
    let started = answered(raw.start_upload("acme/shop-api").await);
    started.refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn a_private_package_and_a_missing_one_look_the_same() {
    let world = World::with_packages(&["secret"]).await;
    let _ = world.raw().push_image("acme/secret", "latest", 1).await;
    let payload = Payload::new(1, 3000).digest();
    let rest = world.admin.user("nora", PASSWORD).await;
    for raw in [world.raw_as(&rest.credential()), world.anonymous()] {
        for path in [
            "manifests/latest".to_owned(),
            format!("blobs/{payload}"),
            "tags/list".to_owned(),
            format!("referrers/{payload}"),
        ] {
            let hidden = raw.get(&format!("/v2/acme/secret/{path}")).await;
            let missing = raw.get(&format!("/v2/acme/absent/{path}")).await;
            let elsewhere = raw.get(&format!("/v2/nowhere/absent/{path}")).await;
            assert_eq!(shape(&hidden, "acme/secret"), shape(&missing, "acme/absent"), "{path}");
            assert_eq!(
                shape(&hidden, "acme/secret"),
                shape(&elsewhere, "nowhere/absent"),
                "{path}"
            );
        }
        let hidden = answered(raw.start_upload("acme/secret").await);
        let missing = answered(raw.start_upload("acme/absent").await);
        assert_eq!(shape(&hidden, "acme/secret"), shape(&missing, "acme/absent"));
    }
}

#[tokio::test]
async fn everybody_pulls_from_a_public_repository_and_only_writers_push() {
    let world = World::with_packages(&[]).await;
    world.admin.repository("acme", "open", "public").await;
    world.admin.package("acme", "tool", "open").await;
    let manifest = world.raw().push_image("acme/tool", "latest", 2).await;
    let anonymous = world.anonymous();
    let pulled = anonymous.manifest("acme/tool", "latest").await.expect(200);
    assert_eq!(pulled.body, manifest.bytes);
    answered(anonymous.start_upload("acme/tool").await).refused(401, "UNAUTHORIZED");
    let deleted = anonymous.delete("/v2/acme/tool/manifests/latest").await;
    deleted.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_push_creates_a_package_only_for_those_whom_the_workspace_lets() {
    let world = World::with_packages(&[]).await;
    for (user, role) in [("anna", "admin"), ("will", "write"), ("rita", "read")] {
        world.admin.user(user, PASSWORD).await;
        world.admin.permit("acme", "shop", user, role).await;
    }
    for (setting, allowed) in [
        ("never", [false, false, false]),
        ("admins", [true, false, false]),
        ("writers", [true, true, false]),
    ] {
        world
            .admin
            .settings("acme", json!({"create_on_push": setting, "default_repository": "shop"}))
            .await;
        for (user, allowed) in ["anna", "will", "rita"].into_iter().zip(allowed) {
            let raw = Raw::basic(&world.server.url(), user, PASSWORD);
            let name = format!("acme/new-{setting}-{user}");
            let started = answered(raw.start_upload(&name).await);
            if allowed {
                let _ = started.expect(202);
            } else {
                assert!(
                    matches!(started.status, 403 | 404),
                    "{setting} {user}: {}",
                    started.status
                );
            }
            let query = format!("/workspaces/acme/packages?name=new-{setting}-{user}");
            let found = !items(&world.admin.fetch(&query).await).is_empty();
            assert_eq!(found, allowed, "{setting} {user}: the package");
        }
    }
}

#[tokio::test]
async fn a_pipeline_token_creates_its_package_on_push_in_its_own_repository() {
    let world = World::with_packages(&[]).await;
    world.admin.settings("acme", json!({"create_on_push": "writers"})).await;
    let token = world.pipeline_token().await;
    let payload = Payload::new(3, 100);
    let raw = world.raw_as(&token);
    let _ = answered(raw.upload("acme/deep/er/name", &payload, Style::Put).await).expect(201);
    let listed = world.admin.fetch("/workspaces/acme/packages?name=deep/er/name").await;
    assert_eq!(items(&listed)[0]["repository"], "shop", "{listed}");
}

#[tokio::test]
async fn docker_logs_in_with_a_pipeline_token_and_not_with_a_wrong_one() {
    let Some(docker) = Client::find(Kind::Docker).await else { return };
    let world = World::with_packages(&["shop-api"]).await;
    let token = world.pipeline_token().await;
    let welcome = docker.login(world.server.authority(), &token).await.succeeded();
    assert!(welcome.output().contains("Login Succeeded"), "{welcome}");
    let wrong = Credential { secret: format!("{}x", token.secret), ..token };
    let refused = docker.login(world.server.authority(), &wrong).await.ended_with(1);
    assert!(refused.output().to_lowercase().contains("unauthorized"), "{refused}");
}

/// One caller's attempts at everything, on a package made for it.
struct Attempt<'a> {
    world: &'a World,
    rest: &'a Rest,
    package: String,
    id: String,
}

impl<'a> Attempt<'a> {
    async fn new(world: &'a World, rest: &'a Rest, caller: &str) -> Self {
        let package = format!("for-{caller}");
        let id = world.admin.package("acme", &package, "shop").await;
        let _ = world.raw().push_image(&format!("acme/{package}"), "latest", 1).await;
        Self { world, rest, package, id }
    }

    /// Pull, push, delete a tag, create a package, delete a package.
    async fn everything(&self) -> Row {
        let name = format!("acme/{}", self.package);
        let raw = self.world.raw_as(&self.rest.credential());
        let pull = raw.manifest(&name, "latest").await;
        let push = answered(raw.start_upload(&name).await);
        let delete_tag = raw.delete(&format!("/v2/{name}/manifests/latest")).await;
        let body = json!({"name": format!("{}-more", self.package), "repository": "shop"});
        let create = self.rest.call(Method::POST, "/workspaces/acme/packages", Some(body)).await;
        let path = format!("/workspaces/acme/packages/{}", self.id);
        let delete = self.rest.call(Method::DELETE, &path, None).await;
        [pull, push, delete_tag, create, delete].map(|answer| answer.status)
    }
}

/// Everything a caller could tell two answers apart by, with the name it asked for left out.
fn shape(answer: &Answer, name: &str) -> (u16, Vec<String>, String) {
    let varying = ["date", "x-request-id", "content-length"];
    let headers = answer
        .headers
        .iter()
        .filter(|(header, _)| !varying.contains(&header.as_str()))
        .map(|(header, value)| format!("{header}: {value:?}").replace(name, "NAME"))
        .collect();
    (answer.status, headers, answer.text().replace(name, "NAME"))
}

fn items(page: &serde_json::Value) -> Vec<serde_json::Value> {
    page["items"].as_array().cloned().unwrap_or_else(|| panic!("no items in {page}"))
}
