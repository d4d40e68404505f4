//! `pipe_relay` for libFuzzer; see `src/pipe_relay.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_relay(data));
