//! The contract of the metadata seam, one test for each sentence, on every backend.
//!
//! A test takes a [`Fixture`], works through the trait only, and at the end the store's own recount
//! must find nothing.

mod collection;
mod history;
mod holding;
mod random;
pub(super) mod seeded;

use super::redb::{RedbOptions, RedbStore};
use super::*;
use crate::clock::Clock;
use crate::domain::manifest::{OCI_INDEX, OCI_MANIFEST};
use crate::domain::{Algorithm, ManifestView, Visibility};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A store with a workspace, a repository and two packages.
pub(super) struct Fixture {
    pub(super) store: Arc<dyn MetadataStore>,
    pub(super) clock: Clock,
    pub(super) workspace: Workspace,
    pub(super) repository: Repository,
    pub(super) first: PackageId,
    pub(super) second: PackageId,
}

pub(super) fn change() -> Change {
    Change::by_server("test")
}

pub(super) fn digest(text: &str) -> Digest {
    Algorithm::Sha256.hash(text.as_bytes())
}

impl Fixture {
    pub(super) async fn new(store: Arc<dyn MetadataStore>, clock: Clock) -> Self {
        let new = NewWorkspace {
            slug: "acme".parse().unwrap(),
            name: "Acme".to_owned(),
            settings: WorkspaceSettings::default(),
        };
        let workspace = store.create_workspace(&change(), new).await.unwrap();
        let fields = fields("shop");
        let repository = store.create_repository(&change(), workspace.id, fields).await.unwrap();
        let mut ids = Vec::new();
        for name in ["one", "two"] {
            let name = name.parse().unwrap();
            let made = store.create_package(&change(), workspace.id, &name, repository.id).await;
            ids.push(made.unwrap().id);
        }
        Self { store, clock, workspace, repository, first: ids[0], second: ids[1] }
    }

    /// Uploads a blob whose content is its name.
    pub(super) async fn blob(&self, package: PackageId, text: &str) -> (Digest, Option<ObjectKey>) {
        let id = UploadId::random();
        let upload = NewUpload { id, owner: "user:ann".to_owned(), declared: None };
        self.store.start_upload(&change(), &Target::Existing(package), upload).await.unwrap();
        let object = ObjectKey::mint(self.clock.now());
        let size = u64::try_from(text.len()).unwrap();
        let digest = digest(text);
        let done = self.store.finish_upload(&change(), id, &digest, object, size).await.unwrap();
        (digest, done.loser)
    }

    /// An image of these blobs, each named by its content; the first is the config.
    pub(super) fn image(blobs: &[&str], tags: &[&str]) -> NewManifest {
        let one = |text: &&str| {
            format!(r#"{{"mediaType":"x","digest":"{}","size":{}}}"#, digest(text), text.len())
        };
        let layers: Vec<_> = blobs[1..].iter().map(one).collect();
        let text = format!(r#"{{"config":{},"layers":[{}]}}"#, one(&blobs[0]), layers.join(","));
        manifest(OCI_MANIFEST, &text, tags)
    }

    pub(super) async fn put(
        &self,
        package: PackageId,
        manifest: NewManifest,
    ) -> Result<PutManifest> {
        self.store.put_manifest(&change(), &Target::Existing(package), manifest).await
    }

    pub(super) async fn assert_sound(&self) {
        assert_eq!(self.store.check().await.unwrap(), Vec::<String>::new());
    }
}

pub(super) fn fields(slug: &str) -> RepositoryFields {
    RepositoryFields {
        slug: slug.parse().unwrap(),
        name: slug.to_owned(),
        project: None,
        visibility: Visibility::Private,
    }
}

pub(super) fn manifest(media_type: &str, text: &str, tags: &[&str]) -> NewManifest {
    NewManifest {
        digest: digest(text),
        media_type: media_type.to_owned(),
        bytes: Bytes::from(text.to_owned()),
        view: ManifestView::parse(media_type, text.as_bytes(), 4000).unwrap(),
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
    }
}

pub(super) fn index(children: &[&NewManifest], tags: &[&str]) -> NewManifest {
    let one = |child: &&NewManifest| {
        let (kind, digest) = (&child.media_type, child.digest);
        format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{}}}"#, child.bytes.len())
    };
    let children: Vec<_> = children.iter().map(one).collect();
    manifest(OCI_INDEX, &format!(r#"{{"manifests":[{}]}}"#, children.join(",")), tags)
}

/// Stamps every test on every backend.
macro_rules! suite {
    ($($name:ident,)*) => {
        mod redb_file {
            $(#[tokio::test]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                let clock = Clock::manual(Timestamp(1_800_000_000_000));
                let path = directory.path().join("meta.redb");
                let store = super::RedbStore::open(&path, Default::default(), clock.clone());
                let store = std::sync::Arc::new(store.unwrap());
                super::$name(super::Fixture::new(store, clock).await).await;
            })*
            use crate::{clock::Clock, domain::Timestamp};
        }
        mod redb_memory {
            $(#[tokio::test]
            async fn $name() {
                let clock = Clock::manual(Timestamp(1_800_000_000_000));
                let backend = redb::backends::InMemoryBackend::new;
                let store = super::RedbStore::open_with(backend, Default::default(), clock.clone());
                let store = std::sync::Arc::new(store.unwrap());
                super::$name(super::Fixture::new(store, clock).await).await;
            })*
            use crate::{clock::Clock, domain::Timestamp};
        }
    };
}

suite! {
    a_blob_is_visible_only_in_the_packages_that_link_it,
    a_blob_stored_twice_in_a_workspace_is_one_blob_and_a_loser,
    a_blobs_packages_are_those_that_show_it,
    a_deleted_blob_is_hidden_until_it_is_pushed_again,
    a_deleted_package_frees_its_name_and_hides_its_content,
    a_document_is_written_only_over_the_version_it_was_read_at,
    a_manifest_that_names_missing_content_is_refused_and_leaves_nothing,
    a_manifest_that_says_a_wrong_size_is_refused,
    a_mount_needs_a_visible_link_in_the_same_workspace,
    a_repository_with_packages_is_not_deleted,
    a_target_to_create_is_created_with_the_first_upload_or_used_if_it_is_there,
    an_index_holds_its_children_and_counts_shared_content_once,
    a_confirmation_is_written_down_when_less_than_a_lease_is_left,
    lists_are_sorted_and_paged,
    names_resolve_to_package_and_repository_at_one_moment,
    referrers_are_found_also_before_their_subject_and_filtered_by_type,
    slugs_are_taken_once,
    totals_tell_linked_from_exclusive_bytes,
    uploads_end_once,
    an_upload_is_found_by_what_it_was_declared_to_become_until_it_ends,
}

async fn a_blob_is_visible_only_in_the_packages_that_link_it(on: Fixture) {
    let (blob, _) = on.blob(on.first, "layer").await;
    assert_eq!(on.store.blob(on.first, &blob).await.unwrap().unwrap().size, 5);
    assert_eq!(on.store.blob(on.second, &blob).await.unwrap(), None);
    on.assert_sound().await;
}

async fn a_blob_stored_twice_in_a_workspace_is_one_blob_and_a_loser(on: Fixture) {
    let (blob, loser) = on.blob(on.first, "layer").await;
    assert_eq!(loser, None);
    let (_, loser) = on.blob(on.second, "layer").await;
    let loser = loser.expect("the second object loses");
    let first = on.store.blob(on.first, &blob).await.unwrap().unwrap();
    assert_eq!(on.store.blob(on.second, &blob).await.unwrap().unwrap().object, first.object);
    assert_eq!(on.store.doomed(10).await.unwrap(), [loser]);
    assert_eq!(on.store.known_objects(&[loser, first.object]).await.unwrap(), [true, true]);
    let usage = on.store.workspace_usage(on.workspace.id).await.unwrap();
    assert_eq!((usage.blob_bytes, usage.doomed_bytes), (5, 5));
    on.assert_sound().await;
    on.store.forget_doomed(&[loser]).await.unwrap();
    on.store.forget_doomed(&[loser]).await.unwrap();
    assert_eq!(on.store.workspace_usage(on.workspace.id).await.unwrap().doomed_bytes, 0);
    assert_eq!(on.store.known_objects(&[loser]).await.unwrap(), [false]);
    on.assert_sound().await;
}

async fn a_blobs_packages_are_those_that_show_it(on: Fixture) {
    let (blob, _) = on.blob(on.first, "layer").await;
    let packages = async |limit| -> Vec<PackageId> {
        let found = on.store.blob_packages(on.workspace.id, &blob, limit).await.unwrap();
        found.iter().map(|package| package.id).collect()
    };
    assert_eq!(packages(10).await, [on.first]);
    on.blob(on.second, "layer").await;
    assert_eq!(packages(10).await, [on.first, on.second]);
    assert_eq!(packages(1).await, [on.first]);
    let elsewhere = on.store.blob_packages(WorkspaceId(999), &blob, 10).await.unwrap();
    assert_eq!(elsewhere, []);
    on.store.delete_blob(&change(), on.first, &blob).await.unwrap();
    assert_eq!(packages(1).await, [on.second]);
    on.store.delete_package(&change(), on.second).await.unwrap();
    assert_eq!(packages(10).await, []);
    on.assert_sound().await;
}

async fn a_deleted_blob_is_hidden_until_it_is_pushed_again(on: Fixture) {
    let (blob, _) = on.blob(on.first, "layer").await;
    on.store.delete_blob(&change(), on.first, &blob).await.unwrap();
    assert_eq!(on.store.blob(on.first, &blob).await.unwrap(), None);
    let again = on.store.delete_blob(&change(), on.first, &blob).await;
    assert!(matches!(again, Err(MetadataError::NotFound)));
    let image = Fixture::image(&["layer"], &["v1"]);
    assert!(matches!(on.put(on.first, image).await, Err(MetadataError::MissingContent(_))));
    on.blob(on.first, "layer").await;
    assert!(on.store.blob(on.first, &blob).await.unwrap().is_some());
    on.assert_sound().await;
}

async fn a_deleted_package_frees_its_name_and_hides_its_content(on: Fixture) {
    on.blob(on.first, "config").await;
    on.put(on.first, Fixture::image(&["config"], &["v1"])).await.unwrap();
    on.store.delete_package(&change(), on.first).await.unwrap();
    assert_eq!(on.store.package(on.first).await.unwrap(), None);
    assert_eq!(on.store.blob(on.first, &digest("config")).await.unwrap(), None);
    let tag = Reference::Tag("v1".parse().unwrap());
    assert_eq!(on.store.manifest(on.first, &tag).await.unwrap(), None);
    assert!(on.store.tags(on.first, Page { after: None, limit: 9 }).await.unwrap().is_empty());
    assert!(on.store.tag_names(on.first, Page { after: None, limit: 9 }).await.unwrap().is_empty());
    let name = "one".parse().unwrap();
    let made = on.store.create_package(&change(), on.workspace.id, &name, on.repository.id).await;
    assert_ne!(made.unwrap().id, on.first, "ids are never reused");
    on.assert_sound().await;
}

async fn a_document_is_written_only_over_the_version_it_was_read_at(on: Fixture) {
    let kind = DocumentKind::User;
    assert!(put_fails(&on, Some(1)).await, "nothing is there yet");
    let change = change();
    assert_eq!(on.store.put_document(&change, kind, "ann", None, b"1".to_vec()).await.unwrap(), 1);
    assert!(put_fails(&on, None).await, "it is there already");
    assert_eq!(
        on.store.put_document(&change, kind, "ann", Some(1), b"2".to_vec()).await.unwrap(),
        2
    );
    assert!(put_fails(&on, Some(1)).await, "it has changed");
    let found = on.store.document(kind, "ann").await.unwrap().unwrap();
    assert_eq!((found.version, found.body), (2, b"2".to_vec()));
    let stale = on.store.delete_document(&change, kind, "ann", 1).await;
    assert!(matches!(stale, Err(MetadataError::Conflict(Conflict::Version))));
    on.store.delete_document(&change, kind, "ann", 2).await.unwrap();
    assert_eq!(on.store.document(kind, "ann").await.unwrap(), None);
}

async fn put_fails(on: &Fixture, expected: Option<u64>) -> bool {
    let change = change();
    let put = on.store.put_document(&change, DocumentKind::User, "ann", expected, Vec::new());
    matches!(put.await, Err(MetadataError::Conflict(Conflict::Version)))
}

async fn a_manifest_that_names_missing_content_is_refused_and_leaves_nothing(on: Fixture) {
    on.blob(on.first, "config").await;
    on.blob(on.second, "layer").await;
    let image = Fixture::image(&["config", "layer"], &["v1"]);
    let refused = on.put(on.first, image.clone()).await;
    // Linked in another package of the same workspace is not enough.
    assert!(matches!(refused, Err(MetadataError::MissingContent(d)) if d == digest("layer")));
    let found = on.store.manifest_facts(on.first, &Reference::Digest(image.digest)).await;
    assert_eq!(found.unwrap(), None);
    assert!(on.store.tags(on.first, Page { after: None, limit: 9 }).await.unwrap().is_empty());
    assert!(on.store.tag_names(on.first, Page { after: None, limit: 9 }).await.unwrap().is_empty());
    on.assert_sound().await;
}

async fn a_manifest_that_says_a_wrong_size_is_refused(on: Fixture) {
    on.blob(on.first, "config").await;
    let text =
        format!(r#"{{"config":{{"mediaType":"x","digest":"{}","size":7}}}}"#, digest("config"));
    let refused = on.put(on.first, manifest(OCI_MANIFEST, &text, &[])).await;
    assert!(matches!(refused, Err(MetadataError::SizeMismatch { actual: 6, said: 7, .. })));
}

async fn a_mount_needs_a_visible_link_in_the_same_workspace(on: Fixture) {
    let (blob, _) = on.blob(on.first, "layer").await;
    let target = Target::Existing(on.second);
    on.store.mount_blob(&change(), &target, on.first, &blob).await.unwrap();
    assert!(on.store.blob(on.second, &blob).await.unwrap().is_some());
    let other = digest("other");
    let missing = on.store.mount_blob(&change(), &target, on.first, &other).await;
    assert!(matches!(missing, Err(MetadataError::NotFound)));
    on.store.delete_blob(&change(), on.first, &blob).await.unwrap();
    let hidden = on.store.mount_blob(&change(), &target, on.first, &blob).await;
    assert!(matches!(hidden, Err(MetadataError::NotFound)));
    let new = NewWorkspace {
        slug: "other".parse().unwrap(),
        name: String::new(),
        settings: WorkspaceSettings::default(),
    };
    let foreign = on.store.create_workspace(&change(), new).await.unwrap().id;
    let repository = on.store.create_repository(&change(), foreign, fields("x")).await.unwrap().id;
    let name: PackageName = "x".parse().unwrap();
    let target = Target::Create { workspace: foreign, name, repository };
    let across = on.store.mount_blob(&change(), &target, on.second, &blob).await;
    assert!(matches!(across, Err(MetadataError::NotFound)));
    let page = Page { after: None, limit: 9 };
    let packages = on.store.packages(foreign, &PackageFilter::default(), page).await.unwrap();
    assert!(packages.is_empty(), "a refused mount creates no package");
    on.assert_sound().await;
}

async fn a_repository_with_packages_is_not_deleted(on: Fixture) {
    let refused = on.store.delete_repository(&change(), on.repository.id).await;
    assert!(matches!(refused, Err(MetadataError::Conflict(Conflict::HasPackages))));
    for package in [on.first, on.second] {
        on.store.delete_package(&change(), package).await.unwrap();
    }
    on.store.delete_repository(&change(), on.repository.id).await.unwrap();
    assert_eq!(on.store.repository_by_id(on.repository.id).await.unwrap(), None);
    let slug = "shop".parse().unwrap();
    assert_eq!(on.store.repository(on.workspace.id, &slug).await.unwrap(), None);
}

async fn a_target_to_create_is_created_with_the_first_upload_or_used_if_it_is_there(on: Fixture) {
    let name: PackageName = "three/deep".parse().unwrap();
    let (workspace, repository) = (on.workspace.id, on.repository.id);
    let target = Target::Create { workspace, name: name.clone(), repository };
    let mut packages = Vec::new();
    for _ in 0..2 {
        let upload =
            NewUpload { id: UploadId::random(), owner: "user:ann".to_owned(), declared: None };
        let started = on.store.start_upload(&change(), &target, upload).await.unwrap();
        packages.push(started.package);
    }
    assert_eq!(packages[0], packages[1]);
    assert_eq!(on.store.package(packages[0]).await.unwrap().unwrap().name, name);
    // The same name, now linked to another repository: the planned right does not hold for it.
    let other = on.store.create_repository(&change(), workspace, fields("other")).await.unwrap().id;
    let target = Target::Create { workspace, name, repository: other };
    let upload = NewUpload { id: UploadId::random(), owner: "user:ann".to_owned(), declared: None };
    let refused = on.store.start_upload(&change(), &target, upload).await;
    assert!(matches!(refused, Err(MetadataError::NotFound)));
    on.assert_sound().await;
}

async fn an_index_holds_its_children_and_counts_shared_content_once(on: Fixture) {
    for blob in ["a", "b", "shared"] {
        on.blob(on.first, blob).await;
    }
    let left = Fixture::image(&["a", "shared"], &[]);
    let right = Fixture::image(&["b", "shared"], &[]);
    let both = index(&[&left, &right], &["v1"]);
    let refused = on.put(on.first, both.clone()).await;
    assert!(matches!(refused, Err(MetadataError::MissingContent(d)) if d == left.digest));
    on.put(on.first, left.clone()).await.unwrap();
    on.put(on.first, right.clone()).await.unwrap();
    on.put(on.first, both.clone()).await.unwrap();
    let tag = Reference::Tag("v1".parse().unwrap());
    let facts = on.store.manifest_facts(on.first, &tag).await.unwrap().unwrap();
    let bytes = [&left, &right, &both].iter().map(|one| one.bytes.len()).sum::<usize>();
    assert_eq!(facts.closure_bytes, u64::try_from(bytes).unwrap() + 1 + 1 + 6);
    let found = on.store.manifest(on.first, &tag).await.unwrap().unwrap();
    assert_eq!(found.bytes, both.bytes);
    on.assert_sound().await;
}

async fn a_confirmation_is_written_down_when_less_than_a_lease_is_left(on: Fixture) {
    let (blob, _) = on.blob(on.first, "config").await;
    let wanted = || async { on.store.blob(on.first, &blob).await.unwrap().unwrap().lease_wanted };
    assert!(!wanted().await, "the upload gave a fresh lease");
    on.clock.advance(Duration::from_secs(13 * 3600));
    assert!(wanted().await, "less than a lease is left of what was granted");
    assert!(on.store.renew_lease(on.first, Leased::Blob, &blob).await.unwrap());
    assert!(!wanted().await);
    let image = Fixture::image(&["config"], &[]);
    on.put(on.first, image.clone()).await.unwrap();
    on.clock.advance(Duration::from_secs(30 * 3600));
    assert!(wanted().await, "what the manifest refers to may be let go at any time");
    assert!(on.store.renew_lease(on.first, Leased::Blob, &blob).await.unwrap());
    assert!(!wanted().await, "the package remembers the confirmation");
    on.clock.advance(Duration::from_secs(2 * 3600));
    assert!(!wanted().await, "not every confirmation writes");
    on.clock.advance(Duration::from_secs(28 * 3600));
    let reference = Reference::Digest(image.digest);
    let facts = || async { on.store.manifest_facts(on.first, &reference).await.unwrap().unwrap() };
    assert!(facts().await.lease_wanted, "nothing holds the manifest");
    assert!(on.store.renew_lease(on.first, Leased::Manifest, &image.digest).await.unwrap());
    assert!(!facts().await.lease_wanted);
    assert!(!on.store.renew_lease(on.second, Leased::Blob, &blob).await.unwrap());
    on.assert_sound().await;
}

async fn lists_are_sorted_and_paged(on: Fixture) {
    on.blob(on.first, "config").await;
    let tags = ["b", "a", "C", "10", "9", "a-b", "a.b", "a_b"];
    on.put(on.first, Fixture::image(&["config"], &tags)).await.unwrap();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = Page { after: seen.last().cloned(), limit: 3 };
        let found = on.store.tags(on.first, page).await.unwrap();
        if found.is_empty() {
            break;
        }
        assert!(found.len() <= 3);
        let page = Page { after: seen.last().cloned(), limit: 3 };
        let names = on.store.tag_names(on.first, page).await.unwrap();
        let expected: Vec<_> = found.iter().map(|row| row.tag.as_str()).collect();
        assert_eq!(names.iter().collect::<Vec<_>>(), expected);
        assert_eq!(names.more, seen.len() + found.len() < tags.len());
        seen.extend(found.iter().map(|row| row.tag.to_string()));
    }
    let mut sorted = tags.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(seen, sorted);
    let page = Page { after: Some("one".to_owned()), limit: 9 };
    let packages = on.store.packages(on.workspace.id, &PackageFilter::default(), page).await;
    assert_eq!(packages.unwrap().iter().map(|one| one.id).collect::<Vec<_>>(), [on.second]);
}

async fn names_resolve_to_package_and_repository_at_one_moment(on: Fixture) {
    let resolved = on.store.resolve(&"acme/one".parse().unwrap()).await.unwrap();
    let (package, repository) = resolved.package.unwrap();
    assert_eq!((package.id, repository.id), (on.first, on.repository.id));
    let none = on.store.resolve(&"acme/none".parse().unwrap()).await.unwrap();
    assert!(none.workspace.is_some() && none.package.is_none());
    let nowhere = on.store.resolve(&"nowhere/one".parse().unwrap()).await.unwrap();
    assert_eq!(nowhere, Resolution::default());
}

async fn referrers_are_found_also_before_their_subject_and_filtered_by_type(on: Fixture) {
    for blob in ["config", "sig"] {
        on.blob(on.first, blob).await;
    }
    let image = Fixture::image(&["config"], &["v1"]);
    let signature = format!(
        r#"{{"artifactType":"a/sig","config":{{"mediaType":"e","digest":"{}","size":3}},"layers":[],
        "subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":{}}}}}"#,
        digest("sig"),
        image.digest,
        image.bytes.len()
    );
    let signature = manifest(OCI_MANIFEST, &signature, &[]);
    on.put(on.first, signature.clone()).await.unwrap();
    on.put(on.first, image.clone()).await.unwrap();
    let list = |kind: Option<&'static str>, package| {
        let store = Arc::clone(&on.store);
        let subject = image.digest;
        async move {
            let found = store.referrers(package, &subject, kind, None, 9).await.unwrap();
            found.iter().map(|facts| facts.digest).collect::<Vec<_>>()
        }
    };
    assert_eq!(list(None, on.first).await, [signature.digest]);
    assert_eq!(list(Some("a/sig"), on.first).await, [signature.digest]);
    assert!(list(Some("a/other"), on.first).await.is_empty());
    assert!(list(None, on.second).await.is_empty());
    on.store.delete_manifest(&change(), on.first, &signature.digest).await.unwrap();
    assert!(list(None, on.first).await.is_empty());
    on.assert_sound().await;
}

async fn slugs_are_taken_once(on: Fixture) {
    let new = NewWorkspace {
        slug: "acme".parse().unwrap(),
        name: String::new(),
        settings: WorkspaceSettings::default(),
    };
    let taken =
        |error: MetadataError| matches!(error, MetadataError::Conflict(Conflict::SlugTaken));
    assert!(taken(on.store.create_workspace(&change(), new).await.unwrap_err()));
    let again = on.store.create_repository(&change(), on.workspace.id, fields("shop")).await;
    assert!(taken(again.unwrap_err()));
    let name = "one".parse().unwrap();
    let again = on.store.create_package(&change(), on.workspace.id, &name, on.repository.id).await;
    assert!(taken(again.unwrap_err()));
    let other = on.store.create_repository(&change(), on.workspace.id, fields("b")).await.unwrap();
    let renamed = on.store.update_repository(&change(), other.id, fields("shop")).await;
    assert!(taken(renamed.unwrap_err()));
    on.store.update_repository(&change(), other.id, fields("c")).await.unwrap();
    let found = on.store.repository(on.workspace.id, &"b".parse().unwrap()).await.unwrap();
    assert_eq!(found, None, "the old slug is free");
}

async fn totals_tell_linked_from_exclusive_bytes(on: Fixture) {
    on.blob(on.first, "shared").await;
    on.blob(on.first, "own").await;
    let of = |package| on.store.package_usage(package);
    assert_eq!(of(on.first).await.unwrap().exclusive_bytes, 9);
    on.store
        .mount_blob(&change(), &Target::Existing(on.second), on.first, &digest("shared"))
        .await
        .unwrap();
    let first = of(on.first).await.unwrap();
    assert_eq!((first.linked_bytes, first.exclusive_bytes), (9, 3));
    let second = of(on.second).await.unwrap();
    assert_eq!((second.linked_bytes, second.exclusive_bytes), (6, 0));
    assert_eq!(on.store.workspace_usage(on.workspace.id).await.unwrap().blob_bytes, 9);
    on.assert_sound().await;
}

async fn an_upload_is_found_by_what_it_was_declared_to_become_until_it_ends(on: Fixture) {
    let begin = async |package, owner: &str, declared: Option<&str>| {
        let (id, declared) = (UploadId::random(), declared.map(digest));
        let upload = NewUpload { id, owner: owner.to_owned(), declared };
        on.store.start_upload(&change(), &Target::Existing(package), upload).await.unwrap();
        id
    };
    let wanted = begin(on.first, "user:ann", Some("x")).await;
    begin(on.first, "user:ann", Some("y")).await;
    begin(on.first, "user:ann", None).await;
    begin(on.second, "user:ann", Some("x")).await;
    let find = async |limit| {
        let found = on.store.declared_uploads(on.first, &digest("x"), limit).await.unwrap();
        found.into_iter().map(|upload| (upload.id, upload.owner)).collect::<Vec<_>>()
    };
    assert_eq!(find(9).await, [(wanted, "user:ann".to_owned())]);
    let other = begin(on.first, "user:bob", Some("x")).await;
    assert_eq!((find(9).await.len(), find(1).await.len()), (2, 1));
    on.assert_sound().await;
    on.store.end_upload(wanted).await.unwrap();
    let object = ObjectKey::mint(on.clock.now());
    on.store.finish_upload(&change(), other, &digest("x"), object, 1).await.unwrap();
    assert_eq!(find(9).await, []);
    on.assert_sound().await;
}

async fn uploads_end_once(on: Fixture) {
    let id = UploadId::random();
    let upload = NewUpload { id, owner: "user:ann".to_owned(), declared: None };
    on.store.start_upload(&change(), &Target::Existing(on.first), upload).await.unwrap();
    assert_eq!(on.store.upload(id).await.unwrap().unwrap().owner, "user:ann");
    assert_eq!(on.store.uploads(None, 9).await.unwrap().len(), 1);
    on.assert_sound().await;
    on.store.end_upload(id).await.unwrap();
    on.store.end_upload(id).await.unwrap();
    let object = ObjectKey::mint(on.clock.now());
    let late = on.store.finish_upload(&change(), id, &digest("x"), object, 1).await;
    assert!(matches!(late, Err(MetadataError::NotFound)));
    assert_eq!(on.store.known_objects(&[object]).await.unwrap(), [false]);
    on.assert_sound().await;
}
