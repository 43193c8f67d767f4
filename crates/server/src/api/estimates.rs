//! Estimates: what a message or batch would be and cost, without sending, storing or holding anything.

use std::collections::BTreeMap;

use axum::extract::State;
use carillon_domain::message::Category;
use carillon_domain::money::Money;
use serde::Serialize;
use utoipa::ToSchema;

use super::batches::{self, NewBatchBody};
use super::error::{Code, Problem};
use super::extract::{Asker, Json, MessagesSend};
use super::messages::{NewMessageBody, encoding_name};
use super::recipients::{Duplicates, Gathering, Recipient, Recipients, many};
use super::sending::{self, Raw, Sending, To};
use crate::app::App;

/// A message or a batch, as it would be sent.
// For the documentation alone: `sending::Sending` reads it.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum EstimateBody {
    /// The body of `POST /v1/messages`.
    Message(NewMessageBody),
    /// The body of `POST /v1/batches`.
    Batch(NewBatchBody),
}

/// What it would be.
#[derive(Debug, Serialize, ToSchema)]
pub struct Estimate {
    /// `gsm7`, `ucs2` or `binary`.
    #[schema(example = "gsm7")]
    encoding: &'static str,
    /// Of one message; with variables, of the longest.
    parts: u8,
    /// Of all messages.
    total_parts: u64,
    /// Septets, 16-bit units or octets of one message, without its variables.
    units: u32,
    /// Units that fit one part, as long as one is enough; and one of several.
    units_per_part: [u32; 2],
    /// Characters written otherwise than given (transliterated).
    replaced: u32,
    #[schema(example = "normal")]
    lane: &'static str,
    /// Messages it would make.
    recipients: usize,
    /// Numbers that stand in the list more than once.
    duplicates: Duplicates,
    /// Numbers that would be refused, the first hundred explained.
    refusals: Vec<super::error::FieldError>,
    /// How many would be refused.
    refused: usize,
    /// Of the messages it would make, those to numbers that have not agreed, as far as is recorded; of promotional ones alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_consent: Option<usize>,
    /// Different prices of a part, and the messages each is for.
    prices: Vec<PriceOf>,
    /// Of messages whose files a connection may take as they are: prices of a whole MMS. Which way they go is decided when they are sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mms: Vec<MmsPriceOf>,
    /// The most that all messages can cost, decimal: what would be held.
    #[schema(example = "0.05")]
    total: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    currency: String,
}

/// A price and what has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceOf {
    /// Of one part, decimal.
    #[schema(example = "0.05")]
    per_part: String,
    /// Messages at this price.
    recipients: usize,
}

impl PriceOf {
    /// So many messages at a price.
    pub(super) fn of(price: Money, recipients: u64) -> PriceOf {
        PriceOf { per_part: price.to_string(), recipients: recipients as usize }
    }
}

/// A price of an MMS and what has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct MmsPriceOf {
    /// Of the whole, decimal.
    #[schema(example = "0.15")]
    per_mms: String,
    /// Messages at this price.
    recipients: usize,
}

/// Estimate a message or a batch.
///
/// Its parts, encoding and price. Takes the bodies of `POST /v1/messages` and `POST /v1/batches`; nothing is stored, held or sent.
#[utoipa::path(post, path = "/v1/estimates", tag = "Messages", operation_id = "estimate",
    request_body(content = EstimateBody, examples(
        ("one" = (summary = "One message", value = json!({"to": "+4915112345678", "text": "Hello"}))),
        ("several" = (summary = "A batch", value = json!({"to": ["+4915112345678", "+447400123456"], "text": "Hello"}))))),
    responses((status = 200, body = Estimate)))]
pub async fn create(
    State(app): State<App>,
    asker: Asker<MessagesSend>,
    Raw(bytes): Raw<true>,
) -> Result<Json<Estimate>, Problem> {
    let runtime = tokio::runtime::Handle::current();
    let work = move || runtime.block_on(async { estimate(&app, asker, &bytes).await });
    tokio::task::spawn_blocking(work).await.map_err(|_| Code::Internal)?.map(Json)
}

async fn estimate(app: &App, asker: Asker<MessagesSend>, bytes: &[u8]) -> Result<Estimate, Problem> {
    let mut sending = Sending::read(bytes)?;
    let caller = asker.named(app, sending.client_id()).await?;
    sending.attach(app, &caller).await?;
    let terms = app.pipeline.terms();
    let rules = app.rules(&caller, &terms, app.clock.now_ms());
    let mut mistakes = Vec::new();
    let bulk = matches!(sending.to, Some(To::Many(_)));
    let alone;
    let to = match &sending.to {
        Some(To::One(one)) => {
            alone = [Recipient::Phone(one.clone())];
            Some(&alone[..])
        }
        _ => many(&sending, &mut mistakes),
    };
    let content = sending::content(&sending, bulk, &rules, &mut mistakes);
    let (Some(to), Some(content), true) = (to, content, mistakes.is_empty()) else { return Err(mistakes.into()) };
    let Recipients { messages, refusals, wrong } = Gathering::of(app, to, &content, &rules).await?;
    let mut by_price: BTreeMap<Money, usize> = BTreeMap::new();
    let mut by_mms_price: BTreeMap<Money, usize> = BTreeMap::new();
    for m in &messages {
        *by_price.entry(m.unit_price).or_default() += 1;
        if let Some(mms) = m.mms_price() {
            *by_mms_price.entry(mms).or_default() += 1;
        }
    }
    let duplicates = Duplicates::of(&refusals);
    let longest = messages.iter().max_by_key(|m| m.parts);
    let explained = Problem::from(wrong).errors.into_iter().map(|mut e| {
        if !bulk {
            e.pointer = "#/to".into();
        }
        e
    });
    Ok(Estimate {
        encoding: encoding_name(longest.map_or(content.plan.encoding.number(), |m| m.encoding)),
        parts: longest.map_or(content.plan.parts, |m| m.parts),
        total_parts: messages.iter().map(|m| u64::from(m.parts)).sum(),
        units: content.plan.units,
        units_per_part: [false, true].map(|several| content.plan.encoding.capacity(several)),
        replaced: content.plan.replaced,
        lane: content.lane.as_str(),
        recipients: messages.len(),
        refused: refusals.len() - duplicates.count,
        duplicates,
        refusals: explained.collect(),
        without_consent: (content.category == Category::Promotional).then(|| {
            let consents = rules.suppressed.consents();
            messages.iter().filter(|m| !consents.agreed(rules.account, m.phone_tag)).count()
        }),
        prices: by_price
            .into_iter()
            .map(|(price, recipients)| PriceOf { per_part: price.to_string(), recipients })
            .collect(),
        mms: by_mms_price
            .into_iter()
            .map(|(price, recipients)| MmsPriceOf { per_mms: price.to_string(), recipients })
            .collect(),
        total: messages.iter().map(batches::price).sum::<Money>().to_string(),
        currency: caller.info.currency.clone(),
    })
}
