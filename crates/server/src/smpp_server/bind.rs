//! Who may bind. A password of eight characters has 46 bits: too few for a fast hash, should the table ever be read, so it is stored as
//! Argon2id like people's; a right one is remembered for a while. Guessing is slow: attempts are few by address and by system_id.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carillon_domain::account::Status;
use carillon_domain::smpp::CredentialSettings;
use carillon_smpp::CommandStatus;
use carillon_smpp::pdu::Bind;
use carillon_store::smpp_credential::{self, SmppCredential};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::attempts::Who;
use super::lines::{Proven, Seat};
use crate::app::App;

/// How long a right password is believed without its slow hash.
const PROVEN_FOR: Duration = Duration::from_secs(900);
/// Notes of use are written at most this often, milliseconds.
const TOUCH_EVERY_MS: i64 = 60_000;

/// A bind that is to be accepted.
pub(super) struct Admitted {
    pub(super) seat: Seat,
    /// As they stood at the bind, within the operator's bounds.
    pub(super) settings: Arc<CredentialSettings>,
}

/// Judges a bind that came from an address.
pub(super) async fn admit(app: &App, from: IpAddr, bind: &Bind) -> Result<Admitted, CommandStatus> {
    let judged = judge(app, from, bind).await;
    let result = match &judged {
        Ok(_) => "accepted",
        Err(CommandStatus::RINVSYSID) => "unknown",
        Err(CommandStatus::RINVPASWD) => "wrong_password",
        Err(CommandStatus::RALYBND) => "too_many",
        Err(_) => "refused",
    };
    metrics::counter!("carillon_smpp_binds_total", "result" => result).increment(1);
    judged
}

async fn judge(app: &App, from: IpAddr, bind: &Bind) -> Result<Admitted, CommandStatus> {
    let (now, address) = (app.clock.now_ms(), Who::address(from));
    let attempts = &app.smpp.attempts;
    if attempts.locked(&address, now) {
        return Err(CommandStatus::RBINDFAIL);
    }
    let fail = |status| {
        attempts.failed(address.clone(), now, &app.config.auth);
        Err(status)
    };
    let Some(credential) = find(app, &bind.system_id).await? else {
        return fail(CommandStatus::RINVSYSID);
    };
    if !credential.settings.allows(from) {
        return fail(CommandStatus::RBINDFAIL);
    }
    let name = Who::name(&credential.system_id);
    match password(app, &credential, &bind.password, attempts.locked(&name, now)).await? {
        Judgement::Right => {}
        Judgement::Locked => return fail(CommandStatus::RBINDFAIL),
        Judgement::Wrong => {
            attempts.failed(name, now, &app.config.auth);
            return fail(CommandStatus::RINVPASWD);
        }
    }
    attempts.succeeded(&address);
    attempts.succeeded(&name);
    let account = app.account(credential.account).await.map_err(|_| CommandStatus::RSYSERR)?;
    if !credential.enabled || account.status == Status::Closed {
        return Err(CommandStatus::RBINDFAIL);
    }
    let settings = Arc::new(within_bounds(app, credential.settings.clone()));
    let seat = Seat::take(app, &credential, &settings).ok_or(CommandStatus::RALYBND)?;
    remember(app, &credential, &bind.password);
    note_use(app, &seat, now);
    Ok(Admitted { seat, settings })
}

async fn find(app: &App, system_id: &[u8]) -> Result<Option<SmppCredential>, CommandStatus> {
    let Ok(system_id) = std::str::from_utf8(system_id) else { return Ok(None) };
    smpp_credential::by_system_id(&app.db, system_id).await.map_err(|error| {
        tracing::error!(%error, "an SMPP bind could not be judged: {error}");
        CommandStatus::RSYSERR
    })
}

enum Judgement {
    Right,
    Wrong,
    /// The name is locked, and the password is not one known to be right.
    Locked,
}

fn digest(password: &[u8]) -> [u8; 32] {
    Sha256::digest(password).into()
}

async fn password(
    app: &App,
    credential: &SmppCredential,
    password: &[u8],
    locked: bool,
) -> Result<Judgement, CommandStatus> {
    // Whoever guesses must not lock the owner out: what was right lately is right while the name is locked.
    if let Some(proven) = app.smpp.proven(credential).filter(|p| p.until > app.clock.monotonic())
        && proven.stored == credential.password_hash
        && bool::from(proven.digest.ct_eq(&digest(password)))
    {
        return Ok(Judgement::Right);
    }
    if locked {
        return Ok(Judgement::Locked);
    }
    let Ok(password) = std::str::from_utf8(password) else { return Ok(Judgement::Wrong) };
    let right = app.passwords.verify(password.to_owned(), Some(credential.password_hash.clone())).await;
    // Too many hashes at once: the customer binds again.
    match right.map_err(|_| CommandStatus::RSYSERR)? {
        true => Ok(Judgement::Right),
        false => Ok(Judgement::Wrong),
    }
}

fn remember(app: &App, credential: &SmppCredential, password: &[u8]) {
    let until = app.clock.monotonic() + PROVEN_FOR;
    app.smpp.prove(credential, Proven { stored: credential.password_hash.clone(), digest: digest(password), until });
}

/// The operator's bounds hold for credentials made under wider ones, too.
fn within_bounds(app: &App, settings: CredentialSettings) -> CredentialSettings {
    let bounds = &app.config.smpp_server;
    let rate = match (settings.rate, bounds.rate_max) {
        (rate, 0) => rate,
        (0, most) => most,
        (rate, most) => rate.min(most),
    };
    CredentialSettings {
        max_binds: settings.max_binds.min(bounds.binds_max),
        window: settings.window.clamp(1, bounds.window_max),
        rate,
        ..settings
    }
}

fn note_use(app: &App, seat: &Seat, now: i64) {
    let line = &seat.line;
    if now - line.touched.swap(now, Ordering::Relaxed) < TOUCH_EVERY_MS {
        return;
    }
    let (db, account, id) = (app.db.clone(), line.account, line.id);
    tokio::spawn(async move {
        if let Err(error) = smpp_credential::touch(&db, account, id, now).await {
            tracing::warn!(%error, credential = %id, "could not note the use of {id}");
        }
    });
}
