//! `/billing`: what a merchant has, what was paid, and buying more. A payment is credited once, by the gateway's own id of it.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::id::{EntryId, TypeId};
use carillon_domain::money::Money;
use carillon_store::ledger::{self, Entry, EntryKind};
use carillon_store::payment;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::merchants::credits;
use super::{PageQuery, words};
use crate::api::error::{Code, Problem};
use crate::api::extract::{AccountWrite, BillingRead, Can, Json, Query};
use crate::api::page::Window;
use crate::app::App;
use crate::clock::rfc3339;
use crate::config::Gateway;

/// The least and the most that is bought at once.
const AMOUNTS: std::ops::RangeInclusive<Money> = Money::from_cents(100)..=Money::from_cents(1_000_000);
/// Of a payment's id, characters.
const PAYMENT_ID_MAX: usize = 64;
/// How ids of payments begin that the sandbox declines.
const DECLINED: &str = "pay_declined";

/// A row of the document's `transactions`.
#[derive(Serialize)]
struct Transaction {
    id: Uuid,
    merchant_id: Uuid,
    /// Decimal.
    amount: String,
    r#type: &'static str,
    created_at: String,
}

impl Transaction {
    fn of(e: Entry, merchant_id: Uuid) -> Transaction {
        let amount = if e.amount < Money::ZERO { Money::ZERO - e.amount } else { e.amount };
        Transaction {
            id: e.id.uuid(),
            merchant_id,
            amount: amount.to_string(),
            r#type: words::of_entry(e.kind, e.amount),
            created_at: rfc3339(e.created_at),
        }
    }
}

/// What a merchant has, and what was paid.
#[derive(Serialize)]
pub(super) struct Billing {
    sms_credits: Option<i64>,
    /// What is free to spend, decimal.
    balance: String,
    currency: String,
    transactions: Vec<Transaction>,
    next_cursor: Option<String>,
}

pub(super) async fn read(
    State(app): State<App>,
    caller: Can<BillingRead>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Billing>, Problem> {
    let (account, merchant) = (caller.account, caller.info.id.uuid());
    let window = Window::open(&app, account, "merchant-billing", "", query.limit, query.cursor.as_deref())?;
    let rows = ledger::list(&app.db, account, window.after.map(EntryId::from_uuid), window.fetch()).await?;
    let page = window.page(rows, |e| e.id.0, |e| Transaction::of(e, merchant));
    Ok(Json(Billing {
        sms_credits: credits(&app, account).await?,
        balance: ledger::balance(&app.db, account).await?.available.to_string(),
        currency: caller.info.currency.clone(),
        transactions: page.data,
        next_cursor: page.next_cursor,
    }))
}

/// What is bought, and the gateway's id of the payment for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recharge {
    /// Decimal, with at most two places.
    amount: String,
    payment_id: String,
}

/// What it bought.
#[derive(Serialize)]
pub(super) struct Recharged {
    sms_credits: Option<i64>,
    balance: String,
    transaction: Transaction,
}

pub(super) async fn recharge(
    State(app): State<App>,
    caller: Can<AccountWrite>,
    Json(body): Json<Recharge>,
) -> Result<(StatusCode, Json<Recharged>), Problem> {
    let two_places = body.amount.rsplit_once('.').is_none_or(|(_, places)| places.len() <= 2);
    let amount = Money::parse(&body.amount).filter(|amount| two_places && AMOUNTS.contains(amount));
    let amount = amount
        .ok_or_else(|| Code::InvalidAmount.at("#/amount", "a decimal such as \"25.00\", from 1.00 to 10000.00"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !(1..=PAYMENT_ID_MAX).contains(&body.payment_id.len()) || !body.payment_id.chars().all(plain) {
        return Err(
            Code::InvalidValue.at("#/payment_id", "the gateway's id of the payment: 1 to 64 letters, digits, _ and -")
        );
    }
    let (account, merchant, now) = (caller.account, caller.info.id.uuid(), app.clock.now_ms());
    let gateway = app.config.faces.payments;
    confirmed(gateway, &body.payment_id)?;
    let entry = Entry {
        id: EntryId::new(now, app.ids.next(), account),
        kind: EntryKind::TopUp,
        amount,
        note: format!("{} {}", gateway.as_str(), body.payment_id),
        actor: caller.actor.to_string(),
        created_at: now,
    };
    let fresh = entry.id;
    let entry = payment::credit(&app.db, account, gateway.number(), &body.payment_id, entry).await?;
    if entry.amount != amount {
        return Err(Code::IdempotencyMismatch.with("this payment was credited before, with another amount"));
    }
    let status = if entry.id == fresh { StatusCode::CREATED } else { StatusCode::OK };
    let balance = ledger::balance(&app.db, account).await?.available.to_string();
    let transaction = Transaction::of(entry, merchant);
    Ok((status, Json(Recharged { sms_credits: credits(&app, account).await?, balance, transaction })))
}

/// Asks the gateway whether the payment was made.
fn confirmed(gateway: Gateway, payment_id: &str) -> Result<(), Problem> {
    match gateway {
        Gateway::None => Err(Code::Forbidden.with("this server takes no payments; ask its operator for credit")),
        Gateway::Sandbox if payment_id.starts_with(DECLINED) => Err(Code::PaymentDeclined.into()),
        Gateway::Sandbox => Ok(()),
    }
}
