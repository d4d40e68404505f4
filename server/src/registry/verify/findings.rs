//! What a verification can find, and what an operator is to do about it.

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Rows contradict each other.
    Rows,
    /// An object has other bytes than it must have.
    Damaged,
    /// An object has another length than it must have.
    WrongSize,
    /// A row names an object that is not there.
    Missing,
    /// There is an object that no row names.
    Unnamed,
    /// There is a file that is not this program's.
    Foreign,
    /// The storage failed to show something.
    Unreadable,
}

impl FindingKind {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Damaged => "damaged",
            Self::WrongSize => "wrong-size",
            Self::Missing => "missing",
            Self::Unnamed => "unnamed",
            Self::Foreign => "foreign",
            Self::Unreadable => "unreadable",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Rows => {
                "stop the server and restore the data directory from the last backup that verifies clean; keep this directory for whoever looks into it"
            }
            Self::Damaged | Self::WrongSize | Self::Missing => {
                "push an image with this blob again, or restore the object from a backup; until then pulls of it fail and pushes send it again. Look at the disk's health"
            }
            Self::Unnamed => {
                "nothing, if it is from an unclean stop: the next start moves it to blobs/lost+found, where it is kept for 7 days"
            }
            Self::Foreign => {
                "move it elsewhere, unless you know why it is there; it is never touched"
            }
            Self::Unreadable => "look at the disk's health and the system's log, then verify again",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// What exactly.
    pub what: String,
}
