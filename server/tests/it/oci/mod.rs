//! `/v2/`.

mod access;
mod algorithms;
mod base;
mod blobs;
mod catalog;
mod chunks;
mod documents;
mod errors;
mod heads;
mod manifests;
mod mounts;
mod paths;
mod referrers;
mod sessions;
mod tags;
mod uploads;
