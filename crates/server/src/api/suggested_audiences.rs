//! Audiences that stand out among an account's contacts, found by what happened with them, each as a filter that can be saved as a segment.

use axum::extract::State;
use carillon_domain::audience::{self, Suggestion};
use carillon_domain::contact::Declared;
use carillon_domain::segment::{self, DAYS_MAX, day_of};
use carillon_store::{activity, contact};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::error::{Code, Problem};
use super::extract::{Can, ContactsRead, Json, Query};
use crate::app::App;

/// Contacts that are looked at: of more, every so many-th.
const SAMPLE: i64 = 10_000;
/// Rows read at a time.
const PAGE: u32 = 5_000;

/// What is looked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SuggestQuery {
    /// Where the search begins; the same seed gives the same answer for the same contacts. 1 if not given.
    seed: Option<u64>,
}

/// Audiences that stand out.
#[derive(Debug, Serialize, ToSchema)]
pub struct SuggestedAudiences {
    /// Contacts with activity within a year: those that were compared.
    #[schema(example = 8400)]
    contacts: i64,
    /// Empty where too little has happened, or all are alike.
    data: Vec<SuggestedAudience>,
}

/// An audience that stands out. Save it with `POST /v1/segments`: `filter` as it stands here.
#[derive(Debug, Serialize, ToSchema)]
pub struct SuggestedAudience {
    #[schema(example = "Gone quiet")]
    name: &'static str,
    /// Who is in it, in words.
    #[schema(example = "No message reached them for 60 days")]
    description: String,
    /// What it is good for.
    suited_for: &'static str,
    /// As segments have it.
    #[schema(value_type = Object)]
    filter: Value,
    /// Contacts it has now.
    #[schema(example = 1300)]
    size: i64,
}

/// Suggest audiences.
///
/// From when messages last reached each contact, how many, what came back and what failed: contacts that behave alike, in words, with their number.
#[utoipa::path(get, path = "/v1/suggested-audiences", tag = "Contacts", operation_id = "suggestAudiences", params(SuggestQuery),
    responses((status = 200, body = SuggestedAudiences)))]
pub async fn list(
    State(app): State<App>,
    caller: Can<ContactsRead>,
    Query(query): Query<SuggestQuery>,
) -> Result<Json<SuggestedAudiences>, Problem> {
    let (account, now) = (caller.account, app.clock.now_ms());
    let today = day_of(now);
    let contacts = activity::active(&app.db, account, today - DAYS_MAX as i32).await?;
    let every = (contacts / SAMPLE + 1) as usize;
    let (mut figures, mut after, mut seen) = (Vec::new(), None, 0);
    loop {
        let page = activity::figures(&app.db, account, today, after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        figures.extend(page.iter().enumerate().filter(|(i, _)| (seen + i).is_multiple_of(every)).map(|(_, (_, f))| *f));
        seen += page.len();
    }
    let seed = query.seed.unwrap_or(1);
    let work = tokio::task::spawn_blocking(move || audience::suggest(&figures, seed));
    let mut found = work.await.map_err(|_| Code::Internal)?;
    found.push(audience::unwritten());
    let mut data = Vec::new();
    for Suggestion { name, description, suited_for, filter } in found {
        let read = segment::read(&filter, &Declared::new(), now).map_err(|_| Code::Internal)?;
        let size = contact::count(&app.db, account, &read).await?;
        if size > 0 {
            data.push(SuggestedAudience { name, description, suited_for, filter, size });
        }
    }
    Ok(Json(SuggestedAudiences { contacts, data }))
}
