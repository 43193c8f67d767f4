//! `carillon-bench`: the load generator by itself; `carillon bench` is the same.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "carillon-bench", version, about = "Load scenarios against a running Carillon")]
struct Command {
    #[command(flatten)]
    args: carillon_bench::Args,
}

fn main() -> ExitCode {
    match carillon_bench::run_blocking(Command::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("carillon-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
