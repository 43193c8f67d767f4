//! Before a campaign goes out: what it would be, and how it reads on a phone of one's own.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use carillon_domain::ab_test::letter;
use carillon_domain::encoding::Encoding;
use carillon_domain::id::{BatchId, CampaignId};
use carillon_domain::message::Lane;
use carillon_domain::phone::Parsed;
use carillon_store::hot::{IntakeRequest, NewBatch, Step, Verdict};
use carillon_store::{campaign, ledger};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::campaign_audience::{EntryBody, entries};
use super::campaigns::{is_phone, ready};
use super::error::{Code, Problem};
use super::estimates::PriceOf;
use super::extract::{CampaignsManage, CampaignsRead, Can, Id, Json};
use super::{idempotency, sending};
use crate::app::App;
use crate::campaigns::audience::{self, Person, Place};
use crate::campaigns::estimate::{self, NoEstimate};
use crate::campaigns::{self};
use crate::pipeline::prepare::{Mistake, Own};

/// Phones of one test.
const TEST_MAX: usize = 10;

/// What a campaign would be, if it were launched now.
#[derive(Debug, Serialize, ToSchema)]
pub struct CampaignEstimate {
    /// People who would be written to.
    #[schema(example = 1180)]
    recipients: u64,
    /// Numbers that stand in the audience more than once.
    duplicates: u64,
    /// People who would be left out, by reason: a code of `/docs/problems`.
    #[schema(value_type = Object, example = json!({"suppressed": 12, "phone_too_short": 3}))]
    skipped: BTreeMap<&'static str, u64>,
    /// Of those who lack a word that has no fallback: how many lack which.
    #[schema(value_type = Object, example = json!({}))]
    missing_variables: BTreeMap<String, u64>,
    /// Parts of all messages.
    parts: u64,
    /// Messages by their number of parts.
    #[schema(value_type = Object, example = json!({"1": 1100, "2": 80}))]
    by_parts: BTreeMap<u8, u64>,
    /// Messages by encoding: `gsm7` or `ucs2`.
    #[schema(value_type = Object, example = json!({"gsm7": 1170, "ucs2": 10}))]
    by_encoding: BTreeMap<&'static str, u64>,
    /// Different prices of a part, and the messages each is for.
    prices: Vec<PriceOf>,
    /// The most that all can cost, decimal.
    #[schema(example = "63.00")]
    total: String,
    /// What there is.
    #[schema(example = "100.00")]
    available: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    currency: String,
    /// Whether what there is covers it.
    enough: bool,
    /// How long it takes at least by the campaign's pace and the account's rate, seconds; null if neither is set.
    duration_s: Option<u64>,
}

/// Estimate a campaign.
///
/// Walks the whole audience as it is now, each number once. Nothing is stored, held or sent.
#[utoipa::path(post, path = "/v1/campaigns/{id}/estimate", tag = "Campaigns", operation_id = "estimateCampaign", params(("id" = String, Path)),
    responses((status = 200, body = CampaignEstimate)))]
pub async fn estimate(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Id(id): Id<CampaignId>,
) -> Result<Json<CampaignEstimate>, Problem> {
    let c = campaign::by_id(&app.db, caller.account, id).await?;
    ready(&app, &caller, &c)?;
    let found = estimate::of(&app, caller.account, &caller.info, &c.content.of_variant(0), &c.audience)
        .await
        .map_err(refusal)?;
    let available = ledger::balance(&app.db, caller.account).await?.available;
    let price = |(price, recipients)| PriceOf::of(price, recipients);
    let encoding = |(number, count)| (Encoding::from_number(number).map_or("unknown", Encoding::name), count);
    let duration_s = found.duration_s(&app, caller.account, &caller.info, c.pace).await?;
    Ok(Json(CampaignEstimate {
        recipients: found.recipients,
        duplicates: found.duplicates,
        skipped: found.skipped,
        missing_variables: found.missing,
        parts: found.parts,
        by_parts: found.by_parts,
        by_encoding: found.by_encoding.into_iter().map(encoding).collect(),
        prices: found.by_price.into_iter().map(price).collect(),
        total: found.total.to_string(),
        available: available.to_string(),
        currency: caller.info.currency.clone(),
        enough: found.total <= available,
        duration_s,
    }))
}

fn refusal(why: NoEstimate) -> Problem {
    match why {
        NoEstimate::Wrong(mistakes) => mistakes.into(),
        NoEstimate::Gone(entry) => Code::NotFound.at(format!("#/audience/{entry}"), "this is not there any more"),
        NoEstimate::Unread(entry, why) => Problem::from(Code::SourceFailed).and(
            Code::SourceFailed,
            format!("#/audience/{entry}/source"),
            why.to_string(),
        ),
        NoEstimate::TooLarge => Code::TooLong.at("#/audience", "more people than a campaign may have"),
        NoEstimate::Store(error) => error.into(),
    }
}

/// To whom a campaign is sent for a look.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestBody {
    /// 1 to 10 numbers, objects with a `phone` and its `variables`, or with a `contact`.
    #[schema(example = json!([{"phone": "+4915112345678", "variables": {"name": "Ada"}}]))]
    to: Vec<EntryBody>,
    /// Which variant of its A/B test, `A` to `E`; `A` if not given.
    #[schema(example = "A")]
    variant: Option<String>,
}

/// A test that was sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestView {
    /// The batch its messages are in.
    #[schema(value_type = String, example = "bat_01h455vb4pex5vsknk084sn02q")]
    batch: BatchId,
    /// How many.
    messages: u32,
}

/// Send a campaign to a few phones for a look.
///
/// As messages of their own, paid as any; all of them or none. It needs the scope `messages:send` too.
#[utoipa::path(post, path = "/v1/campaigns/{id}/test", tag = "Campaigns", operation_id = "testCampaign", params(("id" = String, Path)),
    request_body = TestBody, responses((status = 202, body = TestView), (status = 402, body = super::error::ProblemBody)))]
pub async fn test(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
    headers: HeaderMap,
    Json(body): Json<TestBody>,
) -> Result<(StatusCode, Json<TestView>), Problem> {
    caller.allow(carillon_domain::permission::Scope::MessagesSend)?;
    let c = campaign::by_id(&app.db, caller.account, id).await?;
    let fingerprint = format!("{:?}", (&body.to, &body.variant));
    let key = idempotency::key(&headers, &format!("POST /v1/campaigns/{id}/test"), fingerprint.as_bytes())?;
    let variants = c.content.variants().len();
    let place = body.variant.as_deref().map_or(Some(0), |name| (0..variants).find(|i| name == letter(*i).to_string()));
    let place = place.ok_or_else(|| Code::InvalidValue.at("#/variant", "no variant of this campaign"))?;
    let people = people(&app, &caller, body.to).await?;
    let now = app.clock.now_ms();
    let terms = app.pipeline.terms();
    let rules = app.rules(&caller, &terms, now);
    let mut content = campaigns::content(&c.content.of_variant(place), None, &rules)?;
    content.lane = Lane::Normal;
    let (mut messages, mut wrong) = (Vec::new(), Vec::new());
    for (index, person) in people.into_iter().enumerate() {
        let value = |name: &str| person.words.get(name).map(String::as_str);
        let own = Own { value: &value, client_ref: None };
        let made = match &person.to {
            Ok(phone) => {
                content.message_of(&rules, Parsed { phone: *phone, country: phone.country() }, index as u32, &own)
            }
            Err((_, code)) => {
                Err(Mistake { index: Some(index), ..Mistake::new("to", code, "this number cannot be written to") })
            }
        };
        match made {
            Ok(m) => match rules.suppressed.hold_new(rules.account, &m) {
                Some(hold) => wrong.push(sending::held(hold, Some(index))),
                None => messages.push(m),
            },
            Err(mistake) => wrong.push(mistake),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong.into());
    }
    let batch = BatchId::new(now, app.ids.next(), caller.account);
    let new = NewBatch {
        id: batch,
        body: Some(content.body.clone()),
        client_ref: None,
        tags: content.extra.as_ref().and_then(|e| e.tags.clone()),
        partial: false,
        refusals: Vec::new(),
    };
    let count = messages.len() as u32;
    let request = IntakeRequest { account: caller.account, key, step: Step::Batch(new), messages };
    let batch = match app.pipeline.submit(request).await? {
        Verdict::Accepted { .. } => batch,
        Verdict::Replayed { resource } => BatchId(resource),
        verdict => return Err(sending::refusal(&verdict, &caller.info.currency)),
    };
    Ok((StatusCode::ACCEPTED, Json(TestView { batch, messages: count })))
}

/// Who is named, one by one.
async fn people(app: &App, caller: &crate::access::Caller, to: Vec<EntryBody>) -> Result<Vec<Person>, Problem> {
    if to.is_empty() || to.len() > TEST_MAX {
        let code = if to.is_empty() { Code::TooShort } else { Code::TooLong };
        return Err(code.at("#/to", "1 to 10 phones"));
    }
    let entries = entries(app, caller.account, to, "to").await??;
    if let Some(index) = entries.iter().position(|entry| !is_phone(entry)) {
        return Err(Code::InvalidValue.at(format!("#/to/{index}"), "a `phone` or a `contact`"));
    }
    let (mut all, mut place) = (Vec::new(), Place::default());
    loop {
        let page = audience::page(app, caller.account, &caller.info.settings, &entries, &place).await;
        let (people, next) = page.map_err(|e| refusal(e.into()))?;
        all.extend(people);
        match next {
            Some(next) => place = next,
            None => return Ok(all),
        }
    }
}
