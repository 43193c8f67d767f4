//! Other documents' endpoints, tested by what those documents show.

mod course_sms;
mod merchant;
mod merchant_refusals;
