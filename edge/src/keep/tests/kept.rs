//! verify, cases, backup, retention.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::keep::verify::look;

#[test]
fn what_is_kept_is_verified_beside_the_station_that_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (root, words) = path(folder.path(), "data");
    Station::signed(&root, "C-1", 2);
    let (printed, outcome) = edge(&["verify", "--root", &words]);
    outcome.unwrap();
    assert!(printed.starts_with("1 cases, "), "{printed}");
    assert!(
        printed.ends_with(" 4 pictures: all as recorded\n"),
        "{printed}"
    );

    let station = Station::open(&root, "C-2", None, &LEUKEMIA_CLASSES);
    let (printed, outcome) = edge(&["verify", "--root", &words]);
    outcome.unwrap();
    assert!(printed.starts_with("2 cases, "), "{printed}");
    drop(station);

    let picture = root.join("cases/C-1/fields/0001.png");
    let whole = fs::read(&picture).unwrap();
    fs::write(&picture, &whole[1..]).unwrap();
    fs::write(root.join("cases/stray"), "x").unwrap();
    for _running in [true, false] {
        let (printed, outcome) = edge(&["verify", "--root", &words]);
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines.len(), 3, "{printed}");
        assert!(
            lines[0].contains("C-1/fields/0001.png: expected SHA-256 "),
            "{printed}"
        );
        assert!(
            lines[1].contains("cases/stray: expected a case folder"),
            "{printed}"
        );
        assert!(lines[2].ends_with(": 2 not as recorded"), "{printed}");
        let failure = outcome.unwrap_err();
        assert_eq!(failure.code(), crate::exit::BAD_DATA);
        assert!(
            failure.to_string().contains("2 not as recorded, first "),
            "{failure}"
        );
    }
    let (printed, outcome) = edge(&["verify", "--root", &words, "--json"]);
    assert_eq!(code(outcome), crate::exit::BAD_DATA);
    let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(json["flaws"].as_array().unwrap().len(), 2);
    assert_eq!(json["cases"], 2);
}

#[test]
fn what_a_station_is_just_writing_is_no_flaw() {
    let folder = tempfile::tempdir().unwrap();
    let (root, _) = path(folder.path(), "data");
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut station = Station::open(&root, "C-1", None, &LEUKEMIA_CLASSES);
    let drawn = Drawn {
        png: vec![0; 5000],
        ..draw(0)
    };
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                station.count(&drawn, |_| ());
                written.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let mut looks = 0;
        let mut wait = || {
            looks += 1;
            std::thread::sleep(Duration::from_millis(200));
        };
        // How many fields the disk takes while thirty looks pass is the machine's.
        let mut seen = Vec::new();
        while seen.len() < 30 || written.load(Ordering::Relaxed) <= 20 {
            seen.push(look(&root, &mut wait));
        }
        stop.store(true, Ordering::Relaxed);
        println!("{looks} second looks in {}", seen.len());
        for seen in seen {
            let (verified, station) = seen.unwrap();
            assert_eq!(verified.flaws, []);
            assert!(station.is_some());
        }
    });
    assert!(station.state.fields().len() > 20);
}

#[test]
fn a_configuration_names_the_root_and_a_missing_one_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (root, words) = path(folder.path(), "data");
    let (config, config_words) = path(folder.path(), "station.toml");
    fs::write(&config, format!("store.root = {words:?}")).unwrap();
    Station::signed(&root, "C-1", 1);
    let (printed, outcome) = edge(&["cases", "--config", &config_words]);
    outcome.unwrap();
    assert!(printed.starts_with("C-1  signed  "), "{printed}");
    let (_, gone) = path(folder.path(), "gone");
    for command in ["cases", "verify"] {
        let (_, outcome) = edge(&[command, "--root", &gone]);
        assert_ne!(code(outcome), 0, "{command}");
        assert!(!Path::new(&gone).exists());
    }
}

#[test]
fn a_line_says_of_a_case_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (root, words) = path(folder.path(), "data");
    Station::signed(&root, "C-1", 2);
    let mut station = Station::open(&root, "C-2", Some(PATIENT), &LEUKEMIA_CLASSES);
    let cells = draw(0).cells.len() + draw(1).cells.len();
    station.count(&draw(5), |_| ());
    let white = station.state.white_cells();
    // While the station works.
    let (printed, outcome) = edge(&["cases", "--root", &words]);
    outcome.unwrap();
    let lines: Vec<Vec<&str>> = printed.lines().map(|l| l.split("  ").collect()).collect();
    assert_eq!(lines.len(), 2, "{printed}");
    assert_eq!(lines[0][..2], ["C-1", "signed"]);
    assert_eq!(
        lines[0][3..6],
        [
            "2 fields",
            "signed by Dr. Reader",
            "2027-01-15 08:00:00 UTC"
        ]
    );
    assert_eq!(
        lines[1][..4],
        [
            "C-2",
            "scanning",
            &format!("{white}/100 white cells"),
            "1 fields"
        ]
    );
    assert_eq!(lines[1].len(), 6, "{printed}");
    drop(station);

    let chain = root.join("cases/C-2/audit.jsonl");
    let whole = fs::read(&chain).unwrap();
    let mut changed = whole.clone();
    changed[20] ^= 1;
    fs::write(&chain, &changed).unwrap();
    let (printed, outcome) = edge(&["cases", "--root", &words, "--json"]);
    let failure = outcome.unwrap_err();
    assert_eq!(failure.code(), crate::exit::BAD_DATA);
    assert_eq!(failure.to_string(), "1 of 2 cases went wrong");
    let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(json[0]["undecided"], 0);
    assert_eq!(json[0]["state"], "signed");
    assert_eq!(json[0]["records"], 5 + cells);
    assert!(
        json[1]["flaw"]
            .as_str()
            .unwrap()
            .contains("audit.jsonl, record 1")
    );
}

#[test]
fn cases_are_copied_and_each_says_how_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let (root, words) = path(folder.path(), "data");
    let (stick, to) = path(folder.path(), "stick");
    Station::signed(&root, "C-1", 1);
    Station::signed(&root, "C-2", 1);
    let (printed, outcome) = edge(&["backup", "--root", &words, "--to", &to]);
    assert_eq!(
        code(outcome),
        crate::exit::DISK,
        "a stick that is not there is not made"
    );
    assert_eq!(printed, "");
    let (_, outcome) = edge(&[
        "backup",
        "--root",
        &words,
        "--to",
        &format!("{words}/cases"),
    ]);
    let refused = outcome.unwrap_err().to_string();
    assert!(
        refused.contains("expected a folder outside the data root"),
        "{refused}"
    );
    let inside = format!("{words}/new/set");
    let (_, outcome) = edge(&["export-training", "--root", &words, "--to", &inside]);
    assert_eq!(code(outcome), crate::exit::USAGE);
    assert!(!root.join("new").exists());
    fs::create_dir(&stick).unwrap();
    let (printed, outcome) = edge(&["backup", "--root", &words, "--to", &to, "C-2", "C-2"]);
    outcome.unwrap();
    assert!(
        printed.starts_with("C-2  copied  ") && printed.lines().count() == 1,
        "{printed}"
    );

    fs::write(root.join("cases/C-2/fields/0000.png"), "x").unwrap();
    let station = Station::open(&root, "C-3", None, &LEUKEMIA_CLASSES);
    let (printed, outcome) = edge(&[
        "backup", "--root", &words, "--to", &to, "C-1", "C-2", "C-3", "C-4",
    ]);
    drop(station);
    let starts: Vec<&str> = printed
        .lines()
        .map(|l| l.split("  ").nth(1).unwrap())
        .collect();
    // The copy of the second is from before it was spoilt.
    assert_eq!(
        starts,
        ["copied", "was there", "copied", "FAILED"],
        "{printed}"
    );
    assert_eq!(code(outcome), crate::exit::USAGE, "there is no C-4");
    let copy = stick
        .read_dir()
        .unwrap()
        .filter_map(|e| e.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = copy.filter(|name| name.starts_with("C-3")).collect();
    names.sort();
    assert_eq!(names, ["C-3-1"]);
}

#[test]
fn nothing_goes_without_a_person_who_names_the_case_and_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let (root, words) = path(folder.path(), "data");
    Station::signed(&root, "C-1", 1);
    drop(Station::open(&root, "C-2", None, &LEUKEMIA_CLASSES));
    let (printed, outcome) = edge(&["retention", "--root", &words, "--keep-days", "36500"]);
    outcome.unwrap();
    assert!(printed.contains("C-1  kept: too young"), "{printed}");
    let (printed, outcome) = edge(&["retention", "--root", &words, "--keep-days", "0"]);
    outcome.unwrap();
    assert!(printed.contains("C-2  kept: not signed"), "{printed}");
    // The records are of 2027: before that they are younger than nothing.
    let is_old = crate::clock::wall_of(std::time::SystemTime::now()).is_some_and(|now| now >= WALL);
    assert_eq!(printed.contains("C-1  may go"), is_old, "{printed}");
    assert!(root.join("cases/C-1").is_dir());

    for words in [
        &["--delete", "C-1"][..],
        &[],
        &["--delete", "C-1", "--keep-days", "1"],
    ] {
        let words = [&["leuko-edge", "retention"], words].concat();
        assert!(Cli::try_parse_from(&words).is_err(), "{words:?}");
    }
    let head = Store::look(&root).unwrap().cases()[0].head.hash.clone();
    let delete = |head: &str| {
        let words = [
            "retention",
            "--root",
            &words,
            "--delete",
            "C-1",
            "--who",
            PERSON,
            "--head",
            head,
        ];
        edge(&words)
    };
    let (printed, outcome) = delete(&"0".repeat(64));
    assert_eq!(
        (printed.as_str(), code(outcome)),
        ("", crate::exit::FAILURE)
    );
    let station = Station::open(&root, "C-3", None, &LEUKEMIA_CLASSES);
    let refused = delete(&head).1.unwrap_err();
    assert!(refused.to_string().contains("held by process"), "{refused}");
    drop(station);
    let (printed, outcome) = delete(&head);
    outcome.unwrap();
    assert!(
        printed.starts_with("C-1 deleted; record 1 of the station says so"),
        "{printed}"
    );
    assert!(!root.join("cases/C-1").exists());
    edge(&["verify", "--root", &words]).1.unwrap();
}
