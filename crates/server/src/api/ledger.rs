//! The account's movements of money.

use axum::extract::State;
use carillon_domain::id::{AccountNo, EntryId, TypeId};
use carillon_store::ledger::{self, Entry, EntryKind};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::Problem;
use super::extract::{BillingRead, Can, Json, Query};
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;

/// Money that came from outside or by hand. What messages cost stands with the messages.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntryView {
    #[schema(value_type = String)]
    id: EntryId,
    /// `top_up`, `adjustment` or `refund`.
    #[schema(value_type = String, example = "top_up")]
    kind: EntryKind,
    /// Positive: to the account.
    #[schema(example = "100.00")]
    amount: String,
    note: String,
    /// Who did it.
    actor: String,
    /// RFC 3339.
    created_at: String,
}

impl EntryView {
    pub(super) fn of(e: Entry) -> EntryView {
        EntryView {
            id: e.id,
            kind: e.kind,
            amount: e.amount.to_string(),
            note: e.note,
            actor: e.actor,
            created_at: rfc3339(e.created_at),
        }
    }
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Rows of a page, 1 to 200; 50 if not given.
    pub(super) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// List movements of money, newest first.
#[utoipa::path(get, path = "/v1/ledger", tag = "Account", operation_id = "listLedger", params(ListQuery),
    responses((status = 200, body = Paged<EntryView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<BillingRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<EntryView>>, Problem> {
    page_of(&app, caller.account, &query).await.map(Json)
}

pub(super) async fn page_of(app: &App, account: AccountNo, query: &ListQuery) -> Result<Paged<EntryView>, Problem> {
    let window = Window::open(app, account, "ledger", "", query.limit, query.cursor.as_deref())?;
    let rows = ledger::list(&app.db, account, window.after.map(EntryId::from_uuid), window.fetch()).await?;
    Ok(window.page(rows, |e| e.id.0, EntryView::of))
}
