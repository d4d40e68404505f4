//! Small exhaustive models of garbage collection (DESIGN §5).
//!
//! The protocol is written down once, as transactions over a handful of rows, and each file named
//! after a situation lets a checker visit every interleaving of a few clients, the collector, the
//! clocks and crashes in it. A model proves that the rules are right, not that the server follows
//! them: that is [`replay`], which takes random walks through the models on the real core. It alone
//! knows code of the server; the models must not.
//!
//! Every rule that matters has a wrong [`variant::Variant`] which breaks it, and a test that the
//! checker finds out; a model that cannot tell right from wrong would prove nothing. For the same
//! reason a model fails when one of its witnesses (the situation it is about) is never reached.
//!
//! What is left out: clocks are two-valued (running, over) and run out in any order; a tag's kept
//! rows for one manifest count as one; an entry's time is not followed, because a review is one
//! transaction and nothing else drops entries; bytes, sessions, reading and abandoned uploads are
//! not modelled.

mod check;
mod clients;
mod collector;
mod disk;
mod operators;
mod properties;
mod rows;
mod variant;
mod world;

mod backup;
mod head_then_index;
mod history;
mod index;
mod one_package;
mod package;
mod referrer;
mod replay;
mod two_packages;
