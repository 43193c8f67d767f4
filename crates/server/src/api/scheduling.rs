//! Changing what waits for its time: another time or text for a message, another time for a batch.

use axum::extract::State;
use carillon_domain::id::{AccountNo, BatchId, MessageId};
use carillon_domain::message::{Category, Flags, Lane, State as Status};
use carillon_domain::phone::Parsed;
use carillon_domain::quiet::Window;
use carillon_domain::smpp::SmppOrigin;
use carillon_store::batch;
use carillon_store::hot::{Extra, NewMessage};
use carillon_store::message::{self, Message};
use carillon_store::replacement::{self, Move};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::batches::{BatchView, CanceledBatch, cancel};
use super::error::{Code, Problem};
use super::extract::{Asker, Id, Json, MessagesSend};
use super::history::MessageView;
use super::messages::{phone, whole};
use super::sending;
use crate::app::App;
use crate::clock::rfc3339;
use crate::pipeline::ReplaceOutcome;
use crate::pipeline::prepare::{self, Draft, Mistake, Rules, When};

/// Messages of a batch moved in one transaction: others write between.
const PAGE: u32 = 500;
/// What is due sooner than this is on its way into memory: a batch's move leaves it. Milliseconds.
const TOO_SOON_MS: i64 = 5_000;
/// What a message keeps that its text does not decide.
const KEPT: i32 = Flags::EVENTS.0 | Flags::TWO_WAY.0;

/// What to change; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageChange {
    /// As of a new message; up to ten minutes past means at once.
    #[schema(example = "2027-01-31T08:00:00+01:00")]
    scheduled_at: Option<String>,
    /// As of a new message: the zone of `scheduled_at`, which then has no offset.
    time_zone: Option<String>,
    /// `scheduled_at`, without offset, is the recipient's local time.
    local_time: Option<bool>,
    #[schema(value_type = Option<Object>)]
    send_window: Option<Window>,
    /// Another text: priced anew, its hold with it.
    #[schema(example = "We open at nine tomorrow")]
    text: Option<String>,
    /// How long it is tried from then on, seconds; as long as before if not given.
    #[schema(minimum = 60, maximum = 604800)]
    validity_s: Option<i64>,
}

/// When a batch is to go instead.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchChange {
    /// As of a new batch; up to ten minutes past means at once. It must be given.
    #[schema(value_type = String, example = "2027-01-31T08:00:00+01:00")]
    scheduled_at: Option<String>,
    /// As of a new batch: the zone of `scheduled_at`, which then has no offset.
    time_zone: Option<String>,
    /// `scheduled_at`, without offset, is the local time of each recipient.
    local_time: Option<bool>,
    #[schema(value_type = Option<Object>)]
    send_window: Option<Window>,
}

/// What a move did.
#[derive(Debug, Serialize, ToSchema)]
pub struct MovedBatch {
    /// Messages that have another time because of this request.
    #[schema(example = 4000)]
    moved: u64,
    /// Scheduled messages that keep theirs: they are due within seconds, or may not go at the new time (`quiet_hours`, `local_time_past`).
    #[schema(example = 0)]
    kept: u64,
    /// The batch as it stands now.
    batch: BatchView,
}

/// Change a scheduled message.
///
/// Its time, its text or both, before it goes: judged and priced as a new one, its hold changed in the same transaction. One of a batch is
/// moved with its batch.
#[utoipa::path(patch, path = "/v1/messages/{id}", tag = "Messages", operation_id = "changeMessage", params(("id" = String, Path)),
    request_body = MessageChange, responses((status = 200, body = MessageView), (status = 402, body = super::error::ProblemBody),
        (status = 409, body = super::error::ProblemBody)))]
pub async fn change_message(
    State(app): State<App>,
    asker: Asker<MessagesSend>,
    Id(id): Id<MessageId>,
    Json(change): Json<MessageChange>,
) -> Result<Json<MessageView>, Problem> {
    let caller = asker.owner(&app, id.account()).await?;
    let m = message::by_id(&app.db, caller.account, id).await?;
    if m.state != Status::Scheduled || m.attempts > 0 {
        return Err(Code::NotEditable.with(format!("the message is `{}`", m.state.as_str())));
    }
    if m.batch.is_some() {
        return Err(Code::NotEditable.with("it came with a batch: PATCH /v1/batches/{id} moves all of it"));
    }
    let text_fixed = m.mms.is_some() || m.flags.has(Flags::BINARY) || m.flags.has(Flags::HEADER);
    if change.text.is_some() && text_fixed {
        return Err(Code::NotEditable.with("its octets or files cannot be changed: cancel it and send another"));
    }
    let terms = app.pipeline.terms();
    let rules = app.rules(&caller, &terms, app.clock.now_ms());
    let new = changed(&m, &change, &rules)?;
    if let Some(hold) = rules.suppressed.hold_new(rules.account, &new) {
        return Err(vec![sending::held(hold, None)].into());
    }
    match app.pipeline.replace(&app.db, &m, &new).await? {
        ReplaceOutcome::Replaced => whole(&app, &caller, id).await.map(Json),
        ReplaceOutcome::TooLate => Err(Code::NotEditable.with("its time has come")),
        ReplaceOutcome::Short => Err(Code::InsufficientCredit.into()),
    }
}

/// The message as it would be taken now.
fn changed(m: &Message, change: &MessageChange, rules: &Rules<'_>) -> Result<NewMessage, Problem> {
    let due_at = m.due_at.unwrap_or(rules.now);
    let before = rfc3339(due_at);
    let draft = Draft {
        from: m.sender.as_deref(),
        text: change.text.as_deref(),
        express: m.lane == Lane::Express,
        flash: m.flags.has(Flags::FLASH),
        category: (m.category == Category::Promotional).then_some("promotional"),
        validity_s: Some(change.validity_s.unwrap_or(((m.expires_at - due_at) / 1_000).clamp(60, 604_800))),
        scheduled_at: change.scheduled_at.as_deref().or(Some(&before)),
        time_zone: change.time_zone.as_deref(),
        local_time: change.local_time == Some(true),
        send_window: change.send_window.as_ref(),
        ..Draft::default()
    };
    let number = phone(m.phone);
    let to = Parsed { phone: number, country: number.country() };
    let one = |mistake: Mistake| Problem::from(vec![mistake]);
    let mut new = if change.text.is_some() {
        let content = prepare::content(&draft, rules, &mut |below| rand::random_range(0..below))?;
        content.message(rules, to, 0, true).map_err(one)?
    } else {
        same(m, rules, When::of(&draft, rules, m.category)?.placed(rules, &to).map_err(one)?)
    };
    // It has a row by which it is due, and keeps one.
    new.due_at = new.due_at.or(Some(rules.now));
    let flags = Flags(new.flags.0 | m.flags.0 & KEPT);
    new.flags = SmppOrigin::of(m.flags).map_or(flags, |origin| origin.mark(flags));
    Ok(new)
}

/// The same message at another time.
fn same(m: &Message, rules: &Rules<'_>, placed: prepare::Placed) -> NewMessage {
    NewMessage {
        index: 0,
        lane: m.lane,
        category: m.category,
        flags: Flags(m.flags.0 & !Flags::QUIET.0 | placed.flags.0),
        encoding: m.encoding,
        parts: m.parts,
        phone: m.phone,
        phone_tag: phone(m.phone).tag(rules.phone_key),
        country: phone(m.phone).country(),
        sender: m.sender.as_deref().map(Into::into),
        body: m.body.clone(),
        own_body: true,
        otp_code: None,
        unit_price: m.unit_price,
        reference: (m.parts > 1).then(|| rules.references.next(phone(m.phone).tag(rules.phone_key))),
        due_at: placed.due_at,
        expires_at: placed.expires_at,
        extra: m.mms.clone().map(|mms| Box::new(Extra { mms: Some(mms), mms_price: m.mms_price, ..Extra::default() })),
    }
}

/// Move a scheduled batch.
///
/// Every message of it that still waits for its time gets another, as long as each is tried as before.
#[utoipa::path(patch, path = "/v1/batches/{id}", tag = "Messages", operation_id = "changeBatch", params(("id" = String, Path)),
    request_body = BatchChange, responses((status = 200, body = MovedBatch), (status = 409, body = super::error::ProblemBody)))]
pub async fn change_batch(
    State(app): State<App>,
    asker: Asker<MessagesSend>,
    Id(id): Id<BatchId>,
    Json(change): Json<BatchChange>,
) -> Result<Json<MovedBatch>, Problem> {
    let caller = asker.owner(&app, id.account()).await?;
    if !batch::by_id(&app.db, caller.account, id).await?.accepted {
        return Err(Code::BatchLoading.into());
    }
    if change.scheduled_at.is_none() {
        return Err(Code::MissingField.at("#/scheduled_at", "add the time to which it is to be moved"));
    }
    // A caller who hangs up must not leave it half moved.
    let (work, known) = (app.clone(), caller.clone());
    let done = tokio::spawn(async move {
        let terms = work.pipeline.terms();
        let rules = work.rules(&known, &terms, work.clock.now_ms());
        let draft = Draft {
            scheduled_at: change.scheduled_at.as_deref(),
            time_zone: change.time_zone.as_deref(),
            local_time: change.local_time == Some(true),
            send_window: change.send_window.as_ref(),
            ..Draft::default()
        };
        let usual = When::of(&draft, &rules, Category::Transactional)?;
        let promotional = When::of(&draft, &rules, Category::Promotional)?;
        move_all(&work, id, &rules, &usual, &promotional).await
    });
    let (moved, kept) = done.await.map_err(|_| Code::Internal)??;
    if moved + kept == 0 {
        return Err(Code::NotEditable.with("no message of the batch waits for its time"));
    }
    let batch = BatchView::whole(batch::by_id(&app.db, caller.account, id).await?, &caller);
    Ok(Json(MovedBatch { moved, kept, batch }))
}

/// Page by page; how many were moved, and how many keep their time.
async fn move_all(
    app: &App,
    id: BatchId,
    rules: &Rules<'_>,
    usual: &When,
    promotional: &When,
) -> Result<(u64, u64), Problem> {
    let account: AccountNo = rules.account;
    let (mut moved, mut kept, mut after) = (0, 0, None);
    loop {
        let page = replacement::scheduled_of_batch(&app.db, account, id, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok((moved, kept)) };
        after = Some(last.id);
        let target = |waiting: &replacement::Scheduled| {
            let number = phone(waiting.phone);
            let when = if waiting.flags.has(Flags::PROMOTIONAL) { promotional } else { usual };
            let to = Parsed { phone: number, country: number.country() };
            let placed = when.placed(rules, &to).ok()?;
            (waiting.due_at > rules.now + TOO_SOON_MS).then(|| placed.due_at.unwrap_or(rules.now))
        };
        let moves: Vec<Move> = page
            .iter()
            .filter_map(|waiting| Some(Move { id: waiting.id, from: waiting.due_at, to: target(waiting)? }))
            .collect();
        let done = replacement::reschedule(&app.db, account, &moves).await?;
        if let Some(earliest) = moves.iter().map(|m| m.to).min() {
            app.pipeline.due_from(earliest);
        }
        moved += done;
        kept += page.len() as u64 - done;
    }
}

/// Cancel a batch: as `POST /v1/batches/{id}/cancel`.
#[utoipa::path(delete, path = "/v1/batches/{id}", tag = "Messages", operation_id = "deleteBatch", params(("id" = String, Path)),
    responses((status = 200, body = CanceledBatch), (status = 409, body = super::error::ProblemBody)))]
pub async fn cancel_batch(
    app: State<App>,
    asker: Asker<MessagesSend>,
    id: Id<BatchId>,
) -> Result<Json<CanceledBatch>, Problem> {
    cancel(app, asker, id).await
}
