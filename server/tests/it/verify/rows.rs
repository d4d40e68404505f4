//! Rows that contradict each other: the database is opened with redb itself and changed behind the
//! server's back.

use super::{kinds, verified, verifies_clean};
use crate::harness::{Settings, World};
use crate::rows::{seal, unseal};
use redb::{Database, ReadableTable as _, TableDefinition};
use standpipe_server::registry::verify::FindingKind;

type Row = (Vec<u8>, Vec<u8>);

/// Changes the rows of one table; what is given back is what they are then.
fn rewrite(database: &Database, table: &str, change: impl Fn(Vec<Row>) -> Vec<Row>) {
    let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    let transaction = database.begin_write().expect("our own database");
    {
        let mut open = transaction.open_table(definition).expect("a table");
        let rows = open.iter().expect("rows").map(|row| {
            let (key, value) = row.expect("a row");
            (key.value().to_vec(), unseal(value.value()).to_vec())
        });
        let rows: Vec<Row> = rows.collect();
        assert!(!rows.is_empty(), "{table} has no rows to be damaged");
        open.retain(|_, _| false).expect("rows");
        for (key, value) in change(rows) {
            let value = seal(table, &key, &value);
            open.insert(&key[..], &value[..]).expect("a row");
        }
    }
    transaction.commit().expect("committed");
}

/// Flips a bit in the middle of the first row of a table, as a bad disk would.
fn flip(database: &Database, table: &str) {
    let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    let transaction = database.begin_write().expect("our own database");
    {
        let mut open = transaction.open_table(definition).expect("a table");
        let row = open.first().expect("rows").expect("one at least");
        let (key, mut value) = (row.0.value().to_vec(), row.1.value().to_vec());
        drop(row);
        let middle = value.len() / 2;
        value[middle] ^= 1;
        open.insert(&key[..], &value[..]).expect("a row");
    }
    transaction.commit().expect("committed");
}

/// A world with two images whose rows were changed while no server ran.
async fn damaged(change: impl FnOnce(&Database)) -> World {
    let world = World::new().await;
    let ann = world.client("ann").await;
    ann.push_image("acme/shop", "one", "layer one").await;
    ann.push_image("acme/shop", "two", "layer two").await;
    verifies_clean(&world).await;
    drop(ann);
    let directory = world.close();
    let database = Database::open(directory.path().join("meta.redb")).expect("nobody has it open");
    change(&database);
    drop(database);
    World::open(directory, Settings::default()).await
}

/// What is found is about rows, says this somewhere, and comes with the advice to restore.
async fn tells(world: &World, words: &str) {
    let run = verified(world).await;
    let rows: Vec<_> =
        run.findings.iter().filter(|finding| finding.kind == FindingKind::Rows).collect();
    assert!(rows.iter().any(|finding| finding.what.contains(words)), "{words}: {run:?}");
    assert!(FindingKind::Rows.advice().contains("backup"));
    assert!(run.finished.is_some(), "it went on to its end: {run:?}");
}

#[tokio::test]
async fn wrong_totals_are_found() {
    for table in ["workspace_usage", "package_usage"] {
        let nothing = |rows: Vec<Row>| {
            rows.into_iter().map(|(key, value)| (key, vec![value[0], 0, 0, 0])).collect()
        };
        let world = damaged(|database| rewrite(database, table, nothing)).await;
        tells(&world, "stored").await;
        assert!(kinds(&verified(&world).await).iter().all(|kind| *kind == FindingKind::Rows));
    }
}

#[tokio::test]
async fn a_dangling_edge_is_found() {
    let world = damaged(|database| {
        rewrite(database, "edge", |mut rows| {
            let (mut key, value) = rows[0].clone();
            *key.last_mut().expect("a key") ^= 1;
            rows.push((key, value));
            rows
        });
    })
    .await;
    tells(&world, "an edge of the missing manifest").await;
}

#[tokio::test]
async fn a_manifest_without_its_edges_or_its_link_is_found() {
    for (table, words) in [("edge", "has no edge to"), ("link", "which is not linked")] {
        let world = damaged(|database| {
            rewrite(database, table, |rows| rows.into_iter().skip(1).collect());
        })
        .await;
        tells(&world, words).await;
    }
}

#[tokio::test]
async fn a_tag_of_a_manifest_that_is_gone_is_found() {
    let world = damaged(|database| {
        rewrite(database, "manifest", |rows| rows.into_iter().skip(1).collect());
    })
    .await;
    tells(&world, "which is not there").await;
}

#[tokio::test]
async fn an_object_row_without_its_blob_is_found_and_does_not_hide_a_damaged_object() {
    let world = damaged(|database| {
        rewrite(database, "blob", |rows| rows.into_iter().skip(1).collect());
    })
    .await;
    for object in world.objects() {
        super::damage(&object, super::Damage::Flip(0));
    }
    tells(&world, "an object that no blob names").await;
    let run = verified(&world).await;
    assert_eq!(run.objects, 2, "of three blobs one row is gone");
    assert!(kinds(&run).contains(&FindingKind::Damaged), "{run:?}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_found_and_does_not_hide_the_others() {
    for table in
        ["blob", "link", "manifest", "workspace_usage", "object", "tag", "history", "due_of"]
    {
        let world = damaged(|database| {
            rewrite(database, table, |mut rows| {
                rows[0].1 = vec![0xff; 3];
                rows
            });
            rewrite(database, "edge", |mut rows| {
                let (mut key, value) = rows[0].clone();
                *key.last_mut().expect("a key") ^= 1;
                rows.push((key, value));
                rows
            });
        })
        .await;
        tells(&world, "damaged").await;
        tells(&world, "an edge of the missing manifest").await;
    }
}

#[tokio::test]
async fn a_row_with_a_flipped_bit_is_found_whatever_it_says() {
    let tables =
        ["blob", "link", "manifest", "edge", "workspace_usage", "object", "tag", "history", "due"];
    for table in tables {
        let world = damaged(|database| flip(database, table)).await;
        tells(&world, "damaged").await;
        let to = tempfile::tempdir().expect("a temporary directory");
        let proof = super::instance_admin(&world).await;
        let refused = world.app.registry.backup(proof, to.path(), |_| {}).await;
        assert!(refused.is_err(), "{table}: rows that are damaged replace no good backup");
        assert!(!to.path().join("meta.redb").exists(), "{table}");
    }
}
