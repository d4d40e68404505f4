//! Many clients that want the same thing at the same time.

use std::sync::Arc;

use standpipe_tests::payload::Payload;
use standpipe_tests::raw::{Style, answered};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::world::World;

const CLIENTS: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_blob_from_many_clients_is_one_object() {
    let world = World::with_packages(&["shop-api", "shop-web"]).await;
    let payload = Payload::new(1, 300_000);
    let barrier = Arc::new(Barrier::new(CLIENTS as usize));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (raw, payload, barrier) = (world.raw(), payload.clone(), Arc::clone(&barrier));
        clients.spawn(async move {
            let name = if number % 2 == 0 { "acme/shop-api" } else { "acme/shop-web" };
            barrier.wait().await;
            answered(raw.upload(name, &payload, Style::Put).await).status
        });
    }
    assert_eq!(clients.join_all().await, vec![201; CLIENTS as usize]);
    assert_eq!(world.server.objects().len(), 1);
    assert!(world.server.unfinished().is_empty());
    for name in ["acme/shop-api", "acme/shop-web"] {
        assert_eq!(world.raw().pull_blob(name, &payload.digest()).await, payload.digest());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_many_clients_push_names_one_whole_image_of_theirs() {
    let world = World::with_packages(&["shop-api"]).await;
    let mut manifests = Vec::new();
    for seed in 0..CLIENTS {
        manifests.push(world.raw().push_image("acme/shop-api", &format!("own-{seed}"), seed).await);
    }
    let barrier = Arc::new(Barrier::new(manifests.len()));
    let mut clients = JoinSet::new();
    for manifest in manifests.clone() {
        let (raw, barrier) = (world.raw(), Arc::clone(&barrier));
        clients.spawn(async move {
            barrier.wait().await;
            answered(raw.put_manifest("acme/shop-api", "latest", &manifest).await).status
        });
    }
    assert_eq!(clients.join_all().await, vec![201; manifests.len()]);
    let latest = world.raw().manifest("acme/shop-api", "latest").await.expect(200);
    assert!(manifests.iter().any(|manifest| latest.body == manifest.bytes));
}
