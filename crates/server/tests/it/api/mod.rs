//! The HTTP API.

mod auth;
mod bad_input;
mod batches;
mod isolation;
mod keys;
mod me;
pub mod messages;
mod openapi;
mod requests;
mod seed1;
mod senders;
mod suppressions;
mod two_way;
