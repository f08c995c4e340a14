//! The target `recording` for `cargo fuzz`: what it feeds and asserts is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| belay_fuzz::feed("recording", input));
