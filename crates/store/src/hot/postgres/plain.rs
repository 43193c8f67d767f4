//! A round of plain messages and batches, for which nothing is read first: the server answers it once. It holds the money if all of it is there,
//! and stores nothing otherwise. What does not fit, it refuses; then the round goes the way of all others, which says for each request why.

use std::collections::BTreeMap;

use carillon_domain::id::{AccountNo, MessageId};
use carillon_domain::money::Money;
use uuid::Uuid;

use super::session::{Session, Writes, params};
use super::{LOCK, LOG_USAGE, Sent, Trace, intake};
use crate::StoreError;
use crate::hot::intake::Read;
use crate::hot::{IdSource, IntakeRequest, NewMessage, Step, Verdict, day_of};
use crate::usage::Tally;

/// Above this COPY is less work for the server.
const MESSAGES_MAX: usize = 128;

/// How long requests of an account that did not fit go the other way at once, in milliseconds.
const REFUSED_FOR: i64 = 1_000;

/// Accounts some request of which was refused, and until when that counts.
#[derive(Default)]
pub(super) struct Refused(BTreeMap<AccountNo, i64>);

impl Refused {
    /// What became of a round that did not fit.
    pub(super) fn note(&mut self, requests: &[IntakeRequest], verdicts: &[Verdict], now: i64) {
        self.0.retain(|_, until| *until > now);
        for (request, verdict) in requests.iter().zip(verdicts) {
            if !matches!(verdict, Verdict::Accepted { .. }) {
                self.0.insert(request.account, now + REFUSED_FOR);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn has(&self, account: AccountNo, now: i64) -> bool {
        self.0.get(&account).is_some_and(|until| *until > now)
    }
}

/// Whether requests may go this way: messages that stand alone, or of a batch in one go, to be sent at once, of accounts none of which was refused
/// of late.
pub(super) fn fits(requests: &[IntakeRequest], refused: &Refused, now: i64) -> bool {
    let plain = |m: &NewMessage| m.due_at.is_none() && m.extra.as_ref().is_none_or(|e| e.links.is_empty());
    !requests.is_empty()
        && requests.iter().all(|r| {
            matches!(r.step, Step::Message | Step::Batch(_))
                && !r.messages.is_empty()
                && r.messages.iter().all(plain)
                && !refused.has(r.account, now)
        })
}

/// Sends it.
pub(super) async fn send<'a>(
    session: &mut Session,
    requests: &'a [IntakeRequest],
    ids: &mut IdSource,
    now: i64,
) -> Result<Sent<'a>, StoreError> {
    let mut holds: BTreeMap<AccountNo, Money> = requests.iter().map(|r| (r.account, Money::ZERO)).collect();
    let available = holds.keys().map(|account| (*account, Money(i64::MAX))).collect();
    let mut plan = crate::hot::intake::plan(requests, &Read { available, ..Read::default() }, ids, now);
    holds.append(&mut plan.holds);
    let mut tally = Tally::default();
    for (id, batch, message) in intake::taken(requests, &plan) {
        tally.accepted(id, batch, message.country_number(), 1);
    }

    let accounts: Vec<i64> = holds.keys().map(|account| account.as_i64()).collect();
    let needed: Vec<i64> = holds.values().map(|hold| hold.0).collect();
    let mut writes = Writes::new(session);
    writes.join(HOLD, params![accounts.clone(), needed]);
    if let Some(counts) = tally.bytes() {
        writes.join(LOG_USAGE, params![counts]);
    }
    let first = intake::taken(requests, &plan).next().map(|(id, ..)| id);
    let messages: Vec<(MessageId, Option<Uuid>, &NewMessage)> =
        intake::taken(requests, &plan).take(MESSAGES_MAX + 1).collect();
    let few = messages.len() <= MESSAGES_MAX;
    if few {
        let (sql, values) = intake::insert(&messages);
        writes.join(&sql, values);
    }
    intake::join(&mut writes, &plan, now);
    let keyed = requests.iter().filter_map(|r| Some((r.account.as_i64(), r.key.as_ref()?.key.to_vec())));
    let (key_accounts, keys): (Vec<i64>, Vec<Vec<u8>>) = keyed.unzip();
    let count = accounts.len() as i64;
    let locks = !keys.is_empty();
    let (sql, values) = match locks {
        false => writes.take_joined(ALL_HELD, params![count]),
        // Whether a key was used is only known once nobody else can use it: a statement sees what there was when it began.
        true => writes.take_joined(ALL_HELD_AND_NEW, params![count, key_accounts, keys, day_of(now), day_of(now) - 1]),
    };
    if few && !locks && plan.batches.is_empty() {
        writes.put(&sql, values).await?;
    } else {
        // All of it: what is prepared later waits behind rows that nobody takes.
        writes.session.prepare(&["BEGIN", &sql, intake::INSERT_BATCH, "COMMIT"]).await?;
        writes.put("BEGIN", Vec::new()).await?;
        if !few {
            let opening = writes.session.copy(intake::COPY).await?;
            intake::copy(&mut writes, opening, requests, &plan).await?;
        }
        if locks {
            writes.put(LOCK, params![accounts]).await?;
        }
        writes.put(&sql, values).await?;
        intake::write(&mut writes, requests, &plan, now).await?;
        writes.put("COMMIT", Vec::new()).await?;
    }
    let answers = writes.sent;
    let trace = Trace::Message(first.expect("in a round that fits each request has messages, and the first is taken"));
    Ok(Sent { answers, trace, done: (Vec::new(), plan.verdicts) })
}

/// One by one, in the order given, which is that of all who lock balances.
const HOLD: &str = "UPDATE balance b SET available = b.available - k.needed, held = b.held + k.needed
     FROM UNNEST($1::bigint[], $2::bigint[]) AS k(account_no, needed)
     WHERE b.account_no = k.account_no AND b.available >= k.needed RETURNING 1";

/// Carried out before all parts but the hold: those that nothing is read of come last (PostgreSQL, "Data-Modifying Statements in WITH").
const ALL_HELD: &str = "SELECT 1 / (CASE WHEN (SELECT count(*) FROM w0) = $1 THEN 1 ELSE 0 END)";

const ALL_HELD_AND_NEW: &str = "SELECT 1 / (CASE WHEN (SELECT count(*) FROM w0) = $1 AND NOT EXISTS
     (SELECT FROM UNNEST($2::bigint[], $3::bytea[]) AS k(account_no, key_hash)
      JOIN idempotency i ON i.account_no = k.account_no AND i.key_hash = k.key_hash AND i.day IN ($4::integer, $5::integer))
     THEN 1 ELSE 0 END)";
