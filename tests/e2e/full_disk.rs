//! A disk that fills up: uploads are refused in time, pulls and deletions go on, nothing is lost.

use standpipe_tests::clients;
use standpipe_tests::disk::SmallFileSystem;
use standpipe_tests::payload::Payload;
use standpipe_tests::raw::{Style, answered};
use standpipe_tests::server::ServerOptions;

use crate::world::World;

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn a_full_disk_refuses_uploads_while_pulls_and_deletions_go_on() {
    let Some(disk) = SmallFileSystem::mount(64).await else {
        return clients::skip("a small file system must be mounted by root");
    };
    let config =
        "space:\n  soft_bytes: 12582912\n  hard_bytes: 4194304\n  ballast_bytes: 2097152\n";
    let options = ServerOptions {
        config: Some(config.to_owned()),
        data: Some(disk.path().join("data")),
        ..ServerOptions::default()
    };
    let mut world = World::with_options(options, &["shop-api"]).await;
    let raw = world.raw();
    let manifest = raw.push_image("acme/shop-api", "latest", 1).await;
    let mut stored = Vec::new();
    let refused = loop {
        let payload = Payload::new(100 + stored.len() as u64, 3 * MIB);
        let answer = answered(raw.upload("acme/shop-api", &payload, Style::Put).await);
        if answer.status != 201 {
            break answer;
        }
        stored.push(payload);
        assert!(stored.len() < 30, "more was stored than fits");
    };
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert!(!refused.error_code().is_empty(), "{}", refused.text());
    assert!(stored.len() >= 8, "refused with most of the disk free: {}", stored.len());

    for payload in &stored {
        assert_eq!(raw.pull_blob("acme/shop-api", &payload.digest()).await, payload.digest());
    }
    let _ = raw.delete("/v2/acme/shop-api/manifests/latest").await.expect(202);
    let _ = raw.manifest("acme/shop-api", "latest").await.expect(404);
    let kept = raw.manifest("acme/shop-api", &manifest.digest()).await.expect(200);
    assert_eq!(kept.body, manifest.bytes);

    world.server.kill();
    world.server.start_again().await;
    for payload in &stored {
        assert_eq!(raw.pull_blob("acme/shop-api", &payload.digest()).await, payload.digest());
    }
}

#[tokio::test]
async fn a_disk_that_somebody_else_filled_loses_nothing_and_recovers_without_a_restart() {
    let Some(disk) = SmallFileSystem::mount(96).await else {
        return clients::skip("a small file system must be mounted by root");
    };
    let config = "space:\n  soft_bytes: 8388608\n  hard_bytes: 2097152\n  ballast_bytes: 1048576\n";
    let options = ServerOptions {
        config: Some(config.to_owned()),
        data: Some(disk.path().join("data")),
        ..ServerOptions::default()
    };
    let world = World::with_options(options, &["shop-api"]).await;
    let raw = world.raw();
    let manifest = raw.push_image("acme/shop-api", "latest", 1).await;
    let hog = disk.path().join("hog");
    // Writing ends where the file system does.
    let _ = Payload::new(9, 1024 * MIB).write_to(&hog);

    let payload = Payload::new(10, MIB);
    let refused = answered(raw.upload("acme/shop-api", &payload, Style::Put).await);
    assert_eq!(refused.status, 507, "{}", refused.text());
    let pulled = raw.manifest("acme/shop-api", "latest").await.expect(200);
    assert_eq!(pulled.body, manifest.bytes);
    let _ = raw.delete("/v2/acme/shop-api/manifests/latest").await.expect(202);

    std::fs::remove_file(&hog).expect("our own file can be removed");
    standpipe_tests::poll::until("recovery", std::time::Duration::from_secs(120), async || {
        let answer = answered(raw.upload("acme/shop-api", &payload, Style::Put).await);
        (answer.status == 201).then_some(()).ok_or_else(|| answer.text())
    })
    .await;
    assert_eq!(raw.pull_blob("acme/shop-api", &payload.digest()).await, payload.digest());
}

#[tokio::test]
async fn a_disk_without_a_free_inode_refuses_uploads_and_recovers_without_a_restart() {
    let Some(disk) = SmallFileSystem::mount_with("size=512m,nr_inodes=2000").await else {
        return clients::skip("a small file system must be mounted by root");
    };
    let data = Some(disk.path().join("data"));
    // Marks of next to nothing, so that what is met is the end itself.
    let config = "space:\n  soft_bytes: 1\n  hard_bytes: 0\n  ballast_bytes: 0\n".to_owned();
    let options = ServerOptions { config: Some(config), data, ..ServerOptions::default() };
    let mut world = World::with_options(options, &["shop-api"]).await;
    let raw = world.raw();
    let manifest = raw.push_image("acme/shop-api", "latest", 1).await;
    let hogs = disk.path().join("hogs");
    std::fs::create_dir(&hogs).expect("our own folder is writable");
    let hoggish =
        (0..).take_while(|number| std::fs::File::create(hogs.join(number.to_string())).is_ok());
    assert!(hoggish.count() > 1000, "inodes are not what runs out");

    let payload = Payload::new(10, MIB);
    for style in [Style::Put, Style::Single, Style::Chunked(100_000)] {
        let refused = answered(raw.upload("acme/shop-api", &payload, style).await);
        assert_eq!(refused.status, 507, "{}", refused.text());
    }
    let pulled = raw.manifest("acme/shop-api", "latest").await.expect(200);
    assert_eq!(pulled.body, manifest.bytes);
    let _ = raw.delete("/v2/acme/shop-api/manifests/latest").await.expect(202);
    let before = world.server.objects().len();

    std::fs::remove_dir_all(&hogs).expect("our own folder can be removed");
    standpipe_tests::poll::until("recovery", std::time::Duration::from_secs(120), async || {
        let answer = answered(raw.upload("acme/shop-api", &payload, Style::Put).await);
        (answer.status == 201).then_some(()).ok_or_else(|| answer.text())
    })
    .await;
    assert_eq!(raw.pull_blob("acme/shop-api", &payload.digest()).await, payload.digest());
    assert_eq!(world.server.objects().len(), before + 1, "nothing of what was refused is left");
    assert!(world.server.unfinished().is_empty());
    world.server.kill();
    world.server.start_again().await;
    assert_eq!(raw.pull_blob("acme/shop-api", &payload.digest()).await, payload.digest());
}
