//! The list of packages across workspaces.
//!
//! Invariant: only what the caller may read is listed, looked up now.

use super::{Registry, Result};
use crate::domain::{Caller, Name, RepositoryId};
use crate::metadata::{Package, PackageFilter, Page, Workspace};
use std::collections::HashMap;

/// How many rows are read at a time.
const BATCH: usize = 200;

/// A place in the list, which is ordered by workspace and then by package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    workspace: String,
    package: String,
}

impl Position {
    /// After a name, which need not exist; a text without a slash stands before the packages of the
    /// workspace it names.
    #[must_use]
    pub fn after(name: &str) -> Self {
        let (workspace, package) = name.split_once('/').unwrap_or((name, ""));
        Self { workspace: workspace.to_owned(), package: package.to_owned() }
    }
}

impl Registry {
    /// The packages that the caller may pull from, at most `limit`, in order.
    ///
    /// # Errors
    /// [`RegistryError::Unauthenticated`](super::RegistryError::Unauthenticated) for those who show no
    /// credential, or a registry token that was not issued for the list.
    pub async fn catalog(
        &self,
        caller: &Caller,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Name>> {
        self.may_list(caller)?;
        let mut names = Vec::new();
        let mut cursor = None;
        if let Some(Position { workspace, package }) = after {
            // A text that is no slug names no workspace, and the list goes on behind it.
            let begun = match workspace.parse() {
                Ok(slug) => self.metadata.workspace(&slug).await?,
                Err(_) => None,
            };
            if let Some(begun) = begun {
                self.list_workspace(caller, &begun, Some(package), limit, &mut names).await?;
            }
            cursor = Some(workspace);
        }
        while names.len() < limit {
            let page = Page { after: cursor.clone(), limit: BATCH };
            let workspaces = self.metadata.workspaces(page).await?;
            let Some(last) = workspaces.last() else { break };
            cursor = Some(last.slug.to_string());
            for workspace in &workspaces {
                self.list_workspace(caller, workspace, None, limit, &mut names).await?;
            }
        }
        names.truncate(limit);
        Ok(names)
    }

    /// Adds a workspace's packages, until there are `limit` or a few more.
    async fn list_workspace(
        &self,
        caller: &Caller,
        workspace: &Workspace,
        mut after: Option<String>,
        limit: usize,
        names: &mut Vec<Name>,
    ) -> Result<()> {
        let mut readable: HashMap<RepositoryId, bool> = HashMap::new();
        while names.len() < limit {
            let page = Page { after, limit: BATCH };
            let filter = PackageFilter::default();
            let packages = self.metadata.packages(workspace.id, &filter, page).await?;
            let Some(last) = packages.last() else { break };
            after = Some(last.name.to_string());
            for Package { name, repository, .. } in packages {
                let known = readable.get(&repository).copied();
                let visible = match known {
                    Some(visible) => visible,
                    None => self.may_read(caller, workspace.id, repository).await?,
                };
                readable.insert(repository, visible);
                if visible {
                    names.push(Name { workspace: workspace.slug.clone(), package: name });
                }
            }
        }
        Ok(())
    }
}
