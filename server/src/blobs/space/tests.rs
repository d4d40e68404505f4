use super::*;
use std::sync::Mutex;

const MIB: u64 = 1 << 20;

/// A disk of 1 GiB (so: soft 102 MiB, hard 51 MiB, ballast 20 MiB) that a test fills and empties.
struct Disk {
    directory: tempfile::TempDir,
    free: Arc<Mutex<io::Result<u64>>>,
    clock: Clock,
}

impl Disk {
    fn with_free(mebibytes: u64) -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            free: Arc::new(Mutex::new(Ok(mebibytes * MIB))),
            clock: Clock::manual(Timestamp(1_000_000)),
        }
    }

    fn watch(&self) -> SpaceWatch {
        let free = Arc::clone(&self.free);
        let measure = move || match &*free.lock().expect("not poisoned") {
            Ok(free) => Ok(Space { free: *free, total: 1 << 30 }),
            Err(error) => Err(error.kind().into()),
        };
        let marks = Marks::default();
        SpaceWatch::start_with(self.directory.path(), marks, self.clock.clone(), Box::new(measure))
            .expect("measured")
    }

    fn set_free(&self, mebibytes: u64) {
        *self.free.lock().expect("not poisoned") = Ok(mebibytes * MIB);
        self.clock.advance(GOOD_FOR);
    }

    fn ballast(&self) -> u64 {
        Ballast::find(self.directory.path()).expect("looked").length()
    }
}

#[test]
fn small_file_systems_have_smaller_marks_and_large_ones_the_configured() {
    let marks = Marks::default();
    assert_eq!(marks.within(1 << 40), marks);
    assert_eq!(marks.within(1000), Marks { soft: 100, hard: 50, ballast: 20 });
}

#[test]
fn room_shrinks_with_free_space() {
    let marks = Marks { soft: 100, hard: 50, ballast: 20 };
    let rooms = [100, 99, 50, 49, 0].map(|free| marks.room(free));
    use Room::{DeletesOnly, NoUploads, Plenty};
    assert_eq!(rooms, [Plenty, NoUploads, NoUploads, DeletesOnly, DeletesOnly]);
}

#[test]
fn a_measurement_is_good_for_a_second() {
    let disk = Disk::with_free(500);
    let watch = disk.watch();
    assert_eq!(watch.room(), Room::Plenty);
    *disk.free.lock().expect("not poisoned") = Ok(60 * MIB);
    assert_eq!(watch.room(), Room::Plenty);
    disk.clock.advance(GOOD_FOR);
    assert_eq!(watch.room(), Room::NoUploads);
}

#[test]
fn removing_the_ballast_does_not_let_uploads_in_again() {
    let disk = Disk::with_free(500);
    let watch = disk.watch();
    assert_eq!(disk.ballast(), (1 << 30) / 50);
    disk.set_free(45);
    assert_eq!(watch.room(), Room::DeletesOnly);
    assert_eq!(disk.ballast(), 0);
    // What the ballast gave back.
    disk.set_free(65);
    assert_eq!(watch.room(), Room::DeletesOnly);
    disk.set_free(75);
    assert_eq!(watch.room(), Room::NoUploads);
    disk.set_free(115);
    assert_eq!(watch.room(), Room::NoUploads);
    assert_eq!(disk.ballast(), 0, "there is not enough to put it back");
}

#[test]
fn the_ballast_is_put_back_when_there_is_plenty() {
    let disk = Disk::with_free(40);
    let watch = disk.watch();
    assert_eq!((watch.room(), disk.ballast()), (Room::DeletesOnly, 0));
    disk.set_free(500);
    assert_eq!(watch.room(), Room::Plenty);
    while watch.0.restoring.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    assert_eq!(disk.ballast(), (1 << 30) / 50);
}

#[test]
fn a_ballast_outlives_a_restart() {
    let disk = Disk::with_free(500);
    drop(disk.watch());
    // Just above the soft mark; if the ballast were missing this would count as 83 MiB.
    disk.set_free(103);
    assert_eq!(disk.watch().room(), Room::Plenty);
}

#[test]
fn when_space_cannot_be_measured_the_last_answer_stands() {
    let disk = Disk::with_free(80);
    let watch = disk.watch();
    *disk.free.lock().expect("not poisoned") = Err(io::ErrorKind::Other.into());
    disk.clock.advance(GOOD_FOR);
    assert_eq!(watch.room(), Room::NoUploads);
}

#[test]
fn a_real_file_system_has_some_size() {
    let directory = tempfile::tempdir().expect("a directory");
    let space = Space::of(directory.path()).expect("measured");
    assert!(space.total > 0 && space.free <= space.total);
    let watch = SpaceWatch::start(
        directory.path(),
        Marks { soft: 0, hard: 0, ballast: 0 },
        Clock::system(),
    );
    assert_eq!(watch.expect("started").room(), Room::Plenty);
}
