//! Who am I, and what have I got: the first question of every client.

use axum::extract::State;
use carillon_domain::id::{AccountNo, ApiKeyId, SessionId, UserId};
use carillon_domain::message::Lane;
use carillon_domain::money::Money;
use carillon_domain::permission::Scope;
use carillon_store::{StoreError, ledger, rate, user};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::AccountView;
use super::error::Problem;
use super::extract::Json;
use crate::access::{Actor, Caller};
use crate::app::App;

/// The caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// The account's bare UUID, as seed clients name it.
    client_id: Uuid,
    /// The account.
    account: AccountView,
    /// What it has.
    balance: BalanceView,
    /// What this credential may do.
    #[schema(example = json!(["messages:send", "messages:read"]))]
    scopes: Vec<&'static str>,
    /// The person, if a person is signed in.
    user: Option<UserView>,
    /// The API key, if one was used.
    #[schema(value_type = Option<String>)]
    api_key: Option<ApiKeyId>,
}

/// Money, as decimal strings.
#[derive(Debug, Serialize, ToSchema)]
pub struct BalanceView {
    /// Free to spend.
    #[schema(example = "99.95")]
    pub available: String,
    /// Reserved by open messages.
    #[schema(example = "0.05")]
    pub held: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    pub currency: String,
    /// About how many one-part messages that is at today's price.
    #[schema(example = 1999)]
    pub about_messages: Option<i64>,
}

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    #[schema(value_type = String)]
    id: UserId,
    email: String,
    /// Whether they have shown that the address is theirs.
    email_verified: bool,
    name: String,
    #[schema(value_type = String)]
    session: SessionId,
}

/// About how many messages an amount buys; `None` when they cost nothing.
pub(crate) fn messages_for(available: Money, price: Money) -> Option<i64> {
    (price > Money::ZERO).then(|| available.0 / price.0)
}

/// What an account pays for a part where no prefix says otherwise.
pub(crate) async fn price_of_a_part(app: &App, account: AccountNo) -> Result<Money, StoreError> {
    let listed = rate::everywhere(&app.db, account, Lane::Normal.number()).await?;
    Ok(listed.unwrap_or_else(|| app.config.prices.per_part()))
}

/// Who am I?
///
/// The account, its balance and what this credential may do.
#[utoipa::path(get, path = "/v1/me", tag = "Account", operation_id = "getMe",
    params(("client_id" = Option<String>, Query, description = "In open mode: the UUID of the account. Otherwise it must be the credential's.")),
    responses((status = 200, body = Me)))]
pub async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Me>, Problem> {
    let has = ledger::balance(&app.db, caller.account).await?;
    let price = price_of_a_part(&app, caller.account).await?;
    let user = match caller.actor {
        Actor::User(id, session) => {
            let person = user::by_id(&app.db, id).await?;
            Some(UserView {
                id,
                email_verified: person.verified_at.is_some(),
                email: person.email,
                name: person.name,
                session,
            })
        }
        _ => None,
    };
    Ok(Json(Me {
        client_id: caller.info.id.0,
        balance: BalanceView {
            available: has.available.to_string(),
            held: has.held.to_string(),
            currency: caller.info.currency.clone(),
            about_messages: messages_for(has.available, price),
        },
        scopes: caller.scopes.iter().map(Scope::as_str).collect(),
        user,
        api_key: if let Actor::Key(id) = caller.actor { Some(id) } else { None },
        account: AccountView::of(&caller.info),
    }))
}
