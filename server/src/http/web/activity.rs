//! Activity of a workspace: which tags moved last, by whom, and what was freed.

use super::error::WebError;
use super::fields::{At, Fields};
use super::package::manifest_link;
use super::page::{Html, Page, Tab};
use super::parts::{actor, build, empty, time};
use super::storage;
use super::viewer::Viewer;
use crate::app::App;
use crate::domain::{Action, Slug};
use crate::metadata::{Order, PackageOverview, TagRow, Workspace};
use crate::registry::access::Administered;
use crate::registry::viewing::{Shelf, Wanted};
use axum::extract::State;
use maud::{Markup, html};
use std::sync::Arc;

/// How many packages are looked at, and how many tags of each.
const PACKAGES: usize = 15;
const TAGS_EACH: usize = 5;

/// The page.
pub(super) async fn show(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    query: Fields,
) -> Result<Html, WebError> {
    let access = app.registry.workspace_admin(viewer.caller(), &slug).await?;
    let prefix = query.one("prefix").to_owned();
    let moved = movements(&app, &viewer, &access, &prefix).await?;
    let receipts = storage::result_of(&app, &access).await?;
    let content = html! {
        div.head { h1 { "Activity" } a.button href={ "/w/" (slug) "/audit" } { "Audit log" } }
        form.search role="search" method="get" {
            div.field { label for="prefix" { "Packages beginning with" } input #prefix type="search" name="prefix" value=(prefix) autocomplete="off" spellcheck="false"; }
            button type="submit" { "Filter" }
        }
        h2 { "Pushed last" }
        (table(access.subject(), &moved))
        h2 { "Freed last" }
        (storage::receipts_table(receipts.iter()))
    };
    let page = Page::in_workspace(&viewer, "Activity", access.subject(), true, Tab::Activity);
    Ok(page.show(&content))
}

async fn movements(
    app: &App,
    viewer: &Viewer,
    access: &Administered<Workspace>,
    prefix: &str,
) -> Result<Vec<(PackageOverview, TagRow)>, WebError> {
    let (caller, workspace) = (viewer.caller(), access.subject());
    let newest = |prefix: &str, limit| Wanted {
        prefix: prefix.to_owned(),
        order: Order::Newest,
        after: None,
        limit,
    };
    let shelf = Shelf::Workspace;
    let list =
        app.registry.package_list(caller, workspace, &shelf, newest(prefix, PACKAGES)).await?;
    let mut moved = Vec::new();
    for found in list.packages {
        let (slug, id) = (&workspace.slug, found.package.id);
        let package = app.registry.package_for(caller, slug, id, Action::Pull).await?;
        let tags = app.registry.tag_list(&package, newest("", TAGS_EACH)).await?;
        moved.extend(tags.tags.into_iter().map(|row| (found.clone(), row)));
    }
    moved.sort_by_key(|(_, row)| std::cmp::Reverse(row.moved.at));
    Ok(moved)
}

fn table(workspace: &Workspace, moved: &[(PackageOverview, TagRow)]) -> Markup {
    if moved.is_empty() {
        return empty(
            "Nothing was pushed yet",
            &html! { p { "Every push shows here with who made it and in which build." } },
        );
    }
    html! {
        table.list {
            thead { tr { th scope="col" { "When" } th scope="col" { "Image" } th scope="col" { "By" } th scope="col" { "Digest" } } }
            tbody {
                @for (found, row) in moved {
                    @let url = format!("/w/{}/packages/{}", workspace.slug, found.package.id);
                    tr {
                        td data-label="When" { (time(row.moved.at)) }
                        th scope="row" { a href={ (url) "/tags/" (row.tag) } { (found.package.name) ":" (row.tag) } }
                        td data-label="By" { (actor(&row.moved.change, Some(&found.repository))) (build(&row.moved.change)) }
                        td data-label="Digest" { (manifest_link(&url, &row.digest)) }
                    }
                }
            }
        }
    }
}
