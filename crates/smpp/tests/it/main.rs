//! What the crate promises, seen from outside: octets, bad input, receipts, and sessions over loopback TCP.

#![allow(clippy::unwrap_used, clippy::type_complexity, reason = "tests, whose tables are types of their own")]

mod codec;
mod content;
mod malformed;
mod peer;
mod receipts;
mod sessions;
mod unhappy;
