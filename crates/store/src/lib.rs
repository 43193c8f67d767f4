//! All SQL, and nothing but SQL: one file per noun, one text for both databases; `hot` holds the two functions every message passes.
//!
//! `Db` is a handle on either database. What reads uses `read_db!`, what writes uses `write_db!` (one transaction; on SQLite
//! behind the one fair gate all writers of the file share). style.md §2 lists what a text may use so that both databases run it.

#[macro_use]
mod db;
// Before who uses its macro.
#[macro_use]
pub mod segment;

pub mod ab_test;
pub mod account;
pub mod activity;
pub mod api_key;
pub mod audience_file;
pub mod batch;
pub mod campaign;
pub mod campaign_run;
pub mod carrier_rate;
pub mod checkpoint;
pub mod connection;
pub mod consent;
pub mod contact;
pub mod contact_group;
pub mod contact_import;
pub mod conversation;
pub mod delivery;
pub mod drip;
pub mod drip_enrollment;
pub mod drip_wave;
pub mod email;
pub mod email_token;
pub mod event;
pub mod hot;
mod idempotency;
pub mod inbound;
pub mod inbound_message;
pub mod inbound_number;
pub mod keyword_rule;
pub mod lead;
pub mod ledger;
pub mod media;
pub mod merchant;
pub mod message;
pub mod number_range;
pub mod payment;
pub mod platform;
pub mod rate;
pub mod replacement;
pub mod report;
pub mod route;
pub mod sender;
pub mod session;
pub mod set_aside;
pub mod short_link;
pub mod smpp_credential;
pub mod smpp_delivery;
pub mod source;
mod statistics;
pub mod suppression;
pub mod sweep;
pub mod template;
#[cfg(feature = "testing")]
pub mod testing;
pub mod throughput;
pub mod usage;
pub mod user;
pub mod verification;
pub mod webhook;

pub use db::{Db, DbKind, Sqlite, StoreError};
