//! What intake decides, given what it read: pure, and the same for both databases.

use std::collections::{BTreeMap, HashMap};

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::message::Lane;
use carillon_domain::money::Money;
use uuid::Uuid;

use super::{
    DueSpan, IdSource, IdempotencyKey, IntakeRequest, NewBatch, NewMessage, RunStep, SpanKey, Step, Totals, Verdict,
};

/// What was read before deciding.
#[derive(Default)]
pub(crate) struct Read {
    /// Available money of each account of the requests that exists.
    pub(crate) available: HashMap<AccountNo, Money>,
    /// Keys already used: fingerprint and resource.
    pub(crate) keys: HashMap<(AccountNo, [u8; 16]), ([u8; 16], Uuid)>,
    /// Cursors of the requests' runs whose campaign runs.
    pub(crate) runs: HashMap<(AccountNo, Uuid), i64>,
}

/// Kinds of the `idempotency.kind` column.
const MESSAGE: i16 = 0;
const BATCH: i16 = 1;

/// A key to be recorded with its resource.
pub(crate) struct UsedKey {
    pub(crate) account: AccountNo,
    pub(crate) key: IdempotencyKey,
    pub(crate) resource: Uuid,
    pub(crate) kind: i16,
}

/// A batch row to be written.
pub(crate) struct BatchRow<'a> {
    pub(crate) account: AccountNo,
    pub(crate) batch: &'a NewBatch,
    pub(crate) accepted: bool,
    pub(crate) totals: Totals,
    pub(crate) refusals: Vec<(u32, &'static str)>,
}

/// A run that moves on.
pub(crate) struct RunMove<'a> {
    pub(crate) account: AccountNo,
    pub(crate) step: &'a RunStep,
    pub(crate) totals: Totals,
    /// How many of its messages have a time of their own.
    pub(crate) deferred: u32,
}

/// What is to be written, and what is to be answered.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) holds: BTreeMap<AccountNo, Money>,
    pub(crate) spans: Vec<DueSpan>,
    pub(crate) keys: Vec<UsedKey>,
    pub(crate) batches: Vec<BatchRow<'a>>,
    pub(crate) sealed: Vec<(AccountNo, Uuid)>,
    pub(crate) discarded: Vec<(AccountNo, Uuid)>,
    pub(crate) runs: Vec<RunMove<'a>>,
}

/// Ids of one account in this commit: places are counted per lane, so that each span is consecutive, and apart for what makes no
/// span of its lane: messages with times of their own, and chunks of large batches.
#[derive(Default)]
struct Places {
    counts: [u32; GROUPS],
}

const GROUPS: usize = 6;
const SCHEDULED: usize = 4;
/// Each chunk is a span by itself, which waits for its batch's seal.
const CHUNKS: usize = 5;

fn group(request: &IntakeRequest, first: &NewMessage) -> usize {
    match request.step {
        _ if first.due_at.is_some() => SCHEDULED,
        Step::Chunk(_) => CHUNKS,
        _ => first.lane as usize,
    }
}

/// Decides every request in order of arrival.
pub(crate) fn plan<'a>(requests: &'a [IntakeRequest], read: &Read, ids: &mut IdSource, now: i64) -> Plan<'a> {
    let mut plan = Plan::default();
    let mut used = Used::new();
    let mut places: BTreeMap<AccountNo, Places> = BTreeMap::new();
    // First pass: who is taken, and how many. Ids can only be given once the sizes of all groups are known.
    let mut taken: Vec<Option<u32>> = Vec::with_capacity(requests.len());
    let mut repeats: Vec<(usize, usize)> = Vec::new();
    let mut moved: Vec<(AccountNo, Uuid)> = Vec::new();
    for (i, request) in requests.iter().enumerate() {
        let account = request.account;
        let (verdict, count) = if let Some((verdict, earlier)) = repeated(request, read, &used) {
            if let Some(earlier) = earlier {
                repeats.push((i, earlier));
            }
            (verdict, None)
        } else if is_stale(request, read, &moved) {
            (Verdict::Stale, None)
        } else {
            match read.available.get(&account) {
                None => (Verdict::NoAccount, None),
                Some(available) => {
                    let held = plan.holds.entry(account).or_default();
                    decide(request, *available - *held, held)
                }
            }
        };
        if let (Some(_), Step::Run(step)) = (count, &request.step) {
            moved.push((account, step.run.0));
        }
        if let (Some(_), Some(key)) = (count, request.key) {
            used.insert((account, key.key), (key.fingerprint, i));
        }
        if let (Some(count), Some(first)) = (count, request.messages.first()) {
            debug_assert!(
                request.messages.iter().all(|m| group(request, m) == group(request, first)),
                "a request's messages are of one group"
            );
            places.entry(account).or_default().counts[group(request, first)] += count;
        }
        taken.push(count);
        plan.verdicts.push(verdict);
    }
    assign(requests, &taken, &places, &mut plan, ids, now);
    for (i, earlier) in repeats {
        let resource =
            plan.keys.iter().find(|k| requests[earlier].key == Some(k.key) && k.account == requests[earlier].account);
        plan.verdicts[i] =
            Verdict::Replayed { resource: resource.expect("the earlier request was taken with its key").resource };
    }
    plan.holds.retain(|_, held| *held != Money::ZERO);
    plan
}

type Used = HashMap<(AccountNo, [u8; 16]), ([u8; 16], usize)>;

/// Whether the request's key was used before: in the store, or earlier in this commit (then which request).
fn repeated(request: &IntakeRequest, read: &Read, used: &Used) -> Option<(Verdict, Option<usize>)> {
    let key = request.key?;
    let at = (request.account, key.key);
    if let Some((fingerprint, resource)) = read.keys.get(&at) {
        let same = *fingerprint == key.fingerprint;
        return Some((if same { Verdict::Replayed { resource: *resource } } else { Verdict::KeyReused }, None));
    }
    let (fingerprint, earlier) = used.get(&at)?;
    // The resource of the earlier one has no id yet; the caller fills it in.
    Some((Verdict::KeyReused, (*fingerprint == key.fingerprint).then_some(*earlier)))
}

/// Whether a run is elsewhere than its messages begin; of two steps of one run in a commit the second always is.
fn is_stale(request: &IntakeRequest, read: &Read, moved: &[(AccountNo, Uuid)]) -> bool {
    let Step::Run(step) = &request.step else { return false };
    let at = (request.account, step.run.0);
    read.runs.get(&at) != Some(&step.from) || moved.contains(&at)
}

/// Whether the money lasts. Adds what is taken to `held`. The count of messages taken, or the refusal.
fn decide(request: &IntakeRequest, available: Money, held: &mut Money) -> (Verdict, Option<u32>) {
    let accepted = |count| (Verdict::NoAccount, Some(count));
    let needed: Money = match &request.step {
        Step::Message | Step::Batch(_) | Step::Run(_) => request.messages.iter().map(NewMessage::held).sum(),
        Step::Open(_, totals) => totals.held,
        Step::Chunk(_) => return accepted(request.messages.len() as u32),
        Step::Seal(_) | Step::Discard(_) => return accepted(0),
    };
    if needed <= available {
        *held += needed;
        return accepted(request.messages.len() as u32);
    }
    let partial = match &request.step {
        Step::Message => true,
        Step::Batch(batch) => batch.partial,
        _ => false,
    };
    let mut left = available;
    let fitting = request
        .messages
        .iter()
        .take_while(|m| {
            left -= m.held();
            left >= Money::ZERO
        })
        .count();
    if !partial || fitting == 0 {
        return (Verdict::Short { needed, available }, None);
    }
    *held += request.messages[..fitting].iter().map(NewMessage::held).sum();
    accepted(fitting as u32)
}

/// Second pass: gives ids, and collects the rows.
fn assign<'a>(
    requests: &'a [IntakeRequest],
    taken: &[Option<u32>],
    places: &BTreeMap<AccountNo, Places>,
    plan: &mut Plan<'a>,
    ids: &mut IdSource,
    now: i64,
) {
    let millis = ids.millis(now);
    // Accounts share the counter range of a commit: their ids differ by account number.
    let base = ids.take(places.values().map(|p| p.counts.iter().sum::<u32>()).max().unwrap_or(0));
    let mut next: HashMap<AccountNo, [u32; GROUPS]> = HashMap::new();
    for (account, p) in places {
        let mut start = [0u32; GROUPS];
        for g in 1..GROUPS {
            start[g] = start[g - 1] + p.counts[g - 1];
        }
        next.insert(*account, start);
        for (g, lane) in Lane::ALL.iter().enumerate() {
            if p.counts[g] > 0 {
                let first = MessageId::new(millis, base + u64::from(start[g]), *account);
                plan.spans.push(DueSpan { key: SpanKey { first }, lane: *lane, count: p.counts[g] });
            }
        }
    }
    let starts = next.clone();
    for (i, request) in requests.iter().enumerate() {
        let Some(count) = taken[i] else { continue };
        let account = request.account;
        let mut first = MessageId::new(millis, base, account);
        let mut span = None;
        if let Some(head) = request.messages.first() {
            let g = group(request, head);
            let place = &mut next.get_mut(&account).expect("an account with messages has places")[g];
            first = MessageId::new(millis, base + u64::from(*place), account);
            *place += count;
            if g == CHUNKS {
                span = Some(SpanKey { first });
                plan.spans.push(DueSpan { key: SpanKey { first }, lane: head.lane, count });
            } else if g != SCHEDULED {
                let start = starts[&account][g];
                span = Some(SpanKey { first: MessageId::new(millis, base + u64::from(start), account) });
            }
        }
        let refusals = collect(request, count, plan);
        if let Some(key) = request.key {
            let (resource, kind) = match &request.step {
                Step::Batch(b) | Step::Open(b, _) => (b.id.0, BATCH),
                _ => (first.0, MESSAGE),
            };
            plan.keys.push(UsedKey { account, key, resource, kind });
        }
        plan.verdicts[i] = Verdict::Accepted { first, count, span, refusals };
    }
}

/// Collects a request's batch row; answers with all its refusals.
fn collect<'a>(request: &'a IntakeRequest, count: u32, plan: &mut Plan<'a>) -> Vec<(u32, &'static str)> {
    let account = request.account;
    match &request.step {
        Step::Message | Step::Chunk(_) => Vec::new(),
        Step::Seal(id) => {
            plan.sealed.push((account, id.0));
            Vec::new()
        }
        Step::Discard(id) => {
            plan.discarded.push((account, id.0));
            Vec::new()
        }
        Step::Run(step) => {
            let deferred = request.messages.iter().filter(|m| m.due_at.is_some()).count() as u32;
            plan.runs.push(RunMove { account, step, totals: totals(&request.messages), deferred });
            Vec::new()
        }
        Step::Open(batch, totals) => {
            plan.batches.push(BatchRow {
                account,
                batch,
                accepted: false,
                totals: *totals,
                refusals: batch.refusals.clone(),
            });
            batch.refusals.clone()
        }
        Step::Batch(batch) => {
            let (kept, left) = request.messages.split_at(count as usize);
            let mut refusals = batch.refusals.clone();
            refusals.extend(left.iter().map(|m| (m.index, "insufficient_credit")));
            refusals.sort_unstable();
            let totals = totals(kept);
            plan.batches.push(BatchRow { account, batch, accepted: true, totals, refusals: refusals.clone() });
            refusals
        }
    }
}

fn totals(messages: &[NewMessage]) -> Totals {
    Totals {
        messages: messages.len() as u32,
        parts: messages.iter().map(|m| u64::from(m.parts)).sum(),
        held: messages.iter().map(NewMessage::held).sum(),
    }
}

/// Refusals as the batch row keeps them.
pub(crate) fn refusals_json(refusals: &[(u32, &'static str)]) -> Option<String> {
    (!refusals.is_empty()).then(|| serde_json::to_string(refusals).expect("numbers and words are JSON"))
}
