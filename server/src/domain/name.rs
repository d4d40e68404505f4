//! Names people choose: workspaces, repositories, projects, packages, users.
//!
//! [`Name`] is the OCI `<name>`: `<workspace>/<package>` (DESIGN §1). It is never called
//! "repository" here; a repository is the source repository that a package is linked to.

use std::fmt;
use std::str::FromStr;

/// The longest OCI name, in characters (distribution-spec: hosts and names share 255).
const LONGEST_NAME: usize = 255;
/// The longest slug, in characters.
const LONGEST_SLUG: usize = 62;

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The OCI grammar is not met, or the text is too long.
    #[error(
        "a name is parts joined by '/', each of lower-case letters and digits, joined by single '.', '_', '__' or any number of '-', at most 255 characters in all"
    )]
    Grammar,
    /// An OCI name of one part: there is no package without its workspace.
    #[error("a name here is <workspace>/<package>; the workspace is missing")]
    NoWorkspace,
    /// Not a project key.
    #[error("a project key is 1 to 32 upper-case letters, digits or '_', and begins with a letter")]
    ProjectKey,
    /// Not a slug.
    #[error(
        "a slug is 1 to 62 lower-case letters and digits, joined by single '.', '_', '__' or any number of '-'"
    )]
    Slug,
    /// Not a user name.
    #[error(
        "a user name is 1 to 62 lower-case letters, digits, '.', '_', '-' or '@', and begins with a letter or digit"
    )]
    Username,
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

text_type! {
    /// The name of a workspace or a repository in URLs; one part of an OCI name.
    Slug
}
text_type! {
    /// A package's name within its workspace; may have slashes.
    PackageName
}
text_type! {
    /// A project's key, such as `WEB`.
    ProjectKey
}
text_type! {
    /// The name a person logs in with. E-mail addresses are fine.
    Username
}

impl PackageName {
    /// The part before the first slash: the repository that a package is linked to when it is
    /// created by a push, if one has that slug (DESIGN §7).
    #[must_use]
    pub fn first_part(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }
}

/// One path component of the OCI grammar: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    bytes
        .split(|byte| alphanumeric(*byte))
        .all(|joint| matches!(joint, b"" | b"." | b"_" | b"__") || joint.iter().all(|b| *b == b'-'))
}

impl FromStr for Slug {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() <= LONGEST_SLUG && is_component(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Slug)
        }
    }
}

impl FromStr for PackageName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() < LONGEST_NAME && text.split('/').all(is_component) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Grammar)
        }
    }
}

impl FromStr for ProjectKey {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let legal = text.len() <= 32
            && text.as_bytes().first().is_some_and(u8::is_ascii_uppercase)
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if legal { Ok(Self(text.to_owned())) } else { Err(InvalidName::ProjectKey) }
    }
}

impl FromStr for Username {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let legal = text.len() <= LONGEST_SLUG
            && text.bytes().next().is_some_and(alphanumeric)
            && text.bytes().all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-' | b'@'));
        if legal { Ok(Self(text.to_owned())) } else { Err(InvalidName::Username) }
    }
}

/// The OCI `<name>`: a workspace and a package in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The workspace, the first part.
    pub workspace: Slug,
    /// The package, all other parts.
    pub package: PackageName,
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() > LONGEST_NAME || !text.split('/').all(is_component) {
            return Err(InvalidName::Grammar);
        }
        let (workspace, package) = text.split_once('/').ok_or(InvalidName::NoWorkspace)?;
        Ok(Self { workspace: workspace.parse()?, package: package.parse()? })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.workspace, self.package)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_of_the_grammar_parse_and_print_back(
            text in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,8}){1,4}"
        ) {
            prop_assert_eq!(text.parse::<Name>().map(|name| name.to_string()), Ok(text));
        }

        #[test]
        fn nothing_parses_to_something_else(text in "[a-zA-Z0-9._/ -]{0,40}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn illegal_names_are_refused() {
        for bad in [
            "", "/", "a/", "/a", "a//b", "A/b", "a/B", "a/.b", "a/b.", "a/b..c", "a/b___c",
            "a/b._c", "a/-b", "a/b-", "a/b c", "a/b%2fc", "a/../b", "a/é",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert_eq!("alone".parse::<Name>(), Err(InvalidName::NoWorkspace));
        assert!(format!("ws/{}", "a".repeat(252)).parse::<Name>().is_ok());
        assert!(format!("ws/{}", "a".repeat(253)).parse::<Name>().is_err());
    }
}
