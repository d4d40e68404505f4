//! `server_path` for libFuzzer; see `src/server_path.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_path(data));
