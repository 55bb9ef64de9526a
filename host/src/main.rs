//! `leuko-host`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    host::allocator::keep_freed();
    // Before anything touches a tensor; the library must stay loaded as long as the process lives.
    std::mem::forget(host::device::load_cuda());
    let result = host::cli::config::expand(std::env::args_os().collect())
        .and_then(|argv| host::cli::Cli::parse_from(argv).run());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leuko-host: {error:#}");
            ExitCode::from(host::exit::code(&error))
        }
    }
}
