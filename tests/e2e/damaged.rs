//! A database file that something else has damaged: the server refuses it with advice, or answers
//! what it can still read and nothing wrong.

use std::fs;

use standpipe_tests::process::Finished;
use standpipe_tests::server::Server;

use crate::world::World;

const NAME: &str = "acme/shop-api";
/// Pages of the database, in bytes.
const PAGE: usize = 4096;

/// What is damaged, and how.
type Damage = (&'static str, fn(&mut Vec<u8>));

const DAMAGES: [Damage; 6] = [
    ("the first bytes are gone", |file| file[..64].fill(0)),
    ("the first page is noise", |file| file[..PAGE].iter_mut().for_each(|byte| *byte ^= 0x5a)),
    ("the file ends in the middle", |file| file.truncate(file.len() / 2)),
    ("the file ends in the first page", |file| file.truncate(100)),
    ("every page but the first is noise", |file| {
        file[PAGE..].iter_mut().for_each(|byte| *byte ^= 0x5a);
    }),
    ("every page says that it has very many rows", |file| {
        file[PAGE..].chunks_mut(PAGE).for_each(|page| page[2..6].fill(0xff));
    }),
];

#[tokio::test]
async fn a_damaged_database_is_refused_with_the_advice_to_restore_a_backup() {
    let mut world = World::with_packages(&["shop-api"]).await;
    let _ = world.raw().push_image(NAME, "latest", 1).await;
    let _ = world.server.stop().await;
    let path = world.server.data().join("meta.redb");
    let whole = fs::read(&path).expect("our own folder is readable");
    for (what, damage) in DAMAGES {
        let mut damaged = whole.clone();
        damage(&mut damaged);
        fs::write(&path, damaged).expect("our own folder is writable");
        let refused = Server::refused(&world.server.data(), None).await;
        assert_advice(what, &refused);
    }
    fs::write(&path, whole).expect("our own folder is writable");
    world.server.start_again().await;
    let _ = world.raw().manifest(NAME, "latest").await.expect(200);
}

fn assert_advice(what: &str, refused: &Finished) {
    assert!(refused.code.is_some_and(|code| code != 0), "{what}: {refused}");
    assert!(
        refused.stderr.contains("restore the data directory from a backup"),
        "{what}: {refused}"
    );
    assert!(!refused.stderr.contains("panicked"), "{what}: {refused}");
    assert!(refused.stderr.lines().count() <= 3, "{what}: {refused}");
}

#[tokio::test]
async fn a_manifest_whose_stored_bytes_changed_is_an_error_and_the_others_are_served() {
    let mut world = World::with_packages(&["shop-api"]).await;
    let damaged = world.raw().push_image(NAME, "damaged", 1).await;
    let good = world.raw().push_image(NAME, "good", 2).await;
    let _ = world.server.stop().await;
    let path = world.server.data().join("meta.redb");
    let mut file = fs::read(&path).expect("our own folder is readable");
    let (mut from, mut copies) = (0, 0);
    // Older copies of the page may be left in the file; which one is in use is not ours to know.
    while let Some(at) = position(&file[from..], &damaged.bytes) {
        file[from + at + 10] ^= 1;
        from += at + 1;
        copies += 1;
    }
    assert!(copies > 0, "manifests are stored as they were pushed");
    fs::write(&path, file).expect("our own folder is writable");

    world.server.start_again().await;
    let raw = world.raw();
    for reference in ["damaged", &damaged.digest()] {
        raw.manifest(NAME, reference).await.refused(500, "UNKNOWN");
    }
    let served = raw.manifest(NAME, "good").await.expect(200);
    assert_eq!(served.body, good.bytes);
    let _ = raw.push_image(NAME, "another", 3).await;
    let log = world.server.stderr();
    assert!(log.contains("damaged"), "the operator is told: {log}");
}

fn position(text: &[u8], searched: &[u8]) -> Option<usize> {
    text.windows(searched.len()).position(|window| window == searched)
}
