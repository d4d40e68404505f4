//! Patterns over names: `*` stands for any characters, also none; everything else for itself.
//!
//! Invariant: matching takes time proportional to pattern times text, whatever they are, and looks at
//! nothing else. What a pattern is held against is not known here.

use super::Tag;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The longest pattern, in bytes.
const LONGEST: usize = 200;
/// The longest name of a claim, in bytes.
const LONGEST_CLAIM: usize = 64;

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Empty, too long, or with control characters.
    #[error("a pattern is 1 to {LONGEST} characters, of which * stands for any")]
    Text,
    /// No tag could match it.
    #[error(
        "a tag pattern is made of the letters of tags, * for any of them, and claims in braces, such as pr-{{pipelineUuid}}-*"
    )]
    Tag,
}

/// A pattern for the value of a claim, such as `release/*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a value matches. Braces around the whole of either are no part of it: Bitbucket
    /// writes UUIDs with them, people without.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let pattern: Vec<Unit> = bare(&self.0).bytes().map(Unit::of).collect();
        matches(&pattern, bare(value).as_bytes())
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let legal = (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control);
        legal.then(|| Self(text.to_owned())).ok_or(InvalidPattern::Text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A text without the braces around it.
#[must_use]
pub fn bare(text: &str) -> &str {
    text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text)
}

/// A pattern for tags. A claim in braces stands for the claim's value: with `pr-{pullRequest}-*` a
/// build moves the tags of its own pull request alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TagPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Text(String),
    Claim(String),
}

impl TagPattern {
    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The claims it names.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Claim(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Whether a tag matches, for a build with these claims. Without one of the claims that it
    /// names, nothing matches. Letters of a claim that a tag cannot have count as `-`.
    #[must_use]
    pub fn matches(&self, tag: &Tag, claims: &BTreeMap<String, String>) -> bool {
        let mut pattern = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => pattern.extend(text.bytes().map(Unit::of)),
                Part::Claim(name) => {
                    let value = claims.get(name).map(|value| bare(value)).unwrap_or_default();
                    if value.is_empty() {
                        return false;
                    }
                    let letters = value.bytes().map(|byte| if of_tag(byte) { byte } else { b'-' });
                    pattern.extend(letters.map(Unit::Byte));
                }
            }
        }
        matches(&pattern, tag.as_str().as_bytes())
    }
}

impl FromStr for TagPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if !(1..=LONGEST).contains(&text.len()) {
            return Err(InvalidPattern::Text);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (claim, after) = after.split_once('}').ok_or(InvalidPattern::Tag)?;
            if !is_claim_name(claim) {
                return Err(InvalidPattern::Tag);
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Claim(claim.to_owned()));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        let legal = |part: &Part| match part {
            Part::Text(text) => text.bytes().all(|byte| of_tag(byte) || byte == b'*'),
            Part::Claim(_) => true,
        };
        if !parts.iter().all(legal) {
            return Err(InvalidPattern::Tag);
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// Whether a claim may be called so.
#[must_use]
pub fn is_claim_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    (1..=LONGEST_CLAIM).contains(&name.len()) && name.bytes().all(legal)
}

const fn of_tag(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Any,
    Byte(u8),
}

impl Unit {
    const fn of(byte: u8) -> Self {
        if byte == b'*' { Self::Any } else { Self::Byte(byte) }
    }
}

/// Goes back to the last star only, which is enough: an earlier one can take no more than it has.
fn matches(pattern: &[Unit], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(Unit::Any) => {
                back = Some((at + 1, read));
                at += 1;
            }
            Some(Unit::Byte(byte)) if *byte == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((after_star, taken)) = back else { return false };
                back = Some((after_star, taken + 1));
                at = after_star;
                read = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|unit| *unit == Unit::Any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    /// What a star means, said the slow way.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| slowly(rest, &text[taken..])),
            Some((byte, rest)) => {
                text.split_first().is_some_and(|(first, text)| first == byte && slowly(rest, text))
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn a_star_is_any_characters(text in "[ab*]{1,8}", value in "[ab]{0,10}") {
            prop_assert_eq!(pattern(&text).matches(&value), slowly(text.as_bytes(), value.as_bytes()));
        }

        #[test]
        fn no_text_makes_a_pattern_panic(text in ".{0,60}", tag in "[a-z0-9_][a-z0-9._-]{0,20}") {
            let _ = text.parse::<Pattern>().map(|pattern| pattern.matches(&text));
            let tag = tag.parse().expect("a tag");
            let claims = BTreeMap::from([("a".to_owned(), text.clone())]);
            if let Ok(pattern) = text.parse::<TagPattern>() {
                let _ = pattern.matches(&tag, &claims);
                prop_assert_eq!(pattern.to_string(), text);
            }
        }
    }

    #[test]
    fn braces_around_the_whole_are_no_part_of_a_value() {
        for (one, other) in [("{1-2}", "1-2"), ("1-2", "{1-2}"), ("{1-2}", "{1-2}")] {
            assert!(pattern(one).matches(other), "{one} {other}");
        }
        assert!(!pattern("{1-2}").matches("{1-3}"));
        assert!(!pattern("main").matches("Main"));
    }

    #[test]
    fn a_claim_in_a_tag_pattern_stands_for_its_value_alone() {
        let claims: BTreeMap<String, String> =
            [("pr", "12"), ("branch", "feature/a*b"), ("no", "")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let found = |text: &str, tag: &str| {
            let pattern: TagPattern = text.parse().expect("a pattern");
            pattern.matches(&tag.parse().expect("a tag"), &claims)
        };
        assert!(found("pr-{pr}-*", "pr-12-1"));
        assert!(!found("pr-{pr}-*", "pr-13-1"));
        assert!(!found("pr-{pr}-*", "pr-12"));
        assert!(found("{branch}", "feature-a-b"));
        assert!(!found("{branch}", "feature-axxb"), "a star of a value is none of the pattern");
        assert!(!found("x-{missing}*", "x-1"));
        assert!(!found("x-{no}*", "x-1"));
        assert!(found("v*", "v1.2") && !found("v*", "1.v2"));
    }

    #[test]
    fn what_no_tag_can_match_is_no_tag_pattern() {
        for bad in ["", "a/b", "a b", "a{", "a}", "{}", "{a b}", "é", "a:b", &"a".repeat(201)] {
            assert!(bad.parse::<TagPattern>().is_err(), "{bad}");
        }
        for bad in ["", "a\nb", &"a".repeat(201)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
