//! The real registry on a simulated disk, and its verbs in the words of the model.

use super::disk::DatabaseFile;
use super::model::{Model, Session};
use super::operation::{Operation, name_of, settings};
use super::universe::{TAGS, Thing};
use standpipe_server::blobs::fault::{FaultyFiles, SimulatedDisk};
use standpipe_server::blobs::fs::FsBlobStore;
use standpipe_server::blobs::fs::files::Files as _;
use standpipe_server::blobs::{BlobStore, ByteStream};
use standpipe_server::clock::Clock;
use standpipe_server::domain::{
    Action, Algorithm, Caller, Change, Name, PackageId, Principal, Reference, Tag, Timestamp,
    Visibility, WorkspaceId,
};
use standpipe_server::fault::FaultPlan;
use standpipe_server::metadata::documents::{self, Body as _};
use standpipe_server::metadata::redb::{RedbOptions, RedbStore};
use standpipe_server::metadata::{
    DocumentKind, MetadataStore, NewWorkspace, Package, RepositoryFields, Restore,
};
use standpipe_server::registry::access::Administered;
use standpipe_server::registry::blobs::Purpose;
use standpipe_server::registry::manifests::ManifestUpload;
use standpipe_server::registry::startup::StartupReport;
use standpipe_server::registry::uploads::Chunk;
use standpipe_server::registry::{Limits, Registry, RegistryError, Result};
use std::path::Path;
use std::sync::Arc;

/// Where the blobs are on the simulated disk.
const ROOT: &str = "/data";
/// When histories begin.
const START: Timestamp = Timestamp(1_800_000_000_000);

/// A registry with its two stores for looking behind it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) registry: Registry,
    pub(super) metadata: Arc<dyn MetadataStore>,
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) clock: Clock,
    pub(super) plan: FaultPlan,
    pub(super) workspace: WorkspaceId,
    files: SimulatedDisk,
    database: DatabaseFile,
}

pub(super) fn admin() -> Caller {
    Caller::of(Principal::User("admin".parse().unwrap()))
}

pub(super) fn change() -> Change {
    Change::by_server("test")
}

pub(super) fn name(number: u8) -> Name {
    format!("acme/{}", name_of(number)).parse().unwrap()
}

pub(super) fn tag(number: u8) -> Tag {
    TAGS[usize::from(number)].parse().unwrap()
}

/// Whether an error says that the storage failed, rather than that the request was refused.
pub(super) const fn is_fault(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Unavailable(_) | RegistryError::Busy | RegistryError::NoSpace)
}

impl World {
    /// An empty registry with a workspace, a public repository and an administrator.
    pub(super) async fn new() -> Self {
        let files = SimulatedDisk::new();
        files.create_dir(Path::new(ROOT)).unwrap();
        files.sync_dir(Path::new("/")).unwrap();
        let mut world = Self::open(files, DatabaseFile::new(FaultPlan::new()), START);
        let metadata = &world.metadata;
        let user = documents::User { instance_admin: true, ..documents::User::default() };
        let (kind, change) = (DocumentKind::User, change());
        metadata.put_document(&change, kind, "admin", None, user.encode()).await.unwrap();
        let new = NewWorkspace {
            slug: "acme".parse().unwrap(),
            name: String::new(),
            settings: settings(0, 0, 0),
        };
        world.workspace = metadata.create_workspace(&change, new).await.unwrap().id;
        let fields = RepositoryFields {
            slug: "shop".parse().unwrap(),
            name: String::new(),
            project: None,
            visibility: Visibility::Public,
        };
        metadata.create_repository(&change, world.workspace, fields).await.unwrap();
        world.start_up().await;
        world
    }

    fn open(files: SimulatedDisk, database: DatabaseFile, wall: Timestamp) -> Self {
        let (clock, plan) = (Clock::manual(wall), database.plan.clone());
        let (backend, options) = (database.clone(), RedbOptions { cache_bytes: 4 << 20 });
        let store = RedbStore::open_with(move || backend.clone(), options, clock.clone());
        let metadata: Arc<dyn MetadataStore> = Arc::new(store.unwrap());
        let faulty = FaultyFiles::new(files.clone(), plan.clone());
        let blobs: Arc<dyn BlobStore> =
            Arc::new(FsBlobStore::open(Path::new(ROOT), clock.clone(), faulty).unwrap());
        let (limits, meta, objects) = (Limits::default(), metadata.clone(), blobs.clone());
        let registry = Registry::new(meta, objects, clock.clone(), limits, None);
        let workspace = WorkspaceId(0);
        Self { registry, metadata, blobs, clock, plan, workspace, files, database }
    }

    /// What a server does before and while it serves again.
    pub(super) async fn start_up(&self) -> StartupReport {
        self.registry.check_identity().await.unwrap();
        let mut report = self.registry.recover_uploads().await.unwrap();
        report.set_aside = self.registry.sweep().await.unwrap().set_aside;
        report
    }

    /// Stops in good order and starts when the wall clock says `wall`.
    pub(super) fn restart(&mut self, wall: Timestamp) {
        let (files, database) = (self.files.clone(), self.database.clone());
        self.reopen(files, database, wall);
    }

    /// Loses power and starts again.
    pub(super) fn lose_power(&mut self, seed: u64, wall: Timestamp) {
        let files = self.files.after_power_loss(seed);
        let database = self.database.after_power_loss(seed);
        self.reopen(files, database, wall);
    }

    fn reopen(&mut self, files: SimulatedDisk, database: DatabaseFile, wall: Timestamp) {
        self.plan.disarm();
        let workspace = self.workspace;
        // The old one goes first, with its writer.
        let empty = SimulatedDisk::new();
        empty.create_dir(Path::new(ROOT)).unwrap();
        let nothing = DatabaseFile::new(FaultPlan::new());
        drop(std::mem::replace(self, Self::open(empty, nothing, wall)));
        *self = Self::open(files, database, wall);
        self.workspace = workspace;
    }

    /// Names in `lost+found`.
    pub(super) fn lost(&self) -> usize {
        self.files.list(&Path::new(ROOT).join("blobs/lost+found")).map_or(0, |names| names.len())
    }

    pub(super) async fn administered(&self, id: PackageId) -> Result<Administered<Package>> {
        let slug = "acme".parse().unwrap();
        self.registry.package_for(&admin(), &slug, id, Action::DeletePackage).await
    }

    async fn package(&self, number: u8) -> Result<Administered<Package>> {
        let found = self.metadata.resolve(&name(number)).await?.package;
        let id = found.map_or(PackageId(u64::MAX), |(package, _)| package.id);
        self.administered(id).await
    }

    /// Does what the operation says. `false` if it was refused.
    pub(super) async fn run(&self, model: &mut Model, operation: &Operation) -> Result<bool> {
        match self.run_verb(model, operation).await {
            Err(error) if is_fault(&error) => Err(error),
            Err(_) => Ok(false),
            Ok(done) => Ok(done),
        }
    }

    async fn run_verb(&self, model: &mut Model, operation: &Operation) -> Result<bool> {
        use Operation as Op;
        let (registry, change) = (&self.registry, change());
        match operation {
            Op::Upload { name, blob } => {
                let session = self.begin(model, *name, *blob).await?;
                self.finish(model, &session, *name).await
            }
            Op::BeginUpload { name, blob } => {
                let session = self.begin(model, *name, *blob).await?;
                model.sessions.push(session);
                Ok(true)
            }
            Op::FinishUpload(nth) => {
                let Some(session) = model.session(*nth) else { return Ok(false) };
                let name = model.packages.get(&session.package).map_or(0, |package| package.name);
                self.finish(model, &session, name).await
            }
            Op::Mount { to, from, blob } => {
                let access = registry.writable(&admin(), &name(*to)).await?;
                let source = registry.readable(&admin(), &name(*from)).await?;
                let digest = model.universe.digest(Thing::Blob(*blob));
                registry.mount_blob(&access, &change, &source, &digest).await
            }
            Op::Head { name, thing } => self.head(model, *name, *thing).await,
            Op::HeadTag { name: number, tag: of } => {
                let access = registry.readable(&admin(), &name(*number)).await?;
                let reference = Reference::Tag(tag(*of));
                registry.manifest_facts(&access, &reference).await.map(|_| true)
            }
            Op::Put { name, manifest, tag } => self.put(model, *name, *manifest, *tag).await,
            Op::CreatePackage { name } => {
                let (workspace, shop) = ("acme".parse().unwrap(), "shop".parse().unwrap());
                let action = Action::CreatePackage;
                let access = registry.repository_for(&admin(), &workspace, &shop, action).await?;
                let name = name_of(*name).parse().unwrap();
                registry.create_package(&access, &change, &name).await.map(|_| true)
            }
            Op::Settings { lease, keep, cap } => {
                let settings = settings(*lease, *keep, *cap);
                let (id, name) = (self.workspace, String::new());
                self.metadata.update_workspace(&change, id, name, settings).await?;
                Ok(true)
            }
            other => self.run_in_package(model, other).await,
        }
    }

    async fn run_in_package(&self, model: &Model, operation: &Operation) -> Result<bool> {
        use Operation as Op;
        let (registry, change) = (&self.registry, change());
        match operation {
            Op::DeleteTag { name: number, tag: of } => {
                let access = registry.deletable(&admin(), &name(*number)).await?;
                registry.delete_manifest(&access, &change, &Reference::Tag(tag(*of))).await?;
            }
            Op::DeleteManifest { name: number, manifest } => {
                let access = registry.deletable(&admin(), &name(*number)).await?;
                let reference = Reference::Digest(model.universe.manifest(*manifest).digest);
                registry.delete_manifest(&access, &change, &reference).await?;
            }
            Op::DeleteBlob { name: number, blob } => {
                let access = registry.deletable(&admin(), &name(*number)).await?;
                let digest = model.universe.digest(Thing::Blob(*blob));
                registry.delete_blob(&access, &change, &digest).await?;
            }
            Op::DeletePackage { name } => {
                registry.delete_package(&self.package(*name).await?, &change).await?;
            }
            Op::RestoreTag { name, tag: of, to } => {
                let digest = to.map(|to| model.universe.manifest(to).digest);
                let what = Restore::Tag { tag: tag(*of), digest };
                registry.restore(&self.package(*name).await?, &change, &what).await?;
            }
            Op::RestoreManifest { name, manifest } => {
                let what = Restore::Manifest(model.universe.manifest(*manifest).digest);
                registry.restore(&self.package(*name).await?, &change, &what).await?;
            }
            Op::RestorePackage { nth, name } => {
                let Some(id) = model.deleted(*nth) else { return Ok(false) };
                let access = registry.workspace_admin(&admin(), &"acme".parse().unwrap()).await?;
                let access = registry.restorable(&access, id).await?;
                let name = name.map(|name| name_of(name).parse().unwrap());
                registry.restore_package(&access, &change, name, None).await?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn head(&self, model: &Model, number: u8, thing: Thing) -> Result<bool> {
        let registry = &self.registry;
        let access = registry.readable(&admin(), &name(number)).await?;
        let digest = model.universe.digest(thing);
        match thing {
            Thing::Blob(_) => registry.blob(&access, &digest, Purpose::Look).await.map(|_| true),
            Thing::Manifest(_) => {
                let reference = Reference::Digest(digest);
                registry.manifest_facts(&access, &reference).await.map(|_| true)
            }
        }
    }

    async fn put(&self, model: &Model, number: u8, manifest: u8, to: Option<u8>) -> Result<bool> {
        let access = self.registry.writable(&admin(), &name(number)).await?;
        let made = model.universe.manifest(manifest);
        let upload = ManifestUpload {
            reference: to.map_or(Reference::Digest(made.digest), |to| Reference::Tag(tag(to))),
            tags: Vec::new(),
            media_type: made.media_type.to_owned(),
            bytes: made.bytes.clone().into(),
        };
        self.registry.put_manifest(&access, &change(), upload).await.map(|_| true)
    }

    async fn begin(&self, model: &Model, number: u8, blob: u8) -> Result<Session> {
        let registry = &self.registry;
        let access = registry.writable(&admin(), &name(number)).await?;
        let id = registry.start_upload(&access, &change(), Algorithm::Sha256, None).await?.id;
        // The package may have been created just now, and the proof was for a plan.
        let access = registry.writable(&admin(), &name(number)).await?;
        let content = model.universe.blobs[usize::from(blob)].1.clone();
        let body = ByteStream::once(content);
        registry.append_chunk(&access, id, Chunk::default(), body).await?;
        let found = self.metadata.resolve(&name(number)).await?.package;
        let package = found.map_or(PackageId(u64::MAX), |(package, _)| package.id);
        Ok(Session { id, package, blob, touched: self.clock.now(), whole: true })
    }

    async fn finish(&self, model: &Model, session: &Session, number: u8) -> Result<bool> {
        let registry = &self.registry;
        let access = registry.writable(&admin(), &name(number)).await?;
        let digest = model.universe.digest(Thing::Blob(session.blob));
        registry.finish_upload(&access, &change(), session.id, &digest, None).await?;
        Ok(true)
    }
}
