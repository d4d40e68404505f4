//! `pipe_upload` for libFuzzer; see `src/pipe_upload.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_upload(data));
