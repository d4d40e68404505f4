//! Storage of a workspace: what uses how much, what is held, what is due when, what was freed, what is
//! being uploaded; putting back.
//!
//! Invariant: for administrators of the workspace. What would take a search of everything is searched
//! in part, and the page says "at least".

use super::error::{WebError, go};
use super::fields::{At, Fields};
use super::form::{self, sure};
use super::package::manifest_link;
use super::page::{Html, Page, Tab};
use super::parts::{actor, build, bytes, grouped, notice, pager, span, time};
use super::viewer::{Submitted, Viewer};
use super::{percent, sizes};
use crate::app::App;
use crate::domain::{PackageId, Slug, UploadId};
use crate::metadata::{
    Cause, DeletedPackage, DueKind, Held, Largest, Receipt, ReceiptCursor, Upcoming, Why,
    Workspace, WorkspaceUsage,
};
use crate::registry::access::Administered;
use crate::registry::viewing::RunningUpload;
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{Markup, html};
use std::sync::Arc;

/// How many lines each table has.
const LINES: usize = 20;

/// Everything the page shows.
struct Shown {
    access: Administered<Workspace>,
    usage: WorkspaceUsage,
    held: Held,
    largest: Largest,
    upcoming: Upcoming,
    deleted: Vec<DeletedPackage>,
    uploads: Vec<RunningUpload>,
    receipts: Vec<(ReceiptCursor, Receipt)>,
    later: bool,
}

/// The page.
pub(super) async fn show(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.workspace_admin(viewer.caller(), &slug).await?;
    let before = query.some("before").and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let before = before.map(ReceiptCursor);
    let registry = &app.registry;
    let shown = Shown {
        usage: registry.workspace_usage(access.subject()).await?,
        held: registry.held_in_part(access.subject()).await?,
        largest: registry.largest_packages(&access, LINES).await?,
        upcoming: registry.upcoming(&access, LINES).await?,
        deleted: registry.deleted_packages(&access, None, LINES).await?,
        uploads: registry.running_uploads(&access).await?,
        receipts: registry.receipts(&access, before.as_ref(), LINES + 1).await?,
        later: before.is_some(),
        access,
    };
    Ok(page(&viewer, shown.access.subject(), "Storage").show(&shown.content(&viewer)))
}

/// A page below Storage.
pub(super) fn page<'a>(viewer: &'a Viewer, workspace: &'a Workspace, title: &'a str) -> Page<'a> {
    Page::in_workspace(viewer, title, workspace, true, Tab::Storage)
}

impl Shown {
    fn content(&self, viewer: &Viewer) -> Markup {
        let base = format!("/w/{}", self.access.subject().slug);
        let settings = &self.access.subject().settings;
        html! {
            h1 { "Storage" }
            dl.cards {
                div { dt { "Stored" } dd { (bytes(self.usage.blob_bytes + self.usage.manifest_bytes)) small { "each blob once" } } }
                div { dt { "Held without a tag" } dd { @if self.held.at_least { "≥ " } (bytes(self.held.held.bytes())) small { "for undo, and for pushes that go on" } } }
                div { dt { "On its way out" } dd { (bytes(self.usage.doomed_bytes)) small { "files removed within " (span(settings.purge.as_secs())) } } }
            }
            p { "What a tag lets go is held for " (span(settings.keep.as_secs())) " so that it can be put back, and then its space comes back by itself. " a href={ (base) "/settings" } { "Change that" } }
            p { a.button href={ (base) "/storage/reclaim" } { "Reclaim now …" } }
            (self.largest_table(&base))
            (self.uploads_table(viewer, &base))
            (self.deleted_table(viewer, &base))
            (self.due_table(&base))
            (self.receipts_table(&base))
        }
    }

    fn largest_table(&self, base: &str) -> Markup {
        let list = format!("{base}/storage/packages");
        html! {
            h2 { "What uses most" }
            @if self.largest.packages.is_empty() { p.quiet { "There is no package yet." } }
            @else {
                (sizes::table(base, &self.largest.packages))
                p.quiet {
                    @if self.largest.more { "The largest of the first " (grouped(self.largest.looked_at as u64)) " packages by name. " }
                    a href=(list) { "All packages by name" }
                }
            }
        }
    }

    fn uploads_table(&self, viewer: &Viewer, base: &str) -> Markup {
        html! {
            h2 { "Running uploads" }
            @if self.uploads.is_empty() { p.quiet { "Nothing is being uploaded." } }
            @else { (uploads_table(&self.uploads, &|upload| Some(sure(viewer, &format!("{base}/storage/uploads/{}/cancel", upload.upload.id), "Cancel", "The client that uploads is told that the upload is gone. It can begin again.", &[])))) }
        }
    }

    fn deleted_table(&self, viewer: &Viewer, base: &str) -> Markup {
        html! {
            @if !self.deleted.is_empty() {
                h2 { "Deleted images" }
                table.list {
                    thead { tr { th scope="col" { "Image" } th scope="col" { "Deleted" } th scope="col" { "Can be put back until" } th scope="col" { "Do" } } }
                    tbody {
                        @for found in &self.deleted {
                            tr {
                                th scope="row" { (found.package.name) }
                                td data-label="Deleted" { (time(found.by.at)) " by " (actor(&found.by.change, None)) }
                                td data-label="Until" { (time(found.until)) }
                                td.whole data-label="Do" { (deleted_actions(viewer, base, found)) }
                            }
                        }
                    }
                }
            }
        }
    }

    fn due_table(&self, base: &str) -> Markup {
        html! {
            h2 { "Due next" }
            @if self.upcoming.entries.is_empty() { p.quiet { "Nothing waits to be let go." } }
            @else {
                table.list {
                    thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Package" } th scope="col" { "Because" } } }
                    tbody {
                        @for found in &self.upcoming.entries {
                            @let url = format!("{base}/packages/{}", found.package);
                            tr {
                                td data-label="When" { (time(found.entry.at)) }
                                td data-label="What" {
                                    @match &found.entry.what {
                                        DueKind::Blob(digest) => { "blob " (super::parts::digest(digest)) }
                                        DueKind::Manifest(digest) => { "manifest " (manifest_link(&url, digest)) }
                                        DueKind::History(tag, digest) => { "what " strong { (tag) } " was: " (manifest_link(&url, digest)) }
                                        DueKind::Package => { "the whole image" }
                                    }
                                }
                                td data-label="Package" { a href=(url) { (found.name) } }
                                td data-label="Because" { @match &found.entry.cause { Some(cause) => { (because(cause)) } None => { "the tag was moved or deleted" } } }
                            }
                        }
                    }
                }
                @if self.upcoming.more { p.quiet { "More is due later." } }
            }
        }
    }

    fn receipts_table(&self, base: &str) -> Markup {
        let shown = &self.receipts[..self.receipts.len().min(LINES)];
        let next = shown.last().filter(|_| self.receipts.len() > LINES);
        let next = next.map(|(cursor, _)| {
            format!("{base}/storage?before={}", URL_SAFE_NO_PAD.encode(&cursor.0))
        });
        let first = self.later.then(|| format!("{base}/storage"));
        html! {
            h2 { "Freed" }
            (receipts_table(shown.iter().map(|(_, receipt)| receipt)))
            (pager(first.as_deref(), next.as_deref()))
        }
    }
}

/// Receipts as lines.
pub(super) fn receipts_table<'a>(receipts: impl Iterator<Item = &'a Receipt>) -> Markup {
    let receipts: Vec<&Receipt> = receipts.collect();
    html! {
        @if receipts.is_empty() { p.quiet { "Nothing has been freed yet. When tags are moved or deleted, a receipt for their space appears here." } }
        @else {
            table.list {
                thead { tr { th scope="col" { "When" } th.right scope="col" { "Space" } th scope="col" { "Package" } th scope="col" { "Because" } } }
                tbody {
                    @for receipt in receipts {
                        tr {
                            td data-label="When" { (time(receipt.last)) }
                            td.right data-label="Space" { (bytes(receipt.freed.bytes())) }
                            td data-label="Package" { (receipt.cause.name) }
                            td data-label="Because" { (because(&receipt.cause)) }
                        }
                    }
                }
            }
        }
    }
}

fn because(cause: &Cause) -> Markup {
    html! {
        @match (cause.why, &cause.tag) {
            (Why::TagMoved, Some(tag)) => { strong { (tag) } " was moved" }
            (Why::TagDeleted, Some(tag)) => { strong { (tag) } " was deleted" }
            (Why::TagMoved | Why::TagDeleted, None) => { "a tag was moved or deleted" }
            (Why::ManifestDeleted, _) => { "a manifest was deleted" }
            (Why::BlobDeleted, _) => { "a blob was deleted" }
            (Why::PackageDeleted, _) => { "the image was deleted" }
            (Why::NeverReferenced, _) => { "nothing came to refer to it" }
        }
        @if cause.why != Why::NeverReferenced { " " (time(cause.by.at)) " by " (actor(&cause.by.change, None)) (build(&cause.by.change)) }
    }
}

/// Running uploads, with what can be done about each.
pub(super) fn uploads_table(
    uploads: &[RunningUpload],
    action: &dyn Fn(&RunningUpload) -> Option<Markup>,
) -> Markup {
    html! {
        table.list {
            thead { tr { th scope="col" { "Package" } th scope="col" { "Begun" } th.right scope="col" { "So far" } th scope="col" { "Last byte" } th scope="col" { "Do" } } }
            tbody {
                @for upload in uploads.iter().take(100) {
                    tr {
                        th scope="row" { @match &upload.package { Some(package) => { (package.name) } None => { "a deleted image" } } }
                        td data-label="Begun" { (time(upload.upload.started.at)) " by " (actor(&upload.upload.started.change, None)) (build(&upload.upload.started.change)) }
                        td.right data-label="So far" { @match upload.bytes { Some(count) => { (bytes(count)) } None => { span.quiet { "being written" } } } }
                        td data-label="Last byte" { @match upload.last { Some(at) => { (time(at)) } None => { span.quiet { "before the last start" } } } }
                        td.whole data-label="Do" { @if let Some(action) = action(upload) { (action) } @else { span.quiet { "in its workspace" } } }
                    }
                }
            }
        }
        @if uploads.len() > 100 { p.quiet { "And " (uploads.len() - 100) " more." } }
    }
}

fn deleted_actions(viewer: &Viewer, base: &str, found: &DeletedPackage) -> Markup {
    let url = format!("{base}/storage/deleted/{}", found.package.id);
    html! {
        div.actions {
            (form::button(viewer, &format!("{url}/restore"), "", "Put back", &[]))
            (sure(viewer, &format!("{url}/reclaim"), "Reclaim now", "The image can not be put back any more after this. Its space is free as soon as nothing else needs it.", &[]))
        }
    }
}

/// What was just deleted, with the way back.
pub(super) async fn deleted(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.workspace_admin(viewer.caller(), &slug).await?;
    let found = app.registry.restorable(&access, id).await?.package().clone();
    let base = format!("/w/{slug}");
    let content = html! {
        h1 { "The image " (found.package.name) " is deleted" }
        (notice("good", &html! {
            p { "It can be put back. It goes " (time(found.until)) "." }
            (deleted_actions(&viewer, &base, &found))
        }))
        p { a href=(base) { "Go to the packages" } }
    };
    Ok(page(&viewer, access.subject(), "Deleted image").show(&content))
}

/// Puts a deleted package back.
pub(super) async fn restore(
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.workspace_admin(sent.caller(), &slug).await?;
    let deleted = app.registry.restorable(&access, id).await?;
    app.registry.restore_package(&deleted, &sent.change(), None, None).await?;
    Ok(go(&format!("/w/{slug}/packages/{id}")))
}

/// Cancels somebody's upload.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, UploadId)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.workspace_admin(sent.caller(), &slug).await?;
    match app.registry.cancel_running_upload(&access, id).await {
        // It ended meanwhile, which is what was wanted.
        Ok(()) | Err(RegistryError::UploadUnknown) => Ok(go(&format!("/w/{slug}/storage"))),
        Err(error) => Err(error.into()),
    }
}

/// What changed last in a workspace, package by package.
pub(super) async fn result_of(app: &App, access: &Administered<Workspace>) -> Result<Vec<Receipt>> {
    let found = app.registry.receipts(access, None, LINES).await?;
    Ok(found.into_iter().map(|(_, receipt)| receipt).collect())
}

/// A link that goes on after a text.
pub(super) fn after(base: &str, text: &str) -> String {
    format!("{base}?after={}", percent(text))
}
