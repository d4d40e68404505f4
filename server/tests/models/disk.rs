//! The machine: crashes, the start-up sweep, and a backup that copies objects while all goes on.

use super::rows::{File, OBJECTS, Set, Stage, State};
use super::variant::Variant;
use super::world::World;

impl World {
    /// The power goes. Rows are durable and clients remember what they were told; requests that
    /// were under way are lost, and so are bytes that were not synced.
    pub(crate) fn crash(&self, state: &mut State) {
        state.budget.crashes -= 1;
        state.unswept = true;
        state.decided = None;
        for client in &mut state.clients {
            if !matches!(client.stage, Stage::Done | Stage::Refused) {
                client.stage = Stage::Ready;
            }
        }
        for object in &mut state.objects {
            if object.file == File::Unsynced {
                object.file = File::Absent;
            }
        }
        if self.is(Variant::PinLostInCrash) {
            state.backup.pinned = false;
        }
    }

    /// Moves aside what no row names. It runs beside the service: an upload may be about to write
    /// the row of an object that the sweep sees.
    pub(crate) fn sweep(&self, state: &mut State) {
        state.unswept = false;
        for number in 0..OBJECTS as u8 {
            let named = state.blobs.contains(&Some(number))
                || state.objects[usize::from(number)].doomed.is_some()
                || (state.is_uploading(number) && !self.is(Variant::SweepTakesUploads));
            if !named {
                state.objects[usize::from(number)].file = File::Absent;
            }
        }
    }

    /// The next step of a backup: pin, snapshot of the rows, each object, unpin.
    pub(crate) fn backup(&self, state: &mut State) {
        let snapshot = || {
            let objects = state.blobs.iter().flatten();
            Some(Set(objects.fold(0, |bits, object| bits | 1 << object)))
        };
        let wanted = state.backup.wanted;
        match (state.backup.pinned, wanted) {
            (false, None) => {
                state.budget.backups -= 1;
                if self.is(Variant::SnapshotBeforePin) {
                    state.backup.wanted = snapshot();
                } else {
                    state.backup.pinned = true;
                }
            }
            (true, None) => {
                state.backup.wanted = snapshot();
                state.backup.pinned = !self.is(Variant::PinEndsBeforeCopies);
            }
            (false, Some(_)) if self.is(Variant::SnapshotBeforePin) => state.backup.pinned = true,
            (_, Some(Set(0))) => state.backup = super::rows::Backup::default(),
            (_, Some(Set(bits))) => state.backup.wanted = Some(Set(bits & (bits - 1))),
        }
    }
}
