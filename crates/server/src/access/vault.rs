//! Where stored secrets are locked up: carriers' passwords, webhook secrets. Envelope encryption: a data key, made once for the installation,
//! seals the rows; the master key of the configuration (or of a file in the data folder) seals the data key, and is stored nowhere else.
//!
//! A sealed value is one byte that names the scheme (1), a random nonce of 24, and the XChaCha20-Poly1305 ciphertext. What it belongs to
//! goes in as associated data, so that a value moved to another row does not open.

use std::io::{Read, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use carillon_store::{Db, StoreError, platform};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};

const SCHEME: u8 = 1;
const NONCE: usize = 24;
/// The master key's file in the data folder, where the configuration names none.
const KEY_FILE: &str = "master.key";
/// What the data key is sealed for.
const DATA_KEY: &[u8] = b"platform vault_key";

/// Why a sealed value does not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the stored secret cannot be opened: it was sealed under another key, for another row, or was damaged")]
pub struct Sealed;

/// Seals and opens secrets; see the module.
pub struct Vault(XChaCha20Poly1305);

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    /// Of a data key.
    pub fn new(key: &[u8; 32]) -> Vault {
        Vault(XChaCha20Poly1305::new(key.into()))
    }

    /// Opens the installation's vault, or makes it at first start. `configured` is the master key in base64, or empty: then it is kept in
    /// the data folder.
    pub async fn open_or_make(db: &Db, folder: &Path, configured: &SecretString) -> Result<Vault, StoreError> {
        let master = Vault::new(&master_key(folder, configured)?);
        let mut fresh = [0; 32];
        rand::fill(&mut fresh);
        let sealed = platform::get_or_set(db, "vault_key", &master.seal(&fresh, DATA_KEY)).await?;
        let key = master.open(&sealed, DATA_KEY).ok().and_then(|key| key.try_into().ok());
        let key: [u8; 32] = key.ok_or_else(|| {
            StoreError::Unavailable(
                "the master key does not open this database's secrets: set `vault.master_key` to the key it was first started with \
                 (master.key in the data folder of that time)"
                    .into(),
            )
        })?;
        Ok(Vault::new(&key))
    }

    /// Seals a secret for `context`: the table, row and column it belongs to.
    pub fn seal(&self, secret: &[u8], context: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce);
        let payload = Payload { msg: secret, aad: context };
        let sealed =
            self.0.encrypt(&XNonce::from(nonce), payload).expect("a secret in memory is within the cipher's length");
        [&[SCHEME], &nonce[..], &sealed].concat()
    }

    /// Opens what was sealed for the same context.
    pub fn open(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, Sealed> {
        let Some((&SCHEME, rest)) = sealed.split_first() else { return Err(Sealed) };
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>().ok_or(Sealed)?;
        self.0.decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: context }).map_err(|_| Sealed)
    }
}

fn master_key(folder: &Path, configured: &SecretString) -> Result<[u8; 32], StoreError> {
    let (text, origin) = match configured.expose_secret() {
        "" => (key_of_folder(folder).map_err(|e| StoreError::Unavailable(format!("{KEY_FILE}: {e}")))?, KEY_FILE),
        configured => (configured.to_owned(), "vault.master_key"),
    };
    let key = STANDARD.decode(text.trim()).ok().and_then(|key| key.try_into().ok());
    key.ok_or_else(|| {
        StoreError::Unavailable(format!("{origin} is not 32 bytes in base64: `openssl rand -base64 32` makes one"))
    })
}

/// Reads the folder's key, or makes it. Of two processes that start at once the first one's counts.
fn key_of_folder(folder: &Path) -> std::io::Result<String> {
    let path = folder.join(KEY_FILE);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut text = String::new();
    match options.open(&path) {
        Ok(mut file) => {
            let mut key = [0u8; 32];
            rand::fill(&mut key);
            text = STANDARD.encode(key);
            writeln!(file, "{text}")?;
            file.sync_all()?;
        }
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::File::open(&path)?.read_to_string(&mut text)?;
        }
        Err(e) => return Err(e),
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_context_open() {
        let vault = Vault::new(&[7; 32]);
        let sealed = vault.seal(b"secret", b"row 1");
        let mut damaged = sealed.clone();
        damaged[30] ^= 1;
        let other_scheme = [&[9], &sealed[1..]].concat();
        let cases: [(&str, &Vault, &[u8], &[u8], Result<Vec<u8>, Sealed>); 7] = [
            ("as sealed", &vault, &sealed, b"row 1", Ok(b"secret".to_vec())),
            ("another row", &vault, &sealed, b"row 2", Err(Sealed)),
            ("another key", &Vault::new(&[8; 32]), &sealed, b"row 1", Err(Sealed)),
            ("damaged", &vault, &damaged, b"row 1", Err(Sealed)),
            ("cut short", &vault, &sealed[..20], b"row 1", Err(Sealed)),
            ("another scheme", &vault, &other_scheme, b"row 1", Err(Sealed)),
            ("nothing", &vault, b"", b"row 1", Err(Sealed)),
        ];
        for (what, vault, sealed, context, expected) in cases {
            assert_eq!(vault.open(sealed, context), expected, "{what}");
        }
        assert_ne!(vault.seal(b"secret", b"row 1"), sealed, "nonces differ");
    }

    #[test]
    fn a_folder_keeps_its_key_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = master_key(folder.path(), &SecretString::from("")).unwrap();
        assert_eq!(master_key(folder.path(), &SecretString::from("")).unwrap(), first);
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&folder.path().join(KEY_FILE).metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let configured = SecretString::from(STANDARD.encode([5; 32]));
        assert_eq!(master_key(folder.path(), &configured).unwrap(), [5; 32]);
        assert!(master_key(folder.path(), &SecretString::from("short")).is_err());
    }
}
