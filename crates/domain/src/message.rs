//! The life of a message: its states, and the one function that applies what happened to it and says what becomes of its hold.
//!
//! A message has parts, and each part its own state; the message's state follows from them. Money is counted per part: a part's
//! price is held until the part is delivered (captured) or known not to be (released). Whatever order events come in, however
//! often, a part ends once and is paid for at most once. Transitions that are not listed here change nothing.

mod flags;

use crate::error_code::ErrorCode;
use crate::money::Money;

pub use flags::Flags;

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident: $ty:ty { $($(#[$vdoc:meta])* $variant:ident = $n:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant = $n,)* }
        impl $name {
            /// All of them, by number.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// Its name in the API.
            pub fn as_str(self) -> &'static str { match self { $($name::$variant => $text,)* } }
            /// From its stored number.
            pub fn from_number(n: $ty) -> Option<$name> { match n { $($n => Some($name::$variant),)* _ => None } }
            /// Its stored number.
            pub fn number(self) -> $ty { self as $ty }
            /// From its name in the API.
            pub fn from_name(text: &str) -> Option<$name> { match text { $($text => Some($name::$variant),)* _ => None } }
        }
    };
}

pub(crate) use numbered;

numbered! {
    /// Where a message stands (DESIGN §4).
    State: i16 {
        /// Waits for its time.
        Scheduled = 0 "scheduled",
        /// Accepted and durable; waits for a carrier's slot.
        Queued = 1 "queued",
        /// Handed to a carrier.
        Sent = 2 "sent",
        /// The handset has all its parts.
        Delivered = 3 "delivered",
        /// A carrier took it and it did not arrive.
        Undelivered = 4 "undelivered",
        /// No carrier took it.
        Failed = 5 "failed",
        /// Its validity ended first.
        Expired = 6 "expired",
        /// Withdrawn by its sender.
        Canceled = 7 "canceled",
        /// Refused by a rule of ours after acceptance.
        Rejected = 8 "rejected",
        /// Came from a phone.
        Received = 9 "received",
    }
}

numbered! {
    /// Priority class, highest first.
    Lane: i16 {
        /// One-time codes: strict.
        Otp = 0 "otp",
        /// Paid to overtake.
        Express = 1 "express",
        /// Single messages.
        Normal = 2 "normal",
        /// Batches.
        Bulk = 3 "bulk",
    }
}

numbered! {
    /// What a message is for: decides consent and quiet hours.
    Category: i16 {
        /// Expected by the person written to.
        Transactional = 0 "transactional",
        /// Advertising.
        Promotional = 1 "promotional",
        /// A one-time code.
        Otp = 2 "otp",
    }
}

numbered! {
    /// Where one part stands.
    PartState: u8 {
        /// Not handed over yet.
        Pending = 0 "pending",
        /// The carrier has it.
        Accepted = 1 "accepted",
        /// The handset has it.
        Delivered = 2 "delivered",
        /// The carrier had it and it did not arrive.
        Failed = 3 "failed",
        /// Submitted, and no answer came.
        Unknown = 4 "unknown",
        /// No carrier took it.
        Refused = 5 "refused",
    }
}

impl PartState {
    /// Whether nothing more becomes of it.
    pub fn is_final(self) -> bool {
        matches!(self, PartState::Delivered | PartState::Failed | PartState::Refused)
    }
}

/// The states of all parts: one in place, more on the heap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parts {
    /// A message of one part, as most are.
    One(PartState),
    /// By index.
    Many(Vec<PartState>),
}

impl Parts {
    /// All pending.
    pub fn pending(count: u8) -> Parts {
        if count <= 1 {
            Parts::One(PartState::Pending)
        } else {
            Parts::Many(vec![PartState::Pending; usize::from(count)])
        }
    }

    /// As a slice by index.
    pub fn as_slice(&self) -> &[PartState] {
        match self {
            Parts::One(one) => std::slice::from_ref(one),
            Parts::Many(many) => many,
        }
    }

    fn get_mut(&mut self, part: u8) -> Option<&mut PartState> {
        match self {
            Parts::One(one) => (part == 0).then_some(one),
            Parts::Many(many) => many.get_mut(usize::from(part)),
        }
    }

    fn count(&self, of: impl Fn(PartState) -> bool) -> i64 {
        self.as_slice().iter().filter(|p| of(**p)).count() as i64
    }
}

/// Everything of a message that events change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Where it stands.
    pub state: State,
    /// Its properties; only `PAY_ON_ACCEPT` and `MMS` matter here.
    pub flags: Flags,
    /// Its parts.
    pub parts: Parts,
    /// Price of one part, fixed at acceptance.
    pub unit_price: Money,
    /// Price of the whole if it goes as an MMS (`Flags::MMS`), fixed at acceptance; `None` if it cannot.
    pub mms_price: Option<Money>,
    /// What is still reserved for it.
    pub held: Money,
    /// What was paid for it.
    pub captured: Money,
    /// Whether nothing more becomes of it (`final_at` is set).
    pub closed: bool,
    /// Why it failed, or why it is in doubt: the number of an `ErrorCode`.
    pub error: Option<i16>,
}

/// What may happen to a message after it was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Its time came.
    Due,
    /// The carrier took a part; without receipts to come, that ends it.
    Accepted {
        /// Index of the part.
        part: u8,
        /// Whether the connection reports deliveries.
        receipts: bool,
    },
    /// A part was submitted and no answer came.
    Unknown {
        /// Index of the part.
        part: u8,
        /// The code that says so.
        error: i16,
    },
    /// A part is not tried any more: no carrier took it.
    Refused {
        /// Index of the part.
        part: u8,
        /// Why.
        error: i16,
    },
    /// A part of unknown outcome is to be submitted again.
    Resend {
        /// Index of the part.
        part: u8,
    },
    /// A carrier took a part and did not deliver it; it goes to another.
    Reroute {
        /// Index of the part.
        part: u8,
        /// Why it was not delivered.
        error: i16,
    },
    /// The handset has the part.
    Delivered {
        /// Index of the part.
        part: u8,
    },
    /// The part did not arrive.
    Failed {
        /// Index of the part.
        part: u8,
        /// Why.
        error: i16,
    },
    /// The carrier took the part and says that it does not know what became of it. A better word may come until the message is closed.
    Doubted {
        /// Index of the part.
        part: u8,
    },
    /// Every part not yet with a carrier ends (cancel, expiry, deadline, no route); `unknown_too` (a deadline) ends those in doubt as
    /// well, and those whose delivery is not confirmed, unless the carrier's word is enough.
    End {
        /// The state the message takes if no part of it was ever taken.
        state: State,
        /// Why.
        error: i16,
        /// Whether parts of unknown outcome end too.
        unknown_too: bool,
    },
    /// No receipt came in all the time it may take: what a carrier took counts as sent, unless its last word was that it does not know.
    Close,
}

/// What an event did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effect {
    /// To move from held to spent.
    pub capture: Money,
    /// To move from held back to available.
    pub release: Money,
    /// Whether anything changed; otherwise the event is to be counted as ignored.
    pub changed: bool,
}

impl Progress {
    /// Of a message just accepted.
    pub fn accepted(state: State, flags: Flags, parts: u8, unit_price: Money) -> Progress {
        let held = unit_price * i64::from(parts.max(1));
        Progress {
            state,
            flags,
            parts: Parts::pending(parts),
            unit_price,
            mms_price: None,
            held,
            captured: Money::ZERO,
            closed: false,
            error: None,
        }
    }

    /// Whether it counts as a success: the handset has it, or, where the carrier's word is enough, the carrier took all of it.
    pub fn succeeded(&self) -> bool {
        let whole = self.captured == self.unit_price * self.parts.as_slice().len() as i64;
        // What failed after it was taken was paid; of what costs nothing that cannot be told, and a failure is one.
        let failed_paid = self.captured > Money::ZERO;
        let taken = |p: &PartState| match p {
            PartState::Accepted | PartState::Delivered => true,
            PartState::Failed => failed_paid,
            _ => false,
        };
        let paid = self.flags.has(Flags::PAY_ON_ACCEPT) && whole && self.parts.as_slice().iter().all(taken);
        paid || self.state == State::Delivered || (self.state == State::Sent && self.closed)
    }

    /// Applies one event. The only way a message changes after acceptance.
    pub fn apply(&mut self, event: Event) -> Effect {
        if self.closed {
            return Effect::default();
        }
        let changed = match event {
            Event::Due => self.due(),
            Event::Accepted { part, receipts } => {
                self.part(part, None, |p| match p {
                    PartState::Pending | PartState::Unknown => {
                        Some(if receipts { PartState::Accepted } else { PartState::Delivered })
                    }
                    _ => None,
                }) && (receipts || self.close_as_sent())
            }
            Event::Unknown { part, error } => {
                self.part(part, Some(error), |p| (p == PartState::Pending).then_some(PartState::Unknown))
            }
            Event::Resend { part } => {
                self.part(part, None, |p| (p == PartState::Unknown).then_some(PartState::Pending))
            }
            Event::Reroute { part, error } => self.part(part, Some(error), |p| {
                matches!(p, PartState::Accepted | PartState::Unknown).then_some(PartState::Pending)
            }),
            Event::Refused { part, error } => self.part(part, Some(error), |p| {
                matches!(p, PartState::Pending | PartState::Unknown).then_some(PartState::Refused)
            }),
            Event::Delivered { part } => self.part(part, None, |p| (!p.is_final()).then_some(PartState::Delivered)),
            Event::Failed { part, error } => {
                self.part(part, Some(error), |p| (!p.is_final()).then_some(PartState::Failed))
            }
            Event::Doubted { part } => {
                !self.doubted()
                    && self.part(part, Some(ErrorCode::ReceiptUnknown.number()), |p| {
                        (p == PartState::Accepted).then_some(p)
                    })
            }
            Event::End { state, error, unknown_too } => self.end(state, error, unknown_too),
            Event::Close => self.close(),
        };
        if !changed {
            return Effect::default();
        }
        if !matches!(event, Event::End { .. } | Event::Close | Event::Doubted { .. }) {
            self.follow_parts(State::Failed);
        }
        self.settle_money()
    }

    fn doubted(&self) -> bool {
        self.error == Some(ErrorCode::ReceiptUnknown.number())
    }

    fn due(&mut self) -> bool {
        let scheduled = self.state == State::Scheduled;
        if scheduled {
            self.state = State::Queued;
        }
        scheduled
    }

    fn part(&mut self, part: u8, error: Option<i16>, next: impl Fn(PartState) -> Option<PartState>) -> bool {
        let Some(slot) = self.parts.get_mut(part) else { return false };
        let Some(new) = next(*slot) else { return false };
        *slot = new;
        if error.is_some() {
            self.error = error;
        }
        true
    }

    /// Without receipts a part is done once taken; the message then stays `sent` for good rather than claim a delivery.
    fn close_as_sent(&mut self) -> bool {
        if self.parts.as_slice().iter().all(|p| *p == PartState::Delivered) {
            self.state = State::Sent;
            self.closed = true;
            self.error = None;
        }
        true
    }

    fn end(&mut self, state: State, error: i16, unknown_too: bool) -> bool {
        let mut changed = false;
        let unconfirmed_too = unknown_too && !self.flags.has(Flags::PAY_ON_ACCEPT);
        for i in 0..self.parts.as_slice().len() {
            changed |= self.part(i as u8, Some(error), |p| match p {
                PartState::Pending => Some(PartState::Refused),
                PartState::Unknown if unknown_too => Some(PartState::Refused),
                // The handset's word was asked for, and did not come in time.
                PartState::Accepted if unconfirmed_too => Some(PartState::Failed),
                _ => None,
            });
        }
        if changed {
            self.follow_parts(state);
        }
        changed
    }

    fn close(&mut self) -> bool {
        if self.parts.count(|p| p == PartState::Pending) > 0 {
            return false;
        }
        let any_failed = self.parts.count(|p| matches!(p, PartState::Failed | PartState::Refused)) > 0;
        let silent = if self.doubted() { PartState::Failed } else { PartState::Delivered };
        for i in 0..self.parts.as_slice().len() {
            self.part(i as u8, None, |p| match p {
                PartState::Accepted => Some(silent),
                PartState::Unknown => Some(PartState::Failed),
                _ => None,
            });
        }
        let any_taken = self.parts.count(|p| p == PartState::Delivered) > 0;
        self.state = if any_failed || self.doubted() || !any_taken { State::Undelivered } else { State::Sent };
        self.closed = true;
        true
    }

    /// Sets the message's state from its parts'. `untaken` is its state when every part ended before a carrier took any.
    fn follow_parts(&mut self, untaken: State) {
        if self.closed {
            return;
        }
        let all = self.parts.as_slice().len() as i64;
        let delivered = self.parts.count(|p| p == PartState::Delivered);
        let ended = self.parts.count(PartState::is_final);
        let pending = self.parts.count(|p| p == PartState::Pending);
        if ended == all {
            self.closed = true;
            self.state = if delivered == all {
                State::Delivered
            } else if self.parts.count(|p| p == PartState::Refused) == all {
                untaken
            } else {
                State::Undelivered
            };
            if 0 < delivered && delivered < all {
                self.error = Some(ErrorCode::PartiallyDelivered.number());
            }
        } else if pending == 0 {
            self.state = State::Sent;
        } else if self.state != State::Scheduled {
            self.state = State::Queued;
        }
        let unknown = self.parts.count(|p| p == PartState::Unknown);
        let untroubled = unknown == 0 && ended == 0 && !self.doubted();
        if self.state == State::Delivered || (self.state == State::Sent && untroubled) {
            self.error = None;
        }
    }

    /// What so many of its parts cost. An MMS has one price for all of them; of some it is their share.
    fn price_of(&self, parts: i64) -> Money {
        match self.mms_price.filter(|_| self.flags.has(Flags::MMS)) {
            Some(price) => Money(price.0 * parts / self.parts.as_slice().len() as i64),
            None => self.unit_price * parts,
        }
    }

    /// A part that no carrier is known to have was handed over, within an MMS or as text: the price is that of the way taken last. Whether
    /// the flags changed; of what has but one way they never do.
    pub fn goes_as(&mut self, part: u8, mms: bool) -> bool {
        let open = matches!(self.parts.get_mut(part), Some(PartState::Pending | PartState::Unknown));
        if self.mms_price.is_none() || !open || self.flags.has(Flags::MMS) == mms {
            return false;
        }
        self.flags = Flags(self.flags.0 ^ Flags::MMS.0);
        true
    }

    /// Brings `held` and `captured` to what the parts say: a part is paid for once delivered (or taken, if it pays then) and held until it ends.
    fn settle_money(&mut self) -> Effect {
        let pays_on_accept = self.flags.has(Flags::PAY_ON_ACCEPT);
        let paid = self.parts.count(|p| p == PartState::Delivered || (pays_on_accept && p == PartState::Accepted));
        let unpaid = |p| p != PartState::Accepted || !pays_on_accept;
        let open = self.parts.count(|p: PartState| !p.is_final() && unpaid(p));
        // A part that paid on acceptance and then failed stays paid: success was the carrier's word.
        let captured = Money(self.price_of(paid).0.max(self.captured.0));
        let capture = Money((captured - self.captured).0.min(self.held.0));
        // How it will have gone in the end is not known before: what can still be either keeps the whole.
        let needed = if self.mms_price.is_some() && open > 0 { self.held } else { self.unit_price * open };
        let held = Money(needed.0.min((self.held - capture).0));
        let release = self.held - capture - held;
        self.captured += capture;
        self.held = held;
        Effect { capture, release, changed: true }
    }
}

#[cfg(test)]
mod tests;
