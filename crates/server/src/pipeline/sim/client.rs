//! Those who ask: single messages, batches large and small, one-time codes, scheduled ones, cancels, and keys used twice.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use carillon_domain::id::{AccountNo, BatchId, MessageId};
use carillon_domain::message::{Category, Flags, Lane};
use carillon_domain::money::Money;
use carillon_store::hot::{IdempotencyKey, IntakeRequest, NewBatch, NewMessage, Step, Totals, Verdict};
use uuid::Uuid;

use super::laws::{Asked, Ended};
use super::{ACCOUNTS, PRICE, World};
use crate::pipeline::{CancelOutcome, OtpAnswer, Pipeline, SubmitError};

/// What a client heard in the end.
pub(super) enum Told {
    /// Of a request, and of its one-time code.
    Decided {
        label: u32,
        verdict: Result<Verdict, SubmitError>,
        code: Option<OtpAnswer>,
    },
    /// Of a large batch that was sealed; or of its refusal, if nothing of it is stored.
    Loaded {
        label: u32,
        taken: Option<Vec<(MessageId, u32)>>,
    },
    Canceled {
        id: MessageId,
        outcome: Result<CancelOutcome, SubmitError>,
    },
}

/// What is asked, for the reader of a failure, and who asks it.
pub(super) type Client = (String, Pin<Box<dyn Future<Output = Told>>>);

/// A large batch goes in steps, each offered until it is taken (as `api::loading` does).
async fn load(pipeline: Pipeline, label: u32, steps: Vec<IntakeRequest>) -> Told {
    let mut taken = Vec::new();
    for (i, step) in steps.into_iter().enumerate() {
        loop {
            match pipeline.submit(step.clone()).await {
                Ok(Verdict::Accepted { first, count, .. }) => break taken.push((first, count)),
                Ok(verdict) => {
                    assert!(i == 0, "a step of a large batch was answered {verdict:?}");
                    return Told::Loaded { label, taken: None };
                }
                Err(_) if i == 0 => return Told::Loaded { label, taken: None },
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
    Told::Loaded { label, taken: Some(taken) }
}

impl World {
    fn message(&mut self, lane: Lane, label: u32, index: u32, own_body: bool) -> NewMessage {
        let phone = if self.dice.chance(15) {
            4_915_100_000_000 + self.dice.below(3)
        } else {
            self.phones += 1;
            4_915_200_000_000 + self.phones
        };
        let parts = if self.dice.chance(20) { self.dice.between(2, 3) as u8 } else { 1 };
        let code = lane == Lane::Otp;
        let validity = if code { self.otp_deadline_ms } else { self.dice.pick(&[2_000, 20_000, 600_000, 600_000]) };
        NewMessage {
            index,
            lane,
            category: if code { Category::Otp } else { Category::Transactional },
            flags: Flags::default()
                .with(Flags::OTP, code)
                .with(Flags::PAY_ON_ACCEPT, code && self.dice.chance(70))
                .with(Flags::EVENTS, self.dice.chance(10)),
            encoding: 0,
            parts,
            phone,
            phone_tag: phone as i64,
            country: None,
            sender: None,
            body: label.to_string().into(),
            own_body,
            otp_code: None,
            unit_price: Money(PRICE),
            reference: (parts > 1).then_some(label as u16),
            due_at: None,
            expires_at: self.wall() + validity,
            extra: None,
        }
    }

    fn label(&mut self, messages: u32, partial: bool) -> u32 {
        let label = self.laws.asked.len() as u32;
        self.laws.asked.insert(label, Asked { messages, partial, asked: 1, ..Asked::default() });
        label
    }

    fn batch(&mut self, account: AccountNo, label: u32, partial: bool) -> NewBatch {
        NewBatch {
            id: BatchId::new(self.wall(), u64::from(label), account),
            body: Some(Arc::from(label.to_string())),
            client_ref: None,
            tags: None,
            partial,
            refusals: Vec::new(),
        }
    }

    /// Someone wants something.
    pub(super) fn ask(&mut self) {
        let account = self.accounts[self.dice.below(ACCOUNTS) as usize];
        match self.dice.below(20) {
            0..7 => self.ask_one(account),
            7..10 => self.ask_code(account),
            10..13 => self.ask_batch(account),
            13 => self.ask_large(account),
            14..16 => self.ask_again(),
            16..19 if !self.laws.orderly => self.cancel_some(),
            _ => self.top_up(account),
        }
    }

    fn ask_one(&mut self, account: AccountNo) {
        let label = self.label(1, false);
        let lane = self.dice.pick(&[Lane::Normal, Lane::Normal, Lane::Express]);
        let mut message = self.message(lane, label, 0, true);
        if self.dice.chance(20) {
            let wait = self.dice.between(100, 20_000) as i64;
            message.due_at = Some(self.wall() + wait);
            message.expires_at += wait;
        }
        let key =
            self.dice.chance(30).then(|| IdempotencyKey { key: u128::from(label).to_be_bytes(), fingerprint: [0; 16] });
        let request = IntakeRequest { account, key, step: Step::Message, messages: vec![message] };
        if key.is_some() {
            self.keyed.push((label, request.clone()));
        }
        self.submit_request(label, request);
    }

    fn submit_request(&mut self, label: u32, request: IntakeRequest) {
        let pipeline = self.pipeline().clone();
        let client = async move { Told::Decided { label, verdict: pipeline.submit(request).await, code: None } };
        self.clients.push((format!("request {label}"), Box::pin(client)));
    }

    fn ask_code(&mut self, account: AccountNo) {
        let label = self.label(1, false);
        let message = self.message(Lane::Otp, label, 0, true);
        let request = IntakeRequest { account, key: None, step: Step::Message, messages: vec![message] };
        let pipeline = self.pipeline().clone();
        let client = async move {
            match pipeline.submit_otp(request).await {
                Ok((verdict, code)) => Told::Decided { label, verdict: Ok(verdict), code },
                Err(e) => Told::Decided { label, verdict: Err(e), code: None },
            }
        };
        self.clients.push((format!("code {label}"), Box::pin(client)));
    }

    fn ask_batch(&mut self, account: AccountNo) {
        let count = self.dice.between(2, 12) as u32;
        let partial = self.dice.chance(50);
        let label = self.label(count, partial);
        let own_body = self.dice.chance(50);
        let mut messages: Vec<_> = (0..count).map(|i| self.message(Lane::Bulk, label, i, own_body)).collect();
        if self.dice.chance(15) {
            let wait = self.dice.between(100, 5_000) as i64;
            for message in &mut messages {
                message.due_at = Some(self.wall() + wait);
                message.expires_at += wait;
            }
        }
        let step = Step::Batch(self.batch(account, label, partial));
        self.submit_request(label, IntakeRequest { account, key: None, step, messages });
    }

    fn ask_large(&mut self, account: AccountNo) {
        let chunks = self.dice.between(1, 4) as u32;
        let size = self.dice.between(1, 8) as u32;
        let count = chunks * size;
        let label = self.label(count, false);
        self.laws.asked.get_mut(&label).expect("it was just asked").large = true;
        let messages: Vec<_> = (0..count).map(|i| self.message(Lane::Bulk, label, i, false)).collect();
        let batch = self.batch(account, label, false);
        let id = batch.id;
        let parts: u64 = messages.iter().map(|m| u64::from(m.parts)).sum();
        let totals = Totals { messages: count, parts, held: Money(PRICE) * parts as i64 };
        let request = |step, messages| IntakeRequest { account, key: None, step, messages };
        let mut steps = vec![request(Step::Open(batch, totals), Vec::new())];
        steps.extend(messages.chunks(size as usize).map(|chunk| request(Step::Chunk(id), chunk.to_vec())));
        steps.push(request(Step::Seal(id), Vec::new()));
        let client = load(self.pipeline().clone(), label, steps);
        self.clients.push((format!("large batch {label}"), Box::pin(client)));
    }

    /// The same request with the same key once more, or another with it.
    fn ask_again(&mut self) {
        let Some((label, request)) = self.keyed.last().cloned() else { return };
        if self.dice.chance(80) {
            self.laws.asked.get_mut(&label).expect("it was asked before").asked += 1;
            return self.submit_request(label, request);
        }
        let other = self.label(1, false);
        let mut message = self.message(Lane::Normal, other, 0, true);
        message.due_at = None;
        // If the first was refused, this one is taken, and the first one's repetition is the stranger.
        let key = request.key.map(|k| IdempotencyKey { fingerprint: u128::from(other).to_be_bytes(), ..k });
        self.submit_request(
            other,
            IntakeRequest { account: request.account, key, step: Step::Message, messages: vec![message] },
        );
    }

    fn cancel_some(&mut self) {
        if self.known.is_empty() {
            return;
        }
        // Rather a young one: there is more to lose.
        let back = self.dice.below(10).min(self.known.len() as u64 - 1) as usize;
        let id = self.known[self.known.len() - 1 - back];
        let pipeline = self.pipeline().clone();
        let client = async move { Told::Canceled { id, outcome: pipeline.cancel(id).await } };
        self.clients.push((format!("cancel {id}"), Box::pin(client)));
    }

    /// Clients go on as far as they can; what they heard is noted.
    pub(super) fn serve(&mut self) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut told = Vec::new();
        self.clients.retain_mut(|(_, client)| match client.as_mut().poll(&mut context) {
            std::task::Poll::Ready(heard) => {
                told.push(heard);
                false
            }
            std::task::Poll::Pending => true,
        });
        for heard in told {
            self.note(heard);
        }
    }

    fn note(&mut self, told: Told) {
        match told {
            Told::Decided { label, verdict: Ok(Verdict::Accepted { first, count, .. }), code } => {
                self.took(label, count, first.0);
                self.known.extend((0..count).map(|i| first.nth(i)));
                if let Some(code) = code {
                    self.laws.codes.insert(first, code == OtpAnswer::Sent);
                    let (sent, failed) = &mut self.laws.tally.codes;
                    *(if code == OtpAnswer::Sent { sent } else { failed }) += 1;
                    if code != OtpAnswer::Sent {
                        self.laws.ended(first, Ended::CodeFailed);
                    }
                }
            }
            Told::Decided { label, verdict: Ok(Verdict::Replayed { resource }), .. } => {
                self.laws.tally.replayed += 1;
                self.took(label, 1, resource);
            }
            Told::Decided { label, .. } | Told::Loaded { label, taken: None } => {
                self.laws.tally.refused += 1;
                self.laws.asked.get_mut(&label).expect("it was asked").refused += 1;
            }
            Told::Loaded { label, taken: Some(taken) } => {
                let count = taken.iter().map(|(_, count)| count).sum();
                self.took(label, count, Uuid::nil());
                for (first, count) in taken.into_iter().filter(|(_, count)| *count > 0) {
                    self.known.extend((0..count).map(|i| first.nth(i)));
                }
            }
            Told::Canceled { id, outcome: Ok(CancelOutcome::Canceled) } => self.laws.ended(id, Ended::Canceled),
            Told::Canceled { id, outcome } => {
                assert_ne!(outcome, Ok(CancelOutcome::Unknown), "{id} was accepted and is not known");
            }
        }
    }

    fn took(&mut self, label: u32, count: u32, resource: Uuid) {
        let asked = self.laws.asked.get_mut(&label).expect("it was asked");
        if let Some((before, first)) = asked.taken {
            assert_eq!((before, first), (count, resource), "request {label} was taken twice");
        }
        asked.taken = Some((count, resource));
    }
}
