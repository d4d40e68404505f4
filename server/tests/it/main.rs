//! In-process tests of the whole router, over real redb and real files in a temporary directory.
//! The modules mirror `src/http`; `layering` reads the sources themselves.

mod admin;
mod api;
mod audit;
mod backup;
mod broken_disk;
mod broken_off;
mod clauses;
mod clock;
mod collecting;
mod collection;
mod cost;
mod faults;
mod formats;
mod harness;
mod layering;
mod machine;
mod matrix;
mod oci;
mod oidc;
mod ops;
mod panics;
mod people;
mod rows;
mod serve;
mod slow_clients;
mod slow_disk;
mod smuggling;
mod token;
mod verify;
mod vulnerabilities;
mod web;
