//! What of the slide was counted: a grid of quarter fields, as data and as a picture (SVG).

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;
use shared::geometry::Size;

use super::map::Place;

/// Grid cells along a side of a field.
const PARTS: f64 = 4.0;

/// Most grid cells that are kept, 4096 fields' area; further ones are counted only.
pub const GRID_CELLS_MAX: usize = 65_536;

/// How what was counted is drawn, and where the stage stands.
const SEEN: &str = "fill=\"#4a86c5\"";
const NOW: &str = "fill=\"none\" stroke=\"#d55e00\" stroke-width=\".3\"";

/// Grid cells that were seen in a counted field.
#[derive(Clone, Debug)]
pub struct Coverage {
    cell_px: [f64; 2],
    /// Island, row, column.
    cells: BTreeSet<(u32, i32, i32)>,
    fields: u32,
    no_room: u32,
}

/// The coverage as data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoverageReport {
    /// Width and height of a grid cell, pixels of the frame.
    pub cell_px: [f64; 2],
    /// Fields that were counted.
    pub fields: u32,
    /// Area that was counted, in areas of a field.
    pub area_fields: f64,
    /// Grid cells there was no room for.
    pub no_room: u32,
    /// By island.
    pub islands: Vec<IslandReport>,
}

/// The covered grid cells of an island.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IslandReport {
    /// Its number.
    pub island: u32,
    /// Column and row of each, by row, then column.
    pub cells: Vec<[i32; 2]>,
}

impl Coverage {
    /// Nothing is covered yet; for frames of `frame`.
    pub fn new(frame: Size) -> Self {
        Self {
            cell_px: [frame.width, frame.height].map(|side| f64::from(side.max(1)) / PARTS),
            cells: BTreeSet::new(),
            fields: 0,
            no_room: 0,
        }
    }

    /// Notes a counted field: every grid cell whose middle lies in it.
    pub fn add(&mut self, place: Place) {
        self.fields += 1;
        let [columns, rows] = [(place.x_px, 0), (place.y_px, 1)].map(|(at, axis)| {
            let first = (at / self.cell_px[axis] - 0.5).ceil() as i32;
            first..first.saturating_add(PARTS as i32)
        });
        for row in rows {
            for column in columns.clone() {
                let cell = (place.island, row, column);
                if self.cells.len() < GRID_CELLS_MAX || self.cells.contains(&cell) {
                    self.cells.insert(cell);
                } else {
                    self.no_room += 1;
                }
            }
        }
    }

    /// As data.
    pub fn report(&self) -> CoverageReport {
        let mut islands: Vec<IslandReport> = Vec::new();
        for &(island, row, column) in &self.cells {
            match islands.last_mut().filter(|last| last.island == island) {
                Some(last) => last.cells.push([column, row]),
                None => islands.push(IslandReport {
                    island,
                    cells: vec![[column, row]],
                }),
            }
        }
        CoverageReport {
            cell_px: self.cell_px,
            fields: self.fields,
            area_fields: self.cells.len() as f64 / (PARTS * PARTS),
            no_room: self.no_room,
            islands,
        }
    }

    /// As a picture, a unit to a grid cell's width, islands side by side; `now` is framed.
    pub fn svg(&self, now: Option<Place>) -> String {
        let report = self.report();
        let height = self.cell_px[1] / self.cell_px[0];
        let mut body = String::new();
        let (mut left, mut deep) = (0.0, 0.0_f64);
        let shown = now.filter(|now| {
            report
                .islands
                .iter()
                .any(|island| island.island == now.island)
        });
        for island in &report.islands {
            let here = shown.filter(|now| now.island == island.island);
            let view = here.map(|now| [now.x_px / self.cell_px[0], now.y_px / self.cell_px[1]]);
            let bounds = bounds(&island.cells, view);
            let across = |column: f64| left + column - bounds[0];
            let down = |row: f64| (row - bounds[1]) * height;
            // A row's cells that touch are one rectangle.
            for run in island
                .cells
                .chunk_by(|a, b| a[1] == b[1] && a[0] + 1 == b[0])
            {
                let [column, row] = run[0].map(f64::from);
                let width = run.len() as f64;
                rect(&mut body, SEEN, [across(column), down(row), width, height]);
            }
            if let Some([column, row]) = view {
                let corner = [across(column), down(row)];
                rect(
                    &mut body,
                    NOW,
                    [corner[0], corner[1], PARTS, PARTS * height],
                );
            }
            left += bounds[2] - bounds[0] + 1.0;
            deep = deep.max((bounds[3] - bounds[1]) * height);
        }
        let width = (left - 1.0).max(1.0);
        let deep = deep.max(1.0);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-0.5 -0.5 {:.2} {:.2}\" role=\"img\" \
             aria-label=\"{} fields counted\">{body}</svg>",
            width + 1.0,
            deep + 1.0,
            report.fields
        )
    }
}

/// Left, top, right, bottom of grid cells and, if there is one, the view.
fn bounds(cells: &[[i32; 2]], view: Option<[f64; 2]>) -> [f64; 4] {
    let corners = cells
        .iter()
        .map(|cell| cell.map(f64::from))
        .map(|at| (at, 1.0));
    let all = corners.chain(view.map(|at| (at, PARTS)));
    let mut bounds = [
        f64::INFINITY,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NEG_INFINITY,
    ];
    for ([x, y], side) in all {
        bounds = [
            bounds[0].min(x),
            bounds[1].min(y),
            bounds[2].max(x + side),
            bounds[3].max(y + side),
        ];
    }
    bounds
}

fn rect(out: &mut String, look: &str, [x, y, width, height]: [f64; 4]) {
    let written = write!(
        out,
        "<rect {look} x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"/>"
    );
    written.expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(island: u32, x_px: f64, y_px: f64) -> Place {
        Place { island, x_px, y_px }
    }

    #[test]
    fn overlapping_fields_cover_their_union() {
        let mut coverage = Coverage::new(Size::new(640, 480));
        coverage.add(at(0, 0.0, 0.0));
        coverage.add(at(0, 321.0, 1.0));
        coverage.add(at(0, 0.0, 0.0));
        coverage.add(at(1, -640.0, 0.0));
        let report = coverage.report();
        assert_eq!((report.fields, report.area_fields), (4, 2.5));
        assert_eq!(report.cell_px, [160.0, 120.0]);
        let sizes: Vec<usize> = report
            .islands
            .iter()
            .map(|island| island.cells.len())
            .collect();
        assert_eq!(sizes, [24, 16]);
        assert_eq!(report.islands[0].cells[..2], [[0, 0], [1, 0]]);
        assert_eq!(report.islands[1].cells[0], [-4, 0]);
    }

    #[test]
    fn the_picture_shows_every_grid_cell_and_the_present_view() {
        let mut coverage = Coverage::new(Size::new(640, 480));
        let empty = coverage.svg(None);
        assert!(empty.contains("viewBox=\"-0.5 -0.5 2.00 2.00\""), "{empty}");
        coverage.add(at(0, 0.0, 0.0));
        coverage.add(at(1, 0.0, 0.0));
        let svg = coverage.svg(Some(at(1, 80.0, 0.0)));
        // Four rows of an island, each in one piece.
        assert_eq!(svg.matches(SEEN).count(), 8);
        // Island 1 begins a unit behind island 0; the view is half a unit farther right.
        assert!(
            svg.contains(&format!(
                "{NOW} x=\"5.50\" y=\"0.00\" width=\"4.00\" height=\"3.00\""
            )),
            "{svg}"
        );
        // 4 + 1 + 4.5 wide, 3 deep.
        assert!(svg.contains("viewBox=\"-0.5 -0.5 10.50 4.00\""), "{svg}");
    }

    #[test]
    fn a_full_grid_counts_what_it_cannot_keep() {
        let mut coverage = Coverage::new(Size::new(64, 64));
        let rows = GRID_CELLS_MAX / 16;
        for row in 0..=rows {
            coverage.add(at(0, 0.0, row as f64 * 64.0));
        }
        assert_eq!(coverage.report().no_room, 16);
        assert_eq!(coverage.report().area_fields, rows as f64);
    }
}
