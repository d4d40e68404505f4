//! What happened to a tag, and the way back.

use super::image::put_back;
use super::package::{Opened, manifest_link};
use super::page::Html;
use super::parts::{actor, build, notice, time};
use super::viewer::Viewer;
use crate::domain::{Digest, Role, Tag};
use crate::metadata::{HistoryRow, TagEvent};
use maud::{Markup, html};

/// The movements of a tag, newest first. What it pointed to before can be put back for as long as the
/// workspace keeps it.
pub(super) fn table(viewer: &Viewer, opened: &Opened, history: &[HistoryRow]) -> Markup {
    let current = match history.first().map(|row| row.event) {
        Some(TagEvent::Moved { to, .. }) => Some(to),
        _ => None,
    };
    html! {
        h2 { "History" }
        table.list {
            thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "By" } th scope="col" { "Before" } } }
            tbody { @for row in history { (line(viewer, opened, row, current.as_ref())) } }
        }
    }
}

fn line(viewer: &Viewer, opened: &Opened, row: &HistoryRow, current: Option<&Digest>) -> Markup {
    let url = opened.url();
    let before = match row.event {
        TagEvent::Deleted(digest) => Some(digest),
        TagEvent::Moved { from, .. } => from,
    };
    html! {
        tr {
            td data-label="When" { (time(row.moved.at)) }
            td data-label="What" {
                @match row.event {
                    TagEvent::Deleted(_) => { "deleted" }
                    TagEvent::Moved { from: None, to } => { "created, to " (manifest_link(&url, &to)) }
                    TagEvent::Moved { to, .. } => { "moved to " (manifest_link(&url, &to)) }
                }
            }
            td data-label="By" { (actor(&row.moved.change, Some(&opened.repository))) (build(&row.moved.change)) }
            td data-label="Before" {
                @match before {
                    None => { span.quiet { "nothing" } }
                    Some(digest) => {
                        (manifest_link(&url, &digest)) " "
                        @if opened.role >= Role::Write && current != Some(&digest) && is_kept(opened, row, viewer) {
                            (put_back(viewer, opened, &row.tag, &digest))
                        }
                    }
                }
            }
        }
    }
}

/// Whether to offer the way back; the registry decides when it is taken.
fn is_kept(opened: &Opened, row: &HistoryRow, viewer: &Viewer) -> bool {
    viewer.now.since(row.moved.at) < opened.room.workspace.settings.keep
}

/// The page of a tag that was deleted.
pub(super) fn of_deleted(
    viewer: &Viewer,
    opened: &Opened,
    tag: &Tag,
    history: &[HistoryRow],
) -> Html {
    let content = html! {
        h1 { (opened.name()) ":" (tag) }
        (notice("plain", &html! { p { "This tag is deleted. What it pointed to can be put back for as long as the workspace keeps it." } }))
        (table(viewer, opened, history))
    };
    opened.page(viewer, tag.as_str()).below(opened.name(), opened.url()).show(&content)
}
