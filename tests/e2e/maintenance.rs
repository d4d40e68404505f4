//! `verify`, `backup` and `restore`, run as an operator does, and a damaged blob over a real socket.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Method;
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::environment;
use standpipe_tests::manifest::Manifest;
use standpipe_tests::payload::{Payload, digest_of};
use standpipe_tests::process::{Finished, Program};
use standpipe_tests::raw::{Raw, Style, answered};
use standpipe_tests::server::{ADMIN_PASSWORD, Server, ServerOptions};

use crate::world::World;

const NAME: &str = "acme/shop-api";

async fn world() -> World {
    World::with_packages(&["shop-api"]).await
}

/// A command on data directories.
async fn run(words: &[&str], paths: &[(&str, &Path)]) -> Finished {
    let mut program = Program::new(environment::server_binary()).args(words);
    for (flag, path) in paths {
        program = program.args([flag.as_ref(), path.as_os_str()]);
    }
    program.finish().await
}

async fn verify(data: &Path) -> Finished {
    run(&["verify"], &[("--data-dir", data)]).await
}

/// A command to the running server.
async fn admin(server: &Server, words: &[&str]) -> Finished {
    Program::new(environment::server_binary())
        .args(["admin"])
        .args(words)
        .env("STANDPIPE_SERVER", server.url())
        .env("STANDPIPE_USERNAME", "admin")
        .env("STANDPIPE_PASSWORD", ADMIN_PASSWORD)
        .finish()
        .await
}

/// The object with this digest.
fn object_of(server: &Server, digest: &str) -> PathBuf {
    let has = |path: &PathBuf| digest_of(&fs::read(path).expect("our own file")) == digest;
    server.objects().into_iter().find(has).expect("it was pushed")
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("our own file");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("our own file");
}

/// Layers of the images that [`Raw::push_image`] makes.
fn layers(seed: u64) -> [Payload; 2] {
    [Payload::new(seed, 3000), Payload::new(seed ^ 0xFF, 70_000)]
}

async fn pulls(raw: &Raw, tag: &str, image: &Manifest, seed: u64) {
    assert_eq!(raw.manifest(NAME, tag).await.expect(200).body, image.bytes);
    for layer in layers(seed) {
        assert_eq!(raw.pull_blob(NAME, &layer.digest()).await, layer.digest());
    }
}

#[tokio::test]
async fn a_pull_of_a_damaged_blob_breaks_the_connection_off_and_a_push_heals_it() {
    let world = world().await;
    let raw = world.raw();
    for (seed, length, at) in [(1, 100, 99), (2, 70_000, 0), (3, 5_000_000, 4_999_999)] {
        let blob = Payload::new(seed, length);
        let _ = answered(raw.upload(NAME, &blob, Style::Put).await).expect(201);
        flip(&object_of(&world.server, &blob.digest()), at);
        let path = format!("/v2/{NAME}/blobs/{}", blob.digest());
        let mut response = raw.begin(Method::GET, &path, &[]).await;
        assert_eq!(response.content_length(), Some(length));
        let mut arrived = 0;
        let ended = loop {
            match response.chunk().await {
                Ok(Some(piece)) => arrived += piece.len() as u64,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(ended.is_err(), "{length}: the client must see that it failed");
        assert!(arrived < length, "{length}: {arrived} bytes came");
        let _ = raw.head(&path).await.expect(404);
        raw.get(&path).await.refused(500, "UNKNOWN");
        let log = world.server.stderr();
        assert!(log.contains(&blob.digest()) && log.contains("damaged"), "{log}");
        let _ = answered(raw.upload(NAME, &blob, Style::Put).await).expect(201);
        assert_eq!(raw.pull_blob(NAME, &blob.digest()).await, blob.digest());
    }
    let told = admin(&world.server, &["verify"]).await.succeeded();
    assert!(told.stdout.contains("3 objects") && told.stdout.contains("all is well"), "{told}");
}

#[tokio::test]
async fn verify_says_what_is_wrong_and_what_to_do_about_it() {
    let mut world = world().await;
    let data = world.server.data();
    let _ = world.raw().push_image(NAME, "latest", 7).await;
    let running = verify(&data).await.ended_with(1);
    assert!(running.stderr.contains("standpipe-server admin verify"), "{running}");
    let _ = world.server.stop().await;
    let clean = verify(&data).await.succeeded();
    assert!(clean.stdout.contains("3 objects") && clean.stdout.contains("all is well"), "{clean}");

    let [small, large] = layers(7);
    flip(&object_of(&world.server, &large.digest()), 1234);
    fs::remove_file(object_of(&world.server, &small.digest())).expect("our own file");
    let before = world.server.objects();
    let wrong = verify(&data).await.ended_with(1);
    for layer in [&small, &large] {
        let line = wrong.stdout.lines().find(|line| line.contains(&layer.digest()));
        assert!(line.is_some_and(|line| line.starts_with("wrong: blob ")), "{wrong}");
    }
    assert_eq!(wrong.stdout.matches("  to do: push an image with this blob").count(), 2, "{wrong}");
    assert!(wrong.stderr.contains("2 things are wrong"), "{wrong}");
    assert!(!wrong.stderr.contains("panicked"), "{wrong}");
    assert_eq!(world.server.objects(), before, "nothing is deleted");

    world.server.start_again().await;
    let wrong = admin(&world.server, &["verify", "--rate", "1000000"]).await.ended_with(1);
    assert_eq!(wrong.stdout.matches("  to do: push an image with this blob").count(), 2, "{wrong}");
    let _ = world.raw().push_image(NAME, "latest", 7).await;
    let clean = admin(&world.server, &["verify"]).await.succeeded();
    assert!(clean.stdout.contains("all is well"), "{clean}");
    let json = admin(&world.server, &["--json", "verify", "--resume"]).await.succeeded();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("nothing but JSON");
    assert_eq!((&json["wrong"], &json["objects"]), (&0.into(), &3.into()));
}

#[tokio::test]
async fn a_restored_backup_serves_what_was_backed_up() {
    let mut world = world().await;
    let first = world.raw().push_image(NAME, "first", 1).await;
    let folder = temporary_directory("backup");
    let (place, restored) = (folder.path().join("backup"), folder.path().join("restored"));
    let data = world.server.data();
    let backup = async || run(&["backup"], &[("--data-dir", &data), ("--to", &place)]).await;
    let restore =
        async |to: &Path| run(&["restore"], &[("--from", &place), ("--data-dir", to)]).await;
    let running = backup().await.ended_with(1);
    assert!(running.stderr.contains("standpipe-server admin backup"), "{running}");
    let _ = world.server.stop().await;
    let told = backup().await.succeeded();
    assert!(told.stdout.contains("backed up 3 objects") && told.stdout.contains("3 of them new"));
    world.server.start_again().await;
    let second = world.raw().push_image(NAME, "second", 2).await;
    let _ = world.server.stop().await;
    let told = backup().await.succeeded();
    assert!(told.stdout.contains("backed up 6 objects") && told.stdout.contains("3 of them new"));
    let _ = verify(&place).await.succeeded();

    let told = restore(&restored).await.succeeded();
    assert!(told.stdout.contains("restored 6 objects"), "{told}");
    assert!(!place.join("ballast").exists(), "reading a backup adds nothing to it");
    let again = restore(&restored).await.ended_with(1);
    assert!(again.stderr.contains("is not empty; restore into a new directory"), "{again}");
    let _ = verify(&restored).await.succeeded();
    let options = ServerOptions { data: Some(restored.clone()), ..ServerOptions::default() };
    let mut server = Server::start_with(options).await;
    pulls(&server.raw(), "first", &first, 1).await;
    pulls(&server.raw(), "second", &second, 2).await;
    let _ = server.raw().push_image(NAME, "third", 3).await;
    let _ = server.stop().await;
    // The directory belongs to a server now: a backup into it would take the third image away.
    let words = [("--data-dir", data.as_path()), ("--to", &restored)];
    let refused = run(&["backup"], &words).await.ended_with(1);
    assert!(refused.stderr.contains("not a backup"), "{refused}");
    let _ = verify(&restored).await.succeeded();
}

#[tokio::test]
async fn maintenance_of_the_wrong_directory_is_refused_in_words_and_changes_nothing() {
    let mut world = world().await;
    let data = world.server.data();
    let _ = world.raw().push_image(NAME, "latest", 1).await;
    let _ = world.server.stop().await;
    let folder = temporary_directory("wrong");
    let (nothing, foreign) = (folder.path().join("nothing"), folder.path().join("foreign"));
    fs::create_dir(&foreign).expect("our own folder");
    fs::write(foreign.join("thesis.txt"), "x").expect("our own folder");
    let to = folder.path().join("to");
    for refused in [
        verify(&nothing).await,
        run(&["backup"], &[("--data-dir", &nothing), ("--to", &to)]).await,
        run(&["restore"], &[("--from", &nothing), ("--data-dir", &to)]).await,
    ] {
        let refused = refused.ended_with(1);
        assert!(refused.stderr.contains("is no Standpipe data directory"), "{refused}");
    }
    assert!(!nothing.exists() && !to.exists(), "nothing is made");
    for refused in [
        run(&["backup"], &[("--data-dir", &data), ("--to", &foreign)]).await,
        run(&["restore"], &[("--from", &data), ("--data-dir", &foreign)]).await,
    ] {
        let refused = refused.ended_with(1);
        assert!(refused.stderr.contains("thesis.txt"), "{refused}");
    }
    assert_eq!(fs::read_dir(&foreign).expect("our own folder").count(), 1);
    let own = run(&["backup"], &[("--data-dir", &data), ("--to", &data)]).await.ended_with(1);
    assert!(own.stderr.contains("in use"), "{own}");
}

#[tokio::test]
async fn a_backup_with_damage_says_so_and_has_the_rest() {
    let mut world = world().await;
    let image = world.raw().push_image(NAME, "latest", 1).await;
    let _ = world.raw().push_image(NAME, "damaged", 2).await;
    let _ = world.server.stop().await;
    let [small, _] = layers(2);
    flip(&object_of(&world.server, &small.digest()), 0);
    let folder = temporary_directory("backup");
    let (place, restored) = (folder.path().join("backup"), folder.path().join("restored"));
    let data = world.server.data();
    let told = run(&["backup"], &[("--data-dir", &data), ("--to", &place)]).await.ended_with(1);
    assert!(told.stdout.contains("backed up 5 objects"), "{told}");
    let line = format!("not copied, because it is damaged or missing: blob {}", small.digest());
    assert!(told.stderr.contains(&line), "{told}");
    let told = run(&["restore"], &[("--from", &place), ("--data-dir", &restored)]).await;
    assert!(told.ended_with(1).stderr.contains(&line));
    let options = ServerOptions { data: Some(restored), ..ServerOptions::default() };
    let server = Server::start_with(options).await;
    pulls(&server.raw(), "latest", &image, 1).await;
    let blob = format!("/v2/{NAME}/blobs/{}", small.digest());
    server.raw().get(&blob).await.refused(500, "UNKNOWN");
    let healed = server.raw().push_image(NAME, "damaged", 2).await;
    pulls(&server.raw(), "damaged", &healed, 2).await;
}

#[tokio::test]
async fn a_running_server_is_backed_up_by_name() {
    let folder = temporary_directory("backups");
    let directory = folder.path().display();
    let config = Some(format!("backup:\n  directory: {directory}\n"));
    let options = ServerOptions { config, ..ServerOptions::default() };
    let world = World::with_options(options, &["shop-api"]).await;
    let image = world.raw().push_image(NAME, "latest", 1).await;
    let told = admin(&world.server, &["backup", "nightly"]).await.succeeded();
    assert!(
        told.stdout.contains("backed up 3 objects") && told.stdout.contains("nightly"),
        "{told}"
    );
    let _ = admin(&world.server, &["backup", "../elsewhere"]).await.ended_with(1);
    let place = folder.path().join("nightly");
    let _ = verify(&place).await.succeeded();
    fs::create_dir(folder.path().join("taken")).expect("our own folder");
    fs::write(folder.path().join("taken/thesis.txt"), "x").expect("our own folder");
    let failed = admin(&world.server, &["backup", "taken"]).await.ended_with(1);
    assert!(failed.stderr.contains("thesis.txt"), "{failed}");

    let [small, _] = layers(1);
    flip(&object_of(&world.server, &small.digest()), 0);
    let again = admin(&world.server, &["backup", "nightly"]).await.succeeded();
    assert!(again.stdout.contains("0 of them new"), "what is there is sound: {again}");
    let fresh = admin(&world.server, &["backup", "fresh"]).await.ended_with(1);
    assert!(fresh.stdout.contains(&format!("missing: blob {}", small.digest())), "{fresh}");

    // A backup is a data directory: a server can be started on it, best on a copy.
    let options = ServerOptions { data: Some(place), ..ServerOptions::default() };
    let server = Server::start_with(options).await;
    pulls(&server.raw(), "latest", &image, 1).await;
}
