//! What pages cost with ten thousand packages and a hundred thousand tags, counted in rows read.
//! Times are said and not judged.

use super::{Browser, package_id};
use crate::harness::{Client, IMAGE, World, image};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use standpipe_server::clock::Stopwatch;
use standpipe_server::domain::{Algorithm, Change, ManifestView, PackageId, Tag, Timestamp};
use standpipe_server::metadata::{MetadataStore, NewManifest, Target};
use std::io::Write as _;
use std::sync::Arc;

const AT_ONCE: usize = 256;
/// Most rows that a page may read, whatever there is. The pages of storage search in part, and say so.
const MOST_ROWS: u64 = 2_500;
const MOST_ROWS_OF_STORAGE: u64 = 12_000;
/// A filter of the audit log looks through the last events, and says so.
const MOST_ROWS_OF_AUDIT: u64 = 60_000;

fn change() -> Change {
    Change::by_server("test")
}

/// Small by default, so that every run is quick; `STANDPIPE_SOAK` fills the sizes of the issue.
fn sizes() -> (usize, usize) {
    if std::env::var_os("STANDPIPE_SOAK").is_some() { (10_000, 100_000) } else { (2_000, 10_000) }
}

async fn fill(world: &World, ann: &Client) -> PackageId {
    let (packages, tags) = sizes();
    let store: Arc<dyn MetadataStore> = Arc::clone(world.app.registry.metadata());
    let workspace =
        store.workspace(&"acme".parse().expect("it fits")).await.expect("it fits").expect("acme");
    let shop = store
        .repository(workspace.id, &"shop".parse().expect("it fits"))
        .await
        .expect("it fits")
        .expect("shop");
    let create = |number: usize| {
        let store = Arc::clone(&store);
        async move {
            let name = format!("many/p{number:05}").parse().expect("it fits");
            store.create_package(&change(), workspace.id, &name, shop.id).await.expect("it fits");
        }
    };
    stream::iter((0..packages).map(create)).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    let base = ann.push_image("acme/shop", "base", "base").await;
    let id = PackageId(package_id(world, "acme/shop").await.parse().expect("it fits"));
    // A few tags on each of many images of the same content.
    let push = |number: usize| {
        let store = Arc::clone(&store);
        let manifest = image(&[b"base"], &json!({"annotations": {"number": number.to_string()}}));
        async move {
            let view = ManifestView::parse(IMAGE, &manifest.bytes, 100).expect("it fits");
            let names =
                (0..4).map(|part| format!("v{number:06}-{part}").parse::<Tag>().expect("it fits"));
            let new = NewManifest {
                digest: Algorithm::Sha256.hash(&manifest.bytes),
                media_type: IMAGE.to_owned(),
                bytes: manifest.bytes.clone().into(),
                view,
                tags: names.collect(),
            };
            store.put_manifest(&change(), &Target::Existing(id), new).await.expect("it fits");
        }
    };
    stream::iter((0..tags / 4).map(push)).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    drop(base);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_reads_a_bounded_number_of_rows_however_much_there_is() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let id = fill(&world, &ann).await;
    world.clock.advance(std::time::Duration::from_secs(1));
    let _ = ann.push_image("acme/shop", "fresh", "fresh").await;
    let mut admin = Browser::signed_in(&world, "admin").await;
    let made = admin.submit("/w/acme/robots", "/w/acme/robots", &[("name", "bot")]).await;
    assert_eq!(made.status, 303);
    let mut bob = Browser::signed_in(&world, "bob").await;
    let package = format!("/w/acme/packages/{id}");
    let pages = pages(&package);
    for page in &pages {
        for (who, browser) in [("admin", &mut admin), ("bob", &mut bob)] {
            if who == "bob" && page.ends_with("/vault") {
                continue;
            }
            let rows = rows_of(&world, browser, who, page).await;
            // What a reader may see is found in at most so many rows of the index.
            assert!(rows <= MOST_ROWS + 4_000, "{page} as {who}: {rows} rows");
            if who == "admin" && !page.contains("zzz") && !page.contains("/repositories/shop") {
                assert!(rows <= MOST_ROWS, "{page} as {who}: {rows} rows");
            }
        }
    }
    let admins = [
        "/w/acme/storage",
        "/w/acme/storage/packages",
        "/w/acme/storage/packages?after=many/p01000",
        "/w/acme/storage/reclaim",
        "/w/acme/robots",
        "/w/acme/robots/bot",
        "/w/acme/activity",
        "/w/acme/audit",
        "/w/acme/audit?actor=nobody",
        "/instance/audit",
        "/w/acme/settings",
        "/instance",
        "/instance/people",
        "/instance/storage",
        "/instance/health",
        "/w/acme/repositories/shop/permissions",
        "/w/acme/repositories/shop/tokens",
    ];
    for page in admins.map(str::to_owned).into_iter().chain([format!("{package}/delete")]) {
        let rows = rows_of(&world, &mut admin, "admin", &page).await;
        let audit = page.contains("/audit");
        let most = if audit { MOST_ROWS_OF_AUDIT } else { MOST_ROWS_OF_STORAGE };
        assert!(rows <= most, "{page}: {rows} rows");
    }
    // The fresh push is first.
    let shown = admin.get(&package).await.expect(200).text();
    let at = |text: &str| shown.find(text).expect("on the page");
    assert!(at("/tags/fresh\"") < at("/tags/v"), "{shown}");
}

async fn rows_of(world: &World, browser: &mut Browser, who: &str, page: &str) -> u64 {
    let before = world.app.registry.reader_statistics();
    let begun = Stopwatch::start();
    let answer = browser.get(page).await.expect(200);
    let took = begun.elapsed();
    let after = world.app.registry.reader_statistics();
    let (rows, transactions) = (after.rows - before.rows, after.transactions - before.transactions);
    let bytes = answer.body.len();
    let _ = writeln!(
        std::io::stderr(),
        "{page} as {who}: {rows} rows in {transactions} reads, {took:.1?}, {bytes} bytes"
    );
    rows
}

/// The pages of lists and of one thing.
fn pages(package: &str) -> [String; 20] {
    let late = Timestamp(1_900_000_000_000).0;
    [
        "/".to_owned(),
        "/w/acme".to_owned(),
        "/w/acme?sort=name".to_owned(),
        "/w/acme?sort=name&after=many/p01000".to_owned(),
        format!("/w/acme?sort=newest&after={late}:9"),
        "/w/acme?prefix=many/p017".to_owned(),
        "/w/acme?sort=name&prefix=zzz".to_owned(),
        "/w/acme?sort=newest&prefix=zzz".to_owned(),
        "/w/acme/repositories".to_owned(),
        "/w/acme/repositories/vault".to_owned(),
        "/w/acme/repositories/shop".to_owned(),
        package.to_owned(),
        format!("{package}?sort=name&after=v001000-0"),
        format!("{package}?sort=newest&prefix=zzz"),
        format!("{package}/version"),
        format!("{package}/tags/fresh"),
        format!("{package}/compare?tag=base&tag=fresh"),
        format!("{package}/delete-tags?tag=fresh&tag=v000010-1"),
        "/profile".to_owned(),
        "/profile/tokens".to_owned(),
    ]
}
