//! The REST API: what it refuses, and in which words.

use super::{delete, get, patch, post, problem, put};
use crate::harness::World;
use axum::body::Body;
use axum::http::Method;
use serde_json::json;

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
                "{robot}" => "bot",
                other => other,
            })
            .collect();
        let concrete = concrete.join("/");
        for method in item.as_object().expect("operations").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            // Who accepts an invitation has no login yet; the secret is in the body.
            if path == "/api/v1/invitations/accept" {
                let answer = nobody.send(method, &concrete, &[], Body::empty()).await;
                let _ = problem(answer, 415, "must be JSON");
                continue;
            }
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
        (
            "/workspaces/acme/repositories",
            json!({"slug": "x", "visibility": "secret"}),
            "visibility",
        ),
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
    let renamed =
        patch(&admin, "/workspaces/acme/repositories/shop", json!({"slug": "site"})).await;
    let _ = problem(renamed, 409, "site");
}
