//! Looking: what the pages show, in as few reads as there are things to show.
//!
//! Invariant: nothing is changed here. Looking is no pull, so it is not counted, and it promises
//! nothing to a client, so it renews no lease. A blob is read only through a link of a package that
//! the caller may read, and never more than [`LARGEST_READ`] bytes of it.

use super::access::{Administered, InstanceAdmin};
use super::image::ImageConfig;
use super::{Registry, RegistryError, Result};
use crate::blobs::BlobError;
use crate::domain::manifest::outline::Outline;
use crate::domain::{Caller, Digest, ProjectKey, Reference, RepositoryId, Timestamp, UploadId};
use crate::metadata::{
    BlobUse, Held, HistoryRow, Largest, ListCursor, ManifestInspection, ManifestOverview,
    MetadataError, Order, Package, PackageList, PackageQuery, Preview, ReaderStatistics,
    Repository, Selection, TagEvent, TagList, TagQuery, Upcoming, Upload, Workspace,
};
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The largest blob that is read for a page, in bytes.
pub const LARGEST_READ: u64 = 4 << 20;
/// The largest config that is read only to tell a platform in a list.
const LARGEST_IN_LIST: u64 = 256 << 10;
/// How many platforms are remembered.
const MOST_REMEMBERED: usize = 10_000;
/// The most children of an index, and the most referrers, that a page shows.
pub const MOST_PARTS: usize = 50;
/// How many upload sessions are looked through.
const MOST_UPLOADS: usize = 1_000;
/// How many rows a search looks at for a page.
const MOST_PROBES: u64 = 5_000;
/// The same for what a whole workspace holds, which takes several rows for each probe.
const MOST_HELD_PROBES: u64 = 2_000;
/// How many packages are looked through for the largest ones, so that a page does not grow with them.
const MOST_WEIGHED: usize = 500;

/// Which packages of a workspace a list is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shelf {
    /// All.
    #[default]
    Workspace,
    /// Those of a project's repositories.
    Project(ProjectKey),
    /// Those of a repository.
    Repository(RepositoryId),
}

/// What a list of packages or tags wants, past what it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only names that begin with this.
    pub prefix: String,
    /// How it is sorted.
    pub order: Order,
    /// Only what comes after this.
    pub after: Option<ListCursor>,
    /// At most this many.
    pub limit: usize,
}

/// What was read of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobRead {
    /// All of it.
    Content(Vec<u8>),
    /// It has so many bytes, which is more than is read.
    TooLarge(u64),
    /// It cannot be read: the reason, for people.
    Unreadable(String),
}

/// An upload that is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningUpload {
    /// The session.
    pub upload: Upload,
    /// The package it goes to, unless that was deleted.
    pub package: Option<Package>,
    /// The bytes that are there; `None` while somebody writes or if it is gone.
    pub bytes: Option<u64>,
    /// When the last of them came, if that was since the start of the server.
    pub last: Option<Timestamp>,
}

/// Platforms of configs, which never change.
#[derive(Debug, Default)]
pub(super) struct Platforms(Mutex<HashMap<Digest, Option<String>>>);

impl Platforms {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Option<String>>> {
        // A map of texts is whole at every moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, digest: Digest, platform: Option<String>) {
        let mut known = self.lock();
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(digest, platform);
    }
}

impl Registry {
    /// A page of the packages that the caller may read.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn package_list(
        &self,
        caller: &Caller,
        workspace: &Workspace,
        shelf: &Shelf,
        wanted: Wanted,
    ) -> Result<PackageList> {
        let repositories = self.visible_repositories(caller, workspace, shelf).await?;
        let Wanted { prefix, order, after, limit } = wanted;
        let query = PackageQuery { repositories, prefix, order, after, limit };
        Ok(self.metadata.package_list(workspace.id, query).await?)
    }

    /// The repositories of a shelf that the caller may read; `None` for all of the workspace.
    async fn visible_repositories(
        &self,
        caller: &Caller,
        workspace: &Workspace,
        shelf: &Shelf,
    ) -> Result<Option<Vec<RepositoryId>>> {
        let everything = self.is_workspace_admin(caller, workspace.id).await?;
        let all = match shelf {
            Shelf::Workspace if everything => return Ok(None),
            Shelf::Repository(id) => {
                let found = self.metadata.repository_by_id(*id).await?;
                found.filter(|found| found.workspace == workspace.id).into_iter().collect()
            }
            Shelf::Workspace | Shelf::Project(_) => self.all_repositories(workspace.id).await?,
        };
        let mut visible = Vec::new();
        for repository in all {
            if let Shelf::Project(project) = shelf
                && repository.fields.project.as_ref() != Some(project)
            {
                continue;
            }
            if everything || self.role(caller, &repository).await?.is_some() {
                visible.push(repository.id);
            }
        }
        Ok(Some(visible))
    }

    /// A page of a package's tags with what they point to.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn tag_list(
        &self,
        access: &Administered<Package>,
        wanted: Wanted,
    ) -> Result<TagList> {
        let Wanted { prefix, order, after, limit } = wanted;
        let query = TagQuery { prefix, order, after, limit };
        Ok(self.metadata.tag_list(access.subject.id, query).await?)
    }

    /// A manifest with everything that a page about it shows.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn inspect(
        &self,
        access: &Administered<Package>,
        reference: &Reference,
    ) -> Result<ManifestInspection> {
        let package = access.subject.id;
        let found = self.metadata.inspect(package, reference, MOST_PARTS, MOST_PARTS).await?;
        found.ok_or_else(|| RegistryError::NotFound(format!("manifest {reference}")))
    }

    /// A blob, if it is small enough for a page.
    ///
    /// # Errors
    /// Those of the metadata; what is wrong with the blob itself is told in the answer.
    pub async fn read_small(
        &self,
        access: &Administered<Package>,
        digest: &Digest,
        most: u64,
    ) -> Result<BlobRead> {
        let unreadable = |why: &str| Ok(BlobRead::Unreadable(why.to_owned()));
        let most = most.min(LARGEST_READ);
        let facts = self.metadata.blob(access.subject.id, digest).await?;
        let Some(facts) = facts else { return unreadable("the package does not have it") };
        if facts.damaged {
            return unreadable("it is damaged; pushing the image again heals it");
        }
        if facts.size > most {
            return Ok(BlobRead::TooLarge(facts.size));
        }
        let mut bytes = match self.blobs.read(facts.object, 0, facts.size).await {
            Ok(opened) => opened.bytes,
            Err(BlobError::UnknownObject(_)) => return unreadable("its file is missing"),
            Err(_) => return unreadable("the storage failed; the log says why"),
        };
        let mut content = Vec::new();
        while let Some(piece) = bytes.next().await {
            match piece {
                Ok(piece) => content.extend_from_slice(&piece),
                Err(_) => return unreadable("the storage failed; the log says why"),
            }
        }
        if digest.algorithm().hash(&content) != *digest {
            return unreadable("it is damaged; standpipe-server verify says more");
        }
        Ok(BlobRead::Content(content))
    }

    /// The platforms of what a list shows: an index says them itself, an image's are in its config.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn platforms(
        &self,
        access: &Administered<Package>,
        manifest: &ManifestOverview,
    ) -> Result<Vec<String>> {
        let outline = manifest.bytes.as_deref().and_then(Outline::read).unwrap_or_default();
        if !outline.manifests.is_empty() {
            return Ok(outline.platforms().into_iter().map(str::to_owned).collect());
        }
        let Some(config) = outline.config.filter(|part| is_image_config(&part.media_type)) else {
            return Ok(Vec::new());
        };
        if let Some(known) = self.platforms.lock().get(&config.digest) {
            return Ok(known.iter().cloned().collect());
        }
        let read = self.read_small(access, &config.digest, LARGEST_IN_LIST).await?;
        let BlobRead::Content(content) = read else { return Ok(Vec::new()) };
        let platform = ImageConfig::read(&content).and_then(|config| config.platform);
        self.platforms.remember(config.digest, platform.clone());
        Ok(platform.into_iter().collect())
    }

    /// How widely blobs of a package are used, in the order asked for.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn blob_uses(
        &self,
        access: &Administered<Package>,
        digests: Vec<Digest>,
    ) -> Result<Vec<BlobUse>> {
        Ok(self.metadata.blob_uses(access.subject.id, digests).await?)
    }

    /// Those of some tags that are not there any more because of a deletion, with that deletion.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn deleted_tags(
        &self,
        access: &Administered<Package>,
        tags: &[crate::domain::Tag],
    ) -> Result<Vec<HistoryRow>> {
        let mut found = Vec::new();
        for tag in tags {
            let last = self.metadata.history(access.subject.id, Some(tag), 1).await?;
            let gone = |row: &HistoryRow| matches!(row.event, TagEvent::Deleted(_));
            found.extend(last.into_iter().filter(gone));
        }
        Ok(found)
    }

    /// The repository a package is linked to.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if it was deleted meanwhile.
    pub async fn repository_of(&self, access: &Administered<Package>) -> Result<Repository> {
        let found = self.metadata.repository_by_id(access.subject.repository).await?;
        found.ok_or_else(|| RegistryError::no_package(&access.subject.name))
    }

    /// What of a workspace is looked at again next.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn upcoming(
        &self,
        access: &Administered<Workspace>,
        limit: usize,
    ) -> Result<Upcoming> {
        Ok(self.metadata.upcoming(access.subject.id, limit).await?)
    }

    /// The packages of a workspace that have most bytes of their own, among the first by name.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn largest_packages(
        &self,
        access: &Administered<Workspace>,
        limit: usize,
    ) -> Result<Largest> {
        Ok(self.metadata.largest_packages(access.subject.id, limit, MOST_WEIGHED).await?)
    }

    /// The uploads of a workspace that are going on, oldest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn running_uploads(
        &self,
        access: &Administered<Workspace>,
    ) -> Result<Vec<RunningUpload>> {
        let workspace = access.subject.id;
        self.uploads_where(|upload| upload.workspace == workspace).await
    }

    /// The uploads of the whole instance that are going on, oldest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn all_running_uploads(&self, _proof: InstanceAdmin) -> Result<Vec<RunningUpload>> {
        self.uploads_where(|_| true).await
    }

    async fn uploads_where(&self, wanted: impl Fn(&Upload) -> bool) -> Result<Vec<RunningUpload>> {
        let mut running = Vec::new();
        for upload in self.metadata.uploads(None, MOST_UPLOADS).await? {
            if !wanted(&upload) {
                continue;
            }
            let package = self.metadata.package(upload.package).await?;
            let bytes = self.blobs.upload_offset(upload.id).await.ok();
            let last = self.collector.last_byte(upload.id);
            running.push(RunningUpload { upload, package, bytes, last });
        }
        running.sort_by_key(|running| running.upload.started.at);
        Ok(running)
    }

    /// Cancels somebody's upload, for administrators of the workspace.
    ///
    /// # Errors
    /// [`RegistryError::UploadUnknown`]; [`RegistryError::UploadBusy`].
    pub async fn cancel_running_upload(
        &self,
        access: &Administered<Workspace>,
        id: UploadId,
    ) -> Result<()> {
        let upload = self.metadata.upload(id).await?;
        upload
            .filter(|upload| upload.workspace == access.subject.id)
            .ok_or(RegistryError::UploadUnknown)?;
        match self.blobs.cancel_upload(id).await {
            Ok(()) | Err(BlobError::UnknownUpload(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.collector.ended(id);
        Ok(self.deleting(|| self.metadata.end_upload(id)).await?)
    }

    /// What a workspace holds that no tag leads to, as far as a page may search.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn held_in_part(&self, workspace: &Workspace) -> Result<Held> {
        Ok(self.metadata.held(workspace.id, MOST_HELD_PROBES).await?)
    }

    /// What a deletion would free, as far as a page may search.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn preview_in_part(
        &self,
        access: &Administered<Package>,
        selection: &Selection,
    ) -> Result<Preview> {
        match self.metadata.preview(access.subject.id, selection, MOST_PROBES).await {
            Err(MetadataError::NotFound) => {
                Err(RegistryError::NotFound("such tag or manifest in the package".to_owned()))
            }
            other => Ok(other?),
        }
    }

    /// What reading the metadata has cost since the start.
    #[must_use]
    pub fn reader_statistics(&self) -> ReaderStatistics {
        self.metadata.reader_statistics()
    }
}

/// Whether a config is an image's.
#[must_use]
pub fn is_image_config(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json"
    )
}
