//! Prints what of this processor the libraries under cfx choose their code by, as a program under valgrind sees it.

/// Those of the given features that there are.
macro_rules! there_are {
    ($detected:ident: $($feature:tt)*) => {
        [$(($feature, std::arch::$detected!($feature))),*]
            .iter()
            .filter_map(|(name, there)| there.then_some(*name))
            .collect::<Vec<_>>()
    };
}

fn main() {
    #[cfg(target_arch = "x86_64")]
    let found = there_are!(is_x86_feature_detected: "sse4.1" "sse4.2" "pclmulqdq" "avx" "avx2" "bmi2" "sha" "avx512f");
    #[cfg(target_arch = "aarch64")]
    let found = there_are!(is_aarch64_feature_detected: "neon" "crc" "aes" "sha2" "sve");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found: Vec<&str> = Vec::new();
    println!("{}", found.join(" "));
}
