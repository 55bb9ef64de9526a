//! The command line: what is printed, kept and refused.

use std::fs;
use std::path::Path;

use clap::Parser;
use serde_json::Value;
use shared::geometry::Size;
use shared::phantom::{FieldSpec, StagePosition};
use tempfile::TempDir;

use super::super::keep::{FILE, FOLDER, Keeper, load, load_blank};
use super::{bare, draw, save};
use crate::cli::Cli;
use crate::commands;
use crate::exit::{self, Failure};

/// A station whose source is a folder of pictures.
struct Station {
    folder: TempDir,
}

impl Station {
    fn new() -> Self {
        let station = Self {
            folder: TempDir::new().unwrap(),
        };
        fs::create_dir(station.path("fields")).unwrap();
        station.choose(&format!(
            "kind = \"folder\"\nfolder = {:?}",
            station.path("fields")
        ));
        station
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn root(&self) -> std::path::PathBuf {
        self.path("data")
    }

    fn choose(&self, source: &str) {
        let text = format!("[store]\nroot = {:?}\n[source]\n{source}\n", self.root());
        fs::write(self.path("station.toml"), text).unwrap();
    }

    fn show(&self, specs: &[FieldSpec]) {
        fs::remove_dir_all(self.path("fields")).unwrap();
        fs::create_dir(self.path("fields")).unwrap();
        for (index, spec) in specs.iter().enumerate() {
            save(&draw(spec), &self.path(&format!("fields/{index:03}.png")));
        }
    }

    /// What is printed, and how it ends.
    fn calibrate(&self, words: &[&str]) -> Result<String, Failure> {
        let file = self.path("station.toml");
        let file = file.to_str().unwrap();
        let all = [&["leuko-edge", "calibrate", "--config", file], words].concat();
        let mut printed = Vec::new();
        commands::run(Cli::try_parse_from(all).unwrap(), &mut printed)?;
        Ok(String::from_utf8(printed).unwrap())
    }

    fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.calibrate(&words).unwrap()).unwrap()
    }

    fn history(&self) -> usize {
        let names = fs::read_dir(self.root().join(FOLDER)).unwrap();
        let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        names.filter(|it| it.starts_with("cal-")).count()
    }
}

fn blanks() -> Vec<FieldSpec> {
    let of = |frame| FieldSpec {
        frame,
        ..bare(FieldSpec::demo(2))
    };
    (0..4).map(of).collect()
}

#[test]
fn each_command_changes_its_part_of_the_one_calibration_and_the_old_ones_stay() {
    let station = Station::new();
    let none = station.calibrate(&["--show"]).unwrap_err();
    assert_eq!(none.code(), exit::FAILURE, "{none}");
    station.show(&blanks());
    let blank = station.json(&["--blank"]);
    assert_eq!(
        blank["calibration"]["blank"]["frames"], 4,
        "all that there are"
    );
    assert_eq!(blank["calibration"]["scale"], Value::Null);
    let given = station.json(&["--um-per-pixel", "0.11", "--squeeze", "0.57"]);
    assert_eq!(given["calibration"]["blank"], blank["calibration"]["blank"]);
    assert_ne!(given["id"], blank["id"]);
    let micrometer = station.json(&["--micrometer", "400", "50"]);
    let scale = &micrometer["calibration"]["scale"];
    assert_eq!(
        (&scale["um_per_px"], &scale["by"]["how"]),
        (&0.125.into(), &"micrometer".into())
    );
    assert_eq!(
        micrometer["calibration"]["squeeze"],
        given["calibration"]["squeeze"]
    );
    assert_eq!(station.history(), 3);
    let shown = station.json(&["--show"]);
    assert_eq!(shown["calibration"], micrometer["calibration"]);
    let text = station.calibrate(&["--show"]).unwrap();
    for part in [
        micrometer["id"].as_str().unwrap(),
        "0.12500 um a pixel, 50 um of a micrometer on 400 pixels",
        "0.5700, as given",
        "640x480",
        "gains",
    ] {
        assert!(text.contains(part), "{part}\nnot in\n{text}");
    }
    let kept = load(&station.root()).unwrap().unwrap();
    let picture = load_blank(&station.root(), &kept).unwrap().unwrap();
    assert_eq!(picture.size(), Size::new(320, 240));
}

#[test]
fn another_size_begins_anew_and_so_does_who_asks_for_it() {
    let station = Station::new();
    station.show(&blanks());
    station.calibrate(&["--blank"]).unwrap();
    station.calibrate(&["--um-per-pixel", "0.11"]).unwrap();
    let small = FieldSpec {
        size: Size::new(320, 240),
        ..bare(FieldSpec::demo(2))
    };
    station.show(std::slice::from_ref(&small));
    let found = station.json(&["--um-per-pixel", "0.22"]);
    let content = &found["calibration"];
    assert_eq!(content["blank"], Value::Null, "that was of 640x480");
    assert_eq!(content["source"]["size"]["width"], 320);
    assert_eq!(station.history(), 3, "nothing is lost");
    let found = station.json(&["--blank", "--anew"]);
    assert_eq!(found["calibration"]["scale"], Value::Null);
}

#[test]
fn red_cells_of_a_folder_give_the_scale() {
    let station = Station::new();
    let spec = FieldSpec {
        clumping: 0.1,
        ..FieldSpec::wide(6)
    };
    let fields = (0..12).map(|field| FieldSpec {
        stage: StagePosition {
            x_um: 300.0 * field as f32,
            y_um: 0.0,
        },
        ..spec.clone()
    });
    station.show(&fields.collect::<Vec<_>>());
    save(
        &draw(&bare(FieldSpec::demo(1))),
        &station.path("fields/other.png"),
    );
    let found = station.json(&["--scale", "red-cells", "--cells", "100"]);
    let content = &found["calibration"];
    let scale = content["scale"]["um_per_px"].as_f64().unwrap();
    let squeeze = content["squeeze"]["value"].as_f64().unwrap();
    println!("{content}");
    assert!((scale / 0.125 - 1.0).abs() < 0.03, "{scale}");
    assert!((squeeze / 0.5625 - 1.0).abs() < 0.04, "{squeeze}");
    let cells = content["scale"]["by"]["cells"].as_u64().unwrap();
    assert!(
        (100..150).contains(&cells),
        "{cells}: it stops when it has enough"
    );
    let text = station.calibrate(&["--show"]).unwrap();
    assert!(text.contains("red cells of 7.2 um in"), "{text}");
    // A slide without enough of them.
    station.show(&blanks());
    let before = fs::read(station.root().join(FILE)).unwrap();
    let refused = station.calibrate(&["--scale", "red-cells"]).unwrap_err();
    assert_eq!(refused.code(), exit::BAD_DATA);
    assert!(
        refused.to_string().contains("expected at least 30"),
        "{refused}"
    );
    assert_eq!(fs::read(station.root().join(FILE)).unwrap(), before);
}

#[test]
fn a_moving_stage_is_measured_place_by_place() {
    let station = Station::new();
    station.choose("kind = \"phantom\"\n[source.phantom]\nseed = 3");
    let found = station.json(&["--scale", "red-cells", "--cells", "40"]);
    let content = &found["calibration"];
    println!("{content}");
    let scale = content["scale"]["um_per_px"].as_f64().unwrap();
    assert!((scale / 0.08 - 1.0).abs() < 0.04, "{scale}");
    assert_eq!(content["source"]["name"], "phantom, seed 3");
}

#[test]
fn what_is_no_blank_field_is_refused_and_nothing_is_kept() {
    let station = Station::new();
    station.show(&[FieldSpec::demo(2)]);
    let refused = station.calibrate(&["--blank"]).unwrap_err();
    assert_eq!(refused.code(), exit::BAD_DATA);
    assert!(
        refused.to_string().contains("something lies on"),
        "{refused}"
    );
    assert!(!station.root().join(FILE).exists());
}

#[test]
fn a_damaged_calibration_is_refused_and_put_aside_only_when_asked() {
    let station = Station::new();
    station.show(&blanks());
    station.calibrate(&["--um-per-pixel", "0.11"]).unwrap();
    let file = station.root().join(FILE);
    fs::write(&file, "{}").unwrap();
    for words in [&["--show"][..], &["--blank"]] {
        let refused = station.calibrate(words).unwrap_err();
        assert_eq!(refused.code(), exit::BAD_DATA);
        assert!(
            refused.to_string().contains("missing field `version`"),
            "{refused}"
        );
        assert_eq!(fs::read(&file).unwrap(), b"{}");
    }
    let found = station.json(&["--blank", "--anew"]);
    assert_eq!(found["calibration"]["scale"], Value::Null);
    let aside = station.root().join(FOLDER).join("unreadable-1.json");
    assert_eq!(fs::read(aside).unwrap(), b"{}");
}

#[test]
fn sources_that_show_nothing_have_codes_and_words() {
    let station = Station::new();
    let code = |words: &[&str]| {
        let failure = station.calibrate(words).unwrap_err();
        (failure.code(), failure.to_string())
    };
    let (found, words) = code(&["--blank"]);
    assert_eq!(found, exit::BAD_DATA, "{words}");
    assert!(words.contains("no picture could be read"), "{words}");
    fs::write(station.path("fields/a.png"), "x").unwrap();
    let (found, words) = code(&["--um-per-pixel", "0.1"]);
    assert_eq!(found, exit::BAD_DATA, "{words}");
    assert!(words.ends_with("over before its first frame"), "{words}");
    station.choose("[source.camera]\ncard = \"no such camera\"");
    let (found, words) = code(&["--blank"]);
    match cfg!(feature = "camera") {
        true => assert_eq!(found, exit::DEVICE, "{words}"),
        false => assert_eq!(found, exit::FAILURE, "{words}"),
    }
    let lock = Keeper::of(&station.root()).unwrap();
    let (found, words) = code(&["--blank"]);
    assert_eq!(found, exit::FAILURE, "{words}");
    assert!(words.contains("held by another program"), "{words}");
    drop(lock);
}

#[test]
fn a_data_root_that_cannot_be_written_is_the_disks_fault() {
    let station = Station::new();
    station.show(&blanks());
    fs::write(station.root(), "a file").unwrap();
    let failure = station.calibrate(&["--blank"]).unwrap_err();
    assert_eq!(failure.code(), exit::DISK, "{failure}");
    assert!(Path::new(&station.root()).is_file());
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for words in [
        &[][..],
        &["--blank", "--show"],
        &["--blank", "--squeeze", "1"],
        &["--squeeze", "1"],
        &["--um-per-pixel", "0"],
        &["--um-per-pixel", "nan"],
        &["--um-per-pixel", "11"],
        &["--um-per-pixel", "0.1", "--squeeze", "6"],
        &["--micrometer", "100"],
        &["--micrometer", "-1", "50"],
        &["--scale", "hair"],
        &["--scale", "red-cells", "--cells", "29"],
        &["--blank", "--frames", "0"],
    ] {
        let all = [&["leuko-edge", "calibrate"], words].concat();
        let refused = Cli::try_parse_from(all).unwrap_err();
        assert_eq!(refused.exit_code(), i32::from(exit::USAGE), "{words:?}");
    }
}
