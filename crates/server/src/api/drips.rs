//! Drips: sequences of texts that each person gets step by step, written, changed, listed and deleted. What moves one from state
//! to state: `drip_actions`; who is in one: `drip_people`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::campaign::Content;
use carillon_domain::contact::{TAG_MAX, line};
use carillon_domain::drip::{Action, DELAY_MAX_S, Entry, STEPS_MAX, Sequence, State as DripState, Step};
use carillon_domain::id::{DripId, SegmentId, TypeId};
use carillon_domain::money::Money;
use carillon_domain::quiet::Window as SendWindow;
use carillon_store::drip::{self as store, Drip};
use carillon_store::{StoreError, drip_enrollment, drip_wave, segment};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::campaigns::{CostView, set};
use super::error::{Code, FieldError, Problem};
use super::extract::{CampaignsManage, CampaignsRead, Can, Id, Json, Query, given};
use super::page::{Paged, Window};
use super::segments;
use crate::access::Caller;
use crate::app::App;
use crate::campaigns;
use crate::clock::rfc3339;
use crate::drips;

/// Length of a name, characters.
const NAME_MAX: usize = 200;
/// Drips of an account that are not archived.
const DRIPS_MAX: u32 = 100;

/// A drip, or what is to be changed of one: what is left out stays as it is (of a new one: is empty), null takes it away.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DripBody {
    /// At most 200 characters.
    #[schema(example = "Welcome")]
    name: Option<String>,
    /// All steps, in order; at most 20.
    steps: Option<Vec<StepBody>>,
    /// As of a message; a step may have its own.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    from: Option<Option<String>>,
    /// `promotional` (the default) or `transactional`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "promotional")]
    category: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    language: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    transliterate: Option<Option<bool>>,
    /// How long each message is tried, seconds.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 60, maximum = 604800)]
    validity_s: Option<Option<i64>>,
    /// Hours of each recipient in which alone it may go.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>, example = json!({"from": "10:00", "to": "18:00"}))]
    send_window: Option<Option<SendWindow>>,
    /// Whether short links take the places of the web addresses in the texts.
    shorten_links: Option<bool>,
    /// Labels of each message.
    tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    callback_url: Option<Option<String>>,
    /// Who enters by themselves; without it people enter by request alone.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<EntryBody>)]
    entry: Option<Option<EntryBody>>,
    /// Who leaves before the end; STOP is always one.
    exit: Option<ExitBody>,
}

/// A step, as it is written.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepBody {
    /// After the step before, or after entry if it is the first; seconds, at most 366 days.
    #[schema(example = 86400, minimum = 0, maximum = 31622400)]
    delay_s: i64,
    /// The text, with places as of a campaign.
    #[schema(example = "Hi {{name|default(\"friend\")}}, welcome!")]
    text: String,
    /// Instead of the drip's.
    from: Option<String>,
    /// A filter over contacts, as of a segment: whom it does not find is passed over at this step.
    #[schema(value_type = Option<Object>, example = json!({"not": {"tag": "vip"}}))]
    condition: Option<Value>,
}

/// Who enters by themselves: contacts with a label, or in a segment.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DripEntry)]
pub struct EntryBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "new-customer")]
    tag: Option<String>,
    /// Id of a segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<String>,
}

/// Who leaves before the end.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExitBody {
    /// Whether who writes to one of the account's numbers leaves; true if never said.
    on_reply: Option<bool>,
    /// Contacts with this label leave when their next step is due.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "customer")]
    goal_tag: Option<Option<String>>,
}

/// A drip.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Drip)]
pub struct DripView {
    #[schema(value_type = String, example = "drp_01h455vb4pex5vsknk084sn02q")]
    id: DripId,
    name: String,
    /// `draft`, `active`, `paused` or `archived`.
    #[schema(example = "active")]
    status: &'static str,
    /// Why it does not go on: `insufficient_credit`, `account_suspended`, `content_refused`, `condition_outdated` or `entry_outdated`. It is tried again
    /// every minute.
    held_up: Option<&'static str>,
    steps: Vec<StepView>,
    from: Option<String>,
    #[schema(example = "promotional")]
    category: String,
    language: Option<String>,
    transliterate: Option<bool>,
    validity_s: Option<i64>,
    #[schema(value_type = Option<Object>)]
    send_window: Option<SendWindow>,
    shorten_links: bool,
    tags: Vec<String>,
    callback_url: Option<String>,
    entry: Option<EntryBody>,
    exit: ExitView,
    /// Left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    people: Option<PeopleView>,
    /// Money of all its messages, decimal; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<CostView>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    changed_at: String,
}

/// A step.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DripStep)]
pub struct StepView {
    delay_s: u32,
    text: String,
    from: Option<String>,
    #[schema(value_type = Option<Object>)]
    condition: Option<Value>,
    /// Left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    totals: Option<StepTotalsView>,
}

/// How many stand where at a step.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = DripStepTotals)]
pub struct StepTotalsView {
    /// People whose next step it is.
    waiting: i64,
    /// Messages of it.
    messages: i64,
    queued: i64,
    sent: i64,
    delivered: i64,
    failed: i64,
    parts: i64,
    /// Who was passed over at it and why, in numbers.
    #[schema(value_type = Object, example = json!({"condition_not_met": 3}))]
    skipped: BTreeMap<String, i64>,
}

/// Who leaves before the end.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DripExit)]
pub struct ExitView {
    on_reply: bool,
    goal_tag: Option<String>,
}

/// Who is in it, and who was.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = DripTotals)]
pub struct PeopleView {
    waiting: i64,
    /// Who left and why, in numbers: `finished`, `replied`, `stopped`, `goal`, `suppressed`, `no_consent`, `removed`, `contact_gone`, `archived`,
    /// `passed_over`.
    #[schema(value_type = Object, example = json!({"finished": 12, "replied": 3}))]
    ended: BTreeMap<&'static str, i64>,
}

impl DripView {
    fn of(d: Drip) -> DripView {
        let Sequence { content, steps, goal_tag } = d.sequence;
        DripView {
            id: d.id,
            name: d.name,
            status: d.state.as_str(),
            held_up: d.held_up.map(|why| why.as_str()),
            steps: steps.into_iter().map(StepView::of).collect(),
            from: content.from,
            category: content.category.unwrap_or_else(|| "promotional".into()),
            language: content.language,
            transliterate: content.transliterate,
            validity_s: content.validity_s,
            send_window: content.send_window,
            shorten_links: content.shorten_links,
            tags: content.tags,
            callback_url: content.callback_url,
            entry: d.entry.map(|entry| match entry {
                Entry::Tag(tag) => EntryBody { tag: Some(tag), segment: None },
                Entry::Segment(id) => EntryBody { tag: None, segment: Some(id.to_string()) },
            }),
            exit: ExitView { on_reply: d.on_reply, goal_tag },
            people: None,
            cost: None,
            created_at: rfc3339(d.created_at),
            changed_at: rfc3339(d.changed_at),
        }
    }
}

impl StepView {
    fn of(s: Step) -> StepView {
        StepView { delay_s: s.delay_s, text: s.text, from: s.from, condition: s.condition, totals: None }
    }
}

/// A drip with who is in it and what became of its messages. Numbers of steps that it does not have any more are in the sums alone.
pub(super) async fn whole(app: &App, d: Drip) -> Result<Json<DripView>, Problem> {
    let (account, id) = (d.id.account(), d.id);
    let known = app.account(account).await?;
    let mut view = DripView::of(d);
    let (mut people, mut held, mut captured) = (PeopleView::default(), Money::ZERO, Money::ZERO);
    let mut steps: Vec<StepTotalsView> = view.steps.iter().map(|_| StepTotalsView::default()).collect();
    for t in drip_wave::totals(&app.db, account, id).await? {
        held += t.held();
        captured += t.captured();
        if let Some(step) = steps.get_mut(t.step.max(0) as usize) {
            let (messages, queued, sent) = (t.messages, t.queued, t.sent);
            let (delivered, failed, parts) = (t.delivered, t.failed, t.parts);
            *step = StepTotalsView { messages, queued, sent, delivered, failed, parts, ..StepTotalsView::default() };
        }
    }
    for (step, reason, count) in drip_enrollment::counts(&app.db, account, id).await? {
        match reason {
            Some(reason) => *people.ended.entry(reason.as_str()).or_default() += count,
            None => {
                people.waiting += count;
                if let Some(step) = steps.get_mut(step as usize) {
                    step.waiting += count;
                }
            }
        }
    }
    for (step, code, count) in drip_wave::skipped(&app.db, account, id).await? {
        if let Some(step) = steps.get_mut(step as usize) {
            step.skipped.insert(code, count);
        }
    }
    for (step, totals) in view.steps.iter_mut().zip(steps) {
        step.totals = Some(totals);
    }
    let cost = CostView { held: held.to_string(), captured: captured.to_string(), currency: known.currency.clone() };
    Ok(Json(DripView { people: Some(people), cost: Some(cost), ..view }))
}

/// Refused because of its state.
pub(super) fn wrong_state(state: DripState) -> Problem {
    Code::DripState.with(format!("the drip is {}", state.as_str())).member("status", state.as_str())
}

/// What the body says, over what there is; all that is wrong with it at once.
async fn judge(app: &App, caller: &Caller, d: &mut Drip, body: DripBody) -> Result<(), Problem> {
    let mut problem = Problem::from(Code::InvalidRequest);
    if let Some(name) = body.name {
        if let Err(why) = line(&name, NAME_MAX) {
            problem = problem.and(super::contacts::code(why), "#/name", why.to_string());
        }
        d.name = name;
    }
    let content = &mut d.sequence.content;
    set(&mut content.from, body.from);
    set(&mut content.category, body.category);
    set(&mut content.language, body.language);
    set(&mut content.transliterate, body.transliterate);
    set(&mut content.validity_s, body.validity_s);
    set(&mut content.send_window, body.send_window);
    set(&mut content.callback_url, body.callback_url);
    content.shorten_links = body.shorten_links.unwrap_or(content.shorten_links);
    content.tags = body.tags.unwrap_or_else(|| std::mem::take(&mut content.tags));
    if let Some(written) = body.steps {
        if written.len() > STEPS_MAX {
            return Err(Code::TooLong.at("#/steps", "at most 20 steps"));
        }
        d.sequence.steps = steps(app, caller, written, &mut problem).await?;
    }
    if let Some(exit) = body.exit {
        d.on_reply = exit.on_reply.unwrap_or(d.on_reply);
        set(&mut d.sequence.goal_tag, exit.goal_tag);
        if let Some(why) = d.sequence.goal_tag.as_ref().and_then(|tag| line(tag, TAG_MAX).err()) {
            problem = problem.and(super::contacts::code(why), "#/exit/goal_tag", why.to_string());
        }
    }
    if let Some(written) = body.entry {
        d.entry = match written {
            None => None,
            Some(written) => match entry(app, caller, written).await? {
                Ok(entry) => Some(entry),
                Err(wrong) => {
                    problem.errors.extend(wrong.errors);
                    None
                }
            },
        };
    }
    problem.errors.extend(check(app, caller, &d.sequence));
    if problem.errors.is_empty() { Ok(()) } else { Err(problem) }
}

async fn steps(
    app: &App,
    caller: &Caller,
    written: Vec<StepBody>,
    problem: &mut Problem,
) -> Result<Vec<Step>, Problem> {
    let mut steps = Vec::with_capacity(written.len());
    for (place, s) in written.into_iter().enumerate() {
        let delay_s = u32::try_from(s.delay_s).ok().filter(|delay| *delay <= DELAY_MAX_S);
        if delay_s.is_none() {
            let wrong = Code::InvalidValue.at(format!("#/steps/{place}/delay_s"), "0 to 31,622,400 seconds (366 days)");
            problem.errors.extend(wrong.errors);
        }
        if let Some(condition) = &s.condition {
            match segments::read_filter(app, caller, condition, &format!("#/steps/{place}/condition")).await {
                Ok(_) => {}
                Err(wrong) if wrong.errors.is_empty() => return Err(wrong),
                Err(wrong) => problem.errors.extend(wrong.errors),
            }
        }
        steps.push(Step { delay_s: delay_s.unwrap_or(0), text: s.text, from: s.from, condition: s.condition });
    }
    Ok(steps)
}

async fn entry(app: &App, caller: &Caller, written: EntryBody) -> Result<Result<Entry, Problem>, Problem> {
    Ok(match written {
        EntryBody { tag: Some(tag), segment: None } => match line(&tag, TAG_MAX) {
            Ok(()) => Ok(Entry::Tag(tag)),
            Err(why) => Err(super::contacts::code(why).at("#/entry/tag", why.to_string())),
        },
        EntryBody { tag: None, segment: Some(id) } => match id.parse::<SegmentId>() {
            Err(e) => Err(Code::InvalidId.at("#/entry/segment", e.to_string())),
            Ok(id) => match segment::by_id(&app.db, caller.account, id).await {
                Ok(_) => Ok(Entry::Segment(id)),
                Err(StoreError::NotFound) => Err(Code::NotFound.at("#/entry/segment", "there is no such segment")),
                Err(error) => return Err(error.into()),
            },
        },
        EntryBody { tag: None, segment: None } => {
            Err(Code::MissingField.at("#/entry", "name a `tag` or a `segment`; null for neither"))
        }
        _ => Err(Code::ConflictingFields.at("#/entry", "a `tag` or a `segment`, not both")),
    })
}

/// What is wrong with what it sends, by the rules of the moment. What steps share is told once.
pub(super) fn check(app: &App, caller: &Caller, sequence: &Sequence) -> Vec<FieldError> {
    let terms = app.pipeline.terms();
    let rules = app.rules(caller, &terms, app.clock.now_ms());
    let wrong = |content: &Content| {
        campaigns::content(content, None, &rules)
            .err()
            .map(|mistakes| Problem::from(mistakes).errors)
            .unwrap_or_default()
    };
    let mut errors = wrong(&Content { text: Some("-".into()), ..sequence.content.clone() });
    for (place, step) in sequence.steps.iter().enumerate() {
        for error in wrong(&sequence.content_of(step)) {
            let own = match &*error.pointer {
                "#/text" => true,
                "#/from" => step.from.is_some(),
                _ => false,
            };
            if own {
                errors.push(FieldError {
                    pointer: error.pointer.replacen("#", &format!("#/steps/{place}"), 1).into(),
                    ..error
                });
            }
        }
    }
    errors
}

/// Write a drip.
///
/// A draft, which may still lack its steps. Nobody is in it, and nothing is sent, before it is activated.
#[utoipa::path(post, path = "/v1/drips", tag = "Drips", operation_id = "createDrip", request_body = DripBody,
    responses((status = 201, body = DripView)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Json(body): Json<DripBody>,
) -> Result<(StatusCode, Json<DripView>), Problem> {
    if body.name.is_none() {
        return Err(Code::MissingField.at("#/name", "give it a name"));
    }
    let now = app.clock.now_ms();
    let mut d = Drip {
        id: DripId::new(now, app.ids.next(), caller.account),
        name: String::new(),
        state: DripState::Draft,
        sequence: Sequence::default(),
        entry: None,
        on_reply: true,
        passing: false,
        look_at: None,
        held_up: None,
        created_at: now,
        changed_at: now,
    };
    judge(&app, &caller, &mut d, body).await?;
    store::create(&app.db, &d, DRIPS_MAX).await?;
    Ok((StatusCode::CREATED, whole(&app, d).await?))
}

/// Which drips, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only those that are `draft`, `active`, `paused` or `archived`.
    status: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List drips, newest first.
#[utoipa::path(get, path = "/v1/drips", tag = "Drips", operation_id = "listDrips", params(ListQuery),
    responses((status = 200, body = Paged<DripView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<DripView>>, Problem> {
    let unknown = || Problem::from(Code::InvalidQuery).and(Code::InvalidValue, "?status", "no state of drips");
    let state = query.status.as_deref().map(|name| DripState::from_name(name).ok_or_else(unknown)).transpose()?;
    let filters = state.map_or("", DripState::as_str);
    let window = Window::open(&app, caller.account, "drips", filters, query.limit, query.cursor.as_deref())?;
    let before = window.after.map(DripId::from_uuid);
    let rows = store::list(&app.db, caller.account, state, before, window.fetch()).await?;
    Ok(Json(window.page(rows, |d| d.id.0, DripView::of)))
}

/// Read a drip.
///
/// Its steps, how many wait for each, what became of its messages, and who left and why.
#[utoipa::path(get, path = "/v1/drips/{id}", tag = "Drips", operation_id = "getDrip", params(("id" = String, Path)),
    responses((status = 200, body = DripView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Id(id): Id<DripId>,
) -> Result<Json<DripView>, Problem> {
    whole(&app, store::by_id(&app.db, caller.account, id).await?).await
}

/// Change a drip.
///
/// A draft, or a paused one. People keep the number of their next step and the time it is due; one whose next step is not there any more has finished.
#[utoipa::path(patch, path = "/v1/drips/{id}", tag = "Drips", operation_id = "changeDrip", params(("id" = String, Path)),
    request_body = DripBody, responses((status = 200, body = DripView), (status = 409, body = super::error::ProblemBody)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<DripId>,
    Json(body): Json<DripBody>,
) -> Result<Json<DripView>, Problem> {
    let mut d = store::by_id(&app.db, caller.account, id).await?;
    if d.state.after(Action::Edit).is_none() {
        return Err(wrong_state(d.state));
    }
    judge(&app, &caller, &mut d, body).await?;
    d.changed_at = app.clock.now_ms();
    if !store::change(&app.db, &d).await? {
        return Err(wrong_state(store::by_id(&app.db, caller.account, id).await?.state));
    }
    whole(&app, d).await
}

/// Delete a drip.
///
/// A draft, or one that was archived. Messages it sent stay.
#[utoipa::path(delete, path = "/v1/drips/{id}", tag = "Drips", operation_id = "deleteDrip", params(("id" = String, Path)),
    responses((status = 204), (status = 409, body = super::error::ProblemBody)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<DripId>,
) -> Result<StatusCode, Problem> {
    let state = store::by_id(&app.db, caller.account, id).await?.state;
    if state.after(Action::Delete).is_none() || !drips::delete(&app, id, state).await? {
        return Err(wrong_state(store::by_id(&app.db, caller.account, id).await?.state));
    }
    Ok(StatusCode::NO_CONTENT)
}
