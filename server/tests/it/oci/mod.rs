//! `/v2/`.

mod access;
mod base;
mod blobs;
mod chunks;
mod manifests;
mod paths;
mod referrers;
mod tags;
mod uploads;
