//! Data directories of every format there has been, and of one there has not.
//!
//! `fixtures/format-<n>.tar.gz` is a data directory as the last server with format n left it. Until a
//! format is released its fixture is made again whenever its rows change; from then on it is never
//! touched, and this file shows that its directories open. To make that of the current format:
//!
//! ```text
//! STANDPIPE_MAKE_FIXTURE=1 cargo test -p standpipe-server --test it formats
//! ```

use super::rows::{seal, unseal};
use crate::harness::{Client, INDEX, Manifest, Settings, World, image};
use axum::http::Method;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use redb::{ReadableDatabase as _, ReadableTable as _, TableHandle as _};
use serde_json::json;
use standpipe_server::clock::Clock;
use standpipe_server::data_dir::DataDir;
use standpipe_server::domain::Timestamp;
use standpipe_server::metadata::redb::{OpenError, RedbOptions, RedbStore};
use standpipe_server::registry::startup::Mismatch;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NAME: &str = "acme/shop";
/// It is part of the repository and of every clone.
const LARGEST_FIXTURE: u64 = 200 * 1024;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A bit of everything that rows are about.
async fn fill(world: &World) {
    let ann = world.client("ann").await;
    let old = ann.push_image(NAME, "latest", "old").await;
    let new = ann.push_image(NAME, "latest", "new").await;
    let _ = ann.put_manifest(NAME, "v1", &new).await.expect(201);
    let _ = ann.put_manifest(NAME, "all", &both(&old, &new)).await.expect(201);
    let _ = ann.put_manifest(NAME, "sbom", &about(&new)).await.expect(201);
    let dropped = ann.push_image(NAME, "dropped", "dropped").await;
    let _ = ann.delete(&manifest(&dropped.digest())).await.expect(202);
    let _ = ann.put_manifest(NAME, "gone", &new).await.expect(201);
    let _ = ann.delete(&manifest("gone")).await.expect(202);
    let mount = format!(
        "/v2/acme/shop-web/blobs/uploads/?mount={}&from={NAME}",
        crate::harness::digest(b"new")
    );
    let _ = ann.post(&mount).await.expect(201);
    let upload = ann.start_upload(NAME).await;
    let range = [("content-range", "0-6")];
    let _ = ann.send(Method::PATCH, &upload, &range, "halfway").await.expect(202);
}

fn both(old: &Manifest, new: &Manifest) -> Manifest {
    let manifests = [old.descriptor(), new.descriptor()];
    Manifest::of(INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
}

fn about(subject: &Manifest) -> Manifest {
    let more = json!({"subject": subject.descriptor(), "artifactType": "application/spdx+json"});
    image(&[], &more)
}

fn manifest(reference: &str) -> String {
    format!("/v2/{NAME}/manifests/{reference}")
}

/// Everything that [`fill`] did is there.
async fn assert_filled(world: &World) {
    let ann = world.client("ann").await;
    let (old, new) = (image(&[b"old"], &json!({})), image(&[b"new"], &json!({})));
    let tags = ann.get(&format!("/v2/{NAME}/tags/list")).await.expect(200).json();
    assert_eq!(tags["tags"], json!(["all", "latest", "sbom", "v1"]));
    for (reference, expected) in [
        ("latest", &new),
        ("v1", &new),
        ("all", &both(&old, &new)),
        ("sbom", &about(&new)),
        (&old.digest(), &old),
    ] {
        let served = ann.get(&manifest(reference)).await.expect(200);
        assert_eq!(served.body, expected.bytes, "{reference}");
    }
    let dropped = image(&[b"dropped"], &json!({}));
    for reference in ["gone", "dropped", &dropped.digest()] {
        let _ = ann.get(&manifest(reference)).await.expect(404);
    }
    for name in [NAME, "acme/shop-web"] {
        let blob = format!("/v2/{name}/blobs/{}", crate::harness::digest(b"new"));
        assert_eq!(ann.get(&blob).await.expect(200).body, "new", "{name}");
    }
    let referrers = ann.get(&format!("/v2/{NAME}/referrers/{}", new.digest())).await.expect(200);
    assert_eq!(referrers.json()["manifests"][0]["digest"], about(&new).digest());
    let _ = world.client("eve").await.get(&manifest("latest")).await.expect(404);
    assert_upload_goes_on(world, &ann).await;
}

async fn assert_upload_goes_on(world: &World, ann: &Client) {
    let uploads = world.app.registry.metadata().uploads(None, 10).await.expect("rows");
    assert_eq!(uploads.len(), 1);
    let path = format!("/v2/{NAME}/blobs/uploads/{}", uploads[0].id);
    assert_eq!(ann.get(&path).await.expect(204).header("range"), "0-6");
    let digest = crate::harness::digest(b"halfway there");
    let path = format!("{path}?digest={digest}");
    let _ = ann.send(Method::PUT, &path, &[], " there").await.expect(201);
    let blob = ann.get(&format!("/v2/{NAME}/blobs/{digest}")).await.expect(200);
    assert_eq!(blob.body, "halfway there");
}

async fn assert_sound(world: &World) {
    let wrong = world.app.registry.metadata().check().await.expect("rows of this format");
    assert_eq!(wrong, Vec::<String>::new());
}

async fn make_fixture() {
    let world = World::new().await;
    fill(&world).await;
    let format = world.app.registry.metadata().instance().await.expect("an identity").format;
    let directory = world.close();
    drop(DataDir::hold(directory.path()).expect("nobody else's"));
    fs::create_dir_all(fixtures()).expect("our own folder");
    let path = fixtures().join(format!("format-{format}.tar.gz"));
    let file = fs::File::create(path).expect("our own folder is writable");
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::best()));
    archive.mode(tar::HeaderMode::Deterministic);
    archive.append_dir_all(".", directory.path()).expect("our own folder");
    let file = archive.into_inner().and_then(GzEncoder::finish).expect("a whole archive");
    file.sync_all().expect("a whole archive");
}

/// Archives by their format.
fn archives() -> BTreeMap<u32, PathBuf> {
    let entries = fs::read_dir(fixtures()).expect("fixtures");
    let archives = entries.filter_map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path.file_name()?.to_str()?;
        let format = name.strip_prefix("format-")?.strip_suffix(".tar.gz")?.parse().ok()?;
        Some((format, path))
    });
    archives.collect()
}

fn unpack(archive: &Path) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = fs::File::open(archive).expect("a fixture");
    tar::Archive::new(GzDecoder::new(file)).unpack(directory.path()).expect("an archive");
    directory
}

#[tokio::test]
async fn a_data_directory_of_each_format_opens_with_all_that_was_in_it() {
    if std::env::var_os("STANDPIPE_MAKE_FIXTURE").is_some() {
        make_fixture().await;
    }
    let archives = archives();
    for (format, archive) in &archives {
        assert!(fs::metadata(archive).expect("a file").len() < LARGEST_FIXTURE, "{archive:?}");
        let directory = unpack(archive);
        drop(DataDir::hold(directory.path()).expect("a data directory"));
        let world = World::open(directory, Settings::default()).await;
        let found = world.app.registry.metadata().instance().await.expect("an identity").format;
        assert!(found >= *format, "{found}");
        assert!(archives.contains_key(&found), "the format that is written has no fixture");
        assert_sound(&world).await;
        assert_filled(&world).await;
        world.app.registry.sweep().await.expect("nothing is in the way");
        assert_sound(&world).await;

        let directory = world.close();
        let world = World::open(directory, Settings::default()).await;
        assert_sound(&world).await;
        let _ = world.client("ann").await.push_image(NAME, "latest", "newer").await;
        assert_sound(&world).await;
    }
    assert!(archives.contains_key(&1));
}

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("our own folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
            found.insert(path, Vec::new());
        } else {
            found.insert(path.clone(), fs::read(&path).expect("our own file"));
        }
    }
    found
}

/// Makes the database say that it has another format.
fn set_format(database: &Path, change: impl Fn(u8) -> u8) {
    const META: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("meta");
    let open = redb::Database::create(database).expect("our own database");
    let transaction = open.begin_write().expect("nobody else writes");
    {
        let mut meta = transaction.open_table(META).expect("a table");
        let key = b"instance".as_slice();
        let stored = meta.get(key).expect("a page").expect("an identity").value().to_vec();
        let mut row = unseal(&stored).to_vec();
        // The format is the row's last number, and small ones are one byte.
        let last = row.last_mut().expect("a row of several bytes");
        *last = change(*last);
        let row = seal("meta", key, &row);
        meta.insert(key, row.as_slice()).expect("a page");
    }
    transaction.commit().expect("a disk with space");
}

/// Every row of a database, by table and key.
fn rows(database: &Path) -> BTreeMap<(String, Vec<u8>), Vec<u8>> {
    let open = redb::Database::create(database).expect("our own database");
    let transaction = open.begin_read().expect("a page");
    let mut rows = BTreeMap::new();
    for table in transaction.list_tables().expect("a page") {
        let definition = redb::TableDefinition::<&[u8], &[u8]>::new(table.name());
        let open = transaction.open_table(definition).expect("a table");
        for row in open.iter().expect("a page") {
            let (key, value) = row.expect("a page");
            let key = (table.name().to_owned(), key.value().to_vec());
            rows.insert(key, value.value().to_vec());
        }
    }
    rows
}

#[tokio::test]
async fn a_database_of_a_newer_format_is_refused_with_words_and_left_as_it_was() {
    let world = World::new().await;
    let known = world.app.registry.metadata().instance().await.expect("an identity").format;
    let directory = world.close();
    let database = directory.path().join("meta.redb");
    set_format(&database, |format| format + 1);
    let rows_before = rows(&database);
    let mut before = contents(directory.path());
    // redb notes which of its pages are free whenever it closes a file; what counts is our rows.
    before.remove(&database);
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let refused = RedbStore::open(&database, RedbOptions::default(), clock).expect_err("newer");
    assert!(
        matches!(refused, OpenError::NewerFormat { found, known: ours } if found == known + 1 && ours == known),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("use a newer server"), "{refused}");
    assert!(rows(&database) == rows_before, "a row was written");
    let mut after = contents(directory.path());
    assert!(after.remove(&database).is_some() && after == before, "another file was written");
    // The server that wrote it goes on as if nothing had happened.
    set_format(&database, |format| format - 1);
    let world = World::open(directory, Settings::default()).await;
    assert_sound(&world).await;
}

#[tokio::test]
async fn blobs_of_a_newer_format_are_refused_with_words_and_left_as_they_were() {
    let world = World::new().await;
    let identity = world.directory().join("blobs/instance");
    let text = fs::read_to_string(&identity).expect("the identity lies beside the blobs");
    let mut newer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    newer["format"] = json!(newer["format"].as_u64().expect("a number") + 1);
    fs::write(&identity, newer.to_string()).expect("our own file");
    let before = contents(&world.directory().join("blobs"));
    let refused = world.app.registry.check_identity().await.expect_err("newer");
    assert!(matches!(refused, Mismatch::NewerFormat(_)), "{refused:?}");
    assert!(refused.to_string().contains("use a newer server"), "{refused}");
    assert!(contents(&world.directory().join("blobs")) == before, "something was written");
}
