//! Whose connections, routes and rates are meant: operators manage the platform's and may look after an account's, accounts manage their own.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use carillon_domain::id::{AccountId, AccountNo};
use carillon_domain::permission::Scope;
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::{Code, Problem};
use crate::access::Caller;
use crate::app::App;
use crate::routing::rules::Wrong;

/// A caller who may manage connections and routes: with `platform:operate` everybody's, with `connections:manage` the account's own.
#[derive(Clone, Debug)]
pub struct Manager(pub Caller);

impl FromRequestParts<App> for Manager {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = <Caller as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        if !caller.scopes.allows(Scope::Operate) {
            caller.allow(Scope::ConnectionsManage)?;
        }
        Ok(Manager(caller))
    }
}

/// Which owner, of which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OwnedQuery {
    /// Rows of a page, 1 to 200; 50 if not given.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Whose, for operators; the platform's if not given.
    #[param(value_type = Option<String>)]
    pub account: Option<AccountId>,
}

/// Which owner.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OwnerQuery {
    /// Whose, for operators; the platform's if not given.
    #[param(value_type = Option<String>)]
    pub account: Option<AccountId>,
}

impl Manager {
    /// Whether everything is the caller's to manage.
    pub fn operates(&self) -> bool {
        self.0.scopes.allows(Scope::Operate)
    }

    /// Whose things a list or a new one belongs to: the platform's or the named account's for operators, else the caller's.
    pub async fn owner(&self, app: &App, named: Option<AccountId>) -> Result<AccountNo, Problem> {
        match (self.operates(), named) {
            (true, None) => Ok(AccountNo::PLATFORM),
            (true, Some(id)) => Ok(app.account_no(id).await?),
            (false, Some(id)) if id != self.0.info.id => {
                Err(Code::Forbidden.with("only operators name another account"))
            }
            (false, _) => Ok(self.0.account),
        }
    }

    /// Where to look for what has an id of that account: anywhere for operators, else at home only.
    pub fn owner_of(&self, account: AccountNo) -> AccountNo {
        if self.operates() { account } else { self.0.account }
    }
}

/// Mistakes of settings and rules as a refusal.
pub(super) fn refused(wrong: Vec<Wrong>) -> Problem {
    let problem = Problem::from(Code::InvalidRequest);
    wrong.into_iter().fold(problem, |problem, w| problem.and(Code::InvalidValue, w.pointer, w.why))
}

/// Digits a table has a line for: up to 15, none for everywhere.
pub(super) fn prefix(text: &str) -> Option<&str> {
    (text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0')).then_some(text)
}
