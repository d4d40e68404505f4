//! The REST API.

use crate::harness::{Answer, Client, World};
use axum::body::Body;
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const BASE: &str = "/api/v1";

async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Answer {
    let kind = [("content-type", "application/json")];
    client.send(method, &format!("{BASE}{path}"), &kind, body.to_string()).await
}

async fn post(client: &Client, path: &str, body: Value) -> Answer {
    send(client, Method::POST, path, &body).await
}

async fn put(client: &Client, path: &str, body: Value) -> Answer {
    send(client, Method::PUT, path, &body).await
}

async fn patch(client: &Client, path: &str, body: Value) -> Answer {
    send(client, Method::PATCH, path, &body).await
}

async fn get(client: &Client, path: &str) -> Answer {
    client.get(&format!("{BASE}{path}")).await
}

async fn delete(client: &Client, path: &str) -> Answer {
    client.delete(&format!("{BASE}{path}")).await
}

/// A problem of this status whose detail has these words.
#[track_caller]
fn problem(answer: Answer, status: u16, words: &str) -> Value {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains(words), "{detail}");
    problem
}

/// The values of one field of a list.
fn column(answer: &Answer, field: &str) -> Vec<String> {
    let body = answer.json();
    let items = body["items"].as_array().expect("items");
    items.iter().map(|item| item[field].as_str().expect("text").to_owned()).collect()
}

async fn package_id(client: &Client, workspace: &str, name: &str) -> u64 {
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
    assert!(!made.text().contains("password"));
    let role = json!({"role": "write"});
    let given = put(&admin, "/workspaces/new/repositories/shop/permissions/zoe", role).await;
    assert_eq!(given.expect(200).json(), json!({"username": "zoe", "role": "write"}));

    let package = json!({"name": "shop-api", "repository": "shop"});
    let made = post(&admin, "/workspaces/new/packages", package).await.expect(201);
    let id = made.json()["id"].as_u64().expect("an id");
    assert_eq!(made.header("location"), format!("/api/v1/workspaces/new/packages/{id}"));

    let wanted = json!({"name": "ci", "lifetime_seconds": 3600});
    let path = "/workspaces/new/repositories/shop/pipeline-tokens";
    let token = post(&admin, path, wanted).await.expect(201).json();
    assert_eq!(token["expires_at"], "2027-01-15T09:00:00.000Z");
    let text = token["token"].as_str().expect("a token");
    let login = STANDARD.encode(format!("{}:{text}", token["username"].as_str().expect("a name")));
    let build = world.holder(&format!("Basic {login}"));
    let pushed = build.push_image("new/shop-api", "1.0", "layer").await;

    let zoe = world.holder(&format!("Basic {}", STANDARD.encode("zoe:a good password")));
    let path = format!("/workspaces/new/packages/{id}");
    let shown = get(&zoe, &path).await.expect(200).json();
    assert_eq!(shown["repository"], "shop");
    assert_eq!(shown["usage"]["linked_bytes"], 7);
    let tag = get(&zoe, &format!("{path}/tags/1.0")).await.expect(200).json();
    assert_eq!(tag["digest"], pushed.digest());
    assert!(tag["moved_by"].as_str().is_some_and(|by| by.starts_with("pipeline:")), "{tag}");
    let history = get(&zoe, &format!("{path}/history?tag=1.0")).await.expect(200).json();
    assert_eq!(history["items"][0]["event"], "created");
    assert_eq!(history["items"][0]["credential"], token["id"]);
    let _ = delete(&zoe, &format!("{path}/tags/1.0")).await.expect(204);
    let _ = get(&zoe, &format!("{path}/tags/1.0")).await.expect(404);
    let _ = problem(delete(&zoe, &path).await, 403, "admin");
    let _ = delete(&admin, &path).await.expect(204);
    let _ = get(&zoe, &path).await.expect(404);
}

#[tokio::test]
async fn everything_but_the_description_takes_a_login() {
    let world = World::new().await;
    let nobody = world.anonymous();
    let description = nobody.get("/api/v1/openapi.json").await.expect(200);
    assert_eq!(description.header("content-type"), "application/json");
    let description = description.json();
    let ann = world.client("ann").await;
    let registry_token = world.narrowed(&ann, &["repository:acme/shop:pull"]).await;
    for (path, item) in description["paths"].as_object().expect("paths") {
        let concrete: Vec<&str> = path
            .split('/')
            .map(|part| match part {
                "{workspace}" => "acme",
                "{repository}" => "site",
                "{package}" => "1",
                "{tag}" | "{token}" => "1",
                "{user}" => "ann",
                other => other,
            })
            .collect();
        let concrete = concrete.join("/");
        for method in item.as_object().expect("operations").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            for stranger in [&nobody, &registry_token] {
                let answer = stranger.send(method.clone(), &concrete, &[], Body::empty()).await;
                let words = problem(answer, 401, "");
                assert_eq!(words["title"], "Unauthenticated", "{method} {concrete}");
            }
            let cookie = [("cookie", "session=1; token=x")];
            let answer = nobody.send(method.clone(), &concrete, &cookie, Body::empty()).await;
            assert_eq!(answer.status.as_u16(), 401, "{method} {concrete}");
            assert_eq!(answer.header("access-control-allow-origin"), "");
            assert_eq!(answer.header("www-authenticate"), "Basic realm=\"Standpipe\"");
        }
    }
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
    let _ = problem(get(&ann, &format!("/workspaces/acme/packages/{tool}")).await, 404, "there is no");
    let _ = problem(delete(&admin, &format!("/workspaces/acme/packages/{tool}")).await, 404, "package");
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
        let _ = problem(post(client, &format!("{shop}/pipeline-tokens"), token).await, 403, "admin");
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
    let _ = problem(get(&pipeline, "/user").await, 404, "pipeline");
    let _ = problem(get(&pipeline, "/tokens").await, 404, "pipeline");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_names_the_field() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let acme = "/workspaces/acme";
    for (path, body, words) in [
        ("/workspaces", json!({"slug": "Bad"}), "slug"),
        ("/workspaces", json!({"slug": "ok", "name": ""}), "name"),
        ("/workspaces", json!({"name": "x"}), "slug"),
        ("/workspaces", json!({"slug": 5}), "slug"),
        ("/workspaces", json!({"slug": "ok", "id": 5}), "id"),
        ("/workspaces/acme/projects", json!({"key": "web"}), "key"),
        ("/workspaces/acme/repositories", json!({"slug": "x", "project": "NONE"}), "project"),
        ("/workspaces/acme/repositories", json!({"slug": "x", "visibility": "secret"}), "visibility"),
        ("/workspaces/acme/packages", json!({"name": "a//b", "repository": "shop"}), "name"),
        ("/users", json!({"username": "x", "password": "short"}), "password"),
        ("/users", json!({"username": "x y", "password": "long enough"}), "username"),
        ("/users", json!({"username": "x", "password": "long enough", "role": "admin"}), "role"),
        ("/tokens", json!({"name": "x", "lifetime_seconds": 5}), "lifetime_seconds"),
    ] {
        let _ = problem(post(&admin, path, body).await, 400, words);
    }
    for (body, words) in [
        (json!({"create_on_push": "all"}), "create_on_push"),
        (json!({"default_repository": "nothing"}), "default_repository"),
        (json!({"lease_seconds": 599}), "lease_seconds"),
        (json!({"keep_seconds": u64::MAX}), "keep_seconds"),
        (json!({"purge_seconds": -1}), "purge_seconds"),
        (json!({"slug": "renamed"}), "slug"),
    ] {
        let _ = problem(patch(&admin, acme, body).await, 400, words);
    }
    for query in ["limit=0", "limit=1001", "limit=x", "size=5", "limit=5&limit=6"] {
        let _ = problem(get(&admin, &format!("/workspaces?{query}")).await, 400, "");
    }
    let long = format!("/workspaces?after={}", "x".repeat(600));
    let _ = problem(get(&admin, &long).await, 400, "after");
    let _ = problem(get(&admin, "/workspaces/acme/packages/01").await, 400, "package");
    let _ = problem(get(&admin, "/workspaces/ACME").await, 400, "workspace");
    let path = "/workspaces/acme/permissions/ann";
    let _ = problem(put(&admin, path, json!({"role": "write"})).await, 400, "role");
    let _ = problem(get(&admin, "/nothing").await, 404, "");
    let _ = problem(delete(&admin, "/workspaces").await, 405, "");
}

#[tokio::test]
async fn bodies_are_json_and_bounded() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let path = "/api/v1/workspaces";
    let body = r#"{"slug":"x"}"#;
    let plain = [("content-type", "text/plain")];
    let _ = problem(admin.send(Method::POST, path, &plain, body).await, 415, "application/json");
    let _ = problem(admin.send(Method::POST, path, &[], body).await, 415, "application/json");
    let json = [("content-type", "application/json")];
    for broken in ["", "{", "[]", "null", r#"{"slug":"x"} x"#, r#"{"slug":"x","slug":"y"}"#] {
        let _ = problem(admin.send(Method::POST, path, &json, broken).await, 400, "body");
    }
    let deep = format!("{{\"slug\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let _ = problem(admin.send(Method::POST, path, &json, deep).await, 400, "body");
    let long = format!("{{\"slug\":\"{}\"}}", "x".repeat(65 << 10));
    let _ = problem(admin.send(Method::POST, path, &json, long).await, 413, "64 KiB");
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
async fn what_exists_or_is_in_use_is_a_conflict() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let _ = problem(post(&admin, "/workspaces", json!({"slug": "acme"})).await, 409, "acme");
    let shop = json!({"slug": "shop"});
    let _ = problem(post(&admin, "/workspaces/acme/repositories", shop).await, 409, "shop");
    let package = json!({"name": "shop", "repository": "site"});
    let _ = problem(post(&admin, "/workspaces/acme/packages", package).await, 409, "shop");
    let ann = json!({"username": "ann", "password": "long enough"});
    let _ = problem(post(&admin, "/users", ann).await, 409, "ann");
    let _ = problem(delete(&admin, "/workspaces/acme/repositories/shop").await, 409, "packages");
    let renamed = patch(&admin, "/workspaces/acme/repositories/shop", json!({"slug": "site"})).await;
    let _ = problem(renamed, 409, "site");
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
    assert_eq!((&cleared["default_repository"], &cleared["keep_bytes"]), (&Value::Null, &Value::Null));
    let project = json!({"key": "WEB"});
    let _ = post(&admin, "/workspaces/acme/projects", project).await.expect(201);
    let shop = "/workspaces/acme/repositories/shop";
    let set = patch(&admin, shop, json!({"project": "WEB", "slug": "store"})).await.expect(200).json();
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
    let _ = get(&eve, "/workspaces/acme/permissions").await.expect(404);
}

#[tokio::test]
async fn ones_own_account_and_tokens() {
    let world = World::new().await;
    let (admin, eve) = (world.client("admin").await, world.client("eve").await);
    let own = get(&eve, "/user").await.expect(200).json();
    assert_eq!(own, json!({"username": "eve", "instance_admin": false, "disabled": false}));
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
