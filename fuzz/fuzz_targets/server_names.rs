//! `server_names` for libFuzzer; see `src/server_names.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_names(data));
