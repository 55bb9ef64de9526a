//! From which score on a class may be said.

use serde::Serialize;
use shared::class::{ClassId, ClassTable};

use crate::score::{On, Proportion, Said, SaidCells};

/// Least share of the cells said to be of a class that must be of it.
pub const PRECISION_MIN: f64 = 0.97;

/// How a score was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The least from which on [`PRECISION_MIN`] of what is said is right.
    Precision,
    /// No score is as right as that: the one of best F1.
    BestF1,
    /// What was said was never right: 1, so that the class is practically never said.
    NeverRight,
    /// No cell of the class, or nothing said of any: the score that all are counted from.
    Unjudged,
}

impl Rule {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Precision => "precision",
            Self::BestF1 => "best F1",
            Self::NeverRight => "never right",
            Self::Unjudged => "not judged",
        }
    }
}

/// The least score of a class and what it is worth on the pictures it was chosen on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// Name of the class.
    pub class: String,
    /// The score, 0..=1.
    pub score: f32,
    /// How it was chosen.
    pub rule: Rule,
    /// Cells of the class in truth.
    pub truths: u32,
    /// Of the cells said to be of the class, those that are (cells of unsaid class left out).
    pub precision: Option<Proportion>,
    /// Of the cells of the class, those that are said to be.
    pub recall: Option<Proportion>,
    /// Findings of the class below the score: unidentified.
    pub unidentified: u32,
    /// Those of them that are of the class.
    pub unidentified_right: u32,
}

/// The least score of each class; `least` is the score that all are counted from.
pub fn class_scores(cells: &SaidCells, classes: &ClassTable, least: f32) -> Vec<ClassScore> {
    let of_class = |(class, name): (ClassId, &str)| {
        let truths = cells.truths.get(class.index()).copied().unwrap_or(0);
        let mut said: Vec<Judged> = cells
            .said
            .iter()
            .filter(|said| said.class == class)
            .filter_map(Judged::of)
            .collect();
        said.sort_by(|a, b| b.score.total_cmp(&a.score));
        let cuts = cuts(&said);
        let chosen = chosen(&cuts, truths, least);
        let kept = cuts.iter().rev().find(|cut| cut.score >= chosen.1);
        let (right, n) = kept.map_or((0, 0), |cut| (cut.right, cut.n));
        let all_right = cuts.last().map_or(0, |cut| cut.right);
        ClassScore {
            class: name.to_owned(),
            score: chosen.1,
            rule: chosen.0,
            truths,
            precision: Proportion::of(right, n),
            recall: Proportion::of(right, truths),
            unidentified: said.len() as u32 - n,
            unidentified_right: all_right - right,
        }
    };
    classes.iter().map(of_class).collect()
}

/// A finding on a cell whose class is known, or on none.
struct Judged {
    score: f32,
    is_right: bool,
}

impl Judged {
    fn of(said: &Said) -> Option<Self> {
        let is_right = match said.on {
            On::Cell(class) => class == said.class,
            On::Nothing => false,
            On::Unsaid => return None,
        };
        Some(Self {
            score: said.score,
            is_right,
        })
    }
}

/// All findings from a score on.
#[derive(Clone, Copy)]
struct Cut {
    score: f32,
    n: u32,
    right: u32,
}

/// A cut at every score that occurs, the highest first; equal scores are not told apart.
fn cuts(said: &[Judged]) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::new();
    let mut right = 0;
    for (index, finding) in said.iter().enumerate() {
        right += u32::from(finding.is_right);
        let cut = Cut {
            score: finding.score,
            n: index as u32 + 1,
            right,
        };
        match cuts.last_mut() {
            Some(last) if last.score == cut.score => *last = cut,
            _ => cuts.push(cut),
        }
    }
    cuts
}

fn chosen(cuts: &[Cut], truths: u32, least: f32) -> (Rule, f32) {
    let Some(all) = cuts.last().filter(|_| truths > 0) else {
        return (Rule::Unjudged, least);
    };
    if all.right == 0 {
        return (Rule::NeverRight, 1.0);
    }
    let is_precise = |cut: &&Cut| f64::from(cut.right) >= PRECISION_MIN * f64::from(cut.n);
    if let Some(cut) = cuts.iter().rev().find(is_precise) {
        // Where all that is counted may be said, the class needs no score of its own.
        let score = if cut.n == all.n { least } else { cut.score };
        return (Rule::Precision, score);
    }
    let f1 = |cut: &Cut| 2.0 * f64::from(cut.right) / f64::from(cut.n + truths);
    let better = |best: Cut, cut: &Cut| if f1(cut) > f1(&best) { *cut } else { best };
    (Rule::BestF1, cuts.iter().fold(cuts[0], better).score)
}
