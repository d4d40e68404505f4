//! What is remembered of every mutation: who, with what, from where.

use super::Event;

/// Where a change came from, as far as the client told (its `User-Agent`; pipes add their build).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client's `User-Agent`, cut to 256 characters and free of control characters.
    pub user_agent: Option<String>,
    /// Pipeline UUID. This and the parts below are likewise cut and free of control characters.
    pub pipeline: Option<String>,
    /// Build number.
    pub build: Option<String>,
    /// Commit hash.
    pub commit: Option<String>,
    /// Branch name.
    pub branch: Option<String>,
}

/// The author of one mutation. The store adds the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The principal's key.
    pub actor: String,
    /// The credential's id, never its secret.
    pub credential: Option<String>,
    /// The request that asked for it.
    pub request_id: String,
    /// Where it came from.
    pub origin: Origin,
    /// What the audit log says it is, where the store cannot tell by itself (documents).
    pub event: Option<Event>,
}

impl Change {
    /// The same author doing this.
    #[must_use]
    pub fn doing(&self, event: Event) -> Self {
        Self { event: Some(event), ..self.clone() }
    }

    /// A change the server makes by itself (start-up, collection).
    #[must_use]
    pub fn by_server(task: &str) -> Self {
        Self {
            actor: "server".to_owned(),
            credential: None,
            request_id: task.to_owned(),
            origin: Origin::default(),
            event: None,
        }
    }
}

/// Undoes the pipe's `%XX`, which keeps spaces and other letters out of the words, and cuts to what is
/// kept. What is not escaped that way, or would be a control character of ASCII, stays as it is; other
/// control characters become U+FFFD.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match byte {
            Some(byte) if first == b'%' && !byte.is_ascii_control() => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    let shown = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    String::from_utf8_lossy(&bytes).chars().map(shown).take(LONGEST).collect()
}

/// The longest user agent, and the longest part of one, that is kept, in characters.
const LONGEST: usize = 256;

impl Origin {
    /// A text as it is kept: cut, and without control characters.
    #[must_use]
    pub fn clean(text: &str) -> String {
        let shown = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
        text.chars().map(shown).take(LONGEST).collect()
    }

    /// Reads a `User-Agent`. The pipe sends
    /// `standpipe-pipe/<version> build/<n> commit/<hash> branch/<name> pipeline/<uuid>`; of any other
    /// client only the whole text is kept.
    #[must_use]
    pub fn from_user_agent(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::default() };
        let clean: String = text.chars().filter(|c| !c.is_control()).collect();
        let mut origin = Self::default();
        if clean.starts_with("standpipe-pipe/") {
            for word in clean.split(' ').skip(1) {
                let Some((key, value)) = word.split_once('/') else { continue };
                let slot = match key {
                    "branch" => &mut origin.branch,
                    "build" => &mut origin.build,
                    "commit" => &mut origin.commit,
                    "pipeline" => &mut origin.pipeline,
                    _ => continue,
                };
                *slot = Some(unescape(value));
            }
        }
        // Cut last: a long branch must not hide the pipeline that is named after it.
        origin.user_agent = Some(clean.chars().take(LONGEST).collect());
        origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pipes_user_agent_names_its_build() {
        let origin = Origin::from_user_agent(Some(
            "standpipe-pipe/0.1.0 build/42 commit/abc branch/feature/x pipeline/{1-2}",
        ));
        assert_eq!(origin.build.as_deref(), Some("42"));
        assert_eq!(origin.commit.as_deref(), Some("abc"));
        assert_eq!(origin.branch.as_deref(), Some("feature/x"));
        assert_eq!(origin.pipeline.as_deref(), Some("{1-2}"));
    }

    #[test]
    fn what_the_pipe_escaped_is_read_back() {
        let agent = "standpipe-pipe/0.1.0 branch/f%C3%BCr%20x%0A%zz%2";
        let origin = Origin::from_user_agent(Some(agent));
        assert_eq!(origin.branch.as_deref(), Some("für x%0A%zz%2"));
    }

    #[test]
    fn a_long_branch_is_kept_whole_and_does_not_hide_the_pipeline() {
        let branch = format!("feature/{}", "b".repeat(190));
        let agent = format!("standpipe-pipe/0.1.0 build/1 branch/{branch} pipeline/{{1-2}}");
        let agent = agent.replace("build/1", &format!("build/1 commit/{}", "a".repeat(40)));
        let origin = Origin::from_user_agent(Some(&agent));
        assert_eq!(origin.branch, Some(branch));
        assert_eq!(origin.pipeline.as_deref(), Some("{1-2}"));
        assert_eq!(origin.user_agent.map(|agent| agent.len()), Some(256));
        let longer = Origin::from_user_agent(Some(&format!(
            "standpipe-pipe/0 branch/{}",
            "%C3%BC".repeat(300)
        )));
        assert_eq!(longer.branch, Some("ü".repeat(256)));
    }

    #[test]
    fn no_part_of_an_origin_has_a_control_character() {
        let origin = Origin::from_user_agent(Some("standpipe-pipe/0 branch/a%C2%85b%0A"));
        assert_eq!(origin.branch.as_deref(), Some("a\u{fffd}b%0A"));
    }

    #[test]
    fn other_agents_are_kept_as_text_without_control_characters() {
        let origin = Origin::from_user_agent(Some("docker/20\r\n build/42"));
        assert_eq!(origin.user_agent.as_deref(), Some("docker/20 build/42"));
        assert_eq!(origin.build, None);
    }
}
