//! What the clients of the soak remember: which tag was told to point where, and when.
//!
//! A tag is a register that several clients write and read at the same time. Each write is an interval
//! from before it was sent until it was answered; a value may be read unless another write lies wholly
//! between the one that wrote it and the read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use standpipe_tests::manifest::Manifest;
use standpipe_tests::payload::Random;

use crate::space::{Live, children_of};

/// An OCI name, and a tag or digest.
pub(crate) type Key = (String, String);

/// All that was acknowledged.
#[derive(Default)]
pub(crate) struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tags: BTreeMap<Key, Vec<Write>>,
    manifests: BTreeMap<Key, Manifest>,
    /// Referrers by the manifest they refer to.
    referrers: BTreeMap<Key, BTreeSet<String>>,
    /// Manifests that nobody deletes by digest, because others rely on them.
    shared: BTreeSet<Key>,
    /// Blobs that the registry confirmed at some time.
    confirmed: BTreeSet<Key>,
    claimed: BTreeSet<Key>,
    counts: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug)]
struct Write {
    start: Instant,
    /// `None` as long as there is no answer.
    end: Option<Instant>,
    value: Option<String>,
}

/// Names that nobody else may write until this is dropped.
pub(crate) struct Claim<'a> {
    memory: &'a Memory,
    keys: Vec<Key>,
}

/// A write that was begun.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    key: Key,
    start: Instant,
}

impl Memory {
    pub(crate) fn count(&self, what: &'static str) {
        *self.state().counts.entry(what).or_default() += 1;
    }

    pub(crate) fn counted(&self, what: &'static str) -> u64 {
        self.state().counts.get(what).copied().unwrap_or_default()
    }

    pub(crate) fn summary(&self) -> String {
        let counts = self.state().counts.clone();
        counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }

    /// A blob was confirmed.
    pub(crate) fn confirm_blob(&self, name: &str, digest: &str) {
        self.state().confirmed.insert((name.to_owned(), digest.to_owned()));
    }

    pub(crate) fn was_confirmed(&self, name: &str, digest: &str) -> bool {
        self.state().confirmed.contains(&(name.to_owned(), digest.to_owned()))
    }

    /// A manifest is about to be sent.
    pub(crate) fn remember(&self, name: &str, manifest: &Manifest, shared: bool) {
        let key = (name.to_owned(), manifest.digest());
        let mut state = self.state();
        if shared {
            state.shared.insert(key.clone());
        }
        state.manifests.insert(key, manifest.clone());
    }

    /// A referrer is about to be sent.
    pub(crate) fn refer(&self, name: &str, subject: &str, referrer: &Manifest) {
        let key = (name.to_owned(), subject.to_owned());
        self.remember(name, referrer, true);
        self.state().referrers.entry(key).or_default().insert(referrer.digest());
    }

    /// Keeps others from writing these names; `None` when somebody does.
    pub(crate) fn claim(&self, keys: Vec<Key>) -> Option<Claim<'_>> {
        let mut state = self.state();
        if keys.iter().any(|key| state.claimed.contains(key)) {
            return None;
        }
        state.claimed.extend(keys.iter().cloned());
        Some(Claim { memory: self, keys })
    }

    /// Some tag that points somewhere, with what it points to, to be deleted.
    pub(crate) fn claim_tag(&self, random: &mut Random) -> Option<(Claim<'_>, Key, String)> {
        let pointing = self.state().pointing();
        let (key, digest) = pick(pointing, random)?;
        if self.state().shared.contains(&(key.0.clone(), digest.clone())) {
            return None;
        }
        let claim = self.claim(vec![key.clone(), (key.0.clone(), digest.clone())])?;
        // Somebody may have moved it since.
        let now = self.state().settled(&key)?;
        (now == digest).then_some((claim, key, digest))
    }

    /// Some tagged manifest with all its tags, to be deleted by digest.
    pub(crate) fn claim_manifest(&self, random: &mut Random) -> Option<(Claim<'_>, Key, Vec<Key>)> {
        let mut state = self.state();
        let (tag, digest) = pick(state.pointing(), random)?;
        let manifest = (tag.0, digest);
        if state.shared.contains(&manifest) {
            return None;
        }
        let points_to = |key: &Key| {
            key.0 == manifest.0
                && state.tags[key].iter().any(|write| write.value.as_ref() == Some(&manifest.1))
        };
        let tags: Vec<Key> = state.tags.keys().filter(|key| points_to(key)).cloned().collect();
        let keys: Vec<Key> = tags.iter().chain([&manifest]).cloned().collect();
        if keys.iter().any(|key| state.claimed.contains(key)) {
            return None;
        }
        let now = tags.into_iter().filter(|key| state.settled(key).as_ref() == Some(&manifest.1));
        let now: Vec<Key> = now.collect();
        state.claimed.extend(keys.iter().cloned());
        Some((Claim { memory: self, keys }, manifest, now))
    }

    /// A request that makes a tag point somewhere, or nowhere, is about to be sent.
    pub(crate) fn begin(&self, key: &Key, value: Option<&str>) -> Begun {
        let start = Instant::now();
        let write = Write { start, end: None, value: value.map(str::to_owned) };
        self.state().tags.entry(key.clone()).or_default().push(write);
        Begun { key: key.clone(), start }
    }

    /// It was acknowledged.
    pub(crate) fn end(&self, begun: &Begun) {
        let mut state = self.state();
        let writes = state.tags.entry(begun.key.clone()).or_default();
        let end = Some(Instant::now());
        let ours =
            writes.iter_mut().filter(|write| write.start == begun.start && write.end.is_none());
        ours.for_each(|write| write.end = end);
    }

    /// It was refused, so nothing came of it.
    pub(crate) fn cancel(&self, begun: &Begun) {
        if let Some(writes) = self.state().tags.get_mut(&begun.key) {
            writes.retain(|write| write.start != begun.start || write.end.is_some());
        }
    }

    /// Whether a tag may have been seen pointing to `value` in a read from `start` until `end`.
    pub(crate) fn allows(
        &self,
        key: &Key,
        value: Option<&str>,
        start: Instant,
        end: Instant,
    ) -> bool {
        let state = self.state();
        let Some(writes) = state.tags.get(key) else { return value.is_none() };
        let replaced = |written: Instant| {
            let over = |write: &Write| write.end.is_some_and(|end| end < start);
            writes.iter().any(|write| write.start > written && over(write))
        };
        let by_write = |write: &Write| {
            write.value.as_deref() == value
                && write.start <= end
                && !write.end.is_some_and(&replaced)
        };
        let never_written =
            value.is_none() && writes.iter().all(|write| write.end.is_none_or(|end| end >= start));
        never_written || writes.iter().any(by_write)
    }

    /// A tag that points somewhere, picked at random.
    pub(crate) fn some_tag(&self, random: &mut Random) -> Option<(Key, String)> {
        pick(self.state().pointing(), random)
    }

    /// What a tag points to, unless a write has no answer yet or several came at once.
    pub(crate) fn settled(&self, key: &Key) -> Option<String> {
        self.state().settled(key)
    }

    pub(crate) fn tags(&self) -> Vec<Key> {
        self.state().tags.keys().cloned().collect()
    }

    /// All that these tags lead to: the manifests, what they are made of, and what refers to them.
    pub(crate) fn live(&self, roots: &[Key]) -> Live {
        let state = self.state();
        let (mut live, mut open) = (Live::default(), roots.to_vec());
        while let Some(key) = open.pop() {
            if live.manifests.contains_key(&key) {
                continue;
            }
            let manifest = &state.manifests[&key];
            live.add_manifest(&key.0, manifest);
            let referrers = state.referrers.get(&key).into_iter().flatten().cloned();
            let all = children_of(&manifest.bytes).into_iter().chain(referrers);
            open.extend(all.map(|digest| (key.0.clone(), digest)));
        }
        live
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A violation panics in one client; the others' memory stays readable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pointing(&self) -> Vec<(Key, String)> {
        self.tags.keys().filter_map(|key| Some((key.clone(), self.settled(key)?))).collect()
    }

    fn settled(&self, key: &Key) -> Option<String> {
        let writes = self.tags.get(key)?;
        let last = writes.iter().max_by_key(|write| write.start)?;
        let alone = writes.iter().all(|write| {
            write.start == last.start || write.end.is_some_and(|end| end < last.start)
        });
        last.value.clone().filter(|_| alone && last.end.is_some())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        for key in &self.keys {
            state.claimed.remove(key);
        }
    }
}

fn pick<T>(mut from: Vec<T>, random: &mut Random) -> Option<T> {
    let count = from.len() as u64;
    (count > 0).then(|| from.swap_remove(random.between(0, count) as usize))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Key, Memory};

    fn tag() -> Key {
        ("acme/api".to_owned(), "latest".to_owned())
    }

    fn sees(memory: &Memory, value: Option<&str>) -> bool {
        memory.allows(&tag(), value, Instant::now(), Instant::now())
    }

    #[test]
    fn an_answered_write_replaces_all_before_it() {
        let memory = Memory::default();
        memory.end(&memory.begin(&tag(), Some("a")));
        assert!(sees(&memory, Some("a")) && !sees(&memory, None));
        memory.end(&memory.begin(&tag(), Some("b")));
        assert!(sees(&memory, Some("b")) && !sees(&memory, Some("a")));
        assert_eq!(memory.settled(&tag()), Some("b".to_owned()));
    }

    #[test]
    fn writes_at_the_same_time_may_be_seen_in_any_order() {
        let memory = Memory::default();
        let (a, b) = (memory.begin(&tag(), Some("a")), memory.begin(&tag(), Some("b")));
        memory.end(&b);
        memory.end(&a);
        assert!(sees(&memory, Some("a")) && sees(&memory, Some("b")) && !sees(&memory, None));
        assert_eq!(memory.settled(&tag()), None);
    }

    #[test]
    fn a_refused_write_changes_nothing() {
        let memory = Memory::default();
        memory.end(&memory.begin(&tag(), Some("a")));
        memory.cancel(&memory.begin(&tag(), Some("b")));
        assert!(sees(&memory, Some("a")) && !sees(&memory, Some("b")));
    }
}
