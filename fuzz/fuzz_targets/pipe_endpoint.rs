//! `pipe_endpoint` for libFuzzer; see `src/pipe_endpoint.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_endpoint(data));
