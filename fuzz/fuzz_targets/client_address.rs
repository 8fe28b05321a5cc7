#![no_main]

#[path = "../targets/mod.rs"]
#[expect(dead_code, reason = "one target of them all")]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::client_address::target(bytes));
