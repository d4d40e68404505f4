//! `pipe_source` for libFuzzer; see `src/pipe_source.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_source(data));
