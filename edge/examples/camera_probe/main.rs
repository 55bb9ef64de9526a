//! The camera source against `vivid`, the virtual camera of the Linux kernel, which misbehaves when
//! it is told to.
//!
//! Runs inside the emulated machine of `tests/camera/vivid`, whose commands `unplug` and `plug`
//! stand for the hand at the camera's cable. Every scenario begins with a camera that was just
//! plugged in; a node or a mapping that the one before left open would keep it from being
//! unplugged. Each prints `ok NAME`, or `FAILED NAME: ...` with what was expected and found.
//!
//! Arguments: names of scenarios, all of them without any. Exit: 0 when all came out as expected.

mod life;
mod source;
mod station;

use std::env;
use std::fmt::Debug;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use edge::source::camera::{CameraChoice, CameraSettings, ControlWishes, set_control};
use edge::source::{ControlRecord, PixelFormat, SourceError};
use shared::geometry::Size;

/// Controls of vivid that make it misbehave.
mod vivid {
    pub const PATTERN: u32 = 0x00f0_f000;
    pub const PATTERN_BARS: i32 = 0;
    pub const PATTERN_BLACK: i32 = 5;
    pub const PATTERN_WHITE: i32 = 6;
    pub const TEXT: u32 = 0x00f0_f001;
    pub const TEXT_ALL: i32 = 0;
    pub const TEXT_NONE: i32 = 2;
    /// The next stream begins 128 frames before its numbers turn over.
    pub const WRAP_NUMBERS: u32 = 0x00f0_f026;
    /// The next stream's times are those of 292 years after the start of the machine.
    pub const WRAP_TIMES: u32 = 0x00f0_f027;
    pub const DROPPED_PERCENT: u32 = 0x00f0_f040;
    /// The node answers ENODEV until the last program has closed it.
    pub const DISCONNECT: u32 = 0x00f0_f041;
    pub const BUFFER_ERROR: u32 = 0x00f0_f042;
    pub const REQBUFS_ERROR: u32 = 0x00f0_f043;
    pub const QBUF_ERROR: u32 = 0x00f0_f044;
    pub const STREAMON_ERROR: u32 = 0x00f0_f045;
    /// Every call of the stream answers EIO until it is stopped.
    pub const FATAL_ERROR: u32 = 0x00f0_f046;
}

const NODE: &str = "/dev/video0";
/// vivid's webcam has this size at every rate.
const SIZE: Size = Size::new(320, 180);
/// Frames a second: what the emulated machine draws with ease.
const FPS: f32 = 10.0;
/// Far longer than any frame takes.
const WAIT: Duration = Duration::from_secs(5);
/// In the camera's own unit; not its default.
const GAIN: i32 = 77;

type Outcome = Result<(), String>;
type Scenario = (&'static str, fn(Instant) -> Outcome);

const SCENARIOS: [Scenario; 22] = [
    ("no-camera", source::no_camera),
    ("offers", source::offered),
    ("formats", source::formats),
    ("refused-format", source::refused_format),
    ("refused-size", source::refused_size),
    ("rate", source::rate),
    ("busy", source::busy),
    ("control-lock", source::control_lock),
    ("time-outs", source::time_outs),
    ("newest-frame", source::newest_frame),
    ("damaged-buffers", source::damaged_buffers),
    ("dropped-frames", source::dropped_frames),
    ("numbers-turn-over", source::numbers_turn_over),
    ("time-of-another-age", source::time_of_another_age),
    ("refused-calls", source::refused_calls),
    ("opened-often", source::opened_often),
    ("picture-troubles", life::picture_troubles),
    ("stall", life::stall),
    ("fatal-error", life::fatal_error),
    ("disconnect", life::disconnect),
    ("replug-as-video2", life::replug),
    ("whole-station", station::station),
];

/// `Ok` when both are the same.
fn same<T: PartialEq + Debug>(what: &str, expected: T, found: T) -> Outcome {
    ensure(expected == found, || {
        format!("{what}: expected {expected:?}, found {found:?}")
    })
}

/// `Ok` when it is so; otherwise `words`, which say what was expected and found.
fn ensure(so: bool, words: impl FnOnce() -> String) -> Outcome {
    if so { Ok(()) } else { Err(words()) }
}

fn words(error: SourceError) -> String {
    error.to_string()
}

fn settings(format: PixelFormat) -> CameraSettings {
    CameraSettings {
        choice: CameraChoice::default(),
        format,
        size: SIZE,
        fps: Some(FPS),
        controls: ControlWishes {
            gain: Some(GAIN),
            ..ControlWishes::default()
        },
    }
}

fn record<'a>(records: &'a [ControlRecord], name: &str) -> Result<&'a ControlRecord, String> {
    let found = records.iter().find(|it| it.name == name);
    found.ok_or_else(|| format!("controls: expected a record of {name}, found {records:?}"))
}

/// The automatic is off and the gain is the one that was asked for. vivid takes any gain while its
/// automatic is on, and does not set it.
fn check_gain(records: &[ControlRecord]) -> Outcome {
    same("gain_auto", Some(0), record(records, "gain_auto")?.found)?;
    let gain = record(records, "gain")?;
    same("gain", Some(GAIN), gain.found)?;
    same("problem of gain", None, gain.problem.as_deref())
}

fn push(control: u32, value: i32) -> Outcome {
    set_control(NODE, control, value).map(drop).map_err(words)
}

fn hand(command: &str, arguments: &[&str]) -> Outcome {
    let output = Command::new(command).args(arguments).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    ensure(output.status.success(), || {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{command}: expected success, found {}", said.trim())
    })
}

/// As when the cable is pulled; refused while anything holds the camera.
fn unplug() -> Outcome {
    hand("unplug", &[])
}

/// The camera comes back as `/dev/videoN`, with nothing remembered.
fn plug(number: u32) -> Outcome {
    hand("plug", &[&number.to_string()])
}

fn main() -> ExitCode {
    let start = Instant::now();
    let wanted: Vec<String> = env::args().skip(1).collect();
    let known = |name: &String| SCENARIOS.iter().any(|(it, _)| it == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names = SCENARIOS.map(|(name, _)| name).join(" ");
        println!("FAILED {unknown}: expected one of {names}");
        return ExitCode::FAILURE;
    }
    // The machine comes with its camera plugged in.
    if let Err(error) = unplug() {
        println!("FAILED unplug: {error}");
        return ExitCode::FAILURE;
    }
    let mut code = ExitCode::SUCCESS;
    for (name, scenario) in SCENARIOS {
        if !wanted.is_empty() && !wanted.iter().any(|it| it == name) {
            continue;
        }
        match plug(0).and_then(|()| scenario(start)) {
            Ok(()) => println!("ok {name}"),
            Err(why) => {
                println!("FAILED {name}: {why}");
                code = ExitCode::FAILURE;
            }
        }
        if let Err(error) = unplug() {
            println!("FAILED {name}: left the camera open ({error}); no scenario after it was run");
            return ExitCode::FAILURE;
        }
    }
    code
}
