//! `server_forwarded` for libFuzzer; see `src/server_forwarded.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_forwarded(data));
