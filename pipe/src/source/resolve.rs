//! Which image each tag means.
//!
//! `SOURCE_IMAGE` means that image for every tag, and so does `IMAGE_NAME` with a tag. Without
//! them, each tag means the image `NAME:TAG`, else `NAME:latest`, else the only one of that
//! name. An archive with one image means that one.
//! Invariant: what is ambiguous is refused, not guessed.

use super::archive::{Archive, Candidate};
use super::daemon::{Daemon, Inspected};
use super::near;
use crate::config::{Config, Tag};
use crate::error::{Error, Failure, Problem};

/// An image of the daemon, the name by which it was found, and the tags that mean it.
pub(super) type Wanted = (String, Inspected, Vec<Tag>);

/// The local images to push, in the order of the tags.
pub(super) async fn in_daemon(daemon: &Daemon, config: &Config) -> Result<Vec<Wanted>, Error> {
    let mut selected: Vec<Wanted> = Vec::new();
    for tag in tags(config) {
        let (name, image) = find(daemon, config, &tag).await?;
        match selected.iter_mut().find(|(_, known, _)| known.id == image.id) {
            Some((_, _, tags)) => tags.push(tag),
            None => selected.push((name, image, vec![tag])),
        }
    }
    Ok(selected)
}

/// The images of an archive to push, by their numbers, in the order of the tags.
pub(super) fn in_archive(
    archive: &Archive,
    config: &Config,
) -> Result<Vec<(usize, Vec<Tag>)>, Error> {
    let reference = match (&archive.reference, &config.source_image) {
        (Some(written), Some(other)) if written != other => {
            let message = format!("is {other:?}, but SOURCE ends in {written:?}; give one of them");
            let problem = Problem { variable: "SOURCE_IMAGE".to_owned(), message };
            return Err(Error::Variables(vec![problem]));
        }
        (written, other) => written.as_ref().or(other.as_ref()),
    };
    let mut selected: Vec<(usize, Vec<Tag>)> = Vec::new();
    for tag in tags(config) {
        let number = match (reference, archive.candidates.as_slice()) {
            (_, []) => Err(Failure::new(format!("{} has no image", archive.label))),
            (Some(reference), _) => by_reference(archive, reference),
            (None, [_]) => Ok(0),
            (None, _) => by_name(archive, config, &tag),
        };
        let number = number.map_err(Error::Source)?;
        match selected.iter_mut().find(|(known, _)| *known == number) {
            Some((_, tags)) => tags.push(tag),
            None => selected.push((number, vec![tag])),
        }
    }
    Ok(selected)
}

fn tags(config: &Config) -> Vec<Tag> {
    match (&config.image.tag, config.tags.as_slice()) {
        (Some(tag), []) => vec![tag.clone()],
        (None, []) => vec![Tag::latest()],
        (_, tags) => tags.to_vec(),
    }
}

/// The names to look for, best first.
fn names(config: &Config, tag: &Tag) -> Vec<String> {
    let name = &config.image.name;
    match (&config.source_image, &config.image.tag) {
        (Some(reference), _) => vec![reference.clone()],
        (None, Some(written)) => vec![format!("{name}:{written}")],
        (None, None) => vec![format!("{name}:{tag}"), format!("{name}:latest")],
    }
}

/// Whether any tag of the name will do, if it is the only one.
fn may_be_any(config: &Config) -> bool {
    config.source_image.is_none() && config.image.tag.is_none()
}

async fn find(daemon: &Daemon, config: &Config, tag: &Tag) -> Result<(String, Inspected), Error> {
    let candidates = names(config, tag);
    for candidate in &candidates {
        if let Some(image) = daemon.inspect(candidate).await? {
            return Ok((candidate.clone(), image));
        }
    }
    let local = daemon.local_names().await?;
    if may_be_any(config) {
        let prefix = format!("{}:", config.image.name);
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
    let bare = config.source_image.as_deref().map_or(config.image.name.as_str(), repository);
    let near = near::images(bare, local);
    if config.source_image.is_none()
        && let Some(full) = near.iter().find(|name| name.ends_with(&format!("/{wanted}")))
    {
        failure = failure.hint(format!(
            "{full} exists: the pipe adds registry and workspace by itself. Build with \
             \"docker build -t {wanted} .\", or run \"docker tag {full} {wanted}\" first, or set \
             SOURCE_IMAGE={full}."
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

/// The image that a user names: by name, by digest, or by its place (`@0` is the first).
fn by_reference(archive: &Archive, reference: &str) -> Result<usize, Failure> {
    if let Some(place) = reference.strip_prefix('@').and_then(|place| place.parse::<usize>().ok())
        && place < archive.candidates.len()
    {
        return Ok(place);
    }
    let digest = reference.rsplit_once('@').map_or(reference, |(_, digest)| digest);
    let answers = |candidate: &Candidate| {
        candidate.names.iter().any(|name| is_same(name, reference))
            || candidate.digest.as_ref().is_some_and(|known| known.as_str() == digest)
    };
    only(archive, answers)
        .map_err(|several| list(archive, refusal(archive, reference, several), Some(reference)))
}

/// The image that a tag means by the rule for names.
fn by_name(archive: &Archive, config: &Config, tag: &Tag) -> Result<usize, Failure> {
    for name in names(config, tag) {
        let bare_tag = name.rsplit_once(':').map(|(_, tag)| tag);
        let named =
            |candidate: &Candidate| candidate.names.iter().any(|known| is_same(known, &name));
        // Layouts often name an image by nothing but its tag.
        let tagged = |candidate: &Candidate| {
            candidate.names.iter().any(|known| Some(known.as_str()) == bare_tag)
        };
        if let Ok(number) = only(archive, named).or_else(|_| only(archive, tagged)) {
            return Ok(number);
        }
    }
    let of_the_name = |candidate: &Candidate| {
        candidate.names.iter().any(|known| repository(&full(known)) == config.image.name)
    };
    if may_be_any(config)
        && let Ok(number) = only(archive, of_the_name)
    {
        return Ok(number);
    }
    let wanted = &names(config, tag)[0];
    let failure = Failure::new(format!(
        "{} has {} images, and which of them is {wanted} is not clear",
        archive.label,
        archive.candidates.len()
    ));
    Err(list(archive, failure.hint("SOURCE_IMAGE says which one to push."), Some(wanted)))
}

/// The only image for which this holds; else whether there are several.
fn only(archive: &Archive, holds: impl Fn(&Candidate) -> bool) -> Result<usize, bool> {
    let mut found = archive.candidates.iter().enumerate().filter(|(_, one)| holds(one));
    match (found.next(), found.next()) {
        (Some((number, _)), None) => Ok(number),
        (first, _) => Err(first.is_some()),
    }
}

fn refusal(archive: &Archive, reference: &str, several: bool) -> Failure {
    let label = &archive.label;
    Failure::new(if several {
        format!("{label} has several images {reference}")
    } else {
        format!("{label} has no image {reference}")
    })
}

/// Adds what is there, what is most like it first.
fn list(archive: &Archive, failure: Failure, wanted: Option<&str>) -> Failure {
    let shown = archive.candidates.iter().enumerate().map(|(place, candidate)| {
        match (candidate.names.as_slice(), &candidate.digest) {
            ([], Some(digest)) => format!("@{place} (without a name, {})", digest.short()),
            ([], None) => format!("@{place} (without a name)"),
            (names, _) => names.join(" = "),
        }
    });
    let shown = near::words(wanted.unwrap_or_default(), shown.collect());
    failure.hint(format!("Images in it: {}.", shown.join(", ")))
}

/// Whether two names are one image to Docker and podman, which add a host, a path and a tag.
fn is_same(one: &str, other: &str) -> bool {
    one == other || full(one) == full(other)
}

fn full(name: &str) -> String {
    let hosts = ["docker.io/library/", "index.docker.io/library/", "docker.io/", "localhost/"];
    let bare = hosts.iter().find_map(|host| name.strip_prefix(host)).unwrap_or(name);
    let last = bare.rsplit('/').next().unwrap_or(bare);
    if last.contains([':', '@']) { bare.to_owned() } else { format!("{bare}:latest") }
}

/// A name without tag and digest.
fn repository(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        Some((bare, tag)) if !tag.contains('/') => bare,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_docker_and_podman_mean_them() {
        for same in ["app", "app:latest", "docker.io/library/app:latest", "localhost/app"] {
            assert!(is_same(same, "app:latest"), "{same}");
        }
        for other in ["app:1", "reg.example/app:latest", "apps:latest", "team/app:latest"] {
            assert!(!is_same(other, "app:latest"), "{other}");
        }
        assert!(is_same("1.2", "1.2"));
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(repository("reg:5000/team/app"), "reg:5000/team/app");
        assert_eq!(repository("reg:5000/team/app:1"), "reg:5000/team/app");
        assert_eq!(repository("app@sha256:00"), "app");
    }
}
