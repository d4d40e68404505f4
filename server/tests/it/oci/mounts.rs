//! Mounts: from a package that is named, or from any that has the blob and may be read.

use crate::harness::{Answer, BOTH, Client, World, digest};
use axum::http::Method;

async fn mount(client: &Client, target: &str, sum: &str, from: &str) -> Answer {
    client.post(&format!("/v2/{target}/blobs/uploads/?mount={sum}{from}")).await
}

fn assert_mounted(answer: Answer, target: &str, sum: &str) {
    let answer = answer.expect(201);
    assert_eq!(answer.header("location"), format!("/v2/{target}/blobs/{sum}"));
    assert_eq!(answer.header("docker-content-digest"), sum);
    assert_eq!(answer.body.len(), 0);
}

#[tokio::test]
async fn a_blob_is_mounted_with_and_without_a_source() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    for (algorithm, from) in BOTH.into_iter().zip(["&from=acme/shop", ""]) {
        for from in [from, "&from=acme/shop", ""] {
            let content = format!("{algorithm:?} {from}");
            let sum = ann.push_blob_in(algorithm, "acme/shop", content.as_bytes()).await;
            assert_mounted(mount(&ann, "acme/shop-web", &sum, from).await, "acme/shop-web", &sum);
            let path = format!("/v2/acme/shop-web/blobs/{sum}");
            assert_eq!(ann.get(&path).await.expect(200).text(), content);
        }
    }
}

#[tokio::test]
async fn nothing_is_found_where_the_caller_may_not_read() {
    let world = World::new().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    let sum = admin.push_blob("acme/vault", b"a secret layer").await;
    let _ = admin.push_blob("other/tool", b"a secret layer").await;
    let begun = mount(&ann, "acme/shop", &sum, "").await.expect(202);
    assert!(begun.header("location").starts_with("/v2/acme/shop/blobs/uploads/"));
    assert_eq!(begun.header("docker-content-digest"), "");
    let _ = ann.head(&format!("/v2/acme/shop/blobs/{sum}")).await.expect(404);
    // Who may read it, finds it; what was deleted is not found.
    assert_mounted(mount(&admin, "acme/shop-web", &sum, "").await, "acme/shop-web", &sum);
    let _ = admin.delete(&format!("/v2/acme/shop-web/blobs/{sum}")).await.expect(202);
    let _ = mount(&ann, "acme/shop", &sum, "").await.expect(202);
    let _ = admin.push_blob("acme/site", b"a secret layer").await;
    assert_mounted(mount(&ann, "acme/shop", &sum, "").await, "acme/shop", &sum);
}

#[tokio::test]
async fn a_token_finds_only_in_what_it_covers() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let sum = ann.push_blob("acme/shop", b"a layer").await;
    let target = "repository:acme/shop-web:pull,push";
    let narrow = world.narrowed(&ann, &[target]).await;
    let _ = mount(&narrow, "acme/shop-web", &sum, "").await.expect(202);
    let both = world.narrowed(&ann, &[target, "repository:acme/shop:pull"]).await;
    assert_mounted(mount(&both, "acme/shop-web", &sum, "").await, "acme/shop-web", &sum);
}

#[tokio::test]
async fn an_upload_that_was_opened_instead_takes_the_blob() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    for from in ["", "&from=acme/shop-web", "&from=acme/nothing"] {
        let content = format!("not there yet{from}");
        let sum = digest(content.as_bytes());
        let begun = mount(&ann, "acme/shop", &sum, from).await.expect(202);
        let close = format!("{}?digest={sum}", begun.header("location"));
        let stored = ann.send(Method::PUT, &close, &[], content).await;
        assert_mounted(stored, "acme/shop", &sum);
    }
}

#[tokio::test]
async fn the_challenge_of_a_mount_asks_for_the_source_too() {
    let world = World::new().await;
    let nobody = world.anonymous();
    let sum = digest(b"x");
    let scope = |answer: Answer| {
        let challenge = answer.expect(401).header("www-authenticate").to_owned();
        challenge.split_once("scope=").expect("a scope").1.trim_matches('"').to_owned()
    };
    let push = "repository:acme/shop:pull,push";
    let both = format!("{push} repository:acme/site:pull");
    assert_eq!(scope(mount(&nobody, "acme/shop", &sum, "&from=acme/site").await), both);
    for none in ["", "&from=", "&from=Nonsense", "&from=acme/site&from=acme/vault"] {
        assert_eq!(scope(mount(&nobody, "acme/shop", &sum, none).await), push, "{none}");
    }
    let path = "/v2/acme/shop/blobs/uploads/?from=acme/site";
    assert_eq!(scope(nobody.post(path).await), push);
}
