//! `GET /sms/status/{id}`: what became of each recipient of a campaign, or of what `/sms/send` and `/sms/schedule` answered.

use axum::extract::State;
use carillon_domain::id::{AccountNo, BatchId, CampaignId, MessageId, TypeId};
use carillon_store::message::{self, Message};
use carillon_store::{StoreError, batch, campaign, campaign_run};
use serde::Serialize;
use uuid::Uuid;

use super::campaigns::Counts;
use super::{PageQuery, words};
use crate::api::error::Problem;
use crate::api::extract::{Can, Id, Json, MessagesRead, Query};
use crate::api::messages::phone;
use crate::api::page::Window;
use crate::app::App;
use crate::clock::rfc3339;

/// Where everybody stands.
#[derive(Serialize)]
pub(super) struct View {
    campaign_id: Uuid,
    status: &'static str,
    counts: Counts,
    recipients: Vec<Recipient>,
    next_cursor: Option<String>,
}

/// A row of the document's `recipients`.
#[derive(Serialize)]
struct Recipient {
    id: Uuid,
    campaign_id: Uuid,
    phone: String,
    status: &'static str,
    sent_at: Option<String>,
}

impl Recipient {
    fn of(m: Message, campaign_id: Uuid) -> Recipient {
        Recipient {
            id: m.id.uuid(),
            campaign_id,
            phone: phone(m.phone).to_string(),
            status: words::of_message(m.state),
            sent_at: m.sent_at.map(rfc3339),
        }
    }
}

/// A campaign, or a batch: the word for it, how many stand where, and the batch its messages are in, if it has begun.
async fn standing(
    app: &App,
    account: AccountNo,
    id: Uuid,
) -> Result<(&'static str, Counts, Option<BatchId>), StoreError> {
    match campaign::by_id(&app.db, account, CampaignId(id)).await {
        Ok(c) => {
            let totals = campaign_run::totals(&app.db, account, c.id).await?;
            Ok((words::of_campaign(c.state), Counts::of(&c, totals), c.run))
        }
        Err(StoreError::NotFound) => {
            let b = batch::by_id(&app.db, account, BatchId(id)).await?;
            let counts =
                Counts { pending: b.queued.into(), sent: (b.sent + b.delivered).into(), failed: b.failed.into() };
            Ok((words::of_batch(&b), counts, Some(b.id)))
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn read(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    // Its bare UUID says of what it is an id as little as this does.
    Id(BatchId(id)): Id<BatchId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<View>, Problem> {
    let account = caller.account;
    let (status, counts, batch) = standing(&app, account, id).await?;
    let filters = format!("{id} {batch:?}");
    let window = Window::open(&app, account, "merchant-status", &filters, query.limit, query.cursor.as_deref())?;
    let page = match batch {
        Some(batch) => {
            let after = window.after.map(MessageId::from_uuid);
            let found = message::of_batch(&app.db, account, batch, after, window.limit).await?;
            let rows = found.rows.into_iter().map(|m| Recipient::of(m, id)).collect();
            window.page_to(rows, found.next.map(|id| id.0))
        }
        None => window.page_to(Vec::new(), None),
    };
    Ok(Json(View { campaign_id: id, status, counts, recipients: page.data, next_cursor: page.next_cursor }))
}
