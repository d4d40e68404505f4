//! A tag or a manifest: its tree, its config, where its megabytes come from, its history.
//!
//! Invariant: a page reads one manifest with what hangs on it, one image below it, and one config of
//! at most 4 MiB. What an image says about itself is shown as text and believed in nothing.

use super::error::WebError;
use super::fields::{At, Fields};
use super::form;
use super::history;
use super::layers;
use super::package::{Opened, badges, kind_of, manifest_link};
use super::page::Html;
use super::parts::{author, badge, bytes, digest, notice, time};
use super::selection::pull_line;
use super::viewer::Viewer;
use crate::app::App;
use crate::domain::manifest::outline::{Outline, Part};
use crate::domain::{Digest, PackageId, Reference, Role, Slug, Tag};
use crate::metadata::{BlobUse, HistoryRow, ManifestInspection, TagRow};
use crate::registry::image::ImageConfig;
use crate::registry::viewing::{BlobRead, LARGEST_READ, MOST_PARTS, is_image_config};
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use maud::{Markup, html};
use std::sync::Arc;

/// How many movements of a tag a page shows.
const MOST_HISTORY: usize = 30;

/// One image of the tree with everything that is told about it.
pub(super) struct Chosen {
    /// Its digest.
    pub(super) digest: Digest,
    /// Its platform, as its parent or its config says.
    pub(super) platform: Option<String>,
    /// Its parts.
    pub(super) outline: Outline,
    /// Its config, or why there is none.
    pub(super) config: std::result::Result<ImageConfig, String>,
    /// How widely its layers are used, in their order.
    pub(super) uses: Vec<BlobUse>,
}

/// What the page shows.
struct Shown {
    opened: Opened,
    tag: Option<TagRow>,
    found: ManifestInspection,
    outline: Outline,
    chosen: Option<Chosen>,
    history: Vec<HistoryRow>,
}

/// The page of a tag.
pub(super) async fn of_tag(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug, id, tag)): At<(Slug, PackageId, Tag)>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let opened = Opened::of(&app, &viewer, &slug, id).await?;
    let history = app.registry.history(&opened.access, Some(&tag), MOST_HISTORY).await?;
    let row = match app.registry.package_tag(&opened.access, &tag).await {
        Ok(details) => details.row,
        Err(RegistryError::NotFound(_)) if !history.is_empty() => {
            return Ok(history::of_deleted(&viewer, &opened, &tag, &history));
        }
        Err(error) => return Err(error.into()),
    };
    let reference = Reference::Digest(row.digest);
    let shown = Shown::read(&app, opened, &reference, &query).await?;
    Ok(Shown { tag: Some(row), history, ..shown }.page(&viewer))
}

/// The page of a manifest.
pub(super) async fn of_manifest(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug, id, digest)): At<(Slug, PackageId, Digest)>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let opened = Opened::of(&app, &viewer, &slug, id).await?;
    let shown = Shown::read(&app, opened, &Reference::Digest(digest), &query).await?;
    Ok(shown.page(&viewer))
}

impl Shown {
    async fn read(
        app: &App,
        opened: Opened,
        reference: &Reference,
        query: &Fields,
    ) -> Result<Self> {
        let found = app.registry.inspect(&opened.access, reference).await?;
        let bytes = found.overview.bytes.as_deref();
        let outline = bytes.and_then(Outline::read).unwrap_or_default();
        let wanted = query.one("platform");
        let chosen = choose(app, &opened, &found, &outline, wanted).await?;
        let (tag, history) = Default::default();
        Ok(Self { opened, tag, found, outline, chosen, history })
    }

    fn page(&self, viewer: &Viewer) -> Html {
        let title = match &self.tag {
            Some(row) => row.tag.to_string(),
            None => super::parts::short_digest(&self.found.overview.facts.digest),
        };
        let content = self.content(viewer, &title);
        let page = self.opened.page(viewer, &title);
        page.below(self.opened.name(), self.opened.url()).show(&content)
    }

    fn content(&self, viewer: &Viewer, title: &str) -> Markup {
        let facts = &self.found.overview.facts;
        let url = self.opened.url();
        let reference =
            self.tag.as_ref().map_or_else(|| facts.digest.to_string(), |row| row.tag.to_string());
        html! {
            div.head {
                h1 { (self.opened.name()) ":" (title) (badges(&self.found.overview)) }
                @if self.tag.is_some() && self.opened.role >= Role::Write {
                    a.button.bad href={ (url) "/delete-tags?tag=" (title) } { "Delete tag" }
                }
            }
            (self.facts())
            (pull_line(&self.opened, viewer, &reference))
            (self.others(&url))
            (self.tree(&url))
            @if let Some(chosen) = &self.chosen { (self.chosen_image(chosen)) }
            (pairs("Annotations", &self.outline.annotations))
            @if self.tag.is_some() { (history::table(viewer, &self.opened, &self.history)) }
        }
    }

    fn facts(&self) -> Markup {
        let facts = &self.found.overview.facts;
        html! {
            dl.facts {
                div { dt { "Digest" } dd { (digest(&facts.digest)) } }
                div { dt { "Size" } dd { (bytes(facts.closure_bytes)) } }
                div { dt { "Kind" } dd.break { (kind(&facts.media_type, facts.artifact_type.as_deref())) } }
                @if let Some(row) = &self.tag {
                    div { dt { "Pushed" } dd { (author(&row.moved, Some(&self.opened.repository))) } }
                    div { dt { "Last pulled" } dd {
                        @match row.pulls.last { Some(at) => { (time(at)) } None => { "never" } }
                    } }
                } @else {
                    div { dt { "First pushed" } dd { (author(&facts.pushed, Some(&self.opened.repository))) } }
                }
                @if let Some(subject) = &facts.subject {
                    div { dt { "Refers to" } dd { (manifest_link(&self.opened.url(), subject)) } }
                }
            }
        }
    }

    /// The other tags of the same content, and the form that compares.
    fn others(&self, url: &str) -> Markup {
        let own = self.tag.as_ref().map(|row| &row.tag);
        let others: Vec<&Tag> =
            self.found.overview.tags.iter().filter(|tag| Some(*tag) != own).collect();
        html! {
            @if !others.is_empty() {
                p { "The same content is also called "
                    @for (place, tag) in others.iter().enumerate() {
                        @if place > 0 { ", " }
                        a href={ (url) "/tags/" (tag) } { (tag) }
                    }
                    @if self.found.overview.more_tags { " and more" }
                    "."
                }
            }
            @if let Some(own) = own {
                form.search method="get" action={ (url) "/compare" } {
                    input type="hidden" name="tag" value=(own);
                    div.field {
                        label for="with" { "Compare with the tag" }
                        input #with type="text" name="tag" required autocomplete="off" autocapitalize="none" spellcheck="false";
                    }
                    button type="submit" { "Compare" }
                }
            }
        }
    }

    /// The tree: an index, its images, what was recorded about them, what refers to all that.
    fn tree(&self, url: &str) -> Markup {
        let facts = &self.found.overview.facts;
        let attestations = self.outline.manifests.iter().filter(|part| part.is_attestation());
        let images: Vec<&Part> =
            self.outline.manifests.iter().filter(|part| !part.is_attestation()).collect();
        let chosen = self.chosen.as_ref().map(|chosen| chosen.digest);
        html! {
            h2 { "What is in it" }
            ul.tree {
                li {
                    (kind(&facts.media_type, facts.artifact_type.as_deref())) " " (digest(&facts.digest)) " " (bytes(facts.size))
                    @if !self.outline.manifests.is_empty() || !self.found.referrers.is_empty() {
                        ul {
                            @for part in images.iter().take(MOST_PARTS) {
                                li class=[(chosen == Some(part.digest)).then_some("here")] {
                                    (self.child(url, part))
                                }
                            }
                            @for part in attestations.take(MOST_PARTS) {
                                li { (badge("good", "attestation", "How an image of this index was built")) " " (manifest_link(url, &part.digest)) " " (bytes(part.size)) }
                            }
                            @for referrer in &self.found.referrers {
                                @let name = referrer.artifact_type.as_deref().unwrap_or("artifact");
                                li { (badge("plain", kind_of(name), name)) " " (manifest_link(url, &referrer.digest)) " " span.quiet { (name) " " (bytes(referrer.closure_bytes)) } }
                            }
                        }
                    }
                }
            }
        }
    }

    fn child(&self, url: &str, part: &Part) -> Markup {
        let found = self.found.children.iter().find(|child| child.facts.digest == part.digest);
        let platform = part.platform.as_deref().unwrap_or("no platform");
        html! {
            @match found {
                Some(found) => {
                    a href={ "?platform=" (part.digest) "#image" } title="Show its config and layers" { (platform) }
                    " " (manifest_link(url, &part.digest)) " " (bytes(found.facts.closure_bytes)) (badges(found))
                }
                None => { (platform) " " (digest(&part.digest)) " " span.quiet { "not in this package" } }
            }
        }
    }

    fn chosen_image(&self, chosen: &Chosen) -> Markup {
        let several = !self.outline.manifests.is_empty();
        html! {
            h2 #image { "Image" @if let Some(platform) = &chosen.platform { " for " (platform) } }
            @if several { p.quiet { "Choose another platform in the list above." } }
            (layers::table(chosen))
            @match &chosen.config {
                Ok(config) => { (config_table(config)) }
                Err(why) => { (notice("plain", &html! { p { "The configuration is not shown: " (why) "." } })) }
            }
        }
    }
}

/// Chooses an image of a manifest: itself, or the child that is asked for, or the first one.
pub(super) async fn choose(
    app: &App,
    opened: &Opened,
    found: &ManifestInspection,
    outline: &Outline,
    wanted: &str,
) -> Result<Option<Chosen>> {
    if outline.manifests.is_empty() {
        let digest = found.overview.facts.digest;
        return examine(app, opened, digest, outline.clone(), None).await.map(Some);
    }
    let images = || {
        let there =
            |part: &&Part| found.children.iter().any(|child| child.facts.digest == part.digest);
        outline.manifests.iter().filter(|part| !part.is_attestation()).filter(there)
    };
    let is_wanted = |part: &&Part| {
        part.digest.to_string() == wanted || part.platform.as_deref() == Some(wanted)
    };
    let Some(part) = images().find(is_wanted).or_else(|| images().next()) else { return Ok(None) };
    let child = found.children.iter().find(|child| child.facts.digest == part.digest);
    let bytes = child.and_then(|child| child.bytes.as_deref());
    let inner = bytes.and_then(Outline::read).unwrap_or_default();
    examine(app, opened, part.digest, inner, part.platform.clone()).await.map(Some)
}

async fn examine(
    app: &App,
    opened: &Opened,
    digest: Digest,
    outline: Outline,
    platform: Option<String>,
) -> Result<Chosen> {
    let config = match outline.config.as_ref().filter(|part| is_image_config(&part.media_type)) {
        None => Err("this is no image that runs".to_owned()),
        Some(part) => {
            match app.registry.read_small(&opened.access, &part.digest, LARGEST_READ).await? {
                BlobRead::Content(content) => {
                    ImageConfig::read(&content).ok_or_else(|| "it is no JSON object".to_owned())
                }
                BlobRead::TooLarge(size) => {
                    Err(format!("it has {}, more than is read", super::parts::short(size)))
                }
                BlobRead::Unreadable(why) => Err(why),
            }
        }
    };
    let digests = outline.layers.iter().take(layers::MOST_LAYERS).map(|part| part.digest).collect();
    let uses = app.registry.blob_uses(&opened.access, digests).await?;
    let platform =
        platform.or_else(|| config.as_ref().ok().and_then(|config| config.platform.clone()));
    Ok(Chosen { digest, platform, outline, config, uses })
}

/// What a manifest is, in words where there are some.
fn kind<'a>(media_type: &'a str, artifact_type: Option<&'a str>) -> &'a str {
    if media_type.contains("image.index") || media_type.contains("manifest.list") {
        return "Index of images";
    }
    match artifact_type {
        Some(kind) if !is_image_config(kind) => kind,
        _ => "Image",
    }
}

fn config_table(config: &ImageConfig) -> Markup {
    let lists = [
        ("Entry point", &config.entrypoint),
        ("Command", &config.command),
        ("Environment", &config.environment),
        ("Ports", &config.ports),
        ("Volumes", &config.volumes),
    ];
    let texts = [
        ("Working directory", &config.working_directory),
        ("Stop signal", &config.stop_signal),
        ("Built", &config.created),
        ("Author", &config.author),
    ];
    let user = config.user.as_deref().unwrap_or("root (none is set)");
    html! {
        h2 { "Configuration" }
        dl.pairs {
            div { dt { "User" } dd { code { (user) } } }
            @for (name, list) in lists {
                @if !list.is_empty() {
                    div { dt { (name) } dd { ul { @for item in list { li { code { (item) } } } } } }
                }
            }
            @for (name, text) in texts {
                @if let Some(text) = text { div { dt { (name) } dd { code { (text) } } } }
            }
        }
        (pairs("Labels", &config.labels))
    }
}

fn pairs(title: &str, pairs: &[(String, String)]) -> Markup {
    html! {
        @if !pairs.is_empty() {
            h2 { (title) }
            dl.pairs { @for (key, value) in pairs { div { dt { (key) } dd { (value) } } } }
        }
    }
}

/// A button that deletes a tag after asking; for lists.
pub(super) fn put_back(viewer: &Viewer, opened: &Opened, tag: &Tag, digest: &Digest) -> Markup {
    let digest = digest.to_string();
    let hidden = [("tag", tag.as_str()), ("digest", digest.as_str()), ("show", "yes")];
    let action = format!("{}/restore-tags", opened.url());
    form::button(viewer, &action, "", "Put back", &hidden)
}
