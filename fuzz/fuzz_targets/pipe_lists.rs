//! `pipe_lists` for libFuzzer; see `src/pipe_lists.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_lists(data));
