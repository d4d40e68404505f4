//! The list of tags.

use crate::harness::{Answer, Client, World};
use axum::http::Method;
use serde_json::json;
use standpipe_server::domain::Change;
use standpipe_server::registry::manifests::ManifestUpload;

async fn tagged(tags: &[&str]) -> (World, Client) {
    let world = World::new().await;
    let ann = world.client("ann").await;
    for tag in tags {
        let _ = ann.push_image("acme/shop", tag, "one").await;
    }
    (world, ann)
}

fn tags(answer: &Answer) -> Vec<String> {
    serde_json::from_value(answer.json()["tags"].clone()).expect("a list of tags")
}

#[tokio::test]
async fn all_tags_are_listed_in_order() {
    let (_world, ann) = tagged(&["v2", "latest", "V1", "v10"]).await;
    let answer = ann.get("/v2/acme/shop/tags/list").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.json(),
        json!({ "name": "acme/shop", "tags": ["V1", "latest", "v10", "v2"] })
    );
    assert_eq!(answer.header("link"), "");
    let empty = ann.get("/v2/acme/shop-web/tags/list").await.expect(200);
    assert_eq!(empty.json(), json!({ "name": "acme/shop-web", "tags": [] }));
}

#[tokio::test]
async fn pages_lead_through_the_whole_list() {
    let (_world, ann) = tagged(&["a", "b", "c", "d", "e"]).await;
    let mut path = "/v2/acme/shop/tags/list?n=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = ann.get(&path).await.expect(200);
        pages.push(tags(&page));
        assert!(pages.len() < 5, "no end: {pages:?}");
        let Some(next) = page.header("link").strip_suffix(">; rel=\"next\"") else { break };
        path = next.strip_prefix('<').expect("a link").to_owned();
        assert!(path.starts_with("/v2/acme/shop/tags/list?n=2&last="), "{path}");
    }
    assert_eq!(pages, [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
    // Exactly as many as there are: there is no next page.
    assert_eq!(ann.get("/v2/acme/shop/tags/list?n=5").await.expect(200).header("link"), "");
    // A tag need not exist to begin after it.
    let after = ann.get("/v2/acme/shop/tags/list?last=bb&n=1").await.expect(200);
    assert_eq!(tags(&after), ["c"]);
    assert_eq!(
        tags(&ann.get("/v2/acme/shop/tags/list?last=e").await.expect(200)),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn the_count_is_bounded_and_checked() {
    let (_world, ann) = tagged(&["a", "b"]).await;
    let none = ann.get("/v2/acme/shop/tags/list?n=0").await.expect(200);
    assert_eq!((tags(&none), none.header("link")), (Vec::new(), ""));
    for huge in ["1000000000", "9223372036854775808", "99999999999999999999999999"] {
        let answer = ann.get(&format!("/v2/acme/shop/tags/list?n={huge}")).await.expect(200);
        assert_eq!(tags(&answer), ["a", "b"], "{huge}");
    }
    for bad in ["n=-1", "n=abc", "n=", "n=1&n=1", "last=a&last=b"] {
        let _ =
            ann.get(&format!("/v2/acme/shop/tags/list?{bad}")).await.refused(400, "UNSUPPORTED");
    }
}

#[tokio::test]
async fn as_many_tags_go_with_one_manifest_as_are_promised() {
    let (_world, ann) = tagged(&["first"]).await;
    let manifest = ann.get("/v2/acme/shop/manifests/first").await.expect(200);
    let sum = manifest.header("docker-content-digest");
    let names: Vec<String> = (0..64).map(|at| format!("{}{at:02}", "t".repeat(126))).collect();
    let query: Vec<String> = names.iter().map(|tag| format!("tag={tag}")).collect();
    let path = format!("/v2/acme/shop/manifests/{sum}?{}", query.join("&"));
    let headers = [("content-type", manifest.header("content-type"))];
    let stored = ann.send(Method::PUT, &path, &headers, manifest.body.clone()).await.expect(201);
    assert!(stored.headers.get_all("oci-tag").iter().eq(names.iter().map(String::as_bytes)));
    let listed = tags(&ann.get("/v2/acme/shop/tags/list").await.expect(200));
    assert_eq!(listed[1..], names);
}

#[tokio::test]
async fn a_list_that_is_too_long_for_one_answer_goes_on_behind_its_link() {
    let (world, ann) = tagged(&["first"]).await;
    let manifest = ann.get("/v2/acme/shop/manifests/first").await.expect(200);
    let sum = manifest.header("docker-content-digest");
    let many: Vec<String> = (0..10_500).map(|at| format!("t{at:05}")).collect();
    // More than one request may set.
    let registry = &world.app.registry;
    let caller = world.app.auth.caller(ann.authorization.as_deref()).await.expect("Ann");
    let access = registry.writable(&caller, &"acme/shop".parse().expect("a name")).await;
    let upload = ManifestUpload {
        reference: sum.parse().expect("a digest"),
        tags: many.iter().map(|tag| tag.parse().expect("a tag")).collect(),
        media_type: manifest.header("content-type").to_owned(),
        bytes: manifest.body.clone(),
    };
    let change = Change::by_server("test");
    registry.put_manifest(&access.expect("access"), &change, upload).await.expect("stored");
    let expected: Vec<String> = std::iter::once("first".to_owned()).chain(many).collect();
    for (query, pages) in [("", 2), ("?n=10000", 2), ("?n=50000", 2), ("?n=4000", 3)] {
        let found = ann.pages(&format!("/v2/acme/shop/tags/list{query}")).await;
        assert_eq!(found.len(), pages, "{query}");
        assert!(found.iter().flat_map(tags).eq(expected.iter().cloned()), "{query}");
    }
}

#[tokio::test]
async fn tags_are_listed_and_gone_with_the_answer() {
    let (_world, ann) = tagged(&["a", "b"]).await;
    let listed = async || tags(&ann.get("/v2/acme/shop/tags/list").await.expect(200));
    let _ = ann.delete("/v2/acme/shop/manifests/a").await.expect(202);
    assert_eq!(listed().await, ["b"]);
    let manifest = ann.push_image("acme/shop", "c", "other").await;
    assert_eq!(listed().await, ["b", "c"]);
    let _ = ann.delete(&format!("/v2/acme/shop/manifests/{}", manifest.digest())).await.expect(202);
    assert_eq!(listed().await, ["b"]);
}
