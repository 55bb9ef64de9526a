//! The self-test: does this model find on this machine what it found where it was exported?

use std::fmt;

use serde::Serialize;
use shared::cell::Detection;
use shared::class::ClassId;
use shared::contract::{AttributeHead, GoldenCell, GoldenField, fnv1a, golden_spec};
use shared::geometry::{BBox, Image, Size};

use crate::detector::{DetectError, Detector};
use crate::fields;
use crate::network::Integers;

/// Least overlap of a golden cell with the one found for it.
pub const IOU_MIN: f32 = 0.9;

/// Largest difference of the scores of a golden cell and the one found for it.
pub const SCORE_DIFFERENCE_MAX: f32 = 0.05;

/// One golden field's outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldOutcome {
    /// Of the drawn field.
    pub seed: u64,
    /// Of the drawn field.
    pub size: Size,
    /// Fingerprint recorded at the export.
    pub canvas_expected: String,
    /// Fingerprint here.
    pub canvas_found: String,
    /// Cells recorded at the export.
    pub cells_expected: usize,
    /// Cells found here.
    pub cells_found: usize,
    /// Golden cells for which none of the class lies near with about the score.
    pub missing: Vec<String>,
    /// Found cells, well above the threshold, that no golden cell accounts for.
    pub unexpected: Vec<String>,
}

impl FieldOutcome {
    /// Same pixels, same cells.
    pub fn passed(&self) -> bool {
        self.canvas_expected == self.canvas_found
            && self.missing.is_empty()
            && self.unexpected.is_empty()
    }
}

/// What was checked, and the answer.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// File or embedded model.
    pub model: String,
    /// Name in its contract.
    pub name: String,
    /// Hash of the file.
    pub model_sha256: String,
    /// Where attributes are read: `dense` (from the heads) or `roi` (by the second file).
    pub attribute_head: &'static str,
    /// How its convolutions are computed.
    pub integers: Integers,
    /// Loaded, compared with its contract and run on a grey canvas: always true in a report.
    pub contract: bool,
    /// Every golden field; empty when the contract records none.
    pub golden: Vec<FieldOutcome>,
    /// The answer; no when nothing is recorded to compare with.
    pub passed: bool,
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model     {} ({})", self.name, self.model)?;
        writeln!(f, "sha-256   {}", self.model_sha256)?;
        writeln!(f, "contract  yes: input, outputs, weights and a trial run")?;
        writeln!(f, "attribute {}", self.attribute_head)?;
        write_integers(f, &self.integers)?;
        if self.golden.is_empty() {
            writeln!(
                f,
                "golden    none recorded in the contract: nothing can be said"
            )?;
        }
        for field in &self.golden {
            let answer = if field.passed() { "yes" } else { "no" };
            writeln!(
                f,
                "golden    {answer}: field {} of {}, {} cells expected, {} found",
                field.seed, field.size, field.cells_expected, field.cells_found
            )?;
            if field.canvas_expected != field.canvas_found {
                writeln!(
                    f,
                    "          canvas is {}, expected {}",
                    field.canvas_found, field.canvas_expected
                )?;
            }
            for cell in &field.missing {
                writeln!(f, "          missing {cell}")?;
            }
            for cell in &field.unexpected {
                writeln!(f, "          unexpected {cell}")?;
            }
        }
        write!(f, "{}", if self.passed { "yes" } else { "no" })
    }
}

/// How many convolutions run in integers; those that do not are listed unless none does.
fn write_integers(f: &mut fmt::Formatter<'_>, integers: &Integers) -> fmt::Result {
    let (count, of) = (integers.count(), integers.of());
    write!(f, "integers  {count} of {of} convolutions")?;
    let kernels = integers.kernels.iter();
    let kernels: Vec<String> = kernels.map(|(name, n)| format!("{n} {name}")).collect();
    if kernels.is_empty() {
        return writeln!(f, ": a model in floating point");
    }
    let megabytes = integers.packed_bytes as f64 / 1e6;
    writeln!(f, ": {}; weights {megabytes:.2} MB", kernels.join(", "))?;
    for (name, reason) in &integers.float {
        writeln!(f, "float     {name}: {reason}")?;
    }
    Ok(())
}

/// Runs every golden field of the contract, at the contract's thresholds.
///
/// # Errors
/// When the network fails.
pub fn check(
    detector: &mut Detector,
    model: &str,
    model_sha256: &str,
) -> Result<CheckReport, DetectError> {
    let contract = detector.contract().clone();
    detector.set_thresholds(contract.thresholds);
    let mut golden = Vec::new();
    for field in &contract.golden {
        golden.push(run_field(detector, field)?);
    }
    Ok(CheckReport {
        model: model.to_owned(),
        name: contract.name.as_str().to_owned(),
        model_sha256: model_sha256.to_owned(),
        attribute_head: match contract.attribute_head {
            AttributeHead::Dense => "dense",
            AttributeHead::Roi(_) => "roi",
        },
        integers: detector.integers().cloned().unwrap_or_default(),
        contract: true,
        passed: !golden.is_empty() && golden.iter().all(FieldOutcome::passed),
        golden,
    })
}

fn run_field(detector: &mut Detector, field: &GoldenField) -> Result<FieldOutcome, DetectError> {
    let picture = fields::draw(&golden_spec(field.seed, field.size))
        .expect("the contract was checked when the model was loaded");
    let found = detector.detect(picture.view())?.detections.to_vec();
    let threshold = detector.thresholds().score;
    let (missing, unexpected) = compare(&field.cells, &found, threshold);
    Ok(FieldOutcome {
        seed: field.seed,
        size: field.size,
        canvas_expected: field.canvas_fnv.as_str().to_owned(),
        canvas_found: format!("{:016x}", fnv1a(detector.canvas())),
        cells_expected: field.cells.len(),
        cells_found: found.len(),
        missing,
        unexpected,
    })
}

/// Pairs every golden cell, best first, with a free finding of its class, place and score, the
/// best of them if there are several; returns what is missing and what is unexpected, in words.
///
/// A cell whose score is within the tolerance of the threshold may be there or not.
fn compare(
    golden: &[GoldenCell],
    found: &[Detection],
    threshold: f32,
) -> (Vec<String>, Vec<String>) {
    let mut free: Vec<&Detection> = found.iter().collect();
    let sure = |score: f32| score > threshold + SCORE_DIFFERENCE_MAX;
    let mut missing = Vec::new();
    for cell in golden {
        let best = free
            .iter()
            .enumerate()
            .filter(|(_, other)| is_same(cell, other))
            .max_by(|(_, a), (_, b)| a.score.cmp(&b.score));
        match best {
            Some((index, _)) => {
                free.swap_remove(index);
            }
            None if sure(cell.score) => {
                missing.push(described(ClassId(cell.class), cell.score, cell.xyxy));
            }
            None => {}
        }
    }
    let capacity = shared::contract::MAX_GOLDEN_CELLS;
    let unexpected = free
        .into_iter()
        // A field with more cells than the contract has room for lists its best only.
        .filter(|cell| golden.len() < capacity && sure(cell.score.get()))
        .map(|cell| described(cell.class, cell.score.get(), cell.bbox.xyxy()))
        .collect();
    (missing, unexpected)
}

fn is_same(golden: &GoldenCell, found: &Detection) -> bool {
    let [x0, y0, x1, y1] = golden.xyxy;
    let overlap = BBox::<Image>::from_corners(x0, y0, x1, y1)
        .map_or(0.0, |expected| expected.iou(&found.bbox));
    found.class.0 == golden.class
        && overlap >= IOU_MIN
        && (found.score.get() - golden.score).abs() <= SCORE_DIFFERENCE_MAX
}

fn described(class: ClassId, score: f32, [x0, y0, x1, y1]: [f32; 4]) -> String {
    format!(
        "class {} score {score:.3} at {x0:.1} {y0:.1} {x1:.1} {y1:.1}",
        class.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{TINY, detector, golden};
    use shared::attribute::NO_FINDINGS;
    use shared::score::Score;

    fn found(class: u8, score: f32, xyxy: [f32; 4]) -> Detection {
        Detection {
            bbox: BBox::from_corners(xyxy[0], xyxy[1], xyxy[2], xyxy[3]).unwrap(),
            class: ClassId(class),
            score: Score::new(score).unwrap(),
            attributes: NO_FINDINGS,
        }
    }

    #[test]
    fn a_cell_must_have_class_place_and_about_the_score() {
        const PLACE: [f32; 4] = [10.0, 10.0, 110.0, 110.0];
        let golden = [GoldenCell {
            class: 2,
            score: 0.8,
            xyxy: PLACE,
        }];
        struct Case {
            found: Detection,
            lost: bool,
        }
        for Case { found, lost } in [
            Case {
                found: found(2, 0.8, PLACE),
                lost: false,
            },
            Case {
                found: found(2, 0.76, [11.0, 11.0, 111.0, 111.0]),
                lost: false,
            },
            Case {
                found: found(3, 0.8, PLACE),
                lost: true,
            },
            Case {
                found: found(2, 0.7, PLACE),
                lost: true,
            },
            Case {
                found: found(2, 0.8, [20.0, 20.0, 120.0, 120.0]),
                lost: true,
            },
        ] {
            let (missing, unexpected) = compare(&golden, &[found], 0.25);
            assert_eq!(!missing.is_empty(), lost, "{found:?}");
            assert_eq!(!unexpected.is_empty(), lost, "{found:?}");
        }
    }

    #[test]
    fn a_cell_at_the_threshold_may_be_there_or_not() {
        let here = found(0, 0.27, [0.0, 0.0, 50.0, 50.0]);
        assert_eq!(compare(&[], &[here], 0.25), (vec![], vec![]));
        let golden = GoldenCell {
            class: 0,
            score: 0.27,
            xyxy: [0.0, 0.0, 50.0, 50.0],
        };
        assert_eq!(compare(&[golden], &[], 0.25), (vec![], vec![]));
    }

    fn golden_model(change: impl FnOnce(&mut GoldenField)) -> Detector {
        detector(&golden(|_| {}, change))
    }

    #[test]
    fn a_model_that_finds_what_it_found_passes() {
        let report = check(&mut golden_model(|_| {}), "m.onnx", "cafe").unwrap();
        assert!(report.passed, "{report}");
        assert_eq!(report.golden.len(), 1);
        assert!(report.to_string().ends_with("\nyes"), "{report}");
    }

    #[test]
    fn a_model_with_nothing_recorded_is_a_no() {
        let report = check(&mut detector(TINY), "m.onnx", "cafe").unwrap();
        assert!(!report.passed && report.golden.is_empty());
        let words = report.to_string();
        assert!(
            words.ends_with("none recorded in the contract: nothing can be said\nno"),
            "{words}"
        );
    }

    #[test]
    fn other_pixels_or_other_cells_are_a_no_with_the_reason() {
        type Change = fn(&mut GoldenField);
        let cases: [(Change, &str); 4] = [
            (
                |field| field.canvas_fnv = "0".parse().unwrap(),
                "expected 0\n",
            ),
            (|field| field.cells[0].class = 4, "missing class 4"),
            (|field| field.cells[0].xyxy[2] += 90.0, "missing class 0"),
            (|field| field.cells.clear(), "unexpected class 0"),
        ];
        for (change, expected) in cases {
            let report = check(&mut golden_model(change), "m.onnx", "cafe").unwrap();
            let words = report.to_string();
            assert!(!report.passed && words.contains(expected), "{words}");
            assert!(words.ends_with("\nno"), "{words}");
        }
    }
}
