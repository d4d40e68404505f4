//! `pipe_challenge` for libFuzzer; see `src/pipe_challenge.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_challenge(data));
