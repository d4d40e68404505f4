//! `server_cursors` for libFuzzer; see `src/server_cursors.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_cursors(data));
