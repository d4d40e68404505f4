//! `server_image` for libFuzzer; see `src/server_image.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_image(data));
