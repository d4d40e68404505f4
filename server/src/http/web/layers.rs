//! Where the megabytes of an image come from: each layer with the step that made it, its size as a
//! bar, and whether anything else needs it.

use super::image::Chosen;
use super::parts::{badge, bar, bytes, digest, short};
use crate::domain::manifest::outline::Part;
use crate::metadata::{BlobUse, MOST_USES};
use maud::{Markup, html};

/// The most layers that a page shows.
pub(super) const MOST_LAYERS: usize = 200;

/// The layers, largest bar for the largest of them.
pub(super) fn table(chosen: &Chosen) -> Markup {
    let layers = &chosen.outline.layers;
    let largest = layers.iter().map(|layer| layer.size).max().unwrap_or(0);
    let total: u64 = layers.iter().map(|layer| layer.size).sum();
    let own: u64 = layers
        .iter()
        .zip(&chosen.uses)
        .filter(|(_, used)| !is_shared(used))
        .map(|(layer, _)| layer.size)
        .sum();
    let steps = steps(chosen);
    html! {
        h2 { "Where the megabytes come from" }
        @if layers.is_empty() { p { "It has no layers." } }
        @else {
            p { (layers.len()) " layers, " strong { (bytes(total)) } " in all; " strong { (bytes(own)) } " of it only here, the rest is shared." }
            table.list.layers {
                thead { tr { th scope="col" { "Build step" } th scope="col" { "Size" } th scope="col" { "Needed by" } th scope="col" { "Layer" } } }
                tbody {
                    @for (place, layer) in layers.iter().take(MOST_LAYERS).enumerate() {
                        (row(layer, steps.get(place).copied(), chosen.uses.get(place), largest))
                    }
                }
            }
            @if layers.len() > MOST_LAYERS { p.quiet { "And " (layers.len() - MOST_LAYERS) " more layers." } }
        }
    }
}

/// The build steps, if the config tells as many as there are layers.
fn steps(chosen: &Chosen) -> Vec<&str> {
    let Ok(config) = &chosen.config else { return Vec::new() };
    let steps = config.layer_steps();
    if steps.len() == chosen.outline.layers.len() { steps } else { Vec::new() }
}

fn row(layer: &Part, step: Option<&str>, used: Option<&BlobUse>, largest: u64) -> Markup {
    let what = format!("Size of the layer: {}", short(layer.size));
    html! {
        tr {
            td data-label="Build step" {
                @match step.filter(|step| !step.is_empty()) {
                    Some(step) => { code { (step) } }
                    None => { span.quiet { "not told" } }
                }
            }
            td data-label="Size" { div.share { (bytes(layer.size)) (bar(layer.size, largest, &what)) } }
            td data-label="Needed by" { @if let Some(used) = used { (sharing(used)) } }
            td data-label="Layer" { (digest(&layer.digest)) }
        }
    }
}

const fn is_shared(used: &BlobUse) -> bool {
    used.manifests > 1 || used.elsewhere
}

fn sharing(used: &BlobUse) -> Markup {
    let count = used.manifests;
    let more = if count >= MOST_USES { "or more " } else { "" };
    html! {
        @if count > 1 { (badge("plain", &format!("{count} {more}images here"), "Images of this package that have the layer")) " " }
        @if used.elsewhere { (badge("plain", "other packages", "Packages of the workspace that have it too; it is stored once")) }
        @if !is_shared(used) { (badge("good", "only this", "Its space comes back when this image goes")) }
    }
}
