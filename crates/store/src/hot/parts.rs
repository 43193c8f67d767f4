//! The states of a message's parts as its row holds them.

use carillon_domain::message::{PartState, Parts, State};

/// One byte a part, for messages of several.
pub(crate) fn part_bytes(parts: &[PartState]) -> Option<Vec<u8>> {
    (parts.len() > 1).then(|| parts.iter().map(|p| p.number()).collect())
}

/// The parts of a message from its columns; of a single part, from its state.
pub(crate) fn parts_of(count: i32, bytes: Option<&[u8]>, state: State, in_doubt: bool, closed: bool) -> Parts {
    if let Some(bytes) = bytes {
        return Parts::Many(bytes.iter().map(|b| PartState::from_number(*b).unwrap_or(PartState::Unknown)).collect());
    }
    if count > 1 {
        return Parts::pending(count.min(255) as u8);
    }
    Parts::One(match state {
        State::Scheduled | State::Queued => PartState::Pending,
        State::Sent if closed => PartState::Delivered,
        State::Sent if in_doubt => PartState::Unknown,
        State::Sent => PartState::Accepted,
        State::Delivered | State::Received => PartState::Delivered,
        State::Undelivered => PartState::Failed,
        _ => PartState::Refused,
    })
}
