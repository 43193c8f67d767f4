//! One bound session: takes what has arrived, hands it to the pipeline in one request for each lane, and answers after the commit.
//! Nothing is read while as many requests as the window allows wait for their answer, so a session's memory is bounded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use carillon_domain::account::Status;
use carillon_domain::id::{BatchId, MessageId};
use carillon_domain::message::Lane;
use carillon_domain::smpp::{CredentialSettings, ReceiptsWanted, SmppOrigin};
use carillon_smpp::decode::check_submit;
use carillon_smpp::pdu::{Address, Destination, MessageResp, SubmitMulti, SubmitMultiResp};
use carillon_smpp::{BindKind, CommandStatus, Event, Events, Pdu, ReplyTo, Session, SubmitSm, values};

use carillon_store::hot::{IntakeRequest, NewBatch, NewMessage, Step, Verdict};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::bind::Admitted;
use super::lines::Seat;
use super::status::{self, INSUFFICIENT_CREDIT, SUSPENDED};
use super::{read, requests};
use crate::access::Known;
use crate::app::App;
use crate::pipeline::Terms;
use crate::pipeline::prepare::{self, Content, Rules};
use crate::pipeline::{Offered, SubmitError};

/// Questions about messages that a session may have open: each costs a look into the database.
const QUESTIONS_MAX: usize = 8;
/// How long the peer may take to agree to our unbind.
const UNBIND_PATIENCE: Duration = Duration::from_secs(3);

/// Serves a session until it ends.
pub(super) async fn run(
    app: App,
    admitted: Admitted,
    kind: BindKind,
    version: u8,
    session: Session,
    mut events: Events,
) {
    let Admitted { seat, settings } = admitted;
    let line = seat.line.clone();
    seat.open(session.clone(), kind.receives(), version >= values::VERSION_3_4);
    let (id, inactivity) = (line.id, Duration::from_secs(app.config.smpp_server.inactivity_s));
    tracing::info!(credential = %id, ?kind, "SMPP session of {id} bound");
    let mut work = Work {
        app: &app,
        seat: &seat,
        settings: &settings,
        session: &session,
        waiting: VecDeque::new(),
        unanswered: 0,
        groups: Vec::new(),
        questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
    };
    let (mut inbox, mut active, mut ending) = (Vec::new(), Instant::now(), false);
    loop {
        let room = work.unanswered < usize::from(settings.window);
        tokio::select! {
            more = events.recv_many(&mut inbox), if room => {
                active = Instant::now();
                if work.take(&mut inbox, ending).await || !more {
                    break;
                }
            }
            decided = decided(&mut work.waiting), if !work.waiting.is_empty() => {
                active = Instant::now();
                work.answer(decided);
            }
            () = app.shutdown.cancelled(), if !ending => {
                ending = true;
                unbind_after(&session, Duration::ZERO);
            }
            () = tokio::time::sleep_until(active + inactivity), if !ending && !inactivity.is_zero() => {
                ending = true;
                unbind_after(&session, Duration::ZERO);
            }
        }
    }
    tracing::info!(credential = %id, "SMPP session of {id} over");
    // The writer has what was handed in; its answers find nobody.
    drop(seat);
}

/// Unbinds without waiting here: answers and acknowledgements come in meanwhile. A peer that does not agree is cut off.
fn unbind_after(session: &Session, pause: Duration) {
    let session = session.clone();
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        if tokio::time::timeout(UNBIND_PATIENCE, session.unbind()).await.is_err() {
            session.close();
        }
    });
}

/// Messages that came together and can be one request: of one lane, and all with a time of their own or none.
struct Group {
    lane: Lane,
    scheduled: bool,
    messages: Vec<NewMessage>,
    to: Vec<ReplyTo>,
}

/// Who waits for a verdict.
enum Askers {
    /// One message each, in order.
    Each(Vec<ReplyTo>),
    /// submit_multi: its batch, its destinations, and those refused before, by index.
    Multi { to: ReplyTo, batch: BatchId, destinations: Vec<Address>, refused: Vec<(usize, CommandStatus)> },
}

struct Waiting {
    offered: Offered,
    askers: Askers,
}

/// The first request's verdict: they are decided in order.
async fn decided(waiting: &mut VecDeque<Waiting>) -> Result<Verdict, SubmitError> {
    match waiting.front_mut() {
        Some(first) => first.offered.answer().await,
        None => std::future::pending().await,
    }
}

struct Work<'a> {
    app: &'a App,
    seat: &'a Seat,
    settings: &'a CredentialSettings,
    session: &'a Session,
    waiting: VecDeque<Waiting>,
    /// Submits that wait for their answer.
    unanswered: usize,
    groups: Vec<Group>,
    questions: Arc<Semaphore>,
}

/// What a batch of submits is judged by.
struct Judge<'a> {
    account: &'a Known,
    terms: &'a Terms,
    now: i64,
}

impl Work<'_> {
    /// Takes what the session says. Whether it is over.
    async fn take(&mut self, inbox: &mut Vec<Event>, ending: bool) -> bool {
        let line = &self.seat.line;
        let account = self.app.account(line.account).await;
        let terms = self.app.pipeline.terms();
        let now = self.app.clock.now_ms();
        let judge = match &account {
            Ok(account) if !ending => Ok(Judge { account, terms: &terms, now }),
            _ => Err(CommandStatus::RSYSERR),
        };
        let mut over = false;
        for event in inbox.drain(..) {
            match event {
                Event::Submit { to, sm } => self.submit(to, &sm, &judge),
                Event::Request { to, pdu } => self.request(to, pdu, &judge),
                Event::DeliverResp { token, status, .. } => line.mailbox.answered(token, status, Instant::now()),
                Event::NoAnswer { token } => line.mailbox.unanswered([token]),
                Event::Closed { reason, unanswered } => {
                    tracing::debug!(credential = %line.id, %reason, "SMPP session of {} ended: {reason}", line.id);
                    line.mailbox.unanswered(unanswered);
                    over = true;
                }
                Event::SubmitResp { .. }
                | Event::Response { .. }
                | Event::Deliver { .. }
                | Event::Alert(_)
                | Event::Nack { .. } => {}
            }
        }
        self.hand_in();
        over
    }

    fn request(&mut self, to: ReplyTo, pdu: Pdu, judge: &Result<Judge<'_>, CommandStatus>) {
        match pdu {
            Pdu::DataSm(data) => {
                let sm: SubmitSm = data.into();
                match check_submit(&sm) {
                    Ok(()) => self.submit(to, &sm, judge),
                    Err(error) => self.session.refuse(to, error.status),
                }
            }
            Pdu::SubmitMulti(multi) => {
                let done = judge.as_ref().map_err(|status| *status).and_then(|judge| self.multi(to, multi, judge));
                if let Err(status) = done {
                    self.session.refuse(to, status);
                }
            }
            pdu => {
                let Ok(turn) = self.questions.clone().try_acquire_owned() else {
                    return self.session.refuse(to, CommandStatus::RTHROTTLED);
                };
                let (app, line, session) = (self.app.clone(), self.seat.line.clone(), self.session.clone());
                tokio::spawn(async move {
                    requests::answer(&app, &line, &session, to, &pdu).await;
                    drop(turn);
                });
            }
        }
    }

    /// One message: into its group, or refused.
    fn submit(&mut self, to: ReplyTo, sm: &SubmitSm, judge: &Result<Judge<'_>, CommandStatus>) {
        let message = match judge {
            Ok(judge) => self.message(sm, judge),
            Err(status) => Err(*status),
        };
        let message = match message {
            Ok(message) => message,
            Err(status) => return self.session.refuse(to, status),
        };
        let (lane, scheduled) = (message.lane, message.due_at.is_some());
        let group = match self.groups.iter_mut().find(|g| g.lane == lane && g.scheduled == scheduled) {
            Some(group) => group,
            None => {
                self.groups.push(Group { lane, scheduled, messages: Vec::new(), to: Vec::new() });
                self.groups.last_mut().expect("just pushed")
            }
        };
        group.messages.push(message);
        group.to.push(to);
    }

    fn message(&self, sm: &SubmitSm, judge: &Judge<'_>) -> Result<NewMessage, CommandStatus> {
        self.may_submit(judge)?;
        let to = read::destination(&sm.destination)?;
        let rules = self.rules(judge);
        let content = self.content(sm, &rules)?;
        let phone = prepare::recipient(&to, rules.settings).map_err(|_| CommandStatus::RINVDSTADR)?;
        let message = content.message(&rules, phone, 0, true).map_err(|mistake| status::of_mistake(&mistake))?;
        if rules.suppressed.hold_new(rules.account, &message).is_some() {
            return Err(status::SUPPRESSED);
        }
        self.count(u64::from(message.parts));
        Ok(message)
    }

    fn may_submit(&self, judge: &Judge<'_>) -> Result<(), CommandStatus> {
        match judge.account.status {
            Status::Active => {}
            Status::Suspended => return Err(SUSPENDED),
            Status::Closed => return Err(CommandStatus::RSUBMITFAIL),
        }
        if self.seat.line.taken.lock().available(self.app.pipeline.now()) == 0 {
            return Err(CommandStatus::RTHROTTLED);
        }
        Ok(())
    }

    /// Counts parts against the credential's rate.
    fn count(&self, parts: u64) {
        self.seat.line.taken.lock().take(self.app.pipeline.now(), parts);
    }

    fn rules<'r>(&'r self, judge: &'r Judge<'_>) -> Rules<'r> {
        self.app.rules_of(self.seat.line.account, judge.account, judge.terms, judge.now)
    }

    fn content<B: AsRef<[u8]>>(&self, sm: &SubmitSm<B>, rules: &Rules<'_>) -> Result<Content, CommandStatus> {
        let reading = read::message(sm, self.settings, rules.now)?;
        let content = prepare::content(&reading.draft(), rules, &mut |below| rand::random_range(0..below));
        let mut content =
            content.map_err(|mistakes| mistakes.first().map_or(CommandStatus::RSUBMITFAIL, status::of_mistake))?;
        let receipts = ReceiptsWanted::from_bits(sm.registered_delivery & values::REGISTERED_MASK);
        let origin = SmppOrigin { credential: self.seat.line.credential, receipts, alphabet: reading.alphabet };
        content.flags = origin.mark(content.flags);
        Ok(content)
    }

    /// Many destinations: one batch, of which as many are taken as can be.
    fn multi(&mut self, to: ReplyTo, multi: SubmitMulti, judge: &Judge<'_>) -> Result<(), CommandStatus> {
        check_submit(&multi.message).map_err(|error| error.status)?;
        if !(1..=254).contains(&multi.destinations.len()) {
            return Err(CommandStatus::RINVNUMDESTS);
        }
        self.may_submit(judge)?;
        let rules = self.rules(judge);
        let content = self.content(&multi.message, &rules)?;
        let (mut messages, mut destinations, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (index, destination) in multi.destinations.into_iter().enumerate() {
            let (address, phone) = match destination {
                Destination::Address(address) => {
                    let phone = read::destination(&address)
                        .and_then(|to| prepare::recipient(&to, rules.settings).map_err(|_| CommandStatus::RINVDSTADR));
                    (address, phone)
                }
                // We keep no lists for customers.
                Destination::List(name) => (Address { ton: 0, npi: 0, addr: name }, Err(CommandStatus::RINVDLNAME)),
            };
            destinations.push(address);
            let message = phone.and_then(|phone| {
                let message = content.message(&rules, phone, index as u32, false);
                let message = message.map_err(|mistake| status::of_mistake(&mistake))?;
                let held = rules.suppressed.hold_new(rules.account, &message).is_some();
                if held { Err(status::SUPPRESSED) } else { Ok(message) }
            });
            match message {
                Ok(message) => messages.push(message),
                Err(status) => refused.push((index, status)),
            }
        }
        if messages.is_empty() {
            return Err(refused.first().map_or(CommandStatus::RINVNUMDESTS, |(_, status)| *status));
        }
        self.count(messages.iter().map(|m| u64::from(m.parts)).sum());
        let id = BatchId::new(judge.now, self.app.ids.next(), self.seat.line.account);
        let batch = NewBatch {
            id,
            body: Some(content.body.clone()),
            client_ref: None,
            tags: None,
            partial: true,
            refusals: refused.iter().map(|(index, _)| (*index as u32, "invalid_destination")).collect(),
        };
        let request = IntakeRequest { account: self.seat.line.account, key: None, step: Step::Batch(batch), messages };
        let offered = self.app.pipeline.offer(request).map_err(|error| status::of_submit_error(&error))?;
        self.unanswered += 1;
        self.waiting.push_back(Waiting { offered, askers: Askers::Multi { to, batch: id, destinations, refused } });
        Ok(())
    }

    /// Hands the groups to the pipeline.
    fn hand_in(&mut self) {
        for Group { messages, to, .. } in self.groups.drain(..) {
            let account = self.seat.line.account;
            let request = IntakeRequest { account, key: None, step: Step::Message, messages };
            match self.app.pipeline.offer(request) {
                Ok(offered) => {
                    self.unanswered += to.len();
                    self.waiting.push_back(Waiting { offered, askers: Askers::Each(to) });
                }
                Err(error) => {
                    let status = status::of_submit_error(&error);
                    to.into_iter().for_each(|to| self.session.refuse(to, status));
                }
            }
        }
    }

    /// The first request that waits was decided.
    fn answer(&mut self, decided: Result<Verdict, SubmitError>) {
        let Some(Waiting { askers, .. }) = self.waiting.pop_front() else { return };
        match askers {
            Askers::Each(to) => {
                self.unanswered -= to.len();
                let (first, count, status) = taken(decided);
                for (i, to) in to.into_iter().enumerate() {
                    match first.filter(|_| (i as u32) < count) {
                        Some(first) => self.accept(to, first.nth(i as u32)),
                        None => self.session.refuse(to, status),
                    }
                }
            }
            Askers::Multi { to, batch, destinations, refused } => {
                self.unanswered -= 1;
                self.answer_multi(to, batch, &destinations, refused, decided);
            }
        }
    }

    fn accept(&self, to: ReplyTo, id: MessageId) {
        let id = id.to_string();
        let resp = MessageResp { message_id: id.as_bytes(), ..MessageResp::default() };
        let pdu = match to.command {
            carillon_smpp::CommandId::DATA_SM => Pdu::DataSmResp(resp),
            _ => Pdu::SubmitSmResp(resp),
        };
        self.session.respond(to, CommandStatus::ROK, &pdu).expect("an id has thirty octets");
    }

    fn answer_multi(
        &self,
        to: ReplyTo,
        batch: BatchId,
        destinations: &[Address],
        mut refused: Vec<(usize, CommandStatus)>,
        decided: Result<Verdict, SubmitError>,
    ) {
        if let Ok(Verdict::Accepted { refusals, .. }) = &decided {
            let later = refusals.iter().map(|(index, code)| (*index as usize, status::of_refusal(code)));
            let later: Vec<_> = later.filter(|(index, _)| refused.iter().all(|(before, _)| before != index)).collect();
            refused.extend(later);
        }
        let (_, count, status) = taken(decided);
        if count == 0 {
            return self.session.refuse(to, status);
        }
        refused.sort_unstable_by_key(|(index, _)| *index);
        let id = batch.to_string();
        let unsuccess = refused.iter().filter_map(|(index, status)| {
            let Address { ton, npi, addr } = destinations.get(*index)?;
            Some((Address { ton: *ton, npi: *npi, addr: &addr[..] }, *status))
        });
        let resp =
            SubmitMultiResp { message_id: id.as_bytes(), unsuccess: unsuccess.collect(), ..SubmitMultiResp::default() };
        let written = self.session.respond(to, CommandStatus::ROK, &Pdu::SubmitMultiResp(resp));
        if let Err(error) = written {
            // An address that came in fits; a list's name may not.
            tracing::warn!(%error, "a submit_multi could not be answered in full: {error}");
            self.session.refuse(to, CommandStatus::RSYSERR);
        }
    }
}

/// The first id, how many were taken, and what the others are answered.
fn taken(decided: Result<Verdict, SubmitError>) -> (Option<MessageId>, u32, CommandStatus) {
    match decided {
        Ok(Verdict::Accepted { first, count, .. }) => (Some(first), count, INSUFFICIENT_CREDIT),
        Ok(Verdict::Short { .. }) => (None, 0, INSUFFICIENT_CREDIT),
        Ok(_) => (None, 0, CommandStatus::RSUBMITFAIL),
        Err(error) => (None, 0, status::of_submit_error(&error)),
    }
}
