//! Passwords: Argon2id, off the async threads, a few at a time: each takes 19 MiB and tens of milliseconds of one core.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::api::error::{Code, Problem};

/// The shortest password taken, in characters.
pub const LEN_MIN: usize = 10;
/// The longest, in bytes: a hash of megabytes would be a way to keep us busy.
pub const LEN_MAX: usize = 256;
/// Waiting longer than this for a turn is answered with `busy`.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Hashes and checks passwords, so many at a time.
#[derive(Clone, Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    argon2: Argon2<'static>,
    /// Checked against when there is no such user, so that the answer takes as long.
    nobody: Arc<str>,
}

impl Passwords {
    /// `memory_kib` and `passes` are Argon2's costs; `concurrent` how many run at once.
    ///
    /// # Panics
    /// If the costs are outside what Argon2 allows; the configuration is checked before.
    pub fn new(memory_kib: u32, passes: u32, concurrent: usize) -> Passwords {
        let params = Params::new(memory_kib, passes, 1, None).expect("the configuration was checked");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody =
            argon2.hash_password(super::key::random_base62(32).as_bytes()).expect("a short password is hashed");
        Passwords { turns: Arc::new(Semaphore::new(concurrent)), argon2, nobody: nobody.to_string().into() }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        match tokio::time::timeout(TURN_TIMEOUT, self.turns.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Code::Busy.into()),
        }
    }

    /// The PHC string to store.
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        let _turn = self.turn().await?;
        let argon2 = self.argon2.clone();
        let hashed =
            tokio::task::spawn_blocking(move || argon2.hash_password(password.as_bytes()).map(|h| h.to_string()));
        hashed.await.ok().and_then(Result::ok).ok_or_else(|| Code::Internal.into())
    }

    /// Whether the password is that of the hash; `None` (no such user) is never, and takes as long.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Problem> {
        let _turn = self.turn().await?;
        let (argon2, nobody) = (self.argon2.clone(), self.nobody.clone());
        let checked = tokio::task::spawn_blocking(move || {
            let stored = hash.as_deref().unwrap_or(&nobody);
            let right =
                PasswordHash::new(stored).is_ok_and(|h| argon2.verify_password(password.as_bytes(), &h).is_ok());
            right && hash.is_some()
        });
        checked.await.map_err(|_| Code::Internal.into())
    }
}

/// Refuses what is too easy to guess.
pub fn check_strength(password: &str, email: &str) -> Result<(), Problem> {
    if password.chars().count() < LEN_MIN {
        return Err(Code::WeakPassword.with("the password has fewer than 10 characters").and(
            Code::TooShort,
            "#/password",
            "at least 10 characters",
        ));
    }
    if password.len() > LEN_MAX {
        return Err(Code::TooLong.at("#/password", "at most 256 bytes"));
    }
    if password.to_lowercase() == email {
        return Err(Code::WeakPassword.with("the password is the email address").and(
            Code::InvalidValue,
            "#/password",
            "not the email address",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_somebody_is_right() {
        let passwords = Passwords::new(64, 1, 1);
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        for (password, hash, right) in [
            ("correct horse", Some(hash.clone()), true),
            ("wrong", Some(hash), false),
            ("x", None, false),
            ("x", Some("junk".into()), false),
        ] {
            assert_eq!(passwords.verify(password.into(), hash).await.unwrap(), right, "{password}");
        }
    }

    #[test]
    fn weak_passwords() {
        for (password, fine) in [
            ("short", false),
            ("ninechars", false),
            ("ten chars!", true),
            ("me@example.com", false),
            ("Me@Example.com", false),
        ] {
            assert_eq!(check_strength(password, "me@example.com").is_ok(), fine, "{password}");
        }
        assert!(check_strength(&"x".repeat(257), "").is_err());
    }
}
