//! Two files of detections of the same pictures, say from `leuko-host predict` and `leuko-edge
//! replay`: every cell at or above a score in one must stand in the other, at the same place.
//!
//!     cargo run --release -p tests --example compare_detections -- A.jsonl B.jsonl [SCORE [PIXELS]]
//!
//! Prints pictures, cells, cells without a partner, and the largest differences of a corner and of a
//! score; exits with 4 when a cell has no partner within PIXELS,
//! a picture stands in one file only, or there was nothing to compare. Defaults: 0.3 and 0.5.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::process::ExitCode;

use serde_json::Value;

struct Cell {
    class: String,
    score: f64,
    corners: [f64; 4],
}

type Pictures = BTreeMap<String, Vec<Cell>>;

fn read(path: &str) -> Result<Pictures, Box<dyn Error>> {
    let mut pictures = Pictures::new();
    for (index, line) in fs::read_to_string(path)?.lines().enumerate() {
        let place = || format!("{path}:{}: expected a picture's detections", index + 1);
        let record: Value = serde_json::from_str(line)?;
        let image = record["image"].as_str().ok_or_else(place)?;
        let name = image.rsplit('/').next().unwrap_or(image).to_owned();
        let cell = |d: &Value| {
            let numbers: Option<Vec<f64>> =
                d["bbox"].as_array()?.iter().map(Value::as_f64).collect();
            let corners: [f64; 4] = numbers?.try_into().ok()?;
            let class = d["class"].as_str()?.to_owned();
            Some(Cell {
                class,
                score: d["score"].as_f64()?,
                corners,
            })
        };
        let cells: Option<Vec<Cell>> = record["detections"]
            .as_array()
            .ok_or_else(place)?
            .iter()
            .map(cell)
            .collect();
        if pictures
            .insert(name.clone(), cells.ok_or_else(place)?)
            .is_some()
        {
            return Err(format!("{path}: two pictures are called {name}").into());
        }
    }
    Ok(pictures)
}

/// Largest difference of a corner, pixels.
fn apart(a: &Cell, b: &Cell) -> f64 {
    a.corners
        .iter()
        .zip(b.corners)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f64::max)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(a), Some(b)) = (arguments.first(), arguments.get(1)) else {
        eprintln!("usage: compare_detections A.jsonl B.jsonl [SCORE [PIXELS]]");
        return Ok(ExitCode::from(2));
    };
    let number =
        |at: usize, default: f64| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (score_min, pixels) = (number(2, 0.3)?, number(3, 0.5)?);
    let (a, b) = (read(a)?, read(b)?);
    let common = a.keys().filter(|name| b.contains_key(*name)).count();
    println!(
        "pictures: {common} in both, {} only in A, {} only in B",
        a.len() - common,
        b.len() - common
    );
    let (mut cells, mut alone, mut corner, mut score) = (0, 0, 0.0_f64, 0.0_f64);
    for (these, others) in [(&a, &b), (&b, &a)] {
        for (name, found) in these.iter().filter(|(name, _)| others.contains_key(*name)) {
            for cell in found.iter().filter(|cell| cell.score >= score_min) {
                cells += 1;
                let same_class = others[name]
                    .iter()
                    .filter(|other| other.class == cell.class);
                let partner = same_class.min_by(|x, y| apart(cell, x).total_cmp(&apart(cell, y)));
                match partner.filter(|other| apart(cell, other) <= pixels) {
                    Some(other) => {
                        corner = corner.max(apart(cell, other));
                        score = score.max((cell.score - other.score).abs());
                    }
                    None => {
                        alone += 1;
                        println!(
                            "{name}: {} {:.3} at {:?} has no partner",
                            cell.class, cell.score, cell.corners
                        );
                    }
                }
            }
        }
    }
    println!(
        "cells at or above {score_min}, from both sides: {cells}; without a partner within {pixels} px: {alone}"
    );
    println!("largest difference of a corner: {corner:.5} px; of a score: {score:.2e}");
    // Nothing compared is no agreement.
    let unpaired = a.len() + b.len() - 2 * common;
    let agree = alone == 0 && unpaired == 0 && cells > 0;
    Ok(ExitCode::from(if agree { 0 } else { 4 }))
}
