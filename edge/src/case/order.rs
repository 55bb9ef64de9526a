//! What a reviewer looks at first: blasts, then the least certain.

use std::cmp::Reverse;

use super::advice::{abnormal, blasts};
use super::decision::Label;
use super::state::{CaseState, CellState};

/// Numbers of the cells that count: blasts first, then other abnormal cells, unidentified ones, normal
/// ones and artefacts; within each the lowest score first, cells that people added last, then by number.
pub fn review_order(case: &CaseState) -> Vec<u32> {
    let table = &case.opened().model.classes;
    let (blasts, abnormal) = (blasts(table), abnormal(table));
    let differential = case.differential();
    let rank = |cell: &CellState| match cell.label() {
        Label::Class(class) if blasts.contains(class) => 0_u8,
        Label::Class(class) if abnormal.contains(class) => 1,
        Label::Unidentified => 2,
        Label::Class(class) if differential.is_apart(class) => 4,
        Label::Class(_) => 3,
    };
    let mut cells: Vec<_> = case
        .counted_cells()
        .map(|(number, cell)| {
            // Reversed twice: a score, when there is one, before none, and the lower one before.
            let certainty = Reverse(cell.seen.as_ref().map(|seen| Reverse(seen.score)));
            (rank(cell), certainty, number)
        })
        .collect();
    cells.sort();
    cells.into_iter().map(|(_, _, number)| number).collect()
}
