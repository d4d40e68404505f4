//! Tags: the grammar of one, and the list a user writes.
//!
//! Invariant: a [`Tag`] can stand in a URL path and in a reference as it is.

use std::fmt;

use serde::Serialize;

/// A tag, `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (distribution-spec, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Tag(String);

impl Tag {
    /// `latest`, what Docker calls an image that was given no tag.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// Reads one tag.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut characters = text.chars();
        match characters.next() {
            None => return Err("a tag is empty".to_owned()),
            Some(first) if !is_word(first) => {
                return Err(format!("{text:?} must begin with a letter, a digit or _"));
            }
            Some(_) => {}
        }
        if let Some(other) = characters.find(|c| !(is_word(*c) || *c == '.' || *c == '-')) {
            return Err(format!("{text:?} has {other:?}; only letters, digits, _ . - are allowed"));
        }
        if text.len() > 128 {
            return Err(format!("{text:?} is longer than 128 characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text of the tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The tags in `text`, in order, each once: separated by white space or commas.
pub(crate) fn parse_text(text: &str) -> Result<Vec<Tag>, Vec<String>> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    collect(words.filter(|word| !word.is_empty()))
}

/// The tags of a list. Elements are not split again.
pub(crate) fn parse_list(list: &[&str]) -> Result<Vec<Tag>, Vec<String>> {
    collect(list.iter().copied())
}

fn collect<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<Tag>, Vec<String>> {
    let mut tags = Vec::new();
    let mut problems = Vec::new();
    for word in words {
        match Tag::parse(word) {
            Ok(tag) if tags.contains(&tag) => {}
            Ok(tag) => tags.push(tag),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(tags) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(tags: &[Tag]) -> Vec<&str> {
        tags.iter().map(Tag::as_str).collect()
    }

    #[test]
    fn spaces_commas_and_line_ends_separate_tags_and_repeats_are_dropped() {
        let tags = parse_text(" 1.2, latest\n\n1.2\tedge ,,").unwrap();
        assert_eq!(names(&tags), ["1.2", "latest", "edge"]);
    }

    #[test]
    fn every_wrong_tag_is_reported() {
        let problems = parse_text("ok -no no/slash").unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn an_element_of_a_list_is_never_split() {
        assert_eq!(names(&parse_list(&["a", "b", "a"]).unwrap()), ["a", "b"]);
        assert!(parse_list(&["a b"]).is_err());
    }

    proptest! {
        #[test]
        fn any_list_of_legal_tags_survives_any_separators(
            tags in prop::collection::vec("[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}", 0..8),
            separator in "[ ,\n\t]{1,4}",
        ) {
            let parsed = parse_text(&tags.join(&separator)).unwrap();
            let mut expected: Vec<&str> = Vec::new();
            for tag in &tags {
                if !expected.contains(&tag.as_str()) {
                    expected.push(tag);
                }
            }
            prop_assert_eq!(names(&parsed), expected);
        }

        #[test]
        fn whatever_is_accepted_obeys_the_grammar(text in "\\PC{0,140}") {
            if let Ok(tag) = Tag::parse(&text) {
                prop_assert!(tag.as_str().len() <= 128 && !tag.as_str().is_empty());
                prop_assert!(tag.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
                prop_assert!(!tag.as_str().starts_with(['.', '-']));
            }
        }
    }
}
