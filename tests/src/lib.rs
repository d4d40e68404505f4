//! Harness for tests that run real processes: the built server, the built pipe and the container clients people use.
//!
//! Everything here talks to the product from outside, by HTTP, environment and files. It must not
//! know the product's crates, so that no type of theirs can hide a wire mistake. A helper that cannot
//! do its work panics with the command, its output and the server's log: a test that cannot be set up
//! has failed.

pub mod browser;
pub mod clients;
pub mod confinement;
pub mod containerd;
pub mod cutter;
pub mod disk;
pub mod distribution;
pub mod dockerd;
pub mod environment;
pub mod guardian;
pub mod http;
pub mod images;
pub mod issuer;
pub mod manifest;
pub mod oracle;
pub mod oras;
pub mod payload;
pub mod pipe;
pub mod pipeline;
pub mod poll;
pub mod process;
pub mod raw;
pub mod rest;
pub mod server;
pub mod slow;
pub mod step;
pub mod wire;
