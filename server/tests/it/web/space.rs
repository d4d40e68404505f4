//! Reclaiming a whole workspace in its page.

use super::Browser;
use crate::harness::World;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn a_workspace_is_reclaimed_after_a_preview_and_tells_what_that_freed() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    for (name, seeds) in [("acme/shop", ["one", "two"]), ("acme/site", ["three", "four"])] {
        for seed in seeds {
            let _ = world.client("admin").await.push_image(name, "latest", seed).await;
        }
    }
    let _ = ann.push_image("other/tool", "latest", "five").await;
    let _ = ann.push_image("other/tool", "latest", "six").await;
    // The promises to those who pushed end.
    world.clock.advance(2 * DAY);
    let mut admin = Browser::signed_in(&world, "admin").await;
    let page = "/w/acme/storage/reclaim";
    let preview = admin.get(page).await.expect(200).text();
    assert!(preview.contains("are held without a tag"), "{preview}");
    assert!(!preview.contains(">0 bytes<"), "{preview}");
    let receipt = admin.submit(page, page, &[]).await.expect(200).text();
    assert!(receipt.contains("are let go now: 2 manifests"), "{receipt}");
    assert!(!receipt.contains("Go on with the next"), "{receipt}");
    let again = admin.submit(page, page, &[]).await.expect(200).text();
    assert!(again.contains("There was nothing to reclaim"), "{again}");
    let preview = admin.get(page).await.expect(200).text();
    assert!(preview.contains(">0 bytes<"), "{preview}");
    let other = admin.get("/w/other/storage/reclaim").await.expect(200).text();
    assert!(!other.contains(">0 bytes<"), "what another workspace keeps stays: {other}");
    let _ = ann.get("/v2/acme/shop/manifests/latest").await.expect(200);
}

#[tokio::test]
async fn deleted_images_go_with_a_reclaim_of_their_workspace() {
    let world = World::new().await;
    let _ = world.client("admin").await.push_image("acme/shop", "latest", "one").await;
    let id = super::package_id(&world, "acme/shop").await;
    let mut admin = Browser::signed_in(&world, "admin").await;
    let delete = format!("/w/acme/packages/{id}/delete");
    assert_eq!(admin.submit(&delete, &delete, &[]).await.status, 303);
    let page = "/w/acme/storage/reclaim";
    let preview = admin.get(page).await.expect(200).text();
    assert!(preview.contains("Deleted images that go with it"), "{preview}");
    let receipt = admin.submit(page, page, &[]).await.expect(200).text();
    // A push was promised its content for a lease, so some of it waits.
    assert!(receipt.contains("are let go now") || receipt.contains("still wait"), "{receipt}");
    let restore = format!("/w/acme/storage/deleted/{id}/restore");
    let _ = admin.submit("/w/acme/storage", &restore, &[]).await.expect(404);
}
