//! Numbers that phones can write to: operators give them to accounts, accounts see theirs.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::id::{AccountId, AccountNo, InboundNumberId, TypeId};
use carillon_store::inbound_number::{self, InboundNumber};
use carillon_store::{StoreError, account, connection};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{Code, Problem};
use super::extract::{Can, Id, InboundRead, Json, Operate, Query};
use super::ledger::ListQuery;
use super::page::{Paged, Window};
use crate::app::App;
use crate::clock::rfc3339;
use crate::inbound::{self, peer};

/// A number to be given to an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNumber {
    /// A phone number with + and country code, or a short code of 3 to 8 digits.
    #[schema(example = "+4915735983801")]
    number: String,
    /// Whose it is to be.
    #[schema(value_type = String)]
    account: AccountId,
    /// Name of the connection by which alone it is theirs; whichever if not given.
    connection: Option<String>,
}

/// A number that phones can write to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InboundNumber)]
pub struct NumberView {
    #[schema(value_type = String, example = "inn_01h455vb4pex5vsknk084sn02q")]
    id: InboundNumberId,
    #[schema(example = "+4915735983801")]
    number: String,
    /// Whose it is; operators see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    account: Option<AccountId>,
    /// RFC 3339.
    created_at: String,
}

fn view(n: &InboundNumber, account: Option<AccountId>) -> NumberView {
    NumberView { id: n.id, number: peer::as_sender(&n.number), account, created_at: rfc3339(n.created_at) }
}

/// Give a number to an account.
///
/// From now on what is written to it is the account's, and it may send as it, everywhere, without asking for it as a sender.
#[utoipa::path(post, path = "/v1/admin/inbound-numbers", tag = "Platform", operation_id = "createInboundNumber", request_body = NewNumber,
    responses((status = 201, body = NumberView)))]
pub async fn create(
    State(app): State<App>,
    _: Can<Operate>,
    Json(body): Json<NewNumber>,
) -> Result<(StatusCode, Json<NumberView>), Problem> {
    let name = peer::name(&body.number);
    let digits = name.trim_start_matches('+');
    if digits.len() < 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Code::InvalidValue.at("#/number", "a phone number with +, or a short code of 3 to 8 digits"));
    }
    let owner = match account::by_id(&app.db, body.account).await {
        Ok(owner) => owner,
        Err(StoreError::NotFound) => return Err(Code::InvalidValue.at("#/account", "there is no such account")),
        Err(e) => return Err(e.into()),
    };
    let connection = match &body.connection {
        None => 0,
        Some(name) if app.config.connections.iter().any(|c| c.name == *name) => {
            connection::number(&app.db, name).await?
        }
        Some(name) => {
            let all = connection::all(&app.db).await?;
            let found = all.into_iter().find(|c| c.name == *name);
            found.ok_or_else(|| Code::InvalidValue.at("#/connection", "there is no such connection"))?.no
        }
    };
    let now = app.clock.now_ms();
    let n = InboundNumber {
        id: InboundNumberId::new(now, app.ids.next(), AccountNo::PLATFORM),
        number: digits.to_owned(),
        connection,
        account: owner.no,
        created_at: now,
    };
    inbound_number::create(&app.db, &n).await.map_err(|e| match e {
        StoreError::Taken(_) => Code::IdTaken.with("the number is given to an account already"),
        other => other.into(),
    })?;
    inbound::reload_numbers(&app).await?;
    app.access.forget_account(owner.no);
    Ok((StatusCode::CREATED, Json(view(&n, Some(owner.id)))))
}

/// List the numbers of all accounts, newest first.
#[utoipa::path(get, path = "/v1/admin/inbound-numbers", tag = "Platform", operation_id = "listAllInboundNumbers", params(ListQuery),
    responses((status = 200, body = Paged<NumberView>)))]
pub async fn list_all(
    State(app): State<App>,
    _: Can<Operate>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<NumberView>>, Problem> {
    let window = Window::open(&app, AccountNo::PLATFORM, "numbers", "", query.limit, query.cursor.as_deref())?;
    let before = window.after.map(InboundNumberId::from_uuid);
    let rows = inbound_number::list(&app.db, None, before, window.fetch()).await?;
    let mut owners = std::collections::HashMap::new();
    for n in &rows {
        if let std::collections::hash_map::Entry::Vacant(entry) = owners.entry(n.account) {
            entry.insert(account::by_no(&app.db, n.account).await?.id);
        }
    }
    Ok(Json(window.page(rows, |n| n.id.0, |n| view(&n, owners.get(&n.account).copied()))))
}

/// Take a number away.
///
/// What was written to it stays with the account; what comes from now on is nobody's, and the account may no longer send as it (unless it was
/// approved as a sender as well).
#[utoipa::path(delete, path = "/v1/admin/inbound-numbers/{id}", tag = "Platform", operation_id = "deleteInboundNumber",
    params(("id" = String, Path)), responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    _: Can<Operate>,
    Id(id): Id<InboundNumberId>,
) -> Result<StatusCode, Problem> {
    let gone = inbound_number::by_id(&app.db, id).await?;
    inbound_number::delete(&app.db, id).await?;
    inbound::reload_numbers(&app).await?;
    app.access.forget_account(gone.account);
    Ok(StatusCode::NO_CONTENT)
}

/// List the account's numbers that phones can write to, newest first.
#[utoipa::path(get, path = "/v1/inbound-numbers", tag = "Two-way", operation_id = "listInboundNumbers", params(ListQuery),
    responses((status = 200, body = Paged<NumberView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<InboundRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<NumberView>>, Problem> {
    let window = Window::open(&app, caller.account, "numbers", "", query.limit, query.cursor.as_deref())?;
    let before = window.after.map(InboundNumberId::from_uuid);
    let rows = inbound_number::list(&app.db, Some(caller.account), before, window.fetch()).await?;
    Ok(Json(window.page(rows, |n| n.id.0, |n| view(&n, None))))
}
