//! In-process tests of the whole router, over real redb and real files in a temporary directory.
//! The modules mirror `src/http`; `layering` reads the sources themselves.

mod admin;
mod api;
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
mod oci;
mod oidc;
mod ops;
mod panics;
mod rows;
mod serve;
mod slow_disk;
mod token;
mod verify;
mod web;
