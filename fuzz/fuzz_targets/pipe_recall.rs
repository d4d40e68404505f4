//! `pipe_recall` for libFuzzer; see `src/pipe_recall.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_recall(data));
