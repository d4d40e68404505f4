//! Which build is pushing: told to the registry in the `User-Agent` header.
//!
//! The form is fixed, so that a server can read the origin of a push from it:
//! `standpipe-pipe/<version> build/<number> commit/<hash> branch/<name> pipeline/<uuid>`.
//! A part that is not known is left out. In a value every byte except letters, digits and
//! `- . _ ~ / { }` is written as `%XX`, so a part ends at the next space and its key at its
//! first slash.

use super::{Environment, Tag};

/// The facts about the build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    parts: Vec<(&'static str, String)>,
    annotations: Vec<(&'static str, String)>,
    branch_tag: Option<Tag>,
}

impl Build {
    pub(super) fn new(given: &Environment) -> Self {
        let known = [
            ("build", &given.bitbucket_build_number),
            ("commit", &given.bitbucket_commit),
            ("branch", &given.bitbucket_branch),
            ("pipeline", &given.bitbucket_pipeline_uuid),
        ];
        let parts = known.into_iter();
        let parts = parts.filter_map(|(key, value)| Some((key, value.clone()?))).collect();
        let branch_tag = given.bitbucket_branch.as_deref().and_then(as_tag);
        Self { parts, annotations: annotations(given), branch_tag }
    }

    /// What `PROVENANCE=true` writes onto the image, as key and value.
    pub fn annotations(&self) -> &[(&'static str, String)] {
        &self.annotations
    }

    /// The tag under which builds of this branch are usually pushed.
    pub fn branch_tag(&self) -> Option<Tag> {
        self.branch_tag.clone()
    }

    /// The value of the `User-Agent` header.
    pub fn user_agent(&self) -> String {
        let mut text = format!("standpipe-pipe/{}", env!("CARGO_PKG_VERSION"));
        for (key, value) in &self.parts {
            text.push(' ');
            text.push_str(key);
            text.push('/');
            text.extend(value.bytes().take(LONGEST).map(escape));
        }
        text
    }
}

/// The name of a branch as people make a tag of it: what a tag may not have becomes a hyphen.
fn as_tag(branch: &str) -> Option<Tag> {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
    let text: String = branch.chars().map(legal).take(128).collect();
    Tag::parse(&text).ok()
}

/// The keys of the image-spec (annotations.md) for what they were made for; facts of Bitbucket under
/// a prefix of our own.
fn annotations(given: &Environment) -> Vec<(&'static str, String)> {
    let source = given.bitbucket_git_http_origin.as_ref().map(|origin| secure(origin));
    let results = source.as_ref().zip(given.bitbucket_build_number.as_ref());
    let results = results.map(|(source, number)| format!("{source}/pipelines/results/{number}"));
    let known = [
        ("org.opencontainers.image.revision", given.bitbucket_commit.clone()),
        ("org.opencontainers.image.source", source),
        ("org.opencontainers.image.url", results),
        ("org.opencontainers.image.version", given.bitbucket_tag.clone()),
        ("dev.standpipe.build-number", given.bitbucket_build_number.clone()),
        ("dev.standpipe.pipeline", given.bitbucket_pipeline_uuid.clone()),
        ("dev.standpipe.step", given.bitbucket_step_uuid.clone()),
    ];
    known.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// Bitbucket writes its own address with http, and a clone address may carry a user.
fn secure(origin: &str) -> String {
    let bare = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    let host_end = bare.find('/').unwrap_or(bare.len());
    let bare = bare[..host_end].rfind('@').map_or(bare, |at| &bare[at + 1..]);
    format!("https://{}", bare.trim_end_matches(".git"))
}

fn escape(byte: u8) -> String {
    match byte {
        b'-' | b'.' | b'_' | b'~' | b'/' | b'{' | b'}' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    }
}

/// Bytes of a value that are told; a branch name may be longer than a header should be.
const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn build(variables: &[(&str, &str)]) -> Build {
        let given = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Build::new(&Environment::from_variables(given).unwrap())
    }

    #[test]
    fn the_user_agent_names_the_build() {
        let build = build(&[
            ("BITBUCKET_BUILD_NUMBER", "42"),
            ("BITBUCKET_COMMIT", "abc"),
            ("BITBUCKET_BRANCH", "feature/a b"),
            ("BITBUCKET_PIPELINE_UUID", "{1-2}"),
        ]);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            build.user_agent(),
            format!(
                "standpipe-pipe/{version} build/42 commit/abc branch/feature/a%20b pipeline/{{1-2}}"
            )
        );
    }

    #[test]
    fn the_annotations_say_where_an_image_comes_from() {
        let build = build(&[
            ("BITBUCKET_BUILD_NUMBER", "42"),
            ("BITBUCKET_COMMIT", "abc"),
            ("BITBUCKET_GIT_HTTP_ORIGIN", "http://x-token:secret@bitbucket.org/acme/shop"),
        ]);
        let expected = [
            ("org.opencontainers.image.revision", "abc"),
            ("org.opencontainers.image.source", "https://bitbucket.org/acme/shop"),
            (
                "org.opencontainers.image.url",
                "https://bitbucket.org/acme/shop/pipelines/results/42",
            ),
            ("dev.standpipe.build-number", "42"),
        ];
        assert_eq!(build.annotations(), expected.map(|(key, value)| (key, value.to_owned())));
    }

    #[test]
    fn no_value_can_break_the_header() {
        let agent = build(&[("BITBUCKET_BRANCH", "a\r\nX: y\u{e4}\u{7f}")]).user_agent();
        assert!(reqwest::header::HeaderValue::from_str(&agent).is_ok(), "{agent}");
        assert!(agent.ends_with("branch/a%0D%0AX%3A%20y%C3%A4%7F"), "{agent}");
    }
}
