//! Plain values: yes or no, numbers, sizes, seconds.
//!
//! Invariant: a value outside its range is refused with the range in the message.

use std::ops::RangeInclusive;

/// `true` or `false`, as YAML users write them; none is `false`.
pub(super) fn boolean(text: Option<&str>) -> Result<bool, String> {
    match text.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        Some("true" | "yes" | "on" | "1") => Ok(true),
        None | Some("false" | "no" | "off" | "0") => Ok(false),
        Some(other) => Err(format!("{other:?} is neither true nor false")),
    }
}

/// A whole number inside `range`.
pub(super) fn number(
    text: Option<&str>,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, String> {
    let Some(text) = text else {
        return Ok(default);
    };
    match text.trim().parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is not a number from {} to {}", range.start(), range.end())),
    }
}

/// A size in bytes: a number with `K`, `M` or `G` (powers of 1024) or without.
pub(super) fn bytes(
    text: Option<&str>,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, String> {
    let Some(text) = text else {
        return Ok(default);
    };
    let upper = text.trim().to_ascii_uppercase();
    let bare = upper.trim_end_matches('B').trim_end_matches('I');
    let (digits, unit) = match bare.as_bytes().last() {
        Some(b'K') => (&bare[..bare.len() - 1], 1 << 10),
        Some(b'M') => (&bare[..bare.len() - 1], 1 << 20),
        Some(b'G') => (&bare[..bare.len() - 1], 1 << 30),
        _ => (bare, 1_u64),
    };
    let size = digits.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match size {
        Some(size) if range.contains(&size) => Ok(size),
        _ => Err(format!(
            "{text:?} is not a size from {}K to {}M, such as 32M",
            range.start() >> 10,
            range.end() >> 20
        )),
    }
}

/// Seconds, with or without an `s`.
pub(super) fn seconds(
    text: Option<&str>,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, String> {
    number(text.map(|text| text.trim().trim_end_matches('s')), default, range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_units() {
        let parse = |text| bytes(Some(text), 0, 1..=1 << 40);
        assert_eq!(parse("32M"), Ok(32 << 20));
        assert_eq!(parse("512 KiB"), Ok(512 << 10));
        assert_eq!(parse("1g"), Ok(1 << 30));
        assert_eq!(parse("12345"), Ok(12345));
        for wrong in ["M", "-1M", "1.5M", "1T", "99999999999999999999", "18446744073709551615G"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_outside_the_range_are_refused() {
        assert_eq!(number(Some("32"), 4, 1..=32), Ok(32));
        assert!(number(Some("33"), 4, 1..=32).is_err());
        assert!(number(Some("four"), 4, 1..=32).is_err());
        assert_eq!(seconds(Some("300s"), 1, 1..=3600), Ok(300));
    }

    #[test]
    fn booleans_are_written_in_many_ways_but_not_in_any_way() {
        assert_eq!(boolean(Some("True")), Ok(true));
        assert_eq!(boolean(None), Ok(false));
        assert!(boolean(Some("maybe")).is_err());
    }
}
