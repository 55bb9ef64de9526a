//! The gate with a stand-in for the station: a model file of these tests is a list of findings, and
//! the stand-in writes it out.

use std::fs;
use std::process::Command;

use shared::attribute::{AttributeFinding, NO_FINDINGS, ValueId};
use shared::cell::Detection;
use shared::class::ClassId;
use shared::detect::Dropped;
use shared::geometry::BBox;
use shared::score::Score;

use super::*;
use crate::dataset::{PhantomLook, PhantomPlan, PhantomSchema, draw_phantoms};
use crate::detections::{PictureFindings, write_detections};
use crate::onnx::fixture;

/// Writes the findings that the model file holds as those of that file.
const FAITHFUL: &str = r#"
sum=$(sha256sum "$3"); mkdir -p "$7"
sed "s/HASH/${sum%% *}/" "$3" > "$7/detections.jsonl""#;

struct Bench {
    root: tempfile::TempDir,
    data: Dataset,
    contract: ModelContract,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let plan = PhantomPlan {
            fields: [1, 4, 0],
            seed: 70,
            look: PhantomLook::Demo,
            schema: PhantomSchema::Wbcatt,
        };
        let data = draw_phantoms(&plan, &root.path().join("fields")).unwrap();
        let contract = ModelContract {
            classes: data.classes.clone(),
            attributes: data.schema.clone(),
            ..fixture::contract()
        };
        Self {
            root,
            data,
            contract,
        }
    }

    fn station(&self, script: &str) -> Station {
        let path = self.root.path().join("station");
        let text = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo 'leuko-edge 9.9.9'; exit 0; }}\n{script}\n"
        );
        // Written by a child: a file that this process has open for writing might be inherited by the
        // stations that other tests start, and then cannot be run.
        let write = r#"printf %s "$0" > "$1" && chmod +x "$1""#;
        let written = Command::new("sh")
            .args(["-c", write, &text])
            .arg(&path)
            .status();
        assert!(written.unwrap().success());
        Station::find(Some(&path)).unwrap()
    }

    /// What a network without a fault would find.
    fn truth(&self) -> Vec<PictureFindings> {
        let samples = self.data.split(Split::Val).enumerate();
        samples
            .map(|(index, sample)| PictureFindings {
                image: format!("{index:06}.png"),
                size: sample.size,
                model_sha256: "HASH".to_owned(),
                thresholds: Thresholds::EVALUATION,
                dropped: Dropped::default(),
                detections: sample.cells.iter().map(found).collect(),
            })
            .collect()
    }

    fn model(&self, name: &str, findings: &[PictureFindings]) -> PathBuf {
        let path = self.root.path().join(name);
        let file = fs::File::create(&path).unwrap();
        write_detections(file, findings, &self.data.classes, &self.data.schema).unwrap();
        path
    }

    fn judged_by(&self, station: &Station, models: &[&Path]) -> anyhow::Result<ParityReport> {
        let names = ["onnx", "int8", "int4"];
        let stages: Vec<Stage<'_>> = names
            .into_iter()
            .zip(models)
            .map(|(name, path)| Stage::File { name, path })
            .collect();
        let scratch = tempfile::tempdir_in(self.root.path()).unwrap();
        let gate = Gate {
            contract: &self.contract,
            data: &self.data,
            split: Split::Val,
            station,
            scratch: &scratch.path().join("work"),
        };
        judge(&gate, &stages, |_| ())
    }

    /// The report of the truth followed by what `spoil` makes of it.
    fn compared(&self, spoil: impl FnOnce(&mut Vec<PictureFindings>)) -> ParityReport {
        let mut findings = self.truth();
        let before = self.model("m.onnx", &findings);
        spoil(&mut findings);
        let after = self.model("m.int8.onnx", &findings);
        let station = self.station(FAITHFUL);
        self.judged_by(&station, &[&before, &after]).unwrap()
    }
}

fn found(cell: &shared::cell::Cell) -> Detection {
    let mut attributes = NO_FINDINGS;
    for (finding, value) in attributes.iter_mut().zip(cell.attributes) {
        *finding = value.map(|value| AttributeFinding {
            value,
            score: Score::ONE,
        });
    }
    Detection {
        bbox: cell.bbox,
        class: cell.class.unwrap_or(ClassId(0)),
        score: Score::new(0.9).unwrap(),
        attributes,
    }
}

fn row<'a>(report: &'a ParityReport, measure: Measure, of: &str) -> &'a Row {
    let mut rows = report.rows.iter();
    rows.find(|row| row.measure == measure && row.of == of)
        .unwrap()
}

fn lost(report: &ParityReport) -> Vec<(Measure, &str)> {
    let lost = report.rows.iter();
    let lost = lost.filter(|row| row.verdict == Verdict::Exceeded);
    lost.map(|row| (row.measure, row.of.as_str())).collect()
}

#[test]
fn a_file_that_finds_the_same_is_kept() {
    let bench = Bench::new();
    let report = bench.compared(|_| ());
    assert!(report.passed, "{report}");
    assert!(report.verdict().is_ok());
    assert_eq!(report.pictures, 4);
    assert_eq!(report.software[1], "leuko-edge 9.9.9");
    let ap = row(&report, Measure::Ap5095, "any white cell");
    assert_eq!(ap.verdict, Verdict::Within);
    assert_eq!((ap.changes.len(), ap.changes[0]), (1, Some(0.0)));
    assert!(ap.n > 4 && ap.n == report.cells, "{report}");
    let cells = row(&report, Measure::CellsFound, "all pictures");
    assert_eq!(cells.values, [Some(report.cells as f64); 2]);
    let f1 = row(&report, Measure::AttributeF1, "mean of attributes");
    assert_eq!(f1.verdict, Verdict::Within);
    let bias = row(&report, Measure::CountBias, "a picture");
    assert_eq!(
        (bias.values[1], bias.verdict),
        (Some(0.0), Verdict::Unbudgeted)
    );
}

#[test]
fn a_lost_cell_costs_its_class_and_the_count_and_is_named() {
    let bench = Bench::new();
    let report = bench.compared(|findings| {
        findings[0].detections.remove(0);
    });
    let sample = bench.data.split(Split::Val).next().unwrap();
    let class = sample.cells[0].class.unwrap_or(ClassId(0));
    let class = bench.data.classes.name(class).unwrap().to_owned();
    assert!(!report.passed);
    assert!(
        lost(&report).contains(&(Measure::Ap5095, &class)),
        "{report}"
    );
    assert!(lost(&report).contains(&(Measure::CellsFound, "all pictures")));
    let error = report.verdict().unwrap_err();
    assert_eq!(error.code(), 4);
    let text = error.to_string();
    assert!(text.starts_with("parity: "), "{text}");
    assert!(text.contains(", at int8: expected at most 0.0"), "{text}");
    assert!(report.to_string().contains("LOST"));
}

#[test]
fn an_invented_cell_loses_no_precision_below_all_others_and_still_counts() {
    let bench = Bench::new();
    let report = bench.compared(|findings| {
        let mut ghost = findings[0].detections[0];
        ghost.bbox = BBox::from_corners(0.0, 0.0, 9.0, 9.0).unwrap();
        ghost.score = Score::new(0.3).unwrap();
        ghost.attributes = NO_FINDINGS;
        findings[0].detections.push(ghost);
    });
    assert_eq!(
        lost(&report),
        [(Measure::CellsFound, "all pictures")],
        "{report}"
    );
    let cells = row(&report, Measure::CellsFound, "all pictures");
    assert_eq!(cells.changes, [Some(1.0 / report.cells as f64)]);
}

#[test]
fn a_wrong_attribute_is_a_loss_and_a_mended_one_is_none() {
    let bench = Bench::new();
    let spoil = |findings: &mut Vec<PictureFindings>| {
        let detections = findings.iter_mut().flat_map(|f| &mut f.detections);
        let finding = detections.filter_map(|d| d.attributes[0].as_mut()).next();
        let finding = finding.unwrap();
        finding.value = ValueId::new(1 - finding.value.index()).unwrap();
    };
    let report = bench.compared(spoil);
    let name = bench.data.schema.iter().next().unwrap().1.name.to_string();
    assert!(
        lost(&report).contains(&(Measure::AttributeF1, &name)),
        "{report}"
    );
    assert!(
        lost(&report)
            .iter()
            .all(|(m, _)| *m == Measure::AttributeF1)
    );

    let mut findings = bench.truth();
    let after = bench.model("m.int8.onnx", &findings);
    spoil(&mut findings);
    let before = bench.model("m.onnx", &findings);
    let station = bench.station(FAITHFUL);
    let report = bench.judged_by(&station, &[&before, &after]).unwrap();
    assert!(report.passed, "a gain is no loss:\n{report}");
    assert!(row(&report, Measure::AttributeF1, &name).changes[0].unwrap() > 0.0);
}

#[test]
fn each_stage_is_compared_with_the_one_before_it() {
    let bench = Bench::new();
    let whole = bench.truth();
    let mut short = whole.clone();
    short[0].detections.remove(0);
    let (whole, short) = (bench.model("a.onnx", &whole), bench.model("b.onnx", &short));
    let station = bench.station(FAITHFUL);
    let report = bench
        .judged_by(&station, &[&short, &whole, &short])
        .unwrap();
    let cells = row(&report, Measure::CellsFound, "all pictures");
    let n = report.cells as f64;
    assert_eq!(cells.changes, [Some(1.0 / (n - 1.0)), Some(-1.0 / n)]);
    let ap = row(&report, Measure::Ap5095, "any white cell");
    assert!(ap.changes[0] > Some(0.0) && ap.changes[1] < Some(0.0));
    let stages: Vec<&str> = report.stages.iter().map(|file| file.stage).collect();
    assert_eq!(stages, ["onnx", "int8", "int4"]);
}

#[test]
fn a_pass_says_how_much_it_could_not_see() {
    let mut bench = Bench::new();
    let report = bench.compared(|_| ());
    let n = |verdict| {
        report
            .rows
            .iter()
            .filter(|row| row.verdict == verdict)
            .count()
    };
    let (kept, blind) = (n(Verdict::Within), n(Verdict::NoTruth));
    for cell in bench.data.samples.iter_mut().flat_map(|s| &mut s.cells) {
        cell.attributes = shared::attribute::NO_ATTRIBUTES;
    }
    let report = bench.compared(|_| ());
    let n_attributes = bench.data.schema.len() + 1;
    let text = report.to_string();
    let expected = format!(
        "none of {} numbers loses more than its budget; {} more have no truth in these pictures\n",
        kept - n_attributes,
        blind + n_attributes
    );
    assert!(text.ends_with(&expected), "{expected}{text}");
}

#[test]
fn the_report_beside_the_model_says_what_was_compared() {
    let bench = Bench::new();
    let report = bench.compared(|_| ());
    let text = report.markdown();
    for part in [
        "# Parity of made up\n",
        "- int8: `m.int8.onnx`, SHA-256 `",
        &report.stages[1].sha256,
        &report.data_fingerprint,
        "judged by leuko-host ",
        "run by leuko-edge 9.9.9\n",
        "|  | n | onnx | int8 | change | budget | verdict |\n| --- | ---: |",
        "| AP50-95, any white cell | ",
        " | 1.0000 | 1.0000 | +0.0000 | 0.01 | kept |",
        "parity: kept",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["passed"], true);
    assert_eq!(json["budgets"]["class_ap"]["each"], 0.01);
    assert_eq!(json["rows"][0]["measure"], "ap50_95");
    assert_eq!(json["rows"].as_array().unwrap().len(), report.rows.len());
}

fn code_and_text(outcome: anyhow::Result<ParityReport>) -> (u8, String) {
    let error = outcome.unwrap_err();
    (crate::exit::code(&error), format!("{error:#}"))
}

#[test]
fn findings_that_are_not_those_of_the_model_on_these_pictures_are_refused() {
    let bench = Bench::new();
    let good = bench.truth();
    let station = bench.station(FAITHFUL);
    let good_file = bench.model("good.onnx", &good);
    let judged = |findings: &[PictureFindings]| {
        let file = bench.model("bad.onnx", findings);
        code_and_text(bench.judged_by(&station, &[&good_file, &file]))
    };
    let (code, text) = judged(&good[1..]);
    assert_eq!(code, 3, "{text}");
    let first = bench.data.split(Split::Val).next().unwrap();
    assert_eq!(
        text,
        format!(
            "stage int8: expected findings of 4 pictures, those of 1 are missing, the first of {:?}",
            first.image.display().to_string()
        )
    );
    let mut other = good.clone();
    other[0].model_sha256 = "ab".repeat(32);
    let (code, text) = judged(&other);
    assert_eq!(code, 4, "{text}");
    assert!(
        text.ends_with(&format!("found those of {}", "ab".repeat(32))),
        "{text}"
    );
    let mut stranger = good.clone();
    stranger[0].image = "000009.png".to_owned();
    let (code, text) = judged(&stranger);
    assert_eq!(code, 4);
    let expected = "stage int8: found findings of \"000009.png\", a picture that was not given";
    assert_eq!(text, expected);
}

#[test]
fn a_station_that_fails_passes_its_code_and_its_last_word_on() {
    let bench = Bench::new();
    let file = bench.model("m.onnx", &bench.truth());
    for (script, code, said) in [
        (
            "echo working >&2; echo 'm.onnx: no' >&2; exit 4",
            4,
            "found 4: m.onnx: no",
        ),
        ("exit 6", 6, "found 6: it said nothing"),
        ("exit 2", 1, "found 2: it said nothing"),
        ("kill -9 $$", 1, "found a signal: it said nothing"),
    ] {
        let station = bench.station(script);
        let (found, text) = code_and_text(bench.judged_by(&station, &[&file, &file]));
        assert_eq!(found, code, "{text}");
        assert!(text.contains("replay --model "), "{text}");
        assert!(text.ends_with(said), "{text}");
    }
}

#[test]
fn without_cells_or_without_a_stage_before_nothing_can_be_judged() {
    let mut bench = Bench::new();
    let file = bench.model("m.onnx", &bench.truth());
    let station = bench.station(FAITHFUL);
    let (code, text) = code_and_text(bench.judged_by(&station, &[&file]));
    assert_eq!(
        (code, text.as_str()),
        (2, "expected at least two stages, found 1")
    );
    bench.data.samples.iter_mut().for_each(|s| s.cells.clear());
    let (code, text) = code_and_text(bench.judged_by(&station, &[&file, &file]));
    assert_eq!(code, 3);
    let expected = "phantom, split val: expected pictures with cells, found 4 pictures and no cell";
    assert_eq!(text, expected);
    bench.data.samples.retain(|s| s.split != Split::Val);
    let (code, text) = code_and_text(bench.judged_by(&station, &[&file, &file]));
    assert_eq!(code, 3);
    assert!(text.ends_with("found 0 pictures and no cell"), "{text}");
}
