//! Campaigns: planned sends to an audience, written, changed, listed and deleted. What moves one from state to state: `campaign_actions`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::campaign::{Action, Content, Entry, State as CampaignState};
use carillon_domain::contact::line;
use carillon_domain::id::{BatchId, CampaignId, TemplateId, TypeId};
use carillon_domain::quiet::Window as SendWindow;
use carillon_store::campaign::{self as store, Campaign};
use carillon_store::campaign_run::{self, Run, Totals};
use carillon_store::{StoreError, template};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::campaign_ab_tests::{self, AbTestBody, AbTestView};
use super::campaign_audience::{EntryBody, EntryView, entries};
use super::error::{Code, FieldError, Problem};
use super::extract::{CampaignsManage, CampaignsRead, Can, Id, Json, Query, given};
use super::page::{Paged, Window};
use super::reports;
use crate::access::Caller;
use crate::app::App;
use crate::campaigns;
use crate::clock::rfc3339;

/// Length of a name, characters.
const NAME_MAX: usize = 200;
/// The fastest pace, messages a second; faster is as fast as carriers take them.
const PACE_MAX: u32 = 100_000;

/// A campaign, or what is to be changed of one: what is left out stays as it is (of a new one: is empty), null takes it away.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CampaignBody {
    /// At most 200 characters.
    #[schema(example = "Friday menu")]
    name: Option<String>,
    /// The text. `{{name|default("friend")}}` is a place for a word of each recipient; see docs/CAMPAIGNS.md for all that can stand there.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "Hi {{name|default(\"friend\")}}, fish on Friday!")]
    text: Option<Option<String>>,
    /// Instead of `text`: id of a template, whose text is taken as it is now.
    template: Option<String>,
    /// As of a message.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    from: Option<Option<String>>,
    /// `promotional` (the default) or `transactional`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "promotional")]
    category: Option<Option<String>>,
    flash: Option<bool>,
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
    #[schema(value_type = Option<Object>, example = json!({"from": "10:00", "to": "18:00", "days": ["mon", "tue"]}))]
    send_window: Option<Option<SendWindow>>,
    /// Whether short links take the places of the web addresses in the text.
    shorten_links: Option<bool>,
    /// Labels of each message.
    tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    callback_url: Option<Option<String>>,
    /// Confirmed addresses of people in the account, at most ten: a day after a run has ended they get a report of it by mail.
    report_to: Option<Vec<String>>,
    /// Variants that are tried on a part of the audience first. Not in a campaign that repeats.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<AbTestBody>)]
    ab_test: Option<Option<AbTestBody>>,
    /// Whom it goes to: numbers, or objects with a `phone` (and its `variables`), `contact`, `group`, `segment`, `tag`, `source`, `file` or `everybody`. Who is in it twice
    /// gets one message.
    #[schema(example = json!(["+4915112345678"]))]
    audience: Option<Vec<EntryBody>>,
    /// Messages a second at most; null: as fast as carriers take them.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100000)]
    pace: Option<Option<u32>>,
}

/// A campaign.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Campaign)]
pub struct CampaignView {
    #[schema(value_type = String, example = "cmp_01h455vb4pex5vsknk084sn02q")]
    pub(crate) id: CampaignId,
    name: String,
    /// `draft`, `scheduled`, `running`, `paused`, `finished`, `canceled` or `failed`.
    #[schema(example = "draft")]
    status: &'static str,
    /// Why it is paused (`asked`, `insufficient_credit`, `account_suspended`, `content_refused`, `undecided`), or failed (`too_late`, `audience_empty`, `audience_gone`,
    /// `audience_too_large`, `source_failed`, `account_suspended`, `content_refused`).
    reason: Option<&'static str>,
    text: Option<String>,
    from: Option<String>,
    #[schema(example = "promotional")]
    category: String,
    flash: bool,
    language: Option<String>,
    transliterate: Option<bool>,
    validity_s: Option<i64>,
    #[schema(value_type = Option<Object>)]
    send_window: Option<SendWindow>,
    shorten_links: bool,
    tags: Vec<String>,
    callback_url: Option<String>,
    /// Who gets a report of each run by mail.
    report_to: Vec<String>,
    /// Its A/B test, if it has one.
    ab_test: Option<AbTestView>,
    /// Left out in lists and events.
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<Vec<EntryView>>,
    schedule: Option<ScheduleView>,
    /// When it begins next, RFC 3339.
    next_run_at: Option<String>,
    pace: Option<u32>,
    /// How often it was begun.
    runs: u32,
    /// The run under way, or the last; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunView>,
    /// Of all its runs.
    totals: TotalsView,
    /// Money of all its runs, decimal.
    cost: CostView,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    changed_at: String,
}

/// When it begins.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScheduleView {
    /// Local, without an offset.
    #[schema(example = "2026-12-04T11:00:00")]
    at: String,
    /// IANA name; null: that of each recipient.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// Rule of repetition, RFC 5545.
    #[schema(example = "FREQ=WEEKLY;BYDAY=FR")]
    repeat: Option<String>,
}

/// One launch.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunView {
    /// From 1.
    number: u32,
    /// The batch that its messages are in: `GET /v1/batches/{id}/messages`.
    #[schema(value_type = String, example = "bat_01h455vb4pex5vsknk084sn02q")]
    batch: BatchId,
    /// Whether its audience is still being written.
    preparing: bool,
    /// Who was left out and why, in numbers: `GET /v1/campaigns/{id}/recipients?state=skipped` lists them.
    #[schema(value_type = Object, example = json!({"suppressed": 3}))]
    skipped: BTreeMap<String, i64>,
    /// RFC 3339.
    started_at: String,
    /// When the last message was handed in, RFC 3339.
    ended_at: Option<String>,
}

/// How many stand where.
#[derive(Debug, Serialize, ToSchema)]
pub struct TotalsView {
    /// People in the audience, each number once; those left out too.
    recipients: i64,
    /// Numbers that came again.
    duplicates: i64,
    /// People left out.
    skipped: i64,
    /// Not yet handed in.
    waiting: i64,
    /// Handed in, and not yet with a carrier.
    queued: i64,
    sent: i64,
    delivered: i64,
    /// Ended otherwise.
    failed: i64,
    parts: i64,
}

/// Money, decimal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CampaignCost)]
pub struct CostView {
    /// Still reserved.
    #[schema(example = "0.05")]
    pub(super) held: String,
    /// Paid.
    pub(super) captured: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    pub(super) currency: String,
}

impl CampaignView {
    fn of(c: Campaign, totals: Totals, currency: &str) -> CampaignView {
        let content = c.content;
        let next = c.look_at.filter(|_| c.state == CampaignState::Scheduled);
        CampaignView {
            id: c.id,
            name: c.name,
            status: c.state.as_str(),
            reason: c.reason.map(|reason| reason.as_str()),
            text: content.text,
            from: content.from,
            category: content.category.unwrap_or_else(|| "promotional".into()),
            flash: content.flash,
            language: content.language,
            transliterate: content.transliterate,
            validity_s: content.validity_s,
            send_window: content.send_window,
            shorten_links: content.shorten_links,
            tags: content.tags,
            callback_url: content.callback_url,
            report_to: content.report_to,
            ab_test: content.ab_test.map(AbTestView::of),
            audience: None,
            schedule: c.plan.map(|p| ScheduleView {
                at: p.at,
                time_zone: (!p.local_time).then_some(p.time_zone),
                repeat: p.repeat,
            }),
            next_run_at: next.map(rfc3339),
            pace: c.pace,
            runs: c.runs,
            run: None,
            totals: TotalsView {
                recipients: totals.recipients,
                duplicates: totals.duplicates,
                skipped: totals.skipped,
                waiting: if c.state == CampaignState::Canceled {
                    0
                } else {
                    totals.recipients - totals.skipped - totals.messages
                },
                queued: totals.queued,
                sent: totals.sent,
                delivered: totals.delivered,
                failed: totals.failed,
                parts: totals.parts,
            },
            cost: CostView {
                held: totals.held.to_string(),
                captured: totals.captured.to_string(),
                currency: currency.to_owned(),
            },
            created_at: rfc3339(c.created_at),
            changed_at: rfc3339(c.changed_at),
        }
    }
}

/// A campaign with all there is to show of it.
pub(super) async fn whole(app: &App, mut c: Campaign) -> Result<CampaignView, StoreError> {
    let audience = std::mem::take(&mut c.audience).into_iter().map(EntryView::of).collect();
    Ok(CampaignView { audience: Some(audience), ..told(app, c).await? })
}

/// The same without its audience, which may be long and holds numbers: for events.
pub(crate) async fn told(app: &App, c: Campaign) -> Result<CampaignView, StoreError> {
    let account = c.id.account();
    let known = app.account(account).await?;
    let totals = campaign_run::totals(&app.db, account, c.id).await?;
    let run = match c.run {
        Some(id) => Some(run_view(app, campaign_run::by_id(&app.db, account, id).await?).await?),
        None => None,
    };
    let ab_test = campaign_ab_tests::view(app, &c).await?;
    Ok(CampaignView { run, ab_test, ..CampaignView::of(c, totals, &known.currency) })
}

async fn run_view(app: &App, run: Run) -> Result<RunView, StoreError> {
    let skipped = campaign_run::skipped(&app.db, run.id.account(), run.id).await?;
    Ok(RunView {
        number: run.number,
        batch: run.id,
        preparing: run.place.is_some(),
        skipped: skipped.into_iter().collect(),
        started_at: rfc3339(run.started_at),
        ended_at: run.ended_at.map(rfc3339),
    })
}

/// Refused because of its state.
pub(super) fn wrong_state(state: CampaignState) -> Problem {
    Code::CampaignState.with(format!("the campaign is {}", state.as_str())).member("status", state.as_str())
}

/// What the body says, over what there is; all that is wrong with it at once.
async fn judge(app: &App, caller: &Caller, c: &mut Campaign, body: CampaignBody) -> Result<(), Problem> {
    let mut problem = Problem::from(Code::InvalidRequest);
    if let Some(name) = body.name {
        if let Err(why) = line(&name, NAME_MAX) {
            problem = problem.and(super::contacts::code(why), "#/name", why.to_string());
        }
        c.name = name;
    }
    let content = &mut c.content;
    match (body.template, body.text) {
        (Some(_), Some(Some(_))) => {
            problem = problem.and(Code::ConflictingFields, "#/template", "`text` or `template`, not both");
        }
        (Some(id), _) => match id.parse::<TemplateId>() {
            Err(e) => problem = problem.and(Code::InvalidId, "#/template", e.to_string()),
            Ok(id) => match template::by_id(&app.db, caller.account, id).await {
                Ok(found) => content.text = Some(found.text.to_string()),
                Err(StoreError::NotFound) => {
                    problem = problem.and(Code::NotFound, "#/template", "there is no such template");
                }
                Err(error) => return Err(error.into()),
            },
        },
        (None, Some(text)) => content.text = text,
        (None, None) => {}
    }
    set(&mut content.from, body.from);
    set(&mut content.category, body.category);
    set(&mut content.language, body.language);
    set(&mut content.transliterate, body.transliterate);
    set(&mut content.validity_s, body.validity_s);
    set(&mut content.send_window, body.send_window);
    set(&mut content.callback_url, body.callback_url);
    set(&mut c.pace, body.pace);
    content.flash = body.flash.unwrap_or(content.flash);
    content.shorten_links = body.shorten_links.unwrap_or(content.shorten_links);
    match body.ab_test {
        Some(Some(test)) => {
            let judged = test.judge(problem);
            (content.ab_test, problem) = (Some(judged.0), judged.1);
        }
        Some(None) => content.ab_test = None,
        None => {}
    }
    let repeats = c.plan.as_ref().is_some_and(|plan| plan.repeat.is_some() || plan.local_time);
    problem.errors.extend(campaign_ab_tests::misplaced(content, repeats).into_iter().flat_map(|p| p.errors));
    content.tags = body.tags.unwrap_or_else(|| std::mem::take(&mut content.tags));
    if c.pace.is_some_and(|pace| !(1..=PACE_MAX).contains(&pace)) {
        problem = problem.and(Code::InvalidValue, "#/pace", "1 to 100,000 messages a second");
    }
    problem.errors.extend(check(app, caller, content).errors);
    if let Some(report_to) = body.report_to {
        match reports::people(app, caller.account, &report_to, "#/report_to").await {
            Ok(people) => content.report_to = people,
            Err(error) if error.errors.is_empty() => return Err(error),
            Err(wrong) => problem.errors.extend(wrong.errors),
        }
    }
    if let Some(audience) = body.audience {
        match entries(app, caller.account, audience, "audience").await? {
            Ok(audience) => c.audience = audience,
            Err(wrong) => problem.errors.extend(wrong.errors),
        }
    }
    if problem.errors.is_empty() { Ok(()) } else { Err(problem) }
}

/// Takes over what is given.
pub(super) fn set<T>(field: &mut Option<T>, value: Option<Option<T>>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// What is wrong with contents by the rules of the moment. A text may still be missing.
fn check(app: &App, caller: &Caller, content: &Content) -> Problem {
    let terms = app.pipeline.terms();
    let rules = app.rules(caller, &terms, app.clock.now_ms());
    let wrong = |content: &Content| {
        let with_text = Content { text: Some(content.text.clone().unwrap_or_else(|| "-".into())), ..content.clone() };
        campaigns::content(&with_text, None, &rules).err().map(Problem::from)
    };
    let own = wrong(&Content { ab_test: None, ..content.clone() }).unwrap_or_else(|| Code::InvalidRequest.into());
    let Some(test) = content.ab_test.as_ref().filter(|_| own.errors.is_empty()) else { return own };
    let mut problem = own;
    for place in 0..test.variants.len() {
        for error in wrong(&content.of_variant(place)).into_iter().flat_map(|p| p.errors) {
            let pointer = campaign_ab_tests::pointer(place, &error.pointer).map_or(error.pointer, Into::into);
            problem.errors.push(FieldError { pointer, ..error });
        }
    }
    problem
}

/// Write a campaign.
///
/// A draft, which may still lack its text and audience. Nothing is sent before it is launched or scheduled.
#[utoipa::path(post, path = "/v1/campaigns", tag = "Campaigns", operation_id = "createCampaign", request_body = CampaignBody,
    responses((status = 201, body = CampaignView)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Json(body): Json<CampaignBody>,
) -> Result<(StatusCode, Json<CampaignView>), Problem> {
    if body.name.is_none() {
        return Err(Code::MissingField.at("#/name", "give it a name"));
    }
    let now = app.clock.now_ms();
    let mut c = Campaign {
        id: CampaignId::new(now, app.ids.next(), caller.account),
        name: String::new(),
        state: CampaignState::Draft,
        reason: None,
        content: Content::default(),
        audience: Vec::new(),
        plan: None,
        look_at: None,
        pace: None,
        runs: 0,
        run: None,
        created_at: now,
        changed_at: now,
    };
    judge(&app, &caller, &mut c, body).await?;
    store::create(&app.db, &c).await?;
    Ok((StatusCode::CREATED, Json(whole(&app, c).await?)))
}

/// Which campaigns, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only those that are `draft`, `scheduled`, `running`, `paused`, `finished`, `canceled` or `failed`.
    status: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List campaigns, newest first.
#[utoipa::path(get, path = "/v1/campaigns", tag = "Campaigns", operation_id = "listCampaigns", params(ListQuery),
    responses((status = 200, body = Paged<CampaignView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Paged<CampaignView>>, Problem> {
    let unknown = || Problem::from(Code::InvalidQuery).and(Code::InvalidValue, "?status", "no state of campaigns");
    let state = query.status.as_deref().map(|name| CampaignState::from_name(name).ok_or_else(unknown)).transpose()?;
    let filters = state.map_or("", CampaignState::as_str);
    let window = Window::open(&app, caller.account, "campaigns", filters, query.limit, query.cursor.as_deref())?;
    let before = window.after.map(CampaignId::from_uuid);
    let rows = store::list(&app.db, caller.account, state, before, window.fetch()).await?;
    let mut listed = Vec::with_capacity(rows.len());
    for c in rows {
        let totals = campaign_run::totals(&app.db, caller.account, c.id).await?;
        listed.push(CampaignView::of(c, totals, &caller.info.currency));
    }
    Ok(Json(window.page(listed, |c| c.id.0, |c| c)))
}

/// Read a campaign: its state, its audience and what became of it.
#[utoipa::path(get, path = "/v1/campaigns/{id}", tag = "Campaigns", operation_id = "getCampaign", params(("id" = String, Path)),
    responses((status = 200, body = CampaignView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Id(id): Id<CampaignId>,
) -> Result<Json<CampaignView>, Problem> {
    Ok(Json(whole(&app, store::by_id(&app.db, caller.account, id).await?).await?))
}

/// Change a campaign.
///
/// All of it while nothing was begun: of a draft, and of a scheduled one before its first run. Later, while it is paused or waits for its next
/// time, name and pace; text and audience of a scheduled one count from its next run.
#[utoipa::path(patch, path = "/v1/campaigns/{id}", tag = "Campaigns", operation_id = "changeCampaign", params(("id" = String, Path)),
    request_body = CampaignBody, responses((status = 200, body = CampaignView), (status = 409, body = super::error::ProblemBody)))]
pub async fn change(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
    Json(body): Json<CampaignBody>,
) -> Result<Json<CampaignView>, Problem> {
    let mut c = store::by_id(&app.db, caller.account, id).await?;
    if c.state.after(Action::Edit).is_none() {
        return Err(wrong_state(c.state));
    }
    let before = (c.content.clone(), c.audience.clone());
    judge(&app, &caller, &mut c, body).await?;
    if !c.state.unbegun() && (&before.0, &before.1) != (&c.content, &c.audience) {
        let detail = "a run of it was begun with this text and audience: change its name and pace, or duplicate it";
        return Err(Code::CampaignState.with(detail).member("status", c.state.as_str()));
    }
    if c.state == CampaignState::Scheduled {
        ready(&app, &caller, &c)?;
    }
    c.changed_at = app.clock.now_ms();
    if !store::change(&app.db, &c).await? {
        return Err(wrong_state(store::state(&app.db, caller.account, id).await?));
    }
    Ok(Json(whole(&app, c).await?))
}

/// Refuses one that cannot be begun: nothing to send, or to nobody.
pub(super) fn ready(app: &App, caller: &Caller, c: &Campaign) -> Result<(), Problem> {
    let mut problem = match c.content.variants().iter().all(|variant| variant.text.is_some()) {
        true => check(app, caller, &c.content),
        false => Code::MissingField.at("#/text", "add the text to send"),
    };
    if c.audience.is_empty() {
        problem = problem.and(Code::MissingField, "#/audience", "say whom it goes to");
    }
    if problem.errors.is_empty() { Ok(()) } else { Err(problem) }
}

/// Delete a campaign.
///
/// A draft, or one that was canceled or has failed. Messages it sent stay.
#[utoipa::path(delete, path = "/v1/campaigns/{id}", tag = "Campaigns", operation_id = "deleteCampaign", params(("id" = String, Path)),
    responses((status = 204), (status = 409, body = super::error::ProblemBody)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
) -> Result<StatusCode, Problem> {
    let state = store::state(&app.db, caller.account, id).await?;
    if state.after(Action::Delete).is_none() || !store::delete(&app.db, caller.account, id, state).await? {
        return Err(wrong_state(store::state(&app.db, caller.account, id).await?));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A copy of a campaign, as a draft.
pub(super) async fn copy(app: &App, c: Campaign) -> Result<Campaign, StoreError> {
    let now = app.clock.now_ms();
    let room = NAME_MAX - " (copy)".len();
    let copy = Campaign {
        id: CampaignId::new(now, app.ids.next(), c.id.account()),
        name: format!("{} (copy)", c.name.chars().take(room).collect::<String>()),
        state: CampaignState::Draft,
        reason: None,
        plan: None,
        look_at: None,
        runs: 0,
        run: None,
        created_at: now,
        changed_at: now,
        ..c
    };
    store::create(&app.db, &copy).await?;
    Ok(copy)
}

/// The entries of an audience as they are sent to.
pub(crate) fn is_phone(entry: &Entry) -> bool {
    matches!(entry, Entry::Phone(..) | Entry::Contact(_))
}
