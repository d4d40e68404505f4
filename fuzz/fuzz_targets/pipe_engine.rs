//! `pipe_engine` for libFuzzer; see `src/pipe_engine.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_engine(data));
