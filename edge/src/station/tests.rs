//! What the desk decides, without threads, pictures or a page.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shared::domain::{Domain, Gathered, Look, Nearness};
use shared::geometry::Size;
use tempfile::TempDir;

use super::desk::{Desk, DeskParts};
use super::gauge::Gauged;
use super::ledger::Ledger;
use super::numbers::Numbers;
use super::plan::{Plan, Posted};
use super::resume::{Resumed, unfinished};
use super::scale::Ruler;
use super::settings::CaseSettings;
use super::shared::{Shared, SourceSeen};
use crate::calibrate::Content;
use crate::calibrate::keep::Keeper;
use crate::calibrate::record::{Mark, Scale, ScaleBy};
use crate::case::text::{CaseId, Sha256, Text};
use crate::clock::{BootId, Clock};
use crate::config::{HealthConfig, StationConfig};
use crate::fixture::{TINY, detector};
use crate::install::Models;
use crate::log::Log;
use crate::model::ModelFile;
use crate::service::StationView;
use crate::service::command::{Command, Refusal};
use crate::service::view::BannerLevel;
use crate::source::life::SizeChanged;
use crate::source::{SourceIdentity, SourceKind};
use crate::store::{Floor, Store};

const SCALE: &str = "calibration.um_per_pixel = 0.08";

fn settings(text: &str) -> CaseSettings {
    let config = StationConfig::parse(text).unwrap();
    let contract = detector(TINY).contract().clone();
    // The model that runs is the one that is installed: the built-in one.
    let model = ModelFile::embedded();
    CaseSettings::new(&config, &contract, model.sha256()).unwrap()
}

fn desk(root: &Path, text: &str) -> Desk {
    let (store, _) = Store::open(root).unwrap();
    let nothing = Floor {
        bytes: 0,
        inodes: 0,
    };
    let store = store.with_floor(nothing);
    let view = StationView::new(HealthConfig::default(), Box::new(|_| {}));
    let shared = Arc::new(Shared::new(
        Clock::new(BootId::new(1, 7)),
        Arc::new(Log::to_stream(Box::new(std::io::sink()), 1000)),
        Arc::new(view),
        Arc::new(Numbers::default()),
        Posted::new(Plan::idle(0, "starting")),
    ));
    let ledger = Ledger::new(Arc::clone(&shared), store);
    let models = Models::of(root);
    let Resumed {
        case,
        problem,
        banners,
    } = unfinished(&ledger, &models);
    Desk::new(DeskParts {
        shared,
        ledger,
        models,
        settings: settings(text),
        ruler: Ruler::load(root, StationConfig::parse(text).unwrap().calibration),
        case,
        problem,
        banners: Vec::new(),
        case_banners: banners,
        keep: None,
    })
}

fn new_case(case: Option<&str>) -> Command {
    Command::NewCase {
        patient: "P".to_owned(),
        specimen: "S".to_owned(),
        stain: "MGG".to_owned(),
        target: None,
        case: case.map(str::to_owned),
        who: None,
    }
}

fn accept() -> Command {
    Command::AcceptScale {
        who: "A".to_owned(),
    }
}

fn refused(desk: &mut Desk, command: &Command) -> String {
    match desk.follow(command) {
        Err(Refusal::NotNow(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_scale_no_case_is_opened_unless_that_is_told() {
    let folder = TempDir::new().unwrap();
    let mut first = desk(folder.path(), "");
    assert_eq!(first.why_not().as_deref(), Some("no case is open"));
    let words = refused(&mut first, &new_case(None));
    assert!(words.starts_with("no scale is known"), "{words}");
    assert_eq!(Models::of(folder.path()).open_case().unwrap(), None);
    drop(first);
    let mut told = desk(folder.path(), "calibration.count_without_scale = true");
    let done = told.follow(&new_case(None)).unwrap();
    assert_eq!(done.case.as_deref(), Some("C00007-01"));
    assert_eq!(told.why_not(), None);
}

#[test]
fn another_scale_or_size_stops_the_count_until_it_is_accepted() {
    let folder = TempDir::new().unwrap();
    let mut first = desk(folder.path(), SCALE);
    first.follow(&new_case(Some("A"))).unwrap();
    let words = refused(&mut first, &accept());
    assert!(words.starts_with("neither the size"), "{words}");
    let mut known = 0;
    let slide = first.shared.plan.newer(&mut known).unwrap().slide;
    first.shared.set_source(SourceSeen {
        size_changed: Some(SizeChanged {
            before: Size::new(640, 480),
            after: Size::new(320, 240),
        }),
        ..SourceSeen::default()
    });
    first.follow(&accept()).unwrap();
    assert!(first.shared.accept_size.load(Ordering::Acquire));
    let plan = first.shared.plan.newer(&mut known).unwrap();
    assert_eq!(
        plan.slide,
        slide + 1,
        "places in other pixels are no places"
    );
    drop(first);

    let mut second = desk(folder.path(), "calibration.um_per_pixel = 0.1");
    let words = second.why_not().unwrap();
    assert!(words.contains("configuration-0.08-um-per-px"), "{words}");
    second.follow(&accept()).unwrap();
    assert_eq!(second.why_not(), None);
    drop(second);
    let third = desk(folder.path(), SCALE);
    let words = third.why_not().unwrap();
    assert!(
        words.starts_with("the case has the calibration configuration-0.1-"),
        "{words}"
    );
}

/// A calibration for 640x480 of the drawn slide "one"; its id.
fn calibrated(root: &Path) -> String {
    let keeper = Keeper::of(root).unwrap();
    let made = Clock::new(BootId::new(1, 1)).moment();
    let mark = Mark::of(&slide(), Size::new(640, 480));
    let content = Content {
        scale: Some(Scale {
            um_per_px: 0.11,
            by: ScaleBy::Given,
            made,
        }),
        ..Content::new(mark, made)
    };
    keeper.keep(content).unwrap().id().to_owned()
}

fn slide() -> SourceIdentity {
    SourceIdentity::of_pictures(SourceKind::Phantom, "one".to_owned())
}

/// The source has shown its first frame.
fn show(desk: &mut Desk, size: Size) {
    desk.shared.set_source(SourceSeen {
        identity: Some(Arc::new(slide())),
        ..SourceSeen::default()
    });
    desk.slide_begins(size);
}

fn station_kinds(desk: Desk, root: &Path) -> Vec<String> {
    drop(desk);
    let (store, _) = Store::open(root).unwrap();
    let history = store.station_history().unwrap();
    history.records.into_iter().map(|it| it.kind).collect()
}

#[test]
fn a_case_is_counted_by_the_calibration_of_its_source_only() {
    let folder = TempDir::new().unwrap();
    let id = calibrated(folder.path());
    let (right, other) = (Size::new(640, 480), Size::new(320, 240));
    let mut first = desk(folder.path(), "");
    let words = refused(&mut first, &new_case(Some("A")));
    assert!(words.starts_with("no frame has come yet"), "{words}");
    show(&mut first, other);
    let words = refused(&mut first, &new_case(Some("A")));
    let expected = "the calibration is not for this source: the frame is 320x240, expected 640x480";
    assert!(words.starts_with(expected), "{words}");
    show(&mut first, right);
    first.follow(&new_case(Some("A"))).unwrap();
    assert_eq!(first.why_not(), None);
    let opened = first.case.as_ref().unwrap().state.opened();
    assert_eq!(
        opened.calibration.as_ref().map(Text::as_str),
        Some(id.as_str())
    );
    drop(first);

    let mut second = desk(folder.path(), "");
    let words = second.why_not().unwrap();
    assert!(words.starts_with("no frame has come yet"), "{words}");
    show(&mut second, other);
    let words = second.why_not().unwrap();
    assert!(words.starts_with(expected), "{words}");
    second.tick();
    let state = second.shared.view.state();
    let texts: Vec<&str> = state.banners.iter().map(|it| it.text.as_str()).collect();
    assert!(
        texts.iter().any(|it| it.contains("calibrate again")),
        "{texts:?}"
    );
    second.follow(&accept()).unwrap();
    assert_eq!(second.why_not(), None);
    show(&mut second, right);
    assert_eq!(second.why_not(), None);
    let words = refused(&mut second, &accept());
    assert!(words.starts_with("neither the size"), "{words}");
    assert_eq!(station_kinds(second, folder.path()), ["scale_accepted"]);
}

#[test]
fn a_case_that_nobody_attends_waits_for_the_frame_that_tells_its_scale() {
    let folder = TempDir::new().unwrap();
    let id = calibrated(folder.path());
    let case = || Some(CaseId::try_from("A").unwrap());
    let mut wrong = desk(folder.path(), "");
    wrong.awaited = case();
    show(&mut wrong, Size::new(320, 240));
    let error = wrong.refused.take().expect("it is not opened");
    let words = error.to_string();
    let expected = "--case A: the calibration is not for this source";
    assert!(words.starts_with(expected), "{words}");
    assert_eq!(error.exit_code(), crate::exit::USAGE);
    drop(wrong);
    let mut right = desk(folder.path(), "");
    right.awaited = case();
    show(&mut right, Size::new(640, 480));
    assert!(right.refused.is_none());
    let calibration = right.case.as_ref().unwrap().state.calibration();
    assert_eq!(calibration.map(Text::as_str), Some(id.as_str()));
}

#[test]
fn a_slide_that_is_strange_to_the_model_is_recorded_once_a_verdict_and_stops_nothing() {
    let folder = TempDir::new().unwrap();
    let mut desk = desk(folder.path(), SCALE);
    let look = Look {
        background: [230.0; 3],
        stain: [90.0, 60.0, 130.0],
        brightness: 180.0,
        contrast: 40.0,
        sharpness: 0.0625,
        cell_side: None,
    };
    let mut gathered = Gathered::default();
    gathered.add(&look);
    let domain = Domain::of(&[gathered]).unwrap();
    desk.settings.domain = Some(domain);
    desk.follow(&new_case(Some("A"))).unwrap();
    let gauge = |desk: &mut Desk, slide, darker: f32| {
        let mut look = look;
        look.stain[2] -= darker;
        let gauged = Gauged {
            fields: 3,
            look,
            distance: domain.distance(&look),
        };
        desk.shared.set_gauged(slide, gauged);
        desk.look_at_domain();
    };
    let slide = desk.slide;
    gauge(&mut desk, slide - 1, 90.0);
    gauge(&mut desk, slide, 0.0);
    for darker in [16.0, 16.0, 0.0, 17.0, 90.0, 16.0, 90.0] {
        gauge(&mut desk, slide, darker);
    }
    assert_eq!(desk.why_not(), None);
    desk.tick();
    let state = desk.shared.view.state();
    let nearness = state.domain.as_ref().map(|it| it.nearness);
    assert_eq!(nearness, Some(Some(Nearness::Foreign)));
    let banner = &state.banners[0];
    assert_eq!(banner.level, BannerLevel::Warning);
    assert!(
        banner.text.contains("stain is darker in blue"),
        "{banner:?}"
    );
    drop(desk);
    let (store, _) = Store::open(folder.path()).unwrap();
    let records = store.station_history().unwrap().records;
    let told: Vec<serde_json::Value> = records
        .iter()
        .map(|it| serde_json::from_str(&it.json).unwrap())
        .collect();
    let kinds: Vec<&str> = records.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(kinds, ["domain", "domain"]);
    assert_eq!(
        (&told[0]["nearness"], &told[1]["nearness"]),
        (&"far".into(), &"foreign".into())
    );
    assert_eq!(told[0]["case"], "A");
}

#[test]
fn a_case_goes_on_with_its_own_model_only_and_holds_it() {
    let folder = TempDir::new().unwrap();
    let mut first = desk(folder.path(), SCALE);
    first.follow(&new_case(Some("A"))).unwrap();
    let words = refused(&mut first, &new_case(Some("B")));
    assert!(words.starts_with("case A is open (scanning)"), "{words}");
    drop(first);
    // A crash between the two: held for a case that was never recorded.
    let models = Models::of(folder.path());
    std::fs::write(folder.path().join("model/case"), "NEVER").unwrap();
    let mut second = desk(folder.path(), SCALE);
    assert_eq!(models.open_case().unwrap().as_deref(), Some("A"));
    assert_eq!(second.why_not(), None);
    second.settings.model.sha256 = Sha256::try_from("0".repeat(64)).unwrap();
    let words = second.why_not().unwrap();
    assert!(
        words.ends_with("no case is counted by two models"),
        "{words}"
    );
}

#[test]
fn what_does_not_fit_the_case_is_refused_and_not_recorded() {
    let folder = TempDir::new().unwrap();
    let mut desk = desk(folder.path(), SCALE);
    let who = || "A".to_owned();
    let note = Command::Note {
        text: "seen".to_owned(),
        who: who(),
    };
    assert_eq!(refused(&mut desk, &note), "no case is open");
    desk.follow(&new_case(Some("A"))).unwrap();
    let cell = Command::RemoveCell {
        cell: 3,
        who: who(),
    };
    let words = desk.follow(&cell).unwrap_err();
    assert_eq!(
        words,
        Refusal::NotFound("cell 3, expected below 0".to_owned())
    );
    let long = Command::Note {
        text: "x".repeat(500),
        who: who(),
    };
    let words = desk.follow(&long).unwrap_err().to_string();
    assert_eq!(words, "text of 500 bytes, expected at most 400");
    let sign = Command::Sign { who: who() };
    let words = refused(&mut desk, &sign);
    assert!(
        words.starts_with("signed while the case is scanning"),
        "{words}"
    );
    desk.follow(&note).unwrap();
    desk.follow(&Command::BeginReview { who: who() }).unwrap();
    desk.follow(&sign).unwrap();
    assert_eq!(Models::of(folder.path()).open_case().unwrap(), None);
    let amend = Command::Amend {
        reason: "another slide".to_owned(),
        who: who(),
    };
    desk.follow(&amend).unwrap();
    let models = Models::of(folder.path());
    assert_eq!(models.open_case().unwrap().as_deref(), Some("A"));
    let case = desk.case.as_ref().unwrap().id.clone();
    let kinds = desk.ledger.history(&case).unwrap().records.into_iter();
    let kinds: Vec<String> = kinds.map(|it| it.kind).collect();
    let expected = [
        "case_opened",
        "note_added",
        "review_begun",
        "signed",
        "amended",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn damage_of_a_signed_case_does_not_hold_up_the_next_one() {
    let folder = TempDir::new().unwrap();
    let mut desk = desk(folder.path(), SCALE);
    let who = || "A".to_owned();
    desk.follow(&new_case(Some("A"))).unwrap();
    desk.follow(&Command::BeginReview { who: who() }).unwrap();
    desk.follow(&Command::Sign { who: who() }).unwrap();
    let chain = folder.path().join("cases/A/audit.jsonl");
    let text = std::fs::read_to_string(&chain).unwrap();
    std::fs::write(&chain, text + "{}\n").unwrap();
    let amend = Command::Amend {
        reason: "another slide".to_owned(),
        who: who(),
    };
    let words = refused(&mut desk, &amend);
    assert!(words.contains("audit.jsonl"), "{words}");
    assert!(desk.problem.is_some());
    desk.follow(&new_case(Some("B"))).unwrap();
    assert_eq!(desk.why_not(), None);
}
