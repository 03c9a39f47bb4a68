//! See `meridian_fuzz::respond`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: meridian_fuzz::prepare(), |data: &[u8]| meridian_fuzz::respond(data));
