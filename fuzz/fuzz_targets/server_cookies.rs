//! `server_cookies` for libFuzzer; see `src/server_cookies.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_cookies(data));
