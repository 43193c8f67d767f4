//! Receipts and inbound messages that wait until a customer's bind takes them.
//!
//! Receipts are written by settle, in the transaction that ends their message (`hot`), messages from phones in the one that stores them
//! (`inbound`); a row goes when its deliver_sm was answered. Rows name messages; what is told of a message is read from its own row when it
//! is handed over.

use carillon_domain::id::{AccountNo, MessageId, compose};
use carillon_domain::message::{Flags, State};
use carillon_domain::smpp::{CredentialSettings, InboundForm};
use uuid::Uuid;

use crate::hot::{open_phone, open_text};
use crate::{Db, StoreError};

/// One receipt, as the hot path on SQLite writes it: account, credential, seq, message, state.
pub(crate) const INSERT_RECEIPT: &str =
    "INSERT INTO smpp_delivery (account_no, credential, seq, kind, subject, state) VALUES (?1, ?2, ?3, 0, ?4, ?5)";

/// Rows one statement takes away.
const DELETE_MAX: usize = 200;

/// Something to hand over.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its place in the order of delivery.
    pub seq: Uuid,
    /// What it is about.
    pub content: Content,
}

/// What a delivery is about.
#[derive(Clone, Debug)]
pub enum Content {
    /// A receipt; `None` when the message's row is gone, and with it what there was to say.
    Receipt(Option<Ended>),
    /// A message from a phone; `None` when it is gone.
    Inbound(Option<Inbound>),
}

/// A message from a phone, as it is handed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inbound {
    /// Its id.
    pub id: Uuid,
    /// What it came to: digits.
    pub number: String,
    /// Who wrote: a number with +, a short code, or a name.
    pub peer: String,
    /// Its text, or octets as base64.
    pub body: String,
    /// Whether it is octets.
    pub is_binary: bool,
}

/// A message that ended, as its receipt tells it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The id that its submit was answered with: the message's, or of submit_multi the batch's.
    pub id: Uuid,
    /// Whether that is a batch's.
    pub batch: bool,
    /// How it ended.
    pub state: State,
    /// Its properties.
    pub flags: Flags,
    /// E.164 digits without +.
    pub phone: u64,
    /// What it was from.
    pub sender: Option<String>,
    /// When it was taken, Unix milliseconds.
    pub accepted_at: i64,
    /// When it ended, Unix milliseconds.
    pub final_at: i64,
    /// Number of an `ErrorCode`.
    pub error: Option<i16>,
    /// The caller's own name for it.
    pub client_ref: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: Uuid,
    kind: i16,
    subject: Uuid,
    state: i16,
    phone: Option<Vec<u8>>,
    flags: Option<i32>,
    sender: Option<String>,
    batch_id: Option<Uuid>,
    final_at: Option<i64>,
    error_code: Option<i16>,
    client_ref: Option<String>,
    number: Option<String>,
    peer: Option<Vec<u8>>,
    body: Option<Vec<u8>>,
    is_binary: Option<i16>,
}

impl TryFrom<Row> for Delivery {
    type Error = StoreError;
    fn try_from(r: Row) -> Result<Delivery, StoreError> {
        if r.kind != 0 {
            let Some(((number, peer), body)) = r.number.zip(r.peer).zip(r.body) else {
                return Ok(Delivery { seq: r.seq, content: Content::Inbound(None) });
            };
            let inbound = Inbound {
                id: r.subject,
                number,
                peer: open_text(&peer)?.to_string(),
                body: open_text(&body)?.to_string(),
                is_binary: r.is_binary.is_some_and(|n| n != 0),
            };
            return Ok(Delivery { seq: r.seq, content: Content::Inbound(Some(inbound)) });
        }
        let Some((phone, flags)) = r.phone.zip(r.flags) else {
            return Ok(Delivery { seq: r.seq, content: Content::Receipt(None) });
        };
        let accepted_at = MessageId(r.subject).millis();
        let ended = Ended {
            id: r.batch_id.unwrap_or(r.subject),
            batch: r.batch_id.is_some(),
            state: State::from_number(r.state)
                .ok_or_else(|| StoreError::Broken(format!("delivery {}: an unknown state", r.seq)))?,
            flags: Flags(flags),
            phone: open_phone(&phone)?,
            sender: r.sender,
            accepted_at,
            final_at: r.final_at.unwrap_or(accepted_at),
            error: r.error_code,
            client_ref: r.client_ref,
        };
        Ok(Delivery { seq: r.seq, content: Content::Receipt(Some(ended)) })
    }
}

/// The oldest `limit` rows of a credential, in order.
pub async fn oldest(db: &Db, account: AccountNo, credential: u16, limit: u32) -> Result<Vec<Delivery>, StoreError> {
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT d.seq, d.kind, d.subject, d.state, m.phone, m.flags, m.sender, m.batch_id, m.final_at, m.error_code, m.client_ref,
             i.number, i.peer, i.body, i.is_binary
             FROM smpp_delivery d LEFT JOIN message m ON d.kind = 0 AND m.account_no = d.account_no AND m.id = d.subject
             LEFT JOIN inbound_message i ON d.kind = 1 AND i.account_no = d.account_no AND i.id = d.subject
             WHERE d.account_no = $1 AND d.credential = $2 ORDER BY d.seq LIMIT $3",
        )
        .bind(account.as_i64())
        .bind(credential as i16)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    rows.into_iter().map(Delivery::try_from).collect()
}

/// Has a message from a phone (its id, in the order of arrival) handed to every credential of its account that is on and wants them; their
/// numbers are added to `$owed`.
macro_rules! owe_inbound {
    ($tx:expr, $id:expr, $owed:expr) => {{
        let id: carillon_domain::id::InboundId = $id;
        let account = id.account();
        let credentials: Vec<(i16, String)> = sqlx::query_as(
            "SELECT no, settings FROM smpp_credential WHERE account_no = $1 AND enabled AND deleted_at IS NULL ORDER BY no",
        )
        .bind(account.as_i64())
        .fetch_all(&mut *$tx)
        .await?;
        for (no, settings) in credentials {
            if !$crate::smpp_delivery::wants_inbound(&settings) {
                continue;
            }
            sqlx::query(
                "INSERT INTO smpp_delivery (account_no, credential, seq, kind, subject, state) VALUES ($1, $2, $3, 1, $3, $4)",
            )
            .bind(account.as_i64())
            .bind(no)
            .bind(id.0)
            .bind(carillon_domain::message::State::Received.number())
            .execute(&mut *$tx)
            .await?;
            $owed.push((account, no as u16));
        }
    }};
}

pub(crate) use owe_inbound;

/// Whether these settings of a credential want messages from phones. Those that cannot be read keep none from being stored.
pub(crate) fn wants_inbound(settings: &str) -> bool {
    serde_json::from_str(settings).is_ok_and(|s: CredentialSettings| s.inbound != InboundForm::None)
}

/// Takes rows away that were handed over.
pub async fn delete(db: &Db, account: AccountNo, credential: u16, seqs: &[Uuid]) -> Result<(), StoreError> {
    if seqs.is_empty() {
        return Ok(());
    }
    write_db!(db, |tx| {
        for some in seqs.chunks(DELETE_MAX) {
            let text = format!(
                "DELETE FROM smpp_delivery WHERE account_no = $1 AND credential = $2 AND seq IN ({})",
                crate::db::places(3, some.len())
            );
            let query = sqlx::query(crate::db::built(text)).bind(account.as_i64()).bind(credential as i16);
            some.iter().fold(query, |query, seq| query.bind(seq)).execute(&mut *tx).await?;
        }
    });
    Ok(())
}

/// Takes up to `limit` rows away that were written before an instant (Unix milliseconds): nobody has come for them.
pub async fn delete_older(db: &Db, before: i64, limit: u32) -> Result<u64, StoreError> {
    let oldest = compose(before, 0, AccountNo(0));
    let credentials: Vec<(i64, i16)> =
        read_db!(db, |c| sqlx::query_as("SELECT account_no, no FROM smpp_credential").fetch_all(c).await)?;
    let mut gone = 0;
    for (account, no) in credentials {
        let some: Option<(Uuid,)> = read_db!(db, |c| {
            sqlx::query_as(
                "SELECT seq FROM smpp_delivery WHERE account_no = $1 AND credential = $2 AND seq < $3 LIMIT 1",
            )
            .bind(account)
            .bind(no)
            .bind(oldest)
            .fetch_optional(c)
            .await
        })?;
        if some.is_none() {
            continue;
        }
        gone += write_db!(db, |tx| {
            sqlx::query(
                "DELETE FROM smpp_delivery WHERE account_no = $1 AND credential = $2 AND seq IN
                 (SELECT seq FROM smpp_delivery WHERE account_no = $1 AND credential = $2 AND seq < $3 ORDER BY seq LIMIT $4)",
            )
            .bind(account)
            .bind(no)
            .bind(oldest)
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?
            .rows_affected()
        });
    }
    Ok(gone)
}
