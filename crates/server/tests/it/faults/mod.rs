//! Faults the server must survive: the real program as a process of its own, on a real file or PostgreSQL, and a carrier in the test
//! that outlives it. `world` starts and ends them, `load` asks for messages and remembers what it was answered.

mod backlog;
mod campaigns;
mod carrier_silent;
mod clock;
mod customers;
mod database;
mod disk;
mod drips;
mod graceful;
mod http;
mod import;
mod inbound;
mod kill;
mod link;
mod load;
mod money;
mod otp;
mod receipts;
mod scheduled;
mod throttled;
mod web;
mod webhooks;
mod world;
