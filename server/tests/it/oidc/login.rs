//! The ways in, and what a build is afterwards.

use super::issuer::{Issuer, Key};
use super::{SOURCE, basic, bearer, bind, bound, build, exchange, form, trusted, trusting};
use axum::http::Method;
use serde_json::json;
use standpipe_server::auth::{IssuerSettings, OidcAlgorithm};
use standpipe_server::domain::ClaimNames;
use std::time::Duration;

const SCOPES: &str = "/token?service=standpipe&scope=repository:acme/shop:pull,push\
    &scope=repository:acme/vault:pull";

#[tokio::test]
async fn docker_login_with_a_steps_token_pushes_and_the_history_names_the_pipeline() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    let step = build(&world, &issuer.token(&key, json!({})));
    let answer = step.get(SCOPES).await.expect(200);
    assert_eq!(answer.json()["scope"], "repository:acme/shop:pull,push");
    assert_eq!(answer.json()["expires_in"], 300);
    let pushed = bearer(&world, &answer).push_image("acme/shop", "1.0", "layer").await;
    let admin = world.client("admin").await;
    let packages = admin.get("/api/v1/workspaces/acme/packages?name=shop").await.expect(200);
    let id = packages.json()["items"][0]["id"].clone();
    let path = format!("/api/v1/workspaces/acme/packages/{id}/history");
    let event = admin.get(&path).await.expect(200).json()["items"][0].clone();
    assert_eq!(event["to"], pushed.digest());
    let source = SOURCE.trim_matches(['{', '}']);
    assert_eq!(event["by"], format!("oidc:{}:{source}", issuer.url));
    assert_eq!(event["credential"], format!("oidc:{SOURCE}:{{step-1}}"));
    assert_eq!(event["pipeline"], "{pipeline-1}");
    assert_eq!(event["branch"], "main");
}

#[tokio::test]
async fn what_the_issuer_says_of_a_build_wins_over_what_the_client_says() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    let step = build(&world, &issuer.token(&key, json!({ "branchName": "feature/x" })));
    let image = step.push_image("acme/shop", "one", "layer").await;
    let agent = "standpipe-pipe/0.1.0 build/7 commit/abc branch/main pipeline/{mine}";
    let headers = [("content-type", image.media_type), ("user-agent", agent)];
    let path = "/v2/acme/shop/manifests/two";
    let _ = step.send(Method::PUT, path, &headers, image.bytes.clone()).await.expect(201);
    let admin = world.client("admin").await;
    let packages = admin.get("/api/v1/workspaces/acme/packages?name=shop").await.expect(200);
    let id = packages.json()["items"][0]["id"].clone();
    let path = format!("/api/v1/workspaces/acme/packages/{id}/history?tag=two");
    let event = admin.get(&path).await.expect(200).json()["items"][0].clone();
    assert_eq!(event["branch"], "feature/x");
    assert_eq!(event["pipeline"], "{pipeline-1}");
    assert_eq!(event["build"], "7");
    assert_eq!(event["commit"], "abc");
}

#[tokio::test]
async fn a_token_works_on_every_way_in_with_the_same_rights() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    let token = issuer.token(&key, json!({}));
    let direct = build(&world, &token);
    let _ = direct.get("/v2/").await.expect(200);
    let password = [
        ("grant_type", "password"),
        ("username", "oidc"),
        ("password", &token),
        ("service", "standpipe"),
        ("scope", "repository:acme/shop:pull,push repository:acme/vault:pull"),
    ];
    let by_form = form(&world.anonymous(), &password).await.expect(200);
    let exchanged = exchange(&world, &token).await.expect(200);
    let kind = "urn:ietf:params:oauth:token-type:access_token";
    assert_eq!(exchanged.json()["issued_token_type"], kind);
    assert_eq!(exchanged.json()["token_type"], "Bearer");
    assert!(by_form.json().get("issued_token_type").is_none());
    for answer in [&by_form, &exchanged] {
        assert_eq!(answer.json()["scope"], "repository:acme/shop:pull,push");
    }
    for step in [direct, bearer(&world, &by_form), bearer(&world, &exchanged)] {
        let _ = step.get("/v2/acme/shop/tags/list").await.expect(200);
        let _ = step.post("/v2/acme/shop/blobs/uploads/").await.expect(202);
        let _ = step.get("/v2/acme/vault/tags/list").await.refused(404, "NAME_UNKNOWN");
        let _ = step.post("/v2/other/tool/blobs/uploads/").await.refused(404, "NAME_UNKNOWN");
    }
    // It is for /v2/ and the REST routes of the repository, and administers nothing.
    let step = build(&world, &token);
    let _ = step.get("/api/v1/workspaces/acme/packages").await.expect(200);
    let _ = step.get("/api/v1/users").await.expect(403);
    let tokens = "/api/v1/workspaces/acme/repositories/shop/pipeline-tokens";
    let _ = step.get(tokens).await.expect(403);
    let _ = step.get("/api/v1/tokens").await.expect(404);
}

#[tokio::test]
async fn an_exchange_that_is_not_whole_says_what_is_missing() {
    let (issuer, world) = bound().await;
    let token = issuer.token(&issuer.fresh_key(), json!({}));
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
    let kind = ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token");
    let nobody = world.anonymous();
    let refused = form(&nobody, &[grant, ("subject_token", &token)]).await;
    assert!(refused.refused(400, "UNSUPPORTED").message().contains("subject_token_type"));
    let refused = form(&nobody, &[grant, kind]).await.refused(400, "UNSUPPORTED");
    assert_eq!(refused.message(), "subject_token: it is missing");
    let _ = form(&nobody, &[grant, kind, ("subject_token", &token)]).await.expect(200);
}

#[tokio::test]
async fn keys_of_every_kind_are_believed() {
    let issuer = Issuer::start().await;
    let algorithms = vec![
        OidcAlgorithm::Rs256,
        OidcAlgorithm::Ps256,
        OidcAlgorithm::Es256,
        OidcAlgorithm::Es384,
    ];
    let world = trusting(vec![IssuerSettings { algorithms, ..trusted(&issuer) }]).await;
    let _ = bind(&world, &issuer, json!({})).await;
    let keys = [Key::rsa("a"), Key::rsa("b").pss(), Key::ec("c"), Key::ec_384("d")];
    issuer.publish(&keys.each_ref());
    for key in &keys {
        let step = build(&world, &issuer.token(key, json!({})));
        let _ = step.get("/v2/acme/shop/tags/list").await.expect(200);
    }
}

#[tokio::test]
async fn what_is_issued_ends_with_the_token_behind_it() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    let token = issuer.token(&key, json!({ "exp": super::NOW + 100 }));
    let answer = build(&world, &token).get(SCOPES).await.expect(200);
    assert_eq!(answer.json()["expires_in"], 100);
    let step = bearer(&world, &answer);
    world.clock.advance(Duration::from_secs(99));
    let _ = step.get("/v2/acme/shop/tags/list").await.expect(200);
    world.clock.advance(Duration::from_secs(1));
    let over = step.get("/v2/acme/shop/tags/list").await.refused(401, "UNAUTHORIZED");
    assert!(over.header("www-authenticate").contains("error=\"invalid_token\""));
    let again = build(&world, &token).get(SCOPES).await.refused(401, "UNAUTHORIZED");
    assert!(again.message().contains("expired"), "{}", again.message());
}

#[tokio::test]
async fn ending_a_binding_holds_from_the_next_request_on() {
    let issuer = Issuer::start().await;
    let world = trusting(vec![trusted(&issuer)]).await;
    let path = bind(&world, &issuer, json!({})).await;
    let key = issuer.fresh_key();
    let token = issuer.token(&key, json!({}));
    let step = bearer(&world, &exchange(&world, &token).await.expect(200));
    let upload = step.start_upload("acme/shop").await;
    let _ = world.client("admin").await.delete(&path).await.expect(204);
    let over = step.get("/v2/acme/shop/tags/list").await.refused(401, "UNAUTHORIZED");
    assert!(over.header("www-authenticate").contains("error=\"invalid_token\""));
    let _ = step.get(&upload).await.refused(401, "UNAUTHORIZED");
    let again = build(&world, &token).get(SCOPES).await.refused(401, "UNAUTHORIZED");
    assert!(again.message().contains("admin oidc bind"), "{}", again.message());
    // Bound again, the same upload goes on, also in another step of the same repository.
    let _ = bind(&world, &issuer, json!({})).await;
    let other = issuer.token(&key, json!({ "sub": "another", "stepUuid": "{step-2}" }));
    let _ = build(&world, &other).get(&upload).await.expect(204);
}

#[tokio::test]
async fn the_role_read_pulls_and_no_more() {
    let issuer = Issuer::start().await;
    let world = trusting(vec![trusted(&issuer)]).await;
    let _ = bind(&world, &issuer, json!({ "role": "read" })).await;
    let key = issuer.fresh_key();
    let step = build(&world, &issuer.token(&key, json!({})));
    let _ = step.get("/v2/acme/shop/tags/list").await.expect(200);
    let _ = step.post("/v2/acme/shop/blobs/uploads/").await.refused(403, "DENIED");
    let answer = step.get(SCOPES).await.expect(200);
    assert_eq!(answer.json()["scope"], "repository:acme/shop:pull");
}

#[tokio::test]
async fn a_build_sees_the_workspaces_that_it_is_bound_in_and_no_other() {
    let (issuer, world) = bound().await;
    let step = build(&world, &issuer.token(&issuer.fresh_key(), json!({})));
    let _ = step.get("/api/v1/workspaces/acme/packages").await.expect(200);
    let _ = step.get("/api/v1/workspaces/other/packages").await.expect(404);
}

#[tokio::test]
async fn another_systems_tokens_need_only_the_names_of_its_claims() {
    let issuer = Issuer::start().await;
    let claims = ClaimNames {
        repository: "repository_id".to_owned(),
        branch: "ref".to_owned(),
        environment: "environment".to_owned(),
        pipeline: "run_id".to_owned(),
        commit: Some("sha".to_owned()),
        build: Some("run_number".to_owned()),
    };
    let world = trusting(vec![IssuerSettings { claims, ..trusted(&issuer) }]).await;
    let more = json!({
        "source_repository": "74",
        "branches": ["refs/heads/main"],
        "claims": { "repository_owner_id": ["65"], "protected": ["true"] },
    });
    let _ = bind(&world, &issuer, more).await;
    let key = issuer.fresh_key();
    let said = json!({
        "repositoryUuid": null, "repository_id": "74", "repository_owner_id": 65, "run_id": "9",
        "ref": "refs/heads/main", "sha": "cafe", "run_number": 12, "protected": true,
    });
    let token = issuer.token(&key, said);
    let step = bearer(&world, &exchange(&world, &token).await.expect(200));
    let _ = step.push_image("acme/shop", "1.0", "layer").await;
    let admin = world.client("admin").await;
    let packages = admin.get("/api/v1/workspaces/acme/packages?name=shop").await.expect(200);
    let id = packages.json()["items"][0]["id"].clone();
    let path = format!("/api/v1/workspaces/acme/packages/{id}/history");
    let event = admin.get(&path).await.expect(200).json()["items"][0].clone();
    for (field, value) in
        [("pipeline", "9"), ("commit", "cafe"), ("build", "12"), ("branch", "refs/heads/main")]
    {
        assert_eq!(event[field], value, "{field}");
    }
    let other = json!({ "repositoryUuid": null, "repository_id": "74", "ref": "refs/heads/x" });
    let refused = build(&world, &issuer.token(&key, other)).get("/v2/").await;
    assert!(refused.refused(401, "UNAUTHORIZED").message().contains("refs/heads/x"));
}

#[tokio::test]
async fn a_machine_token_is_one_whatever_the_user_name() {
    let (_issuer, world) = bound().await;
    let ann = world.client("ann").await;
    let token = ann.authorization.expect("a token").replace("Bearer ", "");
    let _ = world.holder(&basic(&token)).get("/v2/acme/shop/tags/list").await.expect(200);
}

#[tokio::test]
async fn an_audience_of_several_is_enough_and_the_keys_may_be_in_the_settings() {
    let issuer = Issuer::start().await;
    let jwks_uri = Some(format!("{}/keys.json", issuer.url));
    let audiences = vec!["ari:cloud:bitbucket::workspace/1".to_owned(), super::AUDIENCE.to_owned()];
    let world = trusting(vec![IssuerSettings { jwks_uri, audiences, ..trusted(&issuer) }]).await;
    let _ = bind(&world, &issuer, json!({ "audience": super::AUDIENCE })).await;
    let key = issuer.fresh_key();
    let both = issuer.token(&key, json!({ "aud": ["somebody", super::AUDIENCE] }));
    let _ = build(&world, &both).get("/v2/").await.expect(200);
    // Right for the settings, and not for the binding.
    let other = issuer.token(&key, json!({ "aud": "ari:cloud:bitbucket::workspace/1" }));
    let refused = build(&world, &other).get("/v2/").await.refused(401, "UNAUTHORIZED");
    assert!(refused.message().contains("audience"), "{}", refused.message());
}
