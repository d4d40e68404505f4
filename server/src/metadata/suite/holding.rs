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
