//! What holds what in corners that the random histories of `tests/it/machine` found.

use super::collection::{DAY, HOUR, is_there, later, tag};
use super::*;

async fn fixture() -> Fixture {
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let backend = ::redb::backends::InMemoryBackend::new;
    let store = RedbStore::open_with(backend, RedbOptions::default(), clock.clone()).unwrap();
    let on = Fixture::new(Arc::new(store), clock).await;
    // Past the guard after a start.
    on.clock.advance(HOUR * 2);
    on
}

fn descriptor(of: &NewManifest) -> String {
    let (kind, digest, size) = (&of.media_type, of.digest, of.bytes.len());
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
}

/// An index of one manifest about another.
fn index_about(child: &NewManifest, subject: &NewManifest, tags: &[&str]) -> NewManifest {
    let (child, subject) = (descriptor(child), descriptor(subject));
    manifest(OCI_INDEX, &format!(r#"{{"manifests":[{child}],"subject":{subject}}}"#), tags)
}

#[tokio::test]
async fn a_deleted_referrer_goes_although_its_subject_stays() {
    let on = fixture().await;
    for blob in ["a", "b"] {
        on.blob(on.first, blob).await;
    }
    let image = Fixture::image(&["a"], &[]);
    on.put(on.first, image.clone()).await.unwrap();
    on.put(on.first, index(&[&image], &["v1"])).await.unwrap();
    let other = Fixture::image(&["b"], &[]);
    on.put(on.first, other.clone()).await.unwrap();
    let note = index_about(&other, &image, &[]);
    on.put(on.first, note.clone()).await.unwrap();
    assert_eq!(later(&on).await.manifests, 0, "the note lives by its subject");
    let selection = Selection::Manifests(vec![note.digest]);
    let preview = on.store.preview(on.first, &selection, 999).await.unwrap();
    on.store.delete_manifest(&change(), on.first, &note.digest).await.unwrap();
    on.clock.advance(DAY * 6);
    on.store.collect(64, 400).await.unwrap();
    on.store.restore(&change(), on.first, &Restore::Manifest(note.digest)).await.unwrap();
    assert_eq!(later(&on).await.manifests, 0, "put back, it lives by its subject again");
    on.store.delete_manifest(&change(), on.first, &note.digest).await.unwrap();
    let freed = later(&on).await;
    assert_eq!((freed.manifests, freed.blobs), (2, 1));
    assert_eq!(freed, preview.freed);
    assert!(is_there(&on, on.first, image.digest).await);
}

#[tokio::test]
async fn a_referrer_that_holds_nothing_closes_no_circle() {
    let on = fixture().await;
    on.blob(on.first, "a").await;
    let image = Fixture::image(&["a"], &[]);
    on.put(on.first, image.clone()).await.unwrap();
    let inner = index(&[&image], &[]);
    on.put(on.first, inner.clone()).await.unwrap();
    // About what it holds, so it does not live by it.
    let outer = index_about(&inner, &image, &["v1"]);
    on.put(on.first, outer).await.unwrap();
    let note = index_about(&image, &inner, &[]);
    on.put(on.first, note.clone()).await.unwrap();
    later(&on).await;
    assert!(is_there(&on, on.first, note.digest).await, "its subject is tagged through an index");
    on.store.delete_tag(&change(), on.first, &tag("v1")).await.unwrap();
    assert_eq!(later(&on).await.manifests, 4);
}

#[tokio::test]
async fn the_cap_gives_up_every_row_that_keeps_what_is_beyond_it() {
    let on = fixture().await;
    for blob in ["old", "new"] {
        on.blob(on.first, blob).await;
    }
    let settings = WorkspaceSettings { keep_bytes: Some(100), ..WorkspaceSettings::default() };
    let name = "Acme".to_owned();
    on.store.update_workspace(&change(), on.workspace.id, name, settings).await.unwrap();
    for tag in ["v1", "v2"] {
        on.put(on.first, Fixture::image(&["old"], &[tag])).await.unwrap();
        on.clock.advance(HOUR);
        on.put(on.first, Fixture::image(&["new"], &[tag])).await.unwrap();
        on.clock.advance(HOUR);
    }
    assert_eq!(on.store.kept(on.first, 9).await.unwrap().len(), 2);
    assert_eq!(on.store.enforce_cap(on.workspace.id, 9999).await.unwrap(), 2);
    assert!(on.store.kept(on.first, 9).await.unwrap().is_empty(), "one row is enough to keep it");
    on.assert_sound().await;
}
