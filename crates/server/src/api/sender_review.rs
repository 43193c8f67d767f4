//! What operators decide about senders: requests of all accounts, and what countries demand.

use axum::extract::{RawPathParams, State};
use axum::http::StatusCode;
use carillon_domain::event::EventKind;
use carillon_domain::id::{AccountNo, SenderId, TypeId};
use carillon_domain::phone::Country;
use carillon_domain::sender::Sender as SenderText;
use carillon_domain::sender::policy::{CountryRule, Standing};
use carillon_store::sender::{self, Decision, RuleRow, Status};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{Code, Problem};
use super::extract::{Can, Id, Json, Operate, Query};
use super::page::{Paged, Window};
use super::senders::{SenderView, countries, note};
use crate::app::App;

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReviewQuery {
    /// `pending`, `approved` or `rejected`.
    status: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A sender and whose it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReviewView {
    /// The account's name.
    account: String,
    /// The account's id.
    account_id: String,
    #[serde(flatten)]
    sender: SenderView,
}

/// How it is approved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// For these countries instead of those asked for; empty is everywhere.
    #[schema(example = json!(["DE"]))]
    countries: Option<Vec<String>>,
}

/// Why it is rejected.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// 1 to 500 characters; the account reads it.
    #[schema(example = "This is the name of a bank: send proof that it is yours")]
    reason: String,
}

/// List senders of all accounts, oldest first.
#[utoipa::path(get, path = "/v1/admin/senders", tag = "Platform", operation_id = "listSendersAsOperator", params(ReviewQuery),
    responses((status = 200, body = Paged<ReviewView>)))]
pub async fn list(
    State(app): State<App>,
    _: Can<Operate>,
    Query(query): Query<ReviewQuery>,
) -> Result<Json<Paged<ReviewView>>, Problem> {
    let status = query.status.as_deref().map(|name| {
        let unknown =
            || Problem::from(Code::InvalidQuery).and(Code::InvalidValue, "?status", "pending, approved or rejected");
        Status::from_name(name).ok_or_else(unknown)
    });
    let status = status.transpose()?;
    let filter = status.map_or("", Status::as_str);
    let window =
        Window::open(&app, AccountNo::PLATFORM, "admin-senders", filter, query.limit, query.cursor.as_deref())?;
    let rows = sender::of_all(&app.db, status, window.after.map(SenderId::from_uuid), window.fetch()).await?;
    let mut owned = Vec::with_capacity(rows.len());
    for row in rows {
        let account = app.account(row.id.account()).await?;
        owned.push((account, row));
    }
    Ok(Json(window.page(
        owned,
        |(_, s)| s.id.0,
        |(account, s)| ReviewView {
            account: account.name.clone(),
            account_id: account.id.to_string(),
            sender: SenderView::of(s),
        },
    )))
}

/// Approve a sender.
#[utoipa::path(post, path = "/v1/admin/senders/{id}/approve", tag = "Platform", operation_id = "approveSender", params(("id" = String, Path)),
    request_body = Approval, responses((status = 200, body = SenderView)))]
pub async fn approve(
    State(app): State<App>,
    caller: Can<Operate>,
    Id(id): Id<SenderId>,
    Json(body): Json<Approval>,
) -> Result<Json<SenderView>, Problem> {
    let countries = body.countries.as_deref().map(countries).transpose()?;
    decide(&app, &caller, id, Status::Approved, None, countries.as_deref()).await
}

/// Reject a sender.
///
/// Also one that was approved: from now on it cannot be used.
#[utoipa::path(post, path = "/v1/admin/senders/{id}/reject", tag = "Platform", operation_id = "rejectSender", params(("id" = String, Path)),
    request_body = Rejection, responses((status = 200, body = SenderView)))]
pub async fn reject(
    State(app): State<App>,
    caller: Can<Operate>,
    Id(id): Id<SenderId>,
    Json(body): Json<Rejection>,
) -> Result<Json<SenderView>, Problem> {
    let reason = note(&body.reason, "#/reason")?;
    decide(&app, &caller, id, Status::Rejected, Some(&reason), None).await
}

async fn decide(
    app: &App,
    caller: &Can<Operate>,
    id: SenderId,
    status: Status,
    reason: Option<&str>,
    countries: Option<&[Country]>,
) -> Result<Json<SenderView>, Problem> {
    let kind = if status == Status::Approved { EventKind::SenderApproved } else { EventKind::SenderRejected };
    let event = app.event(id.account(), kind, Some(id.0), None);
    let decision = Decision { status, reason, countries, event };
    let decided = sender::decide(&app.db, id.account(), id, &decision).await?;
    app.notify.wake();
    app.access.forget_account(id.account());
    tracing::info!(sender = %id, actor = %caller.actor, "{} decided on sender {id}: {}", caller.actor, status.as_str());
    Ok(Json(SenderView::of(decided)))
}

/// What a country demands of senders.
#[derive(Debug, Serialize, ToSchema)]
pub struct RuleView {
    /// Two letters.
    #[schema(example = "SG")]
    country: String,
    /// Of alphanumeric names: `free`, `registered` (approved for this very country) or `refused`.
    #[schema(example = "registered")]
    names: &'static str,
    /// Of short codes and phone numbers, alike.
    #[schema(example = "free")]
    numbers: &'static str,
    /// Goes out instead of what does not pass; null: such messages are refused.
    replacement: Option<String>,
    /// Whence it is known.
    note: String,
}

impl RuleView {
    fn of(row: RuleRow) -> RuleView {
        RuleView {
            country: row.rule.country.to_string(),
            names: row.rule.names.as_str(),
            numbers: row.rule.numbers.as_str(),
            replacement: row.rule.replacement.map(String::from),
            note: row.note,
        }
    }
}

/// A country's rule to be set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleBody {
    /// `free`, `registered` or `refused`.
    #[schema(example = "registered")]
    names: String,
    /// `free`, `registered` or `refused`.
    #[schema(example = "free")]
    numbers: String,
    /// A sender that goes out instead of what does not pass.
    replacement: Option<String>,
    /// Whence it is known, 1 to 500 characters.
    #[schema(example = "SSIR of IMDA")]
    note: String,
}

/// What countries demand of senders; those not listed demand nothing.
#[derive(Debug, Serialize, ToSchema)]
pub struct RulesView {
    data: Vec<RuleView>,
}

/// List what countries demand of senders.
#[utoipa::path(get, path = "/v1/admin/sender-rules", tag = "Platform", operation_id = "listSenderRules",
    responses((status = 200, body = RulesView)))]
pub async fn rules(State(app): State<App>, _: Can<Operate>) -> Result<Json<RulesView>, Problem> {
    let rows = sender::rules(&app.db).await?;
    Ok(Json(RulesView { data: rows.into_iter().map(RuleView::of).collect() }))
}

fn country_of(params: &RawPathParams) -> Result<Country, Problem> {
    let text = params.iter().last().map_or("", |(_, value)| value);
    Country::parse(text).ok_or_else(|| Code::InvalidId.with("a two-letter country code, such as DE"))
}

/// Set what a country demands of senders.
#[utoipa::path(put, path = "/v1/admin/sender-rules/{country}", tag = "Platform", operation_id = "setSenderRule", params(("country" = String, Path)),
    request_body = RuleBody, responses((status = 200, body = RuleView)))]
pub async fn set_rule(
    State(app): State<App>,
    caller: Can<Operate>,
    params: RawPathParams,
    Json(body): Json<RuleBody>,
) -> Result<Json<RuleView>, Problem> {
    let country = country_of(&params)?;
    let standing = |text: &str, pointer: &'static str| {
        text.parse::<Standing>().map_err(|()| Code::InvalidValue.at(pointer, "free, registered or refused"))
    };
    let replacement = body
        .replacement
        .as_deref()
        .map(|text| text.parse::<SenderText>().map_err(|e| Code::InvalidValue.at("#/replacement", e.to_string())));
    let rule = CountryRule {
        country,
        names: standing(&body.names, "#/names")?,
        numbers: standing(&body.numbers, "#/numbers")?,
        replacement: replacement.transpose()?,
    };
    let row = RuleRow { rule, note: note(&body.note, "#/note")? };
    sender::set_rule(&app.db, &row).await?;
    app.access.forget_countries();
    tracing::info!(actor = %caller.actor, "{} changed the sender rule of {country}", caller.actor);
    Ok(Json(RuleView::of(row)))
}

/// Take a country's demands away.
#[utoipa::path(delete, path = "/v1/admin/sender-rules/{country}", tag = "Platform", operation_id = "deleteSenderRule", params(("country" = String, Path)),
    responses((status = 204)))]
pub async fn delete_rule(
    State(app): State<App>,
    caller: Can<Operate>,
    params: RawPathParams,
) -> Result<StatusCode, Problem> {
    let country = country_of(&params)?;
    sender::delete_rule(&app.db, country).await?;
    app.access.forget_countries();
    tracing::info!(actor = %caller.actor, "{} took the sender rule of {country} away", caller.actor);
    Ok(StatusCode::NO_CONTENT)
}
