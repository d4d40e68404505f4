//! The audit log as the metadata seam gives it.
//!
//! Events are written by the store itself, in the transaction of the change they are about, so there
//! is no change without its event and no event without its change. Logins change nothing; they come
//! summarised through [`MetadataStore::record_logins`](super::MetadataStore::record_logins).

use super::Stamped;
use crate::domain::{Change, Timestamp, WorkspaceId};
use std::fmt;
use std::str::FromStr;

/// Where in the log an event stands. Later events have greater places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPlace {
    /// When.
    pub at: Timestamp,
    /// Its number.
    pub sequence: u64,
}

/// The text is no place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no place in the audit log")]
pub struct InvalidPlace;

impl fmt::Display for AuditPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.at.0, self.sequence)
    }
}

impl FromStr for AuditPlace {
    type Err = InvalidPlace;

    /// Only what [`Display`](fmt::Display) prints is read.
    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (at, sequence) = text.split_once('-').ok_or(InvalidPlace)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| InvalidPlace);
        let place = Self { at: Timestamp(number(at)?), sequence: number(sequence)? };
        if place.to_string() == text { Ok(place) } else { Err(InvalidPlace) }
    }
}

/// One event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// Where it stands.
    pub place: AuditPlace,
    /// The workspace it was done in; `None` for the whole instance.
    pub workspace: Option<WorkspaceId>,
    /// Who did it, when, with what, from where.
    pub by: Stamped,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// More about it.
    pub details: Vec<(String, String)>,
    /// How often, for logins; 1 for everything else.
    pub count: u64,
    /// When it was done first, for logins; else the time of the event.
    pub first: Timestamp,
}

/// Logins of one kind, summarised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSummary {
    /// Who, with what. The event says the rest.
    pub change: Change,
    /// How often.
    pub count: u64,
    /// The first of them.
    pub first: Timestamp,
}

/// Which events are wanted; what is `None` does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only by this actor.
    pub actor: Option<String>,
    /// Only this action, or all of a thing (`tag` for `tag.delete` and `tag.restore`).
    pub action: Option<String>,
    /// Only what was done to something whose name begins like this.
    pub target: Option<String>,
    /// Only from then on.
    pub since: Option<Timestamp>,
    /// Only before then.
    pub until: Option<Timestamp>,
}

impl AuditFilter {
    /// Whether an event is wanted, as far as its place does not say.
    #[must_use]
    pub fn wants(&self, event: &AuditEvent) -> bool {
        let action = |wanted: &String| {
            let rest = event.action.strip_prefix(wanted.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.actor.as_ref().is_none_or(|wanted| event.by.change.actor == *wanted)
            && self.action.as_ref().is_none_or(action)
            && self.target.as_ref().is_none_or(|wanted| event.target.starts_with(wanted.as_str()))
    }
}

/// A page of the log, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The events.
    pub events: Vec<AuditEvent>,
    /// Where to go on, if there may be more. A page may be short or empty and yet not the last,
    /// because only so many events are looked at for one page.
    pub next: Option<AuditPlace>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_and_nothing_else_is() {
        let place = AuditPlace { at: Timestamp(1_800_000_000_000), sequence: 17 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for bad in ["", "-", "1-", "-1", "1-2-3", "01-2", "1-+2", "1-2 ", "a-1", "1_2"] {
            assert_eq!(bad.parse::<AuditPlace>(), Err(InvalidPlace), "{bad}");
        }
    }
}
