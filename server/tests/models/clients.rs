//! What clients ask for. Each request is one transaction, except an upload.

use super::rows::{Clock, Doomed, File, Item, OBJECTS, Row, Stage, State};
use super::variant::Variant;
use super::world::{Step, World};

impl World {
    /// The package that a client's name leads to now.
    pub(crate) fn resolve(&self, state: &State, client: u8) -> Option<u8> {
        let name = self.pushes_to[usize::from(client)];
        let mut ids = (0u8..).zip(&state.packages).zip(self.names);
        ids.find(|((_, package), named)| package.live && *named == name).map(|((id, _), _)| id)
    }

    pub(crate) fn can_go_on(&self, state: &State, one: u8) -> bool {
        let client = &state.clients[usize::from(one)];
        let script = self.scripts[usize::from(one)];
        match client.stage {
            Stage::Done | Stage::Refused => state.budget.retries > 0 && !script.is_empty(),
            Stage::Written { .. } | Stage::Synced { .. } | Stage::Looked => true,
            Stage::Ready => match script[usize::from(client.step)] {
                Step::Push(_) => usize::from(state.next_object) < OBJECTS,
                _ => true,
            },
        }
    }

    pub(crate) fn client(&self, state: &mut State, one: u8) {
        let at = usize::from(one);
        let step = self.scripts[at].get(usize::from(state.clients[at].step));
        match (state.clients[at].stage, step) {
            (Stage::Done | Stage::Refused, _) | (_, None) => {
                state.budget.retries -= 1;
                let client = &mut state.clients[at];
                client.step = 0;
                client.stage = Stage::Ready;
            }
            (Stage::Written { object, package }, Some(Step::Push(blob))) => {
                if self.is(Variant::CommitBeforeSync) {
                    self.finish_upload(state, one, *blob, object, package);
                } else {
                    let file = &mut state.objects[usize::from(object)].file;
                    if *file == File::Unsynced {
                        *file = File::Synced;
                    }
                    state.clients[at].stage = Stage::Synced { object, package };
                    if state.is_safe_from_crashes() {
                        // Nobody can tell when it was synced.
                        self.finish_upload(state, one, *blob, object, package);
                    }
                }
            }
            (Stage::Synced { object, package }, Some(Step::Push(blob))) => {
                self.finish_upload(state, one, *blob, object, package);
            }
            (_, Some(Step::Push(blob))) => self.push(state, one, *blob),
            (_, Some(Step::Mount { from, blob })) => self.mount(state, one, *from, *blob),
            (_, Some(Step::Head { manifest, there })) => {
                let Some(found) = self.head(state, one, *manifest) else { return };
                let client = &mut state.clients[at];
                client.step = if found { *there } else { client.step + 1 };
                client.stage = Stage::Ready;
                self.end_script(state, one);
            }
            (_, Some(Step::Put { manifest, tag })) => self.put(state, one, *manifest, *tag),
        }
    }

    fn advance(&self, state: &mut State, one: u8) {
        state.clients[usize::from(one)].step += 1;
        state.clients[usize::from(one)].stage = Stage::Ready;
        self.end_script(state, one);
    }

    fn end_script(&self, state: &mut State, one: u8) {
        let client = &mut state.clients[usize::from(one)];
        if usize::from(client.step) >= self.scripts[usize::from(one)].len() {
            client.stage = Stage::Done;
        }
    }

    /// HEAD by somebody who may push: found, not found, or (`None`) not answered yet.
    ///
    /// What something holds is answered from a snapshot. What nothing holds gets a fresh lease
    /// before the 200, in a second transaction, which may find that it has gone meanwhile.
    fn head(&self, state: &mut State, one: u8, item: Item) -> Option<bool> {
        let at = usize::from(one);
        let looked = state.clients[at].stage == Stage::Looked;
        let Some(package) = self.resolve(state, one) else { return Some(false) };
        let unrenewed = looked && self.is(Variant::HeadIgnoresFailedRenewal);
        if !state.packages[usize::from(package)].visible(item) && !unrenewed {
            return Some(false);
        }
        let forgetful = if item.is_blob() {
            self.is(Variant::HeadWithoutLease)
        } else {
            self.is(Variant::ManifestHeadWithoutLease)
        };
        if !forgetful && !self.is_held(state, package, item) {
            if self.head_in_two && !looked {
                state.clients[at].stage = Stage::Looked;
                return None;
            }
            state.packages[usize::from(package)].lease(item);
        }
        promise(state, one, package, item);
        Some(true)
    }

    fn push(&self, state: &mut State, one: u8, blob: Item) {
        let at = usize::from(one);
        match self.head(state, one, blob) {
            None => return,
            Some(true) => return self.advance(state, one),
            Some(false) => state.clients[at].stage = Stage::Ready,
        }
        let Some(package) = self.resolve(state, one) else {
            state.clients[at].stage = Stage::Refused;
            return;
        };
        if !self.disk {
            // Any object does: nothing looks at the disk.
            return self.link_upload(state, one, blob, 0, package);
        }
        let object = if self.is(Variant::ObjectNamedByDigest) { blob.0 } else { state.next_object };
        state.misused |= object < state.next_object;
        state.next_object += 1;
        let file = &mut state.objects[usize::from(object)].file;
        if *file == File::Absent {
            *file = File::Unsynced;
        }
        state.clients[at].stage = Stage::Written { object, package };
    }

    fn finish_upload(&self, state: &mut State, one: u8, blob: Item, object: u8, package: u8) {
        let live = state.packages[usize::from(package)].live;
        if !live && !self.is(Variant::UploadIgnoresDeletion) {
            state.objects[usize::from(object)].file = File::Absent;
            state.clients[usize::from(one)].stage = Stage::Refused;
            return;
        }
        self.link_upload(state, one, blob, object, package);
    }

    /// The transaction that ends an upload.
    fn link_upload(&self, state: &mut State, one: u8, blob: Item, object: u8, package: u8) {
        match state.blobs[blob.index()] {
            None => {
                state.blobs[blob.index()] = Some(object);
                if self.is(Variant::ObjectNamedByDigest) {
                    state.objects[usize::from(object)].doomed = None;
                }
            }
            Some(first) if first == object => {}
            Some(_) if self.is(Variant::LoserForgotten) => {}
            Some(_) if !self.disk => {}
            Some(_) => state.objects[usize::from(object)].doomed = Some(Doomed::Loser),
        }
        let rows = &mut state.packages[usize::from(package)];
        let there = rows.visible(blob);
        if !(there && self.is(Variant::UploadOntoLinkForgetsLease)) {
            rows.rows[blob.index()] = Some(Row::FRESH);
            rows.due.add(blob);
        }
        promise(state, one, package, blob);
        self.advance(state, one);
    }

    fn mount(&self, state: &mut State, one: u8, from: u8, blob: Item) {
        let at = usize::from(one);
        let source = &state.packages[usize::from(from)];
        let found = source.live && source.visible(blob);
        let looked = state.clients[at].stage == Stage::Looked;
        if self.is(Variant::MountInTwoTransactions) && found && !looked {
            state.clients[at].stage = Stage::Looked;
            return;
        }
        if let Some(package) = self.resolve(state, one)
            && (found || looked)
        {
            let rows = &mut state.packages[usize::from(package)];
            rows.rows[blob.index()] = Some(Row::FRESH);
            if !self.is(Variant::MountForgetsDue) {
                rows.due.add(blob);
            }
            promise(state, one, package, blob);
        }
        self.advance(state, one);
    }

    /// Whether a package has all that a manifest names, for its clients.
    fn has_content(&self, state: &State, package: u8, manifest: Item) -> bool {
        let rows = &state.packages[usize::from(package)];
        let needs = self.content(manifest).needs;
        Item::all().filter(|item| needs.holds(*item)).all(|item| {
            rows.visible(item) || (!item.is_blob() && self.is(Variant::PutIgnoresChildren))
        })
    }

    fn put(&self, state: &mut State, one: u8, manifest: Item, tag: Option<u8>) {
        let at = usize::from(one);
        let looked = state.clients[at].stage == Stage::Looked;
        let package = self.resolve(state, one);
        let package = package.filter(|id| looked || self.has_content(state, *id, manifest));
        let Some(package) = package else {
            state.clients[at].stage = Stage::Refused;
            return;
        };
        if self.is(Variant::PutChecksEarlier) && !looked {
            state.clients[at].stage = Stage::Looked;
            return;
        }
        self.write_manifest(state, package, manifest);
        if let Some(tag) = tag {
            self.point(state, package, tag, manifest);
        }
        promise(state, one, package, manifest);
        self.advance(state, one);
    }

    /// The rows of a manifest whose content is there. Edges still being removed are written again.
    pub(crate) fn write_manifest(&self, state: &mut State, package: u8, manifest: Item) {
        let rows = &mut state.packages[usize::from(package)];
        let there = rows.row(manifest);
        let mut row = Row::FRESH;
        if let Some(there) = there
            && self.is(Variant::PutOntoManifestForgetsLease)
        {
            row.lease = there.lease;
        }
        rows.rows[manifest.index()] = Some(row);
        rows.due.add(manifest);
        rows.edges[manifest.index()] = self.content(manifest).needs;
        if !self.is(Variant::PutLeavesFan) {
            rows.fans.remove(manifest);
        }
    }

    /// Points a tag to a manifest and keeps what it pointed to.
    pub(crate) fn point(&self, state: &mut State, package: u8, tag: u8, manifest: Item) {
        let slot = &mut state.packages[usize::from(package)].tags[usize::from(tag)];
        let before = slot.replace(manifest);
        if let Some(before) = before
            && before != manifest
        {
            self.keep(state, package, before);
        }
    }

    /// What a tag has let go is kept, with a due entry.
    pub(crate) fn keep(&self, state: &mut State, package: u8, manifest: Item) {
        let rows = &mut state.packages[usize::from(package)];
        rows.history.add(manifest);
        if !self.is(Variant::ReleaseForgetsDue) {
            rows.kept[manifest.index()] = Some(Clock::Running);
            rows.due_kept.add(manifest);
        }
    }
}

fn promise(state: &mut State, one: u8, package: u8, item: Item) {
    state.clients[usize::from(one)].promised[usize::from(package)].add(item);
}
