//! Random texts that are somebody's only proof: a store has their SHA-256 alone.

use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 43 characters of 62 are 256 bits.
pub(super) const RANDOM: usize = 43;

/// `prefix` and 43 random characters of base62.
pub(super) fn mint(prefix: &str) -> Result<String, getrandom::Error> {
    let mut text = String::with_capacity(prefix.len() + RANDOM);
    text.push_str(prefix);
    while text.len() < prefix.len() + RANDOM {
        let mut drawn = [0; 64];
        getrandom::fill(&mut drawn)?;
        // 248 is four times 62: what is drawn beyond it would make some characters likelier than others.
        let fair = drawn.iter().filter(|byte| **byte < 248).map(|byte| ALPHABET.get(usize::from(byte % 62)));
        for character in fair.flatten().take(prefix.len() + RANDOM - text.len()) {
            text.push(char::from(*character));
        }
    }
    Ok(text)
}

/// The same of a secret: always the same text, which does not tell the secret.
pub(super) fn derive(prefix: &str, secret: [u8; 32]) -> String {
    let blocks = (0_u32..).map(|block| Sha256::new().chain_update(secret).chain_update(block.to_be_bytes()).finalize());
    let fair = blocks.flatten().filter(|byte| *byte < 248).filter_map(|byte| ALPHABET.get(usize::from(byte % 62)));
    prefix.chars().chain(fair.map(|character| char::from(*character)).take(RANDOM)).collect()
}

/// Whether `text` could be one of `prefix`.
pub(super) fn is_formed(text: &str, prefix: &str) -> bool {
    let random = text.strip_prefix(prefix);
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

pub(super) fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_and_of_one_form() {
        let (one, other) = (mint("cfx_x_").unwrap(), mint("cfx_x_").unwrap());
        assert_ne!(one, other);
        for text in [&one, &other] {
            assert!(is_formed(text, "cfx_x_"), "{text}");
        }
        let derived = derive("cfx_x_", [7; 32]);
        assert!(is_formed(&derived, "cfx_x_") && derived == derive("cfx_x_", [7; 32]));
        assert_ne!(derived, derive("cfx_x_", [8; 32]));
        assert!(!is_formed(&one, "cfx_y_"));
        assert!(!is_formed(&one[..one.len() - 1], "cfx_x_"));
        assert!(!is_formed(&one.replace("cfx_x_", "cfx_x_é"), "cfx_x_"));
    }
}
