//! See `meridian_fuzz::zone`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| meridian_fuzz::zone(data));
