//! What a client shows as its key. One that is taken is shown as it came, and no neighbour of it is one. Whatever has
//! the form of a key and its checksum is taken.

use cfx::admission::RawKey;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The part of a key that its checksum is of.
const BODY: usize = 53;

pub fn target(bytes: &[u8]) {
    if let Ok(presented) = std::str::from_utf8(bytes)
        && let Ok(key) = RawKey::parse(presented)
    {
        hold(&key, presented);
    }
    let sound = sound(bytes);
    let key = RawKey::parse(&sound).expect("a key whose checksum holds");
    hold(&key, &sound);
}

fn hold(key: &RawKey, presented: &str) {
    assert_eq!(key.expose(), presented);
    assert!(presented.starts_with(key.display_prefix()) && key.display_prefix().len() == 21);
    assert!(!format!("{key:?}").contains(&presented[21..]), "a key shows itself");
    let mut other = presented.as_bytes().to_vec();
    for place in 0..other.len() {
        let was = other[place];
        other[place] = if was == b'a' { b'b' } else { b'a' };
        let text = std::str::from_utf8(&other).expect("ASCII");
        assert!(RawKey::parse(text).is_err(), "{text} passes too");
        other[place] = was;
    }
}

/// A key made of what came.
fn sound(bytes: &[u8]) -> String {
    let mut key = b"cfx_live_".to_vec();
    key.extend(bytes.iter().chain(&[0; BODY]).map(|byte| ALPHABET[usize::from(byte % 62)]));
    key.truncate(BODY);
    let mut rest = crc32fast::hash(&key);
    let mut checksum = [0; 6];
    for place in checksum.iter_mut().rev() {
        *place = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    key.extend(checksum);
    String::from_utf8(key).expect("ASCII")
}
