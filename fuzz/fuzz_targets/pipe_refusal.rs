//! `pipe_refusal` for libFuzzer; see `src/pipe_refusal.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_refusal(data));
