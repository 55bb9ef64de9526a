//! `leuko-host`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before anything touches a tensor; the library must stay loaded as long as the process lives.
    // Without it there is only the CPU, which is no error; `doctor` says why.
    std::mem::forget(host::device::load_cuda());
    match host::engine::memory::told(|| host::cli::Cli::parse().run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leuko-host: {error:#}");
            ExitCode::from(host::exit::code(&error))
        }
    }
}
