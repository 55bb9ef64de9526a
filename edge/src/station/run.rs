//! The threads of the station, from start to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use serde_json::json;

use crate::config::HttpConfig;
use crate::exit::Failure;
use crate::log::Level;
use crate::service::command::{Desk as PageDesk, desk as page_desk};
use crate::service::signals::{self, Asked};
use crate::service::watchdog::{Notifier, Watchdog};
use crate::service::{Limits, Service, StationView};

use super::analysis::{Analysis, People};
use super::capture::Capture;
use super::shared::{Shared, Task};
use super::start::{Choice, Parts, StartError, Unable, begin};

/// Why the station ends, or may.
#[derive(Debug)]
pub enum End {
    /// Somebody asks for it.
    Asked(Asked),
    /// The source has no more frames.
    SourceOver,
    /// The case that it was started for is not opened, or the source that nobody waits for.
    Refused(Box<StartError>),
    /// A thread has ended by a mistake of the program.
    Panicked(&'static str),
}

impl From<Asked> for End {
    fn from(asked: Asked) -> Self {
        Self::Asked(asked)
    }
}

/// `leuko-edge run`: until it is asked to end.
///
/// # Errors
/// Why it did not start, or ended otherwise than by SIGTERM.
pub fn run(choice: &Choice) -> Result<(), Failure> {
    let (ends, end) = channel();
    signals::listen(ends.clone()).map_err(StartError::Thread)?;
    match begin(choice) {
        Ok(parts) => work(choice, parts, ends, &end),
        Err(unable) if unable.has_page(choice) => safe_mode(&unable, &end),
        Err(unable) => Err((*unable.error).into()),
    }
}

/// Shows why the station does not start, and counts nothing.
fn safe_mode(unable: &Unable, end: &Receiver<End>) -> Result<(), Failure> {
    let reason = unable.error.to_string();
    let view = Arc::new(StationView::safe_mode(&reason));
    let start = Instant::now();
    // Nobody takes commands: the page says so.
    let (desk, _) = page_desk();
    let service = serve(&unable.http, &view, desk, start)?;
    let page = service.address();
    eprintln!("leuko-edge: {reason}; nothing is counted, http://{page}/ tells why");
    let systemd = Systemd::tell(view, move || start.elapsed())?;
    let outcome = wait(end, false);
    systemd.stop();
    service.stop();
    outcome
}

fn work(
    choice: &Choice,
    parts: Parts,
    ends: Sender<End>,
    end: &Receiver<End>,
) -> Result<(), Failure> {
    let shared = Arc::clone(&parts.shared);
    let to_desk = parts.to_desk.clone();
    let page_desk = PageDesk::into_queue(parts.to_desk.clone());
    let start = shared.clock.start();
    let service = serve(&parts.http, &shared.view, page_desk, start)?;
    let page = service.address().to_string();
    shared.say(Level::Info, "page", json!({ "address": page }));
    let threads = start_threads(choice, parts, &ends)?;
    let of_watchdog = Arc::clone(&shared);
    let systemd = Systemd::tell(Arc::clone(&shared.view), move || {
        of_watchdog.clock.since_start()
    })?;

    let outcome = wait(end, choice.until_end);
    let words = match &outcome {
        Ok(()) => "asked to".to_owned(),
        Err(failure) => failure.to_string(),
    };
    shared.log.renew();
    shared.say(Level::Info, "station_stops", json!({ "reason": words }));
    shared.stop.store(true, Ordering::Release);
    // Told that it is on purpose.
    systemd.stop();
    let outcome = threads.stop(outcome, || {
        // What was asked before this is still done.
        let _ = to_desk.send(Task::Stop);
    });
    service.stop();
    shared.say(Level::Info, "station_stopped", counted(&shared));
    outcome
}

/// What became of the frames.
fn counted(shared: &Shared) -> serde_json::Value {
    let numbers = &shared.numbers;
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let not: serde_json::Map<_, _> = numbers
        .not_counted()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.to_owned(), json!(count)))
        .collect();
    json!({
        "fields": read(&numbers.fields),
        "cells": read(&numbers.cells),
        "frames_not_counted": not,
        "frames_missed": read(&numbers.missed),
        "frames_while_not_counting": read(&numbers.idle),
    })
}

fn serve(
    http: &HttpConfig,
    view: &Arc<StationView>,
    desk: PageDesk,
    start: Instant,
) -> Result<Service, Failure> {
    let service = Service::start(http, Limits::default(), Arc::clone(view), desk, start);
    Ok(service.map_err(StartError::Service)?)
}

/// Until there is a reason to end.
fn wait(end: &Receiver<End>, until_end: bool) -> Result<(), Failure> {
    loop {
        match end.recv() {
            Ok(End::Asked(Asked::Interrupt)) => return Err(Failure::Interrupted),
            Ok(End::Asked(Asked::Terminate)) => return Ok(()),
            Ok(End::SourceOver) if until_end => return Ok(()),
            Ok(End::SourceOver) => {}
            Ok(End::Refused(error)) => return Err((*error).into()),
            Ok(End::Panicked(name)) => return Err(Failure::Thread(name)),
            // The thread `signals` holds a sender for ever.
            Err(_) => return Ok(()),
        }
    }
}

/// The three that work.
struct Threads {
    capture: JoinHandle<()>,
    analysis: JoinHandle<()>,
    desk: JoinHandle<()>,
}

fn start_threads(choice: &Choice, parts: Parts, ends: &Sender<End>) -> Result<Threads, Failure> {
    let shared = parts.shared;
    let (desk, tasks) = (parts.desk, parts.tasks);
    let analysis = Analysis::new(
        Arc::clone(&shared),
        parts.to_desk.clone(),
        parts.detector,
        parts.watch,
        match (choice.until_end, &choice.case) {
            (true, _) => People::Never,
            (false, Some(_)) => People::Later,
            (false, None) => People::Attend,
        },
        parts.keeps_time,
    );
    let capture = Capture::new(
        shared,
        parts.watched,
        parts.to_desk,
        ends.clone(),
        parts.waits,
        parts.missing_code,
    );
    let of_desk = ends.clone();
    Ok(Threads {
        desk: spawn("desk", ends, move || desk.run(&tasks, &of_desk))?,
        analysis: spawn("analysis", ends, move || analysis.run())?,
        capture: spawn("capture", ends, move || capture.run())?,
    })
}

impl Threads {
    /// In the order in which frames go: each has done what the one before gave it.
    fn stop(self, outcome: Result<(), Failure>, close_desk: impl FnOnce()) -> Result<(), Failure> {
        let capture = self.capture.join().map_err(|_| "capture");
        let analysis = self.analysis.join().map_err(|_| "analysis");
        close_desk();
        let desk = self.desk.join().map_err(|_| "desk");
        let panicked = capture.and(analysis).and(desk).map_err(Failure::Thread);
        outcome.and(panicked)
    }
}

/// Tells when the thread dies of a panic.
struct Alarm {
    name: &'static str,
    ends: Sender<End>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            // Nobody listens only when everything ends anyway.
            let _ = self.ends.send(End::Panicked(self.name));
        }
    }
}

fn spawn(
    name: &'static str,
    ends: &Sender<End>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Failure> {
    let ends = ends.clone();
    let guarded = move || {
        let _alarm = Alarm { name, ends };
        work();
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(guarded);
    Ok(thread.map_err(StartError::Thread)?)
}

/// What systemd is told, where it asked to be.
struct Systemd {
    notifier: Option<Arc<Notifier>>,
    stop: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Systemd {
    /// Says "ready" now and "alive" from the thread `watchdog`.
    fn tell(
        view: Arc<StationView>,
        now: impl Fn() -> std::time::Duration + Send + 'static,
    ) -> Result<Self, Failure> {
        let notifier = Notifier::from_environment().map_err(StartError::Thread)?;
        let notifier = notifier.map(Arc::new);
        let Some(told) = notifier.clone() else {
            let stop = None;
            return Ok(Self { notifier, stop });
        };
        told.ready().map_err(StartError::Thread)?;
        let Some(mut watchdog) = Watchdog::from_environment() else {
            let stop = None;
            return Ok(Self { notifier, stop });
        };
        let (stop, stopped) = channel::<()>();
        let watch = move || {
            use std::sync::mpsc::RecvTimeoutError::Timeout;
            while stopped.recv_timeout(watchdog.look_every()) == Err(Timeout) {
                if watchdog.due(now(), &view) {
                    // Who does not listen is told again in time, or starts the station anew.
                    let _ = told.alive();
                }
            }
        };
        let thread = thread::Builder::new().name("watchdog".to_owned());
        let thread = thread.spawn(watch).map_err(StartError::Thread)?;
        let stop = Some((stop, thread));
        Ok(Self { notifier, stop })
    }

    fn stop(self) {
        if let Some(notifier) = &self.notifier {
            // It is seen anyway.
            let _ = notifier.stopping();
        }
        if let Some((stop, thread)) = self.stop {
            drop(stop);
            let _ = thread.join();
        }
    }
}
