//! A package: its tags grouped by digest, how to pull and push, what it holds.
//!
//! Invariant: a page of tags is one list read; only platforms of single images may take one small blob
//! each, and those are remembered.

use super::error::WebError;
use super::fields::{At, Fields};
use super::packages::Search;
use super::page::{Html, Page, Tab};
use super::parts::{
    author, badge, bytes, copyable, digest, empty, grouped, notice, short_digest, time,
};
use super::viewer::Viewer;
use super::workspaces::{Room, room};
use super::{TAGS, form};
use crate::app::App;
use crate::domain::{Action, Digest, PackageId, Role, Slug, Tag, Visibility};
use crate::metadata::{
    HistoryRow, ManifestOverview, Order, Package, PackageUsage, Repository, TagList, TagRow,
};
use crate::registry::Result;
use crate::registry::access::Administered;
use axum::extract::State;
use maud::{Markup, html};
use std::collections::HashMap;
use std::sync::Arc;

/// A package as the viewer may see it.
pub(super) struct Opened {
    /// Its workspace.
    pub(super) room: Room,
    /// Proof that the viewer may pull from it.
    pub(super) access: Administered<Package>,
    /// The repository it is linked to.
    pub(super) repository: Repository,
    /// The viewer's role on that.
    pub(super) role: Role,
}

impl Opened {
    /// Looks a package up.
    pub(super) async fn of(app: &App, viewer: &Viewer, slug: &Slug, id: PackageId) -> Result<Self> {
        let room = room(app, viewer, slug).await?;
        let access = app.registry.package_for(viewer.caller(), slug, id, Action::Pull).await?;
        let repository = app.registry.repository_of(&access).await?;
        let role = app.registry.role_on(viewer.caller(), &repository).await?;
        Ok(Self { room, access, repository, role: role.unwrap_or(Role::Read) })
    }

    /// Where its page is.
    pub(super) fn url(&self) -> String {
        let slug = &self.room.workspace.slug;
        format!("/w/{slug}/packages/{}", self.access.subject().id)
    }

    /// The package's name.
    pub(super) fn name(&self) -> &str {
        self.access.subject().name.as_str()
    }

    /// What clients call an image of it.
    pub(super) fn image(&self, viewer: &Viewer) -> String {
        let host = viewer.host.as_deref().unwrap_or("<this server>");
        format!("{host}/{}/{}", self.room.workspace.slug, self.name())
    }

    /// A page below the package.
    pub(super) fn page<'a>(&'a self, viewer: &'a Viewer, title: &'a str) -> Page<'a> {
        let (room, admin) = (&self.room, self.room.is_admins());
        Page::in_workspace(viewer, title, &room.workspace, admin, Tab::Packages)
    }
}

/// What the page shows.
struct Shown {
    opened: Opened,
    search: Search,
    usage: PackageUsage,
    list: TagList,
    platforms: HashMap<Digest, Vec<String>>,
    deleted: Vec<HistoryRow>,
}

/// The page.
pub(super) async fn show(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let opened = Opened::of(&app, &viewer, &slug, id).await?;
    let search = Search::read(&query, Order::Newest);
    let list = app.registry.tag_list(&opened.access, search.wanted(TAGS)).await?;
    let usage = app.registry.package_usage(&opened.access).await?;
    let mut platforms = HashMap::new();
    for manifest in &list.manifests {
        let found = app.registry.platforms(&opened.access, manifest).await?;
        platforms.insert(manifest.facts.digest, found);
    }
    let gone: Vec<Tag> =
        query.all("deleted").filter_map(|tag| tag.parse().ok()).take(TAGS).collect();
    let deleted = app.registry.deleted_tags(&opened.access, &gone).await?;
    let shown = Shown { opened, search, usage, list, platforms, deleted };
    let title = shown.opened.name().to_owned();
    Ok(shown.opened.page(&viewer, &title).show(&shown.content(&viewer)))
}

/// What changes whenever something is pushed, for a page that looks whether it is old.
pub(super) async fn version(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
) -> std::result::Result<String, WebError> {
    let access = app.registry.package_for(viewer.caller(), &slug, id, Action::Pull).await?;
    Ok(access.subject().updated.0.to_string())
}

impl Shown {
    fn content(&self, viewer: &Viewer) -> Markup {
        let opened = &self.opened;
        let url = opened.url();
        let package = opened.access.subject();
        let untouched = self.search.prefix.is_empty() && self.search.after.is_none();
        html! {
            (self.undo(viewer))
            div.head {
                h1 { (package.name) }
                @if opened.role == Role::Admin { a.button.bad href={ (url) "/delete" } { "Delete image" } }
            }
            (self.facts())
            div.notice.live role="status" hidden data-live={ (url) "/version" } data-version=(package.updated.0) {
                p { "Something was pushed since this page was made. " a href=(url) { "Show it" } }
            }
            (self.lines(viewer))
            @if self.list.tags.is_empty() && untouched { (nothing(&opened.image(viewer))) }
            @else {
                h2 { "Tags" }
                (self.search.form(&url, "Tags", "Last push"))
                div #list {
                    @if self.list.tags.is_empty() {
                        (empty("No tag begins like this", &html! { p { a href=(url) { "Show all" } } }))
                    } @else { (self.tags()) }
                    (self.search.pager(&url, self.list.next.as_ref()))
                }
            }
        }
    }

    fn facts(&self) -> Markup {
        let opened = &self.opened;
        let base = format!("/w/{}", opened.room.workspace.slug);
        let fields = &opened.repository.fields;
        let package = opened.access.subject();
        html! {
            dl.facts {
                div { dt { "Repository" } dd {
                    a href={ (base) "/repositories/" (fields.slug) } { (fields.slug) }
                    @if fields.visibility == Visibility::Public { " " (badge("plain", "public", "Everybody may pull it")) }
                } }
                @if let Some(project) = &fields.project {
                    div { dt { "Project" } dd { a href={ (base) "/projects/" (project) } { (project) } } }
                }
                div { dt { "Size" } dd { (bytes(self.usage.linked_bytes + self.usage.manifest_bytes)) } }
                div { dt { "Only here" } dd title="Bytes that no other package of the workspace has" {
                    (bytes(self.usage.exclusive_bytes + self.usage.manifest_bytes))
                } }
                div { dt { "Created" } dd { (author(&package.created, Some(&opened.repository))) } }
            }
        }
    }

    fn lines(&self, viewer: &Viewer) -> Markup {
        let image = self.opened.image(viewer);
        let newest = self.list.tags.first().map_or("<tag>", |row| row.tag.as_str());
        let host = viewer.host.as_deref().unwrap_or("<this server>");
        let slug = &self.opened.room.workspace.slug;
        let name = self.opened.name();
        let pipe = format!(
            "- pipe: your-workspace/standpipe-pipe:{}\n  variables:\n    IMAGE_NAME: {name}\n    REGISTRY: {host}\n    WORKSPACE: {slug}\n    USERNAME: pipeline\n    PASSWORD: $REGISTRY_TOKEN",
            env!("CARGO_PKG_VERSION")
        );
        html! {
            (copyable(&format!("docker pull {image}:{newest}"), "The command to pull"))
            details.lines {
                summary { "How to push" }
                h3 { "By hand" }
                (copyable(&format!("docker login {host}\ndocker tag {name} {image}:<tag>\ndocker push {image}:<tag>"), "The commands to push"))
                h3 { "In a Bitbucket pipeline" }
                (copyable(&pipe, "The step of a pipeline"))
                p.quiet { "REGISTRY_TOKEN is a secured variable of the repository with a pipeline token." }
            }
        }
    }

    fn tags(&self) -> Markup {
        let may_delete = self.opened.role >= Role::Write;
        let table = html! {
            table.list.tags {
                thead { tr {
                    th scope="col" {
                        @if may_delete {
                            label.all hidden data-all-label { input type="checkbox" data-all; span.hidden { "Choose all tags of this page" } }
                        }
                        "Tag"
                    }
                    th scope="col" { "Platforms" } th.right scope="col" { "Size" }
                    th scope="col" { "Pushed" } th scope="col" { "Last pulled" }
                } }
                tbody { @for manifest in &self.list.manifests { (self.group(manifest, may_delete)) } }
            }
        };
        if !may_delete {
            return table;
        }
        html! {
            form method="get" action={ (self.opened.url()) "/delete-tags" } data-choose {
                (table)
                div.actions {
                    button type="submit" data-counts="Preview deletion" { "Preview deletion" }
                    button type="submit" formaction={ (self.opened.url()) "/compare" } { "Compare two" }
                }
            }
        }
    }

    /// One manifest with the tags of this page that point to it.
    fn group(&self, manifest: &ManifestOverview, may_delete: bool) -> Markup {
        let of_it = |row: &&TagRow| row.digest == manifest.facts.digest;
        let rows: Vec<&TagRow> = self.list.tags.iter().filter(of_it).collect();
        let others: Vec<&Tag> =
            manifest.tags.iter().filter(|tag| !rows.iter().any(|row| row.tag == **tag)).collect();
        let pulled = rows.iter().filter_map(|row| row.pulls.last).max();
        let pulls: u64 = rows.iter().map(|row| row.pulls.count).sum();
        let url = self.opened.url();
        html! {
            tr {
                th scope="row" {
                    @for row in &rows {
                        div.tag {
                            @if may_delete {
                                input type="checkbox" name="tag" value=(row.tag) aria-label={ "Choose the tag " (row.tag) };
                            }
                            a href={ (url) "/tags/" (row.tag) } { (row.tag) }
                        }
                    }
                    div.below {
                        a href={ (url) "/manifests/" (manifest.facts.digest) } title=(manifest.facts.digest) {
                            code { (short_digest(&manifest.facts.digest)) }
                        }
                        (badges(manifest))
                    }
                    @if !others.is_empty() {
                        div.below.quiet {
                            "also "
                            @for (place, tag) in others.iter().enumerate() {
                                @if place > 0 { ", " }
                                a href={ (url) "/tags/" (tag) } { (tag) }
                            }
                            @if manifest.more_tags { " and more" }
                        }
                    }
                }
                td data-label="Platforms" { (self.platforms_of(manifest)) }
                td.right data-label="Size" { (bytes(manifest.facts.closure_bytes)) }
                td data-label="Pushed" {
                    @if let Some(row) = rows.first() { (author(&row.moved, Some(&self.opened.repository))) }
                }
                td data-label="Last pulled" {
                    @match pulled {
                        Some(at) => { (time(at)) " " span.quiet { (times(pulls)) } }
                        None => { span.quiet { "never" } }
                    }
                }
            }
        }
    }

    fn platforms_of(&self, manifest: &ManifestOverview) -> Markup {
        let found =
            self.platforms.get(&manifest.facts.digest).map(Vec::as_slice).unwrap_or_default();
        html! {
            @for platform in found.iter().take(6) { (badge("plain", platform, "Platform")) " " }
            @if found.len() > 6 { span.quiet { "and " (found.len() - 6) " more" } }
            @if found.is_empty() {
                @match &manifest.facts.artifact_type {
                    Some(kind) if !crate::registry::viewing::is_image_config(kind) => {
                        span.quiet.break { (kind) }
                    }
                    _ => { span.quiet { "not told" } }
                }
            }
        }
    }

    /// The way back after a deletion.
    fn undo(&self, viewer: &Viewer) -> Markup {
        if self.deleted.is_empty() {
            return html! {};
        }
        let names: Vec<&str> = self.deleted.iter().map(|row| row.tag.as_str()).collect();
        let hidden: Vec<(&str, &str)> = names.iter().map(|name| ("tag", *name)).collect();
        let keep = super::parts::span(self.opened.room.workspace.settings.keep.as_secs());
        let words = if names.len() == 1 { "is deleted" } else { "are deleted" };
        notice(
            "good",
            &html! {
                p { strong { (names.join(", ")) } " " (words) ". For " (keep) " it can be put back." }
                (form::button(viewer, &format!("{}/restore-tags", self.opened.url()), "main", "Undo", &hidden))
            },
        )
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "(once)".to_owned(),
        count => format!("({} times)", grouped(count)),
    }
}

/// What is attached to a manifest, in words.
pub(super) fn badges(manifest: &ManifestOverview) -> Markup {
    let kinds: Vec<&str> = manifest.referrers.iter().map(|kind| kind_of(kind)).collect();
    let has = |kind: &str, tag: &str| {
        kinds.contains(&kind) || manifest.attached.iter().any(|attached| attached == tag)
    };
    let outline = manifest.bytes.as_deref();
    let outline = outline.and_then(crate::domain::manifest::outline::Outline::read);
    let attested = outline.is_some_and(|outline| {
        outline.manifests.iter().any(crate::domain::manifest::outline::Part::is_attestation)
    });
    let others = kinds.iter().filter(|kind| **kind == "referrer").count();
    html! {
        @if has("signature", "sig") { " " (badge("good", "signed", "A signature refers to it; whether it is good is for the client to check")) }
        @if has("sbom", "sbom") { " " (badge("good", "SBOM", "A bill of materials refers to it")) }
        @if attested || has("attestation", "att") { " " (badge("good", "attested", "It comes with a record of how it was built")) }
        @if others > 0 { " " (badge("plain", &referrers(others, manifest.more_referrers), "Other artifacts that refer to it")) }
    }
}

fn referrers(count: usize, more: bool) -> String {
    let more = if more { "+" } else { "" };
    format!("{count}{more} referrer{}", if count == 1 { "" } else { "s" })
}

/// What an artifact that refers to an image is, by its type.
pub(super) fn kind_of(artifact_type: &str) -> &'static str {
    let kind = artifact_type.to_ascii_lowercase();
    if kind.contains("spdx") || kind.contains("cyclonedx") || kind.contains("syft") {
        "sbom"
    } else if kind.contains("signature") || kind.contains("cosign") || kind.contains("sigstore") {
        "signature"
    } else if kind.contains("in-toto") || kind.contains("provenance") || kind.contains("slsa") {
        "attestation"
    } else {
        "referrer"
    }
}

/// A digest with the link to its manifest.
pub(super) fn manifest_link(url: &str, of: &Digest) -> Markup {
    html! { a href={ (url) "/manifests/" (of) } { (digest(of)) } }
}

fn nothing(image: &str) -> Markup {
    let advice = html! {
        p { "Push the first image. It is here in the same second." }
        (copyable(&format!("docker push {image}:<tag>"), "The command to push"))
    };
    empty("There is no tag yet", &advice)
}
