//! Senders that accounts asked for, and what countries demand of senders.

use std::sync::Arc;

use carillon_domain::id::{AccountNo, SenderId};
use carillon_domain::phone::Country;
use carillon_domain::sender::Sender as Text;
use carillon_domain::sender::policy::{Approved, CountryRule, SenderSet, Standing};
use uuid::Uuid;

use crate::db::{delete_one, newest, one};
use crate::event::{NewEvent, put_event};
use crate::{Db, StoreError};

/// What became of a request for a sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i16)]
pub enum Status {
    /// Nobody has decided.
    Pending = 0,
    /// It may be used.
    Approved = 1,
    /// It may not.
    Rejected = 2,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 3] = [Status::Pending, Status::Approved, Status::Rejected];

    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Approved => "approved",
            Status::Rejected => "rejected",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

/// A sender that an account asked for.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Its id; also says whose it is.
    pub id: SenderId,
    /// Its text.
    pub sender: Text,
    /// Where it may be used; empty is everywhere.
    pub countries: Vec<Country>,
    /// What it is for, in the account's words.
    pub use_case: String,
    /// What became of it.
    pub status: Status,
    /// Why it was rejected.
    pub reason: Option<String>,
    /// Whether it stands in for messages that name none.
    pub default: bool,
    /// Unix milliseconds.
    pub created_at: i64,
    /// When it was approved or rejected, Unix milliseconds.
    pub decided_at: Option<i64>,
}

type Row = (Uuid, String, String, String, i16, Option<String>, i16, i64, Option<i64>);
const COLUMNS: &str = "id, sender, countries, use_case, status, reason, is_default, created_at, decided_at";

fn countries_text(countries: &[Country]) -> String {
    countries.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(" ")
}

fn read(row: Row) -> Result<Sender, StoreError> {
    let (id, sender, countries, use_case, status, reason, default, created_at, decided_at) = row;
    let id = SenderId(id);
    let sender = sender.parse().map_err(|e| StoreError::Broken(format!("sender {id}: {e}")))?;
    let status = Status::ALL.into_iter().find(|s| *s as i16 == status);
    Ok(Sender {
        id,
        sender,
        countries: countries.split_whitespace().filter_map(Country::parse).collect(),
        use_case,
        status: status.ok_or_else(|| StoreError::Broken(format!("sender {id}: an unknown status")))?,
        reason,
        default: default == 1,
        created_at,
        decided_at,
    })
}

/// Stores a request. `Taken` if the account has one for that text.
pub async fn create(db: &Db, account: AccountNo, s: &Sender) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO sender (account_no, id, sender, countries, use_case, status, reason, is_default, created_at, decided_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(account.as_i64())
        .bind(s.id.0)
        .bind(s.sender.as_str())
        .bind(countries_text(&s.countries))
        .bind(&s.use_case)
        .bind(s.status as i16)
        .bind(&s.reason)
        .bind(i16::from(s.default))
        .bind(s.created_at)
        .bind(s.decided_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// One sender of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: SenderId) -> Result<Sender, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM sender WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    read(row)
}

/// Up to `limit` senders of an account older than one, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    before: Option<SenderId>,
    limit: u32,
) -> Result<Vec<Sender>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM sender WHERE account_no = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    let rows: Vec<Row> = newest(db, text, account, before.map(|id| id.0), limit).await?;
    rows.into_iter().map(read).collect()
}

/// For operators: up to `limit` senders of all accounts behind one, oldest first, of that status or of any.
pub async fn of_all(
    db: &Db,
    status: Option<Status>,
    after: Option<SenderId>,
    limit: u32,
) -> Result<Vec<Sender>, StoreError> {
    let text =
        format!("SELECT {COLUMNS} FROM sender WHERE id > $1 AND ($2 IS NULL OR status = $2) ORDER BY id LIMIT $3");
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(after.map_or(Uuid::nil(), |id| id.0))
            .bind(status.map(|s| s as i16))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(read).collect()
}

/// What an operator decided.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// Approved or rejected.
    pub status: Status,
    /// Why it was rejected.
    pub reason: Option<&'a str>,
    /// Approved for these instead of those asked for.
    pub countries: Option<&'a [Country]>,
    /// What subscribers are told.
    pub event: NewEvent,
}

/// Records a decision, and has subscribers told. A rejected sender no longer stands in for others.
pub async fn decide(db: &Db, account: AccountNo, id: SenderId, d: &Decision<'_>) -> Result<Sender, StoreError> {
    let text = format!(
        "UPDATE sender SET status = $3, reason = $4, countries = COALESCE($5, countries), decided_at = $6, \
         is_default = CASE WHEN $3 = 2 THEN 0 ELSE is_default END WHERE account_no = $1 AND id = $2 RETURNING {COLUMNS}"
    );
    let row: Row = write_db!(db, |tx| {
        let row = sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(id.0)
            .bind(d.status as i16)
            .bind(d.reason)
            .bind(d.countries.map(countries_text))
            .bind(d.event.at)
            .fetch_one(&mut *tx)
            .await?;
        put_event!(tx, &d.event);
        row
    });
    read(row)
}

/// Makes a sender stand in for messages that name none, or no longer; of two for the same country (or for everywhere) the newer choice
/// holds.
pub async fn set_default(db: &Db, account: AccountNo, id: SenderId, default: bool) -> Result<Sender, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM sender WHERE account_no = $1 ORDER BY id");
    let chosen = write_db!(db, |tx| {
        let rows: Vec<Row> = sqlx::query_as(crate::db::built(text)).bind(account.as_i64()).fetch_all(&mut *tx).await?;
        let all: Vec<Sender> = rows.into_iter().map(read).collect::<Result<_, _>>()?;
        let mut chosen = all.iter().find(|s| s.id == id).cloned().ok_or(StoreError::NotFound)?;
        let meets =
            |s: &Sender| s.countries == chosen.countries || s.countries.iter().any(|c| chosen.countries.contains(c));
        let others = all.iter().filter(|s| default && s.id != id && s.default && meets(s)).map(|s| (s.id, 0i16));
        for (changed, value) in others.chain([(id, i16::from(default))]) {
            sqlx::query("UPDATE sender SET is_default = $3 WHERE account_no = $1 AND id = $2")
                .bind(account.as_i64())
                .bind(changed.0)
                .bind(value)
                .execute(&mut *tx)
                .await?;
        }
        chosen.default = default;
        chosen
    });
    Ok(chosen)
}

/// Takes a sender away; `NotFound` if it is not the account's.
pub async fn delete(db: &Db, account: AccountNo, id: SenderId) -> Result<(), StoreError> {
    delete_one(db, "DELETE FROM sender WHERE account_no = $1 AND id = $2", account, id.0).await
}

/// What an account may send as: its own numbers (`inbound_number`), everywhere, and what was approved.
pub async fn approved(db: &Db, account: AccountNo) -> Result<SenderSet, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM sender WHERE account_no = $1 AND status = 1 ORDER BY id");
    let rows: Vec<Row> =
        read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(account.as_i64()).fetch_all(c).await)?;
    let approved = rows.into_iter().map(|row| {
        let s = read(row)?;
        let (sender, kind) = (Arc::from(s.sender.as_str()), s.sender.kind());
        Ok(Approved { sender, kind, countries: s.countries, default: s.default, owned: false })
    });
    let numbers: Vec<(String,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT DISTINCT number FROM inbound_number WHERE account_no = $1 ORDER BY number")
            .bind(account.as_i64())
            .fetch_all(c)
            .await
    })?;
    // First: where a number was approved for some countries as well, that it is owned counts.
    let owned = numbers.iter().filter_map(|(number,)| Text::of_number(number)).map(|own| {
        let (sender, kind) = (Arc::from(own.as_str()), own.kind());
        Ok(Approved { sender, kind, countries: Vec::new(), default: false, owned: true })
    });
    Ok(SenderSet::new(owned.chain(approved).collect::<Result<_, StoreError>>()?))
}

/// What a country demands, and whence that is known.
#[derive(Clone, Debug)]
pub struct RuleRow {
    /// The demand.
    pub rule: CountryRule,
    /// Whence it is known.
    pub note: String,
}

/// All rules, by country.
pub async fn rules(db: &Db) -> Result<Vec<RuleRow>, StoreError> {
    type Row = (String, i16, i16, Option<String>, String);
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as("SELECT country, names, numbers, replacement, note FROM sender_rule ORDER BY country")
            .fetch_all(c)
            .await
    })?;
    let read = |(country, names, numbers, replacement, note): Row| {
        let broken = |what: &str| StoreError::Broken(format!("sender rule of {country}: {what}"));
        let rule = CountryRule {
            country: Country::parse(&country).ok_or_else(|| broken("no country"))?,
            names: Standing::from_i16(names),
            numbers: Standing::from_i16(numbers),
            replacement: replacement.map(|r| r.parse()).transpose().map_err(|_| broken("no sender"))?,
        };
        Ok(RuleRow { rule, note })
    };
    rows.into_iter().map(read).collect()
}

/// Sets a country's rule, new or changed.
pub async fn set_rule(db: &Db, row: &RuleRow) -> Result<(), StoreError> {
    let rule = &row.rule;
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO sender_rule (country, names, numbers, replacement, note) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (country) DO UPDATE SET names = excluded.names, numbers = excluded.numbers, \
             replacement = excluded.replacement, note = excluded.note",
        )
        .bind(rule.country.as_str())
        .bind(rule.names as i16)
        .bind(rule.numbers as i16)
        .bind(rule.replacement.as_ref().map(Text::as_str))
        .bind(&row.note)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Takes a country's rule away; `NotFound` if there is none.
pub async fn delete_rule(db: &Db, country: Country) -> Result<(), StoreError> {
    let gone = write_db!(db, |tx| {
        sqlx::query("DELETE FROM sender_rule WHERE country = $1")
            .bind(country.as_str())
            .execute(&mut *tx)
            .await?
            .rows_affected()
    });
    if gone == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}
