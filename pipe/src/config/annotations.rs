//! `ANNOTATIONS`: facts that the user writes onto the image.
//!
//! Invariant: a key occurs once and is not empty (image-spec, annotations.md, "Rules").

use std::collections::BTreeMap;

/// The annotations in `text`, one `KEY=VALUE` per line, and in `list`, one per element.
pub(super) fn parse(
    text: Option<&str>,
    list: &[&str],
) -> Result<BTreeMap<String, String>, Vec<String>> {
    let lines = text.unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty());
    let (mut found, mut problems) = (BTreeMap::new(), Vec::new());
    for line in lines.chain(list.iter().copied()) {
        match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some((key, value)) if is_key(key) => {
                if found.insert(key.to_owned(), value.to_owned()).is_some() {
                    problems.push(format!("{key} is written twice"));
                }
            }
            _ => problems.push(format!("{line:?} is not KEY=VALUE")),
        }
    }
    if found.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > LARGEST {
        problems.push("they are larger than 256 KiB".to_owned());
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && !key.contains(char::is_whitespace) && !key.contains(char::is_control)
}

/// A manifest may have 4 MiB (distribution-spec, "Pushing Manifests"); annotations are a small part.
const LARGEST: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_and_each_element_is_one_annotation() {
        let found = parse(Some("a=1\n\n b.c = x, y = z \n"), &["d="]).unwrap();
        let found: Vec<(&str, &str)> =
            found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, [("a", "1"), ("b.c", "x, y = z"), ("d", "")]);
    }

    #[test]
    fn what_is_no_annotation_is_named() {
        assert_eq!(parse(Some("a=1\na=2\nnothing\n=x"), &["b c=1"]).unwrap_err().len(), 4);
        assert!(parse(Some(&format!("a={}", "x".repeat(LARGEST))), &[]).is_err());
    }
}
