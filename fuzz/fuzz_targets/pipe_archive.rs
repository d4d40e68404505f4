//! `pipe_archive` for libFuzzer; see `src/pipe_archive.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_archive(data));
