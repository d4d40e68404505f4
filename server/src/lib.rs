//! Standpipe's server: a self-hosted container registry. See ARCHITECTURE.md for the map.

pub mod app;
pub mod auth;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod domain;
pub mod fault;
pub mod http;
pub mod metadata;
pub mod registry;
pub mod tasks;
pub mod telemetry;
