//! What moves a campaign from state to state, by request.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use carillon_domain::campaign::{Action, Reason};
use carillon_domain::id::{AccountNo, CampaignId};
use carillon_domain::schedule::{Rule, RuleError};
use carillon_store::campaign::{self as store, Campaign, Plan, Shift};
use carillon_store::campaign_run::Launched;
use carillon_store::hot::IdempotencyKey;
use carillon_store::message;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use utoipa::ToSchema;

use super::campaigns::{CampaignView, copy, ready, whole, wrong_state};
use super::error::{Code, Problem};
use super::extract::{CampaignsManage, Can, Id, Json};
use super::{idempotency, sending};
use crate::access::Caller;
use crate::app::App;
use crate::campaigns::{self, NotLaunched};

/// How far ahead a campaign may be scheduled, milliseconds.
const AHEAD_MS: i64 = 366 * 86_400_000;
/// Another request may come between: then what is so now counts, up to so often.
const TRIES: usize = 3;

/// When a campaign is to begin.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleBody {
    /// The first time: local, without an offset; or an instant of RFC 3339 with its offset. At most a year ahead.
    #[schema(example = "2026-12-04T11:00:00")]
    at: String,
    /// Whose local time, an IANA name. Needed by a local time without `local_time`; what repeats keeps to its clock, summer and winter.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// Whether `at`, a local time, is that of each recipient: each message goes when it is so late where its recipient is.
    #[serde(default)]
    local_time: bool,
    /// Begins again and again: a rule of RFC 5545 with FREQ (DAILY, WEEKLY, MONTHLY, YEARLY), INTERVAL, BYDAY, BYMONTHDAY, COUNT and UNTIL.
    #[schema(example = "FREQ=WEEKLY;BYDAY=FR")]
    repeat: Option<String>,
}

impl ScheduleBody {
    /// Once, at an instant; or what is wrong with it.
    pub(crate) fn once(at: String, now: i64) -> Result<ScheduleBody, Problem> {
        let body = ScheduleBody { at, time_zone: None, local_time: false, repeat: None };
        body.clone().judge(now)?;
        Ok(body)
    }

    /// The plan, and its first time; or all that is wrong with it.
    fn judge(self, now: i64) -> Result<(Plan, i64), Problem> {
        let mut problem = Problem::from(Code::InvalidRequest);
        let zone = self.time_zone.as_deref().map(TimeZone::get);
        if let Some(Err(_)) = &zone {
            let detail = "the IANA name of a time zone, such as Europe/Berlin";
            problem = problem.and(Code::InvalidValue, "#/time_zone", detail);
        }
        if self.local_time && zone.is_some() {
            let detail = "with `local_time` each recipient's own zone counts: leave it out";
            problem = problem.and(Code::ConflictingFields, "#/time_zone", detail);
        }
        let instant = self.at.parse::<jiff::Timestamp>();
        let at = match (&instant, self.at.parse::<DateTime>(), &zone) {
            (Ok(_), _, _) if self.local_time => {
                problem = problem.and(Code::InvalidValue, "#/at", "a local time, without an offset");
                None
            }
            (Err(_), Ok(local), _) if self.local_time => Some(local),
            (Ok(instant), _, _) => {
                let zone = zone.as_ref().and_then(|zone| zone.as_ref().ok()).cloned().unwrap_or(TimeZone::UTC);
                Some(instant.to_zoned(zone).datetime())
            }
            (Err(_), Ok(_), None) => {
                problem =
                    problem.and(Code::MissingField, "#/time_zone", "whose local time is it? Such as Europe/Berlin");
                None
            }
            (Err(_), Ok(local), Some(_)) => Some(local),
            (Err(_), Err(_), _) => {
                let detail =
                    "a local time such as 2026-12-04T11:00:00, or an instant such as 2026-12-04T11:00:00+01:00";
                problem = problem.and(Code::InvalidValue, "#/at", detail);
                None
            }
        };
        let rule = self.repeat.as_deref().map(str::parse::<Rule>).transpose();
        if let Err(why) = &rule {
            let why: &RuleError = why;
            problem = problem.and(Code::InvalidValue, "#/repeat", why.to_string());
        }
        let (Some(at), true) = (at, problem.errors.is_empty()) else { return Err(problem) };
        let time_zone = self.time_zone.unwrap_or_else(|| "UTC".into());
        let plan = Plan { at: at.to_string(), time_zone, local_time: self.local_time, repeat: self.repeat };
        let schedule = campaigns::schedule_of(&plan).ok_or(Code::Internal)?;
        let out_of_reach = || Code::InvalidValue.at("#/at", "this is in no calendar");
        let first = schedule.first().ok_or_else(out_of_reach)?;
        match first {
            _ if first <= now && plan.local_time => Err(Code::InvalidValue
                .at("#/at", "somewhere on earth this time is past: choose one at least 14 hours after UTC's")),
            _ if first <= now => Err(Code::InvalidValue.at("#/at", "this time is past")),
            _ if first > now + AHEAD_MS => Err(Code::InvalidValue.at("#/at", "at most one year ahead")),
            _ => Ok((plan, first)),
        }
    }
}

/// Schedule a campaign.
///
/// It begins by itself at that time; a scheduled one gets another time.
#[utoipa::path(post, path = "/v1/campaigns/{id}/schedule", tag = "Campaigns", operation_id = "scheduleCampaign", params(("id" = String, Path)),
    request_body = ScheduleBody, responses((status = 200, body = CampaignView), (status = 409, body = super::error::ProblemBody)))]
pub async fn schedule(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
    Json(body): Json<ScheduleBody>,
) -> Result<Json<CampaignView>, Problem> {
    caller.may_send()?;
    let now = app.clock.now_ms();
    let c = store::by_id(&app.db, caller.account, id).await?;
    let to = c.state.after(Action::Schedule).ok_or_else(|| wrong_state(c.state))?;
    let (plan, first) = body.judge(now)?;
    if plan.repeat.is_some() && c.content.ab_test.is_some() {
        return Err(Code::ConflictingFields.at("#/repeat", "a campaign with an A/B test goes once"));
    }
    if plan.local_time && c.content.ab_test.is_some() {
        let detail = "a campaign with an A/B test goes to all at one time: its winner is chosen by what they do";
        return Err(Code::ConflictingFields.at("#/local_time", detail));
    }
    ready(&app, &caller, &c)?;
    let shift = Shift { from: c.state, to, reason: None, look_at: Some(first), event: None, mails: &[], now };
    if !store::schedule(&app.db, caller.account, id, &plan, &shift).await? {
        return Err(wrong_state(store::state(&app.db, caller.account, id).await?));
    }
    campaigns::told(&app, id, to, None);
    shown(&app, caller.account, id).await
}

async fn shown(app: &App, account: AccountNo, id: CampaignId) -> Result<Json<CampaignView>, Problem> {
    Ok(Json(whole(app, store::by_id(&app.db, account, id).await?).await?))
}

/// Launch a campaign now.
///
/// 202: it runs, and goes on by itself, through restarts. The header Idempotency-Key is required: the same request with the same key launches once.
#[utoipa::path(post, path = "/v1/campaigns/{id}/launch", tag = "Campaigns", operation_id = "launchCampaign",
    params(("id" = String, Path), ("Idempotency-Key" = String, Header, description = "1 to 255 printable ASCII characters.")),
    responses((status = 202, body = CampaignView), (status = 409, body = super::error::ProblemBody)))]
pub async fn launch(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let c = store::by_id(&app.db, caller.account, id).await?;
    let key = idempotency::key(&headers, &format!("POST /v1/campaigns/{id}/launch"), b"")?;
    let key = key.ok_or(Code::IdempotencyKeyRequired)?;
    let replayed = begin(&app, &caller, &c, Some(key)).await?;
    let Json(view) = shown(&app, caller.account, id).await?;
    let answer = sending::answer(StatusCode::ACCEPTED, &view);
    Ok(if replayed { idempotency::replayed(answer) } else { answer })
}

/// Launches a campaign. Whether the same request had done so before.
pub(crate) async fn begin(
    app: &App,
    caller: &Caller,
    c: &Campaign,
    key: Option<IdempotencyKey>,
) -> Result<bool, Problem> {
    let account = caller.account;
    if let Some(key) = key
        && message::by_key(&app.db, account, key, app.clock.now_ms()).await?.is_some()
    {
        return Ok(true);
    }
    caller.may_send()?;
    if c.state.after(Action::Launch).is_none() {
        return Err(wrong_state(c.state));
    }
    ready(app, caller, c)?;
    match campaigns::launch(app, c, None, key).await {
        Ok(Launched::Launched) => Ok(false),
        Ok(Launched::Replayed(_)) => Ok(true),
        Ok(Launched::KeyReused) => Err(Code::IdempotencyMismatch.into()),
        Ok(Launched::Lost) => Err(wrong_state(store::state(&app.db, account, c.id).await?)),
        Err(NotLaunched::Suspended) => Err(Code::AccountSuspended.into()),
        Err(NotLaunched::Wrong(mistakes)) => Err(mistakes.into()),
        Err(NotLaunched::Store(error)) => Err(error.into()),
    }
}

/// Moves a campaign, whatever state it has by then, if that is one for it. What it was before.
async fn moved(
    app: &App,
    account: AccountNo,
    id: CampaignId,
    action: Action,
    reason: Option<Reason>,
    look_at: impl Fn(&Campaign, i64) -> Option<i64>,
) -> Result<Campaign, Problem> {
    for _ in 0..TRIES {
        let c = store::by_id(&app.db, account, id).await?;
        let to = c.state.after(action).ok_or_else(|| wrong_state(c.state))?;
        let (event, now) = (campaigns::event_of(app, id, action), app.clock.now_ms());
        let look_at = look_at(&c, now);
        let shift = Shift { from: c.state, to, reason, look_at, event: event.as_ref(), mails: &[], now };
        if store::shift(&app.db, account, id, &shift).await? {
            campaigns::told(app, id, to, reason);
            return Ok(c);
        }
    }
    Err(Code::Busy.into())
}

/// Pause a running campaign.
///
/// Nothing more of it is handed in. Messages that are (some thousands at most) go their way.
#[utoipa::path(post, path = "/v1/campaigns/{id}/pause", tag = "Campaigns", operation_id = "pauseCampaign", params(("id" = String, Path)),
    responses((status = 200, body = CampaignView), (status = 409, body = super::error::ProblemBody)))]
pub async fn pause(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
) -> Result<Json<CampaignView>, Problem> {
    moved(&app, caller.account, id, Action::Pause, Some(Reason::Asked), |_, _| None).await?;
    shown(&app, caller.account, id).await
}

/// Resume a paused campaign.
///
/// It goes on behind the last recipient that was handed in.
#[utoipa::path(post, path = "/v1/campaigns/{id}/resume", tag = "Campaigns", operation_id = "resumeCampaign", params(("id" = String, Path)),
    responses((status = 200, body = CampaignView), (status = 409, body = super::error::ProblemBody)))]
pub async fn resume(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
) -> Result<Json<CampaignView>, Problem> {
    caller.may_send()?;
    moved(&app, caller.account, id, Action::Resume, None, |_, now| Some(now)).await?;
    shown(&app, caller.account, id).await
}

/// Cancel a campaign.
///
/// For good. What no carrier has of its messages is withdrawn, and its hold released.
#[utoipa::path(post, path = "/v1/campaigns/{id}/cancel", tag = "Campaigns", operation_id = "cancelCampaign", params(("id" = String, Path)),
    responses((status = 200, body = CampaignView), (status = 409, body = super::error::ProblemBody)))]
pub async fn cancel(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
) -> Result<Json<CampaignView>, Problem> {
    // The runner withdraws the messages: it would have to, should this process end in between.
    moved(&app, caller.account, id, Action::Cancel, None, |c, now| c.run.map(|_| now)).await?;
    shown(&app, caller.account, id).await
}

/// Copy a campaign.
///
/// The copy is a draft with the same text, audience and pace, and no schedule.
#[utoipa::path(post, path = "/v1/campaigns/{id}/duplicate", tag = "Campaigns", operation_id = "duplicateCampaign", params(("id" = String, Path)),
    responses((status = 201, body = CampaignView)))]
pub async fn duplicate(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<CampaignId>,
) -> Result<(StatusCode, Json<CampaignView>), Problem> {
    let copy = copy(&app, store::by_id(&app.db, caller.account, id).await?).await?;
    Ok((StatusCode::CREATED, Json(whole(&app, copy).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T12:00:00Z.
    const NOON: i64 = 1_795_262_400_000;

    #[test]
    fn times_that_are_taken_and_refused() {
        let judged = |at: &str, zone: &str, repeat: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let body = ScheduleBody { at: at.into(), time_zone: some(zone), local_time: false, repeat: some(repeat) };
            body.judge(NOON)
                .map(|(plan, first)| (plan.at, crate::clock::rfc3339(first)))
                .map_err(|p| p.errors.into_iter().map(|e| (e.pointer.into_owned(), e.code)).collect::<Vec<_>>())
        };
        for (at, zone, local, first) in [
            ("2026-12-04T11:00:00", "Europe/Berlin", "2026-12-04T11:00:00", "2026-12-04T10:00:00.000Z"),
            ("2026-12-04T11:00:00Z", "", "2026-12-04T11:00:00", "2026-12-04T11:00:00.000Z"),
            ("2026-12-04T11:00:00Z", "Europe/Berlin", "2026-12-04T12:00:00", "2026-12-04T11:00:00.000Z"),
            ("2026-12-04T11:00:00-05:00", "", "2026-12-04T16:00:00", "2026-12-04T16:00:00.000Z"),
        ] {
            assert_eq!(judged(at, zone, ""), Ok((local.into(), first.into())), "{at} {zone}");
        }
        let refused: &[(&str, &str, &str, &[(&str, &str)])] = &[
            ("2026-12-04T11:00:00", "", "", &[("#/time_zone", "missing_field")]),
            (
                "tomorrow",
                "Mars/Base",
                "DAILY",
                &[("#/time_zone", "invalid_value"), ("#/at", "invalid_value"), ("#/repeat", "invalid_value")],
            ),
            ("2026-11-21T12:00:00Z", "", "", &[("#/at", "invalid_value")]),
            ("2027-12-01T00:00:00Z", "", "", &[("#/at", "invalid_value")]),
            ("2026-12-04T11:00:00Z", "", "FREQ=HOURLY", &[("#/repeat", "invalid_value")]),
        ];
        for (at, zone, repeat, expected) in refused {
            let expected = expected.iter().map(|(pointer, code)| ((*pointer).to_owned(), *code)).collect();
            assert_eq!(judged(at, zone, repeat), Err(expected), "{at} {zone} {repeat}");
        }
    }
}
