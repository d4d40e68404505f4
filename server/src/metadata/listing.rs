//! What the metadata seam takes and gives for lists that people look at: sorted, searched, with what
//! stands beside each item, read in one transaction whose rows the page size bounds.
//! Values, not stored forms.

use super::{DueEntry, ManifestFacts, Package, PackageUsage, Repository, TagRow};
use crate::domain::{Digest, PackageId, PackageName, RepositoryId, Tag, Timestamp};

/// How a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// By name, in the order of bytes.
    #[default]
    Name,
    /// What changed last comes first.
    Newest,
}

/// Where a list goes on: after the last item that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListCursor {
    /// In a list by name.
    Name(String),
    /// In a list by time: the time and the item's key.
    Time(Timestamp, String),
}

/// Which packages a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageQuery {
    /// Only those linked to one of these repositories; `None` for all of the workspace.
    pub repositories: Option<Vec<RepositoryId>>,
    /// Only those whose name begins with this.
    pub prefix: String,
    /// How it is sorted.
    pub order: Order,
    /// Only what comes after this.
    pub after: Option<ListCursor>,
    /// At most this many.
    pub limit: usize,
}

/// A package with what a list shows beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageOverview {
    /// The package.
    pub package: Package,
    /// The repository it is linked to.
    pub repository: Repository,
    /// Its byte totals.
    pub usage: PackageUsage,
}

/// A page of packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageList {
    /// The packages.
    pub packages: Vec<PackageOverview>,
    /// Where the list goes on, if it may go on. A page can be short and yet go on, because the number
    /// of rows that are looked at for it is limited.
    pub next: Option<ListCursor>,
}

/// Which tags a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagQuery {
    /// Only those whose name begins with this.
    pub prefix: String,
    /// How it is sorted.
    pub order: Order,
    /// Only what comes after this.
    pub after: Option<ListCursor>,
    /// At most this many.
    pub limit: usize,
}

/// A manifest with what a list shows beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestOverview {
    /// What is known of it.
    pub facts: ManifestFacts,
    /// Its bytes, unless they are larger than a list reads.
    pub bytes: Option<bytes::Bytes>,
    /// Tags that point to it, by name, at most [`MOST_TAGS_BESIDE`].
    pub tags: Vec<Tag>,
    /// There are more tags.
    pub more_tags: bool,
    /// Artifact types of what refers to it, at most [`MOST_REFERRERS_BESIDE`].
    pub referrers: Vec<String>,
    /// There are more referrers.
    pub more_referrers: bool,
    /// Tags of the scheme `<algorithm>-<hex>.<what>` by which older clients attach signatures and bills
    /// of materials: what stands after the dot.
    pub attached: Vec<String>,
}

/// The most tags that are told beside a manifest.
pub const MOST_TAGS_BESIDE: usize = 12;
/// The most referrers that are told beside a manifest.
pub const MOST_REFERRERS_BESIDE: usize = 8;
/// What older clients attach by a tag.
pub const ATTACHED: [&str; 3] = ["sig", "sbom", "att"];

/// A page of tags and the manifests that they point to, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagList {
    /// The tags.
    pub tags: Vec<TagRow>,
    /// The manifests, in the order in which they first come up in `tags`.
    pub manifests: Vec<ManifestOverview>,
    /// Where the list goes on, if it may go on.
    pub next: Option<ListCursor>,
}

/// How widely a blob is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobUse {
    /// Its size in bytes; 0 if the package does not have it.
    pub size: u64,
    /// Manifests of the package that need it, counted up to [`MOST_USES`].
    pub manifests: usize,
    /// Whether other packages of the workspace have it too.
    pub elsewhere: bool,
}

/// How far the uses of a blob are counted.
pub const MOST_USES: usize = 10;

/// Something of a workspace that is looked at again at a certain time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpcomingEntry {
    /// Whose it is.
    pub package: PackageId,
    /// The package's name.
    pub name: PackageName,
    /// What and when.
    pub entry: DueEntry,
}

/// What of a workspace is looked at again next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upcoming {
    /// The first entries, by time.
    pub entries: Vec<UpcomingEntry>,
    /// There are more, or the search was cut short.
    pub more: bool,
}

/// The packages of a workspace that have most bytes of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Largest {
    /// The packages, largest first.
    pub packages: Vec<PackageOverview>,
    /// How many were looked at.
    pub looked_at: usize,
    /// There are more, which were not looked at.
    pub more: bool,
}

/// One manifest of a package with everything that a page about it shows, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestInspection {
    /// The manifest.
    pub overview: ManifestOverview,
    /// Its children that are there, with their bytes, in the order asked for.
    pub children: Vec<ManifestOverview>,
    /// What refers to it, at most as many as asked for.
    pub referrers: Vec<ManifestFacts>,
}

/// What reading has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderStatistics {
    /// Transactions.
    pub transactions: u64,
    /// Rows read in them.
    pub rows: u64,
}

impl ListCursor {
    /// The cursor after a package.
    #[must_use]
    pub fn of_package(order: Order, package: &Package) -> Self {
        match order {
            Order::Name => Self::Name(package.name.to_string()),
            Order::Newest => Self::Time(package.updated, package.id.to_string()),
        }
    }

    /// The cursor after a tag.
    #[must_use]
    pub fn of_tag(order: Order, row: &TagRow) -> Self {
        match order {
            Order::Name => Self::Name(row.tag.to_string()),
            Order::Newest => Self::Time(row.moved.at, row.tag.to_string()),
        }
    }
}

/// The digest that stands in a tag of the scheme of [`ATTACHED`], as the tag's first part.
#[must_use]
pub fn attached_tag(digest: &Digest, what: &str) -> Option<Tag> {
    format!("{}.{what}", digest.to_string().replace(':', "-")).parse().ok()
}
