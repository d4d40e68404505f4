//! `server_pages` for libFuzzer; see `src/server_pages.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_pages(data));
