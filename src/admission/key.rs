//! The key itself: its form, its checksum, and the hash that is all a store ever sees of it.
//!
//! ```text
//! cfx_live_  tT9mC0aXbQ2L  4vK…32…9dZ  0Gk2Pa
//! prefix     public id     secret      CRC-32 of all before it, base62, padded to six
//! ```
//!
//! The checksum only spares a look-up for what was mistyped or invented without care: it is public, so anyone can
//! mint a key that passes it. What proves a key is its HMAC under the pepper.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &[u8; 9] = b"cfx_live_";
const ID: std::ops::Range<usize> = 9..21;
const BODY: usize = 53;
const LENGTH: usize = 59;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// SHA-256's block, to which HMAC pads its key.
const BLOCK: usize = 64;

/// A whole API key as a client presents it. Well-formed, which says nothing of whether anyone knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct RawKey([u8; LENGTH]);

/// The part of a key that names it: 12 base62 characters, no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicId([u8; 12]);

/// HMAC-SHA256 of a whole key under the pepper: what stores and caches compare.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

/// The server-side secret that keys are hashed with (`KEY_HASH_PEPPER`), already worked into HMAC's two first blocks.
#[derive(Clone)]
pub struct Pepper(Hmac<Sha256>);

/// Not of the form of a key, or its checksum does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API key of this service")]
pub struct MalformedKey;

impl RawKey {
    /// A new random key. Fails only where the operating system has no randomness to give.
    pub fn mint() -> Result<Self, getrandom::Error> {
        let mut key = [b'0'; LENGTH];
        key[..PREFIX.len()].copy_from_slice(PREFIX);
        fill_base62(&mut key[PREFIX.len()..BODY])?;
        let checksum = checksum(&key);
        key[BODY..].copy_from_slice(&checksum);
        Ok(Self(key))
    }

    /// Accepts exactly the 59 characters of a key whose checksum holds; nothing is looked up.
    pub fn parse(presented: &str) -> Result<Self, MalformedKey> {
        let key: [u8; LENGTH] = presented.as_bytes().try_into().map_err(|_| MalformedKey)?;
        let formed = key.starts_with(PREFIX) && key[PREFIX.len()..].iter().all(u8::is_ascii_alphanumeric);
        if formed && checksum(&key) == key[BODY..] { Ok(Self(key)) } else { Err(MalformedKey) }
    }

    /// The whole key, for the one time it is shown.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub fn public_id(&self) -> PublicId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.0[ID]);
        PublicId(id)
    }

    /// What lists show in the key's place: `cfx_live_` and the public id.
    pub fn display_prefix(&self) -> &str {
        std::str::from_utf8(&self.0[..ID.end]).unwrap_or_default()
    }
}

impl std::fmt::Debug for RawKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "RawKey({}…)", self.display_prefix())
    }
}

impl PublicId {
    /// None where it is not of the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let id: [u8; 12] = text.as_bytes().try_into().ok()?;
        id.iter().all(u8::is_ascii_alphanumeric).then_some(Self(id))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for PublicId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Pepper {
    /// Any length; 32 random bytes or more is what it should be.
    pub fn new(pepper: &[u8]) -> Self {
        // RFC 2104, section 2: a key longer than a block is hashed first, a shorter one is padded with zeros.
        let mut block = [0; BLOCK];
        if pepper.len() > BLOCK {
            block[..32].copy_from_slice(&Sha256::digest(pepper));
        } else {
            block[..pepper.len()].copy_from_slice(pepper);
        }
        Self(Hmac::new(&block.into()))
    }

    pub fn hash(&self, key: &RawKey) -> KeyHash {
        self.mac(&key.0)
    }

    /// What tells this pepper from others, in 64 hexadecimal digits, and gives nothing of it away. No key has the form
    /// of what is hashed for it.
    pub fn fingerprint(&self) -> String {
        self.mac(b"cfx pepper fingerprint").to_hex()
    }

    /// A digest of anything else, in 64 hexadecimal digits, the same for all who have this pepper. `context` says what
    /// for and has a space, as no key does, and no line break.
    pub fn digest(&self, context: &str, text: &str) -> String {
        self.mac(format!("{context}\n{text}").as_bytes()).to_hex()
    }

    fn mac(&self, text: &[u8]) -> KeyHash {
        let mut mac = self.0.clone();
        mac.update(text);
        KeyHash(mac.finalize().into_bytes().into())
    }
}

impl std::fmt::Debug for Pepper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pepper(***)")
    }
}

impl KeyHash {
    /// 64 hexadecimal digits: the form in which stores keep it.
    pub fn to_hex(self) -> String {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 15)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
    }

    /// None for anything but 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(hash))
    }
}

impl PartialEq for KeyHash {
    /// In constant time, so that no answer tells how much of a guess was right.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl std::hash::Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("KeyHash(***)")
    }
}

/// Of the key's first 53 characters.
fn checksum(key: &[u8; LENGTH]) -> [u8; LENGTH - BODY] {
    let mut rest = crc32fast::hash(&key[..BODY]) as usize;
    let mut text = [b'0'; LENGTH - BODY];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[rest % 62];
        rest /= 62;
    }
    text
}

/// Random base62 characters, each equally likely: bytes past the largest multiple of 62 are thrown away.
fn fill_base62(text: &mut [u8]) -> Result<(), getrandom::Error> {
    let mut places = text.iter_mut();
    let mut random = [0; 64];
    loop {
        getrandom::fill(&mut random)?;
        for byte in random.iter().filter(|byte| **byte < 248) {
            match places.next() {
                Some(place) => *place = ALPHABET[usize::from(byte % 62)],
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's `hmac` and `zlib`, so that a change of form is noticed.
    const KNOWN: &str = "cfx_live_0123456789ABabcdefghijklmnopqrstuvwxyzABCDEF1DnRRb";
    const KNOWN_HASH: &str = "ba7557717557b5ca59c5fc31871387fad4b6a325e108293e852c27b7e86dffdc";

    #[test]
    fn a_minted_key_parses_and_shows_only_its_public_part() {
        let key = RawKey::mint().unwrap();
        assert_eq!(key.expose().len(), LENGTH);
        assert_eq!(RawKey::parse(key.expose()).unwrap(), key);
        assert_eq!(key.display_prefix(), format!("cfx_live_{}", key.public_id().as_str()));
        assert_eq!(format!("{key:?}"), format!("RawKey({}…)", key.display_prefix()));
        assert_ne!(RawKey::mint().unwrap(), key);
    }

    #[test]
    fn any_change_of_one_character_breaks_the_checksum() {
        let key = RawKey::mint().unwrap();
        for place in 0..LENGTH {
            let mut bytes = key.0;
            bytes[place] = if bytes[place] == b'x' { b'y' } else { b'x' };
            assert_eq!(RawKey::parse(std::str::from_utf8(&bytes).unwrap()), Err(MalformedKey), "place {place}");
        }
    }

    #[test]
    fn garbage_is_malformed() {
        let cut = &KNOWN[..58];
        for text in ["", "cfx_live_", "sk-1234", cut, &format!("{KNOWN} "), &"é".repeat(30), &"\0".repeat(LENGTH)] {
            assert_eq!(RawKey::parse(text), Err(MalformedKey), "{text:?}");
        }
    }

    #[test]
    fn form_and_hash_are_the_published_ones() {
        let key = RawKey::parse(KNOWN).unwrap();
        assert_eq!(Pepper::new(b"pepper").hash(&key).to_hex(), KNOWN_HASH);
    }

    #[test]
    fn a_long_pepper_is_hashed_as_hmac_says() {
        let key = RawKey::parse(KNOWN).unwrap();
        let digest = Sha256::digest([b'p'; 100]);
        assert_eq!(Pepper::new(&[b'p'; 100]).hash(&key), Pepper::new(&digest).hash(&key));
        assert_ne!(Pepper::new(b"pepper").hash(&key), Pepper::new(b"other").hash(&key));
    }

    #[test]
    fn hashes_survive_their_hexadecimal_form() {
        let hash = Pepper::new(b"pepper").hash(&RawKey::mint().unwrap());
        assert_eq!(KeyHash::from_hex(&hash.to_hex()), Some(hash));
        assert_eq!(KeyHash::from_hex("zz"), None);
        assert_eq!(KeyHash::from_hex(&"g".repeat(64)), None);
    }
}
