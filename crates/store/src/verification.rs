//! Verifications of phone numbers, and the caps that codes count against. Whatever decides does so in one transaction with the row, or the
//! caps, locked; so a hundred checks at once are a hundred checks one after the other.

pub mod sweep;

use std::sync::Arc;

use carillon_domain::id::{AccountNo, MessageId, VerificationId, compose};
use carillon_domain::limit::Decision;
use carillon_domain::phone::Country;
use carillon_domain::verification::{
    Cap, Checked, Destination, GRACE_MS, NoResend, Progress, Refusal, Rules, State, WINDOW_MS,
};
use uuid::Uuid;

use crate::db::{built, one};
use crate::event::{NewEvent, put_event};
use crate::hot::{IdempotencyKey, open_phone, open_text, seal_phone, seal_text};
use crate::idempotency::keyed;
use crate::{Db, StoreError};

/// One verification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verification {
    /// Its id; also says when it was begun.
    pub id: VerificationId,
    /// E.164 digits without +.
    pub phone: u64,
    /// The number as the rules see it.
    pub destination: Destination,
    /// What its messages are from.
    pub sender: Option<String>,
    /// The text, `{code}` in the code's place.
    pub template: Arc<str>,
    /// Keyed hash of id and code.
    pub code_mac: Vec<u8>,
    /// Whether the caller made the code.
    pub given: bool,
    /// How many codes were made before this one.
    pub generation: i16,
    /// Characters of a code that is made.
    pub length: i16,
    /// What events change.
    pub progress: Progress,
    /// When a code went on its way whose message is still to be erased, Unix milliseconds.
    pub sending_since: Option<i64>,
    /// The messages that carried the code.
    pub messages: Vec<MessageId>,
    /// Keyed hash of the address of the person who asks.
    pub address_tag: Option<i64>,
    /// The caller's own name for it.
    pub client_ref: Option<String>,
    /// JSON object of the caller's.
    pub metadata: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    state: i16,
    phone: Vec<u8>,
    phone_tag: i64,
    prefix: i64,
    country: String,
    sender: Option<String>,
    template: Vec<u8>,
    code_mac: Vec<u8>,
    given: bool,
    generation: i16,
    length: i16,
    attempts: i16,
    attempts_max: i16,
    sends: i16,
    sends_max: i16,
    sent_at: i64,
    resend_after: i64,
    expires_at: i64,
    ended_at: Option<i64>,
    sending_since: Option<i64>,
    messages: Vec<u8>,
    address_tag: Option<i64>,
    client_ref: Option<String>,
    metadata: Option<String>,
}

const COLUMNS: &str = "id, state, phone, phone_tag, prefix, country, sender, template, code_mac, given, generation, length, attempts, \
    attempts_max, sends, sends_max, sent_at, resend_after, expires_at, ended_at, sending_since, messages, address_tag, client_ref, metadata";

impl TryFrom<Row> for Verification {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<Verification, StoreError> {
        let broken = || StoreError::Broken(format!("verification {}: a column makes no sense", r.id));
        let count = |n: i16| u16::try_from(n).map_err(|_| broken());
        let ids = r.messages.chunks_exact(16).map(Uuid::from_slice).collect::<Result<Vec<_>, _>>();
        Ok(Verification {
            id: VerificationId(r.id),
            phone: open_phone(&r.phone)?,
            destination: Destination { phone_tag: r.phone_tag, prefix: r.prefix, country: Country::parse(&r.country) },
            template: open_text(&r.template)?,
            progress: Progress {
                state: State::from_number(r.state).ok_or_else(broken)?,
                attempts: count(r.attempts)?,
                attempts_max: count(r.attempts_max)?,
                sends: count(r.sends)?,
                sends_max: count(r.sends_max)?,
                sent_at: r.sent_at,
                resend_after: r.resend_after,
                expires_at: r.expires_at,
                ended_at: r.ended_at,
            },
            messages: ids.map_err(|_| broken())?.into_iter().map(MessageId).collect(),
            sender: r.sender,
            code_mac: r.code_mac,
            given: r.given,
            generation: r.generation,
            length: r.length,
            sending_since: r.sending_since,
            address_tag: r.address_tag,
            client_ref: r.client_ref,
            metadata: r.metadata,
        })
    }
}

fn country_text(v: &Verification) -> String {
    v.destination.country.map_or_else(String::new, |c| c.as_str().to_owned())
}

fn ids_bytes(v: &Verification) -> Vec<u8> {
    v.messages.iter().flat_map(|id| *id.0.as_bytes()).collect()
}

/// Reads one and keeps others from changing it until the transaction ends.
macro_rules! locked {
    ($tx:expr, $account:expr, $id:expr) => {{
        let text = format!(
            "UPDATE verification SET attempts = attempts WHERE account_no = $1 AND id = $2 RETURNING {COLUMNS}"
        );
        let row: Row = sqlx::query_as(built(text)).bind($account.as_i64()).bind($id.0).fetch_one(&mut *$tx).await?;
        Verification::try_from(row)?
    }};
}

/// Makes the event of an end: whose, of what, in which state.
pub type Ended<'a> = &'a (dyn Fn(AccountNo, VerificationId, State) -> NewEvent + Sync);

/// Writes what may have changed, and an event if it ended.
macro_rules! written {
    ($tx:expr, $account:expr, $v:expr, $open:expr, $ended:expr) => {{
        let ended: Ended<'_> = $ended;
        written!($tx, $account, $v);
        if $open && $v.progress.state != State::Pending {
            put_event!($tx, &ended($account, $v.id, $v.progress.state));
        }
    }};
    ($tx:expr, $account:expr, $v:expr) => {{
        let (v, p) = ($v, &$v.progress);
        sqlx::query(
            "UPDATE verification SET state = $3, attempts = $4, sends = $5, sent_at = $6, ended_at = $7, sending_since = $8, \
             messages = $9, code_mac = $10, generation = $11 WHERE account_no = $1 AND id = $2",
        )
        .bind($account.as_i64())
        .bind(v.id.0)
        .bind(p.state.number())
        .bind(p.attempts as i16)
        .bind(p.sends as i16)
        .bind(p.sent_at)
        .bind(p.ended_at)
        .bind(v.sending_since)
        .bind(ids_bytes(v))
        .bind(&v.code_mac)
        .bind(v.generation)
        .execute(&mut *$tx)
        .await?;
    }};
}

/// `($1, $2, $3, $4), …` for so many rows of four.
fn rows_of_four(rows: usize) -> String {
    let row = |i: usize| format!("(${}, ${}, ${}, ${})", 4 * i + 1, 4 * i + 2, 4 * i + 3, 4 * i + 4);
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

type Spending = Vec<(Cap, i64, i64)>;

/// Writes what each cap has spent.
macro_rules! spent {
    ($tx:expr, $account:expr, $spending:expr) => {{
        let text = format!(
            "INSERT INTO verification_cap (account_no, cap, key, spent_until) VALUES {} \
             ON CONFLICT (account_no, cap, key) DO UPDATE SET spent_until = excluded.spent_until",
            rows_of_four($spending.len())
        );
        let mut query = sqlx::query(built(text));
        for (cap, key, until) in &$spending {
            query = query.bind($account.as_i64()).bind(*cap as i16).bind(*key).bind(*until);
        }
        query.execute(&mut *$tx).await?;
    }};
}

/// Reads what each cap has spent, in their order, and keeps others from spending until the transaction ends.
macro_rules! spending {
    ($tx:expr, $account:expr, $caps:expr) => {{
        let text = format!(
            "INSERT INTO verification_cap (account_no, cap, key, spent_until) VALUES {} \
             ON CONFLICT (account_no, cap, key) DO UPDATE SET spent_until = verification_cap.spent_until RETURNING cap, spent_until",
            rows_of_four($caps.len())
        );
        let mut query = sqlx::query_as::<_, (i16, i64)>(built(text));
        for (cap, key, _) in &$caps {
            query = query.bind($account.as_i64()).bind(*cap as i16).bind(*key).bind(0i64);
        }
        query.fetch_all(&mut *$tx).await?
    }};
}

/// Gives back what one code counted.
macro_rules! given_back {
    ($tx:expr, $account:expr, $caps:expr) => {
        if !$caps.is_empty() {
            let before = spending!($tx, $account, $caps);
            let spending: Spending = $caps
                .iter()
                .map(|(cap, key, limit)| (*cap, *key, limit.give_back(spent_of(*cap, &before) as u64) as i64))
                .collect();
            spent!($tx, $account, spending);
        }
    };
}

/// How many of the last codes were given back: seen and approved.
macro_rules! conversion {
    ($tx:expr, $account:expr, $column:literal, $value:expr, $now:expr, $sample:expr) => {{
        sqlx::query_as::<_, (i64, i64)>(concat!(
            "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN state = 1 THEN 1 ELSE 0 END), 0) AS BIGINT) FROM \
             (SELECT state FROM verification WHERE account_no = $1 AND ",
            $column,
            " = $2 AND id >= $3 AND (id < $4 OR state = 1) AND state <> 5 ORDER BY id DESC LIMIT $5) AS recent"
        ))
        .bind($account.as_i64())
        .bind($value)
        .bind(compose($now - WINDOW_MS, 0, AccountNo::PLATFORM))
        .bind(compose($now - GRACE_MS, 0, AccountNo::PLATFORM))
        .bind(i64::from($sample))
        .fetch_one(&mut *$tx)
        .await?
    }};
}

/// Counts one code against every rule, or says which one refuses it. What was counted stays only if the transaction does.
macro_rules! admitted {
    ($tx:expr, $account:expr, $v:expr, $rules:expr, $now:expr) => {{
        let (v, rules): (&Verification, &Rules) = ($v, $rules);
        let mut verdict = rules.country(v.destination.country);
        let caps = rules.caps(&v.destination, v.address_tag);
        if verdict.is_ok() && !caps.is_empty() {
            let before = spending!($tx, $account, caps);
            let (spending, refusal) = spend(&caps, &before, $now);
            spent!($tx, $account, spending);
            verdict = refusal.map_or(Ok(()), Err);
        }
        if verdict.is_ok() && rules.conversion_prefix_sample > 0 {
            let sample = rules.conversion_prefix_sample;
            let (seen, approved) = conversion!($tx, $account, "prefix", v.destination.prefix, $now, sample);
            if !rules.converts(seen as u64, approved as u64, sample) {
                verdict = Err(Refusal::PrefixConversion);
            }
        }
        if verdict.is_ok() && rules.conversion_country_sample > 0 {
            let sample = rules.conversion_country_sample;
            let (seen, approved) = conversion!($tx, $account, "country", country_text(v), $now, sample);
            if !rules.converts(seen as u64, approved as u64, sample) {
                verdict = Err(Refusal::CountryConversion);
            }
        }
        verdict
    }};
}

fn spent_of(cap: Cap, spending: &[(i16, i64)]) -> i64 {
    spending.iter().find(|(of, _)| *of == cap as i16).map_or(0, |(_, until)| (*until).max(0))
}

/// What each cap will have spent, and the first that refuses.
fn spend(
    caps: &[(Cap, i64, carillon_domain::limit::Limit)],
    before: &[(i16, i64)],
    now: i64,
) -> (Spending, Option<Refusal>) {
    let (mut spending, mut refusal) = (Vec::with_capacity(caps.len()), None);
    for (cap, key, limit) in caps {
        let spent = spent_of(*cap, before);
        match limit.decide(spent as u64, now.max(0) as u64) {
            Decision::Pass { spent_until, .. } => spending.push((*cap, *key, spent_until as i64)),
            Decision::Refuse { wait } => {
                spending.push((*cap, *key, spent));
                refusal.get_or_insert(Refusal::Cap(*cap, wait));
            }
        }
    }
    (spending, refusal)
}

/// `idempotency.kind` of verifications.
const KIND: i16 = 3;

/// What became of a request to begin one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Begun {
    /// It is stored and counted.
    Begun,
    /// A rule refuses it; nothing changed.
    Refused(Refusal),
    /// The same request had the key before: this is what it began.
    Replayed(VerificationId),
    /// Another request had the key before.
    KeyReused,
}

/// Stores a new one and counts its first code, unless a rule or its key says otherwise.
pub async fn begin(
    db: &Db,
    account: AccountNo,
    v: &Verification,
    rules: &Rules,
    key: Option<IdempotencyKey>,
    now: i64,
) -> Result<Begun, StoreError> {
    write_db!(db, |tx| {
        if let Some(used) = keyed!(tx, account, key, v.id.0, KIND, now) {
            return Ok(used.map_or(Begun::KeyReused, |id| Begun::Replayed(VerificationId(id))));
        }
        if let Err(refusal) = admitted!(tx, account, v, rules, now) {
            return Ok(Begun::Refused(refusal));
        }
        let p = &v.progress;
        let text = format!(
            "INSERT INTO verification (account_no, {COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
             $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)"
        );
        sqlx::query(built(text))
            .bind(account.as_i64())
            .bind(v.id.0)
            .bind(p.state.number())
            .bind(&seal_phone(v.phone)[..])
            .bind(v.destination.phone_tag)
            .bind(v.destination.prefix)
            .bind(country_text(v))
            .bind(&v.sender)
            .bind(seal_text(&v.template))
            .bind(&v.code_mac)
            .bind(v.given)
            .bind(v.generation)
            .bind(v.length)
            .bind(p.attempts as i16)
            .bind(p.attempts_max as i16)
            .bind(p.sends as i16)
            .bind(p.sends_max as i16)
            .bind(p.sent_at)
            .bind(p.resend_after)
            .bind(p.expires_at)
            .bind(p.ended_at)
            .bind(v.sending_since)
            .bind(ids_bytes(v))
            .bind(v.address_tag)
            .bind(&v.client_ref)
            .bind(&v.metadata)
            .execute(&mut *tx)
            .await?;
        Ok(Begun::Begun)
    })
}

/// Undoes a beginning whose message was never accepted (no money, no room): as if it had not been asked for.
pub async fn undo(db: &Db, account: AccountNo, v: &Verification, rules: &Rules) -> Result<(), StoreError> {
    let caps = rules.caps(&v.destination, v.address_tag);
    write_db!(db, |tx| {
        for table in [
            "DELETE FROM verification WHERE account_no = $1 AND id = $2",
            "DELETE FROM idempotency WHERE account_no = $1 AND resource = $2",
        ] {
            sqlx::query(table).bind(account.as_i64()).bind(v.id.0).execute(&mut *tx).await?;
        }
        given_back!(tx, account, caps);
    });
    Ok(())
}

/// What became of a request for one more code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resent {
    /// It is counted and may be sent: the verification as it now is, and as it was.
    Counted(Box<(Verification, Verification)>),
    /// A rule refuses it; nothing changed.
    Refused(Refusal),
    /// The verification takes no more; nothing changed.
    No(NoResend),
    /// The same request had the key before.
    Replayed,
    /// Another request had the key before.
    KeyReused,
}

/// Counts one more code. `change` sets the new hash if there is to be another code.
pub async fn resend(
    db: &Db,
    account: AccountNo,
    id: VerificationId,
    rules: &Rules,
    key: Option<IdempotencyKey>,
    now: i64,
    change: impl Fn(&mut Verification),
) -> Result<Resent, StoreError> {
    write_db!(db, |tx| {
        let before = locked!(tx, account, id);
        if let Some(used) = keyed!(tx, account, key, id.0, KIND, now) {
            return Ok(used.map_or(Resent::KeyReused, |_| Resent::Replayed));
        }
        let mut v = before.clone();
        if let Err(no) = v.progress.resend(now) {
            return Ok(Resent::No(no));
        }
        if let Err(refusal) = admitted!(tx, account, &v, rules, now) {
            return Ok(Resent::Refused(refusal));
        }
        v.sending_since = Some(now);
        change(&mut v);
        written!(tx, account, &v);
        Ok(Resent::Counted(Box::new((v, before))))
    })
}

/// Undoes one more code whose message was never accepted.
pub async fn undo_resend(
    db: &Db,
    account: AccountNo,
    (now_is, before): &(Verification, Verification),
    rules: &Rules,
    key: Option<IdempotencyKey>,
) -> Result<(), StoreError> {
    let caps = rules.caps(&before.destination, before.address_tag);
    write_db!(db, |tx| {
        let mut v = locked!(tx, account, before.id);
        // Unless another followed at once: then that one's time and code stand.
        if v.progress.sends == now_is.progress.sends {
            v.progress.sent_at = before.progress.sent_at;
            v.sending_since = before.sending_since;
            (v.code_mac, v.generation) = (before.code_mac.clone(), before.generation);
        }
        v.progress.sends -= 1;
        written!(tx, account, &v);
        if let Some(key) = &key {
            sqlx::query("DELETE FROM idempotency WHERE account_no = $1 AND key_hash = $2 AND resource = $3")
                .bind(account.as_i64())
                .bind(&key.key[..])
                .bind(before.id.0)
                .execute(&mut *tx)
                .await?;
        }
        given_back!(tx, account, caps);
    });
    Ok(())
}

/// Notes what became of a code: the message that carried it, whose body is erased, and whether a carrier refused it. The verification as it
/// then is.
pub async fn sent(
    db: &Db,
    account: AccountNo,
    id: VerificationId,
    message: MessageId,
    failed: bool,
    now: i64,
    ended: Ended<'_>,
) -> Result<Verification, StoreError> {
    Ok(write_db!(db, |tx| {
        let mut v = locked!(tx, account, id);
        let open = v.progress.state == State::Pending;
        v.messages.push(message);
        v.sending_since = None;
        if failed {
            v.progress.send_failed(now);
        }
        written!(tx, account, &v, open, ended);
        sqlx::query("UPDATE message SET body = $3, otp_code = NULL WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(message.0)
            .bind(seal_text(""))
            .execute(&mut *tx)
            .await?;
        v
    }))
}

/// One check of a code; `right` tells by the stored hash whether it is the right one.
pub async fn check(
    db: &Db,
    account: AccountNo,
    id: VerificationId,
    now: i64,
    right: impl Fn(&[u8]) -> bool,
    ended: Ended<'_>,
) -> Result<(Verification, Checked), StoreError> {
    Ok(write_db!(db, |tx| {
        let mut v = locked!(tx, account, id);
        let open = v.progress.state == State::Pending;
        let checked = v.progress.check(right(&v.code_mac), now);
        written!(tx, account, &v, open, ended);
        (v, checked)
    }))
}

/// Ends one; or the state in which it ended otherwise.
pub async fn cancel(
    db: &Db,
    account: AccountNo,
    id: VerificationId,
    now: i64,
    ended: Ended<'_>,
) -> Result<Result<Verification, State>, StoreError> {
    Ok(write_db!(db, |tx| {
        let mut v = locked!(tx, account, id);
        let open = v.progress.state == State::Pending;
        let canceled = v.progress.cancel(now);
        written!(tx, account, &v, open, ended);
        canceled.map(|()| v)
    }))
}

/// The verification of that id, if it is the account's.
pub async fn by_id(db: &Db, account: AccountNo, id: VerificationId) -> Result<Verification, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM verification WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    row.try_into()
}

/// Up to `limit` of an account's verifications before an id, newest first; of one number, if its tag is given.
pub async fn list(
    db: &Db,
    account: AccountNo,
    phone_tag: Option<i64>,
    before: Option<VerificationId>,
    limit: u32,
) -> Result<Vec<Verification>, StoreError> {
    let number = if phone_tag.is_some() { "AND phone_tag = $4" } else { "" };
    let text = format!(
        "SELECT {COLUMNS} FROM verification WHERE account_no = $1 AND id < $2 {number} ORDER BY id DESC LIMIT $3"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        let query = sqlx::query_as(built(text))
            .bind(account.as_i64())
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(i64::from(limit));
        let query = if let Some(tag) = phone_tag { query.bind(tag) } else { query };
        query.fetch_all(c).await
    })?;
    rows.into_iter().map(Verification::try_from).collect()
}
