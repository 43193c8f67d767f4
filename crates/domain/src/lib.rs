//! The rules of Carillon: no I/O, no async, no clock, no randomness. Time and random bytes are passed in.

pub mod account;
pub mod contact;
pub mod encoding;
pub mod error_code;
pub mod event;
pub mod id;
pub mod inbound;
pub mod keyword;
pub mod limit;
pub mod media;
pub mod message;
pub mod money;
pub mod permission;
pub mod phone;
pub mod price;
pub mod rate;
pub mod report;
pub mod retry;
pub mod route;
pub mod sender;
pub mod smpp;
pub mod suppression;
pub mod template;
pub mod usage;
pub mod verification;
pub mod webhook;
