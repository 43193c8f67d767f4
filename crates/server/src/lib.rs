//! The server of Carillon; the program `carillon` is a thin shell round this library, so that tests can run it in process.
//!
//! `app` holds the handles everything shares, `api` translates HTTP, `access` knows who asks, `cli` is the command line,
//! `faces` are other documents' endpoints over the same functions,
//! `simulator` is a carrier to send to, `smpp_server` where customers bind.

pub mod access;
pub mod api;
pub mod app;
pub mod campaigns;
pub mod cli;
pub mod clicks;
pub mod clock;
pub mod config;
pub mod consents;
pub mod drips;
pub mod faces;
pub mod imports;
pub mod inbound;
pub mod jobs;
pub mod links;
pub mod media;
pub mod notify;
pub mod pipeline;
pub mod reporting;
pub mod routing;
mod runner;
pub mod simulator;
pub mod smpp_server;
pub mod sources;
pub mod telemetry;
