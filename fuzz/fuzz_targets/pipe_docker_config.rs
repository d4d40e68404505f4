//! `pipe_docker_config` for libFuzzer; see `src/pipe_docker_config.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::pipe_docker_config(data));
