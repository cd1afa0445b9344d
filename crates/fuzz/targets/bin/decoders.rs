//! See `ext4_fuzz::decoders`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ext4_fuzz::decoders(data));
