//! Deleting tags and images: first what goes and how many bytes come back when, then the deletion,
//! then the way back.
//!
//! Invariant: nothing is deleted that the page before did not name, and a deletion holds its content
//! for the workspace's `keep`, so that there is a way back.

use super::error::{WebError, go, percent};
use super::fields::{At, Fields};
use super::form;
use super::package::{Opened, manifest_link};
use super::page::{Html, token};
use super::parts::{bytes, copyable, grouped, notice, span, time};
use super::viewer::{Submitted, Viewer};
use super::{TAGS, workspaces};
use crate::app::App;
use crate::domain::{Action, PackageId, Role, Slug, Tag};
use crate::metadata::{Holders, Preview, Restore, Selection};
use crate::registry::tags::TagDetails;
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use std::sync::Arc;

/// A tag that was chosen.
struct Chosen {
    details: TagDetails,
    holders: Holders,
}

/// What the deletion of tags would do.
pub(super) async fn preview(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let opened = Opened::of(&app, &viewer, &slug, id).await?;
    let tags = chosen_tags(&query)?;
    if tags.is_empty() {
        return Err(nothing_chosen().into());
    }
    let mut chosen = Vec::new();
    for tag in &tags {
        let details = app.registry.package_tag(&opened.access, tag).await?;
        let holders = app.registry.holders(&opened.access, &details.row.digest, TAGS).await?;
        chosen.push(Chosen { details, holders });
    }
    let selection = Selection::Tags(tags);
    let preview = app.registry.preview_in_part(&opened.access, &selection).await?;
    let content = preview_page(&app, &viewer, &opened, &chosen, preview);
    let page = opened.page(&viewer, "Delete tags");
    Ok(page.below(opened.name(), opened.url()).show(&content))
}

/// Deletes tags.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.package_for(sent.caller(), &slug, id, Action::Delete).await?;
    let mut url = format!("/w/{slug}/packages/{id}?");
    for tag in chosen_tags(&sent.fields)? {
        match app.registry.delete_package_tag(&access, &sent.change(), &tag).await {
            // Somebody else was faster, or the form was sent twice.
            Ok(()) | Err(RegistryError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        url.push_str(&format!("deleted={}&", percent(tag.as_str())));
    }
    Ok(go(url.trim_end_matches(['?', '&'])))
}

/// Puts tags back: to a digest if one is given, else to what their last movement released.
pub(super) async fn restore(
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.package_for(sent.caller(), &slug, id, Action::Push).await?;
    let digest = sent.fields.parse_some("digest")?;
    let tags = chosen_tags(&sent.fields)?;
    for tag in &tags {
        let what = Restore::Tag { tag: tag.clone(), digest };
        app.registry.restore(&access, &sent.change(), &what).await?;
    }
    let base = format!("/w/{slug}/packages/{id}");
    Ok(match tags.first() {
        Some(tag) if sent.fields.is_ticked("show") => go(&format!("{base}/tags/{tag}")),
        _ => go(&base),
    })
}

/// What the deletion of a package would do.
pub(super) async fn preview_package(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
) -> std::result::Result<Html, WebError> {
    let opened = Opened::of(&app, &viewer, &slug, id).await?;
    let preview = app.registry.preview_in_part(&opened.access, &Selection::Package).await?;
    let content = html! {
        h1 { "Delete the image " (opened.name()) "?" }
        p { "All its tags and manifests go. Its name is free at once; whoever pulls it is told that it is not there." }
        (comes_back(&app, &opened, preview))
        p { "Until then an administrator of the workspace can put it back under Storage." }
        @if opened.role < Role::Admin { p { "Deleting an image takes the role admin on its repository, so this is only a preview for you." } }
        div.actions {
            @if opened.role == Role::Admin { (form::button(&viewer, &format!("{}/delete", opened.url()), "bad", "Delete image", &[])) }
            a.button href=(opened.url()) { "Keep it" }
        }
    };
    let page = opened.page(&viewer, "Delete image");
    Ok(page.below(opened.name(), opened.url()).show(&content))
}

/// Deletes a package.
pub(super) async fn delete_package(
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.package_for(sent.caller(), &slug, id, Action::DeletePackage).await?;
    app.registry.delete_package(&access, &sent.change()).await?;
    let room = workspaces::room(&app, &sent.viewer, &slug).await?;
    Ok(match room.is_admins() {
        true => go(&format!("/w/{slug}/storage/deleted/{id}")),
        false => go(&format!("/w/{slug}")),
    })
}

fn chosen_tags(fields: &Fields) -> Result<Vec<Tag>> {
    let mut tags = Vec::new();
    for text in fields.all("tag").take(TAGS * 4) {
        let tag: Tag = super::fields::parse("tag", text)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

fn nothing_chosen() -> RegistryError {
    let reason = "nothing is chosen; go back and tick at least one".to_owned();
    RegistryError::Invalid { field: "tags", reason }
}

fn preview_page(
    app: &App,
    viewer: &Viewer,
    opened: &Opened,
    chosen: &[Chosen],
    preview: Preview,
) -> Markup {
    let tags: Vec<&Tag> = chosen.iter().map(|chosen| &chosen.details.row.tag).collect();
    let count = chosen.len();
    let title =
        if count == 1 { "Delete 1 tag?".to_owned() } else { format!("Delete {count} tags?") };
    html! {
        h1 { (title) }
        table.list {
            thead { tr { th scope="col" { "Tag" } th scope="col" { "Points to" } th.right scope="col" { "Size" } th scope="col" { "What becomes of it" } } }
            tbody {
                @for Chosen { details, holders } in chosen {
                    tr {
                        th scope="row" { (details.row.tag) }
                        td data-label="Points to" { (manifest_link(&opened.url(), &details.row.digest)) }
                        td.right data-label="Size" { (bytes(details.manifest.closure_bytes)) }
                        td data-label="What becomes of it" { (fate(holders, &tags)) }
                    }
                }
            }
        }
        (comes_back(app, opened, preview))
        form method="post" action={ (opened.url()) "/delete-tags" } {
            (token(viewer))
            @for tag in &tags { input type="hidden" name="tag" value=(tag); }
            @if opened.role < Role::Write { p { "Deleting tags takes the role write on the repository, so this is only a preview for you." } }
            div.actions {
                @if opened.role >= Role::Write { button.bad type="submit" { @if count == 1 { "Delete the tag" } @else { "Delete " (count) " tags" } } }
                a.button href=(opened.url()) { "Keep them" }
            }
        }
    }
}

/// What becomes of an image when the chosen tags go.
fn fate(holders: &Holders, chosen: &[&Tag]) -> Markup {
    let stays: Vec<&str> =
        holders.tags.iter().filter(|tag| !chosen.contains(tag)).map(Tag::as_str).collect();
    html! {
        @if let Some(first) = stays.first() {
            "the image stays, because " strong { (first) } " points to it"
            @if stays.len() > 1 { " and " (stays.len() - 1) " more" }
        } @else if !holders.parents.is_empty() {
            "the image stays, because an index has it"
        } @else {
            "the image goes once nothing keeps it"
        }
    }
}

/// How many bytes come back, and when.
fn comes_back(app: &App, opened: &Opened, preview: Preview) -> Markup {
    let settings = &opened.room.workspace.settings;
    let when = app.registry.clock().now().plus(settings.keep).plus(settings.purge);
    let freed = &preview.freed;
    let nothing = freed.manifests == 0 && freed.blobs == 0;
    let content = html! {
        @if nothing {
            p { "No space comes back by this alone: everything is needed elsewhere." }
        } @else {
            p {
                @if preview.at_least { "At least " }
                strong { (bytes(freed.bytes())) }
                " come back: " (grouped(freed.manifests)) " manifests and " (grouped(freed.blobs)) " blobs that nothing else in the workspace needs."
            }
            p { "For " (span(settings.keep.as_secs())) " it can be undone; the space is free about " (time(when)) ". An administrator can reclaim it before." }
        }
    };
    notice("plain", &content)
}

/// What to type to get an image back that was deleted.
pub(super) fn pull_line(opened: &Opened, viewer: &Viewer, reference: &str) -> Markup {
    let joint = if reference.contains(':') { '@' } else { ':' };
    let image = opened.image(viewer);
    copyable(&format!("docker pull {image}{joint}{reference}"), "The command to pull")
}
