//! `server_manifest` for libFuzzer; see `src/server_manifest.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_manifest(data));
