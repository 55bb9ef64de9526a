//! What happened, in lines of JSON: one a change of state, never one a frame.
//!
//! A line is bounded, so are the lines of a minute and the files on the disk; what does not fit is
//! counted, and the next line that is written says how much was lost.

mod files;

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::atomic::OutputError;
use crate::clock::Moment;
pub use files::Files;

/// Longest line, bytes; the fields of a longer one are left out and said to be.
pub const LINE_MAX: usize = 4096;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Info,
    /// Somebody should look.
    Warning,
    /// Something does not work.
    Error,
}

#[derive(Serialize)]
struct Line {
    boot: crate::clock::BootId,
    sequence: u64,
    since_start_s: f64,
    wall: Option<i64>,
    level: Level,
    event: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    lost_before: u64,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Where lines go.
enum Sink {
    Stream(Box<dyn Write + Send>),
    Files(Files),
}

impl Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => {
                stream.write_all(line)?;
                stream.flush()
            }
            Self::Files(files) => files.write(line),
        }
    }
}

struct State {
    sink: Sink,
    /// Lines that may still be written in the minute that began at `minute`.
    left: u32,
    minute: Duration,
    lost: u64,
    lost_all: u64,
}

/// Writes lines; shared by all threads.
pub struct Log {
    state: Mutex<State>,
    lines_a_minute: u32,
}

impl Log {
    /// To standard error, where the journal takes it up.
    pub fn to_stderr(lines_a_minute: u32) -> Self {
        Self::to_stream(Box::new(io::stderr()), lines_a_minute)
    }

    /// To any stream.
    pub fn to_stream(stream: Box<dyn Write + Send>, lines_a_minute: u32) -> Self {
        Self::with(Sink::Stream(stream), lines_a_minute)
    }

    /// To a file that is put aside when it is full.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn to_files(files: Files, lines_a_minute: u32) -> Result<Self, OutputError> {
        Ok(Self::with(Sink::Files(files.opened()?), lines_a_minute))
    }

    fn with(sink: Sink, lines_a_minute: u32) -> Self {
        Self {
            state: Mutex::new(State {
                sink,
                left: lines_a_minute,
                minute: Duration::ZERO,
                lost: 0,
                lost_all: 0,
            }),
            lines_a_minute,
        }
    }

    /// Writes one line: `event` is a word or two, `fields` an object of [`serde_json::json!`].
    ///
    /// Never fails and never waits for more than the disk: a line that cannot be written is counted.
    pub fn write(&self, moment: &Moment, level: Level, event: &'static str, fields: Value) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if moment.since_start.saturating_sub(state.minute) >= Duration::from_secs(60) {
            (state.minute, state.left) = (moment.since_start, self.lines_a_minute);
        }
        if state.left == 0 {
            state.lose();
            return;
        }
        state.left -= 1;
        let line = line_of(moment, level, event, fields, state.lost);
        match state.sink.write(&line) {
            Ok(()) => state.lost = 0,
            Err(_) => state.lose(),
        }
    }

    /// Begins a minute: the end of a program is told, whatever was told before.
    pub fn renew(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left = self.lines_a_minute;
    }

    /// Lines that were never written.
    pub fn lost(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lost_all
    }
}

impl State {
    fn lose(&mut self) {
        self.lost += 1;
        self.lost_all += 1;
    }
}

fn line_of(
    moment: &Moment,
    level: Level,
    event: &'static str,
    fields: Value,
    lost_before: u64,
) -> Vec<u8> {
    let fields = match fields {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        other => [("value".to_owned(), other)].into_iter().collect(),
    };
    let mut line = Line {
        boot: moment.boot,
        sequence: moment.sequence,
        since_start_s: moment.since_start.as_millis() as f64 / 1000.0,
        wall: moment.wall,
        level,
        event,
        lost_before,
        fields,
    };
    // A map with words for keys and plain values always has a writing.
    let write = |line: &Line| serde_json::to_vec(line).expect("words and numbers");
    let mut bytes = write(&line);
    if bytes.len() >= LINE_MAX {
        let left_out = Value::from(bytes.len());
        line.fields = [("left_out_bytes".to_owned(), left_out)]
            .into_iter()
            .collect();
        bytes = write(&line);
    }
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BootId;
    use serde_json::json;
    use std::sync::Arc;

    /// A stream that can be full.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<(Vec<u8>, bool)>>);

    impl Shared {
        fn lines(&self) -> Vec<Value> {
            let state = self.0.lock().unwrap();
            let text = String::from_utf8(state.0.clone()).unwrap();
            let lines = text.lines();
            lines.map(|l| serde_json::from_str(l).unwrap()).collect()
        }
        fn fill(&self, full: bool) {
            self.0.lock().unwrap().1 = full;
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.lock().unwrap();
            if state.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.0.extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn at(seconds: u64, sequence: u64) -> Moment {
        Moment {
            boot: BootId::new(1, 2),
            sequence,
            since_start: Duration::from_millis(seconds * 1000 + 250),
            wall: None,
        }
    }

    #[test]
    fn a_line_is_one_line_of_json_whatever_is_in_it() {
        let stream = Shared::default();
        let log = Log::to_stream(Box::new(stream.clone()), 10);
        let fields = json!({"node": "a\n\"b\u{1b}[31m", "frames": 3});
        log.write(&at(1, 5), Level::Warning, "source lost", fields);
        let expected = json!({
            "boot": "00000000000000000000000000000001.2", "sequence": 5, "since_start_s": 1.25,
            "wall": null, "level": "warning", "event": "source lost",
            "node": "a\n\"b\u{1b}[31m", "frames": 3,
        });
        assert_eq!(stream.lines(), [expected]);
        let raw = stream.0.lock().unwrap().0.clone();
        assert_eq!(raw.iter().filter(|&&byte| byte < b' ').count(), 1);
    }

    #[test]
    fn a_flood_is_cut_and_counted_and_the_next_minute_says_so() {
        let stream = Shared::default();
        let log = Log::to_stream(Box::new(stream.clone()), 3);
        for sequence in 1..=10 {
            log.write(&at(5, sequence), Level::Info, "change", Value::Null);
        }
        log.write(&at(70, 11), Level::Info, "change", Value::Null);
        log.write(&at(71, 12), Level::Info, "change", Value::Null);
        let lines = stream.lines();
        let sequences: Vec<_> = lines.iter().map(|l| l["sequence"].as_u64()).collect();
        assert_eq!(sequences, [1, 2, 3, 11, 12].map(Some));
        assert_eq!((&lines[3]["lost_before"], log.lost()), (&json!(7), 7));
        assert_eq!(lines[4].get("lost_before"), None);
    }

    #[test]
    fn a_full_disk_loses_lines_but_counts_them() {
        let stream = Shared::default();
        let log = Log::to_stream(Box::new(stream.clone()), 10);
        stream.fill(true);
        log.write(&at(1, 1), Level::Info, "change", Value::Null);
        log.write(&at(1, 2), Level::Info, "change", Value::Null);
        stream.fill(false);
        log.write(&at(1, 3), Level::Info, "change", Value::Null);
        assert_eq!(stream.lines()[0]["lost_before"], json!(2));
        assert_eq!(log.lost(), 2);
    }

    #[test]
    fn a_line_without_end_is_cut_to_its_head() {
        let stream = Shared::default();
        let log = Log::to_stream(Box::new(stream.clone()), 10);
        let fields = json!({ "text": "x".repeat(LINE_MAX) });
        log.write(&at(1, 1), Level::Error, "stage", fields);
        let lines = stream.lines();
        assert_eq!(lines[0]["event"], json!("stage"));
        assert!(lines[0]["left_out_bytes"].as_u64().unwrap() > LINE_MAX as u64);
    }
}
