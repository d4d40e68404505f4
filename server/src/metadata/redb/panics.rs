//! A panic inside one operation: it is rolled back and answered, and nobody else notices.

use super::batch::{Batch, Table};
use super::keys::Key;
use super::rows::NumberRow;
use super::writer::Size;
use super::{RedbOptions, RedbStore};
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::metadata::{MetadataError, MetadataStore as _, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SIZE: Size = Size { workspace: 0, rows: 1, bytes: 8 };

fn write(batch: &mut Batch<'_>, number: u64) -> Result<()> {
    batch.put(Table::Meta, &Key::new().text("test").number(number), &NumberRow(number))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_panics_is_rolled_back_and_the_others_are_done() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("meta.redb");
    let clock = Clock::manual(Timestamp(1));
    let store = RedbStore::open(&path, RedbOptions::default(), clock).expect("opens");
    let store = Arc::new(store);
    let runs = Arc::new(AtomicUsize::new(0));
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (store, runs) = (Arc::clone(&store), Arc::clone(&runs));
        asked.spawn(async move {
            let answer = store.write(SIZE, move |batch| {
                runs.fetch_add(1, Ordering::Relaxed);
                write(batch, number)?;
                assert!(number % 10 != 3, "a bomb in operation {number}");
                Ok(())
            });
            (number, answer.await)
        });
    }
    for (number, answer) in asked.join_all().await {
        match answer {
            Ok(()) => assert_ne!(number % 10, 3, "{number} panicked"),
            Err(error) => {
                assert_eq!(number % 10, 3, "{number}: {error}");
                assert!(matches!(error, MetadataError::Unavailable(_)), "{error:?}");
            }
        }
        let row: Option<NumberRow> = store
            .read(|rows| {
                super::batch::Rows::row(rows, Table::Meta, &Key::new().text("test").number(number))
            })
            .expect("reads");
        assert_eq!(row.is_some(), number % 10 != 3, "{number}");
    }
    assert!(runs.load(Ordering::Relaxed) >= 100, "each was run");
    assert_eq!(store.check().await.expect("recounts"), Vec::<String>::new());
}
