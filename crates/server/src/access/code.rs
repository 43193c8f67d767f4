//! Codes of verifications: made, hashed and compared. A code is made from the verification's id by a key of the installation, so that the
//! same one can be sent again and none is ever stored; what is stored is a hash that binds it to its verification.

use std::net::IpAddr;

use carillon_domain::id::VerificationId;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

fn mac(key: &[u8; 32], purpose: &[u8], id: &[u8], rest: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    // Lengths are fixed but for the last: no two inputs run together alike.
    mac.chain_update(purpose).chain_update(id).chain_update(rest).finalize().into_bytes().into()
}

/// The code of a verification: `length` characters of `alphabet`, every one as likely. `generation` counts the codes made before.
pub fn make(key: &[u8; 32], id: VerificationId, generation: i16, length: usize, alphabet: &str) -> String {
    let alphabet = alphabet.as_bytes();
    // Octets from here on would make the first characters likelier.
    let fair = 256 - 256 % alphabet.len();
    let mut code = String::with_capacity(length);
    for block in 0u32.. {
        let octets =
            mac(key, b"make", id.0.as_bytes(), &[&generation.to_be_bytes()[..], &block.to_be_bytes()].concat());
        for octet in octets.into_iter().map(usize::from).filter(|o| *o < fair) {
            if code.len() == length {
                return code;
            }
            code.push(char::from(alphabet[octet % alphabet.len()]));
        }
    }
    code
}

/// What is stored of a code.
pub fn hash(key: &[u8; 32], id: VerificationId, code: &str) -> Vec<u8> {
    mac(key, b"hash", id.0.as_bytes(), code.as_bytes()).to_vec()
}

/// Whether it is the code that was hashed; takes as long either way.
pub fn matches(key: &[u8; 32], id: VerificationId, code: &str, hashed: &[u8]) -> bool {
    hash(key, id, code).ct_eq(hashed).into()
}

/// The name of an address in look-ups. Of IPv6 the network counts, since a person has a whole /64.
pub fn address_tag(key: &[u8; 32], address: IpAddr) -> i64 {
    let octets = match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets()[..8].to_vec(),
    };
    let whole = mac(key, b"addr", &[], &octets);
    i64::from_be_bytes(*whole.first_chunk().expect("SHA-256 has 32 octets"))
}

#[cfg(test)]
mod tests {
    use carillon_domain::id::AccountNo;

    use super::*;

    #[test]
    fn a_code_belongs_to_its_verification_and_generation() {
        let key = [7; 32];
        let id = |n| VerificationId::new(1_000, n, AccountNo(1));
        let make = |n, generation| make(&key, id(n), generation, 6, "0123456789");
        let code = make(1, 0);
        assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()), "{code}");
        assert_eq!(make(1, 0), code, "the same again");
        assert_ne!((make(2, 0), make(1, 1)), (code.clone(), code.clone()));
        let hashed = hash(&key, id(1), &code);
        let rows = [
            (matches(&key, id(1), &code, &hashed), true, "itself"),
            (matches(&key, id(1), "000000", &hashed), false, "another code"),
            (matches(&key, id(2), &code, &hashed), false, "another verification"),
            (matches(&[8; 32], id(1), &code, &hashed), false, "another installation"),
            (matches(&key, id(1), &code, &hashed[..31]), false, "a part of the hash"),
        ];
        for (got, expected, what) in rows {
            assert_eq!(got, expected, "{what}");
        }
    }

    /// Every digit about as often at every place: 10,000 codes, 1,000 of each, and three standard deviations are 90.
    #[test]
    fn codes_are_even() {
        let mut counts = [[0; 10]; 6];
        for n in 0..10_000 {
            let code = make(&[3; 32], VerificationId::new(1, n, AccountNo(1)), 0, 6, "0123456789");
            for (place, digit) in code.bytes().enumerate() {
                counts[place][usize::from(digit - b'0')] += 1;
            }
        }
        assert!(counts.iter().flatten().all(|n| (850..1_150).contains(n)), "{counts:?}");
    }

    #[test]
    fn addresses_of_one_person_are_one() {
        let tag = |text: &str| address_tag(&[7; 32], text.parse().unwrap());
        assert_eq!(tag("192.0.2.1"), tag("::ffff:192.0.2.1"));
        assert_eq!(tag("2001:db8::1"), tag("2001:db8::ffff:1"));
        assert_ne!(tag("2001:db8::1"), tag("2001:db8:0:1::1"));
        assert_ne!(tag("192.0.2.1"), tag("192.0.2.2"));
    }
}
