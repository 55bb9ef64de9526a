//! The golden fields of a quantized network: what it finds there, however engines round.
//!
//! Where a sum lies on the edge between two bytes, two engines may take either, and of two boxes of
//! equal score the other one then wins. Such a field says nothing about the machine that it is to test,
//! and is replaced by another.

use anyhow::Context;
use heapless::Vec as Fixed;
use shared::cell::Detection;
use shared::contract::{GoldenField, ModelContract};
use shared::detect::{CANDIDATES_MAX, DETECTIONS_MAX, detections};
use shared::nms::Candidate;
use tch::Tensor;

use super::op::Op;
use super::run::Runner;
use crate::checkpoint::floats;
use crate::export::golden_field;
use crate::picture::Picture;

/// Sums are shifted by these shares of themselves: as far as two engines' sums are apart.
const SHIFTS: [f64; 4] = [-3e-6, -1e-6, 1e-6, 3e-6];

/// From the seed of one trial to the next; above the number of fields, so that none is drawn twice.
const SEED_STEP: u64 = 16;

/// Fields tried in place of one.
const TRIALS: u64 = 16;

/// Least overlap of a cell with itself when sums are shifted; half of the way to the station's 0.9.
const IOU_MIN: f32 = 0.95;

/// Largest change of its score; half of the station's 0.05.
const SCORE_DIFFERENCE_MAX: f32 = 0.025;

/// What the quantized network finds on the golden fields; a field whose cells hang on the rounding of
/// sums is replaced by the next that does not.
///
/// # Errors
/// When a field cannot be drawn or laid on the canvas, when the network's answer is not finite, or when
/// no field will do.
pub(super) fn renew_golden(
    contract: &mut ModelContract,
    runner: &Runner<'_>,
    tell: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    for index in 0..contract.golden.len() {
        let (first, size) = (contract.golden[index].seed, contract.golden[index].size);
        let seeds = (0..TRIALS).map(|trial| first + trial * SEED_STEP);
        let mut steady = None;
        for seed in seeds {
            steady = steady_field(contract, runner, seed, size)?;
            if steady.is_some() {
                break;
            }
            tell(&format!(
                "golden field {seed}: its cells hang on the rounding of sums, another takes its place"
            ));
        }
        contract.golden[index] = steady.with_context(|| {
            format!("golden fields: expected one in {TRIALS} whose cells do not hang on rounding, found none")
        })?;
    }
    Ok(())
}

/// The golden field of a seed; `None` when shifted sums give other cells.
fn steady_field(
    contract: &ModelContract,
    runner: &Runner<'_>,
    seed: u64,
    size: shared::geometry::Size,
) -> anyhow::Result<Option<GoldenField>> {
    let mut is_steady = true;
    let laid = (contract.fit, contract.canvas);
    let field = golden_field(seed, size, laid, |picture| {
        let cells = find_cells(contract, runner, picture, 0.0)?;
        for shift in SHIFTS {
            let shifted = find_cells(contract, runner, picture, shift)?;
            is_steady &= are_same(&cells, &shifted);
        }
        Ok(cells)
    })?;
    Ok(is_steady.then_some(field))
}

/// Whether every cell of one list has its own in the other.
pub(super) fn are_same(cells: &[Detection], others: &[Detection]) -> bool {
    let mut free: Vec<&Detection> = others.iter().collect();
    let all_found = cells.iter().all(|cell| {
        let is_same = |other: &&Detection| {
            other.class == cell.class
                && other.bbox.iou(&cell.bbox) >= IOU_MIN
                && (other.score.get() - cell.score.get()).abs() <= SCORE_DIFFERENCE_MAX
        };
        let place = free.iter().position(is_same);
        place.map(|place| free.swap_remove(place)).is_some()
    });
    all_found && free.is_empty()
}

/// The cells of a picture, every sum of a convolution made larger by a share of itself.
fn find_cells(
    contract: &ModelContract,
    runner: &Runner<'_>,
    picture: &Picture,
    shift: f64,
) -> anyhow::Result<Vec<Detection>> {
    let (size, canvas) = (picture.size, contract.canvas);
    let (fit, bytes) = picture
        .on_canvas(contract.fit, canvas)
        .ok_or_else(|| anyhow::anyhow!("a picture of {size} does not fit on {canvas}"))?;
    let sides = [1, 3, i64::from(canvas.height), i64::from(canvas.width)];
    let canvas = Tensor::from_slice(&bytes).view(sides);
    let outputs = runner.run(&canvas, &mut |node, value| match node.op {
        Op::Conv(_) if shift != 0.0 => value * (1.0 + shift),
        _ => value,
    })?;
    let spec = contract.head();
    let heads: Vec<Vec<f32>> = outputs.iter().take(spec.levels.len()).map(floats).collect();
    let heads: Vec<&[f32]> = heads.iter().map(Vec::as_slice).collect();
    let mut candidates: Box<Fixed<Candidate, CANDIDATES_MAX>> = Box::default();
    let mut found: Box<Fixed<Detection, DETECTIONS_MAX>> = Box::default();
    let thresholds = &contract.thresholds;
    detections(
        &spec,
        &fit,
        &heads,
        thresholds,
        &mut *candidates,
        &mut *found,
    )?;
    Ok(found.to_vec())
}
