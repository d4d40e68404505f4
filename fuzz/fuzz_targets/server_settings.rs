//! `server_settings` for libFuzzer; see `src/server_settings.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_settings(data));
