use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The default with every key that stands behind a # set.
fn with_all_keys() -> String {
    let key = |line: &str| {
        let rest = line.strip_prefix('#')?;
        rest.starts_with(|c: char| c.is_ascii_lowercase())
            .then_some(rest.to_owned())
    };
    let lines = DEFAULT_TEXT
        .lines()
        .map(|line| key(line).unwrap_or(line.to_owned()));
    let lines: Vec<String> = lines
        .map(|line| match line.starts_with("public_key") {
            true => format!("public_key = \"{KEY}\""),
            false => line,
        })
        .collect();
    lines.join("\n")
}

/// Of the documentation of minisign.
const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

#[test]
fn the_documented_default_is_the_default() {
    assert_eq!(
        StationConfig::parse(DEFAULT_TEXT),
        Ok(StationConfig::default())
    );
    assert_eq!(StationConfig::parse(""), Ok(StationConfig::default()));
}

#[test]
fn the_documentation_has_every_key() {
    fn keys(prefix: &str, table: &toml::Table, found: &mut Vec<String>) {
        for (name, value) in table {
            let name = format!("{prefix}.{name}");
            match value.as_table() {
                Some(inner) => keys(&name, inner, found),
                None => found.push(name),
            }
        }
    }
    let text = with_all_keys();
    let config = StationConfig::parse(&text).unwrap();
    // A key that is unset is not written: all are set here, or a struct has one that no text sets.
    let written = toml::Table::try_from(&config).unwrap();
    let json = serde_json::to_string(&config).unwrap();
    assert!(!json.contains("null"), "{json}");
    let (mut ours, mut documented) = (Vec::new(), Vec::new());
    keys("", &written, &mut ours);
    keys("", &text.parse().unwrap(), &mut documented);
    ours.sort();
    documented.sort();
    assert_eq!(ours, documented);
    assert!(ours.len() > 50, "the sections were walked: {ours:?}");
    // The default leaves what it documents unset.
    assert_ne!(config, StationConfig::default());
}

#[test]
fn what_cannot_be_used_is_refused_with_line_and_column() {
    struct Case {
        text: &'static str,
        error: &'static str,
    }
    for Case { text, error } in [
        Case {
            text: "[gate]\nfocus_share_min = 1.5",
            error: "line 2 column 19: gate.focus_share_min is 1.5, expected 0 to 1",
        },
        Case {
            text: "[gate]\n  focus_min = nan",
            error: "line 2 column 15: gate.focus_min is NaN, expected 0 to 1000",
        },
        Case {
            text: "gate = { covered_max = 0.005 }",
            error: "line 1 column 1: gate.covered_min is 0.01, expected 0 to 0.005",
        },
        Case {
            text: "# a line\n[gate]\nbrightness_min = 250.0",
            error: "line 3 column 18: gate.brightness_min is 250, expected 0 to 240",
        },
        Case {
            text: "[counting]\ntarget = 150",
            error: "line 2 column 10: counting.target is 150, expected 100, 200 or 400",
        },
        Case {
            text: "[counting]\ntarget = -1",
            error: "line 2 column 10: invalid value: integer `-1`, expected u32",
        },
        Case {
            text: "[counting]\ntarget = \"200\"",
            error: "line 2 column 10: invalid type: string \"200\", expected u32",
        },
        Case {
            text: "[counting]\ntargets = 200",
            error: "line 2 column 1: unknown field `targets`, expected `target` or `limits_width_percent_max`",
        },
        Case {
            text: "[countings]\n",
            error: "line 1 column 2: unknown field `countings`, expected one of",
        },
        Case {
            text: "source.camera.format = \"h264\"",
            error: "line 1 column 24: unknown variant `h264`, expected one of `mjpeg`, `yuyv`, `nv12`, `grey`",
        },
        Case {
            text: "source.camera.width = 9000",
            error: "line 1 column 23: source.camera.width is 9000, expected 16 to 8192",
        },
        Case {
            text: "source.phantom.width = 63",
            error: "line 1 column 24: source.phantom.width is 63, expected 64 to 2560",
        },
        Case {
            text: "[source.phantom]\nwidth = 64\nheight = 2560",
            error: "line 3 column 10: source.phantom.height is 2560, expected a shorter side of at least 32 px when the longer one is reduced to 320",
        },
        Case {
            text: "[source.camera.controls]\ngain = 3\nmains = 50",
            error: "line 3 column 9: source.camera.controls.mains is 50, expected 0 to 2",
        },
        Case {
            text: "source.fps = 0.0",
            error: "line 1 column 14: source.fps is 0, expected above 0 to 1000",
        },
        Case {
            text: "[source]\nkind = \"folder\"",
            error: "line 2 column 8: source.kind is \"folder\", expected source.folder with it",
        },
        Case {
            text: "[source.life]\nlost_after_s = 1.0",
            error: "line 2 column 16: source.life.lost_after_s is 1, expected at least stall_after_s, 2",
        },
        Case {
            text: "[thresholds.classes]\n\"säure.1\" = 2.0",
            error: "line 2 column 13: thresholds.classes.säure.1 is 2, expected 0 to 1",
        },
        Case {
            text: "thresholds.max_detections = 0",
            error: "line 1 column 29: thresholds.max_detections is 0, expected 1 to 1000",
        },
        Case {
            text: "http.hosts = [\"a b\"]",
            error: "line 1 column 14: http.hosts is \"a b\", expected names without port",
        },
        Case {
            text: "http.address = \"everywhere\"",
            error: "line 1 column 16: http.address is \"everywhere\", expected a number of an address and a port, as 127.0.0.1:8080",
        },
        Case {
            text: "[http]\nconnections_max = 4",
            error: "line 1 column 2: http.connections_per_address_max is 16, expected 1 to 4",
        },
        Case {
            text: "model.public_key = \"RWQ\"",
            error: "line 1 column 20: model.public_key is \"RWQ\", expected the second line of a minisign .pub file",
        },
        Case {
            text: "[log]\nto = \"file\"",
            error: "line 2 column 6: log.to is \"file\", expected log.file with it",
        },
        Case {
            text: "store.root = \"\"",
            error: "line 1 column 14: store.root is \"\", expected a folder",
        },
        Case {
            text: "[gate\n",
            error: "line 1 column ",
        },
        Case {
            text: "[gate]\nfocus_min = 0.1\nfocus_min = 0.2\n",
            error: "line 3 column 1: duplicate key",
        },
        Case {
            text: "[gate]\nfocus_min = 1e400",
            error: "line 2 column 13: ",
        },
    ] {
        let words = StationConfig::parse(text).unwrap_err().to_string();
        assert!(words.starts_with(error), "{text}\n{words}");
        assert!(!words.contains('\n'), "{words}");
    }
}

/// A file that names `root`, and the path of the file.
fn file_in(folder: &Path, root: &Path, rest: &str) -> PathBuf {
    let path = folder.join("station.toml");
    fs::write(&path, format!("store.root = {root:?}\n{rest}")).unwrap();
    path
}

#[test]
fn a_file_that_broke_is_replaced_by_the_last_that_worked_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let file = file_in(folder.path(), &root, "counting.target = 400\n");
    let Loaded::File(good) = load(&file) else {
        panic!("the file is good");
    };
    keep(&good).unwrap();
    for broken in [
        "counting.target = 3\n",
        "[gate\n",
        "what = 1\n",
        "x = \u{0}\n",
    ] {
        file_in(folder.path(), &root, broken);
        let Loaded::LastGood { config, banner } = load(&file) else {
            panic!("{broken:?} is not good, the copy is");
        };
        assert_eq!(config, good);
        assert!(banner.contains("station.toml: line 2 column "), "{banner}");
    }
}

#[test]
fn without_any_configuration_that_works_there_is_a_reason_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let file = file_in(folder.path(), &root, "what = 1\n");
    let reason = |file: &Path| match load(file) {
        Loaded::Safe { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    let words = reason(&file);
    assert!(
        words.contains("station.toml: line 2 column 1: unknown field `what`"),
        "{words}"
    );
    assert!(
        words.contains("data/config.last-good.toml: cannot be read: "),
        "{words}"
    );

    fs::create_dir(&root).unwrap();
    fs::write(root.join(LAST_GOOD), "[gate]\nx").unwrap();
    let words = reason(&file);
    assert!(
        words.contains("config.last-good.toml: line 2 column "),
        "{words}"
    );
}

#[test]
fn a_file_that_is_none_or_endless_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let refusal = |path: &Path| read(path).unwrap_err().to_string();
    assert!(refusal(&path).starts_with("cannot be read: No such file"));
    assert_eq!(
        refusal(folder.path()),
        "cannot be read: no file, expected one"
    );
    assert_eq!(
        refusal(Path::new("/dev/zero")),
        "cannot be read: no file, expected one"
    );
    fs::write(&path, vec![b'#'; (1 << 18) + 1]).unwrap();
    assert_eq!(refusal(&path), "cannot be read: more than 262144 bytes");
    fs::write(&path, b"a = \"\xff\"").unwrap();
    assert_eq!(refusal(&path), "cannot be read: byte 5 is no UTF-8");
}

#[test]
fn the_copy_is_written_once_and_survives_a_disk_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let config = read(&file_in(folder.path(), &root, "")).unwrap();
    keep(&config).unwrap();
    let written = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let first = written(&root.join(LAST_GOOD));
    keep(&config).unwrap();
    assert_eq!(written(&root.join(LAST_GOOD)), first);
    let mut other = config;
    other.values.store.root = folder.path().join("station.toml/data");
    let words = keep(&other).unwrap_err().to_string();
    assert!(
        words.contains("station.toml/data: cannot be written: "),
        "{words}"
    );
}
