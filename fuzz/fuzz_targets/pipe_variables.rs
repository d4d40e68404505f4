//! `pipe_variables` for libFuzzer; see `src/pipe_variables.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_variables(data));
