//! `server_tables` for libFuzzer; see `src/server_tables.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_tables(data));
