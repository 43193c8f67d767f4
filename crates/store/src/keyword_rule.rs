//! What an account's own keywords are answered with.

use carillon_domain::id::{AccountNo, KeywordRuleId};
use carillon_domain::keyword::Match;
use uuid::Uuid;

use crate::db::{delete_one, one};
use crate::{Db, StoreError};

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeywordRule {
    /// Its id; also names the account.
    pub id: KeywordRuleId,
    /// As the account wrote it.
    pub keyword: String,
    /// How it is looked for.
    pub how: Match,
    /// On which own number (digits); every one if none.
    pub number: Option<String>,
    /// What is answered.
    pub reply: String,
    /// Unix milliseconds.
    pub created_at: i64,
}

type Row = (Uuid, String, i16, String, String, i64);
const COLUMNS: &str = "id, keyword, mode, number, reply, created_at";

fn read((id, keyword, mode, number, reply, created_at): Row) -> KeywordRule {
    // A way of looking that this version does not know finds the least.
    let how = Match::from_number(mode).unwrap_or(Match::Exact);
    let number = (!number.is_empty()).then_some(number);
    KeywordRule { id: KeywordRuleId(id), keyword, how, number, reply, created_at }
}

/// Makes a rule, or gives it other contents: the account's own alone.
pub async fn put(db: &Db, account: AccountNo, r: &KeywordRule) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query(
            "INSERT INTO keyword_rule (account_no, id, keyword, mode, number, reply, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (account_no, id) DO UPDATE SET keyword = excluded.keyword, \
             mode = excluded.mode, number = excluded.number, reply = excluded.reply",
        )
        .bind(account.as_i64())
        .bind(r.id.0)
        .bind(&r.keyword)
        .bind(r.how.number())
        .bind(r.number.as_deref().unwrap_or(""))
        .bind(&r.reply)
        .bind(r.created_at)
        .execute(&mut *tx)
        .await?;
    });
    Ok(())
}

/// Takes a rule away.
pub async fn delete(db: &Db, account: AccountNo, id: KeywordRuleId) -> Result<(), StoreError> {
    delete_one(db, "DELETE FROM keyword_rule WHERE account_no = $1 AND id = $2", account, id.0).await
}

/// One rule of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: KeywordRuleId) -> Result<KeywordRule, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM keyword_rule WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    Ok(read(row))
}

/// All rules of an account, oldest first.
pub async fn list(db: &Db, account: AccountNo) -> Result<Vec<KeywordRule>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM keyword_rule WHERE account_no = $1 ORDER BY id");
    let rows: Vec<Row> =
        read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(account.as_i64()).fetch_all(c).await)?;
    Ok(rows.into_iter().map(read).collect())
}
