//! Which build is pushing: told to the registry in the `User-Agent` header.
//!
//! The form is fixed, so that a server can read the origin of a push from it:
//! `standpipe-pipe/<version> build/<number> commit/<hash> branch/<name> pipeline/<uuid>`.
//! A part that is not known is left out. In a value every byte except letters, digits and
//! `- . _ ~ / { }` is written as `%XX`, so a part ends at the next space and its key at its
//! first slash.

use super::Environment;

/// The facts about the build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    parts: Vec<(&'static str, String)>,
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
        Self { parts: parts.filter_map(|(key, value)| Some((key, value.clone()?))).collect() }
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
    fn no_value_can_break_the_header() {
        let agent = build(&[("BITBUCKET_BRANCH", "a\r\nX: y\u{e4}\u{7f}")]).user_agent();
        assert!(reqwest::header::HeaderValue::from_str(&agent).is_ok(), "{agent}");
        assert!(agent.ends_with("branch/a%0D%0AX%3A%20y%C3%A4%7F"), "{agent}");
    }
}
