//! The rows of the database, the objects on the disk, and what clients remember.

/// Blobs come first among the items, manifests after them.
pub(crate) const BLOBS: usize = 2;
pub(crate) const MANIFESTS: usize = 3;
pub(crate) const ITEMS: usize = BLOBS + MANIFESTS;
pub(crate) const PACKAGES: usize = 2;
pub(crate) const TAGS: usize = 2;
pub(crate) const CLIENTS: usize = 2;
pub(crate) const OBJECTS: usize = 4;

/// A digest: of a blob or of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Item(pub(crate) u8);

pub(crate) const BLOB: Item = Item(0);
pub(crate) const OTHER_BLOB: Item = Item(1);
pub(crate) const FIRST: Item = Item(2);
pub(crate) const SECOND: Item = Item(3);
pub(crate) const THIRD: Item = Item(4);

impl Item {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn is_blob(self) -> bool {
        self.index() < BLOBS
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [BLOB, OTHER_BLOB, FIRST, SECOND, THIRD].into_iter()
    }

    pub(crate) fn manifests() -> impl Iterator<Item = Self> {
        [FIRST, SECOND, THIRD].into_iter()
    }
}

/// A set of small numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Set(pub(crate) u8);

impl Set {
    pub(crate) const fn of(items: &[Item]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < items.len() {
            bits |= 1 << items[at].0;
            at += 1;
        }
        Self(bits)
    }

    pub(crate) const fn has(self, one: u8) -> bool {
        self.0 & (1 << one) != 0
    }

    pub(crate) const fn holds(self, item: Item) -> bool {
        self.has(item.0)
    }

    pub(crate) const fn add(&mut self, item: Item) {
        self.0 |= 1 << item.0;
    }

    pub(crate) const fn remove(&mut self, item: Item) {
        self.0 &= !(1 << item.0);
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn first(self) -> Option<Item> {
        Item::all().find(|item| self.holds(*item))
    }
}

/// A lease, or the time for which something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Clock {
    Running,
    Over,
}

/// The link of a package to a blob, or a manifest's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) lease: Clock,
    /// Deleted by a client, and held for `keep`.
    pub(crate) hidden: Option<Clock>,
}

impl Row {
    pub(crate) const FRESH: Self = Self { lease: Clock::Running, hidden: None };
}

/// What is to become of a deleted package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Removal {
    Waiting(Clock),
    /// From its first page on there is no way back.
    Begun,
    Done,
}

/// All rows of one package. Its place in the list is its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Package {
    /// The name leads to this id.
    pub(crate) live: bool,
    pub(crate) removal: Option<Removal>,
    /// The tags it had when it was deleted, and that nobody has deleted since; for the oracle.
    pub(crate) remembered: Set,
    pub(crate) rows: [Option<Row>; ITEMS],
    /// For each manifest what it has edges to.
    pub(crate) edges: [Set; ITEMS],
    /// Manifests whose row is gone and whose edges are being removed in pages.
    pub(crate) fans: Set,
    pub(crate) tags: [Option<Item>; TAGS],
    /// What tags have pointed to; history is never forgotten here.
    pub(crate) history: Set,
    pub(crate) kept: [Option<Clock>; ITEMS],
    /// Items with a due entry.
    pub(crate) due: Set,
    /// Manifests whose kept row has a due entry.
    pub(crate) due_kept: Set,
}

impl Package {
    pub(crate) fn row(&self, item: Item) -> Option<Row> {
        self.rows[item.index()]
    }

    pub(crate) fn visible(&self, item: Item) -> bool {
        self.row(item).is_some_and(|row| row.hidden.is_none())
    }

    pub(crate) fn is_tagged(&self, item: Item) -> bool {
        self.tags.contains(&Some(item))
    }

    pub(crate) fn has_edge_to(&self, item: Item) -> bool {
        self.edges.iter().any(|edges| edges.holds(item))
    }

    /// Its content is being taken away.
    pub(crate) fn is_going(&self) -> bool {
        self.removal == Some(Removal::Begun) && !self.live
    }

    /// Gives an item a fresh lease and the due entry that belongs to it.
    pub(crate) fn lease(&mut self, item: Item) {
        if let Some(row) = &mut self.rows[item.index()] {
            row.lease = Clock::Running;
            self.due.add(item);
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum File {
    #[default]
    Absent,
    /// A loss of power takes it.
    Unsynced,
    Synced,
}

/// Why a `doomed` row names an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Doomed {
    /// Its upload came second. No row has ever named it, so it goes at once.
    Loser,
    /// Its blob was forgotten. It goes when purge is over and no backup pins it.
    Collected,
}

/// One place on the disk, and the `doomed` row that names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    pub(crate) file: File,
    pub(crate) doomed: Option<Doomed>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stage {
    #[default]
    Ready,
    /// Uploading into an object for a package; the bytes are not synced.
    Written {
        object: u8,
        package: u8,
    },
    Synced {
        object: u8,
        package: u8,
    },
    /// Has looked in one transaction and not yet acted in the next.
    Looked,
    Done,
    Refused,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Client {
    /// The step of its script that comes next.
    pub(crate) step: u8,
    pub(crate) stage: Stage,
    /// What it was told is there, by package, and whose lease has not ended since.
    pub(crate) promised: [Set; PACKAGES],
}

/// A backup in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Backup {
    pub(crate) pinned: bool,
    /// Objects that the snapshot names and that are not copied yet.
    pub(crate) wanted: Option<Set>,
}

/// What may still happen that nothing in the model causes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Clients that begin again after they are done or were refused.
    pub(crate) retries: u8,
    pub(crate) tag_deletes: u8,
    pub(crate) manifest_deletes: u8,
    pub(crate) blob_deletes: u8,
    pub(crate) undos: u8,
    pub(crate) restores: u8,
    pub(crate) caps: u8,
    pub(crate) package_deletes: u8,
    pub(crate) package_restores: u8,
    pub(crate) package_creates: u8,
    pub(crate) crashes: u8,
    pub(crate) backups: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) packages: [Package; PACKAGES],
    /// The object of each blob.
    pub(crate) blobs: [Option<u8>; BLOBS],
    pub(crate) objects: [Object; OBJECTS],
    pub(crate) next_object: u8,
    /// The start-up sweep has not run yet.
    pub(crate) unswept: bool,
    /// What the collector has decided and not yet done; wrong variants only.
    pub(crate) decided: Option<(u8, Item)>,
    pub(crate) clients: [Client; CLIENTS],
    pub(crate) backup: Backup,
    pub(crate) budget: Budget,
    /// The collector has removed a manifest that something needed.
    pub(crate) took_live: bool,
    /// An object was written again, or unlinked while a row named it.
    pub(crate) misused: bool,
}

impl State {
    /// To begin with: a blob that the first package has.
    pub(crate) fn stored(&mut self, blob: Item) {
        let object = self.next_object;
        self.next_object += 1;
        self.objects[usize::from(object)].file = File::Synced;
        self.blobs[blob.index()] = Some(object);
        self.packages[0].rows[blob.index()] = Some(Row::FRESH);
        self.packages[0].due.add(blob);
    }

    /// Nobody can rely any more on what they were told about an item.
    pub(crate) fn forget_promises(&mut self, package: u8, item: Item) {
        for client in &mut self.clients {
            client.promised[usize::from(package)].remove(item);
        }
    }

    pub(crate) fn linked_elsewhere(&self, package: u8, item: Item) -> bool {
        let mut others = (0u8..).zip(&self.packages).filter(|(id, _)| *id != package);
        others.any(|(_, other)| other.row(item).is_some())
    }

    /// Whether all crashes, and their consequences, are over.
    pub(crate) fn is_safe_from_crashes(&self) -> bool {
        self.budget.crashes == 0 && !self.unswept
    }

    /// Whether an upload in progress writes to an object.
    pub(crate) fn is_uploading(&self, wanted: u8) -> bool {
        self.clients.iter().any(|client| {
            matches!(client.stage, Stage::Written { object, .. } | Stage::Synced { object, .. } if object == wanted)
        })
    }
}
