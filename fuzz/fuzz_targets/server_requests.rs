//! `server_requests` for libFuzzer; see `src/server_requests.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_requests(data));
