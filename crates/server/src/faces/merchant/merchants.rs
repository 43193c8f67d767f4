//! `/merchants/register`, `/merchants/login`, `/merchants/profile`.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::id::AccountNo;
use carillon_domain::phone::{Phone, Strictness};
use carillon_store::{ledger, merchant, user};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::api::auth::{self, Origin, Tokens};
use crate::api::error::Problem;
use crate::api::extract::{AccountRead, Can, Json};
use crate::api::me;
use crate::api::messages::phone;
use crate::app::App;
use crate::clock::rfc3339;
use crate::faces::renamed;
use crate::pipeline::prepare::Mistake;

/// A row of the document's `merchants`.
#[derive(Serialize)]
pub(super) struct Merchant {
    id: Uuid,
    name: String,
    email: Option<String>,
    phone: Option<String>,
    sms_credits: Option<i64>,
    created_at: String,
}

impl Merchant {
    async fn of(app: &App, account: AccountNo) -> Result<Merchant, Problem> {
        let known = app.account(account).await?;
        let owner = user::owners(&app.db, account).await?.into_iter().next();
        Ok(Merchant {
            id: known.id.0,
            name: known.name.clone(),
            email: owner.map(|(email, _)| email),
            phone: merchant::phone(&app.db, account).await?.map(|digits| phone(digits).to_string()),
            sms_credits: credits(app, account).await?,
            created_at: rfc3339(known.created_at),
        })
    }
}

/// About how many parts the available money pays for, rounded down; `None` where they cost nothing.
pub(super) async fn credits(app: &App, account: AccountNo) -> Result<Option<i64>, Problem> {
    let has = ledger::balance(&app.db, account).await?;
    Ok(me::messages_for(has.available, me::price_of_a_part(app, account).await?))
}

/// Who registers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    name: String,
    email: String,
    phone: String,
    password: String,
}

/// Who signs in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    email: String,
    password: String,
}

/// A merchant who is signed in.
#[derive(Serialize)]
pub(super) struct SignedIn {
    token: String,
    token_type: &'static str,
    expires_in: u32,
    refresh_token: String,
    merchant: Merchant,
}

impl SignedIn {
    async fn of(app: &App, tokens: Tokens, account: AccountNo) -> Result<SignedIn, Problem> {
        let merchant = Merchant::of(app, account).await?;
        let Tokens { access_token: token, token_type, expires_in, refresh_token, .. } = tokens;
        Ok(SignedIn { token, token_type, expires_in, refresh_token, merchant })
    }
}

pub(super) async fn register(
    State(app): State<App>,
    origin: Origin,
    Json(body): Json<Registration>,
) -> Result<(StatusCode, Json<SignedIn>), Problem> {
    let to = Phone::parse(&body.phone, None, Strictness::Strict)
        .map_err(|e| renamed(vec![Mistake::phone(e, None)].into(), &[("to", "phone")]))?;
    let Registration { name, email, password, .. } = body;
    let new = auth::Registration { email, password, name: Some(name.clone()), account_name: Some(name) };
    let (status, Json(tokens)) = auth::register(State(app.clone()), origin, Json(new)).await?;
    let account = app.account_no(tokens.account).await?;
    merchant::put_phone(&app.db, account, to.phone.digits()).await?;
    Ok((status, Json(SignedIn::of(&app, tokens, account).await?)))
}

pub(super) async fn login(
    State(app): State<App>,
    origin: Origin,
    Json(body): Json<Login>,
) -> Result<Json<SignedIn>, Problem> {
    let Login { email, password } = body;
    let login = auth::Login { email, password, account: None };
    let Json(tokens) = auth::login(State(app.clone()), origin, Json(login)).await?;
    let account = app.account_no(tokens.account).await?;
    Ok(Json(SignedIn::of(&app, tokens, account).await?))
}

pub(super) async fn profile(State(app): State<App>, caller: Can<AccountRead>) -> Result<Json<Merchant>, Problem> {
    Ok(Json(Merchant::of(&app, caller.account).await?))
}
