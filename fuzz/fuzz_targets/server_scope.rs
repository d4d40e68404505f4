//! `server_scope` for libFuzzer; see `src/server_scope.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_scope(data));
