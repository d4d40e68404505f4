//! Random histories of the real registry against a model that is too simple to be wrong.
//!
//! The registry runs on a simulated disk with a clock moved by hand; clients push, mount, overwrite,
//! delete and restore, collection runs in steps of any size, the server is restarted, crashes and
//! finds its disk full. After each step what was acknowledged holds, nothing that is reachable, kept
//! or promised is gone, and every total is the model's own sum; once everything has run out, exactly
//! what tags lead to is left.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test where it went wrong")]

mod checks;
mod disk;
mod history;
mod model;
mod operation;
mod step;
mod sync;
mod universe;
mod world;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use step::Step;
use universe::{Plan, Universe};

/// Steps of one kind in an ordinary run, and in each history.
const STEPS: usize = 6000;
const LENGTH: std::ops::Range<usize> = 60..140;

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment how long to run")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a whole number, not {text:?}")))
}

/// Why a history fails, if it does.
fn failure(plans: &[Plan], steps: &[Step]) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(history::run(plans, steps)).err()
}

/// Takes away what does not matter, in ever smaller pieces: faster than proptest's own way, which
/// takes the steps one at a time.
fn shrink(plans: &[Plan], mut steps: Vec<Step>, mut why: String) -> (Vec<Step>, String) {
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(steps.len()));
            match failure(plans, &fewer) {
                Some(words) => (steps, why) = (fewer, words),
                None => at += size,
            }
        }
        size /= 2;
    }
    (steps, why)
}

/// Runs histories of such steps.
fn explore(step: BoxedStrategy<Step>) {
    let seed = number("STANDPIPE_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let rounds = usize::try_from(number("STANDPIPE_ROUNDS").unwrap_or(1)).unwrap();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let histories = (universe::plans(), prop::collection::vec(step, LENGTH));
    let (mut number, mut done) = (0, 0);
    while done < STEPS * rounds {
        let (plans, steps) = histories.new_tree(&mut runner).unwrap().current();
        (number, done) = (number + 1, done + steps.len());
        if let Some(why) = failure(&plans, &steps) {
            let (steps, why) = shrink(&plans, steps, why);
            let steps: Vec<_> = steps.iter().map(|step| format!("    {step:?}")).collect();
            let (universe, steps) = (Universe::new(&plans).in_words(), steps.join("\n"));
            panic!(
                "history {number}, repeat with STANDPIPE_SEED={seed}: {why}\n{universe}\n{steps}"
            );
        }
    }
}

#[test]
fn whatever_is_done_in_whatever_order_agrees_with_the_model() {
    explore(step::calm().boxed());
}

#[test]
fn crashes_and_a_full_disk_change_nothing_of_it() {
    explore(step::stormy().boxed());
}
