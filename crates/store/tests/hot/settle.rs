//! What carriers answer and report, in every order, and what becomes of the message and its money.

use std::time::Duration;

use carillon_domain::error_code::ErrorCode;
use carillon_domain::id::MessageId;
use carillon_domain::message::{Flags, State};
use carillon_store::hot::{
    Attempted, IntakeRequest, NewMessage, Outcome, PartResult, Receipt, ReceiptKind, Scope, SettleItem, Settled, Step,
    Verdict,
};
use carillon_store::testing::TestPostgres;
use carillon_store::{Db, StoreError};

use crate::world::{NOON, World, message, on_both, shared};

pub(crate) const CONNECTION: i32 = 3;
const REFUSED: i16 = ErrorCode::CarrierRejected as i16;
const FAILED: i16 = ErrorCode::AbsentSubscriber as i16;
const CANCELED: i16 = ErrorCode::Canceled as i16;
const RETRY_AT: i64 = 9_000_000_000_000;

/// One thing that happens to the message of a row; ids of the carrier belong to the row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Do {
    /// Attempt, part, carrier's id; receipts are to come.
    Yes(u8, u8, &'static str),
    /// Attempt, part; no receipts will come.
    Last(u8, u8),
    /// Attempt, part: no answer.
    Silence(u8, u8),
    /// Attempt, part: try again.
    Retry(u8, u8),
    /// Attempt, part: try elsewhere.
    Over(u8, u8),
    /// Attempt, part: refused for good.
    No(u8, u8),
    /// The receipt of a carrier's id: delivered.
    Got(&'static str),
    /// It failed.
    Lost(&'static str),
    /// Delivered, with a number the carrier writes its own way.
    GotOther(&'static str),
    /// Delivered, naming another sender.
    GotFrom(&'static str, &'static str),
    /// Delivered or failed, all parts that have this id.
    GotAll(&'static str),
    LostAll(&'static str),
    /// It is on its way.
    Interim(&'static str),
    /// The carrier does not know.
    Doubt(&'static str),
    /// Attempt, part of unknown outcome: again, or not.
    Resend(u8, u8),
    GiveUp(u8, u8),
    Cancel,
    Deadline,
    Close,
    /// Somebody reports by our id: it arrived.
    Told,
    /// Or it did not.
    ToldLost,
}
use Do::*;

pub(crate) fn outcome(id: MessageId, tag: i64, attempt: u8, part: u8, at: i64, result: PartResult) -> SettleItem {
    let sender = Some("Shop".into());
    SettleItem::Outcome(Outcome {
        id,
        part,
        attempt,
        connection: CONNECTION,
        phone_tag: tag,
        sender,
        at,
        claimed: false,
        mms: false,
        result,
    })
}

pub(crate) fn receipt(carrier_id: String, tag: Option<i64>, kind: ReceiptKind, at: i64) -> Receipt {
    let scope = Scope::Part;
    Receipt {
        connection: CONNECTION,
        carrier_id,
        phone_tag: tag,
        sender: None,
        kind,
        scope,
        carrier_error: None,
        reroute: false,
        at,
    }
}

pub(crate) fn item(what: Do, row: i64, id: MessageId, now: i64) -> SettleItem {
    let out = |attempt, part, result| outcome(id, row, attempt, part, now, result);
    let own = |carrier_id| format!("{row}/{carrier_id}");
    let report = |carrier_id, tag, kind| SettleItem::Receipt(receipt(own(carrier_id), tag, kind, now));
    let attempt = |attempt, part| Attempted { connection: CONNECTION, phone_tag: row, id, part, attempt };
    let whole = |receipt| SettleItem::Receipt(Receipt { scope: Scope::Message, ..receipt });
    let says = || "says no".to_owned();
    match what {
        Yes(n, part, c) => out(n, part, PartResult::Accepted { carrier_id: own(c), receipts: true }),
        Last(n, part) => out(n, part, PartResult::Accepted { carrier_id: own("-"), receipts: false }),
        Silence(n, part) => out(n, part, PartResult::Unknown { submitted_at: now, decide_at: now + 1000 }),
        Retry(n, part) => out(n, part, PartResult::Retry { due_at: RETRY_AT, error: REFUSED, carrier_error: says() }),
        Over(n, part) => out(n, part, PartResult::FailOver { error: REFUSED, carrier_error: says() }),
        No(n, part) => out(n, part, PartResult::Refused { error: REFUSED, carrier_error: says() }),
        Got(c) => report(c, Some(row), ReceiptKind::Delivered),
        Lost(c) => report(c, Some(row), ReceiptKind::Failed { error: FAILED }),
        GotOther(c) => report(c, Some(-row), ReceiptKind::Delivered),
        GotFrom(sender, c) => {
            let sender = Some(sender.to_owned());
            SettleItem::Receipt(Receipt { sender, ..receipt(own(c), Some(row), ReceiptKind::Delivered, now) })
        }
        GotAll(c) => whole(receipt(own(c), Some(row), ReceiptKind::Delivered, now)),
        LostAll(c) => whole(receipt(own(c), Some(row), ReceiptKind::Failed { error: FAILED }, now)),
        Interim(c) => report(c, Some(row), ReceiptKind::Interim),
        Doubt(c) => report(c, Some(row), ReceiptKind::Unknown),
        Resend(n, part) => SettleItem::Decide { attempt: attempt(n, part), resend: true, error: REFUSED },
        GiveUp(n, part) => SettleItem::Decide { attempt: attempt(n, part), resend: false, error: REFUSED },
        Cancel => SettleItem::End { id, state: State::Canceled, error: CANCELED, unknown_too: false },
        Deadline => {
            SettleItem::End { id, state: State::Failed, error: ErrorCode::OtpDeadline.number(), unknown_too: true }
        }
        Close => SettleItem::Close { id },
        Told => SettleItem::Reported { id, failed: None },
        ToldLost => SettleItem::Reported { id, failed: Some(FAILED) },
    }
}

const NONE: Flags = Flags(0);
const PAID: Flags = Flags::PAY_ON_ACCEPT;

/// flags, parts, commits -> message; rows left of references, unknown attempts, parked receipts, due
type Row = (Flags, u8, &'static [&'static [Do]], &'static str, [i64; 4]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // The ordinary way, and how it may go wrong.
    (NONE, 1, &[&[Yes(1, 0, "a")]], "sent, held 5, paid 0, code -", [1, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Got("a")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Lost("a")]], "!undelivered, held 0, paid 0, code 103", [0, 0, 0, 0]),
    (NONE, 1, &[&[No(1, 0)]], "!failed, held 0, paid 0, code 401", [0, 0, 0, 0]),
    (NONE, 1, &[&[Last(1, 0)]], "!sent, held 0, paid 5, code -", [0, 0, 0, 0]),
    // The same answer twice.
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Yes(1, 0, "a")]], "sent, held 5, paid 0, code -", [1, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a"), Yes(1, 0, "a")], &[Got("a")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a")], &[Yes(1, 0, "a"), Yes(1, 1, "b")]], "sent, held 10, paid 0, code -", [2, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Interim("a")]], "sent, held 5, paid 0, code -", [1, 0, 0, 0]),
    // A carrier that does not know: what comes later counts.
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Doubt("a")]], "sent, held 5, paid 0, code 603", [1, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a"), Doubt("a")], &[Doubt("a"), Got("a")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Doubt("a")], &[Lost("a")]], "!undelivered, held 0, paid 0, code 103", [0, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Doubt("a")], &[Close]], "!undelivered, held 0, paid 0, code 603", [1, 0, 0, 0]),
    (NONE, 1, &[&[Doubt("a")], &[Yes(1, 0, "a")], &[Close]], "!sent, held 0, paid 5, code -", [1, 0, 0, 0]),
    (PAID, 1, &[&[Yes(1, 0, "a")], &[Doubt("a")], &[Close]], "!undelivered, held 0, paid 5, code 603", [1, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a"), Yes(1, 1, "b")], &[Doubt("a"), Got("b")], &[Close]], "!undelivered, held 0, paid 5, code 603", [1, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a")], &[Doubt("a")], &[Yes(1, 1, "b")], &[Close]], "!undelivered, held 0, paid 0, code 603", [2, 0, 0, 0]),
    (NONE, 1, &[&[Cancel]], "!canceled, held 0, paid 0, code 502", [0, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Cancel]], "sent, held 5, paid 0, code -", [1, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Close]], "!sent, held 0, paid 5, code -", [1, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Close], &[Got("a")]], "!sent, held 0, paid 5, code -", [0, 0, 0, 0]),
    (PAID, 1, &[&[Yes(1, 0, "a")]], "sent, held 0, paid 5, code -", [1, 0, 0, 0]),
    (PAID, 1, &[&[Yes(1, 0, "a")], &[Lost("a")]], "!undelivered, held 0, paid 5, code 103", [0, 0, 0, 0]),
    // Reports by our own id: once, of what a carrier has, and not over what a carrier said.
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Told], &[ToldLost], &[Lost("a")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[ToldLost], &[Told]], "!undelivered, held 0, paid 0, code 103", [1, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Lost("a")], &[Told]], "!undelivered, held 0, paid 0, code 103", [0, 0, 0, 0]),
    (NONE, 1, &[&[Told], &[ToldLost]], "queued, held 5, paid 0, code -", [0, 0, 0, 0]),
    (NONE, 1, &[&[Cancel], &[Told]], "!canceled, held 0, paid 0, code 502", [0, 0, 0, 0]),
    (NONE, 1, &[&[Last(1, 0)], &[ToldLost]], "!sent, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a"), Yes(1, 1, "b")], &[Got("a")], &[Told]], "!delivered, held 0, paid 10, code -", [1, 0, 0, 0]),
    // Receipts in every order.
    (NONE, 1, &[&[Yes(1, 0, "a"), Got("a")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 1, &[&[Got("a"), Yes(1, 0, "a")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 1, &[&[Got("a")]], "queued, held 5, paid 0, code -", [0, 0, 1, 0]),
    (NONE, 1, &[&[Got("a")], &[Yes(1, 0, "a")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 1, &[&[Lost("a")], &[Yes(1, 0, "a")]], "!undelivered, held 0, paid 0, code 103", [0, 0, 0, 0]),
    (NONE, 1, &[&[Lost("a"), Got("a")], &[Yes(1, 0, "a")]], "!undelivered, held 0, paid 0, code 103", [0, 0, 1, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Got("a"), Got("a")]], "!delivered, held 0, paid 5, code -", [0, 0, 1, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Got("a")], &[Got("a")]], "!delivered, held 0, paid 5, code -", [0, 0, 1, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Got("a")], &[Lost("a")]], "!delivered, held 0, paid 5, code -", [0, 0, 1, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Lost("a")], &[Got("a")]], "!undelivered, held 0, paid 0, code 103", [0, 0, 1, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[GotOther("a")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 1, &[&[Yes(1, 0, "a")], &[Got("b")]], "sent, held 5, paid 0, code -", [1, 0, 1, 0]),
    // Several parts.
    (NONE, 2, &[&[Yes(1, 1, "b"), Yes(1, 0, "a")]], "sent, held 10, paid 0, code -", [2, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a")]], "queued, held 10, paid 0, code -", [1, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a")], &[Got("a")], &[Yes(1, 1, "b")]], "sent, held 5, paid 5, code -", [1, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 1, "b"), Yes(1, 0, "a")], &[Got("b")], &[Got("a")]], "!delivered, held 0, paid 10, code -", [0, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a"), Yes(1, 1, "b")], &[Lost("b"), Got("a")]], "!undelivered, held 0, paid 5, code 604", [0, 0, 0, 0]),
    (NONE, 2, &[&[Got("b")], &[Yes(1, 0, "a"), Yes(1, 1, "b"), Got("a")]], "!delivered, held 0, paid 10, code -", [0, 0, 0, 0]),
    (NONE, 3, &[&[Yes(1, 0, "a"), No(1, 1), Yes(1, 2, "c")]], "sent, held 10, paid 0, code 401", [2, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a"), Retry(1, 1)]], "queued, held 10, paid 0, code -", [1, 0, 0, 1]),
    (NONE, 2, &[&[Yes(1, 0, "a"), Retry(1, 1)], &[Yes(2, 1, "b")], &[Lost("a")]], "sent, held 5, paid 0, code 103", [1, 0, 0, 0]),
    (NONE, 2, &[&[Last(1, 0)], &[Last(1, 1)]], "!sent, held 0, paid 10, code -", [0, 0, 0, 0]),
    // One id for all parts: carriers that take the whole message.
    (NONE, 2, &[&[Yes(1, 0, "a"), Yes(1, 1, "a")]], "sent, held 10, paid 0, code -", [2, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a"), Yes(1, 1, "a")], &[GotAll("a")]], "!delivered, held 0, paid 10, code -", [0, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a"), Yes(1, 1, "a"), GotAll("a")]], "!delivered, held 0, paid 10, code -", [0, 0, 0, 0]),
    (NONE, 3, &[&[Yes(1, 0, "a"), Yes(1, 1, "a"), Yes(1, 2, "a")], &[LostAll("a")]], "!undelivered, held 0, paid 0, code 103", [0, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a"), Yes(1, 1, "a")], &[GotAll("a"), GotAll("a")]], "!delivered, held 0, paid 10, code -", [0, 0, 1, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a"), Yes(1, 1, "a")], &[GotAll("a")], &[LostAll("a")]], "!delivered, held 0, paid 10, code -", [0, 0, 1, 0]),
    (NONE, 2, &[&[GotAll("a")], &[Yes(1, 0, "a"), Yes(1, 1, "a")]], "!delivered, held 0, paid 10, code -", [0, 0, 0, 0]),
    (NONE, 2, &[&[GotAll("a")], &[Yes(1, 0, "a")], &[Yes(1, 1, "a")]], "!delivered, held 0, paid 10, code -", [0, 0, 0, 0]),
    (NONE, 2, &[&[LostAll("a"), Yes(1, 0, "a"), Yes(1, 1, "a")]], "!undelivered, held 0, paid 0, code 103", [0, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a"), Yes(1, 1, "a")], &[Got("a")]], "sent, held 5, paid 5, code -", [1, 0, 0, 0]),
    (NONE, 2, &[&[Silence(1, 0), Silence(1, 1)], &[GotAll("x")]], "!delivered, held 0, paid 10, code -", [0, 0, 0, 0]),
    (NONE, 2, &[&[GotAll("x")], &[Silence(1, 0), Silence(1, 1)]], "!delivered, held 0, paid 10, code -", [0, 0, 0, 0]),
    // Retries.
    (NONE, 1, &[&[Retry(1, 0)]], "queued, held 5, paid 0, code -", [0, 0, 0, 1]),
    (NONE, 1, &[&[Retry(1, 0)], &[Yes(2, 0, "a")]], "sent, held 5, paid 0, code -", [1, 0, 0, 0]),
    (NONE, 1, &[&[Retry(1, 0), Yes(2, 0, "a")]], "sent, held 5, paid 0, code -", [1, 0, 0, 0]),
    (NONE, 1, &[&[Retry(1, 0), Cancel]], "!canceled, held 0, paid 0, code 502", [0, 0, 0, 0]),
    (NONE, 1, &[&[Retry(1, 0)], &[Cancel]], "!canceled, held 0, paid 0, code 502", [0, 0, 0, 0]),
    (NONE, 1, &[&[Cancel, Retry(1, 0)]], "!canceled, held 0, paid 0, code 502", [0, 0, 0, 0]),
    (NONE, 1, &[&[Retry(1, 0)], &[Retry(2, 0)], &[No(3, 0)]], "!failed, held 0, paid 0, code 401", [0, 0, 0, 0]),
    (NONE, 1, &[&[Over(1, 0)]], "queued, held 5, paid 0, code -", [0, 0, 0, 0]),
    // No answer.
    (NONE, 1, &[&[Silence(1, 0)]], "sent, held 5, paid 0, code 601", [0, 1, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[Got("x")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0), Got("x")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[Lost("x")]], "!undelivered, held 0, paid 0, code 103", [0, 0, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[GotFrom("Shop", "x")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[GotFrom("Bank", "x")]], "sent, held 5, paid 0, code 601", [0, 1, 1, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[Yes(1, 0, "a")]], "sent, held 5, paid 0, code -", [1, 0, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[No(1, 0)]], "!failed, held 0, paid 0, code 401", [0, 0, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[Retry(1, 0)]], "queued, held 5, paid 0, code 601", [0, 0, 0, 1]),
    (NONE, 1, &[&[Silence(1, 0)], &[Over(1, 0)]], "queued, held 5, paid 0, code 601", [0, 0, 0, 1]),
    (NONE, 1, &[&[Silence(1, 0)], &[GiveUp(1, 0)]], "!failed, held 0, paid 0, code 401", [0, 1, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[GiveUp(1, 0)], &[Got("x")]], "!failed, held 0, paid 0, code 401", [0, 0, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[Resend(1, 0)]], "queued, held 5, paid 0, code 601", [0, 1, 0, 1]),
    (NONE, 1, &[&[Silence(1, 0)], &[Resend(1, 0)], &[Yes(2, 0, "a")]], "sent, held 5, paid 0, code -", [1, 1, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[Resend(1, 0)], &[Got("x")]], "!delivered, held 0, paid 5, code -", [0, 0, 0, 0]),
    // A no to one attempt decides nothing while another is open or to be made; a yes to any does.
    (NONE, 1, &[&[Silence(1, 0)], &[Resend(1, 0)], &[Lost("x")]], "queued, held 5, paid 0, code 601", [0, 0, 0, 1]),
    (NONE, 1, &[&[Silence(1, 0)], &[Resend(1, 0)], &[Yes(2, 0, "a")], &[Lost("x")]], "sent, held 5, paid 0, code -", [1, 0, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[Resend(1, 0)], &[Yes(2, 0, "a")], &[Got("x")]], "!delivered, held 0, paid 5, code -", [1, 0, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[Resend(1, 0)], &[Silence(2, 0)], &[No(1, 0)]], "sent, held 5, paid 0, code 601", [0, 1, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[Resend(1, 0)], &[Yes(2, 0, "a")], &[Yes(1, 0, "b")], &[Lost("b")]], "sent, held 5, paid 0, code -", [1, 0, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[Resend(1, 0)], &[Yes(2, 0, "a")], &[Yes(1, 0, "b")], &[Got("b")]], "!delivered, held 0, paid 5, code -", [1, 0, 0, 0]),
    // A deadline, and what comes after the end.
    (NONE, 1, &[&[Silence(1, 0)], &[Deadline]], "!failed, held 0, paid 0, code 602", [0, 1, 0, 0]),
    (NONE, 1, &[&[Silence(1, 0)], &[Deadline], &[Yes(1, 0, "a")]], "!failed, held 0, paid 0, code 602", [0, 0, 0, 0]),
    (NONE, 1, &[&[Deadline, Yes(1, 0, "a")], &[Got("a")]], "!failed, held 0, paid 0, code 503", [0, 0, 1, 0]),
    (NONE, 1, &[&[No(1, 0)], &[Yes(1, 0, "a")]], "!failed, held 0, paid 0, code 401", [0, 0, 0, 0]),
    (NONE, 2, &[&[Yes(1, 0, "a")], &[Cancel]], "sent, held 5, paid 0, code 502", [1, 0, 0, 0]),
];

#[tokio::test]
async fn what_becomes_of_a_message() {
    on_both(async |w: &mut World| {
        for (i, (flags, parts, commits, expected, left)) in ROWS.iter().enumerate() {
            let row = 1000 + i as i64;
            let a = w.account(100).await;
            let id = w.take(a, NewMessage { flags: *flags, ..message(row as u64, *parts) }).await;
            for commit in *commits {
                let items: Vec<_> = commit.iter().map(|what| item(*what, row, id, w.now)).collect();
                let settled = w.settle(&items).await;
                assert_eq!(settled.len(), items.len());
            }
            assert_eq!(w.show(id).await, *expected, "row {i}: {commits:?}");
            let tables = [
                format!("carrier_ref WHERE carrier_id LIKE '{row}/%'"),
                format!("unknown_attempt WHERE phone_tag = {row}"),
                format!("parked_receipt WHERE carrier_id LIKE '{row}/%'"),
                format!("due_at WHERE account_no = {}", a.0),
            ];
            for (table, rows) in tables.iter().zip(left) {
                assert_eq!(w.count(table).await, *rows, "row {i}: {table} after {commits:?}");
            }
        }
        assert_eq!(w.count("event").await, 0, "nobody asked to be told");
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_and_a_result_say_what_changed() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let id = w.take(a, message(1, 1)).await;
        let step = async |w: &mut World, what| {
            let item = item(what, 1, id, w.now);
            let s: Settled = w.settle(&[item]).await.remove(0);
            let states = s.states.map(|(from, to)| format!("{}>{}", from.as_str(), to.as_str())).unwrap_or_default();
            (states, s.changed, s.closed, s.captured.0, s.released.0, s.parked)
        };
        assert_eq!(step(w, Interim("a")).await, (String::new(), false, false, 0, 0, false));
        assert_eq!(step(w, Got("a")).await, (String::new(), false, false, 0, 0, true));
        assert_eq!(step(w, Yes(1, 0, "a")).await, ("queued>delivered".into(), true, true, 5, 0, false));
        assert_eq!(step(w, Yes(1, 0, "a")).await, ("delivered>delivered".into(), false, true, 0, 0, false));
        assert_eq!(w.count("attempt WHERE result = 4").await, 1, "a late yes is remembered");
        assert_eq!(w.money(a).await, "95/0/5");
        let nobody = MessageId::new(w.now, 1, a);
        let unknown = outcome(nobody, 1, 1, 0, w.now, PartResult::Unknown { submitted_at: w.now, decide_at: 0 });
        assert_eq!(w.settle(&[unknown]).await, [Settled::default()]);
    })
    .await;
}

#[tokio::test]
async fn carriers_reuse_ids() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let mut ids = Vec::new();
        for phone in [1, 2, 1] {
            let id = w.take(a, message(phone, 1)).await;
            let result = PartResult::Accepted { carrier_id: "same".into(), receipts: true };
            w.settle(&[outcome(id, phone as i64, 1, 0, w.now, result)]).await;
            ids.push(id);
        }
        let fresh = w.take(a, message(4, 1)).await;
        let states = async |w: &World| {
            let mut states = Vec::new();
            for id in ids.iter().chain([&fresh]) {
                states.push(w.show(*id).await.split(',').next().unwrap().to_owned());
            }
            states.join(" ")
        };
        let got = |tag| SettleItem::Receipt(receipt("same".into(), tag, ReceiptKind::Delivered, w.now));
        let (one, two, nine, unnamed) = (got(Some(1)), got(Some(2)), got(Some(9)), got(None));
        w.settle(&[nine]).await;
        assert_eq!(states(w).await, "sent sent sent queued", "nobody's number: parked");
        w.settle(&[one]).await;
        assert_eq!(states(w).await, "sent sent !delivered queued", "the newest to that number");
        // An answer of the same commit has the same id and another number: it is not meant.
        let result = PartResult::Accepted { carrier_id: "same".into(), receipts: true };
        w.settle(&[outcome(fresh, 4, 1, 0, w.now, result), two]).await;
        assert_eq!(states(w).await, "sent !delivered !delivered sent");
        w.settle(&[unnamed]).await;
        assert_eq!(states(w).await, "sent !delivered !delivered !delivered", "without a number, the newest");
    })
    .await;
}

#[tokio::test]
async fn the_oldest_unknown_attempt_gets_the_receipt() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let (first, second) = (w.take(a, message(1, 1)).await, w.take(a, message(1, 1)).await);
        for (id, at) in [(second, w.now + 1), (first, w.now)] {
            w.settle(&[outcome(id, 1, 1, 0, at, PartResult::Unknown { submitted_at: at, decide_at: w.now + 9 })]).await;
        }
        w.settle(&[SettleItem::Receipt(receipt("x".into(), Some(1), ReceiptKind::Delivered, w.now))]).await;
        assert_eq!(w.show(first).await, "!delivered, held 0, paid 5, code -");
        assert_eq!(w.show(second).await, "sent, held 5, paid 0, code 601");
        assert!(w.reader.undecided(w.now + 8, 10).await.unwrap().is_empty());
        let due = w.reader.undecided(w.now + 9, 10).await.unwrap();
        assert_eq!(due.iter().map(|u| u.id).collect::<Vec<_>>(), [second]);
        w.settle(&[SettleItem::Decide { attempt: due[0], resend: true, error: REFUSED }]).await;
        assert!(w.reader.undecided(i64::MAX, 10).await.unwrap().is_empty(), "decided");
    })
    .await;
}

#[tokio::test]
async fn totals_of_a_batch_follow_its_messages() {
    on_both(async |w: &mut World| {
        let a = w.account(100).await;
        let batch = w.batch(a, false);
        let request = IntakeRequest { account: a, key: None, step: Step::Batch(batch), messages: shared(6) };
        let Verdict::Accepted { first, .. } = w.intake(&[request]).await[0] else { panic!() };
        let totals = async |w: &World| {
            let sql = "SELECT CAST(queued AS BIGINT), CAST(sent AS BIGINT), CAST(delivered AS BIGINT), CAST(failed AS BIGINT), held, captured FROM batch";
            w.numbers(sql).await[0].iter().map(|n| n.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(totals(w).await, [6, 0, 0, 0, 30, 0]);
        let nth = |i, what: Do| item(what, i64::from(i), first.nth(i), w.now);
        let commit = [nth(0, Yes(1, 0, "a")), nth(1, Yes(1, 0, "a")), nth(1, Got("a")), nth(2, No(1, 0)), nth(3, Retry(1, 0))];
        let later = [nth(0, Lost("a")), nth(3, Yes(2, 0, "a")), nth(4, Last(1, 0)), nth(5, Cancel)];
        w.settle(&commit).await;
        assert_eq!(totals(w).await, [3, 1, 1, 1, 20, 5]);
        w.settle(&later).await;
        assert_eq!(totals(w).await, [0, 2, 1, 3, 5, 10]);
        assert_eq!(w.money(a).await, "85/5/10");
    })
    .await;
}

#[tokio::test]
async fn events_are_of_messages_that_ask_for_them() {
    on_both(async |w: &mut World| {
        let (a, b) = (w.account(100).await, w.account(100).await);
        let told = NewMessage { flags: Flags::EVENTS, ..message(1, 1) };
        let (one, two, other) = (w.take(a, told.clone()).await, w.take(b, told).await, w.take(a, message(2, 1)).await);
        let items =
            [item(Yes(1, 0, "a"), 1, one, w.now), item(Yes(1, 0, "b"), 1, two, w.now), item(No(1, 0), 2, other, w.now)];
        let got = item(Got("a"), 1, one, w.now);
        w.settle(&items).await;
        assert_eq!(w.count("event").await, 2, "one row per account and commit");
        w.settle(std::slice::from_ref(&got)).await;
        w.settle(&[got]).await;
        let lengths = w
            .numbers("SELECT account_no, CAST(LENGTH(transitions) AS BIGINT) FROM event ORDER BY account_no, id")
            .await;
        let (a, b) = (Some(i64::from(a.0)), Some(i64::from(b.0)));
        assert_eq!(lengths, [[a, Some(18)], [a, Some(18)], [b, Some(18)]]);
    })
    .await;
}

/// What is sent behind a statement that fails is refused for another reason: that is not what the writer is to go by.
#[tokio::test]
async fn what_postgres_refused_is_told_even_by_the_first_round_of_a_session() {
    let mut w = World::open(Some(TestPostgres::start().fresh_database().await)).await;
    let a = w.account(1000).await;
    let batch = w.batch(a, false);
    let request = IntakeRequest { account: a, key: None, step: Step::Batch(batch), messages: shared(1) };
    let Verdict::Accepted { first: id, .. } = w.intake(&[request]).await[0] else { panic!() };
    w.numbers("ALTER TABLE message ADD CONSTRAINT never_sent CHECK (state <> 2)").await;
    w.reopen().await;
    let yes = PartResult::Accepted { carrier_id: "a".into(), receipts: true };
    for _ in 0..2 {
        let refused = w.hot.commit_settle(&[outcome(id, 1, 1, 0, NOON, yes.clone())], &[], NOON).await;
        assert!(matches!(&refused, Err(StoreError::Broken(why)) if why.contains("never_sent")), "{refused:?}");
    }
    let end = SettleItem::End { id, state: State::Canceled, error: 502, unknown_too: false };
    assert!(w.settle(&[end]).await[0].changed);
}

/// A change finds its message by the place it lies at, and somebody else's change moves it.
#[tokio::test]
async fn an_outcome_finds_a_message_that_was_changed_while_it_waited() {
    let mut w = World::open(Some(TestPostgres::start().fresh_database().await)).await;
    let a = w.account(100).await;
    let id = w.take(a, message(1, 1)).await;
    let Db::Postgres(pool) = w.db.clone() else { panic!("the URL is of PostgreSQL") };
    let mut other = pool.begin().await.unwrap();
    sqlx::query("UPDATE message SET callback_url = 'http://example.com'").execute(&mut *other).await.unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let end_once_waited_for = async {
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&pool).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        other.commit().await.unwrap();
    };
    let yes = [outcome(id, 1, 1, 0, NOON, PartResult::Accepted { carrier_id: "a".into(), receipts: true })];
    let both = async { tokio::join!(w.hot.commit_settle(&yes, &[], NOON), end_once_waited_for) };
    let (settled, ()) =
        tokio::time::timeout(Duration::from_secs(30), both).await.expect("the outcome waits for the row");
    assert!(settled.unwrap()[0].changed);
    assert_eq!(w.show(id).await, "sent, held 5, paid 0, code -");
    assert_eq!(w.count("message WHERE callback_url IS NOT NULL").await, 1, "what the other changed stays");
}
