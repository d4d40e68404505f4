//! `server_files` for libFuzzer; see `src/server_files.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_files(data));
