//! Everything about the server that is tested from outside, as one binary: it links once.

mod api;
mod app;
mod faults;
