//! `GET /api/sms/history`: an account's batches as the document's messages, newest first.

use axum::extract::State;
use carillon_domain::id::BatchId;
use carillon_domain::money::Money;
use carillon_store::batch::{self, Batch};
use serde::{Deserialize, Serialize};

use super::Cost;
use crate::api::error::{Code, Problem};
use crate::api::extract::{Can, Json, MessagesRead, Query};
use crate::app::App;
use crate::clock::rfc3339;

/// Rows of a page.
const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;
/// Rows before a page: each is read and passed over. Who wants to go further back takes GET /v1/batches, which has cursors.
const OFFSET_MAX: u32 = 100_000;

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    offset: Option<u32>,
    limit: Option<u32>,
}

/// A page of messages.
#[derive(Serialize)]
pub(super) struct History {
    messages: Vec<Record>,
}

/// A message of the document.
#[derive(Serialize)]
pub(super) struct Record {
    pub(super) id: BatchId,
    message: String,
    total_count: i32,
    delivered_count: i32,
    failed_count: i32,
    status: &'static str,
    cost: Cost,
    sent_at: String,
}

impl Record {
    pub(super) fn of(batch: Batch) -> Record {
        Record {
            id: batch.id,
            status: status(&batch),
            message: batch.body.as_deref().unwrap_or_default().to_owned(),
            total_count: batch.total,
            delivered_count: batch.delivered,
            failed_count: batch.failed,
            // What is reserved is given back for those who do not get it.
            cost: Cost(batch.held + batch.captured),
            sent_at: rfc3339(batch.id.millis()),
        }
    }
}

/// `sending` until it is known of everybody; a message that reached nobody has `failed`.
fn status(batch: &Batch) -> &'static str {
    // A carrier that sends no receipts has the last word when it takes a message: then nothing is held for it any more.
    let open = batch.queued > 0 || (batch.sent > 0 && batch.held > Money::ZERO);
    match open {
        true => "sending",
        false if batch.failed == batch.total => "failed",
        false => "sent",
    }
}

pub(super) async fn list(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<History>, Problem> {
    let (limit, offset) = (query.limit.unwrap_or(LIMIT_DEFAULT), query.offset.unwrap_or(0));
    let refuse = |name: &'static str, detail| Problem::from(Code::InvalidQuery).and(Code::InvalidValue, name, detail);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(refuse("?limit", "1 to 200"));
    }
    if offset > OFFSET_MAX {
        return Err(refuse("?offset", "at most 100,000; GET /v1/batches goes further back"));
    }
    let batches = batch::page(&app.db, caller.account, offset, limit).await?;
    Ok(Json(History { messages: batches.into_iter().map(Record::of).collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::id::AccountNo;

    #[test]
    fn where_a_message_stands() {
        // queued, sent, delivered, failed, held in cents -> status
        let rows = [
            ((2, 0, 0, 0, 10), "sending"),
            ((0, 2, 0, 0, 10), "sending"),
            ((0, 1, 1, 0, 5), "sending"),
            ((0, 0, 1, 1, 0), "sent"),
            ((0, 0, 2, 0, 0), "sent"),
            ((0, 2, 0, 0, 0), "sent"),
            ((0, 0, 0, 2, 0), "failed"),
        ];
        for ((queued, sent, delivered, failed, held), expected) in rows {
            let batch = Batch {
                id: BatchId::new(0, 0, AccountNo(1)),
                accepted: true,
                body: None,
                total: 2,
                queued,
                sent,
                delivered,
                failed,
                parts: 2,
                held: Money::from_cents(held),
                captured: Money::ZERO,
                client_ref: None,
                tags: None,
                refusals: Vec::new(),
            };
            assert_eq!(status(&batch), expected, "{queued} {sent} {delivered} {failed} {held}");
        }
    }

    #[test]
    fn costs_are_decimal_numbers() {
        for (money, expected) in
            [("2.70", "2.7"), ("0.05", "0.05"), ("0.00", "0.0"), ("1234567.123456", "1234567.123456")]
        {
            let cost = Cost(Money::parse(money).unwrap());
            assert_eq!(serde_json::to_string(&cost).unwrap(), expected, "{money}");
        }
    }
}
