//! `server_origin` for libFuzzer; see `src/server_origin.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_origin(data));
