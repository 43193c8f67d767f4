//! The suppression list: entries are opened and ended, never changed, so that the history of a number stays.
//!
//! Account 0 is the platform: its entries bind every account.

use carillon_domain::id::{AccountNo, InboundId, SuppressionId};
use carillon_domain::message::Category;
use carillon_domain::suppression::{Blocks, Reason, Scope, Source};
use uuid::Uuid;

use crate::db::one;
use crate::event::{NewEvent, put_event};
use crate::hot::{open_phone, open_text, seal_phone, seal_text};
use crate::{Db, StoreError};

/// An entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suppression {
    /// Its id; also says when it was made.
    pub id: SuppressionId,
    /// Whose list; the platform's.
    pub account: AccountNo,
    /// E.164 digits without +; `None` once erased.
    pub phone: Option<u64>,
    /// Why.
    pub reason: Reason,
    /// Which messages.
    pub scope: Scope,
    /// How it came to be.
    pub source: Source,
    /// What the person wrote, or a note.
    pub text: Option<String>,
    /// The inbound message that asked for it.
    pub origin: Option<InboundId>,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
}

/// How an entry ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// When, Unix milliseconds.
    pub at: i64,
    /// By whom.
    pub source: Source,
    /// What was written, or a note.
    pub text: Option<String>,
}

/// An entry to be made.
#[derive(Clone, Debug)]
pub struct NewSuppression {
    /// Its id, made by the caller.
    pub id: SuppressionId,
    /// E.164 digits without +.
    pub phone: u64,
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// Why.
    pub reason: Reason,
    /// Which messages.
    pub scope: Scope,
    /// How it came to be.
    pub source: Source,
    /// What the person wrote, or a note.
    pub text: Option<String>,
    /// The inbound message that asked for it.
    pub origin: Option<InboundId>,
}

/// What an entry that others need in memory says; of ended ones `blocks` is nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Whose list.
    pub account: AccountNo,
    /// Keyed hash of the number.
    pub phone_tag: i64,
    /// From which sender alone; '' = any.
    pub sender: String,
    /// What it holds back.
    pub blocks: Blocks,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    account_no: i64,
    phone: Option<Vec<u8>>,
    reason: i16,
    sender: String,
    category: i16,
    source: i16,
    text: Option<Vec<u8>>,
    origin: Option<Uuid>,
    ended_at: Option<i64>,
    ended_by: Option<i16>,
    ended_text: Option<Vec<u8>>,
}

const COLUMNS: &str =
    "id, account_no, phone, reason, sender, category, source, text, origin, ended_at, ended_by, ended_text";

fn text_of(sealed: Option<Vec<u8>>) -> Result<Option<String>, StoreError> {
    sealed.as_deref().map(open_text).transpose().map(|text| text.map(|t| t.to_string()))
}

fn scope_of(sender: String, category: i16) -> Scope {
    Scope { sender: (!sender.is_empty()).then_some(sender), category: Category::from_number(category) }
}

impl TryFrom<Row> for Suppression {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<Suppression, StoreError> {
        let unknown = |column: &str| StoreError::Broken(format!("suppression {}: an unknown {column}", r.id));
        let ended = match r.ended_at {
            None => None,
            Some(at) => Some(Ended {
                at,
                source: r.ended_by.and_then(Source::from_number).ok_or_else(|| unknown("end"))?,
                text: text_of(r.ended_text)?,
            }),
        };
        Ok(Suppression {
            id: SuppressionId(r.id),
            account: AccountNo::from_i64(r.account_no),
            phone: r.phone.as_deref().map(open_phone).transpose()?,
            reason: Reason::from_number(r.reason).ok_or_else(|| unknown("reason"))?,
            source: Source::from_number(r.source).ok_or_else(|| unknown("source"))?,
            scope: scope_of(r.sender, r.category),
            text: text_of(r.text)?,
            origin: r.origin.map(InboundId),
            ended,
        })
    }
}

fn category_number(scope: &Scope) -> i16 {
    scope.category.map_or(-1, Category::number)
}

/// Makes the event of an entry that is opened, or ended.
pub type Told<'a> = &'a (dyn Fn(SuppressionId) -> NewEvent + Sync);

/// Opens entries of one list, in one transaction. For each the id under which it stands and whether it is new: one that says the same and
/// is open already stays as it is.
pub async fn add(
    db: &Db,
    account: AccountNo,
    entries: &[NewSuppression],
    now: i64,
    told: Option<Told<'_>>,
) -> Result<Vec<(SuppressionId, bool)>, StoreError> {
    let mut added = Vec::with_capacity(entries.len());
    write_db!(db, |tx| {
        for e in entries {
            let sender = e.scope.sender.as_deref().unwrap_or("");
            let made = sqlx::query(
                "INSERT INTO suppression (account_no, id, phone, phone_tag, reason, sender, category, source, text, origin, \
                 created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) ON CONFLICT DO NOTHING",
            )
            .bind(account.as_i64())
            .bind(e.id.0)
            .bind(seal_phone(e.phone).to_vec())
            .bind(e.phone_tag)
            .bind(e.reason.number())
            .bind(sender)
            .bind(category_number(&e.scope))
            .bind(e.source.number())
            .bind(e.text.as_deref().map(seal_text))
            .bind(e.origin.map(|id| id.0))
            .bind(now)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if made == 1 {
                if let Some(told) = told {
                    put_event!(tx, &told(e.id));
                }
                added.push((e.id, true));
                continue;
            }
            let (id,): (Uuid,) = sqlx::query_as(
                "SELECT id FROM suppression WHERE account_no = $1 AND phone_tag = $2 AND reason = $3 AND sender = $4 \
                 AND category = $5 AND ended_at IS NULL",
            )
            .bind(account.as_i64())
            .bind(e.phone_tag)
            .bind(e.reason.number())
            .bind(sender)
            .bind(category_number(&e.scope))
            .fetch_one(&mut *tx)
            .await?;
            added.push((SuppressionId(id), false));
        }
    });
    Ok(added)
}

/// Ends an entry of that list; `NotFound` if it is not there. One that has ended keeps its first end.
pub async fn end(
    db: &Db,
    account: AccountNo,
    id: SuppressionId,
    source: Source,
    text: Option<&str>,
    now: i64,
) -> Result<i64, StoreError> {
    let (tag,): (i64,) = write_db!(db, |tx| {
        sqlx::query(
            "UPDATE suppression SET ended_at = $3, ended_by = $4, ended_text = $5, changed_at = $3 \
             WHERE account_no = $1 AND id = $2 AND ended_at IS NULL",
        )
        .bind(account.as_i64())
        .bind(id.0)
        .bind(now)
        .bind(source.number())
        .bind(text.map(seal_text))
        .execute(&mut *tx)
        .await?;
        sqlx::query_as("SELECT phone_tag FROM suppression WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .fetch_one(&mut *tx)
            .await?
    });
    Ok(tag)
}

/// Ends what the person themselves asked for by a word such as STOP, or on their page: opt-outs of that list that came so, those of the whole
/// account and of this sender. Nothing else: who never asked for it cannot lift it. How many ended; subscribers are told of each.
pub async fn end_by_keyword(
    db: &Db,
    account: AccountNo,
    phone_tag: i64,
    sender: &str,
    text: &str,
    now: i64,
    told: Told<'_>,
) -> Result<u64, StoreError> {
    let ended = write_db!(db, |tx| {
        let ended: Vec<(Uuid,)> = sqlx::query_as(
            "UPDATE suppression SET ended_at = $5, ended_by = $6, ended_text = $7, changed_at = $5 WHERE account_no = $1 \
             AND phone_tag = $2 AND reason = $3 AND source IN ($6, $8) AND sender IN ('', $4) AND ended_at IS NULL RETURNING id",
        )
        .bind(account.as_i64())
        .bind(phone_tag)
        .bind(Reason::OptOut.number())
        .bind(sender)
        .bind(now)
        .bind(Source::Keyword.number())
        .bind(seal_text(text))
        .bind(Source::Page.number())
        .fetch_all(&mut *tx)
        .await?;
        for (id,) in &ended {
            put_event!(tx, &told(SuppressionId(*id)));
        }
        ended.len() as u64
    });
    Ok(ended)
}

/// One entry of a list, ended or not.
pub async fn by_id(db: &Db, account: AccountNo, id: SuppressionId) -> Result<Suppression, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM suppression WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    row.try_into()
}

/// Which entries of a list; all conditions hold together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Of this number (its keyed hash).
    pub phone_tag: Option<i64>,
    /// For this reason.
    pub reason: Option<Reason>,
    /// Those that have ended too.
    pub ended: bool,
}

/// Up to `limit` entries of a list before an id, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    filter: Filter,
    before: Option<SuppressionId>,
    limit: u32,
) -> Result<Vec<Suppression>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM suppression WHERE account_no = $1 AND id < $2 AND ($3 IS NULL OR phone_tag = $3) \
         AND ($4 IS NULL OR reason = $4) AND ($5 = 1 OR ended_at IS NULL) ORDER BY id DESC LIMIT $6"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(filter.phone_tag)
            .bind(filter.reason.map(Reason::number))
            .bind(i16::from(filter.ended))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(Suppression::try_from).collect()
}

/// A place in the order of changes.
pub type Change = (i64, AccountNo, SuppressionId);

#[derive(sqlx::FromRow)]
struct HeldRow {
    account_no: i64,
    id: Uuid,
    phone_tag: i64,
    reason: i16,
    sender: String,
    category: i16,
    ended_at: Option<i64>,
    changed_at: i64,
}

const HELD: &str = "account_no, id, phone_tag, reason, sender, category, ended_at, changed_at";

impl HeldRow {
    fn held(self) -> Held {
        // A reason that this version does not know holds back as much as any could.
        let reason = Reason::from_number(self.reason).unwrap_or(Reason::Blocked);
        let blocks = match self.ended_at {
            None => Blocks::of(reason, Category::from_number(self.category)),
            Some(_) => Blocks::NONE,
        };
        Held { account: AccountNo::from_i64(self.account_no), phone_tag: self.phone_tag, sender: self.sender, blocks }
    }
}

/// Open entries of all lists after one (account and id), at most `limit`, and where to go on. At start.
pub async fn open_after(
    db: &Db,
    after: (AccountNo, SuppressionId),
    limit: u32,
) -> Result<(Vec<Held>, Option<(AccountNo, SuppressionId)>), StoreError> {
    let text = format!(
        "SELECT {HELD} FROM suppression WHERE (account_no, id) > ($1, $2) AND ended_at IS NULL ORDER BY account_no, id LIMIT $3"
    );
    let rows: Vec<HeldRow> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(after.0.as_i64())
            .bind(after.1.0)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    let next = rows.last().map(|r| (AccountNo::from_i64(r.account_no), SuppressionId(r.id)));
    Ok((rows.into_iter().map(HeldRow::held).collect(), next))
}

/// What changed in all lists after a place, oldest first, at most `limit`, and the last place.
pub async fn changed_after(db: &Db, after: Change, limit: u32) -> Result<(Vec<Held>, Option<Change>), StoreError> {
    let text = format!(
        "SELECT {HELD} FROM suppression WHERE changed_at >= $1 AND (changed_at, account_no, id) > ($1, $2, $3) \
         ORDER BY changed_at, account_no, id LIMIT $4"
    );
    let rows: Vec<HeldRow> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(after.0)
            .bind(after.1.as_i64())
            .bind(after.2.0)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    let last = rows.last().map(|r| (r.changed_at, AccountNo::from_i64(r.account_no), SuppressionId(r.id)));
    Ok((rows.into_iter().map(HeldRow::held).collect(), last))
}

/// Everything a list ever said of one number, ended entries with nothing in `blocks`.
pub async fn of_number(db: &Db, account: AccountNo, phone_tag: i64) -> Result<Vec<Held>, StoreError> {
    let text = format!("SELECT {HELD} FROM suppression WHERE account_no = $1 AND phone_tag = $2");
    let rows: Vec<HeldRow> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text)).bind(account.as_i64()).bind(phone_tag).fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(HeldRow::held).collect())
}
