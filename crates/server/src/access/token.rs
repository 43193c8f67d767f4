//! Access tokens: JWTs (RFC 7519) signed with HMAC-SHA256, and nothing else. The header is compared with our own, so a token cannot
//! choose its algorithm; that is also why this is 40 lines here and no library with ten algorithms.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carillon_domain::id::{AccountNo, SessionId, UserId};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// What a token says; trusted once its signature fits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The person.
    pub sub: UserId,
    /// The session: ended sessions are refused at once.
    pub sid: SessionId,
    /// The account signed in to.
    pub acc: u32,
    /// Made, Unix seconds.
    pub iat: i64,
    /// Ends, Unix seconds.
    pub exp: i64,
}

impl Claims {
    /// The account's number.
    pub fn account(&self) -> AccountNo {
        AccountNo(self.acc)
    }
}

/// Why a token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// Not one of ours.
    Invalid,
    /// Ours, and its time is up.
    Expired,
}

fn mac(key: &[u8], signed: &str) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length").chain_update(signed.as_bytes())
}

/// Makes a token.
pub fn sign(key: &[u8], claims: &Claims) -> String {
    let claims = serde_json::to_vec(claims).expect("claims are plain data");
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(mac(key, &signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// Reads a token at `now_s` (Unix seconds); the signature is compared in constant time before anything inside is believed.
pub fn verify(key: &[u8], token: &str, now_s: i64) -> Result<Claims, TokenError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Invalid)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Invalid)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Invalid)?;
    mac(key, signed).verify_slice(&signature).map_err(|_| TokenError::Invalid)?;
    if URL_SAFE_NO_PAD.decode(header).as_deref() != Ok(HEADER.as_bytes()) {
        return Err(TokenError::Invalid);
    }
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| TokenError::Invalid)?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| TokenError::Invalid)?;
    if claims.exp <= now_s { Err(TokenError::Expired) } else { Ok(claims) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_believed_only_as_it_was_signed() {
        let claims = Claims {
            sub: UserId::new(1, 2, AccountNo(0)),
            sid: SessionId::new(1, 3, AccountNo(0)),
            acc: 7,
            iat: 100,
            exp: 1_000,
        };
        let token = sign(b"key", &claims);
        assert_eq!(verify(b"key", &token, 999), Ok(claims));
        assert_eq!(verify(b"key", &token, 1_000), Err(TokenError::Expired));
        assert_eq!(verify(b"other", &token, 999), Err(TokenError::Invalid));
        let (signed, _) = token.rsplit_once('.').unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let body = signed.split_once('.').unwrap().1;
        for bad in [
            "",
            ".",
            "..",
            signed,
            &format!("{signed}."),
            &format!("{none}.{body}."),
            &format!("{token}a"),
            &token[1..],
        ] {
            assert_eq!(verify(b"key", bad, 999), Err(TokenError::Invalid), "{bad}");
        }
    }
}
