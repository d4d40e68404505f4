//! Repositories: their list, grouped by project, and the packages of one.

use super::PAGE;
use super::error::{WebError, percent};
use super::fields::{At, Fields};
use super::packages::Listing;
use super::page::{Html, Page, Tab};
use super::parts::{badge, empty, pager};
use super::viewer::Viewer;
use super::workspaces::{Room, room};
use crate::app::App;
use crate::domain::{Action, ProjectKey, Role, Slug, Visibility};
use crate::metadata::{self, Repository, Workspace};
use crate::registry::access::Administered;
use crate::registry::projects::Project;
use crate::registry::viewing::Shelf;
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use maud::{Markup, html};
use std::sync::Arc;

/// The most projects that a list shows.
const MOST_PROJECTS: usize = 200;

/// A repository as the viewer may see it.
pub(super) struct Opened {
    /// Its workspace.
    pub(super) room: Room,
    /// Proof that the viewer may see it.
    pub(super) access: Administered<Repository>,
    /// The viewer's role on it.
    pub(super) role: Role,
}

impl Opened {
    /// Looks a repository up.
    pub(super) async fn of(
        app: &App,
        viewer: &Viewer,
        workspace: &Slug,
        repository: &Slug,
    ) -> Result<Self> {
        let room = room(app, viewer, workspace).await?;
        let caller = viewer.caller();
        let access = app.registry.repository_for(caller, workspace, repository, Action::Pull);
        let access = access.await?;
        let role = app.registry.role_on(caller, access.subject()).await?;
        Ok(Self { room, access, role: role.unwrap_or(Role::Read) })
    }

    /// Where its page is.
    pub(super) fn url(&self) -> String {
        let slug = &self.access.subject().fields.slug;
        format!("/w/{}/repositories/{slug}", self.room.workspace.slug)
    }

    /// Its slug.
    pub(super) fn slug(&self) -> &str {
        self.access.subject().fields.slug.as_str()
    }

    /// A page of the repository.
    pub(super) fn page<'a>(&'a self, viewer: &'a Viewer, title: &'a str) -> Page<'a> {
        let (room, admin) = (&self.room, self.room.is_admins());
        Page::in_workspace(viewer, title, &room.workspace, admin, Tab::Repositories)
            .below("Repositories", format!("/w/{}/repositories", room.workspace.slug))
    }

    /// The links to its other pages.
    pub(super) fn links(&self) -> Markup {
        if self.role < Role::Admin {
            return html! {};
        }
        let url = self.url();
        html! {
            nav.sub aria-label="Repository" {
                a href=(url) { "Packages" }
                a href={ (url) "/permissions" } { "Permissions" }
                a href={ (url) "/tokens" } { "Pipeline tokens" }
                @if self.room.is_admins() {
                    a href={ (url) "/oidc" } { "OIDC" }
                    a href={ (url) "/settings" } { "Settings" }
                }
            }
        }
    }
}

/// The display name of a project.
pub(super) async fn project_name(
    app: &App,
    workspace: &Workspace,
    key: &ProjectKey,
) -> Result<String> {
    let found = app.registry.project(workspace, key).await?;
    found.ok_or_else(|| RegistryError::NotFound(format!("project {key}")))
}

/// The repositories of a workspace.
pub(super) async fn list(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let room = room(&app, &viewer, &slug).await?;
    let after = query.some("after").map(str::to_owned);
    let page = metadata::Page { after, limit: PAGE + 1 };
    let mut found = app.registry.repositories(viewer.caller(), &room.workspace, page).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let all = metadata::Page { after: None, limit: MOST_PROJECTS };
    let projects = app.registry.projects(&room.workspace, all).await?;
    let content = list_page(&room, &found, &projects, more, query.some("after").is_some());
    let admin = room.is_admins();
    let page =
        Page::in_workspace(&viewer, "Repositories", &room.workspace, admin, Tab::Repositories);
    Ok(page.show(&content))
}

fn list_page(
    room: &Room,
    found: &[Repository],
    projects: &[Project],
    more: bool,
    later: bool,
) -> Markup {
    let base = format!("/w/{}", room.workspace.slug);
    let next = found.last().filter(|_| more);
    let next = next
        .map(|last| format!("{base}/repositories?after={}", percent(last.fields.slug.as_str())));
    let first = later.then(|| format!("{base}/repositories"));
    html! {
        div.head {
            h1 { "Repositories" }
            @if room.is_admins() {
                div.actions {
                    a.button href={ (base) "/create-project" } { "Create project" }
                    a.button href={ (base) "/create-repository" } { "Create repository" }
                }
            }
        }
        @if !projects.is_empty() {
            p.chips { span.quiet { "Projects: " }
                @for project in projects { a.chip href={ (base) "/projects/" (project.key) } title=(project.name) { (project.name) } " " }
            }
        }
        @if found.is_empty() { (nothing(room)) } @else { (table(&base, found, projects)) }
        (pager(first.as_deref(), next.as_deref()))
    }
}

fn table(base: &str, found: &[Repository], projects: &[Project]) -> Markup {
    html! {
        table.list {
            thead { tr { th scope="col" { "Repository" } th scope="col" { "Name" } th scope="col" { "Project" } th scope="col" { "Visible to" } } }
            tbody {
                @for repository in found {
                    @let fields = &repository.fields;
                    tr {
                        th scope="row" { a href={ (base) "/repositories/" (fields.slug) } { (fields.slug) } }
                        td data-label="Name" { (fields.name) }
                        td data-label="Project" {
                            @if let Some(key) = &fields.project {
                                @let name = projects.iter().find(|project| project.key == key.as_str());
                                a href={ (base) "/projects/" (key) } { (name.map_or(key.as_str(), |project| project.name.as_str())) }
                            } @else { span.quiet { "none" } }
                        }
                        td data-label="Visible to" {
                            @if fields.visibility == Visibility::Public { (badge("plain", "public", "Everybody may pull it")) }
                            @else { "people with a role" }
                        }
                    }
                }
            }
        }
    }
}

fn nothing(room: &Room) -> Markup {
    let advice = html! {
        @if room.is_admins() {
            p { "A repository is a source repository of your workspace in Bitbucket. It says who may pull and push the images of its packages." }
            p { a.button.main href={ "/w/" (room.workspace.slug) "/create-repository" } { "Create the first repository" } }
        } @else {
            p { "Ask an administrator of the workspace for a role on a repository." }
        }
    };
    empty("There is no repository here yet, or none that you may see", &advice)
}

/// The packages of a repository.
pub(super) async fn show(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((workspace, slug)): At<(Slug, Slug)>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let opened = Opened::of(&app, &viewer, &workspace, &slug).await?;
    let shelf = Shelf::Repository(opened.access.subject().id);
    let list = Listing::read(&app, &viewer, &opened.room, &shelf, &query, opened.url()).await?;
    let content = html! {
        div.head {
            h1 { (opened.access.subject().fields.name) }
            @if opened.role == Role::Admin {
                a.button href={ "/w/" (workspace) "/create-package?repository=" (slug) } { "Create package" }
            }
        }
        (opened.links())
        (list.show(&viewer, &opened.room))
    };
    let title = opened.access.subject().fields.name.clone();
    Ok(opened.page(&viewer, &title).show(&content))
}
