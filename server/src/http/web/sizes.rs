//! What the packages of a workspace use: as lines, and all of them by name.
//!
//! Invariant: a page is one list read of bounded length, however many packages there are.

use super::PAGE;
use super::error::WebError;
use super::fields::{At, Fields};
use super::packages::Search;
use super::page::Html;
use super::parts::{bar, bytes, empty, short};
use super::storage::page;
use super::viewer::Viewer;
use crate::app::App;
use crate::domain::Slug;
use crate::metadata::{Order, PackageOverview};
use crate::registry::viewing::Shelf;
use axum::extract::State;
use maud::{Markup, html};
use std::sync::Arc;

/// Packages with what they use.
pub(super) fn table(base: &str, packages: &[PackageOverview]) -> Markup {
    let of = |found: &PackageOverview| found.usage.exclusive_bytes + found.usage.manifest_bytes;
    let most = packages.iter().map(of).max().unwrap_or(0);
    html! {
        table.list {
            thead { tr { th scope="col" { "Package" } th scope="col" { "Only here" } th.right scope="col" { "With what it shares" } th scope="col" { "Reclaim" } } }
            tbody {
                @for found in packages {
                    tr {
                        th scope="row" { a href={ (base) "/packages/" (found.package.id) } { (found.package.name) } }
                        td data-label="Only here" { div.share { (bytes(of(found))) (bar(of(found), most, &format!("Only in {}: {}", found.package.name, short(of(found))))) } }
                        td.right data-label="In all" { (bytes(found.usage.linked_bytes + found.usage.manifest_bytes)) }
                        td data-label="Reclaim" { a href={ (base) "/packages/" (found.package.id) "/reclaim" } aria-label={ "Reclaim now: " (found.package.name) } { "Reclaim now" } }
                    }
                }
            }
        }
    }
}

/// All packages by name.
pub(super) async fn list(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    query: Fields,
) -> Result<Html, WebError> {
    let access = app.registry.workspace_admin(viewer.caller(), &slug).await?;
    let search = Search { order: Order::Name, ..Search::read(&query, Order::Name) };
    let (caller, workspace) = (viewer.caller(), access.subject());
    let wanted = search.wanted(PAGE);
    let found = app.registry.package_list(caller, workspace, &Shelf::Workspace, wanted).await?;
    let base = format!("/w/{slug}/storage");
    let url = format!("{base}/packages");
    let content = html! {
        h1 { "What packages use" }
        form.search role="search" method="get" action=(url) {
            div.field { label for="prefix" { "Name begins with" } input #prefix type="search" name="prefix" value=(search.prefix) autocomplete="off" spellcheck="false"; }
            button type="submit" { "Find" }
        }
        @if found.packages.is_empty() { (empty("There is no such package", &html! { p { a href=(url) { "Show all packages" } } })) }
        @else { (table(&format!("/w/{slug}"), &found.packages)) }
        (search.pager(&url, found.next.as_ref()))
    };
    Ok(page(&viewer, workspace, "What packages use").below("Storage", base).show(&content))
}
