//! Who is in the run of a campaign: who waits, who was handed in, and who was left out and why.

use axum::extract::State;
use carillon_domain::ab_test::letter;
use carillon_domain::id::CampaignId;
use carillon_store::campaign;
use carillon_store::campaign_run::{self, BEGIN, Recipient};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::error::{Code, Problem};
use super::extract::{CampaignsRead, Can, Id, Json, Query};
use super::messages::phone;
use super::page::{Paged, Window};
use crate::app::App;

/// Somebody in a run.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecipientView {
    /// The number; or what was written, if that is none.
    #[schema(example = "+4915112345678")]
    phone: String,
    /// `waiting`, `handed_in` (its message is in the batch of the run) or `skipped`.
    #[schema(example = "skipped")]
    state: &'static str,
    /// Why it was left out: a code of `/docs/problems`.
    #[schema(example = "suppressed")]
    code: Option<String>,
}

/// Which recipients, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecipientsQuery {
    /// Only those that are `waiting`, `handed_in` or `skipped`.
    state: Option<String>,
    /// Of an A/B test: those of this variant, `A` to `E`. Without it those who get the winner.
    variant: Option<String>,
    /// Rows of a page, 1 to 200; 50 if not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A cursor is an id; a tag is half of one.
fn id_of(tag: i64) -> Uuid {
    Uuid::from_u64_pair(0, tag as u64)
}

fn tag_of(id: Uuid) -> i64 {
    id.as_u64_pair().1 as i64
}

/// List the recipients of a campaign.
///
/// Of its run: the one under way, or the last. In no order of meaning. They are kept for 30 days after the run; messages, longer: `GET /v1/batches/{id}/messages`.
#[utoipa::path(get, path = "/v1/campaigns/{id}/recipients", tag = "Campaigns", operation_id = "listCampaignRecipients",
    params(("id" = String, Path), RecipientsQuery), responses((status = 200, body = Paged<RecipientView>)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<CampaignsRead>,
    Id(id): Id<CampaignId>,
    Query(query): Query<RecipientsQuery>,
) -> Result<Json<Paged<RecipientView>>, Problem> {
    let wanted = query.state.as_deref();
    let skipped = match wanted {
        None => None,
        Some("skipped") => Some(true),
        Some("waiting" | "handed_in") => Some(false),
        Some(_) => {
            let detail = "waiting, handed_in or skipped";
            return Err(Problem::from(Code::InvalidQuery).and(Code::InvalidValue, "?state", detail));
        }
    };
    let c = campaign::by_id(&app.db, caller.account, id).await?;
    let filters = format!("{id} {} {:?} {:?}", wanted.unwrap_or_default(), c.run, query.variant);
    let window =
        Window::open(&app, caller.account, "campaign-recipients", &filters, query.limit, query.cursor.as_deref())?;
    let run = match (c.run, &query.variant) {
        (Some(_), Some(name)) => {
            let variants = campaign_run::variants(&app.db, id, c.runs).await?;
            let named = variants.into_iter().find(|run| run.variant.is_some_and(|v| *name == letter(v).to_string()));
            let unknown = Problem::from(Code::InvalidQuery);
            named.ok_or_else(|| unknown.and(Code::InvalidValue, "?variant", "no variant of this campaign"))?
        }
        (Some(run), None) => campaign_run::by_id(&app.db, caller.account, run).await?,
        (None, _) => return Ok(Json(window.page(Vec::<Recipient>::new(), |r| id_of(r.phone_tag), |r| view(r, BEGIN)))),
    };
    let from = if wanted == Some("waiting") { run.cursor } else { BEGIN };
    let after = window.after.map_or(from, |id| tag_of(id).max(from));
    let mut rows = campaign_run::recipients(&app.db, caller.account, run.id, skipped, after, window.fetch()).await?;
    if wanted == Some("handed_in") {
        rows.retain(|r| r.phone_tag <= run.cursor);
    }
    Ok(Json(window.page(rows, |r| id_of(r.phone_tag), |r| view(r, run.cursor))))
}

fn view(r: Recipient, cursor: i64) -> RecipientView {
    let state = match r.code {
        Some(_) => "skipped",
        None if r.phone_tag <= cursor => "handed_in",
        None => "waiting",
    };
    let shown = match r.to {
        Ok(digits) => phone(digits).to_string(),
        Err(given) => given.to_string(),
    };
    RecipientView { phone: shown, state, code: r.code }
}
