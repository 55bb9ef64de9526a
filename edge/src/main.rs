//! `leuko-edge`: arguments in, exit code out.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use edge::cli::Cli;
use edge::exit::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut print = std::io::stdout().lock();
    let outcome =
        edge::commands::run(cli, &mut print).and_then(|()| print.flush().map_err(Failure::from));
    match outcome {
        Ok(()) => ExitCode::from(edge::exit::OK),
        Err(failure) => {
            let code = failure.code();
            if !failure.is_silent() {
                eprintln!("leuko-edge: {:#}", anyhow::Error::new(failure));
            }
            ExitCode::from(code)
        }
    }
}
