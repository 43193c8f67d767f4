//! Who asks: keys, sessions and accounts, believed from memory for a few seconds so that a request costs no query.
//!
//! What this process changes (a key revoked, an account suspended) is forgotten here at once; what another process changes is
//! noticed when an entry is `auth.cache_ms` old. Expiry is compared on every use.

pub mod address;
pub mod code;
pub mod key;
pub mod limit;
pub mod password;
pub mod token;
pub mod vault;

mod cache;
pub mod strangers;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use carillon_domain::account::{Settings, Status};
use carillon_domain::id::{AccountId, AccountNo, ApiKeyId, SessionId, UserId};
use carillon_domain::permission::{Role, Scope, Scopes};
use carillon_domain::sender::policy::{CountryRules, SenderSet};
use carillon_store::account::{Account, NewAccount, StartingCredit};
use carillon_store::api_key::ApiKey;
use carillon_store::session::Session;
use carillon_store::{Db, StoreError, account, api_key, sender, session, user};

use crate::api::error::{Code, Problem};
use crate::app::{App, Ids};
pub(crate) use cache::Cache;

/// Somebody who may ask: an account, and what the credential allows there.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The account; every query takes it.
    pub account: AccountNo,
    /// The account's standing, tier and settings, as of at most `auth.cache_ms` ago.
    pub info: Arc<Known>,
    /// What the credential may do.
    pub scopes: Scopes,
    /// Whose hand it is.
    pub actor: Actor,
}

/// An account as requests need it: its row, and what its messages may be from.
#[derive(Clone, Debug)]
pub struct Known {
    account: Account,
    /// Its approved senders.
    pub senders: SenderSet,
    /// What countries demand of senders; `None` where `from` is free.
    pub countries: Option<Arc<CountryRules>>,
}

impl std::ops::Deref for Known {
    type Target = Account;
    fn deref(&self) -> &Account {
        &self.account
    }
}

/// Whose hand is asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    /// A program.
    Key(ApiKeyId),
    /// A person, signed in.
    User(UserId, SessionId),
    /// Anybody, in open mode.
    Open,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Actor::Key(id) => write!(f, "{id}"),
            Actor::User(id, _) => write!(f, "{id}"),
            Actor::Open => f.write_str("open mode"),
        }
    }
}

impl Caller {
    /// Refuses what the credential may not do, and sending from a suspended account.
    pub fn allow(&self, scope: Scope) -> Result<(), Problem> {
        if !self.scopes.allows(scope) {
            return Err(Code::Forbidden.with(format!("this needs the scope `{}`", scope.as_str())));
        }
        if scope == Scope::MessagesSend { self.may_send() } else { Ok(()) }
    }

    /// Refuses a suspended account.
    pub fn may_send(&self) -> Result<(), Problem> {
        if self.info.status == Status::Suspended { Err(Code::AccountSuspended.into()) } else { Ok(()) }
    }
}

/// What anybody may do who names an account in open mode: use it, not administer it.
fn open_scopes() -> Scopes {
    [Scope::MessagesSend, Scope::MessagesRead, Scope::VerificationsManage, Scope::BillingRead, Scope::AccountRead]
        .into_iter()
        .fold(Scopes::NONE, Scopes::with)
}

struct LiveKey {
    key: ApiKey,
    hash: key::Hash,
    touched: AtomicI64,
}

struct LiveSession {
    session: Session,
    scopes: Scopes,
}

/// Notes of use are written at most this often, milliseconds.
const TOUCH_EVERY_MS: i64 = 60_000;

/// What is remembered of credentials and accounts.
pub struct Access {
    keys: Cache<key::KeyId, Arc<LiveKey>>,
    sessions: Cache<SessionId, Arc<LiveSession>>,
    accounts: Cache<AccountNo, Arc<Known>>,
    countries: Cache<(), Arc<CountryRules>>,
    /// Failures to sign in with addresses nobody has.
    pub strangers: strangers::Strangers,
    /// Ids never change their number; remembered for good.
    numbers: Cache<AccountId, AccountNo>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

impl Access {
    /// `cache_ms`: how long an entry is believed.
    pub fn new(cache_ms: u64) -> Access {
        Access {
            keys: Cache::new(cache_ms),
            sessions: Cache::new(cache_ms),
            accounts: Cache::new(cache_ms),
            countries: Cache::new(cache_ms),
            strangers: strangers::Strangers::default(),
            numbers: Cache::new(u64::MAX),
        }
    }

    /// Forgets an account after a change of its status, tier or settings.
    pub fn forget_account(&self, no: AccountNo) {
        self.accounts.remove(&no);
    }

    /// Forgets what countries demand of senders, after a change; accounts remember it too.
    pub fn forget_countries(&self) {
        self.countries.clear();
        self.accounts.clear();
    }

    /// Forgets a key after its end.
    pub fn forget_key(&self, key_id: &str) {
        if let Ok(key_id) = key_id.as_bytes().try_into() {
            self.keys.remove(&key_id);
        }
    }

    /// Forgets a session after its end or a change of its user's role.
    pub fn forget_session(&self, id: SessionId) {
        self.sessions.remove(&id);
    }
}

impl App {
    /// The caller a credential (API key or access token) stands for.
    pub async fn caller_of(&self, credential: &str) -> Result<Caller, Problem> {
        let (account, scopes, actor) = if key::looks_like_one(credential) {
            self.by_key(credential).await?
        } else {
            self.by_token(credential).await?
        };
        let info = self.account(account).await?;
        if info.status == Status::Closed {
            return Err(Code::AccountClosed.into());
        }
        Ok(Caller { account, info, scopes, actor })
    }

    async fn by_key(&self, credential: &str) -> Result<(AccountNo, Scopes, Actor), Problem> {
        let key_id = key::parse(credential).ok_or(Code::InvalidCredential)?;
        let at = self.clock.monotonic();
        let live = match self.access.keys.get(&key_id, at) {
            Some(live) => live,
            None => {
                let ticket = self.access.keys.ticket();
                let text = std::str::from_utf8(&key_id).expect("parse takes ASCII only");
                let key = api_key::by_key_id(&self.db, text).await?.ok_or(Code::InvalidCredential)?;
                let hash = key.secret_hash[..].try_into().map_err(|_| Code::InvalidCredential)?;
                let live = Arc::new(LiveKey { touched: AtomicI64::new(key.used_at.unwrap_or(0)), hash, key });
                self.access.keys.put(key_id, live.clone(), at, ticket);
                live
            }
        };
        if !key::same(&key::hash(credential), &live.hash) {
            return Err(Code::InvalidCredential.into());
        }
        let now = self.clock.now_ms();
        if live.key.revoked_at.is_some() {
            return Err(Code::RevokedCredential.into());
        }
        if live.key.expires_at.is_some_and(|end| end <= now) {
            return Err(Code::ExpiredCredential.into());
        }
        self.note_use(&live, now);
        Ok((live.key.account, live.key.scopes, Actor::Key(live.key.id)))
    }

    fn note_use(&self, live: &LiveKey, now: i64) {
        let last = live.touched.load(Ordering::Relaxed);
        let due = now - last >= TOUCH_EVERY_MS;
        if due && live.touched.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (db, account, id) = (self.db.clone(), live.key.account, live.key.id);
            tokio::spawn(async move {
                if let Err(error) = api_key::touch(&db, account, id, now).await {
                    tracing::warn!(%error, key = %id, "could not note the use of {id}");
                }
            });
        }
    }

    async fn by_token(&self, credential: &str) -> Result<(AccountNo, Scopes, Actor), Problem> {
        let now = self.clock.now_ms();
        let claims = token::verify(&self.secrets.token_key, credential, now / 1_000).map_err(|e| match e {
            token::TokenError::Invalid => Code::InvalidCredential,
            token::TokenError::Expired => Code::ExpiredCredential,
        })?;
        let at = self.clock.monotonic();
        let live = match self.access.sessions.get(&claims.sid, at) {
            Some(live) => live,
            None => {
                let ticket = self.access.sessions.ticket();
                let session = session::by_id(&self.db, claims.sid).await?.ok_or(Code::RevokedCredential)?;
                let role = user::role(&self.db, session.account, session.user).await?.ok_or(Code::RevokedCredential)?;
                let operator = user::by_id(&self.db, session.user).await?.operator;
                let live = Arc::new(LiveSession { scopes: scopes_of(role, operator), session });
                self.access.sessions.put(claims.sid, live.clone(), at, ticket);
                live
            }
        };
        let s = &live.session;
        if s.revoked_at.is_some() || s.expires_at <= now || s.user != claims.sub || s.account != claims.account() {
            return Err(Code::RevokedCredential.into());
        }
        Ok((s.account, live.scopes, Actor::User(s.user, s.id)))
    }

    /// The account of that number, from memory if it was read lately.
    pub async fn account(&self, no: AccountNo) -> Result<Arc<Known>, StoreError> {
        let at = self.clock.monotonic();
        if let Some(info) = self.access.accounts.get(&no, at) {
            return Ok(info);
        }
        let ticket = self.access.accounts.ticket();
        let account = account::by_no(&self.db, no).await?;
        let senders = sender::approved(&self.db, no).await?;
        let countries = if self.config.senders.required { Some(self.country_rules().await?) } else { None };
        let info = Arc::new(Known { account, senders, countries });
        self.access.accounts.put(no, info.clone(), at, ticket);
        Ok(info)
    }

    async fn country_rules(&self) -> Result<Arc<CountryRules>, StoreError> {
        let at = self.clock.monotonic();
        if let Some(rules) = self.access.countries.get(&(), at) {
            return Ok(rules);
        }
        let ticket = self.access.countries.ticket();
        let rules = sender::rules(&self.db).await?.into_iter().map(|row| row.rule);
        let rules: Arc<CountryRules> = Arc::new(rules.collect());
        self.access.countries.put((), rules.clone(), at, ticket);
        Ok(rules)
    }

    /// The number of the account of that id.
    pub async fn account_no(&self, id: AccountId) -> Result<AccountNo, StoreError> {
        let at = self.clock.monotonic();
        if let Some(no) = self.access.numbers.get(&id, at) {
            return Ok(no);
        }
        let ticket = self.access.numbers.ticket();
        let no = account::by_id(&self.db, id).await?.no;
        self.access.numbers.put(id, no, at, ticket);
        Ok(no)
    }

    /// The caller that open mode makes of an account's number.
    pub async fn open_caller(&self, no: AccountNo) -> Result<Caller, Problem> {
        let info = self.account(no).await?;
        if info.status == Status::Closed {
            return Err(Code::AccountClosed.into());
        }
        Ok(Caller { account: no, info, scopes: open_scopes(), actor: Actor::Open })
    }

    /// The account a `client_id` names in open mode; an unknown UUID opens one (E3).
    pub async fn open_account(&self, id: AccountId) -> Result<AccountNo, Problem> {
        match self.account_no(id).await {
            Err(StoreError::NotFound) => {}
            other => return Ok(other?),
        }
        let open = &self.config.open_mode;
        let amount = carillon_domain::money::Money::from_cents(open.starting_balance_cents.into());
        let credit = StartingCredit { amount, counter: self.ids.next(), note: "open mode", actor: "open mode" };
        let new = NewAccount {
            id: Some(id),
            counter: self.ids.next(),
            name: &id.0.to_string(),
            currency: &self.config.prices.currency,
            settings: Settings { lenient: open.lenient, ..Settings::default() },
            owner: None,
            credit: (open.starting_balance_cents > 0).then_some(credit),
            now: self.clock.now_ms(),
        };
        match account::create(&self.db, &new).await {
            Ok(account) => {
                tracing::info!(account = %account.id, "opened account {} for a new client_id", account.id);
                Ok(account.no)
            }
            Err(StoreError::Taken(_)) => Ok(self.account_no(id).await?),
            Err(e) => Err(e.into()),
        }
    }
}

/// Makes and stores a key; returns it whole, for the one time it is shown, and its row.
pub async fn issue_key(
    db: &Db,
    ids: &Ids,
    now: i64,
    account: AccountNo,
    name: String,
    scopes: Scopes,
    expires_at: Option<i64>,
) -> Result<(String, ApiKey), StoreError> {
    let (whole, key_id) = key::generate();
    let row = ApiKey {
        id: ApiKeyId::new(now, ids.next(), account),
        account,
        key_id,
        secret_hash: key::hash(&whole).to_vec(),
        hint: whole[whole.len() - 4..].to_owned(),
        name,
        scopes,
        created_at: now,
        expires_at,
        revoked_at: None,
        used_at: None,
    };
    api_key::create(db, &row).await?;
    Ok((whole, row))
}

/// What a person may do in an account.
pub fn scopes_of(role: Role, operator: bool) -> Scopes {
    if operator { role.scopes().with(Scope::Operate) } else { role.scopes() }
}
