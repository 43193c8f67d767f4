//! Who writes to us, in one form: `+` and digits, a short code, or a name.

use carillon_domain::phone::Phone;
use sha2::{Digest, Sha256};

/// Characters of a name that are kept.
const NAME_MAX: usize = 32;
/// Digits a short code has at most.
const SHORT_CODE_MAX: usize = 8;

/// The one form of what a carrier wrote.
pub fn name(from: &str) -> String {
    let from = from.trim();
    let digits = from.trim_start_matches('+');
    let digits = if digits.len() == from.len() { digits.strip_prefix("00").unwrap_or(digits) } else { digits };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return from.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
    }
    let short = digits.len() == from.len() && digits.len() <= SHORT_CODE_MAX;
    match digits.parse().ok().and_then(Phone::from_digits).filter(|_| !short) {
        Some(phone) => phone.to_string(),
        None => digits.chars().take(NAME_MAX).collect(),
    }
}

/// The phone number, if it is one: who else cannot be written to.
pub fn phone(peer: &str) -> Option<Phone> {
    peer.strip_prefix('+')?.parse().ok().and_then(Phone::from_digits)
}

/// Its keyed hash; of a phone number `phone_tag`.
pub fn tag(peer: &str, key: &[u8; 16]) -> i64 {
    match phone(peer) {
        Some(phone) => phone.tag(key),
        None => {
            let hash = Sha256::new().chain_update(key).chain_update(peer).finalize();
            i64::from_be_bytes(hash[..8].try_into().expect("a hash has 32 octets"))
        }
    }
}

/// An own number (digits) as messages are from it.
pub fn as_sender(number: &str) -> String {
    if number.len() > SHORT_CODE_MAX { format!("+{number}") } else { number.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes() {
        for (from, expected, is_phone) in [
            ("4915112345678", "+4915112345678", true),
            ("+4915112345678", "+4915112345678", true),
            ("004915112345678", "+4915112345678", true),
            (" 4915112345678 ", "+4915112345678", true),
            ("22333", "22333", false),
            ("+2983456", "+2983456", true),
            ("2983456", "2983456", false),
            ("INFO\u{7}", "INFO", false),
            ("", "", false),
            ("0", "0", false),
        ] {
            assert_eq!((name(from).as_str(), phone(&name(from)).is_some()), (expected, is_phone), "{from:?}");
        }
        assert_eq!([as_sender("4915112345678"), as_sender("22333")], ["+4915112345678", "22333"]);
        let key = [1; 16];
        assert_eq!(tag("+4915112345678", &key), phone("+4915112345678").unwrap().tag(&key));
        assert_ne!(tag("INFO", &key), tag("INFO2", &key));
    }
}
