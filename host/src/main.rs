//! `leuko-host`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    host::allocator::keep_freed();
    // Before anything touches a tensor; the library must stay loaded as long as the process lives.
    // Without it there is only the CPU, which is no error; `doctor` says why.
    std::mem::forget(host::device::load_cuda());
    let run = || {
        let argv = host::cli::config::expand(std::env::args_os().collect())?;
        host::cli::Cli::parse_from(argv).run()
    };
    match host::engine::memory::told(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leuko-host: {error:#}");
            ExitCode::from(host::exit::code(&error))
        }
    }
}
