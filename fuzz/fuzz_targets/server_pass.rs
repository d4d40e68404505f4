//! `server_pass` for libFuzzer; see `src/server_pass.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_pass(data));
