//! `pipe_builder` for libFuzzer; see `src/pipe_builder.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_builder(data));
