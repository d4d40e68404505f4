//! Packages at the three levels: workspace, project, repository.
//!
//! Invariant: a page is one list read; search, order and paging are in the address, so a page can be
//! sent to somebody else and means the same.

use super::error::{WebError, percent};
use super::fields::{At, Fields};
use super::page::{Html, Page, Tab};
use super::parts::{badge, bytes, empty, pager, time};
use super::viewer::Viewer;
use super::workspaces::{Room, room};
use super::{PAGE, repository};
use crate::app::App;
use crate::domain::{ProjectKey, Slug, Timestamp};
use crate::metadata::{ListCursor, Order, PackageList, PackageOverview, Workspace};
use crate::registry::viewing::{Shelf, Wanted};
use axum::extract::State;
use maud::{Markup, html};
use std::sync::Arc;

/// Search, order and place of a list, as they are in the address.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    pub(super) prefix: String,
    pub(super) order: Order,
    pub(super) after: Option<ListCursor>,
}

impl Search {
    /// Reads them; what is not legal is as if it were not there.
    pub(super) fn read(query: &Fields, default: Order) -> Self {
        let order = match query.one("sort") {
            "name" => Order::Name,
            "newest" => Order::Newest,
            _ => default,
        };
        let after = query.some("after").and_then(|text| match order {
            Order::Name => Some(ListCursor::Name(text.to_owned())),
            Order::Newest => {
                let (at, key) = text.split_once(':')?;
                Some(ListCursor::Time(Timestamp(at.parse().ok()?), key.to_owned()))
            }
        });
        let prefix = query.one("prefix").chars().take(255).collect();
        Self { prefix, order, after }
    }

    /// What the registry is asked for.
    pub(super) fn wanted(&self, limit: usize) -> Wanted {
        let Self { prefix, order, after } = self.clone();
        Wanted { prefix, order, after, limit }
    }

    /// The address of this list, going on after a cursor if there is one.
    pub(super) fn url(&self, base: &str, after: Option<&ListCursor>) -> String {
        let mut url = format!("{base}?sort={}", self.sort());
        if !self.prefix.is_empty() {
            url.push_str(&format!("&prefix={}", percent(&self.prefix)));
        }
        match after {
            Some(ListCursor::Name(name)) => url.push_str(&format!("&after={}", percent(name))),
            Some(ListCursor::Time(at, key)) => {
                url.push_str(&format!("&after={}:{}", at.0, percent(key)));
            }
            None => {}
        }
        url
    }

    const fn sort(&self) -> &'static str {
        match self.order {
            Order::Name => "name",
            Order::Newest => "newest",
        }
    }

    /// The form above the list. With htmx the list follows what is typed.
    pub(super) fn form(&self, base: &str, what: &str, newest: &str) -> Markup {
        html! {
            form.search role="search" method="get" action=(base) hx-get=(base) hx-trigger="input changed delay:250ms from:#prefix, change from:#sort" hx-target="#list" hx-select="#list" hx-swap="outerHTML" hx-replace-url="true" {
                div.field {
                    label for="prefix" { (what) " beginning with" }
                    input #prefix type="search" name="prefix" value=(self.prefix) autocomplete="off" autocapitalize="none" spellcheck="false";
                }
                div.field {
                    label for="sort" { "Sorted by" }
                    select #sort name="sort" {
                        option value="newest" selected[self.order == Order::Newest] { (newest) }
                        option value="name" selected[self.order == Order::Name] { "Name" }
                    }
                }
                button type="submit" { "Search" }
            }
        }
    }

    /// The links below the list.
    pub(super) fn pager(&self, base: &str, next: Option<&ListCursor>) -> Markup {
        let first = self.after.as_ref().map(|_| self.url(base, None));
        let next = next.map(|next| self.url(base, Some(next)));
        pager(first.as_deref(), next.as_deref())
    }
}

/// The packages of a workspace.
pub(super) async fn of_workspace(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    query: Fields,
) -> Result<Html, WebError> {
    let room = room(&app, &viewer, &slug).await?;
    let base = format!("/w/{slug}");
    let list = Listing::read(&app, &viewer, &room, &Shelf::Workspace, &query, base).await?;
    let content = html! {
        div.head {
            h1 { (room.workspace.name) }
            a.button href={ "/w/" (slug) "/create-package" } { "Create package" }
        }
        (list.show(&viewer, &room))
    };
    let title = room.workspace.name.clone();
    let admin = room.is_admins();
    let mut page = Page::in_workspace(&viewer, &title, &room.workspace, admin, Tab::Packages);
    page.crumbs.clear();
    Ok(page.show(&content))
}

/// The packages of a project.
pub(super) async fn of_project(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug, key)): At<(Slug, ProjectKey)>,
    query: Fields,
) -> Result<Html, WebError> {
    let room = room(&app, &viewer, &slug).await?;
    let name = repository::project_name(&app, &room.workspace, &key).await?;
    let base = format!("/w/{slug}/projects/{key}");
    let shelf = Shelf::Project(key.clone());
    let list = Listing::read(&app, &viewer, &room, &shelf, &query, base).await?;
    let content = html! {
        div.head { h1 { (name) " " span.quiet { "project " (key) } } }
        (list.show(&viewer, &room))
    };
    let admin = room.is_admins();
    let page = Page::in_workspace(&viewer, &name, &room.workspace, admin, Tab::Repositories);
    Ok(page.show(&content))
}

/// A list of packages with its search.
pub(super) struct Listing {
    search: Search,
    base: String,
    list: PackageList,
}

impl Listing {
    /// Reads it.
    pub(super) async fn read(
        app: &App,
        viewer: &Viewer,
        room: &Room,
        shelf: &Shelf,
        query: &Fields,
        base: String,
    ) -> Result<Self, WebError> {
        let search = Search::read(query, Order::Newest);
        let wanted = search.wanted(PAGE);
        let workspace = &room.workspace;
        let list = app.registry.package_list(viewer.caller(), workspace, shelf, wanted).await?;
        Ok(Self { search, base, list })
    }

    /// Shows it.
    pub(super) fn show(&self, viewer: &Viewer, room: &Room) -> Markup {
        let untouched = self.search.prefix.is_empty() && self.search.after.is_none();
        let nothing = self.list.packages.is_empty();
        html! {
            @if !(nothing && untouched) { (self.search.form(&self.base, "Packages", "Last push")) }
            div #list {
                @if nothing && untouched && self.list.next.is_none() { (first_steps(viewer, &room.workspace)) }
                @else if nothing && self.list.next.is_none() {
                    (empty("No package begins like this", &html! { p { a href=(self.base) { "Show all" } } }))
                }
                @else { (table(&room.workspace, &self.list.packages)) }
                @if self.list.next.is_some() && self.list.packages.len() < PAGE {
                    p.quiet { "There may be more: the search goes on with the next page." }
                }
                (self.search.pager(&self.base, self.list.next.as_ref()))
            }
        }
    }
}

fn table(workspace: &Workspace, packages: &[PackageOverview]) -> Markup {
    html! {
        table.list {
            thead { tr {
                th scope="col" { "Package" } th scope="col" { "Repository" }
                th.right scope="col" { "Size" } th scope="col" { "Last push" }
            } }
            tbody { @for found in packages { (row(workspace, found)) } }
        }
    }
}

fn row(workspace: &Workspace, found: &PackageOverview) -> Markup {
    let PackageOverview { package, repository, usage } = found;
    let pushed = package.updated > package.created.at;
    let base = format!("/w/{}", workspace.slug);
    html! {
        tr {
            th scope="row" {
                a href={ (base) "/packages/" (package.id) } { (package.name) }
                @if repository.fields.visibility == crate::domain::Visibility::Public {
                    " " (badge("plain", "public", "Everybody may pull it"))
                }
            }
            td data-label="Repository" {
                a href={ (base) "/repositories/" (repository.fields.slug) } { (repository.fields.slug) }
                @if let Some(project) = &repository.fields.project {
                    " " a.quiet href={ (base) "/projects/" (project) } { (project) }
                }
            }
            td.right data-label="Size" { (bytes(usage.linked_bytes + usage.manifest_bytes)) }
            td data-label="Last push" { @if pushed { (time(package.updated)) } @else { span.quiet { "not pushed yet" } } }
        }
    }
}

fn first_steps(viewer: &Viewer, workspace: &Workspace) -> Markup {
    let host = viewer.host.as_deref().unwrap_or("<this server>");
    let advice = html! {
        p { "A package is the name of an image and is linked to a repository, which says who may pull and push it." }
        ol {
            li { a href={ "/w/" (workspace.slug) "/create-package" } { "Create a package" } " and link it to a repository." }
            li { a href="/profile/tokens" { "Make a token" } " for " code { "docker login" } ", or use a pipeline token of the repository." }
            li { "Push: " code { "docker push " (host) "/" (workspace.slug) "/<package>:<tag>" } ". It is here in the same second." }
        }
    };
    empty("There is no package here yet, or none that you may see", &advice)
}
