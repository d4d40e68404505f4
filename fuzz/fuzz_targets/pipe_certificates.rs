//! `pipe_certificates` for libFuzzer; see `src/pipe_certificates.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_certificates(data));
