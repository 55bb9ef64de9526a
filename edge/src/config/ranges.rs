//! Which values each key may have.

use std::fmt::Display;
use std::ops::RangeInclusive;

use shared::geometry::Size;
use shared::phantom::MAX_WHITE_CELLS;

use super::place::Problem;
use super::{LogPlace, SourceChoice, SourceConfig, StationConfig};
use field::FieldError;
use field::grey::Reduced;

/// Longest free text, bytes: a name of a camera, a host, a key.
const TEXT_MAX: usize = 256;

/// Most names of hosts.
const HOSTS_MAX: usize = 16;

/// Most classes with thresholds.
const CLASSES_MAX: usize = 64;

type Checked = Result<(), Problem>;

pub(super) fn check(config: &StationConfig) -> Checked {
    source(config)?;
    gate(config)?;
    counting(config)?;
    thresholds(config)?;
    let (store, log, health) = (&config.store, &config.log, &config.health);
    if store.root.as_os_str().is_empty() {
        return refuse("store.root", "\"\"", "a folder");
    }
    within("store.floor_mb", store.floor_mb, 1..=10_000_000)?;
    within("store.floor_files", store.floor_files, 0..=1_000_000_000)?;
    http(config)?;
    within("health.frame_within_s", health.frame_within_s, 0.1..=3600.0)?;
    within(
        "health.analysis_within_s",
        health.analysis_within_s,
        0.1..=3600.0,
    )?;
    within("model.threads", config.model.threads, 1..=64)?;
    if let Some(key) = &config.model.public_key {
        short("model.public_key", key)?;
        if let Err(error) = minisign_verify::PublicKey::from_base64(key) {
            let expected = format!("the second line of a minisign .pub file ({error})");
            return refuse("model.public_key", quoted(key), &expected);
        }
    }
    within("log.file_mb_max", log.file_mb_max, 1..=1000)?;
    within("log.older_files_max", log.older_files_max, 0..=100)?;
    within(
        "log.lines_a_minute_max",
        log.lines_a_minute_max,
        1..=100_000,
    )?;
    match (log.to, &log.file) {
        (LogPlace::File, None) => refuse("log.to", "\"file\"", "log.file with it"),
        _ => Ok(()),
    }
}

fn source(config: &StationConfig) -> Checked {
    let source = &config.source;
    let pictures = matches!(source.kind, SourceChoice::Folder | SourceChoice::Sequence);
    if pictures && source.folder.is_none() {
        let kind = match source.kind {
            SourceChoice::Folder => "\"folder\"",
            _ => "\"sequence\"",
        };
        return refuse("source.kind", kind, "source.folder with it");
    }
    let rounds = source.rounds.unwrap_or(1);
    within("source.rounds", rounds, 1..=1_000_000)?;
    fps("source.fps", source.fps)?;
    let camera = &source.camera;
    let names = [
        ("source.camera.card", &camera.card),
        ("source.camera.bus", &camera.bus),
        ("source.camera.node", &camera.node),
    ];
    for (key, name) in names {
        name.as_deref().map_or(Ok(()), |name| short(key, name))?;
    }
    within("source.camera.width", camera.width, 16..=8192)?;
    within("source.camera.height", camera.height, 16..=8192)?;
    fps("source.camera.fps", camera.fps)?;
    let controls = &camera.controls;
    let values = [
        ("exposure_100us", controls.exposure_100us, 1..=100_000),
        ("white_balance_k", controls.white_balance_k, 1000..=15_000),
        ("focus", controls.focus, 0..=65_535),
        ("gain", controls.gain, 0..=65_535),
        ("mains", Some(controls.mains), 0..=2),
    ];
    for (name, value, range) in values {
        let key = format!("source.camera.controls.{name}");
        value.map_or(Ok(()), |value| within(&key, value, range))?;
    }
    let slides = source.phantom.slides.unwrap_or(1);
    within("source.phantom.slides", slides, 1..=1_000_000)?;
    let Size { width, height } = phantom_size(source);
    within("source.phantom.width", width, 64..=2560)?;
    within("source.phantom.height", height, 64..=2560)?;
    if Reduced::new(phantom_size(source)).is_err() {
        let expected = "a shorter side of at least 32 px when the longer one is reduced to 320";
        return refuse("source.phantom.height", height, expected);
    }
    let [least, most] = source.phantom.white_cells;
    if least > most || most > MAX_WHITE_CELLS {
        let expected = format!("the least and the most, up to {MAX_WHITE_CELLS}");
        let found = format!("[{least}, {most}]");
        return refuse("source.phantom.white_cells", found, &expected);
    }
    life(config)
}

fn phantom_size(source: &SourceConfig) -> Size {
    Size::new(source.phantom.width, source.phantom.height)
}

fn life(config: &StationConfig) -> Checked {
    let life = &config.source.life;
    let times = [
        ("source.life.start_within_s", life.start_within_s),
        ("source.life.stall_after_s", life.stall_after_s),
        ("source.life.lost_after_s", life.lost_after_s),
        ("source.life.frozen_after_s", life.frozen_after_s),
        ("source.life.blank_after_s", life.blank_after_s),
        ("source.life.retry_first_s", life.retry_first_s),
        ("source.life.retry_max_s", life.retry_max_s),
    ];
    for (key, seconds) in times {
        within(key, seconds, 0.05..=3600.0)?;
    }
    at_least(
        "source.life.lost_after_s",
        life.lost_after_s,
        "stall_after_s",
        life.stall_after_s,
    )?;
    at_least(
        "source.life.retry_max_s",
        life.retry_max_s,
        "retry_first_s",
        life.retry_first_s,
    )
}

fn gate(config: &StationConfig) -> Checked {
    match config.gate.check() {
        Err(FieldError::Limit { limit, got, max }) => {
            refuse(&format!("gate.{limit}"), got, &format!("0 to {max}"))
        }
        Err(other) => refuse("gate", "limits", &other.to_string()),
        Ok(()) => Ok(()),
    }
}

fn counting(config: &StationConfig) -> Checked {
    let (calibration, counting) = (&config.calibration, &config.counting);
    if let Some(scale) = calibration.um_per_pixel {
        positive("calibration.um_per_pixel", scale, 10.0)?;
    }
    let squeeze = calibration.squeeze.unwrap_or(1.0);
    within("calibration.squeeze", squeeze, 0.2..=5.0)?;
    within(
        "calibration.red_cell_um",
        calibration.red_cell_um,
        4.0..=12.0,
    )?;
    within(
        "calibration.old_after_days",
        calibration.old_after_days,
        1..=3650,
    )?;
    if ![100, 200, 400].contains(&counting.target) {
        return refuse("counting.target", counting.target, "100, 200 or 400");
    }
    let width = counting.limits_width_percent_max;
    within("counting.limits_width_percent_max", width, 1.0..=100.0)
}

fn thresholds(config: &StationConfig) -> Checked {
    let thresholds = &config.thresholds;
    let share = |key, value: Option<f32>| within(key, value.unwrap_or(0.0), 0.0..=1.0);
    share("thresholds.score", thresholds.score)?;
    share("thresholds.iou", thresholds.iou)?;
    let most = thresholds.max_detections.unwrap_or(1);
    within("thresholds.max_detections", most, 1..=1000)?;
    let classes = &thresholds.classes;
    if classes.len() > CLASSES_MAX {
        let expected = format!("at most {CLASSES_MAX}");
        return refuse(
            "thresholds.classes",
            format!("{} keys", classes.len()),
            &expected,
        );
    }
    for (name, score) in classes {
        if !(0.0..=1.0).contains(score) {
            return Err(Problem {
                key: vec!["thresholds".to_owned(), "classes".to_owned(), name.clone()],
                found: score.to_string(),
                expected: "0 to 1".to_owned(),
            });
        }
    }
    Ok(())
}

fn http(config: &StationConfig) -> Checked {
    let http = &config.http;
    if http.hosts.len() > HOSTS_MAX {
        let expected = format!("at most {HOSTS_MAX}");
        return refuse(
            "http.hosts",
            format!("{} names", http.hosts.len()),
            &expected,
        );
    }
    for host in &http.hosts {
        let letters = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
        if host.is_empty() || host.len() > TEXT_MAX || !host.bytes().all(letters) {
            return refuse(
                "http.hosts",
                quoted(host),
                "names without port, of letters, digits, - and .",
            );
        }
    }
    let of_one = http.connections_per_address_max;
    within("http.connections_max", http.connections_max, 1..=1024)?;
    within(
        "http.connections_per_address_max",
        of_one,
        1..=http.connections_max,
    )
}

fn within<T: PartialOrd + Display>(key: &str, value: T, range: RangeInclusive<T>) -> Checked {
    // NaN is in no range.
    match range.contains(&value) {
        true => Ok(()),
        false => refuse(key, value, &format!("{} to {}", range.start(), range.end())),
    }
}

fn at_least(key: &str, value: f32, other: &str, min: f32) -> Checked {
    match value >= min {
        true => Ok(()),
        false => refuse(key, value, &format!("at least {other}, {min}")),
    }
}

fn positive(key: &str, value: f32, max: f32) -> Checked {
    match value > 0.0 && value <= max {
        true => Ok(()),
        false => refuse(key, value, &format!("above 0 to {max}")),
    }
}

fn fps(key: &str, value: Option<f32>) -> Checked {
    value.map_or(Ok(()), |fps| positive(key, fps, 1000.0))
}

fn short(key: &str, text: &str) -> Checked {
    match (1..=TEXT_MAX).contains(&text.len()) {
        true => Ok(()),
        false => refuse(
            key,
            format!("{} bytes", text.len()),
            &format!("1 to {TEXT_MAX} bytes"),
        ),
    }
}

fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

fn refuse(key: &str, found: impl Display, expected: &str) -> Checked {
    Err(Problem {
        key: key.split('.').map(str::to_owned).collect(),
        found: found.to_string(),
        expected: expected.to_owned(),
    })
}
