//! End-to-end tests: the built server and pipe, and the container clients people use.
//!
//! One binary, one module for each part of the contract. Each test has a server, ports and folders of
//! its own, so that they run side by side; heavy ones take turns.

mod admin_cli;
mod artifacts;
mod bad_input;
mod bad_input_pipe;
mod clients;
mod clock;
mod collecting;
mod concurrency;
mod containers;
mod cost;
mod crash;
mod cut_lines;
mod damaged;
mod examples;
mod full_disk;
mod guessing;
mod idle;
mod images;
mod lifecycle;
mod logins;
mod maintenance;
mod memory;
mod missing_file;
mod oidc;
mod overwrites;
mod pipelines;
mod protocol;
mod proxy;
mod pushing;
mod quickstart;
mod relayed;
mod roles;
mod secrets;
mod soak;
mod sources;
mod space;
mod stopping;
mod tls;
mod tls_clients;
mod web;
mod world;
