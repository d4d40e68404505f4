//! Random changes to a store, made of what it has.
//!
//! Invariant: a step says everything it needs, ids and object keys included, so that two stores that
//! begin alike and run the same steps in the same order hold the same rows. A method of
//! [`MetadataStore`] that changes something belongs here.

use crate::domain::{
    Digest, ObjectKey, PackageId, PackageName, RepositoryId, Tag, Timestamp, UploadId, WorkspaceId,
};
use crate::metadata::suite::seeded::Seeded;
use crate::metadata::suite::{Fixture, change, digest, index};
use crate::metadata::{
    DocumentKind, Leased, MetadataStore, NewManifest, NewUpload, PackageFilter, Page, Pull, Pulls,
    Result, Target,
};

/// Packages that come and go, beside those of the fixture.
const NAMES: [&str; 4] = ["one", "two", "three", "three/deep"];
/// Few tags, blobs and documents, so that steps meet.
const TAGS: usize = 3;
const BLOBS: usize = 6;
/// More open uploads than this are finished before another begins.
const MOST_UPLOADS: usize = 4;

/// One change.
#[derive(Clone, Debug)]
pub(super) enum Step {
    CreatePackage(PackageName),
    DeleteBlob(PackageId, Digest),
    DeleteDocument(u64),
    DeleteManifest(PackageId, Digest),
    DeletePackage(PackageId),
    DeleteTag(PackageId, Tag),
    EndUpload(UploadId),
    FinishUpload { id: UploadId, content: String, object: ObjectKey },
    ForgetDoomed(Vec<ObjectKey>),
    Mount { to: PackageId, from: PackageId, digest: Digest },
    PutDocument(Option<u64>),
    PutManifest(PackageId, Box<NewManifest>),
    RecordPulls(Pull),
    RenewLease(PackageId, Leased, Digest),
    SettleUpload(UploadId),
    StartUpload(Target, UploadId),
}

/// What a store has that steps can be about.
#[derive(Debug)]
pub(super) struct Stock {
    workspace: WorkspaceId,
    repository: RepositoryId,
    packages: Vec<PackageId>,
    uploads: Vec<UploadId>,
    doomed: Vec<ObjectKey>,
    document: Option<u64>,
}

const DOCUMENT: &str = "ann";

impl Stock {
    pub(super) async fn of(store: &dyn MetadataStore) -> Result<Self> {
        let all = || Page { after: None, limit: 100 };
        let workspace = store.workspaces(all()).await?[0].id;
        let packages = store.packages(workspace, &PackageFilter::default(), all()).await?;
        let document = store.document(DocumentKind::User, DOCUMENT).await?;
        Ok(Self {
            workspace,
            repository: store.repositories(workspace, all()).await?[0].id,
            packages: packages.into_iter().map(|package| package.id).collect(),
            uploads: store.uploads(None, 100).await?.into_iter().map(|upload| upload.id).collect(),
            doomed: store.doomed(100).await?,
            document: document.map(|document| document.version),
        })
    }

    /// One step, or several that are asked for at once and can share a transaction. Those are of one
    /// package, whose changes are made in the order they were asked for.
    pub(super) fn steps(&self, random: &mut Seeded) -> Vec<Step> {
        match self.packages.as_slice() {
            [] => vec![Step::CreatePackage(random.pick(&NAMES).parse().unwrap())],
            packages if random.percent(40) => {
                let package = random.pick(packages);
                (0..2 + random.below(3)).map(|_| self.in_package(random, package)).collect()
            }
            packages if random.percent(50) => {
                let package = random.pick(packages);
                vec![self.in_package(random, package)]
            }
            packages => vec![self.elsewhere(random, packages)],
        }
    }

    fn in_package(&self, random: &mut Seeded, package: PackageId) -> Step {
        match random.below(20) {
            0..3 if self.uploads.len() < MOST_UPLOADS => {
                Step::StartUpload(Target::Existing(package), upload_id(random))
            }
            0..6 => Step::Mount {
                to: package,
                from: random.pick(&self.packages),
                digest: digest(&content(random)),
            },
            6 => Step::DeleteBlob(package, digest(&content(random))),
            7 => Step::RenewLease(package, Leased::Blob, digest(&content(random))),
            8 => Step::RenewLease(package, Leased::Manifest, image(random).digest),
            9..15 => Step::PutManifest(package, tagged(image(random), random)),
            15..17 => {
                let children = [image(random), image(random)];
                let children: Vec<_> = children.iter().take(1 + random.below(2)).collect();
                Step::PutManifest(package, tagged(index(&children, &[]), random))
            }
            17 => Step::DeleteManifest(package, image(random).digest),
            _ => Step::DeleteTag(package, tag(random)),
        }
    }

    fn elsewhere(&self, random: &mut Seeded, packages: &[PackageId]) -> Step {
        let finish = |random: &mut Seeded| Step::FinishUpload {
            id: random.pick(&self.uploads),
            content: content(random),
            object: ObjectKey(uuid::Uuid::from_u128(random.id())),
        };
        match random.below(24) {
            0..10 if !self.uploads.is_empty() => finish(random),
            20.. if !self.uploads.is_empty() => Step::SettleUpload(random.pick(&self.uploads)),
            10 if !self.uploads.is_empty() => Step::EndUpload(random.pick(&self.uploads)),
            0..11 => Step::StartUpload(self.target(random), upload_id(random)),
            11 => Step::CreatePackage(random.pick(&NAMES).parse().unwrap()),
            12 => Step::DeletePackage(random.pick(packages)),
            13..15 if !self.doomed.is_empty() => Step::ForgetDoomed(self.doomed.clone()),
            13..17 => Step::PutDocument(self.document),
            17 => Step::DeleteDocument(self.document.unwrap_or(0)),
            _ => Step::RecordPulls(Pull {
                package: random.pick(packages),
                digest: image(random).digest,
                tag: random.percent(50).then(|| tag(random)),
                pulls: Pulls { count: 2, last: Some(Timestamp(1_800_000_000_000)) },
            }),
        }
    }

    fn target(&self, random: &mut Seeded) -> Target {
        let name = random.pick(&NAMES).parse().unwrap();
        Target::Create { workspace: self.workspace, name, repository: self.repository }
    }
}

fn upload_id(random: &mut Seeded) -> UploadId {
    UploadId(uuid::Uuid::from_u128(random.id()))
}

fn content(random: &mut Seeded) -> String {
    format!("blob{}", random.below(BLOBS))
}

fn tag(random: &mut Seeded) -> Tag {
    format!("t{}", random.below(TAGS)).parse().unwrap()
}

fn image(random: &mut Seeded) -> NewManifest {
    let blobs: Vec<_> = (0..1 + random.below(3)).map(|_| content(random)).collect();
    Fixture::image(&blobs.iter().map(String::as_str).collect::<Vec<_>>(), &[])
}

fn tagged(mut manifest: NewManifest, random: &mut Seeded) -> Box<NewManifest> {
    if random.percent(70) {
        manifest.tags.push(tag(random));
    }
    Box::new(manifest)
}

impl Step {
    /// Whether the store may answer without its writer, and so before steps that were asked earlier.
    pub(super) const fn may_ask_no_writer(&self) -> bool {
        matches!(self, Self::StartUpload(..))
    }

    /// Asks a store to do it; the answer in words, so that answers of two stores can be compared.
    pub(super) async fn ask(&self, store: &dyn MetadataStore, stock: &Stock) -> Result<String> {
        let (change, user) = (change(), DocumentKind::User);
        let answer = match self.clone() {
            Self::CreatePackage(name) => {
                let (workspace, repository) = (stock.workspace, stock.repository);
                let made = store.create_package(&change, workspace, &name, repository).await?;
                format!("{made:?}")
            }
            Self::DeleteBlob(package, digest) => {
                said(&store.delete_blob(&change, package, &digest).await?)
            }
            Self::DeleteDocument(version) => {
                said(&store.delete_document(&change, user, DOCUMENT, version).await?)
            }
            Self::DeleteManifest(package, digest) => {
                said(&store.delete_manifest(&change, package, &digest).await?)
            }
            Self::DeletePackage(package) => said(&store.delete_package(&change, package).await?),
            Self::DeleteTag(package, tag) => said(&store.delete_tag(&change, package, &tag).await?),
            Self::EndUpload(id) => said(&store.end_upload(id).await?),
            Self::FinishUpload { id, content, object } => {
                let (digest, size) = (digest(&content), content.len() as u64);
                said(&store.finish_upload(&change, id, &digest, object, size).await?)
            }
            Self::ForgetDoomed(keys) => said(&store.forget_doomed(&keys).await?),
            Self::Mount { to, from, digest } => {
                said(&store.mount_blob(&change, &Target::Existing(to), from, &digest).await?)
            }
            Self::PutDocument(version) => {
                let body = vec![7; 100];
                said(&store.put_document(&change, user, DOCUMENT, version, body).await?)
            }
            Self::PutManifest(package, new) => {
                said(&store.put_manifest(&change, &Target::Existing(package), *new).await?)
            }
            Self::RecordPulls(pull) => said(&store.record_pulls(vec![pull]).await?),
            Self::RenewLease(package, item, digest) => {
                said(&store.renew_lease(package, item, &digest).await?)
            }
            Self::SettleUpload(id) => said(&store.settle_upload(id).await?),
            Self::StartUpload(target, id) => {
                let upload = NewUpload { id, owner: "user:ann".to_owned(), declared: None };
                said(&store.start_upload(&change, &target, upload).await?)
            }
        };
        Ok(answer)
    }
}

fn said(answer: &impl std::fmt::Debug) -> String {
    format!("{answer:?}")
}
