//! Injected faults: a counter of calls that makes the n-th of them fail.
//!
//! One plan may be shared by several decorators, such as the blob store's files and the database's
//! file, so that "the n-th call" counts all of them. A test runs an operation once to count its
//! calls, then once for every n. Invariant: a plan that is not armed changes nothing. This file must
//! not know what the calls do.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A plan of faults; clones share it.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    calls: u64,
    by_name: BTreeMap<&'static str, u64>,
    armed: Option<Armed>,
    struck: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    fail_at: u64,
    fault: Fault,
    lasting: Lasting,
}

/// What an injected failure looks like to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `EIO`: the device failed.
    Io,
    /// `ENOSPC`: no space is left.
    NoSpace,
}

/// How long it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Every later call fails too: a dead disk.
    Forever,
    /// Only that one call fails.
    Once,
}

impl FaultPlan {
    /// A plan that only counts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts counting from zero and makes call number `n` fail, the first being number one.
    pub fn arm(&self, n: u64, fault: Fault, lasting: Lasting) {
        let armed = Some(Armed { fail_at: n, fault, lasting });
        *self.lock() = State { armed, ..State::default() };
    }

    /// Starts counting from zero and lets every call pass.
    pub fn disarm(&self) {
        *self.lock() = State::default();
    }

    /// Calls since the plan was armed or disarmed.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Calls with this name since then.
    #[must_use]
    pub fn calls_of(&self, name: &str) -> u64 {
        self.lock().by_name.get(name).copied().unwrap_or(0)
    }

    /// The names of the calls that failed since then.
    #[must_use]
    pub fn struck(&self) -> Vec<&'static str> {
        self.lock().struck.clone()
    }

    /// Counts a call and fails if the plan says so. A decorator asks this before it does anything.
    ///
    /// # Errors
    /// The planned fault.
    pub fn call(&self, name: &'static str) -> io::Result<()> {
        let mut state = self.lock();
        state.calls += 1;
        *state.by_name.entry(name).or_default() += 1;
        let Some(armed) = state.armed else { return Ok(()) };
        let strikes = match armed.lasting {
            Lasting::Forever => state.calls >= armed.fail_at,
            Lasting::Once => state.calls == armed.fail_at,
        };
        if !strikes {
            return Ok(());
        }
        state.struck.push(name);
        Err(match armed.fault {
            Fault::Io => rustix::io::Errno::IO.into(),
            Fault::NoSpace => rustix::io::Errno::NOSPC.into(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_call_fails_and_the_others_pass() {
        let plan = FaultPlan::new();
        plan.arm(2, Fault::NoSpace, Lasting::Once);
        let shared = plan.clone();
        assert!(plan.call("first").is_ok());
        let error = shared.call("second").expect_err("the second fails");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(plan.call("third").is_ok());
        assert_eq!((plan.calls(), plan.struck()), (3, vec!["second"]));
        assert_eq!((plan.calls_of("third"), plan.calls_of("fourth")), (1, 0));
    }

    #[test]
    fn a_dead_disk_stays_dead_until_the_plan_is_disarmed() {
        let plan = FaultPlan::new();
        plan.arm(2, Fault::Io, Lasting::Forever);
        let outcomes: Vec<bool> = (0..4).map(|_| plan.call("any").is_ok()).collect();
        assert_eq!(outcomes, [true, false, false, false]);
        plan.disarm();
        assert!(plan.call("any").is_ok());
        assert!(plan.struck().is_empty());
    }
}
