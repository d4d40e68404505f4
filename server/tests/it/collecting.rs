//! Collection as the registry runs it: what is damaged does not stop it, and uploads end when nothing
//! has come for a lease, however long ago they began.

use crate::harness::{Settings, World};
use crate::rows::seal;
use axum::http::Method;
use redb::{Database, ReadableTable as _, TableDefinition};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Collects until nothing is due.
async fn settle(world: &World) {
    while world.app.registry.collect().await.expect("a sound disk").more {}
}

#[tokio::test]
async fn one_record_that_cannot_be_read_does_not_stop_collection() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    for content in ["one", "two", "three"] {
        ann.push_blob("acme/shop", content.as_bytes()).await;
    }
    drop(ann);
    let directory = world.close();
    let database = Database::open(directory.path().join("meta.redb")).expect("nobody has it open");
    let transaction = database.begin_write().expect("our own database");
    {
        let links: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("link");
        let mut links = transaction.open_table(links).expect("a table");
        let key = links.first().expect("rows").expect("three links").0.value().to_vec();
        let value = seal("link", &key, &[0xff; 3]);
        links.insert(&key[..], &value[..]).expect("a row");
    }
    transaction.commit().expect("committed");
    drop(database);
    let world = World::open(directory, Settings::default()).await;
    world.clock.advance(HOUR * 40);
    settle(&world).await;
    let done = world.app.registry.collection_statistics();
    assert_eq!(done.blobs, 2, "the others were collected");
    assert!(done.failures >= 1, "and it was counted");
}

#[tokio::test]
async fn an_upload_ends_a_lease_after_its_last_byte_and_not_after_its_beginning() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let location = ann.start_upload("acme/shop").await;
    for _ in 0..3 {
        world.clock.advance(HOUR * 20);
        settle(&world).await;
        let chunk = ann.send(Method::PATCH, &location, &[], "some bytes").await;
        let _ = chunk.expect(202);
    }
    // It is looked at every few hours.
    for _ in 0..10 {
        world.clock.advance(HOUR * 3);
        settle(&world).await;
    }
    let gone = ann.send(Method::GET, &location, &[], "").await;
    let _ = gone.expect(404);
    assert_eq!(world.app.registry.collection_statistics().uploads, 1);
}

#[tokio::test]
async fn what_is_collected_leaves_no_object_and_no_byte() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    ann.push_blob("acme/shop", b"nobody wants this").await;
    world.clock.advance(HOUR * 30);
    settle(&world).await;
    world.clock.advance(HOUR * 2);
    settle(&world).await;
    settle(&world).await;
    assert!(world.objects().is_empty());
    let done = world.app.registry.collection_statistics();
    assert_eq!((done.objects, done.bytes), (1, 17));
    let backlog = world.app.registry.backlog().await.expect("rows");
    assert_eq!((backlog.due, backlog.doomed), (0, 0));
}
