//! The handshake and its challenge.

use crate::harness::{Settings, World};
use axum::http::Method;
use standpipe_server::app::HttpSettings;
use standpipe_server::domain::Visibility;

#[tokio::test]
async fn a_credential_opens_the_door_and_no_credential_is_challenged() {
    let world = World::new().await;
    for path in ["/v2", "/v2/"] {
        let welcome = world.client("eve").await.get(path).await.expect(200);
        assert_eq!(welcome.header("docker-distribution-api-version"), "registry/2.0");
        assert_eq!(welcome.json(), serde_json::json!({}));
        let stranger = world.anonymous().get(path).await.refused(401, "UNAUTHORIZED");
        assert_eq!(
            stranger.header("www-authenticate"),
            "Bearer realm=\"http://127.0.0.1:5000/token\",service=\"standpipe\""
        );
        assert_eq!(stranger.header("docker-distribution-api-version"), "registry/2.0");
    }
}

#[tokio::test]
async fn a_wrong_credential_is_refused_everywhere_even_where_none_is_needed() {
    let world = World::new().await;
    let path = "/v2/acme/site/tags/list";
    let _ = world.anonymous().get(path).await.expect(200);
    for wrong in ["Bearer nonsense", "Basic nonsense", "Basic YTpi", "Digest x", "", "Bearer é"] {
        let refused = world.holder(wrong).get(path).await.refused(401, "UNAUTHORIZED");
        let challenge = refused.header("www-authenticate");
        assert!(
            challenge.starts_with("Bearer realm=\"http://127.0.0.1:5000/token\""),
            "{challenge}"
        );
        assert!(challenge.contains("scope=\"repository:acme/site:pull\""), "{challenge}");
        // Without this word containerd keeps a token that has expired.
        let told = challenge.contains("error=\"invalid_token\"");
        assert_eq!(told, wrong.starts_with("Bearer"), "{wrong}: {challenge}");
    }
}

#[tokio::test]
async fn an_expired_token_is_called_invalid_and_its_successor_works() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let scopes = ["repository:acme/shop:pull"];
    let old = world.narrowed(&ann, &scopes).await;
    let _ = old.get("/v2/acme/shop/tags/list").await.expect(200);
    world.clock.advance(std::time::Duration::from_secs(3600));
    let refused = old.get("/v2/acme/shop/tags/list").await.refused(401, "UNAUTHORIZED");
    assert!(refused.header("www-authenticate").ends_with("error=\"invalid_token\""));
    let new = world.narrowed(&ann, &scopes).await;
    let _ = new.get("/v2/acme/shop/tags/list").await.expect(200);
}

#[tokio::test]
async fn a_token_without_an_identity_is_a_credential_too() {
    let world = World::new().await;
    let anybody = world.narrowed(&world.anonymous(), &["repository:acme/site:pull"]).await;
    let _ = anybody.get("/v2/").await.expect(200);
    let _ = anybody.get("/v2/acme/site/tags/list").await.expect(200);
    let _ = anybody.get("/v2/acme/shop/tags/list").await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn the_realm_is_configured_and_never_the_host_that_was_asked() {
    let public_url = Some("https://registry.example.com".to_owned());
    for (http, expected) in [
        (
            HttpSettings { public_url, ..HttpSettings::default() },
            "Bearer realm=\"https://registry.example.com/token\",service=\"standpipe\"",
        ),
        (HttpSettings::default(), "Basic realm=\"Standpipe\""),
    ] {
        let world = World::with(Settings { http, ..Settings::default() }).await;
        let headers = [("host", "evil.example"), ("x-forwarded-host", "evil.example")];
        let answer = world.anonymous().send(Method::GET, "/v2/", &headers, "").await.expect(401);
        assert_eq!(answer.header("www-authenticate"), expected);
    }
}

#[tokio::test]
async fn the_challenge_names_the_scope_that_the_request_needs() {
    let world = World::new().await;
    let digest = crate::harness::digest(b"x");
    let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
    for (method, path, scope) in [
        (Method::GET, "tags/list".to_owned(), "pull"),
        (Method::GET, format!("blobs/{digest}"), "pull"),
        (Method::HEAD, "manifests/latest".to_owned(), "pull"),
        // The first question of a push.
        (Method::HEAD, format!("blobs/{digest}"), "pull,push"),
        (Method::GET, format!("referrers/{digest}"), "pull"),
        (Method::DELETE, format!("blobs/{digest}"), "delete"),
        (Method::DELETE, "manifests/latest".to_owned(), "delete"),
        (Method::PUT, "manifests/latest".to_owned(), "pull,push"),
        (Method::POST, "blobs/uploads/".to_owned(), "pull,push"),
        (Method::GET, format!("blobs/uploads/{id}"), "pull,push"),
        (Method::PATCH, format!("blobs/uploads/{id}"), "pull,push"),
        (Method::DELETE, format!("blobs/uploads/{id}"), "pull,push"),
    ] {
        let path = format!("/v2/acme/shop/{path}");
        let answer = world.anonymous().send(method.clone(), &path, &[], "").await.expect(401);
        let challenge = answer.header("www-authenticate");
        let expected = format!("scope=\"repository:acme/shop:{scope}\"");
        assert!(challenge.ends_with(&expected), "{method} {path}: {challenge}");
    }
}

#[tokio::test]
async fn what_visibility_means_is_read_at_every_request() {
    let world = World::new().await;
    let path = "/v2/acme/site/tags/list";
    let _ = world.anonymous().get(path).await.expect(200);
    let registry = &world.app.registry;
    let principal = standpipe_server::domain::Principal::User("admin".parse().expect("a name"));
    let admin = standpipe_server::domain::Caller::of(principal);
    let (workspace, site) = ("acme".parse().expect("a slug"), "site".parse().expect("a slug"));
    let action = standpipe_server::domain::Action::Manage;
    let access = registry.repository_for(&admin, &workspace, &site, action).await.expect("access");
    let mut fields = access.subject().fields.clone();
    fields.visibility = Visibility::Private;
    let change = standpipe_server::domain::Change::by_server("test");
    registry.update_repository(&access, &change, fields).await.expect("a change");
    let _ = world.anonymous().get(path).await.refused(401, "UNAUTHORIZED");
}
