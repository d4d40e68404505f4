//! Tags, their history, and what deletion hides.

use super::*;

/// Stamps every test on redb with a file and in memory.
macro_rules! tests {
    ($($name:ident,)*) => {$(
        #[tokio::test]
        async fn $name() {
            let clock = Clock::manual(Timestamp(1_800_000_000_000));
            let backend = ::redb::backends::InMemoryBackend::new;
            let options = RedbOptions::default();
            let store = RedbStore::open_with(backend, options, clock.clone()).unwrap();
            on::$name(Fixture::new(Arc::new(store), clock).await).await;
        }
    )*};
}

tests! {
    a_deleted_manifest_takes_its_tags_along_and_comes_back_when_pushed_again,
    a_deleted_tag_leaves_the_manifest_and_a_history_row,
    a_moved_tag_keeps_what_it_pointed_to_and_pulls_by_digest_go_on,
    pulls_are_added_up_by_manifest_and_tag,
    the_origin_of_a_push_is_remembered,
    times_never_run_backwards,
}

mod on {
    use super::*;

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    async fn two_images(on: &Fixture) -> (NewManifest, NewManifest) {
        for blob in ["a", "b"] {
            on.blob(on.first, blob).await;
        }
        let (old, new) = (Fixture::image(&["a"], &["v1"]), Fixture::image(&["b"], &["v1"]));
        on.put(on.first, old.clone()).await.unwrap();
        (old, new)
    }

    pub(super) async fn a_moved_tag_keeps_what_it_pointed_to_and_pulls_by_digest_go_on(
        on: Fixture,
    ) {
        let (old, new) = two_images(&on).await;
        on.put(on.first, new.clone()).await.unwrap();
        let row = on.store.tag(on.first, &tag("v1")).await.unwrap().unwrap();
        assert_eq!(row.digest, new.digest);
        let by_digest = on.store.manifest(on.first, &Reference::Digest(old.digest)).await;
        assert_eq!(by_digest.unwrap().unwrap().bytes, old.bytes);
        let history = on.store.history(on.first, Some(&tag("v1")), 9).await.unwrap();
        let events: Vec<_> = history.iter().map(|row| row.event).collect();
        let moved = |from, to| TagEvent::Moved { from, to };
        assert_eq!(events, [moved(Some(old.digest), new.digest), moved(None, old.digest)]);
        // Pushing what is there already is no movement.
        on.put(on.first, new).await.unwrap();
        assert_eq!(on.store.history(on.first, None, 9).await.unwrap().len(), 2);
        on.clock.advance(Duration::from_secs(30 * 3600));
        let facts = on.store.manifest_facts(on.first, &Reference::Digest(old.digest)).await;
        assert!(facts.unwrap().unwrap().lease_wanted, "kept history holds it, but not for ever");
        on.assert_sound().await;
    }

    pub(super) async fn a_deleted_tag_leaves_the_manifest_and_a_history_row(on: Fixture) {
        let (old, _) = two_images(&on).await;
        on.store.delete_tag(&change(), on.first, &tag("v1")).await.unwrap();
        let again = on.store.delete_tag(&change(), on.first, &tag("v1")).await;
        assert!(matches!(again, Err(MetadataError::NotFound)));
        let by_tag = on.store.manifest(on.first, &Reference::Tag(tag("v1"))).await;
        assert_eq!(by_tag.unwrap(), None);
        let by_digest = on.store.manifest(on.first, &Reference::Digest(old.digest)).await;
        assert!(by_digest.unwrap().is_some());
        let history = on.store.history(on.first, None, 1).await.unwrap();
        assert_eq!(history[0].event, TagEvent::Deleted(old.digest));
        on.assert_sound().await;
    }

    pub(super) async fn a_deleted_manifest_takes_its_tags_along_and_comes_back_when_pushed_again(
        on: Fixture,
    ) {
        let (mut old, _) = two_images(&on).await;
        old.tags = vec![tag("v2")];
        on.put(on.first, old.clone()).await.unwrap();
        let removed = on.store.delete_manifest(&change(), on.first, &old.digest).await.unwrap();
        assert_eq!(removed, [tag("v1"), tag("v2")]);
        let by_digest = Reference::Digest(old.digest);
        assert_eq!(on.store.manifest(on.first, &by_digest).await.unwrap(), None);
        let again = on.store.delete_manifest(&change(), on.first, &old.digest).await;
        assert!(matches!(again, Err(MetadataError::NotFound)));
        on.assert_sound().await;
        old.tags.clear();
        on.put(on.first, old.clone()).await.unwrap();
        assert!(on.store.manifest(on.first, &by_digest).await.unwrap().is_some());
        let tags = on.store.tags(on.first, Page { after: None, limit: 9 }).await.unwrap();
        assert!(tags.is_empty(), "a push by digest brings no tag back");
        on.assert_sound().await;
    }

    pub(super) async fn pulls_are_added_up_by_manifest_and_tag(on: Fixture) {
        let (old, _) = two_images(&on).await;
        let pull = |count, last| Pull {
            package: on.first,
            digest: old.digest,
            tag: Some(tag("v1")),
            pulls: Pulls { count, last: Some(Timestamp(last)) },
        };
        on.store.record_pulls(vec![pull(2, 10)]).await.unwrap();
        let mut gone = pull(5, 20);
        gone.digest = digest("unknown");
        on.store.record_pulls(vec![pull(1, 5), gone]).await.unwrap();
        let row = on.store.tag(on.first, &tag("v1")).await.unwrap().unwrap();
        assert_eq!(row.pulls, Pulls { count: 3, last: Some(Timestamp(10)) });
    }

    pub(super) async fn the_origin_of_a_push_is_remembered(on: Fixture) {
        on.blob(on.first, "a").await;
        let mut change = change();
        change.actor = "pipeline:1:1".to_owned();
        change.origin.build = Some("42".to_owned());
        let image = Fixture::image(&["a"], &["v1"]);
        let target = Target::Existing(on.first);
        on.store.put_manifest(&change, &target, image.clone()).await.unwrap();
        let expected = Stamped { at: on.clock.now(), change };
        let facts = on.store.manifest_facts(on.first, &Reference::Digest(image.digest)).await;
        assert_eq!(facts.unwrap().unwrap().pushed, expected);
        let history = on.store.history(on.first, None, 9).await.unwrap();
        assert_eq!(history[0].moved, expected);
        assert_eq!(on.store.tag(on.first, &tag("v1")).await.unwrap().unwrap().moved, expected);
    }

    pub(super) async fn times_never_run_backwards(on: Fixture) {
        on.clock.advance(Duration::from_secs(60));
        on.blob(on.first, "a").await;
        assert_eq!(on.store.last_seen().await.unwrap(), on.clock.now());
    }
}
