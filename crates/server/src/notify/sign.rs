//! Signatures of webhooks (Standard Webhooks 1.0.0): HMAC-SHA256 over id, time and body, with a secret each receiver has.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// How long a rotated secret goes on signing beside the new one, milliseconds.
pub const PREVIOUS_MS: i64 = 24 * 3_600_000;

/// The key of a signature: what `whsec_…` stands for.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// A new one, of random bytes.
    pub fn new(random: [u8; 32]) -> Secret {
        Secret(random)
    }

    /// From what was sealed.
    pub fn from_bytes(bytes: &[u8]) -> Option<Secret> {
        bytes.try_into().ok().map(Secret)
    }

    /// What is sealed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it is shown, once: `whsec_` and base64.
    pub fn show(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }

    /// The signature of a body: `v1,` and base64. `at` is Unix seconds.
    pub fn sign(&self, id: &str, at: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{at}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The `webhook-signature` header: one signature by each secret.
pub fn header(secrets: &[Secret], id: &str, at: i64, body: &[u8]) -> String {
    secrets.iter().map(|secret| secret.sign(id, at, body)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signatures that the reference libraries (`standardwebhooks`, Python 1.1.0) made of the same.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let secret = Secret::new(*b"0123456789abcdef0123456789abcdef");
        assert_eq!(secret.show(), "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        for (id, at, body, expected) in [
            ("evt_1", 1_614_265_330, "{\"test\": 2432232314}", "lGTx6/7aFtz/GMtSsBWNGeljiOrcaqMEqsQuSsrMNlU="),
            ("evt_2", 1_795_262_400, "", "U9O9CULzopMZ36wPvgJB7i0QVhG1lNV52ILwfV1wkkw="),
            ("evt_3", 0, "ü", "3WSmg9odhox4nN51g1jww9YIlYj8r3Pbs8EGMhSWJ08="),
        ] {
            assert_eq!(secret.sign(id, at, body.as_bytes()), format!("v1,{expected}"));
        }
        let other = Secret::new([7; 32]);
        let both = header(&[secret.clone(), other.clone()], "a", 1, b"x");
        assert_eq!(both, format!("{} {}", secret.sign("a", 1, b"x"), other.sign("a", 1, b"x")));
    }
}
