//! Putting back what was deleted or replaced, and giving it up: `admin package …`, `admin tag restore`,
//! `admin receipts`.

use super::client::AdminError;
use super::print::{fields, table};
use super::run::Session;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;

/// What can be done with packages besides creating and deleting them.
#[derive(Subcommand, Clone, Debug)]
pub(super) enum PackageUndo {
    /// List what of a package can be put back, newest first
    Kept {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
    },
    /// List the deleted packages that can be put back
    Deleted {
        /// The workspace's slug
        workspace: String,
    },
    /// Put a deleted package back, or a deleted manifest of a package that is there
    Restore {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
        /// The deleted package's id, if several of the name were deleted
        #[arg(long)]
        id: Option<u64>,
        /// Another name for it, if the name is taken by now
        #[arg(long)]
        name: Option<String>,
        /// Another repository for it, if its own is gone
        #[arg(long, value_name = "SLUG")]
        repository: Option<String>,
        /// Put back this manifest of a package that is there
        #[arg(long, value_name = "DIGEST", conflicts_with_all = ["id", "name", "repository"])]
        digest: Option<String>,
    },
    /// Tell what deleting a package, or some of its tags or manifests, would free in the end
    Preview {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
        /// Only this tag; may be given several times
        #[arg(long)]
        tag: Vec<String>,
        /// Only this manifest, with all its tags; may be given several times
        #[arg(long, value_name = "DIGEST", conflicts_with = "tag")]
        digest: Vec<String>,
    },
    /// Give up what is kept for undo, and free its space now
    Reclaim {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
        /// Only what movements of this tag released
        #[arg(long)]
        tag: Option<String>,
        /// Only this digest
        #[arg(long, conflicts_with = "tag")]
        digest: Option<String>,
        /// The deleted package of this name, not the one that is there
        #[arg(long, conflicts_with_all = ["tag", "digest"])]
        deleted: bool,
        /// The deleted package's id, if several of the name were deleted
        #[arg(long, requires = "deleted")]
        id: Option<u64>,
    },
    /// List what of a package is looked at again, and when
    Pending {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
    },
    /// Tell what keeps a blob or manifest of a package
    Holders {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
        /// The blob's or manifest's digest
        digest: String,
    },
}

/// A deleted package to be found by its name.
struct Wanted<'a> {
    workspace: &'a str,
    name: &'a str,
    id: Option<u64>,
}

impl<O: Write> Session<'_, O> {
    pub(super) async fn package_undo(&mut self, command: PackageUndo) -> Result<(), AdminError> {
        match command {
            PackageUndo::Kept { workspace, package } => {
                let columns = ["kind", "tag", "digest", "at", "by", "until"];
                self.look(&workspace, &package, "kept", &columns).await
            }
            PackageUndo::Deleted { workspace } => {
                let path = ["workspaces", &workspace, "deleted-packages"];
                let items = self.client.list(&path, &[]).await?;
                let columns = ["id", "name", "repository", "at", "by", "until"];
                table(self.out, self.form, items, &columns)
            }
            PackageUndo::Restore { workspace, package, digest: Some(digest), .. } => {
                let body = json!({ "digest": digest });
                let id = self.package_id(&workspace, &package).await?;
                let path = ["workspaces", &workspace, "packages", &id, "restore"];
                let back = self.client.post(&path, body).await?;
                self.say(&back, &format!("manifest {digest} is back in {workspace}/{package}"))
            }
            PackageUndo::Restore { workspace, package, id, name, repository, .. } => {
                let wanted = Wanted { workspace: &workspace, name: &package, id };
                self.restore_package(wanted, name, repository).await
            }
            PackageUndo::Preview { workspace, package, tag, digest } => {
                let id = self.package_id(&workspace, &package).await?;
                let path = ["workspaces", &workspace, "packages", &id, "deletion-preview"];
                let tags = tag.iter().map(|tag| ("tag", tag.as_str()));
                let digests = digest.iter().map(|digest| ("digest", digest.as_str()));
                let query: Vec<_> = tags.chain(digests).collect();
                let found = self.client.get(&path, &query).await?;
                fields(self.out, self.form, &found)
            }
            PackageUndo::Reclaim { workspace, package, tag, digest, deleted, id } => {
                let id = if deleted {
                    self.deleted_id(&Wanted { workspace: &workspace, name: &package, id }).await?
                } else {
                    self.package_id(&workspace, &package).await?
                };
                let path = ["workspaces", &workspace, "packages", &id, "reclaim"];
                let mut body = json!({});
                for (key, value) in [("tag", tag), ("digest", digest)] {
                    if let Some(value) = value {
                        body[key] = value.into();
                    }
                }
                let freed = self.client.post(&path, body).await?;
                fields(self.out, self.form, &freed)
            }
            PackageUndo::Pending { workspace, package } => {
                let columns = ["at", "kind", "tag", "digest", "event.why", "event.by"];
                self.look(&workspace, &package, "pending", &columns).await
            }
            PackageUndo::Holders { workspace, package, digest } => {
                let id = self.package_id(&workspace, &package).await?;
                let path = ["workspaces", &workspace, "packages", &id, "holders"];
                let found = self.client.get(&path, &[("digest", &digest)]).await?;
                fields(self.out, self.form, &found)
            }
        }
    }

    pub(super) async fn restore_tag(
        &mut self,
        workspace: &str,
        package: &str,
        tag: &str,
        digest: Option<String>,
    ) -> Result<(), AdminError> {
        let id = self.package_id(workspace, package).await?;
        let mut body = json!({ "tag": tag });
        if let Some(digest) = digest {
            body["digest"] = digest.into();
        }
        let path = ["workspaces", workspace, "packages", &id];
        let restore = [&path[..], &["restore"]].concat();
        let back = self.client.post(&restore, body).await?;
        let shown = self.client.get(&[&path[..], &["tags", tag]].concat(), &[]).await?;
        let digest = shown["digest"].as_str().unwrap_or_default();
        self.say(&back, &format!("tag {tag} of {workspace}/{package} points to {digest}"))
    }

    pub(super) async fn receipts(&mut self, workspace: &str, limit: u32) -> Result<(), AdminError> {
        let limit = limit.to_string();
        let path = ["workspaces", workspace, "receipts"];
        let found = self.client.get(&path, &[("limit", &limit)]).await?;
        let columns = [
            "event.at",
            "event.why",
            "event.package_name",
            "event.tag",
            "event.by",
            "manifests",
            "blobs",
            "bytes",
            "last_at",
        ];
        table(self.out, self.form, items(found), &columns)
    }

    /// Prints a list of a package that has no pages.
    async fn look(
        &mut self,
        workspace: &str,
        package: &str,
        what: &str,
        columns: &[&str],
    ) -> Result<(), AdminError> {
        let id = self.package_id(workspace, package).await?;
        let path = ["workspaces", workspace, "packages", &id, what];
        let found = self.client.get(&path, &[("limit", "1000")]).await?;
        table(self.out, self.form, items(found), columns)
    }

    async fn restore_package(
        &mut self,
        wanted: Wanted<'_>,
        name: Option<String>,
        repository: Option<String>,
    ) -> Result<(), AdminError> {
        let id = self.deleted_id(&wanted).await?;
        let mut body = json!({});
        for (key, value) in [("name", name), ("repository", repository)] {
            if let Some(value) = value {
                body[key] = value.into();
            }
        }
        let path = ["workspaces", wanted.workspace, "packages", &id, "restore"];
        let back = self.client.post(&path, body).await?;
        let name = back["name"].as_str().unwrap_or(wanted.name);
        self.say(&back, &format!("package {name} is back in {}", wanted.workspace))
    }

    /// The deleted package of a name; of several one has to be chosen.
    async fn deleted_id(&self, wanted: &Wanted<'_>) -> Result<String, AdminError> {
        let Wanted { workspace, name, id } = wanted;
        if let Some(id) = id {
            return Ok(id.to_string());
        }
        let all = self.client.list(&["workspaces", workspace, "deleted-packages"], &[]).await?;
        let mut found = all.iter().filter(|package| package["name"] == *name);
        let refused = |words: String| Err(AdminError::Refused(words));
        match (found.next().and_then(|package| package["id"].as_u64()), found.next()) {
            (Some(id), None) => Ok(id.to_string()),
            (Some(_), Some(_)) => refused(format!(
                "several packages {name} were deleted from {workspace}; choose one with --id: admin package deleted {workspace}"
            )),
            (None, _) => refused(format!("there is no deleted package {name} in {workspace}")),
        }
    }
}

fn items(mut found: Value) -> Vec<Value> {
    found["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
}
