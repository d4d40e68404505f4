//! The audit log: who did what, newest first, of a workspace and of the instance.
//!
//! Invariant: a page looks at a bounded number of events, however few of them are wanted; what the
//! filter says travels in the address, so that a page of the log can be handed on.

use super::error::{WebError, percent};
use super::fields::{At, Fields, parse};
use super::page::{Html, Page, Tab};
use super::parts::{actor, build, empty, grouped, pager, time};
use super::viewer::Viewer;
use crate::app::App;
use crate::domain::{Slug, Timestamp};
use crate::metadata::{AuditEvent, AuditFilter, AuditPage, AuditPlace};
use crate::registry::Result;
use axum::extract::State;
use maud::{Markup, html};
use std::sync::Arc;

/// How many events a page has.
const EVENTS: usize = 100;
/// How many digits of a digest are shown.
const DIGITS: usize = 12;
/// The parts of an actor's name that are not a person's.
const OTHERS: [&str; 2] = ["anonymous", "server"];

/// What was done in a workspace.
pub(super) async fn of_workspace(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.workspace_admin(viewer.caller(), &slug).await?;
    let (filter, before) = wanted(&query)?;
    let found = app.registry.workspace_audit(&access, filter, before, EVENTS).await?;
    let base = format!("/w/{slug}/audit");
    let page = Page::in_workspace(&viewer, "Audit log", access.subject(), true, Tab::Activity);
    let page = page.below("Activity", format!("/w/{slug}/activity"));
    Ok(page.show(&log(&base, &query, &found)))
}

/// What was done on the whole server.
pub(super) async fn of_instance(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let proof = app.registry.instance_admin(viewer.caller()).await?;
    let (filter, before) = wanted(&query)?;
    let found = app.registry.audit(proof, &filter, before, EVENTS).await?;
    let page = Page::of_instance(&viewer, "Audit log", Tab::Audit);
    Ok(page.show(&log("/instance/audit", &query, &found)))
}

fn wanted(query: &Fields) -> Result<(AuditFilter, Option<AuditPlace>)> {
    let filter = AuditFilter {
        workspace: None,
        actor: query.some("actor").map(whole_actor),
        action: query.some("action").map(str::to_owned),
        target: query.some("target").map(str::to_owned),
        since: query.some("since").map(|day| midnight("since", day)).transpose()?,
        until: query.some("until").map(|day| midnight("until", day)).transpose()?,
    };
    Ok((filter, query.parse_some("before")?))
}

/// People are asked for by their name alone.
fn whole_actor(text: &str) -> String {
    match text.contains(':') || OTHERS.contains(&text) {
        true => text.to_owned(),
        false => format!("user:{text}"),
    }
}

/// The beginning of a day in UTC.
fn midnight(field: &'static str, day: &str) -> Result<Timestamp> {
    parse(field, &format!("{day}T00:00:00Z"))
}

/// The address of a page of the log with the same filter.
fn address(base: &str, query: &Fields, before: Option<&AuditPlace>) -> String {
    let fields = ["actor", "action", "target", "since", "until"];
    let given = fields.iter().filter_map(|name| Some((*name, query.some(name)?)));
    let mut parts: Vec<_> = given.map(|(name, text)| format!("{name}={}", percent(text))).collect();
    parts.extend(before.map(|place| format!("before={place}")));
    if parts.is_empty() { base.to_owned() } else { format!("{base}?{}", parts.join("&")) }
}

fn log(base: &str, query: &Fields, found: &AuditPage) -> Markup {
    let first = query.some("before").map(|_| address(base, query, None));
    let next = found.next.as_ref().map(|place| address(base, query, Some(place)));
    html! {
        h1 { "Audit log" }
        (search(query))
        @if !found.events.is_empty() { (table(&found.events)) }
        @else if next.is_some() {
            p.quiet { "None of those that were looked at; older ones are on the next page." }
        } @else {
            (empty("Nothing to show", &html! { p { "Every change shows here with who made it; logins are added up each minute." } }))
        }
        (pager(first.as_deref(), next.as_deref()))
    }
}

fn search(query: &Fields) -> Markup {
    let text = |name: &'static str, label: &str, hint: &str| {
        html! {
            div.field {
                label for=(name) { (label) }
                input id=(name) type="search" name=(name) value=(query.one(name)) placeholder=(hint) autocomplete="off" spellcheck="false";
            }
        }
    };
    let day = |name: &'static str, label: &str| {
        html! {
            div.field { label for=(name) { (label) } input id=(name) type="date" name=(name) value=(query.one(name)); }
        }
    };
    html! {
        form.search role="search" method="get" {
            (text("actor", "By", "ann, or server"))
            (text("action", "Action", "tag, or tag.delete"))
            (text("target", "What begins with", "shop-api"))
            (day("since", "From"))
            (day("until", "Before"))
            button type="submit" { "Filter" }
        }
    }
}

fn table(events: &[AuditEvent]) -> Markup {
    html! {
        table.list {
            thead { tr { th scope="col" { "When" } th scope="col" { "Action" } th scope="col" { "What" } th scope="col" { "By" } th scope="col" { "More" } } }
            tbody { @for event in events { (row(event)) } }
        }
    }
}

fn row(event: &AuditEvent) -> Markup {
    let change = &event.by.change;
    html! {
        tr {
            td data-label="When" { (time(event.by.at)) }
            th scope="row" { code.whole { (event.action) } @if event.count > 1 { " × " (grouped(event.count)) } }
            td data-label="What" title=(event.target) { (brief(&event.target)) }
            td data-label="By" { (actor(change, None)) (build(change)) }
            td data-label="More" {
                @for (name, value) in event.details.iter().filter(|(_, value)| !event.target.ends_with(value.as_str())) {
                    div title=(value) { (name) ": " (brief(value)) }
                }
                @if let Some(credential) = &change.credential { div.quiet { "with " (credential) } }
            }
        }
    }
}

/// A text in which digests are as short as everywhere; the whole one is on hover.
fn brief(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = ["sha256:", "sha512:"].iter().filter_map(|name| rest.find(name)).min() {
        let (before, found) = rest.split_at(at + "sha256:".len());
        let length = found.bytes().take_while(u8::is_ascii_hexdigit).count();
        shown.push_str(before);
        shown.push_str(&found[..length.min(DIGITS)]);
        rest = &found[length..];
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_short_and_everything_else_stays() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(
            brief(&format!("shop@{digest}, {digest}")),
            "shop@sha256:0123456789ab, sha256:0123456789ab"
        );
        for same in ["", "shop:1.0", "sha256:", "sha512:é", "sha256:12 sha256:", "größe"] {
            assert_eq!(brief(same), same);
        }
    }

    #[test]
    fn a_name_alone_is_a_persons() {
        assert_eq!(whole_actor("ann"), "user:ann");
        for whole in ["server", "anonymous", "robot:1:bot", "user:ann"] {
            assert_eq!(whole_actor(whole), whole);
        }
    }
}
