//! `server_token` for libFuzzer; see `src/server_token.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_token(data));
