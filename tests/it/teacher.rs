//! A network that is taught by another one.

use std::path::Path;

use host::checkpoint::sha256_of;
use host::model::{Architecture, DetectionHead};
use host::train::{Start, TeacherFile, TrainError, TrainPlan, last_checkpoint};
use shared::geometry::Size;

use crate::end_to_end::{cut_and_resumed_is_straight, fields, plan, refused, trained};

fn short(architecture: Architecture) -> TrainPlan {
    TrainPlan {
        architecture,
        epochs: 4,
        batch: 4,
        canvas: Size::new(64, 64),
        ..plan()
    }
}

/// A file that a training has left.
fn teacher_in(run: &Path) -> Option<TeacherFile> {
    let checkpoint = last_checkpoint(run);
    let sha256 = sha256_of(&checkpoint).expect("a file");
    Some(TeacherFile { checkpoint, sha256 })
}

#[test]
fn a_taught_run_learns_otherwise_and_a_cut_one_is_the_run_that_was_not() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let folder = folder.path();
    let data = fields(&folder.join("fields"));
    let alone = short(Architecture::yolov5("n").unwrap());
    let larger = TrainPlan {
        architecture: Architecture {
            width: 0.375,
            ..alone.architecture
        },
        epochs: 1,
        ..alone.clone()
    };
    let run = |name: &str| {
        let run = folder.join(name);
        std::fs::create_dir(&run).expect("a folder");
        run
    };
    let of_teacher = run("teacher");
    trained(&data, larger, usize::MAX, &of_teacher);
    let taught = TrainPlan {
        teacher: teacher_in(&of_teacher),
        ..alone.clone()
    };
    cut_and_resumed_is_straight(&data, &taught, || Start::Nothing, &run("taught"));
    let once = |plan: &TrainPlan| TrainPlan {
        epochs: 1,
        ..plan.clone()
    };
    let weights = |plan, name| trained(&data, plan, usize::MAX, &run(name)).weights;
    let (with, without) = (
        weights(once(&taught), "with"),
        weights(once(&alone), "without"),
    );
    let differs = |name: &String| with[name] != without[name];
    assert!(with.keys().any(differs), "the teacher said nothing");
}

#[test]
fn a_teacher_of_other_places_and_another_file_are_refused() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let data = fields(&folder.path().join("fields"));
    let anchored = short(Architecture::yolov5("n").unwrap());
    let free = TrainPlan {
        architecture: Architecture {
            detection: DetectionHead::AnchorFree,
            ..anchored.architecture
        },
        epochs: 1,
        ..anchored.clone()
    };
    trained(&data, free, usize::MAX, folder.path());
    let file = teacher_in(folder.path()).expect("trained");
    let other = TeacherFile {
        sha256: "0".repeat(64),
        ..file.clone()
    };
    for (teacher, expected) in [
        (file, "other prior boxes or attribute head"),
        (other, "expected 0000"),
    ] {
        let plan = TrainPlan {
            teacher: Some(teacher),
            ..anchored.clone()
        };
        let error = refused(&data, plan, folder.path());
        assert!(matches!(error, TrainError::Teacher { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(host::exit::code(&anyhow::Error::new(error)), 4);
    }
}
