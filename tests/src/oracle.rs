//! Remembers what a registry acknowledged and tells when it no longer holds.
//!
//! Every fact is a register with one writer at a time. A request that is sent makes its outcome
//! *possible*; an acknowledgement makes it the only one. A request without an answer leaves both
//! outcomes possible until the next look, which settles it for good.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// What a register may hold, by the rules above.
#[derive(Clone, Debug)]
struct Register<V> {
    possible: Vec<V>,
}

/// Facts of one kind, for example the tags of a package and the digests they name.
#[derive(Clone, Debug)]
pub struct Facts<K, V> {
    kind: &'static str,
    registers: BTreeMap<K, Register<V>>,
    initial: V,
}

impl<K: Clone + Debug + Ord, V: Clone + Debug + PartialEq> Facts<K, V> {
    /// No facts yet: everything holds `initial`, for example "absent".
    #[must_use]
    pub fn new(kind: &'static str, initial: V) -> Self {
        Self { kind, registers: BTreeMap::new(), initial }
    }

    /// A request that would make `key` hold `value` is about to be sent.
    pub fn attempt(&mut self, key: K, value: V) {
        let initial = self.initial.clone();
        let register =
            self.registers.entry(key).or_insert_with(|| Register { possible: vec![initial] });
        if !register.possible.contains(&value) {
            register.possible.push(value);
        }
    }

    /// The registry has acknowledged that `key` holds `value`.
    pub fn acknowledge(&mut self, key: K, value: V) {
        let possible = vec![value];
        self.registers.insert(key, Register { possible });
    }

    /// Compares with what the registry says now, and settles what was open.
    ///
    /// # Errors
    /// When the registry says something that no acknowledgement and no open request allows.
    pub fn observe(&mut self, key: &K, value: V) -> Result<(), String> {
        let possible = self.possible(key);
        if !possible.contains(&value) {
            return Err(format!(
                "{} {key:?} is {value:?}, but only {possible:?} was acknowledged or asked for",
                self.kind
            ));
        }
        self.acknowledge(key.clone(), value);
        Ok(())
    }

    /// All keys that were ever asked for.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        self.registers.keys().cloned().collect()
    }

    /// True when `value` is what the registry acknowledged for `key`, and nothing else is possible.
    #[must_use]
    pub fn is_settled(&self, key: &K, value: &V) -> bool {
        self.possible(key) == [value.clone()]
    }

    /// True when `key` may hold `value`.
    #[must_use]
    pub fn may_be(&self, key: &K, value: &V) -> bool {
        self.possible(key).contains(value)
    }

    fn possible(&self, key: &K) -> Vec<V> {
        match self.registers.get(key) {
            Some(register) => register.possible.clone(),
            None => vec![self.initial.clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Facts;

    #[test]
    fn an_acknowledged_value_must_hold() {
        let mut tags = Facts::new("tag", 0);
        tags.attempt("latest", 1);
        tags.acknowledge("latest", 1);
        assert!(tags.observe(&"latest", 0).is_err());
        assert!(tags.observe(&"latest", 1).is_ok());
    }

    #[test]
    fn an_unanswered_request_allows_both_outcomes_until_one_is_seen() {
        let mut tags = Facts::new("tag", 0);
        tags.acknowledge("latest", 1);
        tags.attempt("latest", 2);
        assert!(tags.may_be(&"latest", &1) && tags.may_be(&"latest", &2));
        assert!(tags.observe(&"latest", 2).is_ok());
        assert!(tags.observe(&"latest", 1).is_err());
    }

    #[test]
    fn what_was_never_asked_for_must_be_absent() {
        let mut tags = Facts::new("tag", 0);
        assert!(tags.observe(&"other", 3).is_err());
        assert!(tags.observe(&"other", 0).is_ok());
    }
}
