//! Reclaim now: giving up what is kept for undo, of a package, a deleted package or a workspace, with
//! what it gives back before and the receipt after.
//!
//! Invariant: nothing is given up by an address, only by a form behind a page that says what goes.

use super::error::WebError;
use super::fields::At;
use super::form::button;
use super::page::{Html, Page, Tab};
use super::parts::{bytes, counted, empty, notice, span, time};
use super::storage;
use super::viewer::{Submitted, Viewer};
use super::workspaces;
use crate::app::App;
use crate::domain::{Action, PackageId, Slug};
use crate::http::extract::to_its_end;
use crate::metadata::{GiveUp, Workspace};
use crate::registry::collection::Reclaimed;
use axum::extract::State;
use maud::{Markup, html};
use std::sync::Arc;

/// How many deleted images are named.
const NAMED: usize = 20;

/// Gives a deleted package up before its time.
pub(super) async fn of_deleted(
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
    sent: Submitted,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.workspace_admin(sent.caller(), &slug).await?;
    let deleted = app.registry.restorable(&access, id).await?;
    let (registry, change) = (app.registry.clone(), sent.change());
    let done = to_its_end(async move { registry.reclaim_deleted(&deleted, &change).await }).await?;
    Ok(receipt_page(&sent.viewer, access.subject(), true, &done))
}

/// Asks before what is kept of a package is given up.
pub(super) async fn form(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
) -> std::result::Result<Html, WebError> {
    let room = workspaces::room(&app, &viewer, &slug).await?;
    let action = Action::DeletePackage;
    let access = app.registry.package_for(viewer.caller(), &slug, id, action).await?;
    let url = format!("/w/{slug}/packages/{id}");
    let name = &access.subject().name;
    let content = html! {
        h1 { "Reclaim what " (name) " keeps for undo?" }
        p { "Everything that its tags pointed to before, and what was deleted of it, can not be put back any more after this. The tags stay. What a running push was promised stays until that promise ends." }
        div.actions {
            (button(&viewer, &format!("{url}/reclaim"), "bad", "Reclaim now", &[]))
            a.button href=(url) { "Keep it" }
        }
    };
    let page =
        Page::in_workspace(&viewer, "Reclaim", &room.workspace, room.is_admins(), Tab::Storage);
    Ok(page.below(name, url).show(&content))
}

/// Gives up what is kept of a package.
pub(super) async fn of_package(
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
    sent: Submitted,
) -> std::result::Result<Html, WebError> {
    let room = workspaces::room(&app, &sent.viewer, &slug).await?;
    let action = Action::DeletePackage;
    let access = app.registry.package_for(sent.caller(), &slug, id, action).await?;
    let (registry, change) = (app.registry.clone(), sent.change());
    let verb = async move { registry.reclaim(&access, &change, &GiveUp::All).await };
    let done = to_its_end(verb).await?;
    Ok(receipt_page(&sent.viewer, &room.workspace, room.is_admins(), &done))
}

fn receipt_page(viewer: &Viewer, workspace: &Workspace, admin: bool, done: &Reclaimed) -> Html {
    let rest = html! { p { a href={ "/w/" (workspace.slug) } { "Go to the packages" } } };
    Page::in_workspace(viewer, "Reclaimed", workspace, admin, Tab::Packages)
        .show(&receipt(workspace, done, &rest))
}

/// What was given up and what that freed, and what there is to do next.
fn receipt(workspace: &Workspace, done: &Reclaimed, rest: &Markup) -> Markup {
    html! {
        h1 { "Reclaimed" }
        @if done.events == 0 { (empty("There was nothing to reclaim", &html! { p { "Nothing is kept for undo here." } })) }
        @else {
            (notice("good", &html! {
                p { strong { (bytes(done.freed.bytes())) } " are let go now: " (counted(done.freed.manifests, "manifest")) " and " (counted(done.freed.blobs, "blob")) ". Their files are removed within " (span(workspace.settings.purge.as_secs())) "." }
                @if done.waiting > 0 {
                    p { (counted(done.waiting, "thing")) @if done.waiting == 1 { " still waits" } @else { " still wait" } ", because a client was told that it is there."
                        @if let Some(until) = done.waiting_until { " The last promise ends " (time(until)) "." } }
                }
            }))
        }
        (rest)
    }
}

/// Asks before what is kept of a whole workspace is given up.
pub(super) async fn all_form(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.workspace_admin(viewer.caller(), &slug).await?;
    let held = app.registry.held_in_part(access.subject()).await?;
    let deleted = app.registry.deleted_packages(&access, None, NAMED + 1).await?;
    let base = format!("/w/{slug}/storage");
    let content = html! {
        h1 { "Reclaim what " (slug) " keeps for undo?" }
        (notice("", &html! {
            p { strong { @if held.at_least { "At least " } (bytes(held.held.bytes())) } " are held without a tag: " (counted(held.held.manifests, "manifest")) " and " (counted(held.held.blobs, "blob")) ". They come back now, but for what a client was promised: that stays until the promise ends." }
        }))
        p { "In every package of the workspace, what tags pointed to before and what was deleted can not be put back any more after this. The tags stay." }
        @if !deleted.is_empty() {
            h2 { "Deleted images that go with it" }
            ul { @for found in deleted.iter().take(NAMED) { li { (found.package.name) } } @if deleted.len() > NAMED { li { "and more" } } }
        }
        div.actions {
            (button(&viewer, &format!("{base}/reclaim"), "bad", "Reclaim now", &[]))
            a.button href=(base) { "Keep it" }
        }
    };
    let page = storage::page(&viewer, access.subject(), "Reclaim");
    Ok(page.below("Storage", &base).show(&content))
}

/// Gives up what is kept of a workspace, a part of its packages at a time.
pub(super) async fn all(
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    sent: Submitted,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.workspace_admin(sent.caller(), &slug).await?;
    let workspace = access.subject().clone();
    let (registry, change) = (app.registry.clone(), sent.change());
    let after = sent.fields.some("after").map(str::to_owned);
    let verb = async move { registry.reclaim_workspace(&access, &change, after).await };
    let (done, next) = to_its_end(verb).await?;
    let base = format!("/w/{slug}/storage");
    let rest = html! {
        @if let Some(next) = next {
            p { "That was as far as the package " strong { (next) } ", by name. There are more." }
            (button(&sent.viewer, &format!("{base}/reclaim"), "bad", "Go on with the next packages", &[("after", &next)]))
        }
        p { a href=(base) { "Go to Storage" } }
    };
    let page = storage::page(&sent.viewer, &workspace, "Reclaimed").below("Storage", &base);
    Ok(page.show(&receipt(&workspace, &done, &rest)))
}
