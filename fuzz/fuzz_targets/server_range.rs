//! `server_range` for libFuzzer; see `src/server_range.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_range(data));
