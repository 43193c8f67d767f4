//! Short links and their clicks. The hot path writes a link with its message; here they are opened, counted, read and, when they are old,
//! deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use carillon_domain::id::{AccountNo, BatchId, ClickId, MessageId, ShortLinkId};
use carillon_domain::short_link::{Code, Device, Visitor};
use uuid::Uuid;

use crate::db::one;
use crate::event::{NewEvent, put_event};
use crate::hot::open_text;
use crate::usage::CLICKED;
use crate::usage::engagement::{Engaged, engaged};
use crate::{Db, StoreError};

/// A link on its way into the store, with its message.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// Its id.
    pub id: ShortLinkId,
    /// What it is opened by.
    pub code: Code,
    /// Where it leads.
    pub target: Arc<str>,
    /// When it leads nowhere any more, Unix milliseconds.
    pub expires_at: i64,
}

/// A link.
#[derive(Clone, Debug)]
pub struct ShortLink {
    /// Its id; also says whose it is and when it was made.
    pub id: ShortLinkId,
    /// What it is opened by.
    pub code: Code,
    /// The message it went with.
    pub message: MessageId,
    /// And that one's batch.
    pub batch: Option<BatchId>,
    /// Where it leads.
    pub target: Arc<str>,
    /// When it leads nowhere any more, Unix milliseconds.
    pub expires_at: i64,
    /// How often people opened it.
    pub humans: i64,
    /// How often programs did.
    pub bots: i64,
    /// How often it was previewed.
    pub previews: i64,
    /// When the first person did, Unix milliseconds.
    pub first_at: Option<i64>,
}

type Row = (Uuid, i64, Uuid, Option<Uuid>, Vec<u8>, i64, i64, i64, i64, Option<i64>);
const COLUMNS: &str = "id, code, message_id, batch_id, target, expires_at, humans, bots, previews, first_at";

fn read(
    (id, code, message, batch, target, expires_at, humans, bots, previews, first_at): Row,
) -> Result<ShortLink, StoreError> {
    let code = Code::from_number(code).ok_or_else(|| StoreError::Broken("a short link with no code".into()))?;
    let (id, message, batch) = (ShortLinkId(id), MessageId(message), batch.map(BatchId));
    Ok(ShortLink {
        id,
        code,
        message,
        batch,
        target: open_text(&target)?,
        expires_at,
        humans,
        bots,
        previews,
        first_at,
    })
}

/// The link of a code. Whoever has the code may open it: this one look-up is not scoped to an account.
pub async fn by_code(db: &Db, code: Code) -> Result<ShortLink, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM short_link WHERE code = $1");
    let row: Row = read_db!(db, |c| sqlx::query_as(crate::db::built(text)).bind(code.number()).fetch_one(c).await)?;
    read(row)
}

/// One link of an account.
pub async fn by_id(db: &Db, account: AccountNo, id: ShortLinkId) -> Result<ShortLink, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM short_link WHERE account_no = $1 AND id = $2");
    let row: Row = one(db, text, account, id.0).await?;
    read(row)
}

/// Up to `limit` links of an account, or of one batch of it, older than one, newest first.
pub async fn list(
    db: &Db,
    account: AccountNo,
    batch: Option<BatchId>,
    before: Option<ShortLinkId>,
    limit: u32,
) -> Result<Vec<ShortLink>, StoreError> {
    let of_batch = if batch.is_some() { "AND batch_id = $4" } else { "AND $4 IS NULL" };
    let text = format!(
        "SELECT {COLUMNS} FROM short_link WHERE account_no = $1 AND id < $2 {of_batch} ORDER BY id DESC LIMIT $3"
    );
    let rows: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(crate::db::built(text))
            .bind(account.as_i64())
            .bind(before.map_or(Uuid::max(), |id| id.0))
            .bind(i64::from(limit))
            .bind(batch.map(|id| id.0))
            .fetch_all(c)
            .await
    })?;
    rows.into_iter().map(read).collect()
}

/// A batch's links in sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Links.
    pub links: i64,
    /// Those that a person opened.
    pub clicked: i64,
    /// How often people opened any.
    pub clicks: i64,
}

/// How a batch's links were clicked.
pub async fn of_batch(db: &Db, account: AccountNo, batch: BatchId) -> Result<Totals, StoreError> {
    let (links, clicked, clicks): (i64, i64, i64) = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT COUNT(*), COUNT(first_at), CAST(COALESCE(SUM(humans), 0) AS BIGINT) FROM short_link \
             WHERE account_no = $1 AND batch_id = $2",
        )
        .bind(account.as_i64())
        .bind(batch.0)
        .fetch_one(c)
        .await
    })?;
    Ok(Totals { links, clicked, clicks })
}

/// Somebody opened a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Click {
    /// Its id; also says when.
    pub id: ClickId,
    /// Which link.
    pub link: ShortLinkId,
    /// Who.
    pub visitor: Visitor,
    /// With what.
    pub device: Device,
}

/// Records clicks, counts them at their links, and puts events into the outbox: in one transaction.
pub async fn record(db: &Db, clicks: &[Click], events: &[NewEvent]) -> Result<(), StoreError> {
    // In order of the key, so that two processes never wait for one another.
    let mut counts: BTreeMap<(AccountNo, Uuid), ([i64; 3], Option<i64>)> = BTreeMap::new();
    for click in clicks {
        let (count, first) = counts.entry((click.link.account(), click.link.0)).or_default();
        count[click.visitor as usize] += 1;
        if click.visitor == Visitor::Human {
            *first = Some(first.map_or(click.id.millis(), |at| at.min(click.id.millis())));
        }
    }
    write_db!(db, |tx| {
        let mut opened: Vec<Engaged> = Vec::new();
        for ((account, link), ([humans, bots, previews], first)) in &counts {
            if first.is_some() {
                // The first person on this link; another of the same message may have been opened before.
                let new: Option<(Uuid, Option<Uuid>, Option<i16>)> = sqlx::query_as(
                    "SELECT l.message_id, l.batch_id, m.country FROM short_link l \
                     LEFT JOIN message m ON m.account_no = l.account_no AND m.id = l.message_id \
                     WHERE l.account_no = $1 AND l.id = $2 AND l.first_at IS NULL",
                )
                .bind(account.as_i64())
                .bind(*link)
                .fetch_optional(&mut *tx)
                .await?;
                opened.extend(new.map(|(message, batch, country)| (message, batch, country.unwrap_or(0))));
            }
            sqlx::query(
                "UPDATE short_link SET humans = humans + $3, bots = bots + $4, previews = previews + $5, first_at = COALESCE(first_at, $6) \
                 WHERE account_no = $1 AND id = $2",
            )
            .bind(account.as_i64())
            .bind(*link)
            .bind(*humans)
            .bind(*bots)
            .bind(*previews)
            .bind(*first)
            .execute(&mut *tx)
            .await?;
        }
        for click in clicks {
            sqlx::query(
                "INSERT INTO short_link_click (account_no, link_id, id, visitor, device) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(click.link.account().as_i64())
            .bind(click.link.0)
            .bind(click.id.0)
            .bind(click.visitor.number())
            .bind(click.device.number())
            .execute(&mut *tx)
            .await?;
        }
        engaged!(tx, CLICKED, opened);
        for event in events {
            put_event!(tx, event);
        }
    });
    Ok(())
}

/// Up to `limit` clicks of a link older than one, newest first.
pub async fn clicks(
    db: &Db,
    account: AccountNo,
    link: ShortLinkId,
    before: Option<ClickId>,
    limit: u32,
) -> Result<Vec<Click>, StoreError> {
    let rows: Vec<(Uuid, i16, i16)> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT id, visitor, device FROM short_link_click WHERE account_no = $1 AND link_id = $2 AND id < $3 \
             ORDER BY id DESC LIMIT $4",
        )
        .bind(account.as_i64())
        .bind(link.0)
        .bind(before.map_or(Uuid::max(), |id| id.0))
        .bind(i64::from(limit))
        .fetch_all(c)
        .await
    })?;
    let read = |(id, visitor, device): (Uuid, i16, i16)| Click {
        id: ClickId(id),
        link,
        visitor: Visitor::from_number(visitor).unwrap_or(Visitor::Bot),
        device: Device::from_number(device).unwrap_or(Device::Other),
    };
    Ok(rows.into_iter().map(read).collect())
}

/// The first account from one on that has links.
pub async fn account_from(db: &Db, from: AccountNo) -> Result<Option<AccountNo>, StoreError> {
    let row: Option<(i64,)> = read_db!(db, |c| {
        sqlx::query_as("SELECT account_no FROM short_link WHERE account_no >= $1 ORDER BY account_no LIMIT 1")
            .bind(from.as_i64())
            .fetch_optional(c)
            .await
    })?;
    Ok(row.map(|(no,)| AccountNo::from_i64(no)))
}

/// Deletes up to `limit` links of an account made before an instant (Unix milliseconds), with their clicks; how many.
pub async fn forget(db: &Db, account: AccountNo, before: i64, limit: u32) -> Result<u64, StoreError> {
    let edge = ShortLinkId::new(before, 0, AccountNo::PLATFORM).0;
    Ok(write_db!(db, |tx| {
        const OLD: &str = "SELECT id FROM short_link WHERE account_no = $1 AND id < $2 ORDER BY id LIMIT $3";
        let clicks = format!("DELETE FROM short_link_click WHERE account_no = $1 AND link_id IN ({OLD})");
        let links = format!("DELETE FROM short_link WHERE account_no = $1 AND id IN ({OLD})");
        let mut gone = 0;
        for text in [clicks, links] {
            let done = sqlx::query(crate::db::built(text)).bind(account.as_i64()).bind(edge).bind(i64::from(limit));
            gone = done.execute(&mut *tx).await?.rows_affected();
        }
        gone
    }))
}
