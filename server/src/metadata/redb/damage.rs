//! A database that something else has damaged: a byte flipped in each page in turn, pages and ends
//! that are missing, another file's beginning.
//!
//! redb holds pages against their checksums only when it repairs, so damage reaches the code that
//! reads pages, and redb panics there. What must hold all the same: opening refuses or works, a read
//! answers or fails, both come to an end, the process goes on, and the bytes of a manifest are those
//! of its digest.

use super::powerloss::disk::Disk;
use super::{RedbOptions, RedbStore};
use crate::clock::Clock;
use crate::domain::{Digest, PackageId, Reference, Timestamp};
use crate::metadata::suite::seeded::{Seeded, rounds, say, seed};
use crate::metadata::suite::{Fixture, change, index};
use crate::metadata::{
    DocumentKind, Manifest, MetadataStore, NewManifest, PackageFilter, Page, Result, Target,
};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// redb's pages, in bytes.
const PAGE: usize = 4096;
/// Everything that is asked of one damaged file takes milliseconds; this is for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Images in each package, so that the trees have branches.
const IMAGES: usize = 40;

fn clock() -> Clock {
    Clock::manual(Timestamp(1_800_000_000_000))
}

fn open(disk: &Disk) -> std::result::Result<RedbStore, super::OpenError> {
    let disk = disk.clone();
    RedbStore::open_with(move || disk.clone(), RedbOptions::default(), clock())
}

fn image(number: usize) -> NewManifest {
    let layer = format!("layer{number}");
    Fixture::image(&["config", "base", &layer], &[&format!("v{number}")])
}

/// The file of a store with two packages of images, and what is in it.
async fn filled() -> (Vec<u8>, Vec<Digest>) {
    let disk = Disk::of(Vec::new());
    let store: Arc<dyn MetadataStore> = Arc::new(open(&disk).unwrap());
    let on = Fixture::new(store, clock()).await;
    let mut digests = Vec::new();
    for package in [on.first, on.second] {
        for text in ["config", "base"] {
            on.blob(package, text).await;
        }
        for number in 0..IMAGES {
            digests.push(on.blob(package, &format!("layer{number}")).await.0);
            digests.push(image(number).digest);
            on.put(package, image(number)).await.unwrap();
        }
        let children: Vec<_> = (0..IMAGES).map(image).collect();
        let index = index(&children.iter().collect::<Vec<_>>(), &["all"]);
        digests.push(index.digest);
        on.put(package, index).await.unwrap();
        on.store.delete_tag(&change(), package, &"v3".parse().unwrap()).await.unwrap();
    }
    let body = vec![7; 100];
    on.store.put_document(&change(), DocumentKind::User, "ann", None, body).await.unwrap();
    on.assert_sound().await;
    drop(on);
    (disk.contents(), digests)
}

/// What a store says to a question, in words. Equal only if it is the same.
type Answers = BTreeMap<String, Result<String>>;

/// Asks everything that clients and the registry ask.
async fn ask(store: &RedbStore, digests: &[Digest]) -> Answers {
    let mut answers = Answers::new();
    let page = || Page { after: None, limit: 1000 };
    answers.insert("instance".into(), store.instance().await.map(words));
    answers.insert("last seen".into(), store.last_seen().await.map(words));
    let users = store.documents(DocumentKind::User, "", page()).await;
    answers.insert("documents".into(), users.map(words));
    answers.insert("workspaces".into(), store.workspaces(page()).await.map(words));
    answers.insert("uploads".into(), store.uploads(None, 100).await.map(words));
    answers.insert("doomed".into(), store.doomed(100).await.map(words));
    answers.insert("check".into(), store.check().await.map(words));
    let workspace = crate::domain::WorkspaceId(1);
    let packages = store.packages(workspace, &PackageFilter::default(), page()).await;
    answers.insert("packages".into(), packages.map(words));
    for name in ["acme/one", "acme/two"] {
        let resolved = store.resolve(&name.parse().unwrap()).await;
        answers.insert(format!("resolve {name}"), resolved.map(words));
    }
    for package in [PackageId(1), PackageId(2)] {
        ask_package(store, package, digests, &mut answers).await;
    }
    answers
}

async fn ask_package(
    store: &RedbStore,
    package: PackageId,
    digests: &[Digest],
    answers: &mut Answers,
) {
    let tags = store.tags(package, Page { after: None, limit: 1000 }).await;
    answers.insert(format!("{package:?} tags"), tags.map(words));
    let history = store.history(package, None, 1000).await;
    answers.insert(format!("{package:?} history"), history.map(words));
    for digest in digests {
        let blob = store.blob(package, digest).await;
        answers.insert(format!("{package:?} blob {digest}"), blob.map(words));
        let found = manifest(store, package, Reference::Digest(*digest)).await;
        answers.insert(format!("{package:?} manifest {digest}"), found);
    }
    for number in 0..IMAGES {
        let tag = format!("v{number}").parse().unwrap();
        let found = manifest(store, package, Reference::Tag(tag)).await;
        answers.insert(format!("{package:?} tag v{number}"), found);
    }
}

/// A manifest, whose bytes must be those of the digest that was asked for or is given with them.
async fn manifest(store: &RedbStore, package: PackageId, reference: Reference) -> Result<String> {
    let found = store.manifest(package, &reference).await?;
    if let Some(Manifest { facts, bytes }) = &found {
        assert_eq!(facts.digest.algorithm().hash(bytes), facts.digest, "wrong bytes");
        if let Reference::Digest(asked) = reference {
            assert_eq!(facts.digest, asked, "the bytes of something else");
        }
    }
    Ok(words(found))
}

fn words(answer: impl std::fmt::Debug) -> String {
    format!("{answer:?}")
}

/// What became of damaged files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    files: usize,
    refused: usize,
    panicked_at_opening: usize,
    /// Opened, and every answer was right.
    unharmed: usize,
    /// Opened, and an answer was an error.
    failing: usize,
    /// Opened, and an answer was another one than before the damage.
    changed: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.refused += other.refused;
        self.panicked_at_opening += other.panicked_at_opening;
        self.unharmed += other.unharmed;
        self.failing += other.failing;
        self.changed += other.changed;
    }
}

/// A whole file, and what is answered from it.
struct Whole {
    contents: Vec<u8>,
    digests: Vec<Digest>,
    answers: Answers,
}

impl Whole {
    async fn new() -> Arc<Self> {
        let (contents, digests) = filled().await;
        let answers = ask(&open(&Disk::of(contents.clone())).unwrap(), &digests).await;
        assert!(answers.values().all(Result::is_ok), "{answers:?}");
        Arc::new(Self { contents, digests, answers })
    }

    /// Opens a damaged file and asks everything, on a thread of its own, so that one that does not
    /// come to an end is a failure and not a test that hangs.
    fn examine(self: &Arc<Self>, damaged: Vec<u8>, what: &str) -> Tally {
        let (done, finished) = channel();
        let whole = Arc::clone(self);
        std::thread::spawn(move || done.send(whole.compare(damaged)));
        finished.recv_timeout(LIMIT).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    fn compare(&self, damaged: Vec<u8>) -> Tally {
        let mut tally = Tally { files: 1, ..Tally::default() };
        let disk = Disk::of(damaged.clone());
        match catch_unwind(AssertUnwindSafe(|| open(&disk))) {
            Err(_) => tally.panicked_at_opening = 1,
            Ok(Err(_)) => tally.refused = 1,
            Ok(Ok(store)) => self.compare_answers(&store, &mut tally),
        }
        if tally.failing + tally.changed > 0 {
            assert!(!is_sound(damaged), "the file's own check finds nothing");
        }
        tally
    }

    fn compare_answers(&self, store: &RedbStore, tally: &mut Tally) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answers = runtime.block_on(ask(store, &self.digests));
        for (question, answer) in &answers {
            match (answer, &self.answers[question]) {
                (Ok(found), Ok(expected)) if found == expected => {}
                (Ok(_), _) => tally.changed = 1,
                (Err(_), _) => tally.failing = 1,
            }
        }
        tally.unharmed = usize::from(tally.changed + tally.failing == 0);
        // What failed has not spoilt what did not.
        let again = runtime.block_on(store.instance()).map(words);
        assert_eq!(words(&again), words(&answers["instance"]));
        runtime.block_on(change_something(store));
    }
}

/// Whether redb, asked to hold every page against its checksum, finds the file as it wrote it.
fn is_sound(contents: Vec<u8>) -> bool {
    let mut builder = redb::Database::builder();
    builder.set_check_integrity_on_open(true);
    builder.create_with_backend(Disk::of(contents)).is_ok()
}

/// Changes are answered too, one way or the other.
async fn change_something(store: &RedbStore) {
    let (change, body) = (change(), vec![7; 100]);
    let _ = store.put_document(&change, DocumentKind::User, "bob", None, body).await;
    let target = Target::Existing(PackageId(1));
    let mut new = image(1);
    new.tags = vec!["new".parse().unwrap()];
    let _ = store.put_manifest(&change, &target, new).await;
}

#[tokio::test]
async fn a_flipped_byte_in_any_page_is_never_a_wrong_manifest_nor_the_end_of_the_process() {
    let seed = seed("flipped bytes");
    let whole = Whole::new().await;
    let mut total = Tally::default();
    for round in 0..rounds(1) {
        let mut random = Seeded::of(seed, round);
        for page in 0..whole.contents.len() / PAGE {
            // The first bytes of a page say how the others are to be read.
            let within = if random.percent(50) { PAGE } else { 32 };
            let at = page * PAGE + random.below(within);
            let mut damaged = whole.contents.clone();
            damaged[at] ^= random.pick(&[1, 2, 16, 128, 255]);
            total.add(whole.examine(damaged, &format!("byte {at} flipped, seed {seed}")));
        }
    }
    say(&words(total));
    assert!(total.failing > 0 && total.unharmed < total.files, "the damage was met: {total:?}");
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_refused_or_fails_where_something_is_missing() {
    let seed = seed("files cut off");
    let (whole, mut random) = (Whole::new().await, Seeded::of(seed, 0));
    let length = whole.contents.len();
    let mut ends =
        vec![1, 9, 64, 320, PAGE - 1, PAGE, 3 * PAGE, length / 2, length - PAGE, length - 1];
    ends.extend((0..rounds(10)).map(|_| random.below(length)));
    let mut total = Tally::default();
    for end in ends.into_iter().filter(|end| *end > 0) {
        let mut damaged = whole.contents.clone();
        damaged.truncate(end);
        total.add(whole.examine(damaged, &format!("cut off at {end}, seed {seed}")));
    }
    say(&words(total));
    assert_eq!(total.unharmed + total.changed, 0, "{total:?}");
}

#[tokio::test]
async fn a_file_with_another_beginning_is_refused_or_fails() {
    let whole = Whole::new().await;
    let other = Whole::new().await;
    let mut total = Tally::default();
    for length in [9, 64, 320, PAGE] {
        for beginning in [vec![0; length], vec![0xff; length], other.contents[..length].to_vec()] {
            let is_other = beginning == other.contents[..length];
            let mut damaged = whole.contents.clone();
            damaged[..length].copy_from_slice(&beginning);
            let tally = whole.examine(damaged, &format!("another {length} bytes"));
            if !is_other {
                assert_eq!(tally.refused, 1, "{length} bytes of {}: {tally:?}", beginning[0]);
            }
            total.add(tally);
        }
    }
    say(&words(total));
}
