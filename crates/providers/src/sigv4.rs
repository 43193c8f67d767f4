//! Signature Version 4, as AWS and what is like it want requests signed (docs.aws.amazon.com, IAM user guide, "AWS Signature Version 4").

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::wire::hex;

/// What a request is signed with, and for.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Names the key.
    pub access_key_id: &'a str,
    /// The key.
    pub secret_access_key: &'a str,
    /// Such as eu-central-1.
    pub region: &'a str,
    /// Such as `s3`.
    pub service: &'a str,
}

impl std::fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Signs a request without a query, whose path needs no escapes. All headers it has so far are signed (names in lower case), `host` and
/// `x-amz-date` too; the latter and `authorization` are added. `payload` is the SHA-256 of its body in lower-case hexadecimal; `now_ms` are Unix
/// milliseconds.
pub fn sign(method: &str, url: &str, headers: &mut Vec<(String, String)>, payload: &str, keys: &Keys<'_>, now_ms: i64) {
    let at = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let time = at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &time[..8];
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let mut signed = headers.clone();
    signed.extend([("host".to_owned(), host.to_owned()), ("x-amz-date".to_owned(), time.clone())]);
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let listed: String = signed.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!("{method}\n{path}\n\n{listed}\n{names}\n{payload}");
    let scope = format!("{day}/{}/{}/aws4_request", keys.region, keys.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = format!("AWS4{}", keys.secret_access_key).into_bytes();
    let key = scope.split('/').fold(key, |key, step| mac(&key, step));
    let signature = hex(&mac(&key, &to_sign));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        keys.access_key_id
    );
    headers.extend([("x-amz-date".to_owned(), time), ("authorization".to_owned(), authorization)]);
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.chain_update(text.as_bytes()).finalize().into_bytes().to_vec()
}
