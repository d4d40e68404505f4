//! Who may look, put back and give up, and which refusal everybody else gets.

use super::*;
use axum::http::Method;

/// Each route below a package, with a body if it is a mutation.
const OF_A_PACKAGE: [(&str, Option<&str>); 6] = [
    ("kept", None),
    ("pending", None),
    ("deletion-preview", None),
    ("holders?digest=", None),
    ("restore", Some(r#"{"tag":"v1"}"#)),
    ("reclaim", Some("{}")),
];

async fn ask(client: &Client, path: &str, body: Option<&str>) -> crate::harness::Answer {
    match body {
        None => get(client, path).await,
        Some(body) => {
            let kind = [("content-type", "application/json")];
            let path = format!("/api/v1{path}");
            client.send(Method::POST, &path, &kind, body.to_owned()).await
        }
    }
}

#[tokio::test]
async fn each_route_takes_its_role() {
    let (world, shop) = world().await;
    let (admin, ann, bob, eve) = (
        world.client("admin").await,
        world.client("ann").await,
        world.client("bob").await,
        world.client("eve").await,
    );
    let build = world.pipeline("acme", "shop").await;
    let (nobody, narrowed) =
        (world.anonymous(), world.narrowed(&ann, &["repository:acme/shop:pull,push"]).await);
    let _ = ann.push_image("acme/shop", "v1", "one").await;
    let image = ann.push_image("acme/shop", "v1", "two").await;
    for (route, body) in OF_A_PACKAGE {
        let mut path = format!("{shop}/{route}");
        if route.ends_with('=') {
            path.push_str(&image.digest());
        }
        // Readers look, writers put back, administrators give up.
        let (reader, writer) = match route {
            "restore" => (403, 204),
            "reclaim" => (403, 403),
            _ => (200, 200),
        };
        let admins = if route == "restore" { 204 } else { 200 };
        for (client, status) in [
            (&nobody, 401),
            (&narrowed, 401),
            (&bob, reader),
            (&ann, writer),
            (&build, writer),
            (&admin, admins),
        ] {
            let answer = ask(client, &path, body).await;
            assert_eq!(answer.status.as_u16(), status, "{route}: {}", answer.text());
        }
        // Eve sees the workspace, because it has a public repository, but not this package. Looking
        // for a deleted one is for administrators, whether there is one or not.
        let answer = ask(&eve, &path, body).await;
        let expected = if body.is_some() { 403 } else { 404 };
        assert_eq!(answer.status.as_u16(), expected, "{route}: {}", answer.text());
        let missing = path.replace(&shop, "/workspaces/acme/packages/999");
        let same = ask(&eve, &missing, body).await;
        assert_eq!(same.status, answer.status, "{route}: private and missing look the same");
        let elsewhere = path.replace("/acme/", "/other/");
        let answer = ask(&eve, &elsewhere, body).await;
        assert_eq!(answer.status.as_u16(), 404, "{route}: {}", answer.text());
        // An id of another workspace is not there for anybody.
        let answer = ask(&admin, &elsewhere, body).await;
        assert_eq!(answer.status.as_u16(), 404, "{route}: {}", answer.text());
    }
}

#[tokio::test]
async fn deleted_packages_and_receipts_are_for_administrators_of_the_workspace() {
    let (world, shop) = world().await;
    let (admin, ann, eve) =
        (world.client("admin").await, world.client("ann").await, world.client("eve").await);
    let _ = ann.push_image("acme/shop", "v1", "one").await;
    let _ = delete(&admin, &shop).await.expect(204);
    for (path, body) in [
        ("/workspaces/acme/deleted-packages".to_owned(), None),
        ("/workspaces/acme/receipts".to_owned(), None),
        (format!("{shop}/restore"), Some("{}")),
        (format!("{shop}/reclaim"), Some("{}")),
    ] {
        for (client, status, words) in [
            (&world.anonymous(), 401, ""),
            (&ann, 403, "administrator of the workspace"),
            (&eve, 403, "administrator of the workspace"),
            (&world.pipeline("acme", "site").await, 403, "administrator of the workspace"),
            (&world.pipeline("other", "tool").await, 404, "workspace acme"),
        ] {
            let _ = problem(ask(client, &path, body).await, status, words);
        }
    }
    // An administrator of this workspace, but of nothing else.
    let role = json!({"role": "admin"});
    let member = "/workspaces/acme/permissions/eve";
    let _ = crate::api::put(&admin, member, role).await.expect(200);
    let _ = get(&eve, "/workspaces/acme/receipts").await.expect(200);
    let _ = problem(get(&eve, "/workspaces/other/receipts").await, 404, "other");
    let through_the_other = shop.replace("/acme/", "/other/");
    let _ = problem(post(&eve, &format!("{through_the_other}/restore"), json!({})).await, 404, "");
    let _ = post(&eve, &format!("{shop}/restore"), json!({})).await.expect(200);
}

#[tokio::test]
async fn a_body_that_does_not_fit_is_refused_with_its_field() {
    let (world, shop) = world().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    let _ = ann.push_image("acme/shop", "v1", "one").await;
    let restore = format!("{shop}/restore");
    for (body, words) in [
        (json!({}), "tag"),
        (json!({"tag": "-"}), "tag"),
        (json!({"digest": "sha256:x"}), "digest"),
        (json!({"tag": "v1", "name": "x"}), "name: this package is not deleted"),
        (json!({"repository": "site"}), "repository: this package is not deleted"),
        (json!({"tags": ["v1"]}), "tags"),
    ] {
        let _ = problem(post(&ann, &restore, body).await, 400, words);
    }
    let reclaim = format!("{shop}/reclaim");
    for (body, words) in [
        (json!({"tag": "v1", "digest": digest(b"x")}), "tag or a digest"),
        (json!({"tag": "-"}), "tag"),
        (json!({"digest": "x"}), "digest"),
        (json!({"all": true}), "all"),
    ] {
        let _ = problem(post(&admin, &reclaim, body).await, 400, words);
    }
    let nothing = post(&admin, &reclaim, json!({})).await.expect(200).json();
    assert_eq!((&nothing["events"], &nothing["bytes"]), (&json!(0), &json!(0)));
    let _ = delete(&admin, &shop).await.expect(204);
    for (body, words) in [
        (json!({"tag": "v1"}), "tag: this package is deleted"),
        (json!({"name": "a//b"}), "name"),
        (json!({"repository": "Bad"}), "repository"),
    ] {
        let _ = problem(post(&admin, &restore, body).await, 400, words);
    }
}
