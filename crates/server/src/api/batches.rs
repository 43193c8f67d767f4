//! Batches: one text to many phone numbers in one request, and what became of them in sum.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use carillon_domain::id::{AccountNo, BatchId, MessageId, TypeId};
use carillon_domain::money::Money;
use carillon_store::batch::{self, Batch};
use carillon_store::hot::{IdempotencyKey, IntakeRequest, NewBatch, NewMessage, Step, Totals, Verdict};
use carillon_store::{message, short_link};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Code, Problem};
use super::extract::{Asker, Can, Id, Json, MessagesRead, MessagesSend, Query};
use super::history::MessageView;
use super::idempotency;
use super::ledger::ListQuery;
use super::loading;
use super::page::{Paged, Window};
use super::recipients::{Duplicates, Gathering, Recipients, many};
use super::sending::{self, Raw, Sending};
use crate::access::Caller;
use crate::app::App;
use crate::clock::rfc3339;

/// Bodies larger than this (some 200 numbers) are read and prepared off the threads that serve everybody, bytes.
const HEAVY_BYTES: usize = 4_096;
/// More recipients than this go to the store in chunks.
const ONE_STEP_MAX: usize = 2_000;

/// A text to many.
// For the documentation alone: `sending::Sending` reads it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what `Sending` reads")]
pub struct NewBatchBody {
    /// In open mode: the UUID of the account.
    client_id: Option<String>,
    /// 1 to 100,000 recipients: phone numbers, or objects with a `phone`, `contact`, `group` or `tag` and what is its own. A number that
    /// stands there twice gets one message, by the first.
    #[schema(example = json!(["+4915112345678", "+447400123456"]))]
    to: Vec<super::recipients::RecipientBody>,
    /// As of a message.
    #[schema(example = "Carillon")]
    from: Option<String>,
    /// The text. `{{name}}` is a place for each recipient's own variable of that name; `{{name|default("friend")}}` has a word for those
    /// who lack it.
    #[schema(example = "Hello")]
    text: Option<String>,
    /// Instead of `text`: octets as base64.
    data: Option<String>,
    /// Take whom it can: numbers that are wrong are left out, and as many as the balance covers are taken, in order. Otherwise one wrong
    /// number, or too little money, refuses the whole.
    partial: Option<bool>,
    /// Overtakes normal and bulk messages, for a surcharge per part.
    express: Option<bool>,
    flash: Option<bool>,
    /// `transactional` (the default) or `promotional`.
    category: Option<String>,
    language: Option<String>,
    transliterate: Option<bool>,
    #[schema(minimum = 60, maximum = 604800)]
    validity_s: Option<i64>,
    /// When to send it, RFC 3339, at most a year ahead.
    scheduled_at: Option<String>,
    /// As of a message: the zone of `scheduled_at`, then without offset.
    time_zone: Option<String>,
    /// `scheduled_at`, without offset, is the local time of each recipient.
    local_time: Option<bool>,
    /// Hours of each recipient in which alone it may go.
    #[schema(value_type = Option<Object>, example = json!({"from": "09:00", "to": "18:00", "days": ["mon", "tue", "wed", "thu", "fri"]}))]
    send_window: Option<()>,
    /// As of a message.
    quiet_hours: Option<String>,
    /// As of a message: each recipient gets links of its own.
    shorten_links: Option<bool>,
    /// Your own name for the batch and each of its messages.
    client_ref: Option<String>,
    /// Labels of the batch and each of its messages.
    tags: Option<Vec<String>>,
    callback_url: Option<String>,
    /// As of a message: the same files for all.
    media: Option<Vec<String>>,
}

/// A batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Batch)]
pub struct BatchView {
    #[schema(value_type = String, example = "bat_01h455vb4pex5vsknk084sn02q")]
    id: BatchId,
    /// `loading` (it may still vanish) or `accepted`.
    #[schema(example = "accepted")]
    status: &'static str,
    text: Option<String>,
    /// Messages accepted.
    total: i32,
    counts: CountsView,
    /// Parts of all messages.
    parts: i32,
    cost: CostView,
    /// Numbers that stood in the list more than once; left out in lists, as `refusals`.
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicates: Option<Duplicates>,
    /// Recipients that were not taken (with `partial`).
    #[serde(skip_serializing_if = "Option::is_none")]
    refusals: Option<Vec<RefusalView>>,
    client_ref: Option<String>,
    tags: Vec<String>,
    /// What came of its short links, if it has any; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<LinksView>,
    /// RFC 3339.
    created_at: String,
}

/// What came of a batch's short links.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinksView {
    /// Links in all its messages.
    #[schema(example = 4000)]
    links: i64,
    /// Those that a person opened.
    #[schema(example = 312)]
    clicked: i64,
    /// How often people opened any of them.
    #[schema(example = 340)]
    clicks: i64,
}

/// How many messages stand where.
#[derive(Debug, Serialize, ToSchema)]
pub struct CountsView {
    /// Not yet with a carrier; scheduled ones too.
    queued: i32,
    sent: i32,
    delivered: i32,
    /// Ended otherwise.
    failed: i32,
}

/// Money of a batch, decimal.
#[derive(Debug, Serialize, ToSchema)]
pub struct CostView {
    /// Still reserved.
    #[schema(example = "0.05")]
    held: String,
    /// Paid.
    captured: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    currency: String,
}

/// A recipient that was not taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusalView {
    /// Its place in `to`, from 0.
    index: u32,
    /// Why: a code of `/docs/problems`.
    #[schema(example = "phone_too_short")]
    code: String,
}

impl BatchView {
    fn of(b: Batch, caller: &Caller) -> BatchView {
        BatchView {
            id: b.id,
            status: if b.accepted { "accepted" } else { "loading" },
            text: b.body.as_deref().map(str::to_owned),
            total: b.total,
            counts: CountsView { queued: b.queued, sent: b.sent, delivered: b.delivered, failed: b.failed },
            parts: b.parts,
            cost: CostView {
                held: b.held.to_string(),
                captured: b.captured.to_string(),
                currency: caller.info.currency.clone(),
            },
            duplicates: None,
            refusals: None,
            client_ref: b.client_ref,
            tags: b.tags.as_deref().and_then(|tags| serde_json::from_str(tags).ok()).unwrap_or_default(),
            links: None,
            created_at: rfc3339(b.id.millis()),
        }
    }

    /// With what came of its links.
    async fn with_links(self, app: &App, account: AccountNo) -> Result<BatchView, Problem> {
        let short_link::Totals { links, clicked, clicks } = short_link::of_batch(&app.db, account, self.id).await?;
        Ok(BatchView { links: (links > 0).then_some(LinksView { links, clicked, clicks }), ..self })
    }

    pub(super) fn whole(mut b: Batch, caller: &Caller) -> BatchView {
        let all = std::mem::take(&mut b.refusals);
        let duplicates = Some(Duplicates::of(&all));
        let refused = all.into_iter().filter(|(_, code)| code != Code::DuplicateRecipient.as_str());
        BatchView {
            duplicates,
            refusals: Some(refused.map(|(index, code)| RefusalView { index, code }).collect()),
            ..BatchView::of(b, caller)
        }
    }

    fn accepted(self) -> Response {
        let location = HeaderValue::from_str(&format!("/v1/batches/{}", self.id)).expect("an id is ASCII");
        let mut response = sending::answer(StatusCode::ACCEPTED, &self);
        response.headers_mut().insert(header::LOCATION, location);
        response
    }
}

/// A batch ready for the store.
pub(crate) struct Prepared {
    pub(super) caller: Caller,
    pub(super) key: Option<IdempotencyKey>,
    pub(crate) batch: NewBatch,
    pub(super) messages: Vec<NewMessage>,
}

/// Send one text to many numbers.
///
/// It is accepted whole or refused whole, unless `partial` says otherwise. 202: all of it is stored and held.
#[utoipa::path(post, path = "/v1/batches", tag = "Messages", operation_id = "sendBatch", request_body = NewBatchBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: the same request with the same key is done once.")),
    responses((status = 202, body = BatchView), (status = 402, body = super::error::ProblemBody)))]
pub async fn create(
    State(app): State<App>,
    asker: Asker<MessagesSend>,
    headers: HeaderMap,
    Raw(bytes): Raw<true>,
) -> Result<Response, Problem> {
    let prepared = if !is_heavy(&bytes) {
        prepare_batch(&app, asker, &headers, &bytes).await?
    } else {
        let (app, runtime) = (app.clone(), tokio::runtime::Handle::current());
        let work = move || runtime.block_on(prepare_batch(&app, asker, &headers, &bytes));
        tokio::task::spawn_blocking(work).await.map_err(|_| Code::Internal)??
    };
    let caller = prepared.caller.clone();
    let (batch, replayed) = accept(&app, prepared).await?;
    let answer = BatchView::whole(batch, &caller).accepted();
    Ok(if replayed { idempotency::replayed(answer) } else { answer })
}

/// Stores it and holds its price. The batch, and whether the same request had been taken before.
pub(crate) async fn accept(app: &App, prepared: Prepared) -> Result<(Batch, bool), Problem> {
    let caller = prepared.caller.clone();
    let (verdict, shown) = if prepared.messages.len() <= ONE_STEP_MAX {
        submit(app, prepared).await?
    } else {
        // A caller who hangs up must not leave it half loaded.
        let app = app.clone();
        tokio::spawn(async move { loading::submit(&app, prepared).await }).await.map_err(|_| Code::Internal)??
    };
    match verdict {
        Verdict::Accepted { count, refusals, .. } => Ok((taken(shown, count, refusals), false)),
        Verdict::Replayed { resource } => {
            let batch = batch::by_id(&app.db, caller.account, BatchId::from_uuid(resource)).await?;
            if batch.accepted { Ok((batch, true)) } else { Err(Code::IdempotencyInFlight.into()) }
        }
        verdict => Err(sending::refusal(&verdict, &caller.info.currency)),
    }
}

/// Whether there may be many recipients in it.
fn is_heavy(bytes: &[u8]) -> bool {
    let names = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
    bytes.len() > HEAVY_BYTES || names(b"\"group\"") || names(b"\"tag\"") || names(b"\"status\"")
}

/// In one transaction; gives back what is needed for the answer.
async fn submit(app: &App, prepared: Prepared) -> Result<(Verdict, Shown), Problem> {
    let shown = Shown::of(&prepared);
    let Prepared { caller, key, batch, messages } = prepared;
    let request = IntakeRequest { account: caller.account, key, step: Step::Batch(batch), messages };
    Ok((app.pipeline.submit(request).await?, shown))
}

/// What the answer shows of a batch that went to the store.
pub(super) struct Shown {
    batch: NewBatch,
    /// Parts and price of each message, in order.
    priced: Vec<(u8, Money)>,
}

impl Shown {
    pub(super) fn of(p: &Prepared) -> Shown {
        let batch = NewBatch { refusals: Vec::new(), ..p.batch.clone() };
        let priced = p.messages.iter().map(|m| (m.parts, price(m))).collect();
        Shown { batch, priced }
    }
}

fn taken(shown: Shown, count: u32, refusals: Vec<(u32, &'static str)>) -> Batch {
    let total = count as i32;
    let priced = &shown.priced[..count as usize];
    Batch {
        id: shown.batch.id,
        accepted: true,
        body: shown.batch.body,
        total,
        queued: total,
        sent: 0,
        delivered: 0,
        failed: 0,
        parts: priced.iter().map(|(parts, _)| i32::from(*parts)).sum(),
        held: priced.iter().map(|(_, price)| *price).sum(),
        captured: Money::ZERO,
        client_ref: shown.batch.client_ref,
        tags: shown.batch.tags,
        refusals: refusals.into_iter().map(|(index, code)| (index, code.to_owned())).collect(),
    }
}

async fn prepare_batch(
    app: &App,
    asker: Asker<MessagesSend>,
    headers: &HeaderMap,
    bytes: &Bytes,
) -> Result<Prepared, Problem> {
    let sending = Sending::read(bytes)?;
    let caller = asker.named(app, sending.client_id()).await?;
    let key = idempotency::key(headers, "POST /v1/batches", bytes)?;
    prepare(app, caller, key, sending).await
}

/// Finds everybody, makes and prices their messages; or all that is wrong.
pub(crate) async fn prepare(
    app: &App,
    caller: Caller,
    key: Option<IdempotencyKey>,
    mut sending: Sending<'_>,
) -> Result<Prepared, Problem> {
    sending.attach(app, &caller).await?;
    let terms = app.pipeline.terms();
    let now = app.clock.now_ms();
    let rules = app.rules(&caller, &terms, now);
    let mut mistakes = Vec::new();
    let to = many(&sending, &mut mistakes);
    let content = sending::content(&sending, true, &rules, &mut mistakes);
    let (Some(to), Some(content)) = (to, content) else { return Err(mistakes.into()) };
    let partial = sending.partial == Some(true);
    let Recipients { messages, refusals, wrong } = Gathering::of(app, to, &content, &rules).await?;
    if !mistakes.is_empty() || (!partial && !wrong.is_empty()) || messages.is_empty() {
        mistakes.extend(wrong);
        return Err(mistakes.into());
    }
    let extra = content.extra.as_deref();
    let batch = NewBatch {
        id: BatchId::new(now, app.ids.next(), caller.account),
        body: Some(content.body.clone()),
        client_ref: extra.and_then(|e| e.client_ref.clone()),
        tags: extra.and_then(|e| e.tags.clone()),
        partial,
        refusals,
    };
    Ok(Prepared { caller, key, batch, messages })
}

/// Read a batch.
///
/// Its totals, its cost and who was not taken.
#[utoipa::path(get, path = "/v1/batches/{id}", tag = "Messages", operation_id = "getBatch", params(("id" = String, Path)),
    responses((status = 200, body = BatchView)))]
pub async fn read(
    State(app): State<App>,
    asker: Asker<MessagesRead>,
    Id(id): Id<BatchId>,
) -> Result<Json<BatchView>, Problem> {
    let caller = asker.owner(&app, id.account()).await?;
    let view = BatchView::whole(batch::by_id(&app.db, caller.account, id).await?, &caller);
    view.with_links(&app, caller.account).await.map(Json)
}

/// List batches, newest first.
#[utoipa::path(get, path = "/v1/batches", tag = "Messages", operation_id = "listBatches", params(ListQuery),
    responses((status = 200, body = Paged<BatchView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<MessagesRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<BatchView>>, Problem> {
    let window = Window::open(&app, caller.account, "batches", "", query.limit, query.cursor.as_deref())?;
    let rows = batch::list(&app.db, caller.account, window.after.map(BatchId::from_uuid), window.fetch()).await?;
    Ok(Json(window.page(rows, |b| b.id.0, |b| BatchView::of(b, &caller))))
}

/// List a batch's messages, in the order of its recipients.
///
/// A page may be short, even empty, and still have a `next_cursor` to go on with.
#[utoipa::path(get, path = "/v1/batches/{id}/messages", tag = "Messages", operation_id = "listBatchMessages",
    params(("id" = String, Path), ListQuery), responses((status = 200, body = Paged<MessageView>)))]
pub async fn messages(
    State(app): State<App>,
    asker: Asker<MessagesRead>,
    Id(id): Id<BatchId>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<MessageView>>, Problem> {
    let caller = asker.owner(&app, id.account()).await?;
    batch::by_id(&app.db, caller.account, id).await?;
    let filter = id.to_string();
    let window = Window::open(&app, caller.account, "batch-messages", &filter, query.limit, query.cursor.as_deref())?;
    let after = window.after.map(MessageId::from_uuid);
    let found = message::of_batch(&app.db, caller.account, id, after, window.limit).await?;
    let views = found.rows.into_iter().map(|m| MessageView::of(m, &caller.info)).collect();
    Ok(Json(window.page_to(views, found.next.map(|id| id.0))))
}

/// What a cancel did.
#[derive(Debug, Serialize, ToSchema)]
pub struct CanceledBatch {
    /// Messages that will not be sent because of this request; what was held for them is released.
    #[schema(example = 4000)]
    canceled: u32,
    /// The batch as it stands now.
    batch: BatchView,
}

/// Cancel a batch.
///
/// Every message of it that no carrier has; the others go their way. Canceling twice is the same as once.
#[utoipa::path(post, path = "/v1/batches/{id}/cancel", tag = "Messages", operation_id = "cancelBatch", params(("id" = String, Path)),
    responses((status = 200, body = CanceledBatch), (status = 409, body = super::error::ProblemBody)))]
pub async fn cancel(
    State(app): State<App>,
    asker: Asker<MessagesSend>,
    Id(id): Id<BatchId>,
) -> Result<Json<CanceledBatch>, Problem> {
    let caller = asker.owner(&app, id.account()).await?;
    if !batch::by_id(&app.db, caller.account, id).await?.accepted {
        return Err(Code::BatchLoading.into());
    }
    // A caller who hangs up must not leave it half canceled.
    let (work, account) = (app.clone(), caller.account);
    let canceled =
        tokio::spawn(async move { cancel_open(&work, account, id).await }).await.map_err(|_| Code::Internal)??;
    let batch = BatchView::whole(batch::by_id(&app.db, caller.account, id).await?, &caller);
    Ok(Json(CanceledBatch { canceled, batch }))
}

/// Messages canceled in one go.
const CANCEL_PAGE: u32 = 5_000;

async fn cancel_open(app: &App, account: AccountNo, id: BatchId) -> Result<u32, Problem> {
    let (mut canceled, mut after) = (0, None);
    loop {
        let page = message::open_of_batch(&app.db, account, id, after, CANCEL_PAGE).await?;
        canceled += app.pipeline.cancel_all(page.open).await?;
        let Some(next) = page.next else { return Ok(canceled) };
        after = Some(next);
    }
}

/// Sums of messages, for the hold of a whole batch.
pub(super) fn totals(messages: &[NewMessage]) -> Totals {
    Totals {
        messages: messages.len() as u32,
        parts: messages.iter().map(|m| u64::from(m.parts)).sum(),
        held: messages.iter().map(price).sum(),
    }
}

/// What one message holds.
pub(super) fn price(m: &NewMessage) -> Money {
    m.held()
}
