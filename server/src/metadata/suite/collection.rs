//! Collection, undo and accounting: the rules of DESIGN §5, each by itself.

use super::*;

macro_rules! tests {
    ($($name:ident,)*) => {$(
        #[tokio::test]
        async fn $name() {
            let clock = Clock::manual(Timestamp(1_800_000_000_000));
            let backend = ::redb::backends::InMemoryBackend::new;
            let options = RedbOptions::default();
            let store = RedbStore::open_with(backend, options, clock.clone()).unwrap();
            let on = Fixture::new(Arc::new(store), clock).await;
            // Past the guard after a start.
            on.clock.advance(HOUR * 2);
            on::$name(on).await;
        }
    )*};
}

tests! {
    a_blob_in_another_package_survives,
    a_blob_that_nothing_ever_referred_to_goes_after_its_lease,
    a_deleted_manifest_comes_back_whole_with_what_it_needs,
    a_deleted_package_comes_back_or_goes_as_a_whole,
    a_deleted_tag_can_be_put_back_until_keep_is_over,
    a_full_backup_window_holds_objects,
    a_mounted_blob_has_a_lease_of_its_own,
    a_package_whose_removal_has_begun_does_not_come_back,
    a_large_index_is_let_go_in_pages_and_a_push_meanwhile_keeps_all,
    a_deleted_blob_is_kept_as_long_as_the_setting_says_at_its_end,
    a_deleted_referrer_goes_although_its_subject_lives,
    a_referrer_lives_by_its_subject_and_goes_with_it,
    a_referrer_that_was_confirmed_outlives_a_subject_that_goes_in_pages,
    an_index_about_itself_does_not_live_for_ever,
    an_overwritten_image_goes_after_keep_and_the_receipt_says_what_and_why,
    confirmed_content_outlives_the_last_reference_by_a_lease,
    giving_up_frees_at_once_what_nobody_was_promised,
    nothing_is_removed_right_after_a_start,
    the_cap_gives_up_the_oldest_first,
    the_preview_is_what_the_receipt_says_later,
}

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Runs collection until nothing is due; returns what it freed.
async fn settle(on: &Fixture) -> Freed {
    let mut freed = Freed::default();
    loop {
        let step = on.store.collect(64, 400).await.unwrap();
        for (_, more) in &step.receipts {
            freed.add(more);
        }
        if !step.more {
            break;
        }
    }
    on.assert_sound().await;
    freed
}

/// Lets all clocks run out.
pub(super) async fn later(on: &Fixture) -> Freed {
    let mut freed = Freed::default();
    for _ in 0..12 {
        on.clock.advance(DAY);
        freed.add(&settle(on).await);
    }
    freed
}

pub(super) async fn is_there(on: &Fixture, package: PackageId, digest: Digest) -> bool {
    on.store.manifest_facts(package, &Reference::Digest(digest)).await.unwrap().is_some()
}

pub(super) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

mod on {
    use super::*;

    pub(super) async fn a_blob_that_nothing_ever_referred_to_goes_after_its_lease(on: Fixture) {
        let (blob, _) = on.blob(on.first, "lonely").await;
        on.clock.advance(DAY);
        settle(&on).await;
        assert!(
            on.store.blob(on.first, &blob).await.unwrap().is_some(),
            "a whole lease is granted"
        );
        on.clock.advance(HOUR * 4);
        let freed = settle(&on).await;
        assert_eq!((freed.blobs, freed.blob_bytes), (1, 6));
        assert_eq!(on.store.blob(on.first, &blob).await.unwrap(), None);
        assert!(on.store.doomed(9).await.unwrap().is_empty(), "the purge delay is not over");
        on.clock.advance(HOUR);
        assert_eq!(on.store.doomed(9).await.unwrap().len(), 1);
        let (_, receipt) = on.store.receipts(on.workspace.id, None, 9).await.unwrap().remove(0);
        assert_eq!((receipt.cause.why, receipt.freed), (Why::NeverReferenced, freed));
    }

    pub(super) async fn an_overwritten_image_goes_after_keep_and_the_receipt_says_what_and_why(
        on: Fixture,
    ) {
        for blob in ["old", "both", "new"] {
            on.blob(on.first, blob).await;
        }
        let old = Fixture::image(&["old", "both"], &["v1"]);
        on.put(on.first, old.clone()).await.unwrap();
        on.put(on.first, Fixture::image(&["new", "both"], &["v1"])).await.unwrap();
        on.clock.advance(DAY * 6);
        assert_eq!(settle(&on).await, Freed::default(), "kept for undo");
        assert!(is_there(&on, on.first, old.digest).await, "a pull by digest still works");
        on.clock.advance(DAY * 2);
        let freed = settle(&on).await;
        let size = u64::try_from(old.bytes.len()).unwrap();
        let expected = Freed { manifests: 1, manifest_bytes: size, blobs: 1, blob_bytes: 3 };
        assert_eq!(freed, expected);
        let (_, receipt) = on.store.receipts(on.workspace.id, None, 9).await.unwrap().remove(0);
        assert_eq!((receipt.cause.why, receipt.freed), (Why::TagMoved, expected));
        assert_eq!((receipt.cause.tag, receipt.cause.digest), (Some(tag("v1")), Some(old.digest)));
        assert!(on.store.blob(on.first, &digest("both")).await.unwrap().is_some());
    }

    pub(super) async fn a_deleted_tag_can_be_put_back_until_keep_is_over(on: Fixture) {
        on.blob(on.first, "a").await;
        let image = Fixture::image(&["a"], &["v1"]);
        on.put(on.first, image.clone()).await.unwrap();
        on.store.delete_tag(&change(), on.first, &tag("v1")).await.unwrap();
        on.clock.advance(DAY * 6);
        settle(&on).await;
        let kept = on.store.kept(on.first, 9).await.unwrap();
        assert!(matches!(&kept[0].what, Kept::Tag { digest, .. } if *digest == image.digest));
        let undo = Restore::Tag { tag: tag("v1"), digest: None };
        on.store.restore(&change(), on.first, &undo).await.unwrap();
        later(&on).await;
        let row = on.store.tag(on.first, &tag("v1")).await.unwrap().unwrap();
        assert_eq!(row.digest, image.digest);
        on.store.delete_tag(&change(), on.first, &tag("v1")).await.unwrap();
        assert_eq!(later(&on).await.manifests, 1);
        let late = on.store.restore(&change(), on.first, &undo).await;
        assert!(matches!(late, Err(MetadataError::NotFound)));
    }

    pub(super) async fn a_deleted_manifest_comes_back_whole_with_what_it_needs(on: Fixture) {
        for blob in ["a", "b"] {
            on.blob(on.first, blob).await;
        }
        let child = Fixture::image(&["a", "b"], &[]);
        on.put(on.first, child.clone()).await.unwrap();
        let index = index(&[&child], &["v1"]);
        on.put(on.first, index.clone()).await.unwrap();
        let first = on.first;
        on.store.delete_manifest(&change(), first, &index.digest).await.unwrap();
        on.store.delete_manifest(&change(), first, &child.digest).await.unwrap();
        on.store.delete_blob(&change(), first, &digest("b")).await.unwrap();
        on.clock.advance(DAY * 3);
        settle(&on).await;
        let what = Restore::Manifest(index.digest);
        on.store.restore(&change(), first, &what).await.unwrap();
        assert!(is_there(&on, first, child.digest).await);
        assert!(on.store.blob(first, &digest("b")).await.unwrap().is_some());
        on.assert_sound().await;
        assert_eq!(later(&on).await.manifests, 2, "a manifest without a tag is under its lease");
    }

    pub(super) async fn a_deleted_package_comes_back_or_goes_as_a_whole(on: Fixture) {
        for blob in ["a", "b"] {
            on.blob(on.first, blob).await;
        }
        on.put(on.first, Fixture::image(&["a"], &["v1", "v2"])).await.unwrap();
        on.put(on.first, Fixture::image(&["b"], &["v2"])).await.unwrap();
        on.store.delete_package(&change(), on.first).await.unwrap();
        on.clock.advance(DAY * 6);
        settle(&on).await;
        let found = on.store.deleted_packages(on.workspace.id, None, 9).await.unwrap();
        assert_eq!(found[0].package.id, on.first);
        let name: PackageName = "one".parse().unwrap();
        let (workspace, repository) = (on.workspace.id, on.repository.id);
        on.store.create_package(&change(), workspace, &name, repository).await.unwrap();
        let restore = |name: Option<&str>| Restore::Package {
            name: name.map(|name| name.parse().unwrap()),
            repository: None,
        };
        let taken = on.store.restore(&change(), on.first, &restore(None)).await;
        assert!(matches!(taken, Err(MetadataError::Conflict(Conflict::SlugTaken))));
        on.store.restore(&change(), on.first, &restore(Some("back"))).await.unwrap();
        let tags = on.store.tags(on.first, Page { after: None, limit: 9 }).await.unwrap();
        assert_eq!(tags.len(), 2);
        later(&on).await;
        on.store.delete_package(&change(), on.first).await.unwrap();
        let freed = later(&on).await;
        assert_eq!((freed.manifests, freed.blobs), (2, 2));
        let usage = on.store.workspace_usage(workspace).await.unwrap();
        assert_eq!((usage.blob_bytes, usage.manifest_bytes), (0, 0));
        let gone = on.store.restore(&change(), on.first, &restore(None)).await;
        assert!(matches!(gone, Err(MetadataError::NotFound)));
    }

    pub(super) async fn a_referrer_lives_by_its_subject_and_goes_with_it(on: Fixture) {
        for blob in ["a", "sig"] {
            on.blob(on.first, blob).await;
        }
        let image = Fixture::image(&["a"], &["v1"]);
        let signature = referrer(&image, "sig");
        // Pushed before its subject: under a lease, and then held.
        on.put(on.first, signature.clone()).await.unwrap();
        on.put(on.first, image.clone()).await.unwrap();
        later(&on).await;
        assert!(is_there(&on, on.first, signature.digest).await);
        on.store.delete_manifest(&change(), on.first, &image.digest).await.unwrap();
        on.clock.advance(DAY * 3);
        settle(&on).await;
        on.store.restore(&change(), on.first, &Restore::Manifest(image.digest)).await.unwrap();
        assert!(is_there(&on, on.first, signature.digest).await, "it came back with its subject");
        assert_eq!(later(&on).await.manifests, 2, "without a tag both go");
    }

    // Found by the models: SubjectHoldsDeletedReferrers.
    pub(super) async fn a_deleted_referrer_goes_although_its_subject_lives(on: Fixture) {
        for blob in ["a", "sig"] {
            on.blob(on.first, blob).await;
        }
        let image = Fixture::image(&["a"], &["v1"]);
        on.put(on.first, image.clone()).await.unwrap();
        let signature = referrer(&image, "sig");
        on.put(on.first, signature.clone()).await.unwrap();
        on.store.delete_manifest(&change(), on.first, &signature.digest).await.unwrap();
        on.clock.advance(DAY * 6);
        settle(&on).await;
        on.store.restore(&change(), on.first, &Restore::Manifest(signature.digest)).await.unwrap();
        later(&on).await;
        assert!(is_there(&on, on.first, signature.digest).await);
        on.store.delete_manifest(&change(), on.first, &signature.digest).await.unwrap();
        let freed = later(&on).await;
        assert_eq!((freed.manifests, freed.blobs), (1, 1));
        assert!(is_there(&on, on.first, image.digest).await);
    }

    // Found by the models: GoingSubjectHoldsNothing.
    pub(super) async fn a_referrer_that_was_confirmed_outlives_a_subject_that_goes_in_pages(
        on: Fixture,
    ) {
        let blobs: Vec<_> = (0..70).map(|number| format!("b{number}")).collect();
        let names: Vec<_> = blobs.iter().map(String::as_str).collect();
        for blob in names.iter().chain(&["sig"]) {
            on.blob(on.first, blob).await;
        }
        let image = Fixture::image(&names, &["v1"]);
        let signature = referrer(&image, "sig");
        let mut untagged = image.clone();
        untagged.tags.clear();
        on.put(on.first, untagged).await.unwrap();
        on.clock.advance(Duration::from_secs(1));
        on.put(on.first, signature.clone()).await.unwrap();
        // Both leases end within a second; but the signature is promised again while its subject is
        // there.
        on.clock.advance(HOUR * 20);
        on.store.renew_lease(on.first, Leased::Manifest, &signature.digest).await.unwrap();
        on.clock.advance(HOUR * 8);
        for _ in 0..200 {
            on.store.collect(1, 400).await.unwrap();
            assert!(is_there(&on, on.first, signature.digest).await, "it was promised for a day");
        }
        assert!(!is_there(&on, on.first, image.digest).await);
        assert_eq!(later(&on).await.blobs, 71);
    }

    fn referrer(subject: &NewManifest, blob: &str) -> NewManifest {
        let (kind, size) = (&subject.media_type, subject.bytes.len());
        let text = format!(
            r#"{{"config":{{"mediaType":"x","digest":"{}","size":{}}},"layers":[],"subject":{{"mediaType":"{kind}","digest":"{}","size":{size}}}}}"#,
            digest(blob),
            blob.len(),
            subject.digest,
        );
        manifest(OCI_MANIFEST, &text, &[])
    }

    pub(super) async fn an_index_about_itself_does_not_live_for_ever(on: Fixture) {
        on.blob(on.first, "a").await;
        let image = Fixture::image(&["a"], &[]);
        on.put(on.first, image.clone()).await.unwrap();
        let (kind, digest, size) = (&image.media_type, image.digest, image.bytes.len());
        let child = format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#);
        let text = format!(r#"{{"manifests":[{child}],"subject":{child}}}"#);
        on.put(on.first, manifest(OCI_INDEX, &text, &["v1"])).await.unwrap();
        later(&on).await;
        assert!(is_there(&on, on.first, image.digest).await);
        on.store.delete_tag(&change(), on.first, &tag("v1")).await.unwrap();
        assert_eq!(later(&on).await.manifests, 2);
    }

    pub(super) async fn confirmed_content_outlives_the_last_reference_by_a_lease(on: Fixture) {
        on.blob(on.first, "a").await;
        let image = Fixture::image(&["a"], &["v1"]);
        on.put(on.first, image.clone()).await.unwrap();
        on.store.delete_tag(&change(), on.first, &tag("v1")).await.unwrap();
        on.clock.advance(DAY * 7 - HOUR);
        settle(&on).await;
        let blob = digest("a");
        assert!(on.store.blob(on.first, &blob).await.unwrap().unwrap().lease_wanted);
        on.store.renew_lease(on.first, Leased::Blob, &blob).await.unwrap();
        on.clock.advance(DAY);
        settle(&on).await;
        assert!(on.store.blob(on.first, &blob).await.unwrap().is_some(), "the promise holds");
        assert!(on.put(on.first, Fixture::image(&["a"], &["v2"])).await.is_ok());
        later(&on).await;
        assert!(on.store.blob(on.first, &blob).await.unwrap().is_some());
    }

    pub(super) async fn a_blob_in_another_package_survives(on: Fixture) {
        on.blob(on.first, "a").await;
        let target = Target::Existing(on.second);
        on.store.mount_blob(&change(), &target, on.first, &digest("a")).await.unwrap();
        for package in [on.first, on.second] {
            on.put(package, Fixture::image(&["a"], &["v1"])).await.unwrap();
        }
        on.store.delete_tag(&change(), on.first, &tag("v1")).await.unwrap();
        let freed = later(&on).await;
        assert_eq!((freed.manifests, freed.blobs), (1, 0));
        assert!(on.store.blob(on.second, &digest("a")).await.unwrap().is_some());
        assert_eq!(on.store.blob(on.first, &digest("a")).await.unwrap(), None);
        on.store
            .delete_manifest(&change(), on.second, &Fixture::image(&["a"], &[]).digest)
            .await
            .unwrap();
        assert_eq!(later(&on).await.blobs, 1);
    }

    pub(super) async fn a_large_index_is_let_go_in_pages_and_a_push_meanwhile_keeps_all(
        on: Fixture,
    ) {
        let mut children = Vec::new();
        for number in 0..150 {
            let name = format!("blob{number}");
            on.blob(on.first, &name).await;
            let child = Fixture::image(&[&name], &[]);
            on.put(on.first, child.clone()).await.unwrap();
            children.push(child);
        }
        let index = index(&children.iter().collect::<Vec<_>>(), &["v1"]);
        let manifest = |tags: &[&str]| {
            let mut manifest = index.clone();
            manifest.tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
            manifest
        };
        on.put(on.first, manifest(&["v1"])).await.unwrap();
        on.store.delete_tag(&change(), on.first, &tag("v1")).await.unwrap();
        // The children are confirmed, so that they are there for a push in the middle of the fan.
        on.clock.advance(DAY * 7 - HOUR);
        settle(&on).await;
        on.store.renew_lease(on.first, Leased::Manifest, &children[0].digest).await.unwrap();
        on.clock.advance(HOUR * 30);
        // Steps of one entry: history row, manifest, first page of the fan.
        while is_there(&on, on.first, index.digest).await {
            assert!(on.store.collect(1, 400).await.unwrap().more);
        }
        on.assert_sound().await;
        if on.put(on.first, manifest(&["v1"])).await.is_ok() {
            later(&on).await;
            for child in &children {
                assert!(is_there(&on, on.first, child.digest).await, "a child was let go");
            }
            on.store.delete_tag(&change(), on.first, &tag("v1")).await.unwrap();
        }
        later(&on).await;
        let usage = on.store.workspace_usage(on.workspace.id).await.unwrap();
        assert_eq!((usage.blob_bytes, usage.manifest_bytes), (0, 0));
    }

    pub(super) async fn giving_up_frees_at_once_what_nobody_was_promised(on: Fixture) {
        for blob in ["old", "new"] {
            on.blob(on.first, blob).await;
        }
        on.put(on.first, Fixture::image(&["old"], &["v1"])).await.unwrap();
        on.clock.advance(DAY * 2);
        settle(&on).await;
        on.blob(on.first, "new").await;
        on.put(on.first, Fixture::image(&["new"], &["v1"])).await.unwrap();
        let (causes, more) =
            on.store.give_up(&change(), on.first, &GiveUp::Tag(tag("v1"))).await.unwrap();
        assert_eq!((causes.len(), more), (1, false));
        assert_eq!(settle(&on).await.blobs, 1);
        assert_eq!(on.store.doomed(9).await.unwrap().len(), 1, "without a purge delay");
    }

    pub(super) async fn nothing_is_removed_right_after_a_start(on: Fixture) {
        let clock = Clock::manual(Timestamp(1_800_000_000_000));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("meta.redb");
        let open = || RedbStore::open(&path, RedbOptions::default(), clock.clone()).unwrap();
        let fresh = Fixture::new(Arc::new(open()), clock.clone()).await;
        let (blob, _) = fresh.blob(fresh.first, "a").await;
        let first = fresh.first;
        drop((fresh, on));
        // The wall clock jumped ten years while the server was down.
        clock.advance(DAY * 3650);
        let store = open();
        store.collect(64, 400).await.unwrap();
        assert!(store.blob(first, &blob).await.unwrap().is_some());
        clock.advance(HOUR - Duration::from_secs(1));
        store.collect(64, 400).await.unwrap();
        assert!(store.blob(first, &blob).await.unwrap().is_some());
        clock.advance(Duration::from_secs(2));
        store.collect(64, 400).await.unwrap();
        assert!(store.blob(first, &blob).await.unwrap().is_none());
    }

    pub(super) async fn a_mounted_blob_has_a_lease_of_its_own(on: Fixture) {
        on.blob(on.first, "a").await;
        on.clock.advance(HOUR * 20);
        let target = Target::Existing(on.second);
        on.store.mount_blob(&change(), &target, on.first, &digest("a")).await.unwrap();
        on.clock.advance(HOUR * 20);
        settle(&on).await;
        assert_eq!(on.store.blob(on.first, &digest("a")).await.unwrap(), None);
        assert!(on.put(on.second, Fixture::image(&["a"], &["v1"])).await.is_ok());
    }

    pub(super) async fn a_deleted_blob_is_kept_as_long_as_the_setting_says_at_its_end(on: Fixture) {
        on.blob(on.first, "a").await;
        on.store.delete_blob(&change(), on.first, &digest("a")).await.unwrap();
        let settings = WorkspaceSettings { keep: DAY * 20, ..WorkspaceSettings::default() };
        let name = "Acme".to_owned();
        on.store.update_workspace(&change(), on.workspace.id, name, settings).await.unwrap();
        on.clock.advance(DAY * 19);
        assert_eq!(settle(&on).await, Freed::default(), "twenty days by now, not seven");
        on.clock.advance(DAY * 2);
        assert_eq!(settle(&on).await.blobs, 1);
    }

    pub(super) async fn a_package_whose_removal_has_begun_does_not_come_back(on: Fixture) {
        let tags: Vec<_> = (0..300).map(|number| format!("v{number}")).collect();
        let tags: Vec<_> = tags.iter().map(String::as_str).collect();
        on.blob(on.first, "a").await;
        on.put(on.first, Fixture::image(&["a"], &tags)).await.unwrap();
        on.store.delete_package(&change(), on.first).await.unwrap();
        on.clock.advance(DAY * 8);
        while on.store.deleted_package(on.first).await.unwrap().is_some() {
            on.store.collect(1, 400).await.unwrap();
        }
        on.assert_sound().await;
        let back = Restore::Package { name: None, repository: None };
        let late = on.store.restore(&change(), on.first, &back).await;
        assert!(matches!(late, Err(MetadataError::NotFound)), "half of it is gone: {late:?}");
        settle(&on).await;
        let usage = on.store.workspace_usage(on.workspace.id).await.unwrap();
        assert_eq!((usage.blob_bytes, usage.manifest_bytes), (0, 0));
    }

    pub(super) async fn a_full_backup_window_holds_objects(on: Fixture) {
        on.blob(on.first, "a").await;
        let until = on.clock.now().plus(DAY * 5);
        on.store.pin(until).await.unwrap();
        on.store.pin(on.clock.now()).await.unwrap();
        on.clock.advance(DAY * 4);
        settle(&on).await;
        on.clock.advance(HOUR * 2);
        assert!(on.store.doomed(9).await.unwrap().is_empty(), "a backup holds it");
        assert_eq!(on.store.backlog(9).await.unwrap().pinned_until, Some(until));
        on.clock.advance(DAY);
        assert_eq!(on.store.doomed(9).await.unwrap().len(), 1);
    }

    pub(super) async fn the_cap_gives_up_the_oldest_first(on: Fixture) {
        let settings = WorkspaceSettings { keep_bytes: Some(600), ..WorkspaceSettings::default() };
        let name = "Acme".to_owned();
        on.store.update_workspace(&change(), on.workspace.id, name, settings).await.unwrap();
        let mut images = Vec::new();
        for number in 0..6 {
            let name = format!("{number}{}", "x".repeat(99));
            on.blob(on.first, &name).await;
            let image = Fixture::image(&[&name], &["v1"]);
            on.put(on.first, image.clone()).await.unwrap();
            images.push(image);
            on.clock.advance(HOUR);
        }
        // Each kept image has its manifest and a blob of 100 bytes.
        let each = u64::try_from(images[0].bytes.len()).unwrap() + 100;
        let fit = usize::try_from(600 / each).unwrap();
        let held = on.store.held(on.workspace.id, 9999).await.unwrap();
        assert_eq!((held.held.manifests, held.held.bytes()), (5, 5 * each));
        let caps = on.store.collect(64, 400).await.unwrap().caps;
        assert_eq!(caps, [on.workspace.id]);
        let given_up = on.store.enforce_cap(on.workspace.id, 9999).await.unwrap();
        assert_eq!(given_up, u64::try_from(5 - fit).unwrap());
        let kept: Vec<_> = on.store.kept(on.first, 9).await.unwrap();
        let kept: Vec<_> = kept
            .iter()
            .map(|item| match item.what {
                Kept::Tag { digest, .. } => digest,
                _ => panic!("only a tag moved"),
            })
            .collect();
        let newest: Vec<_> = images[5 - fit..5].iter().rev().map(|image| image.digest).collect();
        assert_eq!(kept, newest);
        assert_eq!(on.store.enforce_cap(on.workspace.id, 9999).await.unwrap(), 0);
    }

    pub(super) async fn the_preview_is_what_the_receipt_says_later(on: Fixture) {
        for blob in ["a", "b", "c"] {
            on.blob(on.first, blob).await;
        }
        on.blob(on.second, "c").await;
        on.put(on.second, Fixture::image(&["c"], &["other"])).await.unwrap();
        let image = Fixture::image(&["a", "b", "c"], &["v1", "v2"]);
        on.put(on.first, image.clone()).await.unwrap();
        on.put(on.first, Fixture::image(&["b"], &["v3"])).await.unwrap();
        later(&on).await;
        let one = Selection::Tags(vec![tag("v1")]);
        let nothing = on.store.preview(on.first, &one, 999).await.unwrap();
        assert_eq!(nothing.freed, Freed::default(), "v2 leads to it too");
        on.store.delete_tag(&change(), on.first, &tag("v2")).await.unwrap();
        let preview = on.store.preview(on.first, &one, 999).await.unwrap();
        let size = u64::try_from(image.bytes.len()).unwrap();
        let expected = Freed { manifests: 1, manifest_bytes: size, blobs: 1, blob_bytes: 1 };
        assert_eq!(preview, Preview { freed: expected, at_least: false });
        on.store.delete_tag(&change(), on.first, &tag("v1")).await.unwrap();
        assert_eq!(later(&on).await, expected);
        let package = on.store.preview(on.first, &Selection::Package, 999).await.unwrap();
        on.store.delete_package(&change(), on.first).await.unwrap();
        assert_eq!(later(&on).await, package.freed);
        let cut = on.store.preview(on.second, &Selection::Package, 0).await.unwrap();
        assert!(cut.at_least);
    }
}
