//! Queries of the distribution API: what may stand once and stands twice is refused.

use standpipe_server::domain::{Digest, Tag};
use standpipe_server::fuzzing::oci::parameters;

const MOST: usize = 1000;

/// A raw query.
pub fn server_query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(found) = parameters(&text, MOST) else { return };
    // A fragment is not sent; the parser of URLs drops it.
    let query = text.split('#').next().unwrap_or_default();
    let pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decoded(key), decoded(value)))
        .collect();
    let all = |key: &str| -> Vec<&str> {
        pairs.iter().filter(|(found, _)| found == key).map(|(_, value)| value.as_str()).collect()
    };
    match (&found.last, all("last").as_slice()) {
        (None, [_, _, ..]) | (Some(None), []) => {}
        (Some(Some(last)), [only]) => assert_eq!(last, only),
        other => panic!("last: {other:?}"),
    }
    match (&found.digest, all("digest").as_slice()) {
        (None, [_, _, ..]) | (Some(None), []) => {}
        (None, [only]) => assert!(only.parse::<Digest>().is_err(), "{only:?}"),
        (Some(Some(digest)), [only]) => assert_eq!(digest.to_string(), *only),
        other => panic!("digest: {other:?}"),
    }
    match (found.count, all("n").as_slice()) {
        (None, _) => assert!(!all("n").is_empty(), "nothing to refuse"),
        (Some(count), []) => assert_eq!(count, MOST),
        (Some(count), [only]) => {
            assert!(count == only.parse().unwrap_or(MOST).min(MOST), "{only:?}")
        }
        other => panic!("n: {other:?}"),
    }
    let tags: Vec<Option<Tag>> = all("tag").into_iter().map(|tag| tag.parse().ok()).collect();
    assert_eq!(found.tags, tags);
}

/// `application/x-www-form-urlencoded` (URL standard, 5.1).
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        match (first, hex) {
            (b'%', Some(hex)) => {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
                bytes.push(u8::try_from(digit(hex[0]) * 16 + digit(hex[1])).expect("two digits"));
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (other, _) => {
                bytes.push(*other);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
