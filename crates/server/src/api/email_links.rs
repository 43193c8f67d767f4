//! What links in mails lead to: an address that is proved, a new password. The page behind a link does nothing by itself, since machines that
//! look through mail open links: it asks, and posts the token, which stands behind the `#` and so in nobody's log.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use carillon_domain::id::{AccountNo, UserId};
use carillon_store::email::{EmailKind, NewEmail};
use carillon_store::email_token::{self, NewToken, Purpose};
use carillon_store::{StoreError, user};
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::{Origin, email};
use super::error::{Code, Problem};
use super::extract::Json;
use crate::access::{key, password};
use crate::app::App;
use crate::notify::email::{USEFUL_MS, for_people};

/// 43 characters of base62 hold 256 bits.
const TOKEN_LEN: usize = 43;
/// Links for one purpose that one person may have at once: a stranger who asks for more fills nobody's mailbox.
const LINKS_MAX: i64 = 3;

/// What the link of a mail holds behind `#token=`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// As the link has it.
    #[schema(example = "0MkT4vQy1B9sZxW3dRfGhJkLpOiUyTrEwQaSdFgHjKl")]
    token: String,
}

/// Who is to get a link by mail.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// As registered.
    #[schema(example = "ada@example.com")]
    email: String,
}

/// A new password, and the right to choose it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// As the link has it.
    #[schema(example = "0MkT4vQy1B9sZxW3dRfGhJkLpOiUyTrEwQaSdFgHjKl")]
    token: String,
    /// At least 10 characters, and not the email address.
    #[schema(example = "correct horse battery")]
    password: String,
}

/// A token for a person and the mail that brings it; `None` if mail is off.
pub(super) fn link(
    app: &App,
    purpose: Purpose,
    user: UserId,
    address: &str,
    name: &str,
) -> Option<(NewToken, NewEmail)> {
    let settings = &app.config.email;
    let (kind, page, life_s) = match purpose {
        Purpose::Verification => {
            (EmailKind::Verification, "verify-email", i64::from(settings.verification_hours) * 3_600)
        }
        Purpose::PasswordReset => (EmailKind::PasswordReset, "reset-password", i64::from(settings.reset_minutes) * 60),
    };
    let expires_at = app.clock.now_ms() + 1_000 * life_s;
    let token = key::random_base62(TOKEN_LEN);
    let link = format!("{}/{page}#token={token}", app.config.link_base());
    let words = [("name", name), ("link", &link), ("until", &for_people(expires_at))];
    let mail = app.email_to(AccountNo::PLATFORM, kind, address, &words, expires_at)?;
    Some((NewToken { hash: key::hash(&token), user, purpose, expires_at }, mail))
}

/// A token that is unknown, used or late: which of these is nobody's business.
fn dead() -> Problem {
    Code::InvalidValue
        .at("#/token", "not the token of a link that is still good: it was used, its time is up, or it is incomplete")
}

fn dead_if_gone(e: StoreError) -> Problem {
    if matches!(e, StoreError::NotFound) { dead() } else { e.into() }
}

/// Confirm an email address.
///
/// With the token of the link that registration sent. It is good once.
#[utoipa::path(post, path = "/v1/auth/verify-email", tag = "Access", operation_id = "verifyEmail", security(()), request_body = Proof,
    responses((status = 204)))]
pub async fn verify_email(State(app): State<App>, _: Origin, Json(body): Json<Proof>) -> Result<StatusCode, Problem> {
    let (now, hash) = (app.clock.now_ms(), key::hash(&body.token));
    let owner = email_token::owner(&app.db, &hash, Purpose::Verification, now).await?;
    let person = owner.ok_or_else(dead)?;
    let docs = format!("{}/docs", app.config.link_base());
    let words = [("name", person.name.as_str()), ("link", &docs)];
    let welcome = app.email_to(AccountNo::PLATFORM, EmailKind::Welcome, &person.email, &words, now + USEFUL_MS);
    email_token::verify(&app.db, &hash, welcome.as_ref(), now).await.map_err(dead_if_gone)?;
    app.email.wake();
    Ok(StatusCode::NO_CONTENT)
}

/// Ask for a link to choose a new password.
///
/// The answer is the same whether somebody has the address or not; whoever has it gets a mail.
#[utoipa::path(post, path = "/v1/auth/forgot-password", tag = "Access", operation_id = "forgotPassword", security(()), request_body = Address,
    responses((status = 202)))]
pub async fn forgot_password(
    State(app): State<App>,
    _: Origin,
    Json(body): Json<Address>,
) -> Result<StatusCode, Problem> {
    offer(app, Purpose::PasswordReset, &body)
}

/// Ask for another link that confirms an address.
///
/// The answer is the same whether somebody has the address or not; whoever has it, and has not confirmed it, gets a mail.
#[utoipa::path(post, path = "/v1/auth/resend-verification", tag = "Access", operation_id = "resendEmailVerification", security(()), request_body = Address,
    responses((status = 202)))]
pub async fn resend_verification(
    State(app): State<App>,
    _: Origin,
    Json(body): Json<Address>,
) -> Result<StatusCode, Problem> {
    offer(app, Purpose::Verification, &body)
}

/// Mails a link to whoever has the address.
fn offer(app: App, purpose: Purpose, to: &Address) -> Result<StatusCode, Problem> {
    let address = email(&to.email)?;
    // Not waited for: how long it takes would tell whether somebody has the address.
    tokio::spawn(async move {
        if let Err(error) = send(&app, purpose, &address).await {
            tracing::warn!(%error, "a link that was asked for was not sent: {error}");
        }
    });
    Ok(StatusCode::ACCEPTED)
}

async fn send(app: &App, purpose: Purpose, address: &str) -> Result<(), StoreError> {
    let Some(person) = user::by_email(&app.db, address).await? else { return Ok(()) };
    if purpose == Purpose::Verification && person.verified_at.is_some() {
        return Ok(());
    }
    let Some((token, mail)) = link(app, purpose, person.id, &person.email, &person.name) else { return Ok(()) };
    if email_token::issue(&app.db, &token, &mail, LINKS_MAX, app.clock.now_ms()).await? {
        app.email.wake();
    }
    Ok(())
}

/// Choose a new password.
///
/// With the token of the link that `forgot-password` sent. It is good once; every session of the person ends, API keys stay.
#[utoipa::path(post, path = "/v1/auth/reset-password", tag = "Access", operation_id = "resetPassword", security(()), request_body = NewPassword,
    responses((status = 204)))]
pub async fn reset_password(
    State(app): State<App>,
    _: Origin,
    Json(body): Json<NewPassword>,
) -> Result<StatusCode, Problem> {
    let (now, hash) = (app.clock.now_ms(), key::hash(&body.token));
    let owner = email_token::owner(&app.db, &hash, Purpose::PasswordReset, now).await?;
    let person = owner.ok_or_else(dead)?;
    password::check_strength(&body.password, &person.email)?;
    let password_hash = app.passwords.hash(body.password).await?;
    let ended = email_token::reset_password(&app.db, &hash, &password_hash, now).await.map_err(dead_if_gone)?;
    ended.into_iter().for_each(|session| app.access.forget_session(session));
    Ok(StatusCode::NO_CONTENT)
}

/// Nothing from elsewhere, nothing inline but the style, no trace of the address to anybody.
const POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page behind every link.
pub(super) async fn page() -> impl IntoResponse {
    let headers = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::REFERRER_POLICY, "no-referrer")];
    (headers, Html(include_str!("email_links.html")))
}

/// What it does.
pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("email_links.js"))
}
