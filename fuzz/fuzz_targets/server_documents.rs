//! `server_documents` for libFuzzer; see `src/server_documents.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standpipe_fuzz::server_documents(data));
