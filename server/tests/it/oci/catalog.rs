//! The list of packages: who sees which, page by page.

use crate::harness::{Answer, Client, World};
use axum::http::Method;
use standpipe_server::domain::Role;

const ALL: [&str; 5] = ["acme/shop", "acme/shop-web", "acme/site", "acme/vault", "other/tool"];

fn names(answer: &Answer) -> Vec<String> {
    serde_json::from_value(answer.json()["repositories"].clone()).expect("a list of names")
}

async fn listed(client: &Client) -> Vec<String> {
    names(&client.get("/v2/_catalog").await.expect(200))
}

#[tokio::test]
async fn everybody_sees_what_they_may_read_and_nothing_else() {
    let world = World::new().await;
    assert_eq!(listed(&world.client("admin").await).await, ALL);
    let ann = world.client("ann").await;
    assert_eq!(listed(&ann).await, ["acme/shop", "acme/shop-web", "acme/site", "other/tool"]);
    let bob = world.client("bob").await;
    assert_eq!(listed(&bob).await, ["acme/shop", "acme/shop-web", "acme/site"]);
    assert_eq!(listed(&world.client("eve").await).await, ["acme/site"]);
    let pipeline = world.pipeline("acme", "vault").await;
    assert_eq!(listed(&pipeline).await, ["acme/site", "acme/vault"]);
    // A right that is taken away or given counts from the next request on.
    world.revoke("acme", "shop", "bob").await;
    world.grant("acme", "vault", "bob", Role::Read).await;
    assert_eq!(listed(&bob).await, ["acme/site", "acme/vault"]);
}

#[tokio::test]
async fn pages_lead_through_the_list_and_tell_nothing_of_what_is_hidden() {
    let world = World::new().await;
    for (user, count) in [("admin", 5), ("ann", 4), ("eve", 1)] {
        let client = world.client(user).await;
        let whole = listed(&client).await;
        assert_eq!(whole.len(), count);
        for n in 1..=6 {
            let pages = client.pages(&format!("/v2/_catalog?n={n}")).await;
            assert_eq!(pages.len(), count.div_ceil(n), "{user} {n}");
            assert_eq!(pages.iter().flat_map(names).collect::<Vec<_>>(), whole, "{user} {n}");
            for page in &pages {
                assert!(!page.header("link").contains("vault") || user == "admin", "{user} {n}");
            }
        }
        for (after, expected) in [
            ("a", &whole[..]),
            ("acme", &whole[..]),
            ("acme/zzz", if count > 1 && user != "eve" { &whole[count - 1..] } else { &[] }),
            ("other/tool", &[]),
            ("zzz", &[]),
            ("No%20name", &whole[..]),
        ] {
            let path = format!("/v2/_catalog?last={after}");
            assert_eq!(names(&client.get(&path).await.expect(200)), expected, "{user} {after}");
        }
        let none = client.get("/v2/_catalog?n=0").await.expect(200);
        assert_eq!((names(&none), none.header("link")), (Vec::new(), ""));
        for bad in ["n=-1", "n=x", "n=", "n=1&n=1", "last=a&last=b"] {
            let _ = client.get(&format!("/v2/_catalog?{bad}")).await.refused(400, "UNSUPPORTED");
        }
    }
}

#[tokio::test]
async fn a_login_is_asked_for_with_the_scope_that_gives_the_list() {
    let world = World::new().await;
    let refused = world.anonymous().get("/v2/_catalog").await.refused(401, "UNAUTHORIZED");
    assert!(refused.header("www-authenticate").contains("scope=\"registry:catalog:*\""));
    let ann = world.client("ann").await;
    let token = world.narrowed(&ann, &["registry:catalog:*"]).await;
    assert_eq!(listed(&token).await, listed(&ann).await);
    let _ = token.get("/v2/acme/shop/tags/list").await.refused(401, "UNAUTHORIZED");
    // A token for a package is not one for the list.
    let narrow = world.narrowed(&ann, &["repository:acme/shop:pull"]).await;
    let refused = narrow.get("/v2/_catalog").await.refused(401, "UNAUTHORIZED");
    assert!(refused.header("www-authenticate").contains("scope=\"registry:catalog:*\""));
    // Nobody in particular sees what is public, with a token that says so.
    let anybody = world.narrowed(&world.anonymous(), &["registry:catalog:*"]).await;
    assert_eq!(listed(&anybody).await, ["acme/site"]);
}

#[tokio::test]
async fn packages_come_and_go_in_the_list_at_once() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let _ = admin.push_image("acme/shop/new", "latest", "one").await;
    assert!(listed(&admin).await.contains(&"acme/shop/new".to_owned()));
    let found = admin.get("/api/v1/workspaces/acme/packages?name=shop/new").await.expect(200);
    let id = &found.json()["items"][0]["id"];
    let path = format!("/api/v1/workspaces/acme/packages/{id}");
    let _ = admin.send(Method::DELETE, &path, &[], "").await;
    assert_eq!(listed(&admin).await, ALL);
}
