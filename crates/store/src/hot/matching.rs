//! Which message a receipt is about, when carriers reuse ids, lose answers, or send receipts before them.

use super::settle::{CarrierRef, OpenRef, OpenUnknown, Parked, Read};
use super::{Attempted, Outcome, Receipt, Scope};

/// Carriers reuse ids: the newest with the receipt's destination wins; an only one wins even if the carrier writes numbers its own way.
pub(super) fn find_ref<'a>(receipt: &'a Receipt, read: &mut Read<'a>) -> Option<OpenRef<'a>> {
    let all = read.refs.get_mut(&(receipt.connection, receipt.carrier_id.as_str()))?;
    let newest = |fits: &dyn Fn(&CarrierRef<'_>) -> bool| {
        let fitting = all.iter().enumerate().filter(|(_, r)| fits(&r.reference));
        fitting.max_by_key(|(_, r)| (r.fresh, r.reference.id, r.reference.attempt)).map(|(at, _)| at)
    };
    let at = match receipt.phone_tag {
        Some(tag) => newest(&|r| r.phone_tag == tag).or((all.len() == 1).then_some(0)),
        None => newest(&|_| true),
    };
    at.map(|at| all.remove(at))
}

/// A receipt without a match goes to the oldest unknown attempt with its destination and sender.
pub(super) fn find_unknown(receipt: &Receipt, read: &mut Read<'_>) -> Option<Attempted> {
    let all = read.unknowns.get_mut(&(receipt.connection, receipt.phone_tag?))?;
    let fits = |u: &OpenUnknown| u.sender.is_none() || receipt.sender.is_none() || u.sender == receipt.sender;
    let fitting = all.iter().enumerate().filter(|(_, u)| fits(u));
    let at = fitting.min_by_key(|(_, u)| (u.submitted_at, u.attempt.id, u.attempt.part)).map(|(at, _)| at)?;
    Some(all.remove(at).attempt)
}

/// A part got no answer: the oldest receipt for its destination that came since its submit and found no message is taken for its own.
/// With it, whether it is used up.
pub(super) fn receipt_since(
    silent: &Outcome,
    submitted_at: i64,
    last: bool,
    read: &mut Read<'_>,
) -> Option<(Parked, bool)> {
    let all = read.parked_for.get_mut(&(silent.connection, silent.phone_tag))?;
    let at = all.iter().position(|p| p.receipt.at >= submitted_at)?;
    Some(take_parked(all, at, last))
}

/// Another part that went out with `first` under the receipt's id, or that got no answer with it.
pub(super) fn find_sibling<'a>(receipt: &'a Receipt, first: &Attempted, read: &mut Read<'a>) -> Option<Found<'a>> {
    let ours = |id, attempt| id == first.id && attempt == first.attempt;
    if let Some(all) = read.refs.get_mut(&(receipt.connection, receipt.carrier_id.as_str()))
        && let Some(at) = all.iter().position(|r| ours(r.reference.id, r.reference.attempt))
    {
        return Some(Found::Ref(all.remove(at)));
    }
    let all = read.unknowns.get_mut(&(receipt.connection, first.phone_tag))?;
    let at = all.iter().position(|u| ours(u.attempt.id, u.attempt.attempt))?;
    Some(Found::Unknown(all.remove(at).attempt))
}

/// What a receipt was found to be about.
pub(super) enum Found<'a> {
    /// A part the carrier took.
    Ref(OpenRef<'a>),
    /// A part it never answered.
    Unknown(Attempted),
}

/// Takes a waiting receipt for a part; one of the whole message stays for the parts that follow.
pub(super) fn take_parked(all: &mut Vec<Parked>, at: usize, last: bool) -> (Parked, bool) {
    let stays = all[at].receipt.scope == Scope::Message && !last;
    if stays { (all[at].clone(), false) } else { (all.remove(at), true) }
}
