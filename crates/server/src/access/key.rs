//! API keys: `car_live_<key id>_<secret><checksum>`. The key id is for look-up, the secret has 256 bits, and the checksum
//! (base62 of the CRC-32 of all before it) lets a mistyped key be refused without asking anyone.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "car_live_";
const KEY_ID_LEN: usize = 12;
/// 43 characters of base62 hold 256 bits.
const SECRET_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const KEY_LEN: usize = PREFIX.len() + KEY_ID_LEN + 1 + SECRET_LEN + CHECKSUM_LEN;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The clear part of a key, as a map key without allocation.
pub type KeyId = [u8; KEY_ID_LEN];

/// SHA-256 of a whole key or token: what is stored.
pub type Hash = [u8; 32];

/// Hashes a secret of full entropy; no slow hash is needed for those.
pub fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// Whether two hashes are the same, in time that does not tell where they differ.
pub fn same(a: &Hash, b: &[u8]) -> bool {
    a.as_slice().ct_eq(b).into()
}

/// `len` characters of base62, each drawn on its own from the operating system's random source.
pub fn random_base62(len: usize) -> String {
    (0..len).map(|_| char::from(BASE62[rand::random_range(0..BASE62.len())])).collect()
}

fn checksum(text: &str) -> [u8; CHECKSUM_LEN] {
    let mut left = crc32fast::hash(text.as_bytes());
    let mut out = [0; CHECKSUM_LEN];
    for place in out.iter_mut().rev() {
        *place = BASE62[(left % 62) as usize];
        left /= 62;
    }
    out
}

/// A new key: the whole of it, shown once, and its clear part.
pub fn generate() -> (String, String) {
    let key_id = random_base62(KEY_ID_LEN);
    let mut key = format!("{PREFIX}{key_id}_{}", random_base62(SECRET_LEN));
    let sum = checksum(&key);
    key.push_str(std::str::from_utf8(&sum).expect("base62 is ASCII"));
    (key, key_id)
}

/// Whether a credential claims to be a key (anything else is taken for an access token).
pub fn looks_like_one(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

/// The clear part, if the text has the shape and the checksum of a key.
pub fn parse(key: &str) -> Option<KeyId> {
    if key.len() != KEY_LEN
        || !key.is_ascii()
        || !key.starts_with(PREFIX)
        || key.as_bytes()[PREFIX.len() + KEY_ID_LEN] != b'_'
    {
        return None;
    }
    let (body, sum) = key.split_at(KEY_LEN - CHECKSUM_LEN);
    if checksum(body) != sum.as_bytes() {
        return None;
    }
    key.as_bytes()[PREFIX.len()..PREFIX.len() + KEY_ID_LEN].try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_no_changed_one_is() {
        let (key, key_id) = generate();
        assert_eq!(parse(&key).as_ref().map(KeyId::as_slice), Some(key_id.as_bytes()));
        assert_ne!(generate().0, key);
        for i in 0..key.len() {
            let mut bytes = key.clone().into_bytes();
            bytes[i] = if bytes[i] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(parse(&changed), None, "{i}");
        }
        for bad in ["", "car_live_", &key[1..], &key[..key.len() - 1], &format!("{key}0"), &key.replace("live", "lïv")]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert!(same(&hash(&key), &hash(&key)) && !same(&hash(&key), &hash("")) && !same(&hash(&key), b"short"));
    }
}
