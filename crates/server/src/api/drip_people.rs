//! Who is in a drip: people enter it by request, are listed, taken out, or have reached what it is for.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::campaign::Words;
use carillon_domain::drip::{Action, ExitReason, Position};
use carillon_domain::id::{AccountNo, ContactId, DripId};
use carillon_domain::phone::Phone;
use carillon_store::drip;
use carillon_store::drip_enrollment::{self as store, Enrollment, Leave, NewEnrollment, Which};
use carillon_store::{StoreError, contact};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::campaign_audience::words;
use super::drips::wrong_state;
use super::error::{Code, FieldError, Problem};
use super::extract::{CampaignsManage, CampaignsRead, Can, Id, Json, Query};
use super::messages::phone;
use super::page::{Paged, Window};
use super::sending::ERRORS_MAX;
use crate::access::Caller;
use crate::app::App;
use crate::pipeline::prepare::{self, Mistake};

/// People of one request.
const PEOPLE_MAX: usize = 1_000;

/// Somebody: by number, or a contact.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DripPerson)]
pub struct PersonBody {
    #[schema(example = "+4915112345678")]
    phone: Option<String>,
    /// Instead of `phone`: id of a contact. Who entered so leaves when the contact is deleted.
    contact: Option<String>,
    /// Texts and numbers for the places of the texts; at most 50. What is not here is the contact's that has the number, if there is one.
    #[schema(value_type = Option<Object>, example = json!({"name": "Ada"}))]
    variables: Option<BTreeMap<String, Value>>,
}

/// Who is to enter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrollBody {
    /// 1 to 1,000.
    people: Vec<PersonBody>,
    /// Whether who was in it and left begins anew.
    again: Option<bool>,
}

/// What became of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Enrolled {
    /// People who entered.
    entered: u64,
    /// Those who are in it, or were, and numbers that stand in the list twice.
    unchanged: u64,
}

/// Who did what the drip is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GoalBody {
    /// 1 to 1,000; without `variables`.
    people: Vec<PersonBody>,
}

/// What became of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Left {
    /// People who were in it and left.
    ended: u64,
}

/// Somebody in a drip, or who was.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DripEnrollment)]
pub struct EnrollmentView {
    /// Null: they left more than 30 days ago.
    #[schema(example = "+4915112345678")]
    phone: Option<String>,
    /// `waiting` or `ended`.
    #[schema(example = "waiting")]
    state: &'static str,
    /// Why they left: see `people.ended` of the drip.
    reason: Option<&'static str>,
    /// Number of their next step, from 1; of who left before the end, the one that would have been.
    step: Option<u32>,
    /// When that is due, RFC 3339.
    due_at: Option<String>,
    /// RFC 3339.
    entered_at: String,
    /// RFC 3339.
    ended_at: Option<String>,
}

fn view(e: Enrollment) -> EnrollmentView {
    let done = matches!(e.reason, Some(ExitReason::Finished | ExitReason::PassedOver));
    EnrollmentView {
        phone: e.phone.map(|digits| phone(digits).to_string()),
        state: if e.reason.is_some() { "ended" } else { "waiting" },
        reason: e.reason.map(ExitReason::as_str),
        step: (!done).then_some(e.step + 1),
        due_at: e.reason.is_none().then(|| crate::clock::rfc3339(e.next_at)),
        entered_at: crate::clock::rfc3339(e.entered_at),
        ended_at: e.ended_at.map(crate::clock::rfc3339),
    }
}

/// Somebody who was named.
struct Named {
    phone: Phone,
    words: Words,
    by_contact: bool,
}

/// Everybody named in a list; or all that is wrong with it.
async fn named(app: &App, caller: &Caller, people: Vec<PersonBody>) -> Result<Vec<Named>, Problem> {
    match people.len() {
        0 => return Err(Code::TooShort.at("#/people", "the list is empty")),
        1..=PEOPLE_MAX => {}
        _ => return Err(Code::TooLong.at("#/people", "at most 1,000 people in one request")),
    }
    let (mut all, mut errors) = (Vec::with_capacity(people.len()), Vec::new());
    for (index, body) in people.into_iter().enumerate() {
        let at = |member: &str| format!("#/people/{index}{member}");
        if errors.len() >= ERRORS_MAX {
            break;
        }
        let words = match words(body.variables.unwrap_or_default()) {
            Ok(words) => words,
            Err((member, code, detail)) => {
                errors.extend(code.at(at(&format!("/{member}")), detail).errors);
                continue;
            }
        };
        match who(app, caller, body.phone.as_deref(), body.contact.as_deref()).await? {
            Ok((phone, by_contact)) => all.push(Named { phone, words, by_contact }),
            Err(wrong) => errors.push(FieldError { pointer: at(&wrong.pointer).into(), ..wrong }),
        }
    }
    if errors.is_empty() { Ok(all) } else { Err(Problem { errors, ..Code::InvalidRequest.into() }) }
}

/// Whose number it is, and whether a contact was named; or what is wrong, at a pointer within what names them.
async fn who(
    app: &App,
    caller: &Caller,
    number: Option<&str>,
    contact: Option<&str>,
) -> Result<Result<(Phone, bool), FieldError>, Problem> {
    let wrong = |pointer: &'static str, code: Code, detail: &'static str| {
        Err(FieldError { pointer: pointer.into(), code: code.as_str(), detail: detail.into(), suggestion: None })
    };
    Ok(match (number, contact) {
        (Some(_), Some(_)) => wrong("", Code::ConflictingFields, "a `phone` or a `contact`, not both"),
        (None, None) => wrong("", Code::MissingField, "name a `phone` or a `contact`"),
        (Some(text), None) => match prepare::recipient(text, &caller.info.settings) {
            Ok(parsed) => Ok((parsed.phone, false)),
            Err(e) => {
                let Mistake { code, detail, suggestion, .. } = Mistake::phone(e, None);
                Err(FieldError { pointer: "/phone".into(), code, detail, suggestion })
            }
        },
        (None, Some(text)) => match text.parse::<ContactId>() {
            Err(_) => wrong("/contact", Code::InvalidId, "this is not the id of a contact"),
            Ok(id) => match contact::by_id(&app.db, caller.account, id).await {
                Ok(contact) => Ok((phone(contact.phone), true)),
                Err(StoreError::NotFound) => wrong("/contact", Code::NotFound, "there is no such contact"),
                Err(error) => return Err(error.into()),
            },
        },
    })
}

/// The drip, if people enter and leave it in its state.
async fn open(app: &App, account: AccountNo, id: DripId) -> Result<drip::Drip, Problem> {
    let d = drip::by_id(&app.db, account, id).await?;
    if d.state.after(Action::Enroll).is_none() { Err(wrong_state(d.state)) } else { Ok(d) }
}

/// Have people enter a drip.
///
/// All of them or, if one cannot be, none. A number enters once, however often this is asked for; `again` lets those begin anew who have left.
/// The drip is active, or paused: then they wait.
#[utoipa::path(post, path = "/v1/drips/{id}/enrollments", tag = "Drips", operation_id = "enrollInDrip", params(("id" = String, Path)),
    request_body = EnrollBody, responses((status = 200, body = Enrolled), (status = 409, body = super::error::ProblemBody)))]
pub async fn enroll(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<DripId>,
    Json(body): Json<EnrollBody>,
) -> Result<Json<Enrolled>, Problem> {
    let d = open(&app, caller.account, id).await?;
    let named = named(&app, &caller, body.people).await?;
    let (asked, mut seen) = (named.len() as u64, BTreeSet::new());
    let mut people = Vec::with_capacity(named.len());
    for Named { phone, words, by_contact } in named {
        let phone_tag = phone.tag(&app.secrets.phone_key);
        if seen.insert(phone_tag) {
            people.push(NewEnrollment { phone_tag, phone: phone.digits(), words, by_contact });
        }
    }
    let now = app.clock.now_ms();
    let first = Position::before(0, &d.sequence.steps, now).map_or(now, |at| at.due_at);
    let again = body.again.unwrap_or(false);
    match store::enroll(&app.db, caller.account, id, &people, first, again, now).await? {
        Some(entered) => Ok(Json(Enrolled { entered, unchanged: asked - entered })),
        None => Err(wrong_state(drip::by_id(&app.db, caller.account, id).await?.state)),
    }
}

/// Say that people did what a drip is for.
///
/// They leave it, as `goal`. Who is not in it is passed over.
#[utoipa::path(post, path = "/v1/drips/{id}/goals", tag = "Drips", operation_id = "reachDripGoal", params(("id" = String, Path)),
    request_body = GoalBody, responses((status = 200, body = Left), (status = 409, body = super::error::ProblemBody)))]
pub async fn goal(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<DripId>,
    Json(body): Json<GoalBody>,
) -> Result<Json<Left>, Problem> {
    open(&app, caller.account, id).await?;
    let place = body.people.iter().position(|p| p.variables.is_some());
    if let Some(place) = place {
        let at = format!("#/people/{place}/variables");
        return Err(Code::ConflictingFields.at(at, "who leaves needs no variables"));
    }
    let named = named(&app, &caller, body.people).await?;
    let tags: Vec<i64> = named.iter().map(|n| n.phone.tag(&app.secrets.phone_key)).collect();
    let now = app.clock.now_ms();
    let ended = store::leave(&app.db, caller.account, Leave::One(id), &tags, ExitReason::Goal, now, now).await?;
    Ok(Json(Left { ended }))
}

/// Who is to be taken out.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RemoveQuery {
    /// Their number.
    phone: Option<String>,
    /// Or the id of the contact.
    contact: Option<String>,
}

/// Take somebody out of a drip.
///
/// 404 if they are not in it.
#[utoipa::path(delete, path = "/v1/drips/{id}/enrollments", tag = "Drips", operation_id = "removeFromDrip",
    params(("id" = String, Path), RemoveQuery), responses((status = 204), (status = 404, body = super::error::ProblemBody)))]
pub async fn remove(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<DripId>,
    Query(query): Query<RemoveQuery>,
) -> Result<StatusCode, Problem> {
    open(&app, caller.account, id).await?;
    let (number, _) = in_query(who(&app, &caller, query.phone.as_deref(), query.contact.as_deref()).await?)?;
    let (tag, now) = (number.tag(&app.secrets.phone_key), app.clock.now_ms());
    let one = Leave::One(id);
    match store::leave(&app.db, caller.account, one, &[tag], ExitReason::Removed, now, now).await? {
        0 => Err(Code::NotFound.into()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// What is wrong with somebody named in a query.
fn in_query<T>(found: Result<T, FieldError>) -> Result<T, Problem> {
    found.map_err(|wrong| {
        let pointer =
            if wrong.pointer.is_empty() { "?phone".into() } else { wrong.pointer.replacen('/', "?", 1).into() };
        Problem { errors: vec![FieldError { pointer, ..wrong }], ..Code::InvalidQuery.into() }
    })
}

/// Which people, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PeopleQuery {
    /// `waiting`, `ended`, or one of the reasons.
    state: Option<String>,
    /// The one with this number.
    phone: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List who is in a drip, and who was.
///
/// In no order of meaning. The numbers of those who left are kept for 30 days.
#[utoipa::path(get, path = "/v1/drips/{id}/enrollments", tag = "Drips", operation_id = "listDripEnrollments",
    params(("id" = String, Path), PeopleQuery), responses((status = 200, body = Paged<EnrollmentView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Id(id): Id<DripId>,
    Query(query): Query<PeopleQuery>,
) -> Result<Json<Paged<EnrollmentView>>, Problem> {
    let d = drip::by_id(&app.db, caller.account, id).await?;
    let mut which = match query.state.as_deref() {
        None => Which::default(),
        Some("waiting") => Which { inside: Some(true), ..Which::default() },
        Some("ended") => Which { inside: Some(false), ..Which::default() },
        Some(name) => {
            let unknown = || {
                let detail = "waiting, ended, or why somebody left, such as replied";
                Problem::from(Code::InvalidQuery).and(Code::InvalidValue, "?state", detail)
            };
            Which { reason: Some(ExitReason::from_name(name).ok_or_else(unknown)?), ..Which::default() }
        }
    };
    if let Some(text) = &query.phone {
        let (number, _) = in_query(who(&app, &caller, Some(text), None).await?)?;
        which.phone_tag = Some(number.tag(&app.secrets.phone_key));
    }
    let filters = format!("{id} {which:?}");
    let window =
        Window::open(&app, caller.account, "drip-enrollments", &filters, query.limit, query.cursor.as_deref())?;
    // A cursor is an id; a tag is half of one.
    let after = window.after.map_or(i64::MIN, |id| id.as_u64_pair().1 as i64);
    let rows = store::list(&app.db, caller.account, d.id, which, after, window.fetch()).await?;
    Ok(Json(window.page(rows, |e| Uuid::from_u64_pair(0, e.phone_tag as u64), view)))
}
