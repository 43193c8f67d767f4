//! Keyword rules: what an account answers by itself. STOP, START and HELP are built in.

use axum::extract::State;
use axum::http::StatusCode;
use carillon_domain::id::KeywordRuleId;
use carillon_domain::keyword::{Action, Match, built_in, plain};
use carillon_store::keyword_rule::{self, KeywordRule};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{Code, Problem};
use super::extract::{AccountWrite, Can, Id, InboundRead, Json, parse_json};
use super::sending::Raw;
use crate::app::App;
use crate::clock::rfc3339;
use crate::inbound::peer;

/// Characters of a keyword and of a reply.
const KEYWORD_MAX: usize = 60;
const REPLY_MAX: usize = 1_000;
/// Rules of one account: each of its messages is compared with all.
const RULES_MAX: usize = 500;

/// What to answer with what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleBody {
    /// Case, accents and punctuation do not matter.
    #[schema(example = "MENU")]
    keyword: String,
    /// `exact` (if not given): all that was written; `prefix`: its first words; `contains`: words in it.
    #[schema(example = "exact")]
    r#match: Option<String>,
    /// On which own number; every one if not given.
    number: Option<String>,
    /// The answer: an ordinary message, which the account pays.
    #[schema(example = "Today: lasagne. Call us on +49 30 123456.")]
    reply: String,
}

/// A keyword rule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeywordRule)]
pub struct RuleView {
    #[schema(value_type = String, example = "kwr_01h455vb4pex5vsknk084sn02q")]
    id: KeywordRuleId,
    keyword: String,
    r#match: &'static str,
    number: Option<String>,
    reply: String,
    created_at: String,
}

/// All rules of an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rules {
    /// Oldest first.
    data: Vec<RuleView>,
}

fn view(r: KeywordRule) -> RuleView {
    RuleView {
        id: r.id,
        keyword: r.keyword,
        r#match: r.how.as_str(),
        number: r.number.as_deref().map(peer::as_sender),
        reply: r.reply,
        created_at: rfc3339(r.created_at),
    }
}

/// The rule a body describes, or all that is wrong with it.
fn read_body(body: RuleBody, id: KeywordRuleId) -> Result<KeywordRule, Problem> {
    let mut problem = Problem::from(Code::InvalidRequest);
    let mut refuse = |code, pointer: &'static str, why: &'static str| {
        problem = std::mem::replace(&mut problem, Code::InvalidRequest.into()).and(code, pointer, why);
    };
    if plain(&body.keyword).is_empty() {
        refuse(Code::InvalidValue, "#/keyword", "at least one letter or digit");
    }
    if body.keyword.chars().count() > KEYWORD_MAX {
        refuse(Code::TooLong, "#/keyword", "at most 60 characters");
    }
    if built_in(&body.keyword) == Action::Stop {
        refuse(Code::InvalidValue, "#/keyword", "this word ends messages to who writes it; no rule can take it over");
    }
    let how = Match::from_name(body.r#match.as_deref().unwrap_or("exact"));
    if how.is_none() {
        refuse(Code::InvalidValue, "#/match", "exact, prefix or contains");
    }
    let number: Option<String> = body.number.map(|n| n.chars().filter(char::is_ascii_digit).collect());
    if number.as_ref().is_some_and(|n| !(3..=15).contains(&n.len())) {
        refuse(Code::InvalidValue, "#/number", "one of your numbers: GET /v1/inbound-numbers");
    }
    if body.reply.trim().is_empty() {
        refuse(Code::TooShort, "#/reply", "the answer is empty");
    }
    if body.reply.chars().count() > REPLY_MAX {
        refuse(Code::TooLong, "#/reply", "at most 1000 characters");
    }
    match how {
        Some(how) if problem.errors.is_empty() => {
            Ok(KeywordRule { id, keyword: body.keyword, how, number, reply: body.reply, created_at: id.millis() })
        }
        _ => Err(problem),
    }
}

/// Make a keyword rule.
#[utoipa::path(post, path = "/v1/keyword-rules", tag = "Two-way", operation_id = "createKeywordRule", request_body = RuleBody,
    responses((status = 201, body = RuleView)))]
pub async fn create(
    State(app): State<App>,
    caller: Can<AccountWrite>,
    Json(body): Json<RuleBody>,
) -> Result<(StatusCode, Json<RuleView>), Problem> {
    let rule = read_body(body, KeywordRuleId::new(app.clock.now_ms(), app.ids.next(), caller.account))?;
    if keyword_rule::list(&app.db, caller.account).await?.len() >= RULES_MAX {
        return Err(Code::TooLong.at("#", "an account has at most 500 rules"));
    }
    keyword_rule::put(&app.db, caller.account, &rule).await?;
    Ok((StatusCode::CREATED, Json(view(rule))))
}

/// List keyword rules, oldest first.
#[utoipa::path(get, path = "/v1/keyword-rules", tag = "Two-way", operation_id = "listKeywordRules", responses((status = 200, body = Rules)))]
pub async fn list(State(app): State<App>, caller: Can<InboundRead>) -> Result<Json<Rules>, Problem> {
    let rules = keyword_rule::list(&app.db, caller.account).await?;
    Ok(Json(Rules { data: rules.into_iter().map(view).collect() }))
}

/// Read a keyword rule.
#[utoipa::path(get, path = "/v1/keyword-rules/{id}", tag = "Two-way", operation_id = "getKeywordRule", params(("id" = String, Path)),
    responses((status = 200, body = RuleView)))]
pub async fn read(
    State(app): State<App>,
    caller: Can<InboundRead>,
    Id(id): Id<KeywordRuleId>,
) -> Result<Json<RuleView>, Problem> {
    Ok(Json(view(keyword_rule::by_id(&app.db, caller.account, id).await?)))
}

/// Replace a keyword rule.
#[utoipa::path(put, path = "/v1/keyword-rules/{id}", tag = "Two-way", operation_id = "replaceKeywordRule", params(("id" = String, Path)),
    request_body = RuleBody, responses((status = 200, body = RuleView)))]
pub async fn replace(
    State(app): State<App>,
    caller: Can<AccountWrite>,
    Id(id): Id<KeywordRuleId>,
    Raw(bytes): Raw<false>,
) -> Result<Json<RuleView>, Problem> {
    keyword_rule::by_id(&app.db, caller.account, id).await?;
    let rule = read_body(parse_json(&bytes)?, id)?;
    keyword_rule::put(&app.db, caller.account, &rule).await?;
    Ok(Json(view(rule)))
}

/// Delete a keyword rule.
#[utoipa::path(delete, path = "/v1/keyword-rules/{id}", tag = "Two-way", operation_id = "deleteKeywordRule", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete(
    State(app): State<App>,
    caller: Can<AccountWrite>,
    Id(id): Id<KeywordRuleId>,
) -> Result<StatusCode, Problem> {
    keyword_rule::delete(&app.db, caller.account, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
