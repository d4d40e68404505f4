//! Runs the built pipe against a Docker daemon and a registry that live in this process.
//!
//! The daemon serves the export layouts of the engines that are in use; the registry keeps to
//! the distribution-spec and can be told to misbehave. Nothing here needs more than cargo, and
//! nothing talks to any address but loopback.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod cli;
mod daemon;
mod damage;
mod failures;
mod faults;
mod golden;
mod harness;
mod hostile;
mod image;
mod known;
mod layout;
mod lower;
mod pipe_yml;
mod platforms;
mod push;
mod random;
mod readme;
mod registry;
mod relayed;
mod resume;
mod security;
mod situations;
mod sources;
