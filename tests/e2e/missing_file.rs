//! A blob's file that somebody removed: an error for whoever asks for it, an alarm for the operator.

use std::fs;

use reqwest::Method;
use standpipe_tests::payload::Payload;
use standpipe_tests::raw::{Style, answered};

use crate::world::World;

const NAME: &str = "acme/shop-api";

#[tokio::test]
async fn a_missing_file_is_told_and_logged_and_other_blobs_are_served() {
    let mut world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let [gone, there] = [Payload::new(1, 500_000), Payload::new(2, 500_000)];
    let _ = answered(raw.upload(NAME, &gone, Style::Put).await).expect(201);
    let file = world.server.objects().remove(0);
    let _ = answered(raw.upload(NAME, &there, Style::Put).await).expect(201);
    fs::remove_file(&file).expect("our own file can be removed");
    let object = file.file_name().expect("a name").to_string_lossy().into_owned();
    for restarted in [false, true] {
        if restarted {
            assert!(world.server.stop().await.success());
            world.server.start_again().await;
        }
        let path = format!("/v2/{NAME}/blobs/{}", gone.digest());
        let id = format!("alarm-{restarted}");
        let headers = [("x-request-id", id.as_str())];
        let failed = answered(raw.send(Method::GET, &path, &headers, "").await);
        failed.refused(500, "UNKNOWN");
        let log = world.server.stderr();
        let alarm = log.lines().find(|line| line.contains("ERROR") && line.contains(&id));
        // Once it is known to be damaged, the line names the blob.
        let digest = gone.digest().to_string();
        let names = |line: &str| line.contains(&object) || line.contains(&digest);
        assert!(alarm.is_some_and(names), "{alarm:?}");
        assert_eq!(raw.pull_blob(NAME, &there.digest()).await, there.digest());
    }
}
