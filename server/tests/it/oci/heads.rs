//! HEAD, wherever GET is: the same answer without its body.

use crate::harness::{World, digest, image};
use axum::http::HeaderMap;
use serde_json::json;

/// The headers that say something about the content.
fn telling(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut told: Vec<_> = headers
        .iter()
        .filter(|(name, _)| *name != "x-request-id" && *name != "date")
        .map(|(name, value)| (name.to_string(), format!("{value:?}")))
        .collect();
    told.sort();
    told
}

#[tokio::test]
async fn what_can_be_got_can_be_looked_at() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let manifest = ann.push_image("acme/shop", "latest", "one").await;
    let _ = ann.push_image("acme/shop", "other", "one").await;
    let about = image(&[], &json!({ "subject": manifest.descriptor() }));
    let _ = ann.put_manifest("acme/shop", &about.digest(), &about).await.expect(201);
    let upload = ann.start_upload("acme/shop").await;
    let (sum, none) = (manifest.digest(), digest(b"nothing"));
    for (path, status) in [
        ("/v2/".to_owned(), 200),
        ("/v2/_catalog".to_owned(), 200),
        ("/v2/_catalog?n=1".to_owned(), 200),
        ("/v2/_catalog?n=x".to_owned(), 400),
        ("/v2/acme/shop/tags/list".to_owned(), 200),
        ("/v2/acme/shop/tags/list?n=1".to_owned(), 200),
        ("/v2/acme/shop/tags/list?n=0".to_owned(), 200),
        ("/v2/acme/nothing/tags/list".to_owned(), 404),
        (format!("/v2/acme/shop/referrers/{sum}"), 200),
        (format!("/v2/acme/shop/referrers/{sum}?artifactType=a/b"), 200),
        (format!("/v2/acme/nothing/referrers/{sum}"), 200),
        ("/v2/acme/shop/referrers/sha256:x".to_owned(), 400),
        ("/v2/acme/shop/manifests/latest".to_owned(), 200),
        (format!("/v2/acme/shop/manifests/{sum}"), 200),
        ("/v2/acme/shop/manifests/nothing".to_owned(), 404),
        (format!("/v2/acme/shop/manifests/{none}"), 404),
        (format!("/v2/acme/shop/blobs/{}", digest(b"one")), 200),
        (format!("/v2/acme/shop/blobs/{none}"), 404),
        (upload, 204),
        ("/v2/acme/shop/blobs/uploads/x".to_owned(), 404),
    ] {
        let get = ann.get(&path).await.expect(status);
        let head = ann.head(&path).await.expect(status);
        assert_eq!(head.body.len(), 0, "{path}");
        // The text of a refusal holds the request's own id, whose length is always the same.
        assert_eq!(telling(&head.headers), telling(&get.headers), "{path}");
        if status == 200 {
            assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
        }
    }
}
