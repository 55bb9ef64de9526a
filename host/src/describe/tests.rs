use shared::attribute::NO_FINDINGS;
use shared::cell::Detection;
use shared::class::{ClassId, ClassTable};
use shared::contract::{Precision, Quantization};
use shared::detect::Dropped;
use shared::domain::Quantity;
use shared::geometry::{BBox, Image};
use shared::head::Thresholds;
use shared::score::Score;

use super::*;
use crate::dataset::{PhantomLook, PhantomPlan, PhantomSchema, draw_phantoms};
use crate::onnx::fixture;
use crate::score::{On, Said, SaidCells};

const OWN: &str = "own";

const A: ClassId = ClassId(0);

/// What is found from the counting score on, for one class of which there are `truths` cells.
fn chosen(truths: u32, said: &[(f32, On)]) -> ClassScore {
    let said = said.iter();
    let cells = SaidCells {
        said: said
            .map(|&(score, on)| Said {
                class: A,
                score,
                on,
            })
            .collect(),
        truths: vec![truths, 9],
        ..SaidCells::default()
    };
    let classes = ClassTable::new(["a", "b"]).unwrap();
    class_scores(&cells, &classes, 0.25).swap_remove(0)
}

/// Cells of the class, what is found, and what is chosen by that.
type Case = (u32, Vec<(f32, On)>, Rule, f32);

#[test]
fn a_class_is_said_from_the_least_score_on_that_is_right_often_enough() {
    const R: On = On::Cell(A);
    const W: On = On::Nothing;
    const B: On = On::Cell(ClassId(1));
    let many = |right: usize, wrong: usize| {
        let scores = (0..right + wrong).map(|at| 0.9 - at as f32 * 0.001);
        let on = (0..).map(|at| if at < right { R } else { W });
        scores.zip(on).collect::<Vec<_>>()
    };
    let cases: [Case; 10] = [
        // All that is counted is right: no score of its own, however few there are.
        (4, vec![(0.9, R), (0.4, R)], Rule::Precision, 0.25),
        (100, many(97, 3), Rule::Precision, 0.25),
        // 97 of 101 are too few; 97 of 100 are not.
        (100, many(97, 4), Rule::Precision, 0.9 - 99.0 * 0.001),
        (
            4,
            vec![(0.9, R), (0.8, R), (0.7, R), (0.6, B), (0.5, R)],
            Rule::Precision,
            0.7,
        ),
        // Equal scores cannot be told apart.
        (2, vec![(0.9, R), (0.8, R), (0.8, W)], Rule::Precision, 0.9),
        // Cells of unsaid class count neither way, in whatever order they come.
        (
            3,
            vec![(0.5, R), (0.6, On::Unsaid), (0.9, R), (0.7, On::Unsaid)],
            Rule::Precision,
            0.25,
        ),
        // F1 of 0, 2/4, 4/5, 4/6.
        (
            2,
            vec![(0.9, W), (0.8, R), (0.7, R), (0.6, B)],
            Rule::BestF1,
            0.7,
        ),
        (2, vec![(0.9, W), (0.8, B)], Rule::NeverRight, 1.0),
        (2, vec![(0.9, On::Unsaid)], Rule::Unjudged, 0.25),
        (0, vec![(0.9, W)], Rule::Unjudged, 0.25),
    ];
    for (truths, said, rule, score) in cases {
        let found = chosen(truths, &said);
        assert_eq!((found.rule, found.score), (rule, score), "{said:?}");
    }
}

#[test]
fn what_a_score_costs_is_told() {
    let said = [
        (0.9, On::Cell(A)),
        (0.8, On::Cell(A)),
        (0.7, On::Nothing),
        (0.6, On::Cell(A)),
    ];
    let found = chosen(5, &said);
    let share = |of: Option<crate::score::Proportion>| of.map(|of| (of.k, of.n));
    assert_eq!(found.score, 0.8);
    assert_eq!(share(found.precision), Some((2, 2)));
    assert_eq!(share(found.recall), Some((2, 5)));
    assert_eq!((found.unidentified, found.unidentified_right), (2, 1));
    let never = chosen(2, &[(0.9, On::Nothing)]);
    assert_eq!(share(never.precision), None);
    assert_eq!((never.unidentified, never.unidentified_right), (1, 0));
}

/// A drawn set, a contract for it, and what a network without a fault would find on its val pictures.
struct Bench {
    _root: tempfile::TempDir,
    set: Dataset,
    contract: ModelContract,
}

impl Bench {
    fn new(fields: [usize; 3]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let plan = PhantomPlan {
            fields,
            seed: 90,
            look: PhantomLook::Demo,
            schema: PhantomSchema::Wbcatt,
        };
        let set = draw_phantoms(&plan, &root.path().join("fields")).unwrap();
        let contract = ModelContract {
            classes: set.classes.clone(),
            attributes: set.schema.clone(),
            ..fixture::contract()
        };
        Self {
            _root: root,
            set,
            contract,
        }
    }

    fn findings(&self) -> Vec<PictureFindings> {
        let found = |sample: &Sample| PictureFindings {
            image: file_name(sample),
            size: sample.size,
            model_sha256: OWN.to_owned(),
            thresholds: Thresholds::EVALUATION,
            dropped: Dropped::default(),
            detections: sample
                .cells
                .iter()
                .map(|cell| found_at(cell.bbox, cell.class.unwrap_or(A), 0.9))
                .collect(),
        };
        self.set.split(Split::Val).map(found).collect()
    }

    fn describe(&self, findings: Vec<PictureFindings>) -> Result<Description, String> {
        let sets = std::slice::from_ref(&self.set);
        describe(&self.contract, OWN, sets, findings, &mut |_| ())
            .map_err(|error| error.to_string())
    }
}

fn found_at(bbox: BBox<Image>, class: ClassId, score: f32) -> Detection {
    Detection {
        bbox,
        class,
        score: Score::new(score).unwrap(),
        attributes: NO_FINDINGS,
    }
}

fn file_name(sample: &Sample) -> String {
    let name = sample.image.file_name().unwrap();
    name.to_string_lossy().into_owned()
}

#[test]
fn train_pictures_make_the_domain_val_pictures_the_scores_and_test_pictures_are_not_opened() {
    let bench = Bench::new([5, 4, 2]);
    for sample in bench.set.split(Split::Test) {
        std::fs::remove_file(&sample.image).unwrap();
    }
    let found = bench.describe(bench.findings()).unwrap();
    assert_eq!((found.judged_pictures, found.missing_pictures), (4, 0));
    assert_eq!(found.domain.pictures, 5);
    assert_eq!(found.sets[0].train_pictures, 5);
    let val = found.sets[0].val;
    assert_eq!(val.near + val.far + val.foreign, 4);
    // The mean of the domain is that of its only set.
    let mean = found.sets[0].mean.unwrap();
    for quantity in Quantity::ALL {
        let spread = found.domain.spread(quantity).unwrap();
        let value = quantity.of(&mean).unwrap();
        assert!((value - spread.mean).abs() < 1e-3, "{quantity:?}");
    }
    // Without a fault, every class that there is may be said from the counting score on.
    let said = found.classes.iter().filter(|class| class.truths > 0);
    assert!(said.clone().count() > 1);
    for class in said {
        assert_eq!((class.rule, class.score), (Rule::Precision, 0.25));
        assert_eq!(class.recall.unwrap().value, 1.0, "{}", class.class);
    }
    let contract = described(&bench.contract, &found);
    assert_eq!(contract.check(), Ok(()));
    assert_eq!(contract.domain, Some(found.domain));
    assert_eq!(contract.class_scores.len(), 5);
}

#[test]
fn further_classes_of_a_cell_are_not_counted_and_findings_on_nothing_are_wrong() {
    let bench = Bench::new([1, 4, 0]);
    let mut findings = bench.findings();
    let of_class = |cell: &&Detection| cell.class != A;
    let picture = findings
        .iter_mut()
        .find(|picture| picture.detections.iter().any(|cell| of_class(&cell)))
        .unwrap();
    let cell = *picture.detections.iter().find(of_class).unwrap();
    let before = bench.describe(bench.findings()).unwrap();
    // The same cell as another class, less surely, and its box a little moved: by more than the 0.6 of
    // the file, by less than the 0.45 of the contract.
    let [x0, y0, x1, y1] = cell.bbox.xyxy();
    let moved = x0 + (x1 - x0) * 0.3;
    let further = BBox::from_corners(moved, y0, moved + x1 - x0, y1).unwrap();
    picture.detections.push(found_at(further, A, 0.8));
    let after = bench.describe(findings.clone()).unwrap();
    assert_eq!(after.classes, before.classes);
    // A finding in a corner of the picture, below the others.
    let nothing = BBox::from_corners(0.0, 0.0, 5.0, 5.0).unwrap();
    let picture = findings.iter_mut().find(|p| !p.detections.is_empty());
    let detections = &mut picture.unwrap().detections;
    detections.push(found_at(nothing, cell.class, 0.5));
    let class = &bench.describe(findings).unwrap().classes[cell.class.index()];
    assert_eq!((class.unidentified, class.unidentified_right), (1, 0));
    assert_eq!(class.score, 0.9);
}

#[test]
fn pictures_that_only_one_side_knows_are_left_out_and_told() {
    let bench = Bench::new([1, 3, 0]);
    let mut findings = bench.findings();
    findings[0].image = "elsewhere.png".to_owned();
    let found = bench.describe(findings).unwrap();
    let counts = [
        found.judged_pictures,
        found.missing_pictures,
        found.unjudged_pictures,
    ];
    assert_eq!(counts, [2, 1, 1]);
    let text = found.to_string();
    assert!(text.contains("left out: 1 val pictures without findings\n"));
    assert!(text.contains("left out: 1 pictures of the findings that are not of the val split\n"));
}

#[test]
fn findings_that_say_nothing_of_the_model_are_refused() {
    let bench = Bench::new([1, 2, 0]);
    let refused = |spoil: fn(&mut PictureFindings)| {
        let mut findings = bench.findings();
        findings.iter_mut().for_each(spoil);
        bench.describe(findings).unwrap_err()
    };
    assert_eq!(
        refused(|picture| picture.model_sha256 = "other".to_owned()),
        "findings of phantom_000091.png: expected those of the model own, found those of other"
    );
    assert_eq!(
        refused(|picture| picture.thresholds.score = 0.5),
        "findings of phantom_000091.png: expected all from score 0.25 on, found them cut at 0.5"
    );
    assert_eq!(
        refused(|picture| picture.image = format!("x{}", picture.image)),
        "findings: expected those of the val split (2 pictures), found 2 others"
    );
    let untrained = Bench::new([0, 2, 0]);
    assert_eq!(
        untrained.describe(untrained.findings()),
        Err("train split of phantom: expected pictures, found none".to_owned())
    );
}

#[test]
fn an_8_bit_model_is_described_by_its_parent_s_findings_too() {
    let mut bench = Bench::new([1, 1, 0]);
    let parent = "ab".repeat(32);
    bench.contract.precision = Precision::Int8;
    bench.contract.quantization = Some(Quantization {
        parent_sha256: parent.as_str().try_into().unwrap(),
        calibration_sha256: "0".repeat(64).as_str().try_into().unwrap(),
        n_canvases: 1,
        n_float_layers: 0,
    });
    let mut findings = bench.findings();
    findings[0].model_sha256.clone_from(&parent);
    let found = bench.describe(findings.clone()).unwrap();
    let contract = described(&bench.contract, &found);
    assert_eq!(contract.quantization, bench.contract.quantization);
    findings[0].model_sha256 = "cd".repeat(32);
    let refused = bench.describe(findings).unwrap_err();
    assert!(refused.contains(&format!(
        "expected those of the model own or {parent}, found"
    )));
}
