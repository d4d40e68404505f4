//! The token endpoint, as docker, containerd and others use it.

use crate::harness::{Answer, Client, World};
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use standpipe_server::auth::{NewAccount, Secret};
use standpipe_server::domain::{Caller, Change, Principal};
use std::time::Duration;

const PASSWORD: &str = "correct horse";

/// Somebody with a password, who reads `acme/shop`.
async fn with_password(world: &World) -> Client {
    let principal = Principal::User("admin".parse().expect("a name"));
    let admin = Caller::of(principal);
    let proof = world.app.registry.instance_admin(&admin).await.expect("the administrator");
    let username = "dora".parse().expect("a name");
    let password = Secret::new(PASSWORD.to_owned());
    let new = NewAccount { username, password, instance_admin: false };
    let made = world.app.auth.create_account(proof, &Change::by_server("test"), new).await;
    made.expect("a new account");
    world.grant("acme", "shop", "dora", standpipe_server::domain::Role::Read).await;
    world.holder(&basic("dora", PASSWORD))
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

async fn form(client: &Client, body: &str) -> Answer {
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    client.send(Method::POST, "/token", &kind, body.to_owned()).await
}

#[tokio::test]
async fn docker_login_gets_a_token_for_what_is_asked_and_allowed() {
    let world = World::new().await;
    let dora = with_password(&world).await;
    let path = "/token?account=dora&client_id=docker&offline_token=true&service=standpipe\
        &scope=repository%3Aacme%2Fshop%3Apull%2Cpush&scope=repository:acme/vault:pull";
    let answer = dora.get(path).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(body["token"], body["access_token"]);
    assert_eq!(body["expires_in"], 300);
    assert_eq!(body["issued_at"], "2027-01-15T08:00:00.000Z");
    assert_eq!(body["scope"], "repository:acme/shop:pull");
    assert!(body.get("refresh_token").is_none());
    let bearer = world.holder(&format!("Bearer {}", body["token"].as_str().expect("a token")));
    let _ = bearer.get("/v2/").await.expect(200);
    let _ = bearer.get("/v2/acme/shop/tags/list").await.expect(200);
    let _ = bearer.post("/v2/acme/shop/blobs/uploads/").await.refused(403, "DENIED");
}

#[tokio::test]
async fn a_wrong_password_is_401_with_a_basic_challenge_by_get_and_by_post() {
    let world = World::new().await;
    let _ = with_password(&world).await;
    let wrong = world.holder(&basic("dora", "wrong password"));
    let refused = wrong.get("/token?service=standpipe").await.refused(401, "UNAUTHORIZED");
    assert_eq!(refused.header("www-authenticate"), "Basic realm=\"Standpipe\"");
    let body = "grant_type=password&service=standpipe&username=dora&password=wrong%20password";
    let refused = form(&world.anonymous(), body).await.refused(401, "UNAUTHORIZED");
    assert_eq!(refused.header("www-authenticate"), "Basic realm=\"Standpipe\"");
    assert!(!refused.text().contains("wrong password"));
    // Never as if nobody had logged in, not even for what is public.
    let public = wrong.get("/token?service=standpipe&scope=repository:acme/site:pull").await;
    let _ = public.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn containerd_posts_a_form() {
    let world = World::new().await;
    let _ = with_password(&world).await;
    let body = "client_id=containerd-client&grant_type=password&service=standpipe&username=dora\
        &password=correct+horse&scope=repository%3Aacme%2Fshop%3Apull+repository%3Aacme%2Fsite%3Apull";
    let answer = form(&world.anonymous(), body).await.expect(200).json();
    assert_eq!(answer["scope"], "repository:acme/shop:pull repository:acme/site:pull");
    assert_eq!(answer["expires_in"], 300);
    assert!(answer["access_token"].is_string());
}

#[tokio::test]
async fn what_is_not_supported_or_not_whole_says_so() {
    let world = World::new().await;
    let nobody = world.anonymous();
    for body in [
        "grant_type=refresh_token&refresh_token=x&service=standpipe",
        "service=standpipe",
        "grant_type=password&service=standpipe&username=dora",
        "",
    ] {
        let _ = form(&nobody, body).await.refused(400, "UNSUPPORTED");
    }
    let json = [("content-type", "application/json")];
    let _ = nobody.send(Method::POST, "/token", &json, "{}").await.refused(415, "UNSUPPORTED");
    let long = format!("grant_type=password&scope={}", "x".repeat(65 << 10));
    let _ = form(&nobody, &long).await.refused(413, "UNSUPPORTED");
    let _ = nobody.get("/token?service=another").await.refused(400, "UNSUPPORTED");
    let many = "scope=repository:acme/site:pull&".repeat(51);
    let _ = nobody.get(&format!("/token?{many}")).await.refused(400, "UNSUPPORTED");
    let _ = nobody.delete("/token").await.expect(405);
}

#[tokio::test]
async fn a_request_for_a_token_has_two_hundred_parameters_and_no_more() {
    let world = World::new().await;
    for (count, status) in [(200, 200), (201, 400), (300, 400)] {
        let query = vec!["account=dora"; count].join("&");
        let _ = world.anonymous().get(&format!("/token?{query}")).await.expect(status);
    }
}

#[tokio::test]
async fn the_anonymous_may_pull_what_is_public_and_nothing_else() {
    let world = World::new().await;
    let path = "/token?service=standpipe&scope=repository:acme/site:pull,push,delete\
        &scope=repository:acme/shop:pull&scope=repository:acme/nothing:pull&scope=registry:catalog:*";
    let answer = world.anonymous().get(path).await.expect(200).json();
    assert_eq!(answer["scope"], "repository:acme/site:pull registry:catalog:*");
    let bearer = world.holder(&format!("Bearer {}", answer["token"].as_str().expect("a token")));
    let _ = bearer.get("/v2/acme/site/tags/list").await.expect(200);
    let _ = bearer.post("/v2/acme/site/blobs/uploads/").await.refused(401, "UNAUTHORIZED");
    let _ = bearer.get("/v2/acme/shop/tags/list").await.refused(401, "UNAUTHORIZED");
    let listed = bearer.get("/v2/_catalog").await.expect(200).json();
    assert_eq!(listed["repositories"], serde_json::json!(["acme/site"]));
}

#[tokio::test]
async fn a_pipeline_token_is_a_password_for_any_user_name() {
    let world = World::new().await;
    let principal = Principal::User("admin".parse().expect("a name"));
    let admin = Caller::of(principal);
    let (acme, shop) = ("acme".parse().expect("a slug"), "shop".parse().expect("a slug"));
    let manage = standpipe_server::domain::Action::Manage;
    let access = world.app.registry.repository_for(&admin, &acme, &shop, manage).await;
    let new =
        standpipe_server::auth::NewToken { name: "ci".to_owned(), lifetime: None, scopes: None };
    let change = Change::by_server("test");
    let access = access.expect("access");
    let (view, token) =
        world.app.auth.create_pipeline_token(&access, &change, new).await.expect("a token");
    let build = world.holder(&basic("x-token-auth", token.expose()));
    let path = "/token?service=standpipe&scope=repository:acme/shop:pull,push\
        &scope=repository:acme/vault:pull";
    let answer = build.get(path).await.expect(200).json();
    assert_eq!(answer["scope"], "repository:acme/shop:pull,push");
    let bearer = world.holder(&format!("Bearer {}", answer["token"].as_str().expect("a token")));
    let _ = bearer.get("/v2/acme/shop/tags/list").await.expect(200);
    // Revoked means revoked, also for tokens that were fetched before.
    world.app.auth.revoke_pipeline_token(&access, &change, &view.id).await.expect("revoked");
    let refused = bearer.get("/v2/acme/shop/tags/list").await.refused(401, "UNAUTHORIZED");
    assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""));
    let _ = build.get(path).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_registry_token_fetches_no_other_and_two_credentials_are_none() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let narrowed = world.narrowed(&ann, &["repository:acme/shop:pull"]).await;
    let path = "/token?service=standpipe&scope=repository:acme/shop:pull,push";
    let _ = narrowed.get(path).await.refused(401, "UNAUTHORIZED");
    let twice = [("authorization", "Basic YTpi")];
    let refused = ann.send(Method::GET, path, &twice, axum::body::Body::empty()).await;
    let _ = refused.refused(401, "UNAUTHORIZED");
}

fn challenge(answer: &Answer) -> &str {
    answer.header("www-authenticate")
}

#[tokio::test]
async fn a_push_outlives_its_token_on_its_own_uploads_and_the_manifest_is_asked_anew() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let scopes = ["repository:acme/shop:pull,push", "repository:acme/shop-web:pull,push"];
    let token = world.narrowed(&ann, &scopes).await;
    let upload = token.start_upload("acme/shop").await;
    assert!(upload.contains("?_state="), "{upload}");
    let another = token.start_upload("acme/shop").await;
    world.clock.advance(Duration::from_secs(400));
    let sent = token.send(Method::PATCH, &upload, &[], "0123").await.expect(202);
    assert_eq!(sent.header("location"), upload, "the pass goes on with the upload");
    let _ = token.get(&upload).await.expect(204);
    // Without the pass, with another upload's, and on the same upload for another package: no.
    let pass = |location: &str| location.split_once('?').expect("a query").1.to_owned();
    let bare = upload.split('?').next().expect("a path").to_owned();
    let foreign = format!("{bare}?{}", pass(&another));
    for path in [bare, foreign, upload.replace("_state=", "_state=0")] {
        let refused =
            token.send(Method::PATCH, &path, &[], "45").await.refused(401, "UNAUTHORIZED");
        assert!(challenge(&refused).ends_with("error=\"invalid_token\""), "{refused:?}");
    }
    let elsewhere = upload.replace("acme/shop", "acme/shop-web");
    let _ = token.get(&elsewhere).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    let close = format!("{upload}&digest={}", crate::harness::digest(b"0123"));
    let _ = token.send(Method::PUT, &close, &[], "").await.expect(201);
    // Nothing else is waived: neither new uploads nor the manifest that closes the push.
    let manifest = crate::harness::image(&[b"0123"], &serde_json::json!({}));
    let refused = token.put_manifest("acme/shop", "v1", &manifest).await.expect(401);
    assert!(challenge(&refused).contains("error=\"invalid_token\""), "{refused:?}");
    let _ = token.post("/v2/acme/shop/blobs/uploads/").await.refused(401, "UNAUTHORIZED");
    let fresh = world.narrowed(&ann, &scopes).await;
    let _ = fresh.push_blob("acme/shop", b"{}").await;
    let _ = fresh.put_manifest("acme/shop", "v1", &manifest).await.expect(201);
}

#[tokio::test]
async fn a_pass_waives_the_expiry_and_neither_role_nor_revocation_nor_principal_nor_scope() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let scopes = ["repository:acme/shop:pull,push"];
    let made = ann
        .send(
            Method::POST,
            "/api/v1/tokens",
            &[("content-type", "application/json")],
            r#"{"name":"t"}"#,
        )
        .await
        .expect(201)
        .json();
    let machine = world.holder(&format!("Bearer {}", made["token"].as_str().expect("a token")));
    let token = world.narrowed(&machine, &scopes).await;
    let reader = world.narrowed(&ann, &["repository:acme/shop:pull"]).await;
    let admin = world.narrowed(&world.client("admin").await, &scopes).await;
    let upload = token.start_upload("acme/shop").await;
    world.clock.advance(Duration::from_secs(400));
    let send = async |client: &Client| client.send(Method::PATCH, &upload, &[], "0").await;
    let _ = send(&token).await.expect(202);
    let refused = send(&admin).await.refused(401, "UNAUTHORIZED");
    assert!(challenge(&refused).ends_with("error=\"invalid_token\""), "{refused:?}");
    let refused = send(&reader).await.refused(401, "UNAUTHORIZED");
    assert!(challenge(&refused).ends_with("error=\"insufficient_scope\""), "{refused:?}");
    let _ = send(&world.anonymous()).await.refused(401, "UNAUTHORIZED");
    world.grant("acme", "shop", "ann", standpipe_server::domain::Role::Read).await;
    let _ = send(&token).await.refused(403, "DENIED");
    world.grant("acme", "shop", "ann", standpipe_server::domain::Role::Write).await;
    let _ = send(&token).await.expect(202);
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().expect("an id"));
    let _ = ann.delete(&path).await.expect(204);
    let refused = send(&token).await.refused(401, "UNAUTHORIZED");
    assert!(challenge(&refused).ends_with("error=\"invalid_token\""), "{refused:?}");
}

#[tokio::test]
async fn a_request_let_in_before_its_token_ended_completes() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let token = world.narrowed(&ann, &["repository:acme/shop:pull,push"]).await;
    let upload = token.start_upload("acme/shop").await;
    let crate::harness::Halting { body, reached, rest } = crate::harness::halting("01");
    let close = format!("{upload}&digest={}", crate::harness::digest(b"0123"));
    let sent = tokio::spawn({
        let token = token.clone();
        async move { token.send(Method::PUT, &close, &[], body).await }
    });
    reached.await.expect("the request was let in");
    world.clock.advance(Duration::from_secs(400));
    rest.send("23").expect("the body is still awaited");
    let _ = sent.await.expect("an answer").expect(201);
}

#[tokio::test]
async fn a_role_that_is_taken_away_while_a_body_comes_lets_the_upload_not_become_a_blob() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let token = world.narrowed(&ann, &["repository:acme/shop:pull,push"]).await;
    let upload = token.start_upload("acme/shop").await;
    let crate::harness::Halting { body, reached, rest } = crate::harness::halting("01");
    let digest = crate::harness::digest(b"0123");
    let close = format!("{upload}&digest={digest}");
    let sent = tokio::spawn({
        let token = token.clone();
        async move { token.send(Method::PUT, &close, &[], body).await }
    });
    reached.await.expect("the request was let in");
    world.grant("acme", "shop", "ann", standpipe_server::domain::Role::Read).await;
    rest.send("23").expect("the body is still awaited");
    let _ = sent.await.expect("an answer").refused(403, "DENIED");
    let _ = ann.head(&format!("/v2/acme/shop/blobs/{digest}")).await.expect(404);
}

#[tokio::test]
async fn one_request_may_ask_for_several_scopes_in_one_parameter_or_in_many() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let wanted = "repository:acme/shop:pull,push repository:acme/shop-web:pull";
    for query in [
        "scope=repository:acme/shop:pull,push&scope=repository:acme/shop-web:pull",
        "scope=repository:acme/shop:pull,push%20repository:acme/shop-web:pull",
        "scope=repository:acme/shop:push+repository:acme/shop-web:pull&scope=repository:acme/shop:pull",
    ] {
        let answer = ann.get(&format!("/token?service=standpipe&{query}")).await.expect(200).json();
        assert_eq!(answer["scope"], wanted, "{query}");
        let token = answer["token"].as_str().expect("a token");
        let bearer = world.holder(&format!("Bearer {token}"));
        let _ = bearer.start_upload("acme/shop").await;
        let _ = bearer.get("/v2/acme/shop-web/tags/list").await.expect(200);
        let refused = bearer.post("/v2/acme/shop-web/blobs/uploads/").await.expect(401);
        assert!(challenge(&refused).contains("insufficient_scope"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_narrow_registry_token_is_401_where_another_could_do_more_and_403_where_none_could() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let holder = async |scopes: &str| {
        let kind = [("content-type", "application/json")];
        let body = format!(r#"{{"name":"t","scopes":{scopes}}}"#);
        let made = ann.send(Method::POST, "/api/v1/tokens", &kind, body).await.expect(201).json();
        world.holder(&basic("ann", made["token"].as_str().expect("a token")))
    };
    let push = async |client: &Client| client.post("/v2/acme/shop/blobs/uploads/").await;
    let wide = holder(r#"["pull","push"]"#).await;
    let narrow = world.narrowed(&wide, &["repository:acme/shop:pull"]).await;
    let refused = push(&narrow).await.refused(401, "UNAUTHORIZED");
    let wanted = "scope=\"repository:acme/shop:pull,push\",error=\"insufficient_scope\"";
    assert!(challenge(&refused).ends_with(wanted), "{refused:?}");
    let fetched = world.narrowed(&wide, &["repository:acme/shop:pull,push"]).await;
    let _ = push(&fetched).await.expect(202);
    // Whatever is fetched with this one, it will not push.
    let pull = holder(r#"["pull"]"#).await;
    let fetched = world.narrowed(&pull, &["repository:acme/shop:pull,push"]).await;
    for client in [&pull, &fetched] {
        let refused = push(client).await.refused(403, "DENIED");
        assert!(refused.message().contains("without the scope push"), "{refused:?}");
        assert!(challenge(&refused).is_empty(), "{refused:?}");
    }
}

#[tokio::test]
async fn containerd_posts_first_and_comes_back_with_get() {
    let world = World::new().await;
    let dora = with_password(&world).await;
    // Its POST with a token it keeps as refresh token is told that this is not supported, and then
    // it asks by GET with Basic, as it does for other registries without refresh tokens.
    let refresh =
        "client_id=containerd-client&grant_type=refresh_token&refresh_token=x&service=standpipe";
    let _ = form(&world.anonymous(), refresh).await.refused(400, "UNSUPPORTED");
    let answer = dora.get("/token?service=standpipe&scope=repository:acme/shop:pull").await;
    assert_eq!(answer.expect(200).json()["scope"], "repository:acme/shop:pull");
}

#[tokio::test]
async fn a_disabled_account_is_out_with_the_next_request_whatever_it_holds() {
    let world = World::new().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    let token = world.narrowed(&ann, &["repository:acme/shop:pull,push"]).await;
    let upload = token.start_upload("acme/shop").await;
    let set = async |disabled: bool| {
        let body = serde_json::json!({ "disabled": disabled }).to_string();
        let kind = [("content-type", "application/json")];
        let _ = admin.send(Method::PATCH, "/api/v1/users/ann", &kind, body).await.expect(200);
    };
    set(true).await;
    for client in [&ann, &token] {
        let _ = client.get("/v2/acme/shop/tags/list").await.refused(401, "UNAUTHORIZED");
    }
    world.clock.advance(Duration::from_secs(400));
    let _ = token.send(Method::PATCH, &upload, &[], "0").await.refused(401, "UNAUTHORIZED");
    set(false).await;
    let _ = token.send(Method::PATCH, &upload, &[], "0").await.expect(202);
}
