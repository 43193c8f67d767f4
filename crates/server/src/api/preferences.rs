//! The page where a person chooses what an account may send them. Its address is the right to it: made for one number of one account, sent to
//! that number alone, and not to be guessed. Opening it does nothing, since machines that look through messages open links; only its form
//! does. There is no sign-in that a foreign page could misuse, so the form needs no token beside the one in its address.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use carillon_domain::consent::{CATEGORIES, Detail, Source, Status};
use carillon_domain::id::{AccountNo, ConsentId};
use carillon_domain::message::{Category, Flags};
use carillon_domain::phone::Phone;
use carillon_store::consent::{self, NewConsent};

use super::error::{Code, Problem};
use super::extract::{body_of, media_type};
use crate::access::address::Client;
use crate::app::App;
use crate::consents;

/// Octets of the form.
const FORM_MAX: usize = 1_024;
/// Characters of the program's name that a record keeps.
const AGENT_MAX: usize = 200;
/// Nothing from elsewhere, nothing inline but the style, and the form goes nowhere else.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Whose page it is.
struct Person {
    account: AccountNo,
    name: String,
    phone: Phone,
    phone_tag: i64,
}

/// An address that is none, and one of an account that is closed: which of these is nobody's business.
async fn person(app: &App, token: Result<Path<String>, PathRejection>) -> Result<Person, Problem> {
    let Path(token) = token.map_err(|_| Code::NotFound)?;
    let (account, phone) = consents::page_of(&app.secrets.preference_key, &token).ok_or(Code::NotFound)?;
    let caller = app.open_caller(account).await.map_err(|_| Code::NotFound)?;
    let phone_tag = phone.tag(&app.secrets.phone_key);
    Ok(Person { account, name: caller.info.name.clone(), phone, phone_tag })
}

impl Person {
    /// What they chose for a category, or nothing yet.
    async fn choices(&self, app: &App) -> Result<[(Category, Option<bool>); 2], Problem> {
        let states = consent::states(&app.db, self.account, &[self.phone_tag]).await?;
        let list = app.pipeline.suppressed();
        Ok(CATEGORIES.map(|category| {
            let flags = Flags::default().with(Flags::PROMOTIONAL, category == Category::Promotional);
            let status = states.iter().find(|s| s.category == category).map(|s| s.status);
            let chosen = match status {
                _ if list.holds(self.account, self.phone_tag, None, flags) => Some(false),
                Some(Status::OptedIn | Status::Confirmed) => Some(true),
                Some(Status::OptedOut) => Some(false),
                Some(Status::Pending) | None => None,
            };
            (category, chosen)
        }))
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

fn fieldset(category: Category, chosen: Option<bool>) -> String {
    let (title, yes, no) = match category {
        Category::Promotional => ("Offers and news", "Yes, send me offers and news", "No offers and news"),
        _ => ("Orders and appointments", "Yes, tell me about what I ordered or booked", "No messages about them"),
    };
    let name = category.as_str();
    let choice = |value: &str, checked: bool, words: &str| {
        // Nothing is chosen for who has not chosen: silence is no consent.
        let checked = if checked { " checked" } else { "" };
        format!("<label><input type=\"radio\" name=\"{name}\" value=\"{value}\"{checked}>{words}</label>")
    };
    let (yes, no) = (choice("in", chosen == Some(true), yes), choice("out", chosen == Some(false), no));
    format!("<fieldset><legend>{title}</legend>{yes}{no}</fieldset>\n")
}

async fn shown(app: &App, person: &Person, said: &str) -> Result<Response, Problem> {
    let fieldsets: String = person.choices(app).await?.iter().rev().map(|(c, chosen)| fieldset(*c, *chosen)).collect();
    let digits = person.phone.digits().to_string();
    let said = if said.is_empty() { String::new() } else { format!("<p class=\"said\" role=\"status\">{said}</p>") };
    // What stands in the page once is put in at last: the account's name may hold braces.
    let page = include_str!("preferences.html")
        .replace("{ending}", &digits[digits.len() - 3..])
        .replace("{said}", &said)
        .replace("{categories}", &fieldsets)
        .replace("{name}", &escaped(&person.name));
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, Html(page)).into_response())
}

/// Shows it.
pub(super) async fn open(
    State(app): State<App>,
    token: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let person = person(&app, token).await?;
    let said = if request.uri().query() == Some("saved") { "Saved. Thank you." } else { "" };
    shown(&app, &person, said).await
}

/// What the form says, and who sent it.
pub(super) struct Form {
    chosen: Vec<(Category, Status)>,
    ip: String,
    user_agent: String,
}

impl FromRequest<App> for Form {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        if !media_type(request.headers()).eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Code::UnsupportedMediaType.with("send the form of the page"));
        }
        let server = &app.config.server;
        let (proxies, header) = (&server.trusted_proxies, server.client_address_header);
        let client = Client::of(request.extensions(), request.headers(), proxies, header);
        let (ip, user_agent) = (client.address.to_string(), agent(request.headers()));
        let body = body_of(request, app, FORM_MAX).await?;
        let mut chosen = Vec::new();
        let wrong = || Code::InvalidRequest.with("send the form of the page as it is");
        for (name, value) in form_urlencoded::parse(&body) {
            if name == "none" {
                chosen = CATEGORIES.map(|category| (category, Status::OptedOut)).to_vec();
                break;
            }
            let category = Category::from_name(&name).filter(|c| CATEGORIES.contains(c)).ok_or_else(wrong)?;
            let status = match &*value {
                "in" => Status::OptedIn,
                "out" => Status::OptedOut,
                _ => return Err(wrong()),
            };
            if chosen.iter().any(|(known, _)| *known == category) {
                return Err(wrong());
            }
            chosen.push((category, status));
        }
        Ok(Form { chosen, ip, user_agent })
    }
}

fn agent(headers: &HeaderMap) -> String {
    let given = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
    given.chars().take(AGENT_MAX).collect()
}

/// Does what was chosen, and shows the page anew.
pub(super) async fn choose(
    State(app): State<App>,
    token: Result<Path<String>, PathRejection>,
    form: Form,
) -> Result<Response, Problem> {
    let person = person(&app, token).await?;
    let before = person.choices(&app).await?;
    let now = app.clock.now_ms();
    let record = |(category, status): &(Category, Status)| NewConsent {
        id: ConsentId::new(now, app.ids.next(), person.account),
        phone: person.phone.digits(),
        phone_tag: person.phone_tag,
        category: *category,
        status: *status,
        source: Source::Page,
        captured_at: now,
        detail: Detail {
            ip: Some(form.ip.clone()),
            user_agent: Some(form.user_agent.clone()).filter(|agent| !agent.is_empty()),
            ..Detail::default()
        },
        origin: None,
    };
    // What stays as it was is no new record.
    let same =
        |(category, status): &(Category, Status)| before.contains(&(*category, Some(*status == Status::OptedIn)));
    if !form.chosen.iter().all(same) {
        let records: Vec<_> = form.chosen.iter().map(record).collect();
        // Whoever hangs up must not leave half of it.
        let (work, account) = (app.clone(), person.account);
        let done = tokio::spawn(async move { consents::choose(&work, account, &records).await });
        done.await.map_err(|_| Code::Internal)??;
    }
    // Reloading the answer sends nothing again.
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, "?saved"), (header::REFERRER_POLICY, "no-referrer")])
        .into_response())
}
