//! The header `Idempotency-Key`: the same request sent twice has one effect and one answer (protocols.md §3.1).

use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use carillon_store::hot::IdempotencyKey;
use sha2::{Digest, Sha256};

use super::error::{Code, Problem};

const KEY: &str = "idempotency-key";
const KEY_MAX: usize = 255;
/// On an answer that was given before.
pub const REPLAYED: &str = "idempotent-replayed";

/// The key of a request to `operation` (method and path), if it has one; quoted or bare.
pub fn key(headers: &HeaderMap, operation: &str, body: &[u8]) -> Result<Option<IdempotencyKey>, Problem> {
    let mut given = headers.get_all(KEY).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Code::InvalidIdempotencyKey.with("the header Idempotency-Key stands there twice"));
    }
    let text = value.as_bytes();
    let text = text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")).unwrap_or(text);
    if !(1..=KEY_MAX).contains(&text.len()) || !text.iter().all(|b| (b' '..=b'~').contains(b)) {
        return Err(Code::InvalidIdempotencyKey.into());
    }
    let key = half(Sha256::new().chain_update(operation).chain_update(b"\0").chain_update(text));
    Ok(Some(IdempotencyKey { key, fingerprint: half(Sha256::new().chain_update(body)) }))
}

fn half(hash: Sha256) -> [u8; 16] {
    hash.finalize()[..16].try_into().expect("SHA-256 has 32 octets")
}

/// Marks an answer as one that was given before.
pub fn replayed(mut response: Response) -> Response {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&[u8]], operation: &str, body: &[u8]) -> Result<Option<IdempotencyKey>, Code> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEY, HeaderValue::from_bytes(value).unwrap());
        }
        key(&headers, operation, body).map_err(|problem| problem.code)
    }

    #[test]
    fn keys_that_are_taken_and_refused() {
        let long = [b'a'; 256];
        let refused: &[&[&[u8]]] = &[&[b""], &[b"\"\""], &[&long], &[b"\xfc"], &[b"a\tb"], &[b"a", b"a"]];
        for values in refused {
            assert_eq!(read(values, "POST /x", b"{}"), Err(Code::InvalidIdempotencyKey), "{values:?}");
        }
        assert_eq!(read(&[], "POST /x", b"{}"), Ok(None));
        let first = read(&[b"k1"], "POST /x", b"{}").unwrap().unwrap();
        assert_eq!(read(&[b"\"k1\""], "POST /x", b"{}"), Ok(Some(first)), "quoted is the same");
        assert_ne!(read(&[b"k1"], "POST /y", b"{}").unwrap().unwrap().key, first.key, "another path is another key");
        let changed = read(&[b"k1"], "POST /x", b"{ }").unwrap().unwrap();
        assert_eq!((changed.key, changed.fingerprint == first.fingerprint), (first.key, false));
        assert!(read(&[&long[..255]], "POST /x", b"").is_ok());
    }
}
