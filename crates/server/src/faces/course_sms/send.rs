//! `POST /api/sms/send`: one text to courses, lead groups and individuals, each number once.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use carillon_domain::contact::{GroupKind, STATUS_DEFAULT, TAG_MAX, line};
use carillon_domain::id::AccountNo;
use carillon_store::contact_group::{self, Filter};
use carillon_store::source;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::history::Record;
use crate::access::Caller;
use crate::api::batches::{self, Prepared};
use crate::api::error::{Code, FieldError, Problem};
use crate::api::extract::{Can, MessagesSend, parse_json};
use crate::api::idempotency;
use crate::api::sending::{self, Raw, Sending};
use crate::app::App;
use crate::faces::renamed;
use crate::pipeline::prepare::{self, Mistake};

/// Elements of `recipients`: each may stand for many people, and most take a question to the database.
const RECIPIENTS_MAX: usize = 1_000;
/// What is to be sent, and to whom.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    message: String,
    recipients: Vec<Recipient>,
}

/// One element of `recipients`.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Recipient {
    /// A number.
    Individual { phone: String },
    /// Who takes part in a course, by the platform's own id of it.
    Course { id: String },
    /// Leads, by where they stand.
    LeadGroup { status: Option<String> },
}

/// What came of it.
#[derive(Serialize)]
struct Sent {
    success: bool,
    message_id: String,
    #[serde(flatten)]
    record: Record,
}

pub(super) async fn send(
    State(app): State<App>,
    caller: Can<MessagesSend>,
    headers: HeaderMap,
    Raw(bytes): Raw<false>,
) -> Result<Response, Problem> {
    // Whole groups of people are found and written to off the threads that serve everybody.
    let (work, runtime) = (app.clone(), tokio::runtime::Handle::current());
    let work = move || runtime.block_on(async { prepare(&work, caller.0, &headers, &bytes).await });
    let prepared = tokio::task::spawn_blocking(work).await.map_err(|_| Code::Internal)??;
    let (batch, replayed) = batches::accept(&app, prepared).await.map_err(in_our_words)?;
    let record = Record::of(batch);
    let sent = Sent { success: true, message_id: record.id.to_string(), record };
    let answer = sending::answer(StatusCode::OK, &sent);
    Ok(if replayed { idempotency::replayed(answer) } else { answer })
}

async fn prepare(app: &App, caller: Caller, headers: &HeaderMap, bytes: &Bytes) -> Result<Prepared, Problem> {
    let body: Body = parse_json(bytes)?;
    let key = idempotency::key(headers, "POST /api/sms/send", bytes)?;
    if !(1..=RECIPIENTS_MAX).contains(&body.recipients.len()) {
        let code = if body.recipients.is_empty() { Code::TooShort } else { Code::TooLong };
        return Err(code.at("#/recipients", "1 to 1,000 recipients; a course or lead group counts as one"));
    }
    let mut problem = Problem::from(Code::InvalidRequest);
    let mut to = Vec::with_capacity(body.recipients.len());
    for (index, recipient) in body.recipients.iter().enumerate() {
        match translated(app, &caller, index, recipient).await? {
            Ok(recipient) => to.push(recipient),
            Err(wrong) => problem.errors.push(wrong),
        }
    }
    if !problem.errors.is_empty() {
        problem.errors.truncate(sending::ERRORS_MAX);
        return Err(problem);
    }
    // People in a group who must not be written to are left out, and do not hinder the others.
    let batch = json!({"text": body.message, "to": to, "partial": true}).to_string();
    let sending = Sending::read(batch.as_bytes()).map_err(in_our_words)?;
    let mut prepared = batches::prepare(app, caller, key, sending).await.map_err(in_our_words)?;
    // Too little money refuses the whole: nobody chose whom to leave out.
    prepared.batch.partial = false;
    Ok(prepared)
}

/// A recipient as a batch has it.
async fn translated(
    app: &App,
    caller: &Caller,
    index: usize,
    recipient: &Recipient,
) -> Result<Result<Value, FieldError>, Problem> {
    let account = caller.account;
    Ok(match recipient {
        Recipient::Individual { phone } => match prepare::recipient(phone, &caller.info.settings) {
            Ok(_) => Ok(json!(phone)),
            Err(e) => {
                let Mistake { code, detail, suggestion, .. } = Mistake::phone(e, None);
                Err(FieldError { pointer: format!("#/recipients/{index}/phone").into(), code, detail, suggestion })
            }
        },
        Recipient::Course { id } => match source_of(app, account, "course", id).await? {
            Some(source) => Ok(source),
            None => {
                let filter = Filter { kind: Some(GroupKind::Course), external_id: Some(id), contact: None };
                let found = contact_group::list(&app.db, account, filter, None, 1).await?;
                found.first().map(|group| json!({"group": group.id.to_string()})).ok_or_else(|| FieldError {
                    pointer: format!("#/recipients/{index}/id").into(),
                    code: Code::NotFound.as_str(),
                    detail: "no course has this external_id, and no source is named `course:` and it".into(),
                    suggestion: None,
                })
            }
        },
        Recipient::LeadGroup { status } => {
            let status = status.as_deref().unwrap_or(STATUS_DEFAULT);
            if line(status, TAG_MAX).is_err() {
                return Ok(Err(FieldError {
                    pointer: format!("#/recipients/{index}/status").into(),
                    code: Code::InvalidValue.as_str(),
                    detail: "a status is 1 to 40 characters".into(),
                    suggestion: None,
                }));
            }
            let source = source_of(app, account, "lead_group", status).await?;
            Ok(source.unwrap_or_else(|| json!({"status": status})))
        }
    })
}

/// The source that a platform has set up for this very course or lead group: its own tables go before copies of them.
async fn source_of(app: &App, account: AccountNo, kind: &str, name: &str) -> Result<Option<Value>, Problem> {
    let source = source::by_name(&app.db, account, &format!("{kind}:{name}")).await?;
    Ok(source.map(|source| json!({"source": source.id.to_string()})))
}

fn in_our_words(problem: Problem) -> Problem {
    renamed(problem, &[("text", "message"), ("to", "recipients")])
}
