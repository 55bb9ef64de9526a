//! SIGTERM and Ctrl-C as messages.

use std::sync::mpsc::Sender;
use std::{io, process, thread};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit;

/// Who asks the program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM: systemd, or a person with `kill`.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
}

/// Sends what is asked from now on, from the thread `signals`. The second time the process ends at once:
/// what was acknowledged is on the disk, and the next start puts the rest right.
///
/// # Errors
/// When the system gives no thread or takes no handler.
pub fn listen<T>(to: Sender<T>) -> io::Result<()>
where
    T: From<Asked> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    // Signals from here on are caught, also those that come before the thread runs.
    let (terminate, interrupt) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    let wait = move || runtime.block_on(pass_on(terminate, interrupt, &to));
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)?;
    Ok(())
}

async fn pass_on<T: From<Asked>>(mut terminate: Signal, mut interrupt: Signal, to: &Sender<T>) {
    let mut again = false;
    loop {
        let asked = tokio::select! {
            Some(()) = terminate.recv() => Asked::Terminate,
            Some(()) = interrupt.recv() => Asked::Interrupt,
            else => return,
        };
        if again || to.send(asked.into()).is_err() {
            process::exit(i32::from(exit::INTERRUPTED));
        }
        again = true;
    }
}
