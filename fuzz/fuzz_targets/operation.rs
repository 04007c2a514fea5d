#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    toka_kernel::testing::operations(bytes);
});
