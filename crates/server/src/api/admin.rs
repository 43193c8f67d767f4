//! The operator's view: every account, its standing and its credit. Needs the scope `platform:operate`.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::account::{OwnLimits, Settings, Status, Tier};
use carillon_domain::id::{AccountId, AccountNo, EntryId};
use carillon_domain::money::Money;
use carillon_store::StoreError;
use carillon_store::account::{self, NewAccount};
use carillon_store::ledger::{self, Entry, EntryError, EntryKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::{AccountView, SettingsChange};
use super::auth::name;
use super::error::{Code, Problem};
use super::extract::{Can, Id, Json, Operate, Query, given};
use super::ledger::{EntryView, ListQuery, page_of};
use super::page::{Paged, Window};
use crate::app::App;

/// An account to be opened.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccountBody {
    /// What people call it.
    #[schema(example = "Pizzeria Napoli")]
    name: String,
    /// Its id; made if not given. A bare UUID is taken too.
    #[schema(value_type = Option<String>)]
    id: Option<AccountId>,
    /// How its messages are taken; the defaults if not given.
    settings: Option<SettingsChange>,
}

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminChange {
    /// What people call it.
    name: Option<String>,
    /// `active`, `suspended` or `closed`.
    #[schema(value_type = Option<String>, example = "suspended")]
    status: Option<Status>,
    /// `regular`, `premium` or `vip`.
    #[schema(value_type = Option<String>, example = "premium")]
    tier: Option<Tier>,
    /// How its messages are taken.
    settings: Option<SettingsChange>,
    /// Limits of requests in the place of its tier's, as a whole: `requests_per_s`, `verifications_per_s`; 0 is none, what is not named is the
    /// tier's.
    #[schema(value_type = Option<Object>, example = json!({"requests_per_s": 500}))]
    limits: Option<OwnLimits>,
    /// What a part, or an MMS, by a carrier of the account's own costs, decimal; null: the platform's fee.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "0.001")]
    own_carrier_fee: Option<Option<String>>,
}

/// Credit given or taken by hand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEntry {
    /// `top_up`, `adjustment` or `refund`.
    #[schema(value_type = String, example = "top_up")]
    kind: EntryKind,
    /// A decimal with at most six places; negative only for adjustments and refunds.
    #[schema(example = "100.00")]
    amount: String,
    /// Why; the account sees it.
    #[schema(example = "bank transfer of 3 March")]
    note: String,
}

/// A movement and what it left.
#[derive(Debug, Serialize, ToSchema)]
pub struct Credited {
    entry: EntryView,
    /// Free to spend now.
    #[schema(example = "100.00")]
    available: String,
}

/// The most one entry moves, either way: a slip of the keyboard must not fill a 64-bit balance.
const ENTRY_MAX: Money = Money(1_000_000_000 * 1_000_000);

/// The most that a part by a carrier of the account's own may cost.
const FEE_MAX: Money = Money(1_000 * 1_000_000);

/// Open an account.
#[utoipa::path(post, path = "/v1/admin/accounts", tag = "Platform", operation_id = "createAccount", request_body = NewAccountBody,
    responses((status = 201, body = AccountView)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<Operate>,
    Json(body): Json<NewAccountBody>,
) -> Result<(StatusCode, Json<AccountView>), Problem> {
    let name = name(&body.name, "#/name")?;
    let settings = body.settings.unwrap_or_default().apply(&Settings::default(), &app.config.verification)?;
    let now = app.clock.now_ms();
    let currency = &app.config.prices.currency;
    let new = NewAccount {
        id: body.id,
        counter: app.ids.next(),
        name: &name,
        currency,
        settings,
        owner: None,
        credit: None,
        now,
    };
    let account = account::create(&app.db, &new).await.map_err(|e| match e {
        StoreError::Taken(_) => Code::IdTaken.with("an account has this id").and(Code::IdTaken, "#/id", "taken"),
        other => other.into(),
    })?;
    tracing::info!(account = %account.id, actor = %caller.actor, "{} opened account {}", caller.actor, account.id);
    Ok((StatusCode::CREATED, Json(AccountView::of(&account))))
}

/// List accounts, oldest first.
#[utoipa::path(get, path = "/v1/admin/accounts", tag = "Platform", operation_id = "listAccounts", params(ListQuery),
    responses((status = 200, body = Paged<AccountView>)))]
pub async fn list(
    State(app): State<App>,
    _: Can<Operate>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<AccountView>>, Problem> {
    let window = Window::open(&app, AccountNo::PLATFORM, "accounts", "", query.limit, query.cursor.as_deref())?;
    // Accounts are sorted by number; the cursor carries it in the place of an id.
    let after = window.after.map_or(AccountNo::PLATFORM, |id| AccountNo(id.as_u128() as u32));
    let rows = account::list(&app.db, after, window.fetch()).await?;
    Ok(Json(window.page(rows, |a| Uuid::from_u128(a.no.0.into()), |a| AccountView::of(&a))))
}

/// Read an account.
#[utoipa::path(get, path = "/v1/admin/accounts/{id}", tag = "Platform", operation_id = "getAccountAsOperator", params(("id" = String, Path)),
    responses((status = 200, body = AccountView)))]
pub async fn read(
    State(app): State<App>,
    _: Can<Operate>,
    Id(id): Id<AccountId>,
) -> Result<Json<AccountView>, Problem> {
    Ok(Json(AccountView::of(&account::by_id(&app.db, id).await?)))
}

/// Change an account.
///
/// Suspend, reactivate, close or rename it, or change its tier or settings.
#[utoipa::path(patch, path = "/v1/admin/accounts/{id}", tag = "Platform", operation_id = "changeAccountAsOperator", params(("id" = String, Path)),
    request_body = AdminChange, responses((status = 200, body = AccountView)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<Operate>,
    Id(id): Id<AccountId>,
    Json(body): Json<AdminChange>,
) -> Result<Json<AccountView>, Problem> {
    let old = account::by_id(&app.db, id).await?;
    let name = body.name.map(|text| name(&text, "#/name")).transpose()?;
    let mut settings = body.settings.map(|s| s.apply(&old.settings, &app.config.verification)).transpose()?;
    if let Some(limits) = body.limits {
        settings.get_or_insert_with(|| old.settings.clone()).limits = limits;
    }
    if let Some(fee) = body.own_carrier_fee {
        let fee = fee.as_deref().map(fee_of).transpose()?;
        settings.get_or_insert_with(|| old.settings.clone()).own_carrier_fee = fee;
    }
    let new = account::change(&app.db, old.no, name.as_deref(), body.status, body.tier, settings.as_ref()).await?;
    app.access.forget_account(old.no);
    app.pipeline.set_tier(new.no, new.tier);
    tracing::info!(account = %id, actor = %caller.actor, "{} changed account {id}: {:?} {:?}", caller.actor, new.status, new.tier);
    Ok(Json(AccountView::of(&new)))
}

/// Reads a fee of a part.
fn fee_of(text: &str) -> Result<Money, Problem> {
    let fee = Money::parse(text).filter(|fee| (Money::ZERO..=FEE_MAX).contains(fee));
    fee.ok_or_else(|| Code::InvalidAmount.at("#/own_carrier_fee", "a decimal such as 0.001, from 0 to 1000"))
}

/// Give or take credit.
///
/// Refused if it would leave less than nothing.
#[utoipa::path(post, path = "/v1/admin/accounts/{id}/ledger", tag = "Platform", operation_id = "addLedgerEntry", params(("id" = String, Path)),
    request_body = NewEntry, responses((status = 201, body = Credited)))]
pub async fn credit(
    State(app): State<App>,
    caller: Can<Operate>,
    Id(id): Id<AccountId>,
    Json(body): Json<NewEntry>,
) -> Result<(StatusCode, Json<Credited>), Problem> {
    let amount = amount(&body.amount, body.kind)?;
    let note = name(&body.note, "#/note")?;
    let no = app.account_no(id).await?;
    let now = app.clock.now_ms();
    let entry = Entry {
        id: EntryId::new(now, app.ids.next(), no),
        kind: body.kind,
        amount,
        note,
        actor: caller.actor.to_string(),
        created_at: now,
    };
    let balance = ledger::add(&app.db, no, &entry).await.map_err(|e| match e {
        EntryError::Insufficient { available } => Code::InsufficientCredit
            .with(format!("only {available} is available"))
            .member("needed", (Money::ZERO - amount).to_string())
            .member("available", available.to_string()),
        EntryError::Store(e) => e.into(),
    })?;
    tracing::info!(account = %id, actor = %caller.actor, "{} moved {amount} on account {id}", caller.actor);
    Ok((StatusCode::CREATED, Json(Credited { entry: EntryView::of(entry), available: balance.available.to_string() })))
}

/// Reads an amount as the command line and the API take it.
pub fn amount(text: &str, kind: EntryKind) -> Result<Money, Problem> {
    let refuse = |why: &'static str| Code::InvalidAmount.with(why).and(Code::InvalidAmount, "#/amount", why);
    let amount = Money::parse(text).ok_or_else(|| refuse("a decimal such as 12.50, at most six places"))?;
    if amount == Money::ZERO {
        return Err(refuse("more or less than nothing"));
    }
    if amount > ENTRY_MAX || amount < Money::ZERO - ENTRY_MAX {
        return Err(refuse("at most a thousand million"));
    }
    if kind == EntryKind::TopUp && amount < Money::ZERO {
        return Err(refuse("a top-up is positive; take credit with an adjustment"));
    }
    Ok(amount)
}

/// List an account's movements of money, newest first.
#[utoipa::path(get, path = "/v1/admin/accounts/{id}/ledger", tag = "Platform", operation_id = "listLedgerAsOperator",
    params(("id" = String, Path), ListQuery), responses((status = 200, body = Paged<EntryView>)))]
pub async fn entries(
    State(app): State<App>,
    _: Can<Operate>,
    Id(id): Id<AccountId>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<EntryView>>, Problem> {
    let no = app.account_no(id).await?;
    page_of(&app, no, &query).await.map(Json)
}
