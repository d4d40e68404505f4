//! `server_conditions` for libFuzzer; see `src/server_conditions.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_conditions(data));
