#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| toka_vault::testing::fuzz::index(bytes));
