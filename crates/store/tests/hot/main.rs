//! One contract for the hot path and what sweeps behind it, run on both databases. After every test the ledger must verify, and usage be what the messages say.
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

mod activity;
mod campaign;
mod drip;
mod intake;
mod mms;
mod outbox;
mod random;
mod reading;
mod settle;
mod sweep;
mod usage;
mod verification;
mod webhook;
mod world;
