//! `pipe_kept` for libFuzzer; see `src/pipe_kept.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_kept(data));
