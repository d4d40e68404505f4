//! What can go wrong, sorted by what the caller does about it: the exit code.
//!
//! Invariant: every message is a sentence for the reader of a build log and holds no secret.
//! Must not know: HTTP, tar or environment details; the module that met the fault words it.

use std::fmt;

/// Why a push did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Variables are missing or wrong; all of them are listed. Exit code 2.
    #[error("{}", headline(.0))]
    Variables(Vec<Problem>),
    /// The Docker daemon or the image was not found. Exit code 3.
    #[error(transparent)]
    Source(Failure),
    /// Login failed, the role is too small or the package does not exist. Exit code 4.
    #[error(transparent)]
    Access(Failure),
    /// The network or the registry failed, retries included. Exit code 5.
    #[error(transparent)]
    Registry(Failure),
    /// The tag exists and may not be moved. Exit code 6.
    #[error(transparent)]
    Tag(Failure),
    /// Anything else. Exit code 1.
    #[error(transparent)]
    Unexpected(Failure),
}

impl Error {
    /// The exit status of the process, as documented for users of the pipe.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unexpected(_) => 1,
            Self::Variables(_) => 2,
            Self::Source(_) => 3,
            Self::Access(_) => 4,
            Self::Registry(_) => 5,
            Self::Tag(_) => 6,
        }
    }

    /// What the reader can do about it, one line each.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Variables(problems) => problems.iter().map(Problem::to_string).collect(),
            Self::Source(failure)
            | Self::Access(failure)
            | Self::Registry(failure)
            | Self::Tag(failure)
            | Self::Unexpected(failure) => failure.hints.clone(),
        }
    }

    /// A local file or directory could not be used.
    pub(crate) fn local(doing: &str, error: &std::io::Error) -> Self {
        Self::Unexpected(Failure::new(format!("could not {doing}: {error}")))
    }
}

/// A variable and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The name of the variable.
    pub variable: String,
    /// What is wrong and how to put it right. Never the value of a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Advice repeats what was written, as it would be written right.
        let message = self.message.replace(char::is_control, "\u{fffd}");
        write!(formatter, "{}: {message}", self.variable)
    }
}

/// What happened, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
    hints: Vec<String>,
}

impl Failure {
    /// A failure without advice.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new() }
    }

    /// Says first what it is about.
    pub(crate) fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Adds one line of advice.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

fn headline(problems: &[Problem]) -> String {
    match problems {
        [one] => format!("{} is not usable", one.variable),
        many => format!("{} variables are not usable", many.len()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn advice_about_what_has_control_characters_has_none() {
        for (name, value) in [
            ("IMAGE_NAME", "crg.apkg.io/acme/\u{1b}[2Japp:1"),
            ("SOURCE", "a.tar:\u{1}"),
            ("TAGS", "a\u{7}b"),
        ] {
            let given = [("IMAGE_NAME", "app"), ("WORKSPACE", "acme"), (name, value)];
            let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let refused = Config::from_variables(given).1.unwrap_err();
            let hints = refused.hints();
            assert!(hints[0].starts_with(name), "{hints:?}");
            assert!(!hints[0].contains(char::is_control), "{hints:?}");
        }
    }
}
