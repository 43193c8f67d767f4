//! `/campaigns`: written, changed and canceled by the functions of `/v1/campaigns`, shown as rows of the document's table.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::campaign::{Action, State as CampaignState};
use carillon_domain::id::{CampaignId, TypeId};
use carillon_store::campaign::{self as store, Campaign};
use carillon_store::campaign_run::{self, Totals};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::recipients::Recipients;
use super::{PageQuery, in_our_words, instant, words};
use crate::api::campaign_actions::{self, ScheduleBody};
use crate::api::campaigns::{self as api, CampaignBody, is_phone};
use crate::api::error::{Code, Problem};
use crate::api::extract::{CampaignsManage, CampaignsRead, Can, Id, Json, Query};
use crate::api::page::Window;
use crate::app::App;
use crate::campaigns;
use crate::clock::rfc3339;

/// A campaign as it is written; of a change, what is left out stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    name: Option<String>,
    message: Option<String>,
    /// RFC 3339; without an offset it is UTC.
    scheduled_at: Option<String>,
    recipients: Option<Recipients>,
}

impl Body {
    /// As `/v1` has it, its time apart; that is judged first, so that a bad one changes nothing.
    fn translated(self, now: i64) -> Result<(CampaignBody, Option<ScheduleBody>, bool), Problem> {
        let time = self.scheduled_at.map(|at| ScheduleBody::once(instant(at), now));
        let time = time.transpose().map_err(in_our_words)?;
        let mut body = Map::new();
        body.extend(self.name.map(|name| ("name".to_owned(), Value::from(name))));
        body.extend(self.message.map(|text| ("text".to_owned(), Value::from(text))));
        if let Some(recipients) = self.recipients {
            body.insert("audience".into(), recipients.translated()?.into());
        }
        let anything = !body.is_empty();
        let body =
            serde_json::from_value(Value::Object(body)).map_err(|e| Code::InvalidValue.at("#", e.to_string()))?;
        Ok((body, time, anything))
    }
}

/// A row of the document's `campaigns`.
#[derive(Serialize)]
pub(super) struct View {
    id: Uuid,
    merchant_id: Uuid,
    name: String,
    message: String,
    status: &'static str,
    scheduled_at: Option<String>,
    created_at: String,
    /// How many recipients stand where; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<Counts>,
}

/// How many recipients stand where.
#[derive(Serialize)]
pub(super) struct Counts {
    #[serde(rename = "Pending")]
    pub(super) pending: i64,
    #[serde(rename = "Sent")]
    pub(super) sent: i64,
    #[serde(rename = "Failed")]
    pub(super) failed: i64,
}

impl Counts {
    /// Of all runs of a campaign; who was left out has failed, and who waits for one that has ended waits in vain. Before it begins, those who are named.
    pub(super) fn of(c: &Campaign, t: Totals) -> Counts {
        let waiting = match c.run {
            Some(_) => t.recipients - t.skipped - t.messages,
            None => c.audience.iter().filter(|entry| is_phone(entry)).count() as i64,
        };
        let (pending, lost) = if c.state.ended() { (0, waiting) } else { (waiting, 0) };
        Counts { pending: pending + t.queued, sent: t.sent + t.delivered, failed: t.failed + t.skipped + lost }
    }
}

impl View {
    fn of(c: Campaign, merchant_id: Uuid) -> View {
        let first = c.plan.as_ref().and_then(|plan| campaigns::schedule_of(plan)?.first());
        View {
            id: c.id.uuid(),
            merchant_id,
            name: c.name,
            message: c.content.text.unwrap_or_default(),
            status: words::of_campaign(c.state),
            scheduled_at: first.map(rfc3339),
            created_at: rfc3339(c.created_at),
            recipients: None,
        }
    }

    async fn whole(app: &App, caller: &crate::access::Caller, id: CampaignId) -> Result<View, Problem> {
        let c = store::by_id(&app.db, caller.account, id).await?;
        let totals = campaign_run::totals(&app.db, caller.account, id).await?;
        Ok(View { recipients: Some(Counts::of(&c, totals)), ..View::of(c, caller.info.id.uuid()) })
    }
}

/// Written and scheduled; without a time it begins at once.
pub(super) async fn create(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Json(body): Json<Body>,
) -> Result<(StatusCode, Json<View>), Problem> {
    caller.may_send()?;
    let required = [
        (body.name.is_none(), "#/name", "give it a name"),
        (body.message.is_none(), "#/message", "add the text to send"),
        (body.recipients.is_none(), "#/recipients", "say whom it goes to"),
    ];
    let missing = required.into_iter().filter(|(missing, ..)| *missing);
    let problem = missing.fold(Problem::from(Code::InvalidRequest), |problem, (_, pointer, detail)| {
        problem.and(Code::MissingField, pointer, detail)
    });
    if !problem.errors.is_empty() {
        return Err(problem);
    }
    let (body, time, _) = body.translated(app.clock.now_ms())?;
    let made = api::create(State(app.clone()), caller.clone(), Json(body)).await.map_err(in_our_words)?;
    let id = made.1.0.id;
    if let Err(problem) = begin(&app, &caller, id, time).await {
        // What is refused leaves nothing behind.
        store::delete(&app.db, caller.account, id, CampaignState::Draft).await?;
        return Err(in_our_words(problem));
    }
    Ok((StatusCode::CREATED, Json(View::whole(&app, &caller, id).await?)))
}

async fn begin(
    app: &App,
    caller: &Can<CampaignsManage>,
    id: CampaignId,
    time: Option<ScheduleBody>,
) -> Result<(), Problem> {
    match time {
        Some(time) => {
            campaign_actions::schedule(State(app.clone()), caller.clone(), Id(id), Json(time)).await.map(drop)
        }
        None => {
            let draft = store::by_id(&app.db, caller.account, id).await?;
            campaign_actions::begin(app, caller, &draft, None).await.map(drop)
        }
    }
}

/// A page of campaigns.
#[derive(Serialize)]
pub(super) struct Listed {
    campaigns: Vec<View>,
    next_cursor: Option<String>,
}

pub(super) async fn list(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Listed>, Problem> {
    let cursor = query.cursor.as_deref();
    let window = Window::open(&app, caller.account, "merchant-campaigns", "", query.limit, cursor)?;
    let before = window.after.map(CampaignId::from_uuid);
    let rows = store::list(&app.db, caller.account, None, before, window.fetch()).await?;
    let page = window.page(rows, |c| c.id.0, |c| View::of(c, caller.info.id.uuid()));
    Ok(Json(Listed { campaigns: page.data, next_cursor: page.next_cursor }))
}

pub(super) async fn read(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Id(id): Id<CampaignId>,
) -> Result<Json<View>, Problem> {
    Ok(Json(View::whole(&app, &caller, id).await?))
}

/// Before it begins.
pub(super) async fn change(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
    Json(body): Json<Body>,
) -> Result<Json<View>, Problem> {
    let state = store::state(&app.db, caller.account, id).await?;
    let (body, time, anything) = body.translated(app.clock.now_ms())?;
    if time.is_some() {
        caller.may_send()?;
        if state.after(Action::Schedule).is_none() {
            return Err(
                Code::CampaignState.with(format!("the campaign is {}: it has begun", words::of_campaign(state)))
            );
        }
    }
    if anything {
        api::change(State(app.clone()), caller.clone(), Id(id), Json(body)).await.map_err(in_our_words)?;
    }
    if let Some(time) = time {
        let moved = campaign_actions::schedule(State(app.clone()), caller.clone(), Id(id), Json(time)).await;
        moved.map_err(in_our_words)?;
    }
    Ok(Json(View::whole(&app, &caller, id).await?))
}

pub(super) async fn cancel(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
) -> Result<Json<View>, Problem> {
    campaign_actions::cancel(State(app.clone()), caller.clone(), Id(id)).await.map_err(in_our_words)?;
    Ok(Json(View::whole(&app, &caller, id).await?))
}
