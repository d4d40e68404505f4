//! `server_tls` for libFuzzer; see `src/server_tls.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_tls(data));
