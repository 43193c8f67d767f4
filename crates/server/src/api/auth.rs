//! Signing up, signing in, staying signed in, signing out.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use carillon_domain::account::Settings;
use carillon_domain::id::{AccountId, AccountNo, SessionId, UserId};
use carillon_domain::money::Money;
use carillon_store::account::{NewAccount, NewOwner, StartingCredit};
use carillon_store::email_token::Purpose;
use carillon_store::session::{Rotation, Session};
use carillon_store::user::User;
use carillon_store::{StoreError, account, session, user};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::email_links;
use super::error::{Code, Problem};
use super::extract::Json;
use super::sessions::Person;
use crate::access::address::Client;
use crate::access::limit::Class;
use crate::access::token::{self, Claims};
use crate::access::{key, password};
use crate::app::App;

/// Who wants an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Signs in with it.
    #[schema(example = "ada@example.com")]
    pub(crate) email: String,
    /// At least 10 characters, and not the email address.
    #[schema(example = "correct horse battery")]
    pub(crate) password: String,
    /// What they are called; the part of the address before `@` if not given.
    pub(crate) name: Option<String>,
    /// What the account is called; the person's name if not given.
    pub(crate) account_name: Option<String>,
}

/// Who signs in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// As registered.
    #[schema(example = "ada@example.com")]
    pub(crate) email: String,
    /// As registered.
    #[schema(example = "correct horse battery")]
    pub(crate) password: String,
    /// Which of several accounts; the oldest membership if not given.
    #[schema(value_type = Option<String>)]
    pub(crate) account: Option<AccountId>,
}

/// A refresh token, good for one use.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// As the last answer gave it.
    refresh_token: String,
}

/// A sign-in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tokens {
    /// For `Authorization: Bearer`.
    pub(crate) access_token: String,
    /// `Bearer`.
    pub(crate) token_type: &'static str,
    /// Life of the access token, seconds.
    pub(crate) expires_in: u32,
    /// For `/v1/auth/refresh`, once.
    pub(crate) refresh_token: String,
    /// The session, as `/v1/sessions` lists it.
    #[schema(value_type = String)]
    session: SessionId,
    /// The account signed in to.
    #[schema(value_type = String)]
    pub(crate) account: AccountId,
    /// The person.
    #[schema(value_type = String)]
    user: UserId,
}

/// Where somebody signs in from, for the list of sessions; counted against the stricter limit of an address.
#[derive(Debug)]
pub struct Origin {
    address: String,
    agent: String,
}

impl FromRequestParts<App> for Origin {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let server = &app.config.server;
        let client =
            Client::of(&parts.extensions, &parts.headers, &server.trusted_proxies, server.client_address_header);
        app.limits.by_address(Class::SignIn, client.address, app.clock.monotonic())?;
        let address = client.address.to_string();
        let agent = parts.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
        Ok(Origin { address, agent: agent.chars().take(200).collect() })
    }
}

/// The address as it is compared: trimmed, lower case; refused if nothing could be delivered to it.
pub(super) fn email(text: &str) -> Result<String, Problem> {
    let email = text.trim().to_lowercase();
    let parts = email.split_once('@');
    let fine = email.len() <= 254
        && parts.is_some_and(|(local, domain)| {
            !local.is_empty()
                && domain.contains('.')
                && !domain.contains('@')
                && !domain.starts_with('.')
                && !domain.ends_with('.')
        })
        && !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if fine { Ok(email) } else { Err(Code::InvalidValue.at("#/email", "not an email address")) }
}

/// A name for people: 1 to 100 characters, nothing invisible.
pub(super) fn name(text: &str, pointer: &'static str) -> Result<String, Problem> {
    let name = text.trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Code::InvalidValue.at(pointer, "a name has at least one character and no control characters"));
    }
    if name.chars().count() > 100 {
        return Err(Code::TooLong.at(pointer, "at most 100 characters"));
    }
    Ok(name.to_owned())
}

/// Register a person and an account they own.
///
/// Where the server sends mail, they get a link that confirms their address.
#[utoipa::path(post, path = "/v1/auth/register", tag = "Access", operation_id = "register", security(()), request_body = Registration,
    responses((status = 201, body = Tokens)))]
pub async fn register(
    State(app): State<App>,
    origin: Origin,
    Json(body): Json<Registration>,
) -> Result<(StatusCode, Json<Tokens>), Problem> {
    if !app.config.accounts.registration {
        return Err(Code::RegistrationClosed.into());
    }
    let email = email(&body.email)?;
    password::check_strength(&body.password, &email)?;
    let person = name(body.name.as_deref().unwrap_or_else(|| email.split('@').next().unwrap_or(&email)), "#/name")?;
    let account_name = name(body.account_name.as_deref().unwrap_or(&person), "#/account_name")?;
    let password_hash = app.passwords.hash(body.password).await?;
    let now = app.clock.now_ms();
    let user = UserId::new(now, app.ids.next(), AccountNo::PLATFORM);
    let gift = Money::from_cents(app.config.accounts.registration_balance_cents.into());
    let new = NewAccount {
        id: None,
        counter: app.ids.next(),
        name: &account_name,
        currency: &app.config.prices.currency,
        settings: Settings::default(),
        owner: Some(NewOwner {
            id: user,
            email: &email,
            name: &person,
            password_hash: &password_hash,
            operator: false,
            verification: email_links::link(&app, Purpose::Verification, user, &email, &person),
        }),
        credit: (gift > Money::ZERO).then(|| StartingCredit {
            amount: gift,
            counter: app.ids.next(),
            note: "registration",
            actor: "registration",
        }),
        now,
    };
    let account = account::create(&app.db, &new).await.map_err(|e| match e {
        StoreError::Taken("email") => {
            Code::EmailTaken.with("the email address has a user already").and(Code::EmailTaken, "#/email", "taken")
        }
        other => other.into(),
    })?;
    app.email.wake();
    let tokens = open_session(&app, user, account.no, account.id, origin).await?;
    Ok((StatusCode::CREATED, Json(tokens)))
}

/// Sign in with email and password.
#[utoipa::path(post, path = "/v1/auth/login", tag = "Access", operation_id = "login", security(()), request_body = Login,
    responses((status = 200, body = Tokens)))]
pub async fn login(State(app): State<App>, origin: Origin, Json(body): Json<Login>) -> Result<Json<Tokens>, Problem> {
    let address = body.email.trim().to_lowercase();
    let found = count_attempt(&app, &address).await?;
    if body.password.len() > password::LEN_MAX {
        return Err(Code::WrongPassword.into());
    }
    let right = app.passwords.verify(body.password, found.as_ref().map(|u| u.password_hash.clone())).await?;
    let Some(person) = found.filter(|_| right) else { return Err(Code::WrongPassword.into()) };
    user::signed_in(&app.db, person.id).await?;
    let memberships = user::memberships(&app.db, person.id).await?;
    for (no, _) in memberships {
        let info = app.account(no).await?;
        if body.account.is_none_or(|wanted| wanted == info.id) {
            return Ok(Json(open_session(&app, person.id, no, info.id, origin).await?));
        }
    }
    Err(Code::Forbidden.with("this person is not a member of that account"))
}

/// Counts the attempt and returns the person, if there is one. Unknown addresses are counted in memory and locked by the same rule,
/// so that a lock does not tell who is registered.
async fn count_attempt(app: &App, address: &str) -> Result<Option<User>, Problem> {
    const RACES_MAX: u32 = 20;
    let auth = &app.config.auth;
    for _ in 0..RACES_MAX {
        let now = app.clock.now_ms();
        let Some(person) = user::by_email(&app.db, address).await? else {
            let until = app.access.strangers.attempt(address, now, |failures| locked_until(auth, failures, now));
            // As long as for somebody known, whose attempt is written down.
            user::attempt(&app.db, UserId(Uuid::nil()), 0, None).await?;
            return until.map_or(Ok(None), |until| Err(locked(until, now)));
        };
        if let Some(until) = person.locked_until.filter(|until| *until > now) {
            return Err(locked(until, now));
        }
        let until = locked_until(auth, person.failures + 1, now);
        if user::attempt(&app.db, person.id, person.failures, until).await? {
            return Ok(Some(person));
        }
    }
    Err(Code::Busy.into())
}

/// Until when so many failures in a row lock: not at all at first, then doubling each time.
fn locked_until(auth: &crate::config::Auth, failures: i64, now: i64) -> Option<i64> {
    let beyond = u32::try_from(failures - i64::from(auth.lockout_after)).ok()?;
    let seconds = u64::from(auth.lockout_first_s) << beyond.min(32);
    Some(now + 1_000 * seconds.min(auth.lockout_max_s.into()) as i64)
}

fn locked(until: i64, now: i64) -> Problem {
    let seconds = ((until - now).max(0) as u64).div_ceil(1_000);
    Problem::from(Code::LockedOut).retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// Exchange a refresh token for new tokens.
///
/// A token used twice ends its session: somebody has a copy.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "Access", operation_id = "refresh", security(()), request_body = Refresh,
    responses((status = 200, body = Tokens)))]
pub async fn refresh(State(app): State<App>, _: Origin, Json(body): Json<Refresh>) -> Result<Json<Tokens>, Problem> {
    let id = parse_refresh_token(&body.refresh_token).ok_or(Code::InvalidCredential)?;
    let now = app.clock.now_ms();
    let fresh = refresh_token(id);
    let expires_at = now + 1_000 * i64::from(app.config.auth.refresh_token_s);
    let (old, new) = (key::hash(&body.refresh_token), key::hash(&fresh));
    match session::rotate(&app.db, id, &old, &new, now, expires_at).await? {
        Rotation::Done(s) => {
            app.access.forget_session(id);
            let account = app.account(s.account).await?;
            Ok(Json(tokens(&app, &s, account.id, fresh)))
        }
        Rotation::Reused(id) => {
            app.access.forget_session(id);
            tracing::warn!(session = %id, "a refresh token of session {id} was used twice; the session was ended");
            Err(Code::RevokedCredential.with("this refresh token was used before; the session was ended"))
        }
        Rotation::Gone => Err(Code::RevokedCredential.into()),
    }
}

/// Sign out.
///
/// The session ends, its tokens are refused at once.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "Access", operation_id = "logout", responses((status = 204)))]
pub async fn logout(State(app): State<App>, person: Person) -> Result<StatusCode, Problem> {
    session::revoke(&app.db, person.account, person.user, person.session, app.clock.now_ms()).await?;
    app.access.forget_session(person.session);
    Ok(StatusCode::NO_CONTENT)
}

async fn open_session(
    app: &App,
    user: UserId,
    no: AccountNo,
    account: AccountId,
    origin: Origin,
) -> Result<Tokens, Problem> {
    let now = app.clock.now_ms();
    let id = SessionId::new(now, app.ids.next(), no);
    let refresh = refresh_token(id);
    let s = Session {
        id,
        user,
        account: no,
        refresh_hash: key::hash(&refresh).to_vec(),
        address: origin.address,
        agent: origin.agent,
        created_at: now,
        used_at: now,
        expires_at: now + 1_000 * i64::from(app.config.auth.refresh_token_s),
        revoked_at: None,
    };
    session::create(&app.db, &s).await?;
    Ok(tokens(app, &s, account, refresh))
}

fn tokens(app: &App, s: &Session, account: AccountId, refresh_token: String) -> Tokens {
    let now_s = app.clock.now_ms() / 1_000;
    let expires_in = app.config.auth.access_token_s;
    let claims = Claims { sub: s.user, sid: s.id, acc: s.account.0, iat: now_s, exp: now_s + i64::from(expires_in) };
    let access_token = token::sign(&app.secrets.token_key, &claims);
    Tokens { access_token, token_type: "Bearer", expires_in, refresh_token, session: s.id, account, user: s.user }
}

const REFRESH_PREFIX: &str = "car_rt_";

/// Names its session, so that it can be found without its secret.
fn refresh_token(session: SessionId) -> String {
    format!("{REFRESH_PREFIX}{}_{}", session.0.simple(), key::random_base62(43))
}

fn parse_refresh_token(text: &str) -> Option<SessionId> {
    let (id, secret) = text.strip_prefix(REFRESH_PREFIX)?.split_once('_')?;
    (secret.len() == 43).then_some(SessionId(Uuid::try_parse(id).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [(" Ada@Example.com ", Some("ada@example.com")), ("a@b.c", Some("a@b.c"))] {
            assert_eq!(email(text).ok().as_deref(), expected);
        }
        for bad in ["", "a", "a@", "@b.c", "a@b", "a@b@c.d", "a b@c.d", "a@.c", "a@c.", "a\u{0}@b.c"] {
            assert!(email(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn locks_grow() {
        let auth = crate::config::defaults().auth;
        let seconds = |failures| locked_until(&auth, failures, 0).map(|ms| ms / 1_000);
        let rows = [
            (1, None),
            (4, None),
            (5, Some(30)),
            (6, Some(60)),
            (7, Some(120)),
            (12, Some(3_600)),
            (10_000, Some(3_600)),
        ];
        for (failures, expected) in rows {
            assert_eq!(seconds(failures), expected, "{failures}");
        }
    }

    #[test]
    fn a_refresh_token_names_its_session() {
        let id = SessionId::new(1, 2, AccountNo(3));
        assert_eq!(parse_refresh_token(&refresh_token(id)), Some(id));
        for bad in ["", "car_rt_", "car_rt_x_y", &refresh_token(id)[1..], &refresh_token(id)[..60]] {
            assert_eq!(parse_refresh_token(bad), None, "{bad}");
        }
    }
}
