//! Fuzz targets: every parser of bytes from outside, with what must hold of it.
//!
//! A target is a function of bytes in a module of its name. It panics if something that was promised
//! does not hold: no input makes a parser panic, what has one spelling is printed back as it was
//! read, and where the pipe writes what the server reads (or the other way round) both agree. The
//! same functions run in two ways: `tests/replay.rs` runs each over `corpus/<target>/` in ordinary
//! tests, and `run.sh` lets libFuzzer look for more inputs.
//! Invariant: a target depends on its input alone, writes nowhere but below a temporary directory,
//! and talks to nobody. It reaches private parsers through the `fuzzing` doors of the two crates.

mod pipe_annotate;
mod pipe_archive;
mod pipe_archive_built;
mod pipe_builder;
mod pipe_certificates;
mod pipe_challenge;
mod pipe_daemon;
mod pipe_docker_config;
mod pipe_endpoint;
mod pipe_engine;
mod pipe_kept;
mod pipe_lists;
mod pipe_recall;
mod pipe_refusal;
mod pipe_relay;
mod pipe_source;
mod pipe_upload;
mod pipe_variables;
mod script;
mod server_admin;
mod server_authorization;
mod server_conditions;
mod server_cookies;
mod server_cursors;
mod server_discovery;
mod server_documents;
mod server_files;
mod server_forwarded;
mod server_image;
mod server_manifest;
mod server_names;
mod server_notes;
mod server_oidc;
mod server_origin;
mod server_pages;
mod server_pass;
mod server_path;
mod server_query;
mod server_range;
mod server_requests;
mod server_rest;
mod server_rows;
mod server_scope;
mod server_settings;
mod server_tables;
mod server_tls;
mod server_token;
mod tree;
mod world;

pub use pipe_annotate::pipe_annotate;
pub use pipe_archive::pipe_archive;
pub use pipe_archive_built::pipe_archive_built;
pub use pipe_builder::pipe_builder;
pub use pipe_certificates::pipe_certificates;
pub use pipe_challenge::pipe_challenge;
pub use pipe_daemon::pipe_daemon;
pub use pipe_docker_config::pipe_docker_config;
pub use pipe_endpoint::pipe_endpoint;
pub use pipe_engine::pipe_engine;
pub use pipe_kept::pipe_kept;
pub use pipe_lists::pipe_lists;
pub use pipe_recall::pipe_recall;
pub use pipe_refusal::pipe_refusal;
pub use pipe_relay::pipe_relay;
pub use pipe_source::pipe_source;
pub use pipe_upload::pipe_upload;
pub use pipe_variables::pipe_variables;
pub use server_admin::server_admin;
pub use server_authorization::server_authorization;
pub use server_conditions::server_conditions;
pub use server_cookies::server_cookies;
pub use server_cursors::server_cursors;
pub use server_discovery::server_discovery;
pub use server_documents::server_documents;
pub use server_files::server_files;
pub use server_forwarded::server_forwarded;
pub use server_image::server_image;
pub use server_manifest::server_manifest;
pub use server_names::server_names;
pub use server_notes::server_notes;
pub use server_oidc::server_oidc;
pub use server_origin::server_origin;
pub use server_pages::server_pages;
pub use server_pass::server_pass;
pub use server_path::server_path;
pub use server_query::server_query;
pub use server_range::server_range;
pub use server_requests::server_requests;
pub use server_rest::server_rest;
pub use server_rows::server_rows;
pub use server_scope::server_scope;
pub use server_settings::server_settings;
pub use server_tables::server_tables;
pub use server_tls::server_tls;
pub use server_token::server_token;

/// Something that takes any bytes.
pub type Target = fn(&[u8]);

/// All targets by the names of their corpora and of their binaries in `fuzz_targets/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("pipe_annotate", pipe_annotate),
    ("pipe_archive", pipe_archive),
    ("pipe_archive_built", pipe_archive_built),
    ("pipe_builder", pipe_builder),
    ("pipe_certificates", pipe_certificates),
    ("pipe_challenge", pipe_challenge),
    ("pipe_daemon", pipe_daemon),
    ("pipe_docker_config", pipe_docker_config),
    ("pipe_endpoint", pipe_endpoint),
    ("pipe_engine", pipe_engine),
    ("pipe_kept", pipe_kept),
    ("pipe_lists", pipe_lists),
    ("pipe_recall", pipe_recall),
    ("pipe_refusal", pipe_refusal),
    ("pipe_relay", pipe_relay),
    ("pipe_source", pipe_source),
    ("pipe_upload", pipe_upload),
    ("pipe_variables", pipe_variables),
    ("server_admin", server_admin),
    ("server_authorization", server_authorization),
    ("server_conditions", server_conditions),
    ("server_cookies", server_cookies),
    ("server_cursors", server_cursors),
    ("server_discovery", server_discovery),
    ("server_documents", server_documents),
    ("server_files", server_files),
    ("server_forwarded", server_forwarded),
    ("server_image", server_image),
    ("server_manifest", server_manifest),
    ("server_names", server_names),
    ("server_notes", server_notes),
    ("server_oidc", server_oidc),
    ("server_origin", server_origin),
    ("server_pages", server_pages),
    ("server_pass", server_pass),
    ("server_path", server_path),
    ("server_query", server_query),
    ("server_range", server_range),
    ("server_requests", server_requests),
    ("server_rest", server_rest),
    ("server_rows", server_rows),
    ("server_scope", server_scope),
    ("server_settings", server_settings),
    ("server_tables", server_tables),
    ("server_tls", server_tls),
    ("server_token", server_token),
];
