//! The first page: the workspaces that the viewer has a part in.

use super::error::WebError;
use super::fields::Fields;
use super::page::{Html, Page, Place};
use super::parts::{bytes, empty, pager};
use super::sign_in;
use super::viewer::Viewer;
use super::{PAGE, percent};
use crate::app::App;
use crate::domain::Slug;
use crate::metadata::{self, Workspace, WorkspaceUsage};
use crate::registry::access::Administered;
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use maud::{Markup, html};
use std::sync::Arc;

/// A workspace as the viewer may see it.
pub(super) struct Room {
    /// The workspace.
    pub(super) workspace: Workspace,
    /// The proof, if the viewer administers it.
    pub(super) administered: Option<Administered<Workspace>>,
}

impl Room {
    /// Whether the viewer administers it.
    pub(super) const fn is_admins(&self) -> bool {
        self.administered.is_some()
    }
}

/// Looks a workspace up.
pub(super) async fn room(app: &App, viewer: &Viewer, slug: &Slug) -> Result<Room> {
    match app.registry.workspace_admin(viewer.caller(), slug).await {
        Ok(access) => {
            let workspace = access.subject().clone();
            Ok(Room { workspace, administered: Some(access) })
        }
        Err(RegistryError::AdministratorsOnly(_)) => {
            let workspace = app.registry.visible_workspace(viewer.caller(), slug).await?;
            Ok(Room { workspace, administered: None })
        }
        Err(error) => Err(error),
    }
}

/// The list, or a welcome for those who are not signed in.
pub(super) async fn home(
    viewer: std::result::Result<Viewer, WebError>,
    State(app): State<Arc<App>>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let viewer = match viewer {
        Ok(viewer) => viewer,
        Err(WebError::Elsewhere(_)) => return Ok(sign_in::landing(&app)),
        Err(error) => return Err(error),
    };
    let page = metadata::Page { after: query.some("after").map(str::to_owned), limit: PAGE + 1 };
    let mut found = app.registry.workspaces(viewer.caller(), page).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let mut rows = Vec::new();
    for workspace in found {
        let usage = app.registry.workspace_usage(&workspace).await?;
        rows.push((workspace, usage));
    }
    let next = rows.last().filter(|_| more);
    let next = next.map(|(last, _)| format!("/?after={}", percent(last.slug.as_str())));
    let first = query.some("after").map(|_| "/");
    let content = html! {
        div.head {
            h1 { "Workspaces" }
            @if viewer.is_instance_admin() { a.button href="/instance/create-workspace" { "Create workspace" } }
        }
        @if rows.is_empty() { (nothing(&viewer)) } @else { (list(&rows)) }
        (pager(first, next.as_deref()))
    };
    let page =
        Page { viewer: &viewer, title: "Workspaces", place: Place::Nowhere, crumbs: Vec::new() };
    Ok(page.show(&content))
}

fn nothing(viewer: &Viewer) -> Markup {
    if viewer.is_instance_admin() {
        let advice = html! {
            p { "A workspace holds repositories and the images that are pushed for them. Begin with one, named as your workspace in Bitbucket is." }
            p { a.button.main href="/instance/create-workspace" { "Create the first workspace" } }
        };
        return empty("There is no workspace yet", &advice);
    }
    let advice = html! {
        p { "You see a workspace here as soon as you have a role on one of its repositories. Ask whoever administers it for one, and tell them your user name: " strong { (viewer.name()) } "." }
    };
    empty("You have no part in any workspace yet", &advice)
}

fn list(rows: &[(Workspace, WorkspaceUsage)]) -> Markup {
    html! {
        table.list {
            thead { tr { th scope="col" { "Workspace" } th scope="col" { "Name" } th.right scope="col" { "Stored" } } }
            tbody {
                @for (workspace, usage) in rows {
                    tr {
                        th scope="row" { a href={ "/w/" (workspace.slug) } { (workspace.slug) } }
                        td data-label="Name" { (workspace.name) }
                        td.right data-label="Stored" { (bytes(usage.blob_bytes + usage.manifest_bytes)) }
                    }
                }
            }
        }
    }
}
