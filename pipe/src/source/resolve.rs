//! Which local image each tag means.
//!
//! `IMAGE_NAME` with a tag means that image for every tag. Without one, each tag means the local
//! image `NAME:TAG`, else `NAME:latest`, else the only local tag of that name.
//! Invariant: what is ambiguous is refused, not guessed.

use super::Selected;
use super::daemon::{Daemon, Inspected};
use crate::config::{Config, Tag};
use crate::error::{Error, Failure};

/// The local images to push, each with its tags, in the order of the tags.
pub(super) async fn select(daemon: &Daemon, config: &Config) -> Result<Vec<Selected>, Error> {
    let mut selected: Vec<Selected> = Vec::new();
    for tag in wanted_tags(config) {
        let (name, image) = find(daemon, config, &tag).await?;
        match selected.iter_mut().find(|known| known.id == image.id) {
            Some(known) => known.tags.push(tag),
            None => selected.push(Selected {
                name,
                id: image.id,
                size: image.size,
                platform: format!("{}/{}", image.os, image.architecture),
                diff_ids: image.root.layers.unwrap_or_default(),
                tags: vec![tag],
            }),
        }
    }
    Ok(selected)
}

fn wanted_tags(config: &Config) -> Vec<Tag> {
    match (&config.image.tag, config.tags.as_slice()) {
        (Some(tag), []) => vec![tag.clone()],
        (None, []) => vec![Tag::latest()],
        (_, tags) => tags.to_vec(),
    }
}

async fn find(daemon: &Daemon, config: &Config, tag: &Tag) -> Result<(String, Inspected), Error> {
    let name = &config.image.name;
    let candidates = match &config.image.tag {
        Some(written) => vec![format!("{name}:{written}")],
        None => vec![format!("{name}:{tag}"), format!("{name}:latest")],
    };
    for candidate in &candidates {
        if let Some(image) = daemon.inspect(candidate).await? {
            return Ok((candidate.clone(), image));
        }
    }
    let local = daemon.local_names().await?;
    if config.image.tag.is_none() {
        let prefix = format!("{name}:");
        let mut named = local.iter().filter(|local| local.starts_with(&prefix));
        if let (Some(only), None) = (named.next(), named.next())
            && let Some(image) = daemon.inspect(only).await?
        {
            return Ok((only.clone(), image));
        }
    }
    Err(missing(config, &candidates[0], &local))
}

fn missing(config: &Config, wanted: &str, local: &[String]) -> Error {
    let mut failure = Failure::new(format!("there is no local image {wanted}"));
    let near = near(&config.image.name, local);
    if let Some(full) = near.iter().find(|name| name.ends_with(&format!("/{wanted}"))) {
        failure = failure.hint(format!(
            "{full} exists: the pipe adds registry and workspace by itself. Build with \
             \"docker build -t {wanted} .\", or run \"docker tag {full} {wanted}\" first."
        ));
    }
    failure = match near.as_slice() {
        [] if local.is_empty() => failure.hint(
            "The daemon has no images with a name. Is the image built in this step, with the same docker service?",
        ),
        [] => failure.hint(format!("The daemon has {} images, none with a name like it.", local.len())),
        names => failure.hint(format!("Local images with a name like it: {}.", names.join(", "))),
    };
    Error::Source(failure)
}

/// Local names that may be what was meant, best first.
pub(super) fn near(wanted: &str, local: &[String]) -> Vec<String> {
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let wanted_last = last(wanted);
    let mut ranked: Vec<(usize, &String)> = local
        .iter()
        .filter_map(|name| {
            let bare = name.rsplit_once(':').map_or(name.as_str(), |(bare, _)| bare);
            let name_last = last(bare);
            let rank = if bare == wanted {
                0
            } else if name_last == wanted_last {
                1
            } else if name_last.contains(&wanted_last) || wanted_last.contains(&name_last) {
                2
            } else {
                3 + distance(&name_last, &wanted_last)
            };
            (rank <= 3 + MOST_DISTANCE).then_some((rank, name))
        })
        .collect();
    ranked.sort();
    ranked.into_iter().take(MOST_NAMES).map(|(_, name)| name.clone()).collect()
}

/// Levenshtein: letters to insert, remove or change.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

const MOST_NAMES: usize = 5;
/// More changes than this make another word.
const MOST_DISTANCE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_best_first() {
        let local =
            ["other:1", "shop-apo:1", "reg.example/acme/shop-api:2", "shop-api:3", "shop:1"];
        let local = local.map(str::to_owned);
        let expected = ["shop-api:3", "reg.example/acme/shop-api:2", "shop:1", "shop-apo:1"];
        assert_eq!(near("shop-api", &local), expected);
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("shop", "shop"), 0);
        assert_eq!(distance("shop", "ship"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
