//! `server_rows` for libFuzzer; see `src/server_rows.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_rows(data));
