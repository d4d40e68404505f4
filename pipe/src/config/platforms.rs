//! `PLATFORMS`: the platforms to take from a source that has several.
//!
//! Invariant: two names of one platform are equal here, whatever their writer calls the
//! processor, and are shown as Docker shows them.

use std::fmt;

use super::Environment;

/// `os/architecture` or `os/architecture/variant`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// From the parts, as an image names them. An empty part is not known.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        // It is told in logs, and may come from anybody.
        let [os, architecture] = [os, architecture].map(printable);
        let variant = variant.filter(|variant| !variant.is_empty()).map(printable);
        // As containerd does it (platforms.Normalize).
        let (architecture, variant) = match architecture.as_str() {
            "x86_64" | "x86-64" => ("amd64".to_owned(), variant),
            "i386" | "i486" | "i586" | "i686" => ("386".to_owned(), variant),
            "aarch64" => ("arm64".to_owned(), variant),
            "armhf" => ("arm".to_owned(), Some("v7".to_owned())),
            "armel" => ("arm".to_owned(), Some("v6".to_owned())),
            other => (other.to_owned(), variant),
        };
        let usual = match architecture.as_str() {
            "amd64" => Some("v1"),
            "arm64" => Some("v8"),
            _ => None,
        };
        let variant = variant.map(|variant| match variant.parse::<u8>() {
            Ok(number) if architecture.starts_with("arm") => format!("v{number}"),
            _ => variant,
        });
        let variant = variant.filter(|variant| Some(variant.as_str()) != usual);
        Self { os, architecture, variant }
    }

    /// Reads what a user writes.
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let word = |part: &&str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        };
        match (parts.next().filter(word), parts.next().filter(word), parts.next(), parts.next()) {
            (Some(os), Some(architecture), None, None) => Ok(Self::new(os, architecture, None)),
            (Some(os), Some(architecture), Some(variant), None) if word(&variant) => {
                Ok(Self::new(os, architecture, Some(variant)))
            }
            _ => Err(format!("{text:?} is not OS/ARCHITECTURE, such as linux/amd64")),
        }
    }

    /// `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// `v7`, if it is not the usual one of the architecture.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// Whether an image for `other` is what is wanted. A wish without variant takes every one.
    pub fn accepts(&self, other: &Self) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && (self.variant.is_none() || self.variant == other.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(formatter, "/{variant}"))
    }
}

fn printable(text: &str) -> String {
    text.to_ascii_lowercase().replace(char::is_control, "\u{fffd}")
}

/// The platforms of the text and of the list, each once. `all` is the same as none.
pub(super) fn parse(given: &Environment) -> Result<Vec<Platform>, Vec<String>> {
    let text = given.platforms.as_deref().unwrap_or_default();
    let list = given.list("PLATFORMS").map_err(|problem| vec![problem])?;
    let words = text.split(|c: char| c.is_whitespace() || c == ',').chain(list);
    let mut platforms = Vec::new();
    let mut problems = Vec::new();
    for word in words.map(str::trim).filter(|word| !word.is_empty() && *word != "all") {
        match Platform::parse(word) {
            Ok(platform) if platforms.contains(&platform) => {}
            Ok(platform) => platforms.push(platform),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(platforms) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn platform(text: &str) -> Platform {
        Platform::parse(text).unwrap()
    }

    #[test]
    fn one_processor_has_one_name() {
        for (one, other) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("Linux/aarch64", "linux/arm64/v8"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/armhf", "linux/arm/7"),
        ] {
            assert_eq!(platform(one), platform(other), "{one}");
        }
        assert_ne!(platform("linux/amd64/v2"), platform("linux/amd64"));
    }

    #[test]
    fn a_platform_that_somebody_made_up_is_one_line() {
        let shown = Platform::new("linux\nforged", "\u{1b}[2J", Some("\r")).to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }

    #[test]
    fn a_wish_without_variant_takes_every_variant() {
        assert!(platform("linux/arm").accepts(&platform("linux/arm/v6")));
        assert!(!platform("linux/arm/v7").accepts(&platform("linux/arm/v6")));
        assert!(!platform("linux/amd64").accepts(&platform("windows/amd64")));
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for wrong in ["amd64", "linux/", "/amd64", "linux/arm/v7/x", "linux/arm/", "a b/c", "*/*"] {
            assert!(Platform::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_platform_is_read_back_from_how_it_is_shown(text in "[a-z0-9]{1,9}/[a-z0-9_]{1,9}(/v?[0-9]{1,2})?") {
            let once = platform(&text);
            prop_assert_eq!(&platform(&once.to_string()), &once);
        }
    }
}
