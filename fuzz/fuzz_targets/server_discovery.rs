//! `server_discovery` for libFuzzer; see `src/server_discovery.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_discovery(data));
