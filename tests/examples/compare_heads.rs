//! How far two runtimes' heads of the same canvases are apart, in pixels and scores: every cell that one
//! of them finds is read from the other's head at the same place.
//!
//!     cargo run --release -p tests --example compare_heads -- MODEL PICTURES.json DUMP DUMP [SCORE]
//!
//! Suppression takes no part in it, as it does in `compare_detections`: there a rounding can let the
//! neighbour of two equally good boxes win, which may lie several pixels off. Prints one line; SCORE is 0.3
//! unless told.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use edge::model::ModelFile;
use edge::network::Network;
use edge::tract::TractNetwork;
use shared::contract::ModelContract;
use shared::detect::CANDIDATES_MAX;
use shared::fit::Fit;
use shared::head::Thresholds;
use shared::nms::{Candidate, suppress};
use tests::{Heads, read_dump};

/// Far below any cell that is reported: the other runtime's box at the same place is among these.
const SCORE_MIN: f32 = 0.01;

type Candidates = heapless::Vec<Candidate, CANDIDATES_MAX>;

/// Both runtimes' answers at the places of the cells that were found.
#[derive(Default)]
struct Apart {
    cells: usize,
    alone: usize,
    other_class: usize,
    corners: Vec<f32>,
    scores: Vec<f32>,
}

impl Apart {
    fn add(&mut self, fit: &Fit, found: &[Candidate], others: &[Candidate]) -> Option<()> {
        for cell in found {
            self.cells += 1;
            let Some(other) = others.iter().find(|other| other.cell == cell.cell) else {
                self.alone += 1;
                continue;
            };
            let here = fit.image_from_canvas(&cell.bbox)?.xyxy();
            let there = fit.image_from_canvas(&other.bbox)?.xyxy();
            let corners = here.into_iter().zip(there);
            let corner = corners.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            self.corners.push(corner);
            self.scores
                .push((cell.score.get() - other.score.get()).abs());
            self.other_class += usize::from(cell.class != other.class);
        }
        Some(())
    }
}

/// Median and largest.
fn spread(mut values: Vec<f32>) -> (f32, f32) {
    values.sort_by(f32::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f32::NAN);
    (at(values.len() / 2), at(values.len().saturating_sub(1)))
}

fn candidates(
    contract: &ModelContract,
    heads: &Heads,
    score: f32,
) -> Result<Box<Candidates>, Box<dyn Error>> {
    let views: Vec<&[f32]> = heads.iter().map(Vec::as_slice).collect();
    let thresholds = Thresholds {
        score,
        ..contract.thresholds
    };
    let mut best = Box::new(Candidates::new());
    let (head, canvas) = (contract.head(), contract.canvas);
    head.candidates(canvas, &views, &thresholds, best.as_mut_view())?;
    Ok(best)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, pictures, a, b, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: compare_heads MODEL PICTURES.json DUMP DUMP [SCORE]");
        return Ok(ExitCode::from(2));
    };
    let score = rest.first().map_or(Ok(0.3), |text| text.parse())?;
    let network = TractNetwork::load(&ModelFile::read(Path::new(model))?)?;
    let contract = network.contract();
    let of_a = read_dump(Path::new(pictures), Path::new(a))?;
    let of_b = read_dump(Path::new(pictures), Path::new(b))?;
    let mut apart = Apart::default();
    for (a, b) in of_a.iter().zip(&of_b) {
        let fit = Fit::new(contract.fit, a.size, contract.canvas).ok_or("a picture of no size")?;
        for (these, those) in [(&a.heads, &b.heads), (&b.heads, &a.heads)] {
            let mut found = candidates(contract, these, score)?;
            let Thresholds {
                iou,
                across_classes,
                max_detections,
                ..
            } = contract.thresholds;
            suppress(
                found.as_mut_view(),
                iou,
                across_classes,
                max_detections.into(),
            );
            let others = candidates(contract, those, SCORE_MIN)?;
            apart
                .add(&fit, &found, &others)
                .ok_or("a cell outside of its picture")?;
        }
    }
    let (corner, corner_most) = spread(apart.corners);
    let (score, score_most) = spread(apart.scores);
    println!(
        "at the same places of the head: cells {}, absent {}, of another class {}; a corner {corner:.4} px (median), {corner_most:.4} (largest); a score {score:.2e}, {score_most:.2e}",
        apart.cells, apart.alone, apart.other_class
    );
    Ok(ExitCode::SUCCESS)
}
