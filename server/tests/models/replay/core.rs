//! The real core as a walk sees it: a store of its own, and what the model's numbers are called there.

use crate::rows::{ITEMS, Item, PACKAGES, TAGS};
use crate::world::World;
use bytes::Bytes;
use standpipe_server::clock::Clock;
use standpipe_server::domain::manifest::{OCI_INDEX, OCI_MANIFEST};
use standpipe_server::domain::{
    Algorithm, Change, Digest, ManifestView, ObjectKey, PackageId, PackageName, Reference,
    RepositoryId, Tag, Timestamp, UploadId, Visibility, WorkspaceId, WorkspaceSettings,
};
use standpipe_server::metadata::redb::{RedbOptions, RedbStore};
use standpipe_server::metadata::{
    FinishedUpload, Leased, MetadataStore, NewManifest, NewUpload, NewWorkspace, RepositoryFields,
    Result, Target,
};
use std::time::Duration;

/// Longer than nothing is collected after a start.
const GUARD: Duration = Duration::from_secs(3600);

pub(super) fn change() -> Change {
    Change::by_server("replay")
}

#[derive(Debug)]
pub(super) struct Core {
    /// `None` only while it is being opened again.
    store: Option<RedbStore>,
    /// Where the store is, if it is to outlive a crash.
    file: Option<tempfile::TempDir>,
    pub(super) clock: Clock,
    pub(super) settings: WorkspaceSettings,
    workspace: WorkspaceId,
    repository: RepositoryId,
    pub(super) ids: [Option<PackageId>; PACKAGES],
    names: [PackageName; PACKAGES],
    tags: [Tag; TAGS],
    digests: [Digest; ITEMS],
    manifests: [Option<NewManifest>; ITEMS],
}

fn open(file: Option<&tempfile::TempDir>, clock: &Clock) -> RedbStore {
    let (options, clock) = (RedbOptions::default(), clock.clone());
    match file {
        Some(file) => RedbStore::open(&file.path().join("meta.redb"), options, clock),
        None => RedbStore::open_with(redb::backends::InMemoryBackend::new, options, clock),
    }
    .unwrap()
}

impl Core {
    pub(super) async fn new(world: &World, settings: WorkspaceSettings) -> Self {
        let clock = Clock::manual(Timestamp(1_800_000_000_000));
        let file = (world.budget.crashes > 0).then(|| tempfile::tempdir().unwrap());
        let store = open(file.as_ref(), &clock);
        clock.advance(GUARD);
        let new = NewWorkspace {
            slug: "acme".parse().unwrap(),
            name: "Acme".to_owned(),
            settings: settings.clone(),
        };
        let workspace = store.create_workspace(&change(), new).await.unwrap().id;
        let fields = RepositoryFields {
            slug: "shop".parse().unwrap(),
            name: "Shop".to_owned(),
            project: None,
            visibility: Visibility::Private,
        };
        let repository = store.create_repository(&change(), workspace, fields).await.unwrap().id;
        let manifests = manifests(world);
        let digest = |at: usize| {
            let blob = || Algorithm::Sha256.hash(content(at).as_bytes());
            manifests[at].as_ref().map_or_else(blob, |manifest| manifest.digest)
        };
        Self {
            store: Some(store),
            file,
            clock,
            settings,
            workspace,
            repository,
            ids: [None; PACKAGES],
            names: world.names.map(|name| format!("package{name}").parse().unwrap()),
            tags: std::array::from_fn(|tag| format!("t{tag}").parse().unwrap()),
            digests: std::array::from_fn(digest),
            manifests,
        }
    }

    pub(super) fn store(&self) -> &RedbStore {
        self.store.as_ref().expect("open")
    }

    /// The process ends and begins again on what it has committed.
    pub(super) fn reopen(&mut self) {
        self.store = None;
        self.store = Some(open(self.file.as_ref(), &self.clock));
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn digest(&self, item: Item) -> &Digest {
        &self.digests[item.index()]
    }

    pub(super) fn item(&self, digest: &Digest) -> Item {
        Item::all().find(|item| self.digest(*item) == digest).expect("a known digest")
    }

    pub(super) fn tag(&self, tag: u8) -> &Tag {
        &self.tags[usize::from(tag)]
    }

    pub(super) fn tag_number(&self, tag: &Tag) -> u8 {
        (0..TAGS as u8).find(|one| self.tag(*one) == tag).expect("a known tag")
    }

    /// The id of a package that was created.
    pub(super) fn id(&self, package: u8) -> PackageId {
        self.ids[usize::from(package)].expect("created")
    }

    pub(super) async fn create(&mut self, package: u8) -> Result<()> {
        let name = &self.names[usize::from(package)];
        let (workspace, repository) = (self.workspace, self.repository);
        let made = self.store().create_package(&change(), workspace, name, repository).await?;
        self.ids[usize::from(package)] = Some(made.id);
        Ok(())
    }

    /// The id that a package's name leads to.
    pub(super) async fn resolve(&self, package: u8) -> Result<Option<PackageId>> {
        let name = format!("acme/{}", self.names[usize::from(package)]).parse().unwrap();
        let found = self.store().resolve(&name).await?.package;
        Ok(found.map(|(package, _)| package.id))
    }

    /// What a HEAD by somebody who may push sees: whether the item is there and, if it is, whether
    /// its confirmation must be written down.
    pub(super) async fn look(&self, package: u8, item: Item) -> Result<Option<bool>> {
        let (id, digest) = (self.id(package), *self.digest(item));
        if item.is_blob() {
            let found = self.store().blob(id, &digest).await?;
            return Ok(found.map(|facts| facts.lease_wanted));
        }
        let found = self.store().manifest_facts(id, &Reference::Digest(digest)).await?;
        Ok(found.map(|facts| facts.lease_wanted))
    }

    pub(super) async fn renew(&self, package: u8, item: Item) -> Result<bool> {
        let kind = if item.is_blob() { Leased::Blob } else { Leased::Manifest };
        self.store().renew_lease(self.id(package), kind, self.digest(item)).await
    }

    pub(super) async fn start_upload(&self, package: u8) -> Result<(UploadId, ObjectKey)> {
        let id = UploadId::random();
        let upload = NewUpload { id, owner: "user:ann".to_owned(), declared: None };
        let target = Target::Existing(self.id(package));
        self.store().start_upload(&change(), &target, upload).await?;
        Ok((id, ObjectKey::mint(self.now())))
    }

    pub(super) async fn finish_upload(
        &self,
        (upload, object): (UploadId, ObjectKey),
        blob: Item,
    ) -> Result<FinishedUpload> {
        let size = content(blob.index()).len() as u64;
        let digest = self.digest(blob);
        self.store().finish_upload(&change(), upload, digest, object, size).await
    }

    /// Gives up an upload that was refused, as the registry does.
    pub(super) async fn end_upload(&self, upload: UploadId) -> Result<()> {
        self.store().end_upload(upload).await
    }

    pub(super) async fn mount(&self, package: u8, from: u8, blob: Item) -> Result<PackageId> {
        let (target, source) = (Target::Existing(self.id(package)), self.id(from));
        self.store().mount_blob(&change(), &target, source, self.digest(blob)).await
    }

    pub(super) async fn check(&self) -> Result<Vec<String>> {
        self.store().check().await
    }

    /// Pushes a manifest; whether the package did not have it.
    pub(super) async fn put(&self, package: u8, manifest: Item, tags: &[u8]) -> Result<bool> {
        let mut new = self.manifests[manifest.index()].clone().expect("a manifest");
        new.tags = tags.iter().map(|tag| self.tag(*tag).clone()).collect();
        let target = Target::Existing(self.id(package));
        Ok(self.store().put_manifest(&change(), &target, new).await?.new)
    }
}

/// The bytes of a blob.
fn content(blob: usize) -> String {
    format!("blob{blob}")
}

/// A manifest for each item that has content in the model: an image if it needs blobs, else an index.
fn manifests(world: &World) -> [Option<NewManifest>; ITEMS] {
    let mut made: [Option<NewManifest>; ITEMS] = Default::default();
    for item in Item::manifests() {
        let content = world.content(item);
        if !content.needs.is_empty() {
            made[item.index()] = Some(manifest(item, content, &made));
        }
    }
    made
}

fn manifest(
    item: Item,
    wanted: crate::world::Content,
    made: &[Option<NewManifest>; ITEMS],
) -> NewManifest {
    let describe = |one: Item| match &made[one.index()] {
        Some(NewManifest { digest, media_type, bytes, .. }) => {
            let size = bytes.len();
            format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
        }
        None => {
            let bytes = content(one.index());
            let digest = Algorithm::Sha256.hash(bytes.as_bytes());
            format!(r#"{{"mediaType":"x","digest":"{digest}","size":{}}}"#, bytes.len())
        }
    };
    let needs: Vec<_> = Item::all().filter(|one| wanted.needs.holds(*one)).map(describe).collect();
    let (media_type, needs) = match Item::all().find(|one| wanted.needs.holds(*one)) {
        Some(first) if first.is_blob() => {
            let layers = needs[1..].join(",");
            (OCI_MANIFEST, format!(r#""config":{},"layers":[{layers}]"#, needs[0]))
        }
        _ => (OCI_INDEX, format!(r#""manifests":[{}]"#, needs.join(","))),
    };
    let subject = wanted.subject.map(|one| format!(r#","subject":{}"#, describe(one)));
    let subject = subject.unwrap_or_default();
    let text = format!(r#"{{{needs}{subject},"annotations":{{"number":"{}"}}}}"#, item.0);
    NewManifest {
        digest: Algorithm::Sha256.hash(text.as_bytes()),
        media_type: media_type.to_owned(),
        view: ManifestView::parse(media_type, text.as_bytes(), 4000).unwrap(),
        bytes: Bytes::from(text),
        tags: Vec::new(),
    }
}
