//! `server_admin` for libFuzzer; see `src/server_admin.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_admin(data));
