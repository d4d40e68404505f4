//! `server_notes` for libFuzzer; see `src/server_notes.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_notes(data));
