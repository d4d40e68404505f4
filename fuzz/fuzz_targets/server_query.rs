//! `server_query` for libFuzzer; see `src/server_query.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_query(data));
