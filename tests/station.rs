//! The station's program, where the tests that start it as a process find it.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use edge::cli::Cli;

fn main() -> ExitCode {
    let mut print = std::io::stdout().lock();
    let outcome = edge::commands::run(Cli::parse(), &mut print);
    match outcome.and_then(|()| Ok(print.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("station: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
