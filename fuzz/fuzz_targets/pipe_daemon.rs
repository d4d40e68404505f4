//! `pipe_daemon` for libFuzzer; see `src/pipe_daemon.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_daemon(data));
