//! The HTTP API.

mod auth;
mod bad_input;
mod batches;
mod callbacks;
mod connections;
mod contacts;
mod isolation;
mod keys;
mod limits;
mod me;
mod media;
mod media_s3;
pub mod messages;
mod mms;
mod openapi;
mod provider_inbound;
mod provider_secrets;
mod rates;
mod reports;
mod requests;
mod retention;
mod routes;
mod seed1;
mod senders;
mod suppressions;
mod two_way;
mod verifications;
