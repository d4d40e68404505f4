//! One story from the first push to the last receipt.

use super::*;

#[tokio::test]
async fn from_a_push_over_undo_and_deletion_to_a_receipt() {
    let (world, shop) = world().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    let acme = "/workspaces/acme";

    // Ann overwrites a tag by mistake and undoes it.
    let first = ann.push_image("acme/shop", "v1", "one").await;
    world.clock.advance(HOUR);
    let second = ann.push_image("acme/shop", "v1", "second").await;
    world.clock.advance(HOUR);
    let held = get(&admin, acme).await.expect(200).json()["usage"]["held"].clone();
    let bytes = size(&first) + 3;
    assert_eq!(held, json!({"bytes": bytes, "blobs": 1, "manifests": 1, "at_least": false}));
    let _ = post(&ann, &format!("{shop}/restore"), json!({"tag": "v1"})).await.expect(204);
    let pulled = ann.get("/v2/acme/shop/manifests/v1").await.expect(200);
    assert_eq!(pulled.header("docker-content-digest"), first.digest());

    let back = deleted_and_back(&world, &shop, &first).await;

    // The second image is still kept; nobody needs it, so its space is taken back now.
    let _ = problem(post(&ann, &format!("{shop}/reclaim"), json!({})).await, 403, "admin");
    let freed = post(&admin, &format!("{shop}/reclaim"), json!({})).await.expect(200).json();
    let expected = json!({
        "events": 2,
        "bytes": size(&second) + 6,
        "manifests": 1,
        "manifest_bytes": size(&second),
        "blobs": 1,
        "blob_bytes": 6,
        "waiting": 0,
        "waiting_until": null,
    });
    assert_eq!(freed, expected);
    let _ = ann.get(&format!("/v2/acme/shop-old/manifests/{}", second.digest())).await.expect(404);
    let held = get(&admin, acme).await.expect(200).json()["usage"]["held"].clone();
    assert_eq!(held["bytes"], 0, "{held}");

    // The receipt says whose event it was.
    let receipts = items(&admin, &format!("{acme}/receipts")).await;
    assert_eq!(receipts.len(), 1, "{receipts:?}");
    let (receipt, event) = (&receipts[0], &receipts[0]["event"]);
    assert_eq!((&receipt["bytes"], &receipt["blobs"]), (&freed["bytes"], &json!(1)));
    assert_eq!((&event["why"], &event["tag"]), (&json!("tag-moved"), &json!("v1")));
    assert_eq!((&event["by"], &event["digest"]), (&json!("user:ann"), &json!(second.digest())));
    assert_eq!(
        (&event["package"], &event["at"]),
        (&back["id"], &json!("2027-01-15T12:00:00.000Z"))
    );
}

/// The package is deleted, another one takes its name, and it comes back under another one.
async fn deleted_and_back(world: &World, shop: &str, first: &Manifest) -> Value {
    let (admin, ann, bob) =
        (world.client("admin").await, world.client("ann").await, world.client("bob").await);
    let acme = "/workspaces/acme";
    let preview = get(&ann, &format!("{shop}/deletion-preview")).await.expect(200).json();
    assert_eq!((&preview["manifests"], &preview["blobs"]), (&json!(2), &json!(3)));
    let _ = delete(&admin, shop).await.expect(204);
    let gone = get(&ann, &format!("{shop}/kept")).await;
    let _ = problem(gone, 404, "package");
    let deleted = items(&admin, &format!("{acme}/deleted-packages")).await;
    let path = format!("{acme}/packages/{}", deleted[0]["id"]);
    assert_eq!(path, shop);
    let expected = json!({
        "id": deleted[0]["id"],
        "name": "shop",
        "repository": "shop",
        "until": "2027-01-22T12:00:00.000Z",
        "by": "user:admin",
        "at": "2027-01-15T12:00:00.000Z",
    });
    assert_eq!(deleted, [expected]);
    let again = json!({"name": "shop", "repository": "shop"});
    let _ = post(&admin, &format!("{acme}/packages"), again).await.expect(201);
    days(world, 6).await;

    // It comes back under another name, with its tag and its history.
    let restore = format!("{shop}/restore");
    let _ = problem(post(&admin, &restore, json!({})).await, 409, "package shop");
    let back = post(&admin, &restore, json!({"name": "shop-old"})).await.expect(200).json();
    assert_eq!((&back["id"], &back["name"]), (&expected_id(shop), &json!("shop-old")));
    assert_eq!(back["repository"], "shop");
    // Bob cannot push, so that what he is told is no promise that would have to be waited for.
    let pulled = bob.get("/v2/acme/shop-old/manifests/v1").await.expect(200);
    assert_eq!(pulled.header("docker-content-digest"), first.digest());
    assert_eq!(items(&admin, &format!("{acme}/deleted-packages")).await, Vec::<Value>::new());
    back
}

/// The id at the end of a package's path.
fn expected_id(path: &str) -> Value {
    let id = path.rsplit('/').next().expect("an id");
    id.parse::<u64>().expect("a number").into()
}

#[tokio::test]
async fn a_deleted_package_is_given_up_as_a_whole() {
    let (world, shop) = world().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    let image = ann.push_image("acme/shop", "v1", "one").await;
    let _ = delete(&admin, &shop).await.expect(204);
    world.clock.advance(DAY * 2);
    let reclaim = format!("{shop}/reclaim");
    let part = post(&admin, &reclaim, json!({"tag": "v1"})).await;
    let _ = problem(part, 400, "as a whole");
    let freed = post(&admin, &reclaim, json!({})).await.expect(200).json();
    assert_eq!((&freed["manifests"], &freed["blobs"]), (&json!(1), &json!(2)));
    assert_eq!(freed["bytes"], size(&image) + 5);
    let _ = problem(post(&admin, &reclaim, json!({})).await, 404, "deleted package");
    let _ = problem(post(&admin, &format!("{shop}/restore"), json!({})).await, 404, "deleted");
    let receipts = items(&admin, "/workspaces/acme/receipts").await;
    assert_eq!(receipts[0]["event"]["why"], "package-deleted");
    assert_eq!(receipts[0]["event"]["by"], "user:admin");
}

#[tokio::test]
async fn what_a_client_was_promised_waits_for_its_lease() {
    let (world, shop) = world().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    let first = ann.push_image("acme/shop", "v1", "one").await;
    let _ = ann.push_image("acme/shop", "v1", "two").await;
    let reclaim = format!("{shop}/reclaim");
    let freed = post(&admin, &reclaim, json!({"tag": "v1"})).await.expect(200).json();
    assert_eq!((&freed["events"], &freed["bytes"]), (&json!(1), &json!(0)), "{freed}");
    assert_eq!(freed["waiting"], 1, "{freed}");
    assert_eq!(freed["waiting_until"], "2027-01-16T13:00:00.000Z");
    let _ = ann.get(&format!("/v2/acme/shop/manifests/{}", first.digest())).await.expect(200);
    days(&world, 2).await;
    let _ = ann.get(&format!("/v2/acme/shop/manifests/{}", first.digest())).await.expect(404);
    let receipts = items(&admin, "/workspaces/acme/receipts").await;
    assert_eq!(receipts[0]["bytes"], size(&first) + 3);
}

#[tokio::test]
async fn a_deleted_package_needs_a_repository_to_come_back_to() {
    let (world, _) = world().await;
    let admin = world.client("admin").await;
    let vault = package_id(&admin, "acme", "vault").await;
    let vault = format!("/workspaces/acme/packages/{vault}");
    let _ = delete(&admin, &vault).await.expect(204);
    let _ = delete(&admin, "/workspaces/acme/repositories/vault").await.expect(204);
    let deleted = items(&admin, "/workspaces/acme/deleted-packages").await;
    assert_eq!(deleted[0]["repository"], Value::Null);
    let restore = format!("{vault}/restore");
    let _ = problem(post(&admin, &restore, json!({})).await, 409, "repository");
    let nowhere = post(&admin, &restore, json!({"repository": "nothing"})).await;
    let _ = problem(nowhere, 404, "repository nothing");
    let elsewhere = post(&admin, &restore, json!({"repository": "tool"})).await;
    let _ = problem(elsewhere, 404, "repository tool");
    let back = post(&admin, &restore, json!({"repository": "site"})).await.expect(200).json();
    assert_eq!((&back["name"], &back["repository"]), (&json!("vault"), &json!("site")));
    let _ = delete(&admin, &vault).await.expect(204);
    days(&world, 9).await;
    let late = post(&admin, &restore, json!({"repository": "site"})).await;
    let _ = problem(late, 404, "deleted package");
}
