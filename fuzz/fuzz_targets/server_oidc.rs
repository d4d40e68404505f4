//! `server_oidc` for libFuzzer; see `src/server_oidc.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_oidc(data));
