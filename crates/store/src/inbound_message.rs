//! Messages from phones as they are read, and what is still to be answered.

use carillon_domain::id::{AccountNo, ConversationId, InboundId, KeywordRuleId, MessageId};
use carillon_domain::keyword::Action;
use uuid::Uuid;

use crate::db::one;
use crate::hot::open_text;
use crate::{Db, StoreError};

/// A message from a phone, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InboundMessage {
    /// Its id; also says when it was complete.
    pub id: InboundId,
    /// Its conversation; none if nobody owns the number.
    pub conversation: Option<ConversationId>,
    /// Name of the connection it came by.
    pub connection: Option<String>,
    /// What it came to: digits.
    pub number: String,
    /// Who wrote: a number with +, a short code, or a name.
    pub peer: String,
    /// Keyed hash of that.
    pub peer_tag: i64,
    /// Its text, or octets as base64.
    pub body: String,
    /// Whether it is octets.
    pub is_binary: bool,
    /// How many parts it had.
    pub parts: i32,
    /// Those that never came, from 1.
    pub missing: Vec<u8>,
    /// When the carrier had it, Unix milliseconds.
    pub carrier_at: Option<i64>,
    /// What it did.
    pub action: Action,
    /// By which rule of the account.
    pub rule: Option<KeywordRuleId>,
    /// What answered it by itself.
    pub answer: Option<MessageId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    conversation_id: Option<Uuid>,
    connection: Option<String>,
    number: String,
    peer: Vec<u8>,
    peer_tag: i64,
    body: Vec<u8>,
    is_binary: i16,
    parts: i32,
    missing: Option<String>,
    carrier_at: Option<i64>,
    action: i16,
    rule_id: Option<Uuid>,
    answer_id: Option<Uuid>,
}

const SELECT: &str = "SELECT i.id, i.conversation_id, c.name AS connection, i.number, i.peer, i.peer_tag, i.body, i.is_binary, \
     CAST(i.parts AS INTEGER) AS parts, i.missing, i.carrier_at, i.action, i.rule_id, i.answer_id FROM inbound_message i \
     LEFT JOIN connection c ON c.no = i.connection_no";

impl TryFrom<Row> for InboundMessage {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<InboundMessage, StoreError> {
        let missing = r.missing.as_deref().map(serde_json::from_str).transpose();
        Ok(InboundMessage {
            id: InboundId(r.id),
            conversation: r.conversation_id.map(ConversationId),
            connection: r.connection,
            number: r.number,
            peer: open_text(&r.peer)?.to_string(),
            peer_tag: r.peer_tag,
            body: open_text(&r.body)?.to_string(),
            is_binary: r.is_binary != 0,
            parts: r.parts,
            missing: missing.map_err(|e| StoreError::Broken(format!("inbound {}: {e}", r.id)))?.unwrap_or_default(),
            carrier_at: r.carrier_at,
            action: Action::from_number(r.action).unwrap_or(Action::None),
            rule: r.rule_id.map(KeywordRuleId),
            answer: r.answer_id.map(MessageId),
        })
    }
}

/// One message to an account (the platform: to nobody).
pub async fn by_id(db: &Db, account: AccountNo, id: InboundId) -> Result<InboundMessage, StoreError> {
    let text = format!("{SELECT} WHERE i.account_no = $1 AND i.id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    row.try_into()
}

/// Which messages of an account; all conditions hold together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Of this conversation.
    pub conversation: Option<ConversationId>,
    /// To this own number: digits.
    pub number: Option<&'a str>,
    /// From this number: its keyed hash.
    pub peer_tag: Option<i64>,
}

/// Up to `limit` messages to an account (the platform: to nobody) before an id, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    filter: Filter<'_>,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<InboundMessage>, StoreError> {
    // A conversation has an index of its own; the condition must stand alone for it to be used.
    let own = if filter.conversation.is_some() { "i.conversation_id = $3" } else { "($3 IS NULL OR $3 = i.id)" };
    let text = format!(
        "{SELECT} WHERE i.account_no = $1 AND i.id < $2 AND {own} AND ($4 IS NULL OR i.number = $4) \
         AND ($5 IS NULL OR i.peer_tag = $5) ORDER BY i.id DESC LIMIT $6"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(before.unwrap_or(Uuid::max()))
            .bind(filter.conversation.map(|id| id.0))
            .bind(filter.number)
            .bind(filter.peer_tag)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(InboundMessage::try_from).collect()
}

/// Messages that do something which is not done yet: account and id, oldest first.
pub async fn undone(db: &Db, limit: u32) -> Result<Vec<InboundId>, StoreError> {
    let rows: Vec<(Uuid,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT id FROM inbound_message WHERE answer = 1 ORDER BY account_no, id LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    Ok(rows.into_iter().map(|(id,)| InboundId(id)).collect())
}

/// What a message does is done, and it was answered by a message, or by none.
pub async fn done(db: &Db, account: AccountNo, id: InboundId, answer: Option<MessageId>) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query("UPDATE inbound_message SET answer = 2, answer_id = $3 WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .bind(answer.map(|id| id.0))
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}

/// How often a conversation was answered by itself since an id, and how often a stop in it was.
pub async fn answered(
    db: &Db,
    account: AccountNo,
    conversation: ConversationId,
    since: InboundId,
) -> Result<Vec<(InboundId, Action)>, StoreError> {
    let rows: Vec<(Uuid, i16)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT id, action FROM inbound_message WHERE account_no = $1 AND conversation_id = $2 AND id >= $3 \
             AND answer_id IS NOT NULL ORDER BY id DESC LIMIT 1000",
        )
        .bind(account.as_i64())
        .bind(conversation.0)
        .bind(since.0)
        .fetch_all(c)
        .await
    })?;
    Ok(rows.into_iter().map(|(id, n)| (InboundId(id), Action::from_number(n).unwrap_or(Action::None))).collect())
}
