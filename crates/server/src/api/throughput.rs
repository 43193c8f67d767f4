//! How fast an account, or one of its senders, may go: set by operators.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::id::AccountId;
use carillon_domain::sender::Sender;
use carillon_store::throughput::{self, Throughput};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{Code, Problem};
use super::extract::{Can, Json, Operate, Query};
use crate::app::App;

/// More is no limit: leave it out.
const RATE_MAX: u32 = 1_000_000;

/// One limit.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThroughputView {
    /// Whose.
    #[schema(value_type = String)]
    account: AccountId,
    /// Of which sender; empty = of the whole account.
    #[serde(default)]
    #[schema(example = "")]
    sender: String,
    /// 1 to 1,000,000; parts wait for their turn, nothing is refused.
    #[schema(example = 50)]
    parts_per_second: u32,
}

/// An account's limits.
#[derive(Debug, Serialize, ToSchema)]
pub struct Limits {
    /// By sender, the account's own first.
    data: Vec<ThroughputView>,
}

/// Whose limits.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ThroughputQuery {
    /// Of which account.
    #[param(value_type = String)]
    account: AccountId,
}

/// Which limit.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LimitQuery {
    /// Of which account.
    #[param(value_type = String)]
    account: AccountId,
    /// Of which sender; empty = of the whole account.
    #[serde(default)]
    sender: String,
}

/// List how fast an account may go.
#[utoipa::path(get, path = "/v1/admin/throughput", tag = "Platform", operation_id = "listThroughput", params(ThroughputQuery),
    responses((status = 200, body = Limits)))]
pub async fn list(
    State(app): State<App>,
    _: Can<Operate>,
    Query(query): Query<ThroughputQuery>,
) -> Result<Json<Limits>, Problem> {
    let rows = throughput::list(&app.db, app.account_no(query.account).await?).await?;
    let view = |t: Throughput| ThroughputView {
        account: query.account,
        sender: t.sender,
        parts_per_second: t.parts_per_second,
    };
    Ok(Json(Limits { data: rows.into_iter().map(view).collect() }))
}

/// Set how fast an account or one of its senders may go.
///
/// In parts a second, honoured exactly. Parts wait for their turn; nothing is refused for it.
#[utoipa::path(put, path = "/v1/admin/throughput", tag = "Platform", operation_id = "setThroughput", request_body = ThroughputView,
    responses((status = 200, body = ThroughputView)))]
pub async fn set(
    State(app): State<App>,
    caller: Can<Operate>,
    Json(body): Json<ThroughputView>,
) -> Result<Json<ThroughputView>, Problem> {
    if !(1..=RATE_MAX).contains(&body.parts_per_second) {
        return Err(Code::InvalidValue.at("#/parts_per_second", "1 to 1000000; to lift a limit delete it"));
    }
    let sender = match body.sender.as_str() {
        "" => String::new(),
        text => {
            text.parse::<Sender>().map_err(|e| Code::InvalidValue.at("#/sender", e.to_string()))?.as_str().to_owned()
        }
    };
    let account = app.account_no(body.account).await?;
    let limit = Throughput { account, sender, parts_per_second: body.parts_per_second };
    throughput::set(&app.db, &limit).await?;
    app.reload_routing().await?;
    tracing::info!(account = %body.account, actor = %caller.actor, "{} set the throughput of account {} to {}/s", caller.actor, body.account, limit.parts_per_second);
    Ok(Json(ThroughputView { sender: limit.sender, ..body }))
}

/// Lift a limit.
#[utoipa::path(delete, path = "/v1/admin/throughput", tag = "Platform", operation_id = "deleteThroughput", params(LimitQuery),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<Operate>,
    Query(query): Query<LimitQuery>,
) -> Result<StatusCode, Problem> {
    throughput::delete(&app.db, app.account_no(query.account).await?, &query.sender).await?;
    app.reload_routing().await?;
    tracing::info!(account = %query.account, actor = %caller.actor, "{} lifted a throughput of account {}", caller.actor, query.account);
    Ok(StatusCode::NO_CONTENT)
}
