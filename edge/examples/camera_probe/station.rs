//! The whole station with the camera: `leuko-edge run` in a process of its own, asked over its page.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{GAIN, Outcome, ensure, plug, push, same, unplug, vivid};

/// Where `tests/camera/probe` puts it.
const PROGRAM: &str = "/program/leuko-edge";
const ROOT: &str = "/tmp/station";
const CONFIG: &str = "/tmp/station.toml";
const LOG: &str = "/tmp/station.log";
const PAGE: &str = "127.0.0.1:8080";

/// A model takes its time on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// From plug to signed page: a calibration, a case, the camera pulled out and plugged in as another node, an
/// end as asked, an end by SIGKILL, and a camera that gives another size than was calibrated.
pub fn station(_: Instant) -> Outcome {
    configure([320, 180])?;
    let listed = command(&["cameras", "--json"])?;
    let listed: Value = serde_json::from_slice(&listed.stdout).map_err(|it| it.to_string())?;
    same(
        "cameras",
        Some(1),
        listed["cameras"].as_array().map(Vec::len),
    )?;
    command(&["calibrate", "--config", CONFIG, "--um-per-pixel", "0.3"])?;

    let mut station = Station::start()?;
    station.live()?;
    let new_case = json!({ "do": "new_case", "patient": "p", "specimen": "s", "stain": "MGG" });
    same(
        "new case",
        200,
        ask("POST", "/api/command", &new_case.to_string())?.0,
    )?;
    // A picture of bars is no field of cells, and that is said.
    station.until("a reason not to count", |state| {
        let reasons = state["field"]["reasons"].as_array();
        let said = reasons.is_some_and(|it| !it.is_empty());
        said && state["case"]["state"] == json!("scanning")
    })?;

    push(vivid::DISCONNECT, 1)?;
    station.until("a lost camera", |state| {
        state["source"]["state"] == json!("lost") && says(state, "camera /dev/video0: gone")
    })?;
    unplug()?;
    station.until("no camera", |state| says(state, "there is no camera"))?;
    same("readyz", 503, ask("GET", "/readyz", "")?.0)?;
    plug(2)?;
    let state = station.live()?;
    // The same camera at another node: the calibration is still its own.
    ensure(!says(&state, "calibration"), || {
        format!(
            "banners: expected none of the calibration, found {}",
            state["banners"]
        )
    })?;
    station.terminate()?;
    controls_were_locked_twice()?;

    // A camera whose user was killed is free at once.
    Station::start()?.live()?;
    let mut station = Station::start()?;
    station.live()?;
    station.terminate()?;

    configure([640, 360])?;
    let mut station = Station::start()?;
    station.live()?;
    station.until("a calibration of another size", |state| {
        says(state, "calibration is not for this source") && says(state, "640x360")
    })?;
    station.terminate()?;
    command(&["verify", "--root", ROOT]).map(drop)
}

/// The pause before the camera is opened again is long enough to pull it out meanwhile.
fn configure([width, height]: [u32; 2]) -> Outcome {
    let text = format!(
        "[source]\nkind = \"camera\"\n\
         camera = {{ format = \"yuyv\", width = {width}, height = {height}, fps = 10.0, controls.gain = {GAIN} }}\n\
         life.retry_first_s = 5.0\n\
         [store]\nroot = \"{ROOT}\"\nfloor_mb = 1\nfloor_files = 0\n\
         [http]\naddress = \"{PAGE}\"\n"
    );
    fs::write(CONFIG, text).map_err(|error| format!("{CONFIG}: {error}"))
}

/// Runs it to its end, which has to be a good one.
fn command(words: &[&str]) -> Result<Output, String> {
    let done = Command::new(PROGRAM).args(words).output();
    let done = done.map_err(|error| format!("{PROGRAM}: {error}"))?;
    match done.status.success() {
        true => Ok(done),
        false => Err(format!(
            "{words:?}: expected success, found {}: {}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        )),
    }
}

/// What was really set is in the station's record, after the replug as before.
fn controls_were_locked_twice() -> Outcome {
    let file = Path::new(ROOT).join("station/audit.jsonl");
    let chain =
        fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let records = chain.lines().map(serde_json::from_str::<Value>);
    let records: Result<Vec<Value>, _> = records.collect();
    let records = records.map_err(|error| error.to_string())?;
    let opened = records
        .iter()
        .filter(|it| it["kind"] == json!("source_opened"));
    let found: Vec<_> = opened
        .map(|it| {
            let controls = it["event"]["controls"].as_array().into_iter().flatten();
            let gain = controls.filter(|it| it["name"] == json!("gain"));
            let gains: Vec<&Value> = gain.map(|it| &it["found"]).collect();
            (it["event"]["node"].as_str(), gains)
        })
        .collect();
    let gain = json!(GAIN);
    let expected = ["/dev/video0", "/dev/video2"].map(|node| (Some(node), vec![&gain]));
    same("source_opened", &expected[..], &found)
}

fn says(state: &Value, words: &str) -> bool {
    let banners = state["banners"].as_array().into_iter().flatten();
    banners
        .filter_map(|it| it["text"].as_str())
        .any(|it| it.contains(words))
}

/// Status and body.
fn ask(method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
    let exchange = || {
        let mut stream = TcpStream::connect(PAGE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = exchange().map_err(|error| format!("{method} {path}: {error}"))?;
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let status =
        status.ok_or_else(|| format!("{method} {path}: expected HTTP, found {answer:?}"))?;
    Ok((status, body.to_owned()))
}

struct Station {
    child: Child,
}

impl Station {
    fn start() -> Result<Self, String> {
        let log = File::create(LOG).map_err(|error| format!("{LOG}: {error}"))?;
        let mut run = Command::new(PROGRAM);
        run.args(["run", "--config", CONFIG]).stderr(log);
        let child = run.spawn().map_err(|error| format!("{PROGRAM}: {error}"))?;
        Ok(Self { child })
    }

    fn until(&mut self, what: &str, so: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let begin = Instant::now();
        let mut last = "no answer".to_owned();
        while begin.elapsed() < PATIENCE {
            // It may not listen yet.
            if let Ok((200, body)) = ask("GET", "/api/state", "") {
                let state = serde_json::from_str(&body).map_err(|error| error.to_string())?;
                if so(&state) {
                    return Ok(state);
                }
                last = format!(
                    "{} {} {}",
                    state["source"], state["banners"], state["field"]
                );
            }
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            ensure(ended.is_none(), || {
                format!("expected {what}, found {ended:?}")
            })
            .map_err(|it| format!("{it}: {}", log()))?;
            sleep(Duration::from_millis(200));
        }
        Err(format!(
            "expected {what} within {PATIENCE:?}, found {last}: {}",
            log()
        ))
    }

    /// Its frames are analysed, and new ones come.
    fn live(&mut self) -> Result<Value, String> {
        let state = self.until("a live camera", |state| {
            state["source"]["state"] == json!("live")
        })?;
        let analysed = || {
            let (_, text) = ask("GET", "/metrics", "")?;
            let line = text
                .lines()
                .find_map(|it| it.strip_prefix("leuko_analysed_frames_total "));
            line.and_then(|it| it.parse::<u64>().ok())
                .ok_or_else(|| "metrics: expected leuko_analysed_frames_total".to_owned())
        };
        let (begin, before) = (Instant::now(), analysed()?);
        while analysed()? < before + 5 {
            ensure(begin.elapsed() < PATIENCE, || {
                format!(
                    "frames: expected 5 more than {before} within {PATIENCE:?}: {}",
                    log()
                )
            })?;
            sleep(Duration::from_millis(200));
        }
        same("readyz", 200, ask("GET", "/readyz", "")?.0)?;
        Ok(state)
    }

    fn terminate(&mut self) -> Outcome {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        sent.map_err(|error| format!("kill: {error}"))?;
        let ended = self.child.wait().map_err(|error| error.to_string())?;
        ensure(ended.success(), || {
            format!("expected a good end, found {ended}: {}", log())
        })
    }
}

impl Drop for Station {
    /// By SIGKILL, if it has not ended.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log() -> String {
    fs::read_to_string(LOG).unwrap_or_default()
}
