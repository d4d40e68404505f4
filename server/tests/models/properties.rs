//! What must hold in every state. The numbers are those of the invariants in the design.

use super::rows::{BLOBS, Clock, File, Item, OBJECTS, PACKAGES, Package, Removal, Set, State};
use super::world::World;
use stateright::Property;

pub(crate) const S1: &str = "S1 a manifest has all its content";
pub(crate) const S2: &str = "S2 a link has a blob row and that a durable object";
pub(crate) const S3: &str = "S3 a tag leads to a manifest that clients see";
pub(crate) const S4: &str = "S4 what a client was told is there stays for the lease";
pub(crate) const S5: &str = "S5 no manifest is removed that something needs";
pub(crate) const S7: &str = "S7 no object is written again or unlinked while named";
pub(crate) const K: &str = "K what is inside keep can be restored";
pub(crate) const N: &str = "N a name leads to one package";
pub(crate) const L1: &str = "L1 all that nothing needs is due";
pub(crate) const B1: &str = "B1 what the snapshot of a backup names can be copied";

pub(crate) fn always() -> Vec<Property<World>> {
    vec![
        Property::always(S1, |world, state| packages(state).all(|(_, one)| complete(world, one))),
        Property::always(S2, durable),
        Property::always(S3, |_, state| {
            let mut tags = packages(state).flat_map(|(_, one)| one.tags.map(|tag| (one, tag)));
            tags.all(|(package, tag)| tag.is_none_or(|manifest| package.visible(manifest)))
        }),
        Property::always(S4, kept_promises),
        Property::always(S5, |_, state: &State| !state.took_live),
        Property::always(S7, |_, state: &State| !state.misused),
        Property::always(K, restorable),
        Property::always(N, |world, state: &State| {
            let live = state.packages.iter().zip(world.names).filter(|(one, _)| one.live);
            let mut names: Vec<u8> = live.map(|(_, name)| name).collect();
            names.dedup();
            names.len() == state.packages.iter().filter(|one| one.live).count()
        }),
        Property::always(L1, tracked),
        Property::always(B1, |_, state: &State| {
            let wanted = state.backup.wanted.unwrap_or_default();
            (0..OBJECTS).all(|one| !wanted.has(one as u8) || is_synced(state, one))
        }),
    ]
}

/// The packages that promise anything: a package whose removal has begun does not.
fn packages(state: &State) -> impl Iterator<Item = (usize, &Package)> {
    let ids = 0..PACKAGES;
    ids.zip(&state.packages).filter(|(_, package)| !package.is_going())
}

fn is_synced(state: &State, object: usize) -> bool {
    state.objects[object].file == File::Synced
}

fn complete(world: &World, package: &Package) -> bool {
    Item::manifests().filter(|one| package.row(*one).is_some()).all(|manifest| {
        let needs = world.content(manifest).needs;
        Item::all().all(|item| !needs.holds(item) || package.row(item).is_some())
    })
}

fn durable(world: &World, state: &State) -> bool {
    let objects = state.blobs.iter().flatten();
    let synced = objects.map(|one| usize::from(*one)).all(|one| is_synced(state, one));
    let links = state.packages.iter().all(|package| {
        let blobs = package.rows.iter().zip(state.blobs);
        blobs.take(BLOBS).all(|(link, blob)| link.is_none() || blob.is_some())
    });
    links && (synced || !world.disk)
}

fn kept_promises(_: &World, state: &State) -> bool {
    let live = packages(state).filter(|(_, package)| package.live);
    let promised = |id: usize| {
        let told = state.clients.iter().map(move |client| client.promised[id].0);
        Set(told.fold(0, |all, one| all | one))
    };
    live.map(|(id, package)| (package, promised(id))).all(|(package, promised)| {
        Item::all().all(|item| !promised.holds(item) || package.visible(item))
    })
}

fn restorable(_: &World, state: &State) -> bool {
    state.packages.iter().all(|package| {
        let kept = Item::manifests().all(|manifest| {
            package.kept[manifest.index()] != Some(Clock::Running)
                || package.row(manifest).is_some()
        });
        // A package that was deleted has its tags until its removal begins, and so when restored.
        let whole = matches!(package.removal, None | Some(Removal::Waiting(_)));
        let mut tags = (0u8..).zip(package.tags);
        kept && (!whole || tags.all(|(n, tag)| !package.remembered.has(n) || tag.is_some()))
    })
}

/// Nothing is garbage without anybody knowing. A package on its way out is one entry in itself.
fn tracked(world: &World, state: &State) -> bool {
    let rows = packages(state).all(|(_, package)| has_entries(world, package));
    let blobs = state.blobs.iter().enumerate().all(|(blob, object)| {
        object.is_none() || state.packages.iter().any(|package| package.rows[blob].is_some())
    });
    let objects = (0u8..).zip(&state.objects).all(|(number, object)| {
        object.file == File::Absent
            || object.doomed.is_some()
            || state.unswept
            || state.blobs.contains(&Some(number))
            || state.is_uploading(number)
    });
    rows && blobs && (objects || !world.disk)
}

fn has_entries(world: &World, package: &Package) -> bool {
    let gone_after_removal = package.removal != Some(Removal::Done);
    Item::all().all(|item| {
        let content = world.content(item);
        let parent = Item::manifests()
            .any(|one| package.row(one).is_some() && world.content(one).needs.holds(item));
        // A referrer that a client has deleted is not held by its subject.
        let subject = content
            .subject
            .is_some_and(|one| package.row(one).is_some() || package.fans.holds(one));
        let needed = parent
            || package.is_tagged(item)
            || package.kept[item.index()].is_some()
            || (subject && package.visible(item))
            // Its last parent is being removed, and then it will be due.
            || Item::manifests().any(|one| {
                package.fans.holds(one) && package.edges[one.index()].holds(item)
            });
        let kept = package.kept[item.index()].is_none() || package.due_kept.holds(item);
        let there = package.row(item).is_some();
        kept && (!there || (gone_after_removal && (needed || package.due.holds(item))))
    })
}
