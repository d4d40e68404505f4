//! Stored forms of values.
//!
//! Invariant: the first byte of a value is its format, and a value of an unknown format or with
//! bytes left over is [`MetadataError::Corrupt`], never a guess. No `Option` of redb's own is stored
//! (its encoding changes with redb 5).

use super::keys::{KeyReader, digest_bytes};
use crate::domain::{
    Change, CreateOnPush, Digest, ObjectKey, Origin, PackageId, RepositoryId, Timestamp,
    Visibility, WorkspaceId, WorkspaceSettings,
};
use crate::metadata::{
    AuditEvent, AuditPlace, HistoryRow, ManifestFacts, MetadataError, Package, Pulls, Repository,
    RepositoryFields, Result, Stamped, TagEvent, Upload, Workspace,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The format of every row so far.
const FORMAT: u8 = 1;

/// A stored value.
pub(super) trait Row: Serialize + DeserializeOwned {
    /// What it is called when it cannot be read.
    const NAME: &'static str;

    fn encode(&self) -> Vec<u8> {
        // Why this cannot fail: postcard fails on maps of unknown length and on full fixed buffers,
        // and these are plain structs going into a growing one.
        postcard::to_extend(self, vec![FORMAT]).expect("plain structs always encode")
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = || MetadataError::Corrupt(Self::NAME);
        let Some((&FORMAT, rest)) = bytes.split_first() else { return Err(damaged()) };
        match postcard::take_from_bytes(rest) {
            Ok((row, [])) => Ok(row),
            _ => Err(damaged()),
        }
    }
}

macro_rules! row {
    ($name:ident, $text:literal) => {
        impl Row for $name {
            const NAME: &'static str = $text;
        }
    };
}

/// A digest inside a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RawDigest(Vec<u8>);

impl From<&Digest> for RawDigest {
    fn from(digest: &Digest) -> Self {
        Self(digest_bytes(digest))
    }
}

impl RawDigest {
    pub(super) fn read(&self) -> Result<Digest> {
        let mut reader = KeyReader(&self.0);
        match reader.digest() {
            Some(digest) if reader.0.is_empty() => Ok(digest),
            _ => Err(MetadataError::Corrupt("digest")),
        }
    }
}

/// Who changed something and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StampRow {
    pub(super) at: u64,
    actor: String,
    credential: Option<String>,
    request_id: String,
    user_agent: Option<String>,
    pipeline: Option<String>,
    build: Option<String>,
    commit: Option<String>,
    branch: Option<String>,
}

impl StampRow {
    pub(super) fn new(change: &Change, at: Timestamp) -> Self {
        let change = change.clone();
        Self {
            at: at.0,
            actor: change.actor,
            credential: change.credential,
            request_id: change.request_id,
            user_agent: change.origin.user_agent,
            pipeline: change.origin.pipeline,
            build: change.origin.build,
            commit: change.origin.commit,
            branch: change.origin.branch,
        }
    }

    pub(super) fn read(self) -> Stamped {
        Stamped {
            at: Timestamp(self.at),
            change: Change {
                actor: self.actor,
                credential: self.credential,
                request_id: self.request_id,
                origin: Origin {
                    user_agent: self.user_agent,
                    pipeline: self.pipeline,
                    build: self.build,
                    commit: self.commit,
                    branch: self.branch,
                },
                event: None,
            },
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct InstanceRow {
    pub(super) id: [u8; 16],
    pub(super) format: u32,
}
row!(InstanceRow, "instance");

/// A single number: counters, the last moment seen, ids behind names.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct NumberRow(pub(super) u64);
row!(NumberRow, "number");

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DocumentRow {
    pub(super) version: u64,
    pub(super) body: Vec<u8>,
    pub(super) changed: StampRow,
}
row!(DocumentRow, "document");

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WorkspaceRow {
    slug: String,
    name: String,
    create_on_push: u8,
    default_repository: Option<String>,
    lease: u64,
    keep: u64,
    keep_bytes: Option<u64>,
    purge: u64,
    sparse_indexes: bool,
    created: StampRow,
}
row!(WorkspaceRow, "workspace");

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl WorkspaceRow {
    pub(super) fn new(workspace: &Workspace) -> Self {
        let settings = &workspace.settings;
        Self {
            slug: workspace.slug.to_string(),
            name: workspace.name.clone(),
            create_on_push: match settings.create_on_push {
                CreateOnPush::Never => 0,
                CreateOnPush::Admins => 1,
                CreateOnPush::Writers => 2,
            },
            default_repository: settings.default_repository.as_ref().map(ToString::to_string),
            lease: millis(settings.lease),
            keep: millis(settings.keep),
            keep_bytes: settings.keep_bytes,
            purge: millis(settings.purge),
            sparse_indexes: settings.sparse_indexes,
            created: StampRow::new(&workspace.created.change, workspace.created.at),
        }
    }

    pub(super) fn read(self, id: WorkspaceId) -> Result<Workspace> {
        let damaged = || MetadataError::Corrupt("workspace");
        Ok(Workspace {
            id,
            slug: self.slug.parse().map_err(|_| damaged())?,
            name: self.name,
            settings: WorkspaceSettings {
                create_on_push: match self.create_on_push {
                    0 => CreateOnPush::Never,
                    1 => CreateOnPush::Admins,
                    2 => CreateOnPush::Writers,
                    _ => return Err(damaged()),
                },
                default_repository: match self.default_repository {
                    Some(slug) => Some(slug.parse().map_err(|_| damaged())?),
                    None => None,
                },
                lease: Duration::from_millis(self.lease),
                keep: Duration::from_millis(self.keep),
                keep_bytes: self.keep_bytes,
                purge: Duration::from_millis(self.purge),
                sparse_indexes: self.sparse_indexes,
            },
            created: self.created.read(),
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RepositoryRow {
    workspace: u64,
    slug: String,
    name: String,
    project: Option<String>,
    public: bool,
    created: StampRow,
}
row!(RepositoryRow, "repository");

impl RepositoryRow {
    pub(super) fn new(repository: &Repository) -> Self {
        let fields = &repository.fields;
        Self {
            workspace: repository.workspace.0,
            slug: fields.slug.to_string(),
            name: fields.name.clone(),
            project: fields.project.as_ref().map(ToString::to_string),
            public: fields.visibility == Visibility::Public,
            created: StampRow::new(&repository.created.change, repository.created.at),
        }
    }

    pub(super) fn read(self, id: RepositoryId) -> Result<Repository> {
        let damaged = || MetadataError::Corrupt("repository");
        Ok(Repository {
            id,
            workspace: WorkspaceId(self.workspace),
            fields: RepositoryFields {
                slug: self.slug.parse().map_err(|_| damaged())?,
                name: self.name,
                project: match self.project {
                    Some(key) => Some(key.parse().map_err(|_| damaged())?),
                    None => None,
                },
                visibility: if self.public { Visibility::Public } else { Visibility::Private },
            },
            created: self.created.read(),
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PackageRow {
    pub(super) workspace: u64,
    pub(super) name: String,
    pub(super) repository: u64,
    pub(super) created: StampRow,
    pub(super) updated: u64,
    /// Who deleted it, if it was; its content is held until the due entry.
    pub(super) deleted: Option<StampRow>,
    /// The next history row's number.
    pub(super) next_sequence: u64,
    /// No later than an eighth of a lease after the last time a writer was told that referenced
    /// content is there (`confirm`).
    pub(super) confirmed: u64,
    /// It was deleted and its keeping was ended early.
    pub(super) given_up: bool,
    /// It was deleted and its removal has begun: there is no way back.
    pub(super) removing: bool,
}
row!(PackageRow, "package");

impl PackageRow {
    pub(super) fn read(self, id: PackageId) -> Result<Package> {
        Ok(Package {
            id,
            workspace: WorkspaceId(self.workspace),
            name: self.name.parse().map_err(|_| MetadataError::Corrupt("package"))?,
            repository: RepositoryId(self.repository),
            created: self.created.read(),
            updated: Timestamp(self.updated),
        })
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct BlobRow {
    pub(super) object: [u8; 16],
    pub(super) size: u64,
    /// The object is not what it should be; the next push of the digest replaces it.
    pub(super) damaged: bool,
}
row!(BlobRow, "blob");

impl BlobRow {
    pub(super) const fn object(&self) -> ObjectKey {
        ObjectKey(uuid::Uuid::from_bytes(self.object))
    }
}

/// Which blob an object is; the reverse of [`BlobRow`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ObjectRow {
    pub(super) workspace: u64,
    pub(super) digest: RawDigest,
}
row!(ObjectRow, "object");

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LinkRow {
    pub(super) lease: u64,
    pub(super) hidden: Option<StampRow>,
    /// The keeping of what is hidden was ended early.
    pub(super) given_up: bool,
}
row!(LinkRow, "link");

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ManifestRow {
    pub(super) media_type: String,
    pub(super) size: u64,
    pub(super) artifact_type: Option<String>,
    pub(super) config: Option<RawDigest>,
    pub(super) subject: Option<RawDigest>,
    pub(super) annotations: Vec<(String, String)>,
    pub(super) blobs: Vec<RawDigest>,
    pub(super) children: Vec<RawDigest>,
    /// Children that were not there when a sparse index was admitted.
    pub(super) missing: Vec<RawDigest>,
    pub(super) closure_bytes: u64,
    pub(super) pushed: StampRow,
    pub(super) lease: u64,
    pub(super) hidden: Option<StampRow>,
    /// The keeping of what is hidden was ended early.
    pub(super) given_up: bool,
    /// It holds its own subject in some way, so it does not live by it: a circle would never end.
    pub(super) independent: bool,
}
row!(ManifestRow, "manifest");

impl ManifestRow {
    /// Whether its subject, if it has one and it is there, holds it.
    pub(super) const fn lives_by_subject(&self) -> bool {
        !self.independent && self.hidden.is_none()
    }

    pub(super) fn read(self, digest: Digest, lease_wanted: bool) -> Result<ManifestFacts> {
        let optional = |raw: Option<RawDigest>| raw.map(|raw| raw.read()).transpose();
        Ok(ManifestFacts {
            digest,
            media_type: self.media_type,
            size: self.size,
            artifact_type: self.artifact_type,
            config: optional(self.config)?,
            subject: optional(self.subject)?,
            annotations: self.annotations,
            closure_bytes: self.closure_bytes,
            pushed: self.pushed.read(),
            lease_wanted,
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TagValue {
    pub(super) digest: RawDigest,
    pub(super) moved: StampRow,
}
row!(TagValue, "tag");

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HistoryValue {
    pub(super) deleted: bool,
    pub(super) from: Option<RawDigest>,
    pub(super) to: Option<RawDigest>,
    pub(super) moved: StampRow,
}
row!(HistoryValue, "history");

impl HistoryValue {
    pub(super) fn new(event: TagEvent, change: &Change, at: Timestamp) -> Self {
        let moved = StampRow::new(change, at);
        match event {
            TagEvent::Deleted(digest) => {
                Self { deleted: true, from: Some((&digest).into()), to: None, moved }
            }
            TagEvent::Moved { from, to } => Self {
                deleted: false,
                from: from.as_ref().map(Into::into),
                to: Some((&to).into()),
                moved,
            },
        }
    }

    pub(super) fn read(self, tag: crate::domain::Tag, sequence: u64) -> Result<HistoryRow> {
        let from = self.from.map(|raw| raw.read()).transpose()?;
        let to = self.to.map(|raw| raw.read()).transpose()?;
        let event = match (self.deleted, from, to) {
            (true, Some(digest), None) => TagEvent::Deleted(digest),
            (false, from, Some(to)) => TagEvent::Moved { from, to },
            _ => return Err(MetadataError::Corrupt("history")),
        };
        Ok(HistoryRow { tag, sequence, event, moved: self.moved.read() })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct UploadRow {
    package: u64,
    workspace: u64,
    owner: String,
    started: StampRow,
}
row!(UploadRow, "upload");

impl UploadRow {
    pub(super) fn new(upload: &Upload) -> Self {
        Self {
            package: upload.package.0,
            workspace: upload.workspace.0,
            owner: upload.owner.clone(),
            started: StampRow::new(&upload.started.change, upload.started.at),
        }
    }

    pub(super) const fn package(&self) -> PackageId {
        PackageId(self.package)
    }

    pub(super) fn read(self, id: crate::domain::UploadId) -> Upload {
        Upload {
            id,
            package: PackageId(self.package),
            workspace: WorkspaceId(self.workspace),
            owner: self.owner,
            started: self.started.read(),
        }
    }
}

/// What an upload was declared to become.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DeclaredRow {
    pub(super) digest: RawDigest,
}
row!(DeclaredRow, "declared upload");

/// An event of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AuditRow {
    pub(super) workspace: Option<u64>,
    pub(super) by: StampRow,
    pub(super) action: String,
    pub(super) target: String,
    pub(super) details: Vec<(String, String)>,
    pub(super) count: u64,
    pub(super) first: u64,
}
row!(AuditRow, "audit event");

impl AuditRow {
    pub(super) fn read(self, place: AuditPlace) -> AuditEvent {
        AuditEvent {
            place,
            workspace: self.workspace.map(WorkspaceId),
            by: self.by.read(),
            action: self.action,
            target: self.target,
            details: self.details,
            count: self.count,
            first: Timestamp(self.first),
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct DoomedRow {
    pub(super) workspace: u64,
    pub(super) size: u64,
    /// Not removed before this.
    pub(super) when: u64,
}
row!(DoomedRow, "doomed object");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WorkspaceUsageRow {
    pub(super) blob_bytes: u64,
    pub(super) manifest_bytes: u64,
    pub(super) doomed_bytes: u64,
}
row!(WorkspaceUsageRow, "workspace totals");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PackageUsageRow {
    pub(super) linked_bytes: u64,
    pub(super) exclusive_bytes: u64,
    pub(super) manifest_bytes: u64,
}
row!(PackageUsageRow, "package totals");

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct PullsRow {
    pub(super) count: u64,
    pub(super) last: Option<u64>,
}
row!(PullsRow, "pulls");

impl PullsRow {
    pub(super) fn read(self) -> Pulls {
        Pulls { count: self.count, last: self.last.map(Timestamp) }
    }
}

/// A row whose key says everything.
pub(super) const EMPTY: &[u8] = &[FORMAT];
