//! The REST API: what it does. What it refuses is in `refusals`.

mod pushes;
mod refusals;

use crate::harness::{Answer, Client, World};
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const BASE: &str = "/api/v1";

pub(crate) async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Answer {
    let kind = [("content-type", "application/json")];
    client.send(method, &format!("{BASE}{path}"), &kind, body.to_string()).await
}

pub(crate) async fn post(client: &Client, path: &str, body: Value) -> Answer {
    send(client, Method::POST, path, &body).await
}

pub(crate) async fn put(client: &Client, path: &str, body: Value) -> Answer {
    send(client, Method::PUT, path, &body).await
}

pub(crate) async fn patch(client: &Client, path: &str, body: Value) -> Answer {
    send(client, Method::PATCH, path, &body).await
}

pub(crate) async fn get(client: &Client, path: &str) -> Answer {
    client.get(&format!("{BASE}{path}")).await
}

pub(crate) async fn delete(client: &Client, path: &str) -> Answer {
    client.delete(&format!("{BASE}{path}")).await
}

/// A problem of this status whose detail has these words.
#[track_caller]
pub(crate) fn problem(answer: Answer, status: u16, words: &str) -> Value {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains(words), "{detail}");
    problem
}

/// The values of one field of a list.
pub(crate) fn column(answer: &Answer, field: &str) -> Vec<String> {
    let body = answer.json();
    let items = body["items"].as_array().expect("items");
    items.iter().map(|item| item[field].as_str().expect("text").to_owned()).collect()
}

pub(crate) async fn package_id(client: &Client, workspace: &str, name: &str) -> u64 {
    let path = format!("/workspaces/{workspace}/packages?name={name}");
    let found = get(client, &path).await.expect(200).json();
    found["items"][0]["id"].as_u64().expect("an id")
}

#[tokio::test]
async fn a_newcomers_first_hour() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let made = post(&admin, "/workspaces", json!({"slug": "new", "name": "New"})).await.expect(201);
    assert_eq!(made.header("location"), "/api/v1/workspaces/new");
    let made = made.json();
    assert_eq!(made["create_on_push"], "admins");
    assert_eq!((&made["lease_seconds"], &made["keep_bytes"]), (&json!(86400), &Value::Null));

    let project = json!({"key": "WEB", "name": "Web"});
    let made = post(&admin, "/workspaces/new/projects", project.clone()).await.expect(201);
    assert_eq!(made.json(), project);
    let repository = json!({"slug": "shop", "project": "WEB", "visibility": "private"});
    let made = post(&admin, "/workspaces/new/repositories", repository).await.expect(201);
    assert_eq!(made.header("location"), "/api/v1/workspaces/new/repositories/shop");
    let settings = json!({"create_on_push": "writers", "default_repository": "shop"});
    let changed = patch(&admin, "/workspaces/new", settings).await.expect(200).json();
    assert_eq!(changed["default_repository"], "shop");
    assert_eq!(changed["name"], "New", "what is not given stays");
    assert_eq!(changed["usage"], json!({"blob_bytes": 0, "manifest_bytes": 0, "doomed_bytes": 0}));

    let user = json!({"username": "zoe", "password": "a good password"});
    let made = post(&admin, "/users", user).await.expect(201);
    assert!(!made.text().contains("a good password"));
    let role = json!({"role": "write"});
    let given = put(&admin, "/workspaces/new/repositories/shop/permissions/zoe", role).await;
    assert_eq!(given.expect(200).json(), json!({"username": "zoe", "role": "write"}));
    let login = STANDARD.encode("zoe:a good password");
    let zoe = world.holder(&format!("Basic {login}"));
    let visible = get(&zoe, "/workspaces").await.expect(200);
    assert_eq!(column(&visible, "slug"), ["acme", "new"], "acme has a public repository");
}

#[tokio::test]
async fn from_a_package_to_a_tag_and_back() {
    let world = World::new().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    let package = json!({"name": "shop-api", "repository": "shop"});
    let made = post(&admin, "/workspaces/acme/packages", package).await.expect(201);
    let id = made.json()["id"].as_u64().expect("an id");
    assert_eq!(made.header("location"), format!("/api/v1/workspaces/acme/packages/{id}"));

    let wanted = json!({"name": "ci", "lifetime_seconds": 3600});
    let path = "/workspaces/acme/repositories/shop/pipeline-tokens";
    let token = post(&admin, path, wanted).await.expect(201).json();
    assert_eq!(token["expires_at"], "2027-01-15T09:00:00.000Z");
    let text = token["token"].as_str().expect("a token");
    let login = STANDARD.encode(format!("{}:{text}", token["username"].as_str().expect("a name")));
    let build = world.holder(&format!("Basic {login}"));
    let pushed = build.push_image("acme/shop-api", "1.0", "layer").await;

    let path = format!("/workspaces/acme/packages/{id}");
    let shown = get(&ann, &path).await.expect(200).json();
    assert_eq!(shown["repository"], "shop");
    assert_eq!(shown["usage"]["linked_bytes"], 7);
    let tag = get(&ann, &format!("{path}/tags/1.0")).await.expect(200).json();
    assert_eq!(tag["digest"], pushed.digest());
    assert!(tag["moved_by"].as_str().is_some_and(|by| by.starts_with("pipeline:")), "{tag}");
    let history = get(&ann, &format!("{path}/history?tag=1.0")).await.expect(200).json();
    assert_eq!(history["items"][0]["event"], "created");
    assert_eq!(history["items"][0]["credential"], token["id"]);
    let _ = delete(&ann, &format!("{path}/tags/1.0")).await.expect(204);
    let _ = get(&ann, &format!("{path}/tags/1.0")).await.expect(404);
    let _ = problem(delete(&ann, &path).await, 403, "admin");
    let _ = delete(&admin, &path).await.expect(204);
    let _ = get(&ann, &path).await.expect(404);
}

#[tokio::test]
async fn who_has_no_part_in_something_is_told_that_it_does_not_exist() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let vault = package_id(&admin, "acme", "vault").await;
    let tool = package_id(&admin, "other", "tool").await;
    let bob = world.client("bob").await;
    for path in [
        "/workspaces/other".to_owned(),
        "/workspaces/other/projects".to_owned(),
        "/workspaces/other/repositories".to_owned(),
        "/workspaces/other/packages".to_owned(),
        "/workspaces/acme/repositories/vault".to_owned(),
        format!("/workspaces/acme/packages/{vault}"),
        format!("/workspaces/acme/packages/{vault}/tags"),
        format!("/workspaces/acme/packages/{vault}/history"),
        // The parent in the path is checked: an id of another workspace is not there.
        format!("/workspaces/acme/packages/{tool}"),
        "/workspaces/acme/packages/999".to_owned(),
    ] {
        let _ = problem(get(&bob, &path).await, 404, "there is no");
    }
    let ann = world.client("ann").await;
    let _ = get(&ann, &format!("/workspaces/other/packages/{tool}")).await.expect(200);
    let _ =
        problem(get(&ann, &format!("/workspaces/acme/packages/{tool}")).await, 404, "there is no");
    let _ =
        problem(delete(&admin, &format!("/workspaces/acme/packages/{tool}")).await, 404, "package");
}

#[tokio::test]
async fn a_role_that_is_too_small_is_told_so() {
    let world = World::new().await;
    let (ann, pipeline) = (world.client("ann").await, world.pipeline("acme", "shop").await);
    for client in [&ann, &pipeline] {
        let shop = "/workspaces/acme/repositories/shop";
        let _ = problem(get(client, &format!("{shop}/permissions")).await, 403, "admin");
        let role = json!({"role": "admin"});
        let _ = problem(put(client, &format!("{shop}/permissions/ann"), role).await, 403, "admin");
        let token = json!({"name": "ci"});
        let _ =
            problem(post(client, &format!("{shop}/pipeline-tokens"), token).await, 403, "admin");
        let _ = problem(patch(client, shop, json!({"visibility": "public"})).await, 403, "admin");
        let _ = problem(delete(client, shop).await, 403, "admin");
        let package = json!({"name": "new", "repository": "shop"});
        let _ = problem(post(client, "/workspaces/acme/packages", package).await, 403, "admin");
        let _ = problem(patch(client, "/workspaces/acme", json!({})).await, 403, "workspace");
        let new = json!({"slug": "mine"});
        let _ = problem(post(client, "/workspaces", new).await, 403, "instance");
        let _ = problem(get(client, "/users").await, 403, "instance");
    }
    // A pipeline is no person.
    let _ = problem(get(&pipeline, "/user").await, 404, "machine");
    let _ = problem(get(&pipeline, "/tokens").await, 404, "machine");
}

#[tokio::test]
async fn lists_come_in_pages_of_what_the_caller_may_see() {
    let world = World::new().await;
    let (admin, bob) = (world.client("admin").await, world.client("bob").await);
    let all = get(&admin, "/workspaces/acme/repositories").await.expect(200);
    assert_eq!(column(&all, "slug"), ["shop", "site", "vault"]);
    assert_eq!(all.json()["next"], Value::Null);
    let mut found = Vec::new();
    let mut path = "/workspaces/acme/repositories?limit=1".to_owned();
    loop {
        let page = get(&admin, &path).await.expect(200);
        found.extend(column(&page, "slug"));
        let Some(next) = page.json()["next"].as_str().map(str::to_owned) else { break };
        path = format!("/workspaces/acme/repositories?limit=1&after={next}");
    }
    assert_eq!(found, ["shop", "site", "vault"]);
    let visible = get(&bob, "/workspaces/acme/repositories").await.expect(200);
    assert_eq!(column(&visible, "slug"), ["shop", "site"]);
    let visible = get(&bob, "/workspaces/acme/packages").await.expect(200);
    assert_eq!(column(&visible, "name"), ["shop", "shop-web", "site"]);
    let linked = get(&bob, "/workspaces/acme/packages?repository=shop").await.expect(200);
    assert_eq!(column(&linked, "name"), ["shop", "shop-web"]);
    let one = get(&bob, "/workspaces/acme/packages?name=shop-web").await.expect(200);
    assert_eq!(column(&one, "name"), ["shop-web"]);
    let hidden = get(&bob, "/workspaces/acme/packages?name=vault").await.expect(200);
    assert_eq!(hidden.json(), json!({"items": [], "next": null}));
    let users = get(&admin, "/users?limit=2").await.expect(200);
    assert_eq!(column(&users, "username"), ["admin", "ann"]);
    assert_eq!(users.json()["next"], "ann");
}

#[tokio::test]
async fn null_clears_and_absence_keeps() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let set = json!({"default_repository": "shop", "keep_bytes": 5});
    let _ = patch(&admin, "/workspaces/acme", set).await.expect(200);
    let kept = patch(&admin, "/workspaces/acme", json!({"name": "A"})).await.expect(200).json();
    assert_eq!((&kept["default_repository"], &kept["keep_bytes"]), (&json!("shop"), &json!(5)));
    let clear = json!({"default_repository": null, "keep_bytes": null});
    let cleared = patch(&admin, "/workspaces/acme", clear).await.expect(200).json();
    assert_eq!(
        (&cleared["default_repository"], &cleared["keep_bytes"]),
        (&Value::Null, &Value::Null)
    );
    let project = json!({"key": "WEB"});
    let _ = post(&admin, "/workspaces/acme/projects", project).await.expect(201);
    let shop = "/workspaces/acme/repositories/shop";
    let set =
        patch(&admin, shop, json!({"project": "WEB", "slug": "store"})).await.expect(200).json();
    assert_eq!((&set["project"], &set["slug"]), (&json!("WEB"), &json!("store")));
    let of_project = get(&admin, "/workspaces/acme/packages?project=WEB").await.expect(200);
    assert_eq!(column(&of_project, "repository"), ["store", "store"]);
    let store = "/workspaces/acme/repositories/store";
    let cleared = patch(&admin, store, json!({"project": null})).await.expect(200).json();
    assert_eq!(cleared["project"], Value::Null);
}

#[tokio::test]
async fn roles_hold_from_the_next_request() {
    let world = World::new().await;
    let (admin, eve) = (world.client("admin").await, world.client("eve").await);
    let shop = "/workspaces/acme/repositories/vault";
    let permission = format!("{shop}/permissions/eve");
    let _ = get(&eve, shop).await.expect(404);
    let _ = put(&admin, &permission, json!({"role": "read"})).await.expect(200);
    let _ = get(&eve, shop).await.expect(200);
    let listed = get(&admin, &format!("{shop}/permissions")).await.expect(200).json();
    assert_eq!(listed["items"], json!([{"username": "eve", "role": "read"}]));
    let _ = delete(&admin, &permission).await.expect(204);
    let _ = get(&eve, shop).await.expect(404);
    let _ = problem(delete(&admin, &permission).await, 404, "eve");
    let nobody = put(&admin, &format!("{shop}/permissions/nobody"), json!({"role": "read"})).await;
    let _ = problem(nobody, 404, "nobody");

    let member = "/workspaces/acme/permissions/eve";
    let _ = put(&admin, member, json!({"role": "admin"})).await.expect(200);
    let listed = get(&eve, "/workspaces/acme/permissions").await.expect(200).json();
    assert_eq!(listed["items"], json!([{"username": "eve", "role": "admin"}]));
    let _ = patch(&eve, shop, json!({"name": "Vault"})).await.expect(200);
    let _ = problem(get(&eve, "/workspaces/other").await, 404, "other");
    let _ = delete(&admin, member).await.expect(204);
    // She still sees the workspace, because it has a public repository.
    let _ = problem(get(&eve, "/workspaces/acme/permissions").await, 403, "workspace");
}

#[tokio::test]
async fn ones_own_account_and_tokens() {
    let world = World::new().await;
    let (admin, eve) = (world.client("admin").await, world.client("eve").await);
    let own = get(&eve, "/user").await.expect(200).json();
    let none = json!({
        "username": "eve", "instance_admin": false, "disabled": false, "has_password": false,
        "invited_until": null,
    });
    assert_eq!(own, none);
    let made = post(&eve, "/tokens", json!({"name": "laptop"})).await.expect(201).json();
    let token = world.holder(&format!("Bearer {}", made["token"].as_str().expect("a token")));
    let _ = get(&token, "/user").await.expect(200);
    let listed = get(&eve, "/tokens").await.expect(200);
    assert!(column(&listed, "name").contains(&"laptop".to_owned()));
    assert!(!listed.text().contains(made["token"].as_str().expect("a token")));
    let path = format!("/tokens/{}", made["id"].as_str().expect("an id"));
    let _ = problem(delete(&admin, &path).await, 404, "token");
    let _ = delete(&eve, &path).await.expect(204);
    let _ = problem(get(&token, "/user").await, 401, "");

    // The harness's people have no password that could be right, so there is none to change.
    let new = json!({"current_password": "x password", "new_password": "y password"});
    let set = patch(&admin, "/users/eve", json!({"password": "x password"})).await.expect(200);
    assert!(!set.text().contains("x password"));
    let _ = put(&eve, "/user/password", new.clone()).await.expect(204);
    let _ = problem(put(&eve, "/user/password", new).await, 400, "current_password");
    let off = patch(&admin, "/users/eve", json!({"disabled": true})).await.expect(200).json();
    assert_eq!(off["disabled"], true);
    let _ = problem(get(&eve, "/user").await, 401, "");
    let last = patch(&admin, "/users/admin", json!({"disabled": true})).await;
    let _ = problem(last, 400, "last administrator");
}
