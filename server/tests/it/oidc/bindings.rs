//! Making, listing and ending bindings.

use super::issuer::Issuer;
use super::{SOURCE, bind, binding, build, trusted, trusting, try_bind};
use serde_json::json;
use standpipe_server::auth::IssuerSettings;
use standpipe_server::domain::Role;

const PATH: &str = "/api/v1/workspaces/acme/repositories/shop/oidc-bindings";

#[tokio::test]
async fn only_administrators_of_the_workspace_make_see_and_end_bindings() {
    let issuer = Issuer::start().await;
    let world = trusting(vec![trusted(&issuer)]).await;
    let path = bind(&world, &issuer, json!({})).await;
    world.grant("acme", "shop", "bob", Role::Admin).await;
    let key = issuer.fresh_key();
    let step = build(&world, &issuer.token(&key, json!({})));
    let (ann, bob) = (world.client("ann").await, world.client("bob").await);
    let pipeline = world.pipeline("acme", "shop").await;
    for (client, status) in [(ann, 403), (bob, 403), (pipeline, 403), (step, 403)] {
        let _ = client.get(PATH).await.expect(status);
        let _ = client.delete(&path).await.expect(status);
    }
    for (who, status) in [("ann", 403), ("bob", 403), ("eve", 403)] {
        let body = binding(&issuer, json!({}));
        let _ = try_bind(&world, who, "acme/shop", body).await.expect(status);
    }
    // Who has no part in a workspace does not learn that there is one.
    let _ = try_bind(&world, "eve", "other/tool", binding(&issuer, json!({}))).await.expect(404);
    let _ = world.anonymous().get(PATH).await.expect(401);
    let admin = world.client("admin").await;
    let found = admin.get(PATH).await.expect(200).json();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(found["items"][0]["source_repository"], SOURCE.trim_matches(['{', '}']));
    assert_eq!(found["items"][0]["audience"], super::AUDIENCE);
    assert_eq!(found["items"][0]["role"], "write");
    assert_eq!(found["items"][0]["created_by"], "user:admin");
    // Another repository's id is none of this one.
    let id = found["items"][0]["id"].as_str().expect("an id").to_owned();
    let other = PATH.replace("shop", "vault");
    let _ = admin.delete(&format!("{other}/{id}")).await.expect(404);
    assert_eq!(admin.get(&other).await.expect(200).json()["items"], json!([]));
    let _ = admin.delete(&path).await.expect(204);
    let _ = admin.delete(&path).await.expect(404);
}

#[tokio::test]
async fn what_is_wrong_with_a_binding_is_told_by_its_field() {
    let issuer = Issuer::start().await;
    let world = trusting(vec![trusted(&issuer)]).await;
    for (field, more) in [
        ("issuer", json!({ "issuer": format!("{}/", issuer.url) })),
        ("audience", json!({ "audience": "somebody" })),
        ("source_repository", json!({ "source_repository": "" })),
        ("source_repository", json!({ "source_repository": "{}" })),
        ("source_repository", json!({ "source_repository": "*" })),
        ("source_repository", json!({ "source_repository": "x".repeat(251) })),
        ("role", json!({ "role": "admin" })),
        ("role", json!({ "role": "owner" })),
        ("branches", json!({ "branches": [""] })),
        ("branches", json!({ "branches": vec!["x"; 51] })),
        ("claims", json!({ "claims": { "a b": ["x"] } })),
        ("claims", json!({ "claims": { "a": [] } })),
        ("tag_rules", json!({ "tag_rules": [{ "tags": [] }] })),
        ("tag_rules", json!({ "tag_rules": [{ "tags": ["a/b"] }] })),
        ("tag_rules", json!({ "tag_rules": vec![json!({ "tags": ["x"] }); 51] })),
        ("branch", json!({ "branch": "main" })),
        ("tag", json!({ "tag_rules": [{ "tags": ["x"], "tag": "x" }] })),
    ] {
        let answer = try_bind(&world, "admin", "acme/shop", binding(&issuer, more)).await;
        let detail = answer.expect(400).json()["detail"].as_str().expect("words").to_owned();
        assert!(detail.contains(field), "{field}: {detail}");
    }
    let _ = try_bind(&world, "admin", "acme/none", binding(&issuer, json!({}))).await.expect(404);
}

#[tokio::test]
async fn with_several_audiences_a_binding_says_which() {
    let issuer = Issuer::start().await;
    let audiences = vec!["one".to_owned(), "two".to_owned()];
    let world = trusting(vec![IssuerSettings { audiences, ..trusted(&issuer) }]).await;
    let answer = try_bind(&world, "admin", "acme/shop", binding(&issuer, json!({}))).await;
    let detail = answer.expect(400).json()["detail"].clone();
    assert!(detail.as_str().is_some_and(|text| text.contains("one, two")), "{detail}");
    let _ = bind(&world, &issuer, json!({ "audience": "two" })).await;
}

#[tokio::test]
async fn a_source_repository_has_a_bounded_number_of_bindings_and_lists_have_pages() {
    let issuer = Issuer::start().await;
    let world = trusting(vec![trusted(&issuer)]).await;
    for number in 0..50 {
        let _ = bind(&world, &issuer, json!({ "branches": [format!("b{number}")] })).await;
    }
    let answer = try_bind(&world, "admin", "acme/shop", binding(&issuer, json!({}))).await;
    let _ = answer.expect(400);
    let admin = world.client("admin").await;
    let (mut seen, mut after) = (0, String::new());
    loop {
        let page = admin.get(&format!("{PATH}?limit=20{after}")).await.expect(200).json();
        seen += page["items"].as_array().expect("items").len();
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, 50);
}

#[tokio::test]
async fn nobody_is_called_like_the_builds() {
    let world = trusting(Vec::new()).await;
    let admin = world.client("admin").await;
    let json = [("content-type", "application/json")];
    let body = r#"{"username":"oidc","password":"correct horse"}"#;
    let answer = admin.send(axum::http::Method::POST, "/api/v1/users", &json, body).await;
    let detail = answer.expect(400).json()["detail"].clone();
    assert!(detail.as_str().is_some_and(|text| text.starts_with("username:")), "{detail}");
}
