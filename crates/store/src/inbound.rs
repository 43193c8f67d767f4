//! Messages from phones: parts kept as they come, put together, stored once, each with its conversation and its event in one transaction.

use std::collections::BTreeSet;

use carillon_domain::id::{AccountNo, ConversationId, InboundId, KeywordRuleId, compose};
use carillon_domain::inbound::{Piece, Whole, Writing, join};
use carillon_domain::keyword::Action;
use uuid::Uuid;

use crate::db::DbKind;
use crate::drip_enrollment::is_in_drip;
use crate::event::{NewEvent, put_event};
use crate::hot::{open_text, seal_text};
use crate::smpp_delivery::owe_inbound;
use crate::usage::REPLIED;
use crate::usage::engagement::{Engaged, engaged};
use crate::{Db, StoreError};

/// A message or a part of one, as a carrier gave it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Number of the connection it came by.
    pub connection: i32,
    /// Whose number it came to; the platform's if nobody's.
    pub account: AccountNo,
    /// What it came to: digits.
    pub number: String,
    /// Who wrote: a number with +, a short code, or a name.
    pub peer: String,
    /// Keyed hash of that.
    pub peer_tag: i64,
    /// Of a part: what ties it to the others, and how many there are.
    pub part: Option<(u16, u8)>,
    /// What it holds.
    pub piece: Piece,
    /// When the carrier had it, if it says so, Unix milliseconds.
    pub carrier_at: Option<i64>,
    /// What makes it the same as one that came before: of the carrier's id and the part, or of all it holds.
    pub fingerprint: i64,
    /// What was stored until then may not have been acknowledged, so that the same again is a repetition, Unix milliseconds.
    pub repeats_until: i64,
    /// When it came, Unix milliseconds.
    pub at: i64,
}

/// How long things are waited for and remembered, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A part waits so long for the others.
    pub parts: i64,
    /// The same again within this may be a repetition.
    pub repeats: i64,
}

/// What is to be stored of a whole message.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Its id.
    pub id: InboundId,
    /// Id of its conversation, should it begin one.
    pub conversation: ConversationId,
    /// Its text, or octets as base64.
    pub body: String,
    /// Whether it is octets.
    pub is_binary: bool,
    /// What it does.
    pub action: Action,
    /// The account's rule that it does it by.
    pub rule: Option<KeywordRuleId>,
    /// What subscribers are told.
    pub event: Option<NewEvent>,
}

/// What became whole.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    /// The messages, in order.
    pub messages: Vec<InboundId>,
    /// SMPP credentials that they wait for now, by account and number; with repetitions.
    pub owed: Vec<(AccountNo, u16)>,
    /// Messages that they answer.
    answered: Vec<Engaged>,
}

/// What comes later than this answers no message any more, milliseconds.
const ANSWERS_MS: i64 = 30 * 86_400_000;

/// Decides over a whole message: whose, to which number, from whom, what.
pub type Judge<'a> = dyn Fn(AccountNo, &str, &str, Whole) -> Judged + Send + Sync + 'a;

macro_rules! read_parts {
    ($tx:expr, $group:expr) => {{
        let g: &Group = $group;
        sqlx::query_as(
            "SELECT CAST(part AS INTEGER) AS part, peer, body, alphabet, carrier_at, received_at FROM inbound_part WHERE connection_no = $1 \
             AND number = $2 AND peer_tag = $3 AND reference = $4 AND total = $5 ORDER BY part",
        )
        .bind(g.connection)
        .bind(&g.number)
        .bind(g.peer_tag)
        .bind(i32::from(g.reference))
        .bind(i32::from(g.total))
        .fetch_all(&mut *$tx)
        .await?
    }};
}

macro_rules! delete_parts {
    ($tx:expr, $group:expr) => {{
        let g: &Group = $group;
        sqlx::query(
            "DELETE FROM inbound_part WHERE connection_no = $1 AND number = $2 AND peer_tag = $3 AND reference = $4 AND total = $5",
        )
        .bind(g.connection)
        .bind(&g.number)
        .bind(g.peer_tag)
        .bind(i32::from(g.reference))
        .bind(i32::from(g.total))
        .execute(&mut *$tx)
        .await?;
    }};
}

/// Stores a whole message: its conversation, itself, its event, and what SMPP customers are owed of it.
macro_rules! store_whole {
    ($tx:expr, $group:expr, $whole:expr, $account:expr, $peer:expr, $carrier_at:expr, $judge:expr, $stored:expr) => {{
        let (g, peer, account): (&Group, &str, AccountNo) = ($group, $peer, $account);
        let whole: Whole = $whole;
        let missing = (!whole.missing.is_empty()).then(|| serde_json::to_string(&whole.missing).expect("numbers are JSON"));
        let judged = $judge(account, &g.number, peer, whole);
        // Who is in a drip may leave it by writing: that is done as an answer is, after the commit and whatever happens.
        let due = judged.action != Action::None || (account != AccountNo::PLATFORM && is_in_drip!($tx, account, g.peer_tag));
        let conversation: Option<Uuid> = if account == AccountNo::PLATFORM {
            None
        } else {
            let (id,): (Uuid,) = sqlx::query_as(
                "INSERT INTO conversation (account_no, id, number, peer, peer_tag, received, unread, last_id, created_at) \
                 VALUES ($1, $2, $3, $4, $5, 1, 1, $6, $7) ON CONFLICT (account_no, number, peer_tag) DO UPDATE \
                 SET received = conversation.received + 1, unread = conversation.unread + 1, last_id = excluded.last_id RETURNING id",
            )
            .bind(account.as_i64())
            .bind(judged.conversation.0)
            .bind(&g.number)
            .bind(seal_text(peer))
            .bind(g.peer_tag)
            .bind(judged.id.0)
            .bind(judged.id.millis())
            .fetch_one(&mut *$tx)
            .await?;
            Some(id)
        };
        sqlx::query(
            "INSERT INTO inbound_message (account_no, id, conversation_id, connection_no, number, peer, peer_tag, body, is_binary, parts, \
             missing, carrier_at, action, rule_id, answer) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        )
        .bind(account.as_i64())
        .bind(judged.id.0)
        .bind(conversation)
        .bind(g.connection)
        .bind(&g.number)
        .bind(seal_text(peer))
        .bind(g.peer_tag)
        .bind(seal_text(&judged.body))
        .bind(i16::from(judged.is_binary))
        .bind(i32::from(g.total))
        .bind(missing)
        .bind($carrier_at)
        .bind(judged.action.number())
        .bind(judged.rule.map(|id| id.0))
        .bind(i16::from(due))
        .execute(&mut *$tx)
        .await?;
        if let Some(event) = &judged.event {
            put_event!($tx, event);
        }
        if account != AccountNo::PLATFORM {
            owe_inbound!($tx, judged.id, $stored.owed);
        }
        if account != AccountNo::PLATFORM && judged.action != Action::Stop {
            // The last that went to them from this number. As the index's condition stands: the number is Flags::TWO_WAY.
            $stored.answered.extend(
                sqlx::query_as::<_, Engaged>(
                    "SELECT id, batch_id, country FROM message WHERE account_no = $1 AND phone_tag = $2 AND (flags & 8192) <> 0 \
                     AND REPLACE(sender, '+', '') = $3 AND id < $4 AND id > $5 ORDER BY id DESC LIMIT 1",
                )
                .bind(account.as_i64())
                .bind(g.peer_tag)
                .bind(&g.number)
                .bind(judged.id.0)
                .bind(compose(judged.id.millis() - ANSWERS_MS, 0, AccountNo(0)))
                .fetch_optional(&mut *$tx)
                .await?,
            );
        }
        $stored.messages.push(judged.id);
    }};
}

/// Within the caller's transaction, and first: of several processes on one PostgreSQL only one at a time takes what a connection gave. Each has
/// sessions of its own, and the parts of a message, or its repetition, may come by two of them at once.
macro_rules! alone_with {
    ($tx:expr, $db:expr, $connections:expr) => {{
        // In order, so that two never wait for one another.
        let connections: BTreeSet<i32> = $connections.collect();
        if $db.kind() == DbKind::Postgres {
            for no in connections {
                sqlx::query("SELECT pg_advisory_xact_lock($1, $2)").bind(TAKING).bind(no).execute(&mut *$tx).await?;
            }
        }
    }};
}

/// The first half of those locks' names; the second is the connection's number.
const TAKING: i32 = 0x696E_6264;

/// Takes what has arrived, in order, in one transaction that begins now (Unix milliseconds). The messages that became whole by it.
pub async fn receive(
    db: &Db,
    arrivals: &[Arrival],
    patience: Patience,
    now: i64,
    judge: &Judge<'_>,
) -> Result<Stored, StoreError> {
    let mut stored = Stored::default();
    write_db!(db, |tx| {
        alone_with!(tx, db, arrivals.iter().map(|a| a.connection));
        for a in arrivals {
            let seen: Option<(i64,)> =
                sqlx::query_as("SELECT seen_at FROM inbound_seen WHERE connection_no = $1 AND fingerprint = $2")
                    .bind(a.connection)
                    .bind(a.fingerprint)
                    .fetch_optional(&mut *tx)
                    .await?;
            sqlx::query(
                "INSERT INTO inbound_seen (connection_no, fingerprint, seen_at) VALUES ($1, $2, $3) \
                 ON CONFLICT (connection_no, fingerprint) DO UPDATE SET seen_at = excluded.seen_at",
            )
            .bind(a.connection)
            .bind(a.fingerprint)
            .bind(now)
            .execute(&mut *tx)
            .await?;
            // Noted before it is passed over: it is acknowledged now, so the next one alike is another message.
            if seen.is_some_and(|(at,)| is_repeated(a, at, patience)) {
                continue;
            }
            let group = Group::of(a);
            let Some(group) = group else {
                let whole = join(1, std::slice::from_ref(&a.piece));
                let g = Group { reference: 0, total: 1, ..Group::to(a) };
                store_whole!(tx, &g, whole, a.account, &a.peer, a.carrier_at, judge, stored);
                continue;
            };
            let waiting: Vec<PartRow> = read_parts!(tx, &group);
            let mut pieces = PartRow::pieces(&waiting)?;
            // The reference was used before: what waits belongs to another message.
            let other = pieces.iter().any(|p| p.index == a.piece.index && *p != a.piece)
                || waiting.iter().any(|row| a.at - row.received_at >= patience.parts);
            if other {
                let whole = join(group.total, &pieces);
                store_whole!(tx, &group, whole, a.account, &a.peer, a.carrier_at, judge, stored);
                delete_parts!(tx, &group);
                pieces.clear();
            }
            if pieces.iter().any(|p| p.index == a.piece.index) {
                continue;
            }
            pieces.push(a.piece.clone());
            if pieces.len() == usize::from(group.total) {
                let whole = join(group.total, &pieces);
                store_whole!(tx, &group, whole, a.account, &a.peer, a.carrier_at, judge, stored);
                delete_parts!(tx, &group);
                continue;
            }
            sqlx::query(
                "INSERT INTO inbound_part (connection_no, number, peer_tag, reference, total, part, peer, body, alphabet, carrier_at, \
                 received_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            )
            .bind(group.connection)
            .bind(&group.number)
            .bind(group.peer_tag)
            .bind(i32::from(group.reference))
            .bind(i32::from(group.total))
            .bind(i32::from(a.piece.index))
            .bind(seal_text(&a.peer))
            .bind(seal_octets(&a.piece.octets))
            .bind(a.piece.writing.number())
            .bind(a.carrier_at)
            .bind(a.at)
            .execute(&mut *tx)
            .await?;
        }
        engaged!(tx, REPLIED, std::mem::take(&mut stored.answered));
    });
    Ok(stored)
}

/// Puts together what has waited for its other parts since `before`, with gaps. `owner` says whose a number is (by number and connection).
pub async fn give_up_waiting(
    db: &Db,
    before: i64,
    owner: &(dyn Fn(&str, i32) -> AccountNo + Send + Sync),
    judge: &Judge<'_>,
) -> Result<Stored, StoreError> {
    type Row = (i32, String, i64, i32, i32);
    let overdue: Vec<Row> = read_db!(db, |c| {
        sqlx::query_as(
            "SELECT CAST(connection_no AS INTEGER), number, peer_tag, CAST(reference AS INTEGER), CAST(total AS INTEGER) \
             FROM inbound_part GROUP BY connection_no, number, peer_tag, reference, total HAVING MIN(received_at) < $1 LIMIT 200",
        )
        .bind(before)
        .fetch_all(c)
        .await
    })?;
    let mut stored = Stored::default();
    if overdue.is_empty() {
        return Ok(stored);
    }
    write_db!(db, |tx| {
        alone_with!(tx, db, overdue.iter().map(|(connection, ..)| *connection));
        for (connection, number, peer_tag, reference, total) in overdue {
            let (reference, total) = (reference as u16, total as u8);
            let group = Group { connection, number, peer_tag, reference, total };
            let waiting: Vec<PartRow> = read_parts!(tx, &group);
            // Another process was first; what there is now began later, under the same reference.
            let Some(first) = waiting.first().filter(|_| waiting.iter().any(|row| row.received_at < before)) else {
                continue;
            };
            let peer = open_text(&first.peer)?;
            let carrier_at = first.carrier_at;
            let whole = join(group.total, &PartRow::pieces(&waiting)?);
            let account = owner(&group.number, group.connection);
            store_whole!(tx, &group, whole, account, &peer, carrier_at, judge, stored);
            delete_parts!(tx, &group);
        }
        engaged!(tx, REPLIED, std::mem::take(&mut stored.answered));
    });
    Ok(stored)
}

/// Forgets what carriers gave before an instant. How many, at most `limit`.
pub async fn forget_seen(db: &Db, before: i64, limit: u32) -> Result<u64, StoreError> {
    Ok(write_db!(db, |tx| {
        sqlx::query(
            "DELETE FROM inbound_seen WHERE (connection_no, fingerprint) IN \
             (SELECT connection_no, fingerprint FROM inbound_seen WHERE seen_at < $1 LIMIT $2)",
        )
        .bind(before)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?
        .rows_affected()
    }))
}

/// It was stored before it could be acknowledged, or before the link through which that went was lost.
fn is_repeated(a: &Arrival, seen_at: i64, patience: Patience) -> bool {
    a.at - seen_at < patience.repeats && (seen_at >= a.at || seen_at < a.repeats_until)
}

/// What ties parts together.
struct Group {
    connection: i32,
    number: String,
    peer_tag: i64,
    reference: u16,
    total: u8,
}

impl Group {
    fn to(a: &Arrival) -> Group {
        Group { connection: a.connection, number: a.number.clone(), peer_tag: a.peer_tag, reference: 0, total: 1 }
    }

    fn of(a: &Arrival) -> Option<Group> {
        let (reference, total) = a.part.filter(|(_, total)| *total > 1)?;
        Some(Group { reference, total, ..Group::to(a) })
    }
}

#[derive(sqlx::FromRow)]
struct PartRow {
    part: i32,
    peer: Vec<u8>,
    body: Vec<u8>,
    alphabet: i16,
    carrier_at: Option<i64>,
    received_at: i64,
}

impl PartRow {
    fn pieces(rows: &[PartRow]) -> Result<Vec<Piece>, StoreError> {
        let piece = |row: &PartRow| {
            let writing = Writing::from_number(row.alphabet);
            Ok(Piece { index: row.part as u8, octets: open_octets(&row.body)?.to_vec(), writing })
        };
        rows.iter().map(piece).collect()
    }
}

/// Octets under seal: scheme 0 is plain.
fn seal_octets(octets: &[u8]) -> Vec<u8> {
    [&[0], octets].concat()
}

fn open_octets(sealed: &[u8]) -> Result<&[u8], StoreError> {
    match sealed.split_first() {
        Some((0, octets)) => Ok(octets),
        _ => Err(StoreError::Broken("sealed octets of an unknown scheme: written by a newer version?".into())),
    }
}
