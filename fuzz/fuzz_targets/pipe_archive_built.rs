//! `pipe_archive_built` for libFuzzer; see `src/pipe_archive_built.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_archive_built(data));
