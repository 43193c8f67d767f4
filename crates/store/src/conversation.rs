//! Conversations: one own number and one who writes to it, what each said, and how much of it is unread.

use carillon_domain::id::{AccountNo, ConversationId, MessageId};
use uuid::Uuid;

use crate::db::one;
use crate::hot::open_text;
use crate::message::{self, Message};
use crate::{Db, StoreError};

/// One conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The own number: digits.
    pub number: String,
    /// Who writes to it: a number with +, a short code, or a name.
    pub peer: String,
    /// Keyed hash of that.
    pub peer_tag: i64,
    /// Messages that came.
    pub received: i32,
    /// Messages that went.
    pub sent: i64,
    /// Those that came and were not read.
    pub unread: i32,
    /// The last that came, or that answered: what lists are ordered by.
    pub last: Uuid,
}

type Row = (Uuid, String, Vec<u8>, i64, i32, i64, i32, Uuid);

/// The number in the index's condition is `Flags::TWO_WAY`.
const SELECT: &str = "SELECT v.id, v.number, v.peer, v.peer_tag, CAST(v.received AS INTEGER), \
     (SELECT COUNT(*) FROM message m WHERE m.account_no = v.account_no AND m.phone_tag = v.peer_tag AND (m.flags & 8192) <> 0 \
      AND REPLACE(m.sender, '+', '') = v.number), CAST(v.unread AS INTEGER), v.last_id FROM conversation v";

fn read((id, number, peer, peer_tag, received, sent, unread, last): Row) -> Result<Conversation, StoreError> {
    let peer = open_text(&peer)?.to_string();
    Ok(Conversation { id: ConversationId(id), number, peer, peer_tag, received, sent, unread, last })
}

/// One conversation of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: ConversationId) -> Result<Conversation, StoreError> {
    let text = format!("{SELECT} WHERE v.account_no = $1 AND v.id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    read(row)
}

/// Up to `limit` conversations of an account whose last message is before one, the latest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    unread: bool,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Conversation>, StoreError> {
    let text = format!(
        "{SELECT} WHERE v.account_no = $1 AND v.last_id < $2 AND ($3 = 0 OR v.unread > 0) ORDER BY v.last_id DESC LIMIT $4"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(before.unwrap_or(Uuid::max()))
            .bind(i16::from(unread))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(read).collect()
}

/// Nothing of it is unread any more.
pub async fn mark_read(db: &Db, account: AccountNo, id: ConversationId) -> Result<(), StoreError> {
    let found = write_db!(db, |tx| {
        sqlx::query("UPDATE conversation SET unread = 0 WHERE account_no = $1 AND id = $2")
            .bind(account.as_i64())
            .bind(id.0)
            .execute(&mut *tx)
            .await?
            .rows_affected()
    });
    if found == 1 { Ok(()) } else { Err(StoreError::NotFound) }
}

/// It was answered: it moves to the front.
pub async fn touch(db: &Db, account: AccountNo, id: ConversationId, message: MessageId) -> Result<(), StoreError> {
    write_db!(db, |tx| {
        sqlx::query("UPDATE conversation SET last_id = $3 WHERE account_no = $1 AND id = $2 AND last_id < $3")
            .bind(account.as_i64())
            .bind(id.0)
            .bind(message.0)
            .execute(&mut *tx)
            .await?;
    });
    Ok(())
}

/// Up to `limit` messages that went to its peer from its number before an id, newest first.
pub async fn sent(
    db: &Db,
    account: AccountNo,
    conversation: &Conversation,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    message::of_conversation(db, account, conversation.peer_tag, &conversation.number, before, limit).await
}
