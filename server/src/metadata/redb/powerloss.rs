//! What was answered holds after a power loss, whenever it comes.
//!
//! A store on a [`Disk`] that forgets what was not synced is asked for random changes; at a random
//! call the power goes, perhaps again while the store recovers. Beside it a store on an ordinary disk
//! is asked for the same. What the first holds after its last start must be, row by row, what the
//! second held after some of the changes that were asked for: all that were answered and none, some
//! or all of those in flight, in their order, each whole. An upload that was only begun has no rows yet.
//! The rows must agree with each other, and every checksum of the file with its page.

pub(super) mod disk;
mod steps;

use super::{RedbOptions, RedbStore, is_refusal};
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::metadata::suite::Fixture;
use crate::metadata::suite::seeded::{Seeded, rounds, say, seed};
use crate::metadata::{MetadataStore, Result as Answer};
use disk::{Disk, Lie};
use futures_util::FutureExt as _;
use futures_util::future::{join, join_all};
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use steps::{Step, Stock};

/// Losses of one round, each on what the last one left.
const LIVES: usize = 5;
/// The power goes during one of so many calls that change the file.
const LONGEST_LIFE: usize = 250;
/// The same while a store recovers.
const LONGEST_RECOVERY: usize = 12;

/// A file's contents.
type Image = Vec<u8>;
/// Every row, by table and key.
type Rows = BTreeMap<(String, Vec<u8>), Vec<u8>>;
/// What is wrong, in words.
type Found<T> = std::result::Result<T, String>;

/// What is made to go wrong, so that the test itself can be tested.
#[derive(Clone, Copy, Debug)]
struct Trial {
    lie: Lie,
    /// Whether a change counts as answered as soon as it was asked for.
    answers_early: bool,
}

const HONEST: Trial = Trial { lie: Lie::None, answers_early: false };

/// What happened, so that a run can show that it tried what it is for.
#[derive(Debug, Default)]
struct Tally {
    losses: usize,
    losses_in_recovery: usize,
    changes: usize,
    in_flight: usize,
    in_flight_kept: usize,
}

fn start() -> Clock {
    Clock::manual(Timestamp(1_800_000_000_000))
}

/// A small cache, so that pages are read from the disk again.
fn open(disk: &Disk, clock: &Clock) -> std::result::Result<RedbStore, super::OpenError> {
    let disk = disk.clone();
    RedbStore::open_with(move || disk.clone(), RedbOptions { cache_bytes: 1 << 20 }, clock.clone())
}

/// The file of a store that has a workspace, a repository and two packages.
async fn fresh() -> Image {
    let (disk, clock) = (Disk::of(Vec::new()), start());
    let store: Arc<dyn MetadataStore> = Arc::new(open(&disk, &clock).unwrap());
    drop(Fixture::new(store, clock).await);
    disk.contents()
}

fn rows(store: &RedbStore) -> Found<Rows> {
    let database = store.database.read().map_err(|_| "the database's lock is poisoned")?;
    let read = || -> std::result::Result<Rows, redb::Error> {
        let transaction = database.as_ref().expect("it is open").begin_read()?;
        let mut rows = Rows::new();
        for table in transaction.list_tables()? {
            let definition = TableDefinition::<&[u8], &[u8]>::new(table.name());
            for row in transaction.open_table(definition)?.iter()? {
                let (key, value) = row?;
                let key = (table.name().to_owned(), key.value().to_vec());
                rows.insert(key, value.value().to_vec());
            }
        }
        Ok(rows)
    };
    read().map_err(|error| format!("the rows cannot be read: {error}"))
}

/// What the store may hold after the next loss: after no change that was asked for, after the first,
/// after the first two …; and how many of them must hold.
struct Allowed {
    after: Vec<Rows>,
    /// The last one that was answered.
    answered: usize,
}

impl Allowed {
    fn only(rows: Rows) -> Self {
        Self { after: vec![rows], answered: 0 }
    }

    /// Forgets what cannot be found any more.
    fn settled(mut self) -> Self {
        self.after.drain(..self.answered);
        Self { answered: 0, ..self }
    }
}

/// Asks for random changes until the power goes.
async fn live(
    random: &mut Seeded,
    image: &Image,
    trial: Trial,
    tally: &mut Tally,
) -> Found<(Image, Allowed)> {
    let clock = start();
    let reference = open(&Disk::of(image.clone()), &clock).map_err(|error| error.to_string())?;
    let before = rows(&reference)?;
    let nothing = Allowed::only(before);
    let power = 1 + random.below(LONGEST_LIFE) as u64;
    let disk = Disk::of(image.clone()).lying(trial.lie).losing_power_at(power);
    let store = match open(&disk, &clock) {
        Ok(store) => store,
        Err(_) if disk.is_off() => return Ok((disk.after_power_loss(random), nothing)),
        Err(error) => return Err(format!("a whole file was refused: {error}")),
    };
    let mut allowed = nothing;
    while !disk.is_off() {
        clock.advance(Duration::from_secs(random.below(3600) as u64));
        let stock = Stock::of(&reference).await.map_err(|error| error.to_string())?;
        let (begins, steps): (Vec<_>, Vec<_>) =
            stock.steps(random).into_iter().partition(Step::may_ask_no_writer);
        for step in begins {
            let (step, answer) = ([step.clone()], [step.ask(&store, &stock).await]);
            tally.changes += 1;
            allowed = follow(&reference, allowed.settled(), &stock, &step, &answer, &disk).await?;
        }
        let answers = ask_at_once(&store, &stock, &steps).await;
        tally.changes += steps.len();
        allowed = follow(&reference, allowed.settled(), &stock, &steps, &answers, &disk).await?;
        // Now and then the power goes when nobody waits, or while the store is closed.
        if random.percent(4) {
            break;
        }
    }
    if store.writer.as_ref().is_none_or(std::thread::JoinHandle::is_finished) {
        return Err("the writer's thread has ended".to_owned());
    }
    // A store that is closed gives rows to the uploads that go on, if it still can.
    drop(store);
    let all = reference.begun.older_than(Timestamp(u64::MAX));
    let settled =
        reference.write_sessions(all.clone(), move |batch, begun| begun.settle_all(batch, &all));
    settled.await.map_err(|error| error.to_string())?;
    allowed.after.push(rows(&reference)?);
    if trial.answers_early {
        allowed.answered = allowed.after.len() - 1;
    }
    Ok((disk.after_power_loss(random), allowed))
}

/// Asks for all steps while the writer is busy, so that it takes them together, whatever else the
/// machine does: the same seed then makes the same calls to the disk.
async fn ask_at_once(store: &RedbStore, stock: &Stock, steps: &[Step]) -> Vec<Answer<String>> {
    let (has_begun, begun) = channel();
    let (release, released) = channel::<()>();
    let busy = store.write(super::small(0), move |_| {
        // If nobody listens any more, there is nothing to wait for.
        let _ = has_begun.send(());
        let _ = released.recv();
        Ok(())
    });
    // Each is first polled in this order, and asks the writer then.
    let asked = async {
        let _ = begun.recv();
        let answers = join_all(steps.iter().map(|step| step.ask(store, stock)));
        let (answers, ()) = join(answers, async { drop(release) }).await;
        answers
    };
    join(busy, asked).await.1
}

/// Makes the same changes in the reference, and holds the answers against its answers.
async fn follow(
    reference: &RedbStore,
    mut allowed: Allowed,
    stock: &Stock,
    steps: &[Step],
    answers: &[Answer<String>],
    disk: &Disk,
) -> Found<Allowed> {
    for (step, answer) in steps.iter().zip(answers) {
        let expected = step.ask(reference, stock).await;
        allowed.after.push(rows(reference)?);
        let (last, changed) = match allowed.after.as_slice() {
            [.., before, after] => (allowed.after.len() - 1, before != after),
            _ => unreachable!("one was there and one was added"),
        };
        match answer {
            Err(error) if !is_refusal(error) => {
                if !disk.is_off() {
                    return Err(format!("{step:?} failed on a disk that works: {error:?}"));
                }
            }
            answer => {
                if format!("{answer:?}") != format!("{expected:?}") {
                    return Err(format!("{step:?}: {answer:?} instead of {expected:?}"));
                }
                if answer.is_ok() && changed {
                    allowed.answered = last;
                }
            }
        }
    }
    Ok(allowed)
}

/// Starts on what a loss left, perhaps losing power again, until a start was whole.
async fn recover(
    random: &mut Seeded,
    mut image: Image,
    tally: &mut Tally,
) -> Found<(Image, RedbStore)> {
    while random.percent(50) {
        let disk = Disk::of(image).losing_power_at(1 + random.below(LONGEST_RECOVERY) as u64);
        match open(&disk, &start()) {
            Ok(store) => drop(store),
            Err(_) if disk.is_off() => {}
            Err(error) => return Err(format!("what a loss left was refused: {error}")),
        }
        tally.losses_in_recovery += usize::from(disk.is_off());
        image = disk.after_power_loss(random);
    }
    let disk = Disk::of(image);
    let store = open(&disk, &start());
    let store = store.map_err(|error| format!("what a loss left was refused: {error:?}"))?;
    let wrong = store.check().await.map_err(|error| format!("{error:?}"))?;
    if !wrong.is_empty() {
        return Err(format!("the rows do not agree: {wrong:?}"));
    }
    Ok((disk.contents(), store))
}

fn hold(store: &RedbStore, allowed: &Allowed, tally: &mut Tally) -> Found<()> {
    let found = rows(store)?;
    // Refused changes leave the same rows as those before them; the latest says most.
    let Some(after) = allowed.after.iter().rposition(|rows| *rows == found) else {
        return Err("the rows are those of no moment that may be found".to_owned());
    };
    if after < allowed.answered {
        let (answered, asked) = (allowed.answered, allowed.after.len() - 1);
        return Err(format!("{answered} changes of {asked} were answered, {after} are there"));
    }
    tally.losses += 1;
    tally.in_flight += allowed.after.len() - 1 - allowed.answered;
    tally.in_flight_kept += after - allowed.answered;
    let mut database = store.database.write().map_err(|_| "the database's lock is poisoned")?;
    match database.as_mut().expect("it is open").check_integrity() {
        Ok(true) => Ok(()),
        other => Err(format!("the file's own check says {other:?}")),
    }
}

async fn round(
    random: &mut Seeded,
    mut image: Image,
    trial: Trial,
    tally: &mut Tally,
) -> Found<()> {
    for _ in 0..LIVES {
        let (left, allowed) = live(random, &image, trial, tally).await?;
        let (recovered, store) = recover(random, left, tally).await?;
        hold(&store, &allowed, tally)?;
        drop(store);
        image = recovered;
    }
    Ok(())
}

#[tokio::test]
async fn what_was_answered_holds_after_a_power_loss_and_what_was_not_is_whole_or_absent() {
    let seed = seed("power losses");
    let (image, mut tally) = (fresh().await, Tally::default());
    for number in 0..rounds(45) {
        let mut random = Seeded::of(seed, number);
        let found = round(&mut random, image.clone(), HONEST, &mut tally).await;
        assert_eq!(found, Ok(()), "seed {seed}, round {number}, {tally:?}");
    }
    say(&format!("{tally:?}"));
    assert!(tally.in_flight_kept < tally.in_flight, "changes in flight were lost: {tally:?}");
    assert!(tally.losses_in_recovery > 0, "power was lost in recovery: {tally:?}");
}

/// redb gives a file its first bytes when all else in it is durable. Until then the file is refused,
/// and nothing of ours can be in it.
#[tokio::test]
async fn a_first_start_that_lost_power_can_be_made_again_once_the_file_has_its_first_bytes() {
    let mut random = Seeded::of(seed("first starts"), 0);
    let whole = Disk::of(Vec::new());
    drop(open(&whole, &start()).unwrap());
    for call in 1..=whole.calls() {
        let disk = Disk::of(Vec::new()).losing_power_at(call);
        let _ = open(&disk, &start()).map(drop);
        assert!(disk.is_off(), "call {call} came");
        let left = disk.after_power_loss(&mut random);
        if left.is_empty() {
            // As if nothing had been: the loop tries a first start's losses already.
            open(&Disk::of(left), &start()).unwrap().instance().await.unwrap();
            continue;
        }
        if !left.starts_with(b"redb") {
            let refused = open(&Disk::of(left), &start()).unwrap_err();
            let refused = format!("{refused:?}");
            assert!(refused.contains("magic number"), "call {call}: {refused}");
            continue;
        }
        let recovered = recover(&mut random, left, &mut Tally::default()).await;
        let calls = whole.calls();
        let (_, store) =
            recovered.unwrap_or_else(|wrong| panic!("call {call} of {calls}: {wrong}"));
        store.instance().await.unwrap();
    }
}

/// Runs rounds until one finds something.
async fn is_found(name: &str, trial: Trial) -> String {
    let seed = seed(name);
    let image = fresh().await;
    for number in 0..20 {
        let mut random = Seeded::of(seed, number);
        let mut tally = Tally::default();
        let round = round(&mut random, image.clone(), trial, &mut tally);
        match AssertUnwindSafe(round).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(found)) => return found,
            Err(_) => return "a panic".to_owned(),
        }
    }
    panic!("{trial:?} was not noticed, seed {seed}");
}

#[tokio::test]
async fn a_disk_whose_syncs_do_nothing_is_found_out() {
    let trial = Trial { lie: Lie::SyncsNothing, ..HONEST };
    say(&is_found("a lying disk", trial).await);
}

#[tokio::test]
async fn a_disk_whose_syncs_leave_one_write_out_is_found_out() {
    let trial = Trial { lie: Lie::ForgetsOneWrite, ..HONEST };
    say(&is_found("a forgetful disk", trial).await);
}

#[tokio::test]
async fn a_store_that_answered_before_its_commit_would_be_found_out() {
    let found = is_found("early answers", Trial { answers_early: true, ..HONEST }).await;
    assert!(found.contains("were answered"), "{found}");
}
