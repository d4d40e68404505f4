//! `Range` and `Content-Range`: two small grammars, read without surprises.
//!
//! Invariant: no input panics, overflows or allocates. At most one range is ever served; whatever
//! asks for more, or is not understood, gets the whole content (RFC 9110, 14.2), so a thousand
//! ranges in one header cost nothing. A range that ends before it begins is refused: RFC 9110 leaves
//! the choice, and the OCI conformance tests count the whole content as a range that is not supported.

use crate::registry::blobs::ByteRange;

/// What a `Range` header selects of some content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// One part.
    Part(ByteRange),
    /// A range that begins behind the end of the content, or ends before it begins.
    Unsatisfiable,
    /// All of it.
    Whole,
}

/// Reads a `Range` header for content of `size` bytes.
#[must_use]
pub fn select(header: &str, size: u64) -> Selection {
    let Some((unit, ranges)) = header.split_once('=') else { return Selection::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return Selection::Whole;
    }
    match ranges.trim().split_once('-') {
        Some(("", suffix)) => last(suffix, size),
        Some((first, "")) => {
            number(first).map_or(Selection::Whole, |first| from(first, u64::MAX, size))
        }
        Some((first, end)) => match (number(first), number(end)) {
            (Some(first), Some(end)) if first <= end => from(first, end, size),
            (Some(_), Some(_)) => Selection::Unsatisfiable,
            _ => Selection::Whole,
        },
        None => Selection::Whole,
    }
}

/// The last `suffix` bytes.
fn last(suffix: &str, size: u64) -> Selection {
    match number(suffix) {
        None => Selection::Whole,
        Some(0) => Selection::Unsatisfiable,
        // The last bytes of nothing cannot be written as a Content-Range; they are all of it.
        Some(_) if size == 0 => Selection::Whole,
        Some(length) => {
            let length = length.min(size);
            Selection::Part(ByteRange { offset: size - length, length })
        }
    }
}

/// From `first` to `end`, both included, or to the end of the content.
const fn from(first: u64, end: u64, size: u64) -> Selection {
    if first >= size {
        return Selection::Unsatisfiable;
    }
    let end = if end < size - 1 { end } else { size - 1 };
    Selection::Part(ByteRange { offset: first, length: end - first + 1 })
}

/// Decimal digits only: `u64::from_str` would take a sign. Numbers beyond `u64` are as good as
/// infinite.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// A `Content-Range` header that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header Content-Range must be <first>-<last>, counted from 0, such as 0-1023")]
pub struct InvalidContentRange;

/// Where a chunk belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// Its first byte's offset.
    pub first: u64,
    /// How many bytes it has; at least one.
    pub length: u64,
}

impl std::str::FromStr for ContentRange {
    type Err = InvalidContentRange;

    /// Reads `<first>-<last>` (distribution-spec, "Pushing a blob in chunks") and also the form of
    /// RFC 9110, `bytes <first>-<last>/<size>`, which some clients send.
    fn from_str(text: &str) -> Result<Self, InvalidContentRange> {
        let range = match text.strip_prefix("bytes ") {
            Some(rest) => rest.split_once('/').ok_or(InvalidContentRange)?.0,
            None => text,
        };
        let (first, last) = range.split_once('-').ok_or(InvalidContentRange)?;
        let exact = |text: &str| number(text).filter(|found| *found < u64::MAX);
        let (first, last) = exact(first).zip(exact(last)).ok_or(InvalidContentRange)?;
        let length = last.checked_sub(first).ok_or(InvalidContentRange)? + 1;
        Ok(Self { first, length })
    }
}

/// The `Range` header of an upload of `length` bytes. Nothing uploaded cannot be told from one byte:
/// that is how the protocol's first implementation wrote it and what clients expect.
#[must_use]
pub fn uploaded(length: u64) -> String {
    format!("0-{}", length.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(offset: u64, length: u64) -> Selection {
        Selection::Part(ByteRange { offset, length })
    }

    #[test]
    fn one_range_is_served_and_cut_to_the_content() {
        for (header, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-5", part(2, 4)),
            ("bytes=2-", part(2, 8)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-30", part(0, 10)),
            ("bytes=2-99999999999999999999999", part(2, 8)),
            ("Bytes = 2-5", part(2, 4)),
            ("bytes=9-9", part(9, 1)),
        ] {
            assert_eq!(select(header, 10), expected, "{header}");
        }
    }

    #[test]
    fn what_begins_behind_the_end_or_its_own_is_unsatisfiable() {
        for header in
            ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-", "bytes=5-2"]
        {
            assert_eq!(select(header, 10), Selection::Unsatisfiable, "{header}");
        }
        assert_eq!(select("bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(select("bytes=-5", 0), Selection::Whole);
    }

    #[test]
    fn what_is_not_understood_or_asks_for_more_gets_everything() {
        let many = format!("bytes={}", vec!["0-0"; 1000].join(","));
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=0x1-2",
            "lines=1-2",
            "bytes=1-2-3",
            "bytes=0-0,2-3",
            &many,
        ] {
            assert_eq!(select(header, 10), Selection::Whole, "{header}");
        }
    }

    #[test]
    fn content_ranges_are_exact() {
        let good = |first, length| Ok(ContentRange { first, length });
        assert_eq!("0-0".parse(), good(0, 1));
        assert_eq!("5-9".parse(), good(5, 5));
        assert_eq!("bytes 5-9/*".parse(), good(5, 5));
        assert_eq!("bytes 5-9/10".parse(), good(5, 5));
        for bad in [
            "",
            "-",
            "0-",
            "-5",
            "5-3",
            "0-99999999999999999999",
            "bytes=0-3",
            "bytes 0-3",
            "a-b",
            "0-1-2",
            "+0-1",
            " 0-1",
            "0-18446744073709551615",
        ] {
            assert_eq!(bad.parse::<ContentRange>(), Err(InvalidContentRange), "{bad}");
        }
    }

    #[test]
    fn an_empty_upload_looks_like_one_byte() {
        assert_eq!(uploaded(0), "0-0");
        assert_eq!(uploaded(1), "0-0");
        assert_eq!(uploaded(100), "0-99");
    }

    proptest! {
        #[test]
        fn a_selected_part_lies_within_the_content(header in "bytes=[0-9]{0,22}-[0-9]{0,22}", size: u64) {
            if let Selection::Part(range) = select(&header, size) {
                prop_assert!(range.length > 0);
                prop_assert!(range.offset.checked_add(range.length).is_some_and(|end| end <= size));
            }
        }

        #[test]
        fn any_range_within_the_content_is_found(size in 1u64.., a: u64, b: u64) {
            let (first, last) = ((a % size).min(b % size), (a % size).max(b % size));
            prop_assert_eq!(select(&format!("bytes={first}-{last}"), size), part(first, last - first + 1));
        }

        #[test]
        fn content_ranges_print_back(first in 0..u64::MAX / 2, length in 1..u64::MAX / 2) {
            let text = format!("{first}-{}", first + length - 1);
            prop_assert_eq!(text.parse(), Ok(ContentRange { first, length }));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,40}", size: u64) {
            let _ = select(&text, size);
            let _ = select(&format!("bytes={text}"), size);
            let _ = text.parse::<ContentRange>();
        }
    }
}
