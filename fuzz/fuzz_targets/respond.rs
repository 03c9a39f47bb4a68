//! See `meridian_fuzz::respond`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| meridian_fuzz::respond(data));
