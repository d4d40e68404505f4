//! `server_authorization` for libFuzzer; see `src/server_authorization.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_authorization(data));
