//! Points in time as the registry stores them.
//!
//! Nothing here reads a clock; the clock is `crate::clock` and time is an argument everywhere else.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Milliseconds since the Unix epoch, as the server's own clock counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This moment plus a duration, stopping at the end of representable time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This moment less a duration, stopping at the epoch.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

/// RFC 3339 in UTC with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(moment) => write!(out, "{moment:.3}"),
            Err(_) => out.write_str("9999-12-31T23:59:59.999Z"),
        }
    }
}

/// The text is not a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a moment is written like 2027-01-15T08:00:00Z")]
pub struct InvalidTimestamp;

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Any moment of RFC 3339 since the epoch; what is finer than a millisecond is cut off.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let moment = text.parse::<jiff::Timestamp>().map_err(|_| InvalidTimestamp)?;
        u64::try_from(moment.as_millisecond()).map(Self).map_err(|_| InvalidTimestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_moment_is_read_back(millis in 0_u64..250_000_000_000_000) {
            let moment = Timestamp(millis);
            prop_assert_eq!(moment.to_string().parse(), Ok(moment));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9TZ:.+\\- ]{0,40}") {
            let _ = text.parse::<Timestamp>();
        }
    }

    #[test]
    fn other_zones_are_read_and_what_is_no_moment_is_refused() {
        let moment = "2027-01-15T09:00:00+01:00".parse::<Timestamp>();
        assert_eq!(moment, Ok(Timestamp(1_800_000_000_000)));
        for bad in ["", "yesterday", "2027-01-15", "1960-01-01T00:00:00Z", "1800000000000"] {
            assert_eq!(bad.parse::<Timestamp>(), Err(InvalidTimestamp), "{bad}");
        }
    }

    #[test]
    fn time_stops_at_both_ends() {
        assert_eq!(Timestamp(5).minus(Duration::from_millis(6)), Timestamp(0));
        assert_eq!(Timestamp(5).minus(Duration::from_millis(2)), Timestamp(3));
        assert_eq!(Timestamp(u64::MAX).plus(Duration::from_millis(2)), Timestamp(u64::MAX));
    }
}
