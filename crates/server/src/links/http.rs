//! An HTTP connection at work: pulls when a request may be made and a token is there, sends each message whole, and reports what the
//! carrier said. The provider's own language is `carillon_providers`; here is only what is the same for all of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use carillon_domain::encoding::Encoding;
use carillon_domain::error_code::{ErrorCode, SendError, SendErrorKind};
use carillon_domain::media::{Carries, MessageFile};
use carillon_domain::message::Flags;
use carillon_domain::phone::Phone;
use carillon_providers::{self as providers, Accepted, Content, Credentials, Method, Outbound, Provider};
use carillon_store::hot::QueuedMessage;
use reqwest::Client;
use reqwest::header::RETRY_AFTER;
use rustc_hash::FxHashMap;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::{BREAKER_PAUSE, Shared};
use crate::notify::guard::Guard;
use crate::pipeline::dispatch::Answer;
use crate::pipeline::queue::Job;

/// What an HTTP connection speaks, and with whom.
pub(super) struct Carrier {
    pub(super) provider: Provider,
    pub(super) credentials: Credentials,
    pub(super) client: Client,
    /// What files go with a message.
    pub(super) carries: Carries,
    /// Where its receipts come in, if this server knows its own address.
    pub(super) callback_url: Option<String>,
}

/// An answer's body is read so far, octets: longer ones are no answer to a submit.
const BODY_MAX: usize = 64 * 1024;
/// Without a connection by then nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A carrier that asks for a longer pause is asked again after this.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The client of all HTTP connections: connections are kept and shared, HTTP/2 where the carrier speaks it. Redirects are not followed:
/// they would carry credentials to whoever answers.
///
/// With `public_only` names lead to the public internet or nowhere; addresses written out are checked where they are set.
pub(super) fn client(public_only: bool) -> Result<Client, reqwest::Error> {
    // Only fails if one is installed already, which is as good.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder();
    let builder = if public_only { builder.dns_resolver(Arc::new(Guard::STRICT)).no_proxy() } else { builder };
    builder
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_secs(60))
        .user_agent(concat!("Carillon/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// What came back of one request.
struct Said {
    result: Result<Accepted, SendError>,
    retry_after: Option<Duration>,
}

struct Work {
    shared: Arc<Shared>,
    carrier: Arc<Carrier>,
    requests: JoinSet<Said>,
    /// The messages of the requests: a task that dies leaves its message here.
    in_flight: FxHashMap<Id, Box<Job>>,
    pulled: Vec<Box<Job>>,
    done: Vec<(Box<Job>, Vec<(u8, Answer)>)>,
    throttles: u32,
    pause_until: Option<Instant>,
    tripped: bool,
}

/// Works until the links stop and all answers are in.
pub(super) async fn run(shared: Arc<Shared>, carrier: Arc<Carrier>) {
    shared.pipeline.set_bound(shared.index, 1);
    let mut work = Work {
        shared: shared.clone(),
        carrier,
        requests: JoinSet::new(),
        in_flight: FxHashMap::default(),
        pulled: Vec::new(),
        done: Vec::new(),
        throttles: 0,
        pause_until: None,
        tripped: false,
    };
    loop {
        let stopping = shared.stop.is_cancelled();
        if stopping && work.requests.is_empty() {
            break;
        }
        let wait = if stopping { None } else { work.fill() };
        tokio::select! {
            Some(over) = work.requests.join_next_with_id() => {
                work.over(over);
                while let Some(over) = work.requests.try_join_next_with_id() {
                    work.over(over);
                }
                work.report();
            }
            () = shared.pipeline.woken(shared.index, 0), if !stopping => {}
            () = super::sleep_until(wait), if wait.is_some() => {}
            () = shared.stop.cancelled(), if !stopping => {}
        }
        if work.tripped {
            work.tripped = false;
            shared.open_breaker();
            work.pause_until = Some(Instant::now() + BREAKER_PAUSE);
        }
    }
    shared.pipeline.set_bound(shared.index, 0);
}

impl Work {
    /// Pulls and sends while there is room. When to look again if a token or a pause is all that is missing.
    fn fill(&mut self) -> Option<Instant> {
        let shared = self.shared.clone();
        loop {
            let at = Instant::now();
            if let Some(until) = self.pause_until {
                if until > at {
                    return Some(until);
                }
                self.pause_until = None;
            }
            let (window, busy) = (i64::from(shared.settings.window), self.requests.len() as i64);
            let mut room = (window - busy).min(shared.room_in_doubt());
            let trial = shared.breaker.trial.load(Ordering::Relaxed);
            if trial {
                room = room.min(1 - busy);
            }
            if room <= 0 {
                return None;
            }
            let now = shared.pipeline.now();
            let turn = shared.turn(room, trial, now);
            if turn.room > 0 {
                shared.pipeline.pull(shared.index, turn.room, turn.otp_only, &mut self.pulled);
            }
            if self.pulled.is_empty() {
                return turn.again_at.map(|free| at + Duration::from_millis(free - now));
            }
            for job in std::mem::take(&mut self.pulled) {
                self.submit(job, now);
            }
            self.report();
        }
    }

    /// Makes one request of one message.
    fn submit(&mut self, job: Box<Job>, now: u64) {
        let shared = &self.shared;
        match request(&job, &self.carrier, shared.clock.now_ms()) {
            Err(error) => self.done.push(refused(job, &error)),
            Ok(request) => {
                shared.rate.lock().take(now, job.pending().len() as u64);
                let (carrier, timeout) = (self.carrier.clone(), shared.settings.response_timeout_ms);
                let task =
                    self.requests.spawn(async move { carrier.ask(request, Duration::from_millis(timeout)).await });
                self.in_flight.insert(task.id(), job);
            }
        }
    }

    fn over(&mut self, over: Result<(Id, Said), JoinError>) {
        let (id, said) = match over {
            Ok(over) => over,
            Err(died) => {
                let result = Err(SendError::unknown("the request was dropped"));
                (died.id(), Said { result, retry_after: None })
            }
        };
        let Some(job) = self.in_flight.remove(&id) else { return };
        match &said.result {
            Ok(_) => {
                self.throttles = 0;
                self.shared.breaker.success();
            }
            Err(error) => self.heed(error, said.retry_after),
        }
        self.done.push(match said.result {
            Ok(accepted) => taken(job, accepted),
            Err(error) => refused(job, &error),
        });
    }

    /// What an error means for the connection, apart from its message.
    fn heed(&mut self, error: &SendError, retry_after: Option<Duration>) {
        let shared = &self.shared;
        match error.kind {
            SendErrorKind::Throttled => {
                // 100 ms, doubling to some seconds while nothing but throttles comes.
                let pause = Duration::from_millis(100 << self.throttles.min(6));
                self.throttles += 1;
                self.pause(retry_after.unwrap_or(pause));
            }
            SendErrorKind::ConnectionFatal => {
                shared.pipeline.trouble(shared.index, error.carrier.clone());
                self.tripped = true;
            }
            SendErrorKind::Temporary { .. } | SendErrorKind::Unknown => {
                self.tripped |= shared.breaker.failure();
                if let Some(pause) = retry_after {
                    self.pause(pause);
                }
            }
            SendErrorKind::FailOver | SendErrorKind::Permanent => shared.breaker.success(),
        }
    }

    fn pause(&mut self, pause: Duration) {
        let until = Instant::now() + pause.min(PAUSE_MAX);
        self.pause_until = Some(self.pause_until.map_or(until, |before| before.max(until)));
    }

    fn report(&mut self) {
        if !self.done.is_empty() {
            self.shared.pipeline.answered(self.shared.index, self.done.drain(..));
        }
    }
}

fn refused(job: Box<Job>, error: &SendError) -> (Box<Job>, Vec<(u8, Answer)>) {
    let answers = job.pending().into_iter().map(|part| (part, Answer::Refused(error.clone()))).collect();
    (job, answers)
}

/// One answer for all parts, or one for each. A part that was refused while others went out stays refused: asked again, the carrier
/// would send the others twice.
fn taken(job: Box<Job>, accepted: Accepted) -> (Box<Job>, Vec<(u8, Answer)>) {
    let answer = |part: usize| match &accepted {
        Accepted::Message(id) => Answer::Accepted(id.clone()),
        // A carrier that cuts otherwise than we planned: what is left goes with the last.
        Accepted::Parts(parts) => match parts.get(part).or(parts.last()) {
            Some(Ok(id)) => Answer::Accepted(id.clone()),
            Some(Err(error)) => Answer::Refused(SendError { kind: SendErrorKind::Permanent, ..error.clone() }),
            None => Answer::Refused(SendError::unknown("an answer without parts")),
        },
    };
    let answers = job.pending().into_iter().map(|part| (part, answer(part.into()))).collect();
    (job, answers)
}

/// The request of a message, or why there is none.
fn request(job: &Job, carrier: &Carrier, now_ms: i64) -> Result<providers::Request, SendError> {
    let m = &job.message;
    let invalid = |what: &str| SendError {
        kind: SendErrorKind::Permanent,
        code: ErrorCode::MessageInvalid,
        carrier: what.to_owned(),
    };
    let parts = m.parts.as_slice().len();
    if job.pending().len() < parts {
        return Err(invalid("some of its parts went another way, and this carrier takes whole messages only"));
    }
    let to = Phone::from_digits(m.phone).ok_or_else(|| invalid("its number is none"))?;
    let encoding = Encoding::from_number(m.encoding).ok_or_else(|| invalid("its encoding is none"))?;
    let octets = octets(m).map_err(|_| invalid("its body is no base64"))?;
    let (text, media) = wording(m, carrier.carries)?;
    let id = m.id.to_string();
    let outbound = Outbound {
        id: &id,
        to,
        from: m.sender.as_deref(),
        content: octets.as_deref().map_or(Content::Text(text), Content::Binary),
        encoding,
        parts: parts as u8,
        flash: m.flags.has(Flags::FLASH),
        validity_s: u32::try_from((m.expires_at - now_ms) / 1000).unwrap_or(1).max(1),
        media,
        category: m.flags.category(),
        callback_url: carrier.callback_url.as_deref(),
        now_ms,
    };
    carrier.provider.request(&outbound, &carrier.credentials)
}

/// What it says here: its text beside its files where the connection takes them, else its text, which ends with links to them.
fn wording(message: &QueuedMessage, carries: Carries) -> Result<(&str, &[MessageFile]), SendError> {
    match message.mms.as_deref() {
        Some(mms) if carries.all(mms) => Ok((mms.caption(&message.body), &mms.files)),
        Some(mms) if !mms.links => Err(super::takes_no_files()),
        _ => Ok((&message.body, &[])),
    }
}

/// The octets of a binary message; of a text none.
fn octets(message: &QueuedMessage) -> Result<Option<Vec<u8>>, base64::DecodeError> {
    let binary = message.flags.has(Flags::BINARY);
    binary.then(|| STANDARD.decode(message.body.as_bytes())).transpose()
}

impl Carrier {
    async fn ask(&self, request: providers::Request, timeout: Duration) -> Said {
        match exchange(&self.client, request, timeout).await {
            Err(error) => Said { result: Err(error), retry_after: None },
            Ok((status, retry_after, body)) => {
                let answer = providers::Response { status, body: &body };
                Said { result: self.provider.response(&answer, &self.credentials), retry_after }
            }
        }
    }
}

type Answered = (u16, Option<Duration>, Vec<u8>);

async fn exchange(client: &Client, request: providers::Request, timeout: Duration) -> Result<Answered, SendError> {
    let method = match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
    };
    let mut asked = client.request(method, request.url).timeout(timeout).body(request.body);
    for (name, value) in request.headers {
        asked = asked.header(name, value);
    }
    let mut response = asked.send().await.map_err(|e| unanswered(&e))?;
    let status = response.status().as_u16();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= BODY_MAX => body.extend_from_slice(&chunk),
            Ok(None) => break,
            // What was promised by the status and cannot be read may have been a yes.
            Ok(Some(_)) | Err(_) if status < 300 => {
                return Err(SendError::unknown("the answer broke off or had no end"));
            }
            Ok(Some(_)) | Err(_) => break,
        }
    }
    Ok((status, seconds.map(Duration::from_secs), body))
}

/// Why there is no answer. The library's own words are not used: they hold the address, and it may hold credentials.
fn unanswered(error: &reqwest::Error) -> SendError {
    let refused = |kind, code, carrier: &str| SendError { kind, code, carrier: carrier.to_owned() };
    if error.is_builder() {
        return refused(SendErrorKind::FailOver, ErrorCode::CarrierError, "http: the settings make no request");
    }
    if error.is_connect() {
        // Nothing was written: the message is unharmed.
        return refused(
            SendErrorKind::ConnectionFatal,
            ErrorCode::CarrierUnavailable,
            "http: the carrier is not reached",
        );
    }
    SendError::unknown(if error.is_timeout() {
        "http: no answer in time"
    } else {
        "http: the connection broke before the answer"
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::response::Redirect;
    use axum::routing::any;

    use super::*;

    /// A carrier of an account's own could lead into the operator's network by its name, or by sending us elsewhere.
    #[tokio::test]
    async fn names_lead_to_the_public_internet_and_redirects_nowhere() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let away = any(|| async { Redirect::temporary("http://127.0.0.1:1/") });
        tokio::spawn(axum::serve(listener, Router::new().route("/send", away)).into_future());
        for (public_only, expected) in [(false, Some(307)), (true, None)] {
            let asked = client(public_only).unwrap().post(format!("http://localhost:{port}/send")).send().await;
            assert_eq!(asked.ok().map(|answer| answer.status().as_u16()), expected, "public only: {public_only}");
        }
    }
}
