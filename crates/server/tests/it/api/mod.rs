//! The HTTP API.

mod auth;
mod isolation;
mod keys;
mod me;
mod requests;
