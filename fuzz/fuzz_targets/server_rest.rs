//! `server_rest` for libFuzzer; see `src/server_rest.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_rest(data));
