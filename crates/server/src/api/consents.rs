//! Consent: what is recorded of people's agreement, where each stands, and the question whether they agree.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::account::Settings;
use carillon_domain::consent::{CATEGORIES, Detail, Source, Status};
use carillon_domain::id::{ConsentId, ContactId, MessageId, TypeId};
use carillon_domain::message::Category;
use carillon_domain::permission::Scope;
use carillon_domain::phone::Phone;
use carillon_store::consent::{self as store, Consent, Filter, NewConsent, NotAsked, Patience};
use carillon_store::hot::Verdict;
use carillon_store::{StoreError, contact, inbound_number};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::contacts::code;
use super::error::{Code, FieldError, Problem};
use super::extract::{Can, ContactsManage, ContactsRead, Id, Json, Query};
use super::ledger;
use super::messages::phone;
use super::page::{Paged, Window};
use super::sending;
use crate::access::Caller;
use crate::app::App;
use crate::clock::rfc3339;
use crate::consents;
use crate::inbound::{self, Refused, peer};
use crate::pipeline::prepare::{self, Draft, Mistake};

/// How often a person may be asked whether they agree.
const PATIENCE: Patience = Patience { times: 3, within: 30 * 86_400_000 };
/// How far ahead of our clock another's may be, milliseconds.
const AHEAD_MS: i64 = 600_000;
/// Characters of the question.
const QUESTION_MAX: usize = 320;

/// A record to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConsentBody {
    /// The number: + and country code; or national, with the account's `default_country`.
    #[schema(example = "+4915112345678")]
    phone: String,
    /// `promotional` (if not given) or `transactional`.
    #[schema(example = "promotional")]
    category: Option<String>,
    /// `opted_in`, `opted_out`; or `confirmed`, of a confirmation made elsewhere, with its `proof`.
    #[schema(example = "opted_in")]
    status: String,
    /// `api` (if not given), `form`, `paper` or `ivr`.
    #[schema(example = "form")]
    source: Option<String>,
    /// When the person said so, RFC 3339; now if not given.
    captured_at: Option<String>,
    /// Your name for the wording.
    #[schema(example = "form-2026-03")]
    text_version: Option<String>,
    /// The wording the person read.
    #[schema(example = "Yes, send me offers by SMS.")]
    text: Option<String>,
    #[schema(example = "en")]
    language: Option<String>,
    #[schema(example = "https://shop.example/newsletter")]
    source_url: Option<String>,
    #[schema(example = "203.0.113.7")]
    ip: Option<String>,
    user_agent: Option<String>,
    /// Where the proof lies.
    proof: Option<String>,
}

/// A record. It is never changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Consent)]
pub struct ConsentView {
    #[schema(value_type = String, example = "cns_01h455vb4pex5vsknk084sn02q")]
    id: ConsentId,
    #[schema(value_type = String, example = "+4915112345678")]
    phone: Phone,
    #[schema(example = "promotional")]
    category: &'static str,
    /// `opted_in`, `opted_out`, `pending` (they were asked) or `confirmed` (they answered yes).
    #[schema(example = "opted_in")]
    status: &'static str,
    /// `form`, `keyword`, `import`, `api`, `paper`, `ivr`, `preference_page` or `double_opt_in`.
    #[schema(example = "form")]
    source: &'static str,
    /// When the person said so, RFC 3339.
    captured_at: String,
    /// When it was written down, RFC 3339.
    recorded_at: String,
    text_version: Option<String>,
    text: Option<String>,
    /// SHA-256 of `text`, in hexadecimal.
    text_hash: Option<String>,
    language: Option<String>,
    source_url: Option<String>,
    ip: Option<String>,
    user_agent: Option<String>,
    proof: Option<String>,
    /// What the person wrote.
    keyword: Option<String>,
    /// Who recorded it.
    actor: Option<String>,
    /// The record before it, of the same number and category.
    #[schema(value_type = Option<String>)]
    previous: Option<ConsentId>,
}

fn view(c: Consent) -> ConsentView {
    let d = c.detail;
    let hash = |text: &String| Sha256::digest(text).iter().map(|octet| format!("{octet:02x}")).collect();
    ConsentView {
        id: c.id,
        phone: phone(c.phone),
        category: c.category.as_str(),
        status: c.status.as_str(),
        source: c.source.as_str(),
        captured_at: rfc3339(c.captured_at),
        recorded_at: rfc3339(c.id.millis()),
        text_version: d.text_version,
        text_hash: d.text.as_ref().map(hash),
        text: d.text,
        language: d.language,
        source_url: d.source_url,
        ip: d.ip,
        user_agent: d.user_agent,
        proof: d.proof,
        keyword: d.keyword,
        actor: d.actor,
        previous: c.previous,
    }
}

/// Where a number stands, by category: `unknown` without a record.
pub(super) fn stands(states: &[store::State], phone_tag: i64) -> BTreeMap<&'static str, &'static str> {
    let of = |category: Category| {
        let state = states.iter().find(|s| s.phone_tag == phone_tag && s.category == category);
        (category.as_str(), state.map_or("unknown", |s| s.status.as_str()))
    };
    CATEGORIES.map(of).into()
}

fn category_of(text: Option<&str>) -> Result<Category, &'static str> {
    match Category::from_name(text.unwrap_or("promotional")) {
        Some(category) if CATEGORIES.contains(&category) => Ok(category),
        _ => Err("promotional or transactional"),
    }
}

impl NewConsentBody {
    /// The record, or all that is wrong with it.
    fn judge(self, app: &App, caller: &Caller) -> Result<NewConsent, Problem> {
        let mut errors: Vec<FieldError> = Vec::new();
        let mut refuse = |field: &str, code: &'static str, detail: String, suggestion| {
            errors.push(FieldError { pointer: format!("#/{field}").into(), code, detail: detail.into(), suggestion });
        };
        let invalid = Code::InvalidValue.as_str();
        let number = prepare::recipient(&self.phone, &caller.info.settings).map_err(|e| {
            let Mistake { code, detail, suggestion, .. } = Mistake::phone(e, None);
            refuse("phone", code, detail.into_owned(), suggestion);
        });
        let category = category_of(self.category.as_deref());
        let category = category.map_err(|why| refuse("category", invalid, why.into(), None));
        let status = match Status::from_name(&self.status).filter(|s| *s != Status::Pending) {
            Some(Status::Confirmed) if self.proof.is_none() => {
                let detail = "say where the proof of the confirmation lies".to_owned();
                refuse("proof", Code::MissingField.as_str(), detail, None);
                None
            }
            None => {
                refuse("status", invalid, "opted_in, opted_out or confirmed".into(), None);
                None
            }
            status => status,
        };
        let source = Source::from_name(self.source.as_deref().unwrap_or("api"))
            .filter(|s| matches!(s, Source::Api | Source::Form | Source::Paper | Source::Ivr));
        if source.is_none() {
            refuse("source", invalid, "api, form, paper or ivr".into(), None);
        }
        let now = app.clock.now_ms();
        let captured = self.captured_at.as_deref().map(str::parse::<jiff::Timestamp>).transpose();
        let captured = captured.ok().map(|at| at.map_or(now, jiff::Timestamp::as_millisecond));
        let captured = captured.filter(|at| *at <= now + AHEAD_MS);
        if captured.is_none() {
            refuse(
                "captured_at",
                invalid,
                "an RFC 3339 instant that is past, such as 2026-11-21T12:00:00Z".into(),
                None,
            );
        }
        let detail = Detail {
            text_version: self.text_version,
            text: self.text,
            language: self.language,
            source_url: self.source_url,
            ip: self.ip,
            user_agent: self.user_agent,
            proof: self.proof,
            keyword: None,
            actor: Some(caller.actor.to_string()),
        };
        if let Err((field, why)) = detail.check() {
            refuse(field, code(why).as_str(), why.to_string(), None);
        }
        match (number, category, status, source, captured) {
            (Ok(number), Ok(category), Some(status), Some(source), Some(captured_at)) if errors.is_empty() => {
                Ok(NewConsent {
                    id: ConsentId::new(now, app.ids.next(), caller.account),
                    phone: number.phone.digits(),
                    phone_tag: number.phone.tag(&app.secrets.phone_key),
                    category,
                    status,
                    source,
                    captured_at,
                    detail,
                    origin: None,
                })
            }
            _ => Err(Problem { errors, ..Code::InvalidRequest.into() }),
        }
    }
}

/// Record a consent, or its end.
///
/// It is appended to what is known of the number. `opted_out` holds messages of the category back from now on. What the person refused
/// themselves (STOP, or their own page) an `opted_in` of yours does not lift.
#[utoipa::path(post, path = "/v1/consents", tag = "Consent", operation_id = "recordConsent", request_body = NewConsentBody,
    responses((status = 201, body = ConsentView)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Json(body): Json<NewConsentBody>,
) -> Result<(StatusCode, Json<ConsentView>), Problem> {
    let new = body.judge(&app, &caller)?;
    let filter = Filter { phone_tag: Some(new.phone_tag), category: Some(new.category) };
    consents::record(&app, caller.account, &[new]).await?;
    let made = store::list(&app.db, caller.account, filter, None, 1).await?.pop().ok_or(Code::Internal)?;
    Ok((StatusCode::CREATED, Json(view(made))))
}

/// Which records, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConsentQuery {
    /// Of this number, its + written as %2B.
    phone: Option<String>,
    /// `promotional` or `transactional`.
    category: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List records, newest first.
#[utoipa::path(get, path = "/v1/consents", tag = "Consent", operation_id = "listConsents", params(ConsentQuery),
    responses((status = 200, body = Paged<ConsentView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Query(query): Query<ConsentQuery>,
) -> Result<Json<Paged<ConsentView>>, Problem> {
    let refuse = |name: &'static str, detail| Problem::from(Code::InvalidQuery).and(Code::InvalidValue, name, detail);
    let lenient = Settings { lenient: true, ..caller.info.settings.clone() };
    let tag = |text: &String| {
        let number = prepare::recipient(text, &lenient);
        number
            .map(|parsed| parsed.phone.tag(&app.secrets.phone_key))
            .map_err(|_| refuse("?phone", "a phone number, its + written as %2B"))
    };
    let category = query.category.as_deref().map(|text| category_of(Some(text))).transpose();
    let category = category.map_err(|why| refuse("?category", why))?;
    let filter = Filter { phone_tag: query.phone.as_ref().map(tag).transpose()?, category };
    page_of(&app, &caller, filter, query.limit, query.cursor.as_deref()).await
}

async fn page_of(
    app: &App,
    caller: &Caller,
    filter: Filter,
    limit: Option<u32>,
    cursor: Option<&str>,
) -> Result<Json<Paged<ConsentView>>, Problem> {
    let window = Window::open(app, caller.account, "consents", &format!("{filter:?}"), limit, cursor)?;
    let before = window.after.map(ConsentId::from_uuid);
    let rows = store::list(&app.db, caller.account, filter, before, window.fetch()).await?;
    Ok(Json(window.page(rows, |c| c.id.0, view)))
}

/// List what is recorded of a contact's number, newest first.
#[utoipa::path(get, path = "/v1/contacts/{id}/consents", tag = "Consent", operation_id = "listContactConsents",
    params(("id" = String, Path), ledger::ListQuery), responses((status = 200, body = Paged<ConsentView>)))]
pub async fn of_contact(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Id(id): Id<ContactId>,
    Query(query): Query<ledger::ListQuery>,
) -> Result<Json<Paged<ConsentView>>, Problem> {
    let contact = contact::by_id(&app.db, caller.account, id).await?;
    let phone_tag = Some(phone(contact.phone).tag(&app.secrets.phone_key));
    page_of(&app, &caller, Filter { phone_tag, category: None }, query.limit, query.cursor.as_deref()).await
}

/// How a person is asked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskBody {
    /// `promotional` (if not given) or `transactional`.
    #[schema(example = "promotional")]
    category: Option<String>,
    /// What is sent, at most 320 characters; it must say that YES agrees. A sentence of ours with the account's name if not given.
    #[schema(example = "Pizzeria: reply YES to get our offers, STOP to get none.")]
    text: Option<String>,
    /// A number of the account's that phones can write to; the only one if there is one.
    #[schema(example = "+4915735983801")]
    from: Option<String>,
    /// Your name for the wording.
    text_version: Option<String>,
    #[schema(example = "en")]
    language: Option<String>,
}

/// A question on its way.
#[derive(Debug, Serialize, ToSchema)]
pub struct AskedView {
    /// The message that asks.
    #[schema(value_type = String, example = "msg_01h455vb4pex5vsknk084sn02q")]
    message: MessageId,
    /// Until when a YES counts, RFC 3339.
    until: String,
}

/// Ask a contact whether they agree (double opt-in).
///
/// Sends an ordinary message from a number that can be answered; YES (in fourteen languages) makes the consent `confirmed`. Nobody is asked
/// again while an answer is waited for, nor more than three times in thirty days, nor once they refused. Needs `messages:send`, too.
#[utoipa::path(post, path = "/v1/contacts/{id}/double-opt-in", tag = "Consent", operation_id = "askForConsent",
    params(("id" = String, Path)), request_body = AskBody,
    responses((status = 202, body = AskedView), (status = 409, body = super::error::ProblemBody)))]
pub async fn ask(
    State(app): State<App>,
    caller: Can<ContactsManage>,
    Id(id): Id<ContactId>,
    Json(body): Json<AskBody>,
) -> Result<(StatusCode, Json<AskedView>), Problem> {
    caller.allow(Scope::MessagesSend)?;
    let account = caller.account;
    let contact = contact::by_id(&app.db, account, id).await?;
    let category = category_of(body.category.as_deref()).map_err(|why| Code::InvalidValue.at("#/category", why))?;
    let text = body.text.unwrap_or_else(|| {
        format!("{}: reply YES if you want to receive our messages, STOP if not.", caller.info.name)
    });
    if !(1..=QUESTION_MAX).contains(&text.chars().count()) {
        return Err(Code::TooLong.at("#/text", "1 to 320 characters"));
    }
    let detail = Detail {
        text_version: body.text_version,
        text: Some(text.clone()),
        language: body.language,
        actor: Some(caller.actor.to_string()),
        ..Detail::default()
    };
    detail.check().map_err(|(field, why)| code(why).at(format!("#/{field}"), why.to_string()))?;
    let from = answerable(&app, &caller, body.from.as_deref()).await?;
    let (number, now) = (phone(contact.phone), app.clock.now_ms());
    let phone_tag = number.tag(&app.secrets.phone_key);
    let until = now + i64::from(app.config.inbound.confirm_hours) * 3_600_000;
    store::ask(&app.db, account, phone_tag, category, until, PATIENCE, now).await?.map_err(not_asked)?;
    // Whoever hangs up must not leave a question open that was never sent.
    let (work, who) = (app.clone(), caller.0.clone());
    let sent = tokio::spawn(async move { question(&work, &who, &from, number, &text).await });
    let message = match sent.await.map_err(|_| Problem::from(Code::Internal)).flatten() {
        Ok(message) => message,
        Err(problem) => {
            store::not_asked(&app.db, account, phone_tag, category, now).await?;
            return Err(problem);
        }
    };
    let record = NewConsent {
        id: ConsentId::new(now, app.ids.next(), account),
        phone: number.digits(),
        phone_tag,
        category,
        status: Status::Pending,
        source: Source::DoubleOptIn,
        captured_at: now,
        detail,
        origin: Some(message.0),
    };
    consents::record(&app, account, &[record]).await?;
    Ok((StatusCode::ACCEPTED, Json(AskedView { message, until: rfc3339(until) })))
}

fn not_asked(why: NotAsked) -> Problem {
    match why {
        NotAsked::OptedOut => Code::NoConsent.with("they refused; who refused is not asked again, and can write START"),
        NotAsked::Confirmed => Code::ConsentConfirmed.into(),
        NotAsked::Waiting(until) => {
            Code::ConsentAsked.with(format!("an answer is waited for until {}", rfc3339(until)))
        }
        NotAsked::TooOften => Code::ConsentAsked.with("three times in thirty days, without an answer"),
    }
}

/// The account's own number (digits) that the question is from.
async fn answerable(app: &App, caller: &Caller, from: Option<&str>) -> Result<String, Problem> {
    let own = inbound_number::list(&app.db, Some(caller.account), None, 200).await?;
    let found = match from {
        Some(text) => own.iter().find(|n| peer::as_sender(&n.number) == text || n.number == text),
        None => own.first().filter(|_| own.len() == 1),
    };
    let detail = "name one of the account's numbers that phones can write to: GET /v1/inbound-numbers lists them";
    found.map(|n| n.number.clone()).ok_or_else(|| Code::InvalidValue.at("#/from", detail))
}

async fn question(app: &App, caller: &Caller, from: &str, to: Phone, text: &str) -> Result<MessageId, Problem> {
    let draft = Draft { text: Some(text), ..Draft::default() };
    let verdict = inbound::reply(app, caller, from, &to.to_string(), draft, None).await.map_err(|e| match e {
        Refused::Wrong(mistakes) => Problem::from(mistakes),
        Refused::Submit(e) => e.into(),
    })?;
    match verdict {
        Verdict::Accepted { first, .. } => Ok(first),
        verdict => Err(sending::refusal(&verdict, &caller.info.currency)),
    }
}

/// How many of a group stand where.
pub(super) async fn of_group(
    app: &App,
    group: carillon_domain::id::GroupId,
    members: i64,
) -> Result<BTreeMap<&'static str, i64>, StoreError> {
    let counts = store::of_group(&app.db, group.account(), group, Category::Promotional).await?;
    let mut all: BTreeMap<_, _> = Status::ALL.iter().map(|status| (status.as_str(), 0)).collect();
    let known: i64 = counts.iter().map(|(_, count)| count).sum();
    all.extend(counts.into_iter().map(|(status, count)| (status.as_str(), count)));
    all.insert("unknown", (members - known).max(0));
    Ok(all)
}
