//! `pipe_annotate` for libFuzzer; see `src/pipe_annotate.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_annotate(data));
