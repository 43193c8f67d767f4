//! Everything about the server that is tested from outside, as one binary: it links once.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(unreachable_pub, reason = "a test binary has no outside; `pub` here means: for the other files")]

mod api;
mod app;
mod faces;
mod faults;
mod hooks;
mod mail;
mod smpp_server;
