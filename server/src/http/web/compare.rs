//! What differs between two tags: size, layers, configuration.

use super::error::WebError;
use super::fields::{At, Fields};
use super::image::{Chosen, choose};
use super::package::{Opened, manifest_link};
use super::page::Html;
use super::parts::{bytes, digest, notice, short};
use super::viewer::Viewer;
use crate::app::App;
use crate::domain::manifest::outline::{Outline, Part};
use crate::domain::{PackageId, Reference, Slug, Tag};
use crate::metadata::ManifestInspection;
use crate::registry::image::ImageConfig;
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use maud::{Markup, html};
use std::sync::Arc;

/// One side.
struct Side {
    tag: Tag,
    found: ManifestInspection,
    outline: Outline,
    image: Option<Chosen>,
}

impl Side {
    async fn of(app: &App, opened: &Opened, tag: Tag, platform: &str) -> Result<Self> {
        let reference = Reference::Tag(tag.clone());
        let found = app.registry.inspect(&opened.access, &reference).await?;
        let outline = found.overview.bytes.as_deref().and_then(Outline::read).unwrap_or_default();
        let image = choose(app, opened, &found, &outline, platform).await?;
        Ok(Self { tag, found, outline, image })
    }

    fn layers(&self) -> &[Part] {
        self.image.as_ref().map(|image| image.outline.layers.as_slice()).unwrap_or_default()
    }

    fn config(&self) -> Option<&ImageConfig> {
        self.image.as_ref().and_then(|image| image.config.as_ref().ok())
    }
}

/// The page.
pub(super) async fn show(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug, id)): At<(Slug, PackageId)>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let opened = Opened::of(&app, &viewer, &slug, id).await?;
    let mut tags = Vec::new();
    for text in query.all("tag") {
        tags.push(super::fields::parse::<Tag>("tag", text.trim())?);
    }
    let [one, other] = <[Tag; 2]>::try_from(tags).map_err(|_| {
        let reason = "choose exactly two tags to compare; go back and tick them".to_owned();
        RegistryError::Invalid { field: "tags", reason }
    })?;
    let platform = query.one("platform");
    let one = Side::of(&app, &opened, one, platform).await?;
    // Without a wish, the same platform is looked for on the other side.
    let same = one.image.as_ref().and_then(|image| image.platform.clone()).unwrap_or_default();
    let platform = if platform.is_empty() { same.as_str() } else { platform };
    let other = Side::of(&app, &opened, other, platform).await?;
    let title = format!("{} and {}", one.tag, other.tag);
    let content = page(&opened, &one, &other);
    let page = opened.page(&viewer, &title);
    Ok(page.below(opened.name(), opened.url()).show(&content))
}

fn page(opened: &Opened, one: &Side, other: &Side) -> Markup {
    let (a, b) = (&one.found.overview.facts, &other.found.overview.facts);
    html! {
        h1 { (one.tag) " compared with " (other.tag) }
        @if a.digest == b.digest {
            (notice("good", &html! { p { "Both tags are the same content, " (digest(&a.digest)) "." } }))
        } @else {
            (platforms(opened, one, other))
            (summary(opened, one, other))
            (layers(one, other))
            (config(one, other))
        }
    }
}

/// The platforms that both have.
fn platforms(opened: &Opened, one: &Side, other: &Side) -> Markup {
    let theirs = other.outline.platforms();
    let both: Vec<&str> =
        one.outline.platforms().into_iter().filter(|name| theirs.contains(name)).collect();
    let shown = one.image.as_ref().and_then(|image| image.platform.as_deref());
    html! {
        @if both.len() > 1 {
            nav.chips aria-label="Platforms" {
                @for name in both {
                    a.chip href={ (opened.url()) "/compare?tag=" (one.tag) "&tag=" (other.tag) "&platform=" (super::percent(name)) } aria-current=[(Some(name) == shown).then_some("true")] { (name) } " "
                }
            }
        }
    }
}

fn summary(opened: &Opened, one: &Side, other: &Side) -> Markup {
    let size = |side: &Side| side.layers().iter().map(|layer| layer.size).sum::<u64>();
    let (before, after) = (size(one), size(other));
    let change = match after.cmp(&before) {
        std::cmp::Ordering::Equal => "as large as".to_owned(),
        std::cmp::Ordering::Greater => format!("{} larger than", short(after - before)),
        std::cmp::Ordering::Less => format!("{} smaller than", short(before - after)),
    };
    html! {
        table.list {
            thead { tr { th scope="col" { "Tag" } th scope="col" { "Manifest" } th scope="col" { "Platform" } th.right scope="col" { "Layers" } th.right scope="col" { "Size" } } }
            tbody {
                @for side in [one, other] {
                    tr {
                        th scope="row" { a href={ (opened.url()) "/tags/" (side.tag) } { (side.tag) } }
                        td data-label="Manifest" { (manifest_link(&opened.url(), &side.found.overview.facts.digest)) }
                        td data-label="Platform" { (side.image.as_ref().and_then(|image| image.platform.as_deref()).unwrap_or("none")) }
                        td.right data-label="Layers" { (side.layers().len()) }
                        td.right data-label="Size" { (bytes(size(side))) }
                    }
                }
            }
        }
        p { strong { (other.tag) } " is " (change) " " strong { (one.tag) } ", before anything is shared." }
    }
}

fn layers(one: &Side, other: &Side) -> Markup {
    let has = |side: &Side, layer: &Part| side.layers().iter().any(|l| l.digest == layer.digest);
    let common = one.layers().iter().filter(|layer| has(other, layer));
    let gone: Vec<&Part> = one.layers().iter().filter(|layer| !has(other, layer)).collect();
    let new: Vec<&Part> = other.layers().iter().filter(|layer| !has(one, layer)).collect();
    let (count, size) = common.fold((0, 0), |(count, size), layer| (count + 1, size + layer.size));
    html! {
        h2 { "Layers" }
        p { (count) " layers are common to both (" (bytes(size)) "). Pulling " strong { (other.tag) } " over " strong { (one.tag) } " fetches " strong { (bytes(new.iter().map(|layer| layer.size).sum())) } "." }
        @if !gone.is_empty() || !new.is_empty() {
            table.list {
                thead { tr { th scope="col" { "Where" } th scope="col" { "Build step" } th scope="col" { "Layer" } th.right scope="col" { "Size" } } }
                tbody {
                    @for layer in &gone { (layer_row("removed", "only in", one, layer)) }
                    @for layer in &new { (layer_row("added", "only in", other, layer)) }
                }
            }
        }
    }
}

fn layer_row(class: &str, words: &str, side: &Side, layer: &Part) -> Markup {
    let place = side.layers().iter().position(|other| other.digest == layer.digest);
    let steps = side.config().map(ImageConfig::layer_steps).unwrap_or_default();
    let fits = steps.len() == side.layers().len();
    let step = place.filter(|_| fits).and_then(|place| steps.get(place).copied());
    html! {
        tr class=(class) {
            th scope="row" { (words) " " (side.tag) }
            td data-label="Build step" { @match step { Some(step) => { code { (step) } } None => { span.quiet { "not told" } } } }
            td data-label="Layer" { (digest(&layer.digest)) }
            td.right data-label="Size" { (bytes(layer.size)) }
        }
    }
}

fn config(one: &Side, other: &Side) -> Markup {
    let (Some(a), Some(b)) = (one.config(), other.config()) else {
        return html! { h2 { "Configuration" } p { "One of them has none that is shown." } };
    };
    let labels = |config: &ImageConfig| -> Vec<String> {
        config.labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
    };
    let single = |text: &Option<String>| -> Vec<String> { text.iter().cloned().collect() };
    let rows = [
        ("Entry point", vec![a.entrypoint.join(" ")], vec![b.entrypoint.join(" ")]),
        ("Command", vec![a.command.join(" ")], vec![b.command.join(" ")]),
        ("User", single(&a.user), single(&b.user)),
        ("Working directory", single(&a.working_directory), single(&b.working_directory)),
        ("Environment", a.environment.clone(), b.environment.clone()),
        ("Ports", a.ports.clone(), b.ports.clone()),
        ("Labels", labels(a), labels(b)),
    ];
    let changed: Vec<_> = rows.iter().filter(|(_, before, after)| before != after).collect();
    html! {
        h2 { "Configuration" }
        @if changed.is_empty() { p { "Nothing that runs differs: entry point, command, user, environment and labels are the same." } }
        @else {
            dl.pairs {
                @for (name, before, after) in changed {
                    div { dt { (name) } dd { ul {
                        @for item in before.iter().filter(|item| !after.contains(item) && !item.is_empty()) { li { del.removed { code { (item) } } } }
                        @for item in after.iter().filter(|item| !before.contains(item) && !item.is_empty()) { li { ins.added { code { (item) } } } }
                    } } }
                }
            }
        }
    }
}
