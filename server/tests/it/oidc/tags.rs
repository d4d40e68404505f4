//! Which tags a build may move, on every way a tag moves.

use super::issuer::{Issuer, Key};
use super::{bind, build, trusted, trusting};
use crate::harness::{Client, Settings, World};
use axum::http::Method;
use serde_json::{Value, json};
use standpipe_server::domain::CreateOnPush;

/// Only `main` and releases move `latest` and `v*`; others their own tags, and `any-*`.
fn rules() -> Value {
    json!({ "tag_rules": [
        { "tags": ["latest", "v*"], "branches": ["main", "release/*"] },
        { "tags": ["pr-{pullRequest}-*", "any-*"] },
    ] })
}

struct Bound {
    issuer: Issuer,
    world: World,
    key: Key,
}

impl Bound {
    async fn new(more: Value) -> Self {
        let issuer = Issuer::start().await;
        let world = trusting(vec![trusted(&issuer)]).await;
        let _ = bind(&world, &issuer, more).await;
        let key = issuer.fresh_key();
        Self { issuer, world, key }
    }

    fn of(&self, claims: Value) -> Client {
        build(&self.world, &self.issuer.token(&self.key, claims))
    }

    fn branch(&self, name: &str) -> Client {
        self.of(json!({ "branchName": name }))
    }
}

#[tokio::test]
async fn a_push_moves_the_tags_that_its_rules_name() {
    let bound = Bound::new(rules()).await;
    let release = bound.branch("release/1");
    let image = release.push_image("acme/shop", "v1", "one").await;
    let _ = release.put_manifest("acme/shop", "latest", &image).await.expect(201);
    let feature = bound.of(json!({ "branchName": "feature", "pullRequest": 12 }));
    for tag in ["pr-12-1", "any-thing"] {
        let _ = feature.put_manifest("acme/shop", tag, &image).await.expect(201);
    }
    let refused = feature.put_manifest("acme/shop", "latest", &image).await.refused(403, "DENIED");
    let message = refused.message();
    assert!(message.contains("may not move the tag latest: tag rule 1 is about latest or v*"));
    assert!(message.contains("branch main or release/*, and this build has feature"), "{message}");
    assert!(message.contains("ask an administrator of the workspace"), "{message}");
    for tag in ["pr-13-1", "pr-12", "v", "other", "xlatest"] {
        let _ = feature.put_manifest("acme/shop", tag, &image).await.refused(403, "DENIED");
    }
    // By digest alone no tag moves.
    let _ = feature.put_manifest("acme/shop", &image.digest(), &image).await.expect(201);
    // All tags of one request, or none.
    let path = format!("/v2/acme/shop/manifests/{}?tag=any-2&tag=v9", image.digest());
    let headers = [("content-type", image.media_type)];
    let sent = feature.send(Method::PUT, &path, &headers, image.bytes.clone()).await;
    let _ = sent.refused(403, "DENIED");
    let path = "/v2/acme/shop/manifests/any-2?tag=v9";
    let sent = feature.send(Method::PUT, path, &headers, image.bytes.clone()).await;
    let _ = sent.refused(403, "DENIED");
    let tags = feature.get("/v2/acme/shop/tags/list").await.expect(200).json();
    assert_eq!(tags["tags"], json!(["any-thing", "latest", "pr-12-1", "v1"]));
}

#[tokio::test]
async fn a_registry_token_keeps_to_the_rules_too() {
    let bound = Bound::new(rules()).await;
    let main = bound.branch("main");
    let image = main.push_image("acme/shop", "latest", "one").await;
    let scopes = ["repository:acme/shop:pull,push,delete"];
    let main = bound.world.narrowed(&main, &scopes).await;
    let feature = bound.of(json!({ "branchName": "feature", "pullRequest": "12" }));
    let feature = bound.world.narrowed(&feature, &scopes).await;
    let _ = main.put_manifest("acme/shop", "v2", &image).await.expect(201);
    let _ = feature.put_manifest("acme/shop", "pr-12-1", &image).await.expect(201);
    let _ = feature.put_manifest("acme/shop", "v2", &image).await.refused(403, "DENIED");
    let _ = feature.delete("/v2/acme/shop/manifests/v2").await.refused(403, "DENIED");
}

#[tokio::test]
async fn what_it_may_not_move_it_may_not_delete_or_put_back_either() {
    let bound = Bound::new(rules()).await;
    let main = bound.branch("main");
    let image = main.push_image("acme/shop", "latest", "one").await;
    let feature = bound.branch("feature");
    let _ = feature.put_manifest("acme/shop", "any-1", &image).await.expect(201);
    let _ = feature.delete("/v2/acme/shop/manifests/latest").await.refused(403, "DENIED");
    let by_digest = format!("/v2/acme/shop/manifests/{}", image.digest());
    let refused = feature.delete(&by_digest).await.refused(403, "DENIED");
    assert!(refused.message().contains("delete the tag"), "{}", refused.message());
    let blob = format!("/v2/acme/shop/blobs/{}", crate::harness::digest(b"one"));
    let _ = feature.delete(&blob).await.refused(403, "DENIED");
    let _ = feature.delete("/v2/acme/shop/manifests/any-1").await.expect(202);
    // The same over REST.
    let admin = bound.world.client("admin").await;
    let packages = admin.get("/api/v1/workspaces/acme/packages?name=shop").await.expect(200);
    let package = format!("/api/v1/workspaces/acme/packages/{}", packages.json()["items"][0]["id"]);
    let _ = feature.delete(&format!("{package}/tags/latest")).await.expect(403);
    let restore = |client: Client, tag: &'static str| {
        let path = format!("{package}/restore");
        async move {
            let json = [("content-type", "application/json")];
            let body = json!({ "tag": tag }).to_string();
            client.send(Method::POST, &path, &json, body).await
        }
    };
    let _ = restore(feature.clone(), "any-1").await.expect(204);
    let _ = feature.delete(&format!("{package}/tags/any-1")).await.expect(204);
    let _ = main.delete("/v2/acme/shop/manifests/latest").await.expect(202);
    let refused = restore(feature, "latest").await.expect(403);
    assert_eq!(refused.json()["type"], "urn:standpipe:problem:tag-rules");
    let _ = restore(main, "latest").await.expect(204);
}

#[tokio::test]
async fn without_rules_a_build_is_as_free_as_a_pipeline_token() {
    let bound = Bound::new(json!({})).await;
    let build = bound.branch("feature");
    let image = build.push_image("acme/shop", "latest", "one").await;
    let _ = build.delete(&format!("/v2/acme/shop/manifests/{}", image.digest())).await.expect(202);
}

#[tokio::test]
async fn of_several_bindings_any_is_enough() {
    let main = json!({ "branches": ["main"], "role": "write" });
    let bound = Bound::new(main).await;
    let more = json!({ "tag_rules": [{ "tags": ["pr-*"] }] });
    let _ = bind(&bound.world, &bound.issuer, more).await;
    let image = bound.branch("main").push_image("acme/shop", "latest", "one").await;
    let feature = bound.branch("feature");
    let _ = feature.put_manifest("acme/shop", "pr-1", &image).await.expect(201);
    let refused = feature.put_manifest("acme/shop", "latest", &image).await.refused(403, "DENIED");
    assert!(refused.message().contains("no tag rule names it, only pr-*"), "{}", refused.message());
}

#[tokio::test]
async fn a_first_push_creates_the_package_in_the_bound_repository_and_keeps_to_the_rules() {
    let issuer = Issuer::start().await;
    let world = World::with(Settings {
        issuers: vec![trusted(&issuer)],
        create_on_push: CreateOnPush::Writers,
        ..Settings::default()
    })
    .await;
    let _ = bind(&world, &issuer, rules()).await;
    let key = issuer.fresh_key();
    let feature = build(&world, &issuer.token(&key, json!({ "branchName": "feature" })));
    let main = build(&world, &issuer.token(&key, json!({})));
    let image = crate::harness::image(&[], &json!({}));
    let _ = main.push_blob("acme/vault/stolen", b"{}").await;
    let _ = main.put_manifest("acme/vault/stolen", "v1", &image).await.expect(201);
    let _ = feature.put_manifest("acme/new", "v1", &image).await.refused(403, "DENIED");
    let admin = world.client("admin").await;
    let path = "/api/v1/workspaces/acme/packages?repository=shop";
    let packages = admin.get(path).await.expect(200).json();
    let names: Vec<&Value> =
        packages["items"].as_array().expect("items").iter().map(|item| &item["name"]).collect();
    assert_eq!(names, ["shop", "shop-web", "vault/stolen"]);
    let _ = feature.post("/v2/other/new/blobs/uploads/").await.refused(404, "NAME_UNKNOWN");
}

/// A build with these bindings, where writers create packages by a push.
async fn bound_to(repositories: &[(&str, &str)]) -> Bound {
    let issuer = Issuer::start().await;
    let create_on_push = CreateOnPush::Writers;
    let settings =
        Settings { issuers: vec![trusted(&issuer)], create_on_push, ..Settings::default() };
    let world = World::with(settings).await;
    for (repository, role) in repositories {
        let body = super::binding(&issuer, json!({ "role": role }));
        let _ = super::try_bind(&world, "admin", repository, body).await.expect(201);
    }
    let key = issuer.fresh_key();
    Bound { issuer, world, key }
}

async fn assert_belongs(world: &World, package: &str, repository: &str) {
    let (workspace, repository) = repository.split_once('/').expect("workspace/repository");
    let path = format!("/api/v1/workspaces/{workspace}/packages?repository={repository}");
    let packages = world.client("admin").await.get(&path).await.expect(200).text();
    assert!(packages.contains(&format!("\"name\":\"{package}\"")), "{package}: {packages}");
}

#[tokio::test]
async fn a_first_push_of_a_build_with_several_repositories_goes_to_the_one_the_name_begins_with() {
    let bound = bound_to(&[("acme/shop", "write"), ("acme/vault", "write")]).await;
    let step = bound.of(json!({}));
    for repository in ["vault", "shop"] {
        let _ = step.push_image(&format!("acme/{repository}/new"), "v1", repository).await;
        assert_belongs(&bound.world, &format!("{repository}/new"), &format!("acme/{repository}"))
            .await;
    }
    let _ = step.post("/v2/acme/new/blobs/uploads/").await.refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn a_first_push_goes_to_the_one_repository_of_the_workspace_that_the_build_may_push_to() {
    let bindings = [("acme/shop", "write"), ("acme/vault", "read"), ("other/tool", "write")];
    let bound = bound_to(&bindings).await;
    let step = bound.of(json!({}));
    for (workspace, repository) in [("acme", "acme/shop"), ("other", "other/tool")] {
        let _ = step.push_image(&format!("{workspace}/new"), "v1", workspace).await;
        assert_belongs(&bound.world, "new", repository).await;
    }
}

#[tokio::test]
async fn a_binding_to_another_repository_or_for_reading_frees_no_tags() {
    let bound = Bound::new(rules()).await;
    let vault = super::binding(&bound.issuer, json!({}));
    let _ = super::try_bind(&bound.world, "admin", "acme/vault", vault).await.expect(201);
    let _ = bind(&bound.world, &bound.issuer, json!({ "role": "read" })).await;
    let feature = bound.branch("feature");
    let image = feature.push_image("acme/shop", "any-1", "one").await;
    let _ = feature.put_manifest("acme/shop", "latest", &image).await.refused(403, "DENIED");
    let _ = feature.push_image("acme/vault", "latest", "one").await;
}
