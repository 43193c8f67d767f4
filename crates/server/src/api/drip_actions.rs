//! What moves a drip from state to state.

use axum::extract::State;
use carillon_domain::drip::{Action, State as DripState};
use carillon_domain::id::DripId;
use carillon_store::drip::{self as store, Shift};
use serde::Deserialize;
use utoipa::ToSchema;

use super::drips::{DripView, check, whole, wrong_state};
use super::error::{Code, Problem};
use super::extract::{CampaignsManage, Can, Id, Json};
use crate::access::Caller;
use crate::app::App;

/// How often it is tried to move one that others move at the same time.
const TRIES: usize = 5;

/// How it begins.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateBody {
    /// Whether those whom its `entry` finds already enter too; if not, they never enter by themselves. To be said when a drip with an `entry` is activated
    /// for the first time; later it is true if not said.
    existing: Option<bool>,
}

/// Activate a drip.
///
/// A draft, or a paused one, which goes on: steps that came due meanwhile go out now.
#[utoipa::path(post, path = "/v1/drips/{id}/activate", tag = "Drips", operation_id = "activateDrip", params(("id" = String, Path)),
    request_body = ActivateBody, responses((status = 200, body = DripView), (status = 409, body = super::error::ProblemBody)))]
pub async fn activate(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<DripId>,
    Json(body): Json<ActivateBody>,
) -> Result<Json<DripView>, Problem> {
    let d = store::by_id(&app.db, caller.account, id).await?;
    let Some(to) = d.state.after(Action::Activate) else { return Err(wrong_state(d.state)) };
    caller.may_send()?;
    if d.sequence.steps.is_empty() {
        return Err(Code::MissingField.at("#/steps", "add a step first: PATCH /v1/drips/{id}"));
    }
    let errors = check(&app, &caller, &d.sequence);
    if !errors.is_empty() {
        return Err(Problem { errors, ..Code::InvalidRequest.into() });
    }
    let passing = match (&d.entry, body.existing, d.state) {
        (None, Some(_), _) => return Err(Code::ConflictingFields.at("#/existing", "this drip has no `entry`")),
        (None, None, _) => None,
        (Some(_), None, DripState::Draft) => {
            let detail = "true: those whom its `entry` finds already get it too; false: only those from now on";
            return Err(Code::MissingField.at("#/existing", detail));
        }
        (Some(_), existing, _) => existing.map(|existing| !existing),
    };
    let now = app.clock.now_ms();
    let shift = Shift { from: d.state, to, passing, look_at: d.entry.as_ref().map(|_| now), now };
    if !store::shift(&app.db, caller.account, id, shift).await? {
        return Err(wrong_state(store::by_id(&app.db, caller.account, id).await?.state));
    }
    whole(&app, store::by_id(&app.db, caller.account, id).await?).await
}

/// Moves a drip, whatever state it has by then, if that is one for it.
async fn moved(
    app: &App,
    caller: &Caller,
    id: DripId,
    action: Action,
    look_at: Option<i64>,
) -> Result<Json<DripView>, Problem> {
    for _ in 0..TRIES {
        let d = store::by_id(&app.db, caller.account, id).await?;
        let to = d.state.after(action).ok_or_else(|| wrong_state(d.state))?;
        let shift = Shift { from: d.state, to, passing: None, look_at, now: app.clock.now_ms() };
        if store::shift(&app.db, caller.account, id, shift).await? {
            return whole(app, store::by_id(&app.db, caller.account, id).await?).await;
        }
    }
    Err(Code::Busy.into())
}

/// Pause an active drip.
///
/// Nothing more of it is handed in, and nobody enters by themselves. Messages that are handed in go their way.
#[utoipa::path(post, path = "/v1/drips/{id}/pause", tag = "Drips", operation_id = "pauseDrip", params(("id" = String, Path)),
    responses((status = 200, body = DripView), (status = 409, body = super::error::ProblemBody)))]
pub async fn pause(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<DripId>,
) -> Result<Json<DripView>, Problem> {
    moved(&app, &caller, id, Action::Pause, None).await
}

/// Archive a drip.
///
/// For good. Everybody leaves it.
#[utoipa::path(post, path = "/v1/drips/{id}/archive", tag = "Drips", operation_id = "archiveDrip", params(("id" = String, Path)),
    responses((status = 200, body = DripView), (status = 409, body = super::error::ProblemBody)))]
pub async fn archive(
    State(app): State<App>,
    caller: Can<CampaignsManage>,
    Id(id): Id<DripId>,
) -> Result<Json<DripView>, Problem> {
    // The runner has everybody leave: there may be many.
    let now = app.clock.now_ms();
    moved(&app, &caller, id, Action::Archive, Some(now)).await
}
