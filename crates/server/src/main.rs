//! The program `carillon`: a thin shell round the library.

/// Many small, short-lived values on many threads are what this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    carillon::cli::main()
}
