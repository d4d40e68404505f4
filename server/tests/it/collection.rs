//! Undo and disk space over REST: what people see of collection. Its rules are tested at the seam.

mod rights;
mod story;

use crate::api::{delete, get, package_id, patch, post, problem};
use crate::harness::{Client, Manifest, World, digest};
use serde_json::{Value, json};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A registry past the first hours after its start, in which nothing is collected; and the path of
/// the package `shop`.
async fn world() -> (World, String) {
    let world = World::new().await;
    world.clock.advance(HOUR * 2);
    let admin = world.client("admin").await;
    let id = package_id(&admin, "acme", "shop").await;
    (world, format!("/workspaces/acme/packages/{id}"))
}

/// Runs collection until nothing is due.
async fn settle(world: &World) {
    while world.app.registry.collect().await.expect("a round").more {}
}

/// Lets days pass, with collection running.
async fn days(world: &World, days: u32) {
    for _ in 0..days {
        world.clock.advance(DAY);
        settle(world).await;
    }
}

/// The items of a list.
async fn items(client: &Client, path: &str) -> Vec<Value> {
    let mut body = get(client, path).await.expect(200).json();
    assert!(body["next"].is_null() || body["next"].is_string(), "{body}");
    body["items"].as_array_mut().map(std::mem::take).expect("items")
}

fn size(manifest: &Manifest) -> u64 {
    u64::try_from(manifest.bytes.len()).expect("small")
}

#[tokio::test]
async fn the_preview_counts_what_only_the_selection_needs() {
    let (world, shop) = world().await;
    let (ann, bob) = (world.client("ann").await, world.client("bob").await);
    let first = ann.push_image("acme/shop", "v1", "one").await;
    let second = ann.push_image("acme/shop", "v2", "other").await;
    let preview = async |query: &str| {
        get(&bob, &format!("{shop}/deletion-preview{query}")).await.expect(200).json()
    };
    let expected = |manifests: &[&Manifest], blobs: u64, blob_bytes: u64| {
        let manifest_bytes: u64 = manifests.iter().map(|manifest| size(manifest)).sum();
        json!({
            "bytes": manifest_bytes + blob_bytes,
            "manifests": manifests.len(),
            "manifest_bytes": manifest_bytes,
            "blobs": blobs,
            "blob_bytes": blob_bytes,
            "at_least": false,
        })
    };
    assert_eq!(preview("?tag=v1").await, expected(&[&first], 1, 3), "both need the config");
    assert_eq!(preview("?tag=v1&tag=v2").await, expected(&[&first, &second], 3, 10));
    let digest = second.digest().replace(':', "%3A");
    assert_eq!(preview(&format!("?digest={digest}")).await, expected(&[&second], 1, 5));
    assert_eq!(preview("").await, expected(&[&first, &second], 3, 10));

    let refused = async |query: &str, status, words: &str| {
        let answer = get(&bob, &format!("{shop}/deletion-preview?{query}")).await;
        problem(answer, status, words)
    };
    let _ = refused("tag=v1&digest=sha256:ab", 400, "digest").await;
    let _ = refused(&format!("tag=v1&digest={digest}"), 400, "not both").await;
    let _ = refused("tag=..", 400, "tag").await;
    let _ = refused("limit=5", 400, "query").await;
    let _ = refused("tag=v3", 404, "no such tag or manifest").await;
    let _ = refused(&format!("digest={}", crate::harness::digest(b"x")), 404, "no such").await;
}

#[tokio::test]
async fn a_tag_comes_back_to_what_it_pointed_to_or_to_a_digest() {
    let (world, shop) = world().await;
    let ann = world.client("ann").await;
    let first = ann.push_image("acme/shop", "v1", "one").await;
    let second = ann.push_image("acme/shop", "v1", "two").await;
    let _ = ann.push_image("acme/shop", "v1", "three").await;
    let target =
        async || get(&ann, &format!("{shop}/tags/v1")).await.expect(200).json()["digest"].clone();
    let restore = format!("{shop}/restore");
    let kept = items(&ann, &format!("{shop}/kept")).await;
    let kept: Vec<_> = kept.iter().map(|item| (&item["kind"], &item["tag"])).collect();
    assert_eq!(kept, [(&json!("tag"), &json!("v1")); 2]);

    let _ = post(&ann, &restore, json!({"tag": "v1"})).await.expect(204);
    assert_eq!(target().await, second.digest());
    let exactly = json!({"tag": "v1", "digest": first.digest()});
    let _ = post(&ann, &restore, exactly.clone()).await.expect(204);
    assert_eq!(target().await, first.digest());
    let _ = delete(&ann, &format!("{shop}/tags/v1")).await.expect(204);
    let _ = post(&ann, &restore, json!({"tag": "v1"})).await.expect(204);
    assert_eq!(target().await, first.digest(), "a deletion is undone, too");
    let history = items(&ann, &format!("{shop}/history?tag=v1&limit=1")).await;
    assert_eq!((&history[0]["event"], &history[0]["by"]), (&json!("created"), &json!("user:ann")));

    let never = post(&ann, &restore, json!({"tag": "v9"})).await;
    let _ = problem(never, 404, "put back any more");
    let _ = delete(&ann, &format!("{shop}/tags/v1")).await.expect(204);
    days(&world, 9).await;
    let _ = problem(post(&ann, &restore, json!({"tag": "v1"})).await, 404, "put back any more");
    let _ = problem(post(&ann, &restore, exactly).await, 404, "put back any more");
    assert_eq!(items(&ann, &format!("{shop}/kept")).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_manifest_deleted_by_digest_is_kept_and_comes_back_with_its_blobs() {
    let (world, shop) = world().await;
    let ann = world.client("ann").await;
    let image = ann.push_image("acme/shop", "v1", "one").await;
    let (manifest, blob) = (image.digest(), digest(b"one"));
    let by_digest = format!("/v2/acme/shop/manifests/{manifest}");
    let _ = ann.delete(&by_digest).await.expect(202);
    let _ = ann.delete(&format!("/v2/acme/shop/blobs/{blob}")).await.expect(202);
    let kept = items(&ann, &format!("{shop}/kept")).await;
    let mut kinds: Vec<_> = kept.iter().map(|item| item["kind"].as_str().expect("text")).collect();
    kinds.sort_unstable();
    assert!(kinds.contains(&"manifest"), "{kept:?}");
    let found = kept.iter().find(|item| item["kind"] == "manifest").expect("the manifest");
    let expected = json!({
        "kind": "manifest",
        "tag": null,
        "digest": manifest,
        "sequence": null,
        "until": "2027-01-22T10:00:00.000Z",
        "by": "user:ann",
        "at": "2027-01-15T10:00:00.000Z",
    });
    assert_eq!(*found, expected);
    let one = items(&ann, &format!("{shop}/kept?limit=1")).await;
    assert_eq!(one.len(), 1);

    let back = json!({"digest": manifest});
    let _ = post(&ann, &format!("{shop}/restore"), back).await.expect(204);
    let _ = ann.get(&by_digest).await.expect(200);
    assert_eq!(ann.get(&format!("/v2/acme/shop/blobs/{blob}")).await.expect(200).text(), "one");
}

#[tokio::test]
async fn what_a_writer_is_told_exists_stays_for_longer_by_it_and_what_a_reader_is_told_does_not() {
    let (world, shop) = world().await;
    let (ann, bob) = (world.client("ann").await, world.client("bob").await);
    let loose = ann.push_blob("acme/shop", b"loose").await;
    let path = format!("/v2/acme/shop/blobs/{loose}");
    let lease = async || {
        let held = get(&bob, &format!("{shop}/holders?digest={loose}")).await.expect(200).json();
        held["lease_until"].as_str().expect("a moment").to_owned()
    };
    let first = lease().await;
    world.clock.advance(HOUR * 6);
    let _ = bob.head(&path).await.expect(200);
    assert_eq!(lease().await, first);
    let _ = ann.head(&path).await.expect(200);
    assert!(lease().await > first, "{first}");
}

#[tokio::test]
async fn what_holds_something_and_what_is_looked_at_again_is_told() {
    let (world, shop) = world().await;
    let (ann, bob) = (world.client("ann").await, world.client("bob").await);
    let first = ann.push_image("acme/shop", "v1", "one").await;
    let holders = async |digest: &str| {
        get(&bob, &format!("{shop}/holders?digest={digest}")).await.expect(200).json()
    };
    assert_eq!(holders(&first.digest()).await["tags"], json!(["v1"]));
    let layer = digest(b"one");
    assert_eq!(holders(&layer).await["parents"], json!([first.digest()]));
    assert_eq!(holders(&layer).await["lease_until"], "2027-01-16T13:00:00.000Z");

    let _ = ann.push_image("acme/shop", "v1", "two").await;
    world.clock.advance(DAY * 2);
    settle(&world).await;
    let held = holders(&first.digest()).await;
    let expected = json!({
        "tags": [],
        "parents": [],
        "history": ["v1"],
        "subject": null,
        "lease_until": null,
        "deleted_until": null,
        "more": false,
    });
    assert_eq!(held, expected);
    let pending = items(&bob, &format!("{shop}/pending")).await;
    let entry = pending.iter().find(|entry| entry["kind"] == "tag").expect("the movement");
    assert_eq!((&entry["tag"], &entry["digest"]), (&json!("v1"), &json!(first.digest())));
    assert_eq!(entry["at"], "2027-01-22T10:00:00.000Z");

    let unknown = get(&bob, &format!("{shop}/holders?digest={}", digest(b"?"))).await;
    let _ = problem(unknown, 404, "blob or manifest");
    let _ = problem(get(&bob, &format!("{shop}/holders?digest=x")).await, 400, "digest");
    let _ = problem(get(&bob, &format!("{shop}/holders")).await, 400, "digest");
    for list in ["pending", "kept"] {
        let _ = problem(get(&bob, &format!("{shop}/{list}?limit=0")).await, 400, "limit");
        let _ = problem(get(&bob, &format!("{shop}/{list}?after=1")).await, 400, "after");
    }
}

#[tokio::test]
async fn lists_of_deleted_packages_and_receipts_have_pages() {
    let (world, shop) = world().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    for tag in ["v1", "v2", "v3"] {
        let _ = ann.push_image("acme/shop", tag, tag).await;
        let _ = delete(&ann, &format!("{shop}/tags/{tag}")).await.expect(204);
        world.clock.advance(Duration::from_secs(1));
    }
    days(&world, 9).await;
    let receipts = "/workspaces/acme/receipts";
    let mut found = Vec::new();
    let mut path = format!("{receipts}?limit=1");
    loop {
        let page = get(&admin, &path).await.expect(200).json();
        assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "{page}");
        found.push(page["items"][0]["event"]["tag"].clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("{receipts}?limit=1&after={next}");
    }
    assert_eq!(found, ["v3", "v2", "v1"]);
    // Any bytes may come as a cursor; what is before the first receipt is nothing.
    for (cursor, status) in [("", 200), ("AA", 200), ("_____w", 200), ("%3D", 400), ("A", 400)] {
        let _ = get(&admin, &format!("{receipts}?after={cursor}")).await.expect(status);
    }
    let _ = problem(get(&admin, &format!("{receipts}?limit=0")).await, 400, "limit");

    let mut ids = Vec::new();
    for name in ["shop", "shop-web", "vault"] {
        let id = package_id(&admin, "acme", name).await;
        let _ = delete(&admin, &format!("/workspaces/acme/packages/{id}")).await.expect(204);
        ids.push(id.to_string());
    }
    let deleted = "/workspaces/acme/deleted-packages";
    let page = get(&admin, &format!("{deleted}?limit=2")).await.expect(200).json();
    assert_eq!((&page["items"][0]["name"], &page["next"]), (&json!("shop"), &json!(ids[1])));
    let rest = items(&admin, &format!("{deleted}?after={}", ids[1])).await;
    assert_eq!((rest.len(), &rest[0]["name"]), (1, &json!("vault")));
    let _ = problem(get(&admin, &format!("{deleted}?after=x")).await, 400, "after");
}

#[tokio::test]
async fn the_delays_of_a_workspace_are_set_and_held_to_their_bounds() {
    let (world, shop) = world().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    let acme = "/workspaces/acme";
    for (body, words) in [
        (json!({"lease_seconds": 599}), "lease_seconds"),
        (json!({"lease_seconds": 0}), "lease_seconds"),
        (json!({"keep_seconds": -1}), "keep_seconds"),
        (json!({"purge_seconds": 10_000_000_000_u64}), "purge_seconds"),
        (json!({"keep_bytes": -1}), "keep_bytes"),
        (json!({"keep_seconds": null, "purge_seconds": 1.5}), "purge_seconds"),
    ] {
        let _ = problem(patch(&admin, acme, body).await, 400, words);
    }
    let _ = ann.push_image("acme/shop", "v1", "one").await;
    let _ = ann.push_image("acme/shop", "v1", "two").await;
    let none =
        json!({"keep_seconds": 0, "keep_bytes": 0, "purge_seconds": 0, "lease_seconds": 600});
    let set = patch(&admin, acme, none.clone()).await.expect(200).json();
    for (field, value) in none.as_object().expect("fields") {
        assert_eq!(&set[field], value, "{field}");
    }
    assert!(set["usage"]["held"].is_null(), "only where one workspace is asked for: {set}");
    // What was promised before the change was promised for a day.
    days(&world, 2).await;
    let shown = get(&admin, acme).await.expect(200).json();
    let nothing = json!({"bytes": 0, "blobs": 0, "manifests": 0, "at_least": false});
    assert_eq!(shown["usage"]["held"], nothing);
    assert_eq!(shown["usage"]["doomed_bytes"], 0, "the file went at once");
    let late = post(&ann, &format!("{shop}/restore"), json!({"tag": "v1"})).await;
    let _ = problem(late, 404, "put back any more");
    let listed = get(&admin, "/workspaces").await.expect(200).json();
    assert!(listed["items"][0]["usage"].is_null(), "{listed}");
}
