//! The program `carillon`.
fn main() {}
