//! The slide under the stage: larger than any field, made of tiles that are generated from the
//! seed, so that any window of it can be drawn and two windows that overlap show the same cells.
//!
//! Positions are kept as whole pixels of a tile plus micrometres inside the tile: whatever is
//! computed from them comes out the same, bit for bit, in every window.

use heapless::Vec;

use crate::class::ClassId;

use super::field::FieldSpec;
use super::morphology::Morphology;
use super::random::{Random, sub_seed, tile_seed};

/// Most white cells of one field's area.
pub const MAX_WHITE_CELLS: u8 = 40;

/// Layers of a tile; each has its own random numbers.
pub(super) mod layer {
    pub(crate) const WHITE: u64 = 1;
    pub(crate) const RED: u64 = 2;
    pub(crate) const PLATELETS: u64 = 3;
    pub(crate) const SPECKS: u64 = 4;
}

/// Where the field's upper left corner lies on the slide.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StagePosition {
    /// Micrometres to the right.
    pub x_um: f32,
    /// Micrometres down.
    pub y_um: f32,
}

/// The part of the slide that is drawn.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// Upper left corner, in pixels of the slide.
    pub(super) origin: [i32; 2],
    /// Pixels.
    pub(super) size: [i32; 2],
    /// Micrometres a pixel, across and down.
    pub(super) pitch: [f32; 2],
}

/// A point of the slide, seen from a window.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Upper left corner of its tile in pixels of the window.
    pub(super) tile: [i32; 2],
    /// Micrometres from there.
    pub(super) local: [f32; 2],
}

impl Window {
    pub(super) fn new(spec: &FieldSpec) -> Self {
        let pitch = [spec.um_per_px / spec.squeeze, spec.um_per_px];
        let pixels = |um: f32, pitch: f32| libm::roundf(um / pitch) as i32;
        Self {
            origin: [
                pixels(spec.stage.x_um, pitch[0]),
                pixels(spec.stage.y_um, pitch[1]),
            ],
            size: [spec.size.width as i32, spec.size.height as i32],
            pitch,
        }
    }

    /// Pixels that may see something within `reach` micrometres of `place`; also those outside.
    pub(super) fn pixels_near(&self, place: &Place, reach: f32) -> [core::ops::Range<i32>; 2] {
        core::array::from_fn(|axis| {
            let low = (place.local[axis] - reach) / self.pitch[axis];
            let high = (place.local[axis] + reach) / self.pitch[axis];
            place.tile[axis] + libm::floorf(low) as i32..place.tile[axis] + libm::ceilf(high) as i32
        })
    }

    /// The part of [`Window::pixels_near`] inside the window.
    pub(super) fn pixels_inside(&self, place: &Place, reach: f32) -> [core::ops::Range<i32>; 2] {
        let near = self.pixels_near(place, reach);
        core::array::from_fn(|axis| near[axis].start.max(0)..near[axis].end.min(self.size[axis]))
    }

    /// Micrometres from `place` to the middle of a pixel along one axis.
    pub(super) fn offset(&self, place: &Place, axis: usize, pixel: i32) -> f32 {
        ((pixel - place.tile[axis]) as f32 + 0.5) * self.pitch[axis] - place.local[axis]
    }

    /// Squared distance of two places, square micrometres.
    pub(super) fn squared_distance(&self, a: &Place, b: &Place) -> f32 {
        let along = |axis: usize| {
            (a.tile[axis] - b.tile[axis]) as f32 * self.pitch[axis]
                + (a.local[axis] - b.local[axis])
        };
        let (dx, dy) = (along(0), along(1));
        dx * dx + dy * dy
    }

    /// Tiles of `tile` pixels that reach into the window or within `margin_um` of it, row by row.
    pub(super) fn tiles(&self, tile: [i32; 2], margin_um: f32) -> impl Iterator<Item = [i32; 2]> {
        let range = |axis: usize| {
            let margin = libm::ceilf(margin_um / self.pitch[axis]) as i32;
            let first = (self.origin[axis] - margin).div_euclid(tile[axis]);
            let last = (self.origin[axis] + self.size[axis] - 1 + margin).div_euclid(tile[axis]);
            first..=last
        };
        let columns = range(0);
        range(1).flat_map(move |row| columns.clone().map(move |column| [column, row]))
    }

    /// A point of a tile as seen from this window.
    pub(super) fn place(&self, tile_size: [i32; 2], tile: [i32; 2], local: [f32; 2]) -> Place {
        Place {
            tile: core::array::from_fn(|axis| tile[axis] * tile_size[axis] - self.origin[axis]),
            local,
        }
    }
}

/// A white cell on the slide.
#[derive(Clone, Copy)]
pub(super) struct WhitePlace {
    /// The same in every field that shows the cell.
    pub(super) id: u64,
    pub(super) local: [f32; 2],
    pub(super) morphology: Morphology,
}

/// The white cells of a tile, which is as large as a field.
pub(super) struct WhiteTile {
    pub(super) cells: Vec<WhitePlace, { MAX_WHITE_CELLS as usize }>,
    /// Cells that were wanted and found no free place.
    pub(super) crowded_out: u16,
}

/// Cells lie whole inside their tile, so that a field which is exactly one tile shows them whole
/// and cells of different tiles keep apart.
pub(super) fn white_tile(spec: &FieldSpec, tile: [i32; 2], tile_um: [f32; 2]) -> WhiteTile {
    let seed = tile_seed(spec.seed, layer::WHITE, tile);
    let mut random = Random::new(seed);
    let [low, high] = spec.white_cells.map(u32::from);
    let wanted = low + random.below(high - low + 1);
    let mut out = WhiteTile {
        cells: Vec::new(),
        crowded_out: 0,
    };
    for index in 0..u64::from(wanted) {
        let id = sub_seed(seed, index);
        let class = ClassId(random.weighted(&spec.class_weights) as u8);
        let placed = Morphology::sample(class, id).and_then(|morphology| {
            let local = free_place(
                &out.cells,
                morphology.diameter_um / 2.0,
                tile_um,
                &mut random,
            )?;
            Some(WhitePlace {
                id,
                local,
                morphology,
            })
        });
        match placed.map(|cell| out.cells.push(cell)) {
            Some(Ok(())) => {}
            Some(Err(_)) | None => out.crowded_out += 1,
        }
    }
    out
}

/// Attempts to find room for a cell before it is given up.
const ATTEMPTS: u32 = 60;

/// Every fourth attempt touches a cell that is already there: white cells like company.
fn free_place(
    cells: &[WhitePlace],
    radius: f32,
    tile_um: [f32; 2],
    random: &mut Random,
) -> Option<[f32; 2]> {
    let margin = radius * 1.14 + 0.4;
    if tile_um.iter().any(|&side| side < 2.0 * margin) {
        return None;
    }
    for attempt in 0..ATTEMPTS {
        let neighbour = (attempt % 4 == 1 && !cells.is_empty())
            .then(|| &cells[random.below(cells.len() as u32) as usize]);
        let local = match neighbour {
            Some(cell) => {
                let apart =
                    (cell.morphology.diameter_um / 2.0 + radius) * random.between(0.99, 1.08);
                let [c, s] = random.direction();
                [cell.local[0] + c * apart, cell.local[1] + s * apart]
            }
            None => core::array::from_fn(|axis| random.between(margin, tile_um[axis] - margin)),
        };
        let inside = (0..2).all(|axis| (margin..=tile_um[axis] - margin).contains(&local[axis]));
        let free = cells.iter().all(|cell| {
            let (dx, dy) = (cell.local[0] - local[0], cell.local[1] - local[1]);
            let apart = (cell.morphology.diameter_um / 2.0 + radius) * 0.98;
            dx * dx + dy * dy >= apart * apart
        });
        if inside && free {
            return Some(local);
        }
    }
    None
}

/// Why the stage is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageMove {
    /// The next field of the raster.
    Raster,
    /// The operator looks: the same field again.
    Pause,
    /// A step back, to a field that was seen.
    BackTrack,
    /// A far move, without overlap.
    Jump,
}

/// One field of a sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageStep {
    /// Position in the sequence, from 0.
    pub frame: u32,
    /// Where the stage stands.
    pub position: StagePosition,
    /// How it came there.
    pub movement: StageMove,
}

/// A scripted walk: rows to and fro with overlap, a pause in the middle of each row, two steps
/// back at its end, a jump before the last row.
#[derive(Clone, Debug)]
pub struct StagePath {
    step_um: [f32; 2],
    start: StagePosition,
    columns: u32,
    rows: u32,
    row: u32,
    beat: u32,
    frame: u32,
}

/// Frames that a pause lasts.
const PAUSE: u32 = 3;

/// Steps back at the end of a row.
const BACK: u32 = 2;

impl StagePath {
    /// A walk over `columns` x `rows` fields that starts at `spec.stage`; neighbours share
    /// `overlap` (0..=0.9) of their width or height. Both counts are at least 1.
    pub fn new(spec: &FieldSpec, overlap: f32, columns: u32, rows: u32) -> Self {
        let window = Window::new(spec);
        let part = 1.0 - overlap.clamp(0.0, 0.9);
        Self {
            step_um: core::array::from_fn(|axis| {
                window.size[axis] as f32 * window.pitch[axis] * part
            }),
            start: spec.stage,
            columns: columns.max(1),
            rows: rows.max(1),
            row: 0,
            beat: 0,
            frame: 0,
        }
    }

    /// Column and movement of a beat of a row, `None` after its end. The pause comes after the
    /// middle column, the steps back after the last.
    fn beat(&self) -> Option<(u32, StageMove)> {
        let middle = self.columns / 2;
        let after_pause = self.beat.saturating_sub(PAUSE);
        if self.beat <= middle {
            Some((self.beat, StageMove::Raster))
        } else if self.beat <= middle + PAUSE {
            Some((middle, StageMove::Pause))
        } else if after_pause < self.columns {
            Some((after_pause, StageMove::Raster))
        } else {
            let back = after_pause - self.columns + 1;
            (back <= BACK && back < self.columns)
                .then(|| (self.columns - 1 - back, StageMove::BackTrack))
        }
    }
}

impl Iterator for StagePath {
    type Item = StageStep;

    fn next(&mut self) -> Option<StageStep> {
        if self.row >= self.rows {
            return None;
        }
        let Some((column, movement)) = self.beat() else {
            self.row += 1;
            self.beat = 0;
            return self.next();
        };
        let column = if self.row.is_multiple_of(2) {
            column
        } else {
            self.columns - 1 - column
        };
        let jumped = self.rows > 1 && self.row + 1 == self.rows;
        let far = if jumped { 5.0 } else { 0.0 };
        let step = StageStep {
            frame: self.frame,
            position: StagePosition {
                x_um: self.start.x_um + self.step_um[0] * column as f32,
                y_um: self.start.y_um + self.step_um[1] * (self.row as f32 + far),
            },
            movement: if jumped && self.beat == 0 {
                StageMove::Jump
            } else {
                movement
            },
        };
        self.beat += 1;
        self.frame += 1;
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_pauses_steps_back_and_jumps() {
        let spec = FieldSpec::demo(1);
        let mut moves = [0; 4];
        let mut frames = 0;
        for (index, step) in StagePath::new(&spec, 0.25, 4, 3).enumerate() {
            assert_eq!(step.frame as usize, index);
            moves[step.movement as usize] += 1;
            frames += 1;
        }
        // Each row: 4 fields, 3 frames of pause, 2 steps back; the third row begins with the jump.
        assert_eq!((frames, moves), (27, [11, 9, 6, 1]));
    }

    #[test]
    fn neighbours_share_the_overlap_that_was_asked_for() {
        let spec = FieldSpec::demo(1);
        let mut path = StagePath::new(&spec, 0.25, 4, 1);
        let (a, b) = (path.next().unwrap(), path.next().unwrap());
        let width_um = spec.size.width as f32 * spec.um_per_px / spec.squeeze;
        assert!((b.position.x_um - a.position.x_um - 0.75 * width_um).abs() < 1e-3);
        assert_eq!(a.position.y_um, b.position.y_um);
    }

    #[test]
    fn a_tile_holds_the_cells_that_were_asked_for_or_counts_the_rest() {
        let mut spec = FieldSpec::wide(4);
        spec.white_cells = [30, 30];
        for (tile_um, all_fit) in [([400.0, 300.0], true), ([40.0, 30.0], false)] {
            let tile = white_tile(&spec, [2, -7], tile_um);
            assert_eq!(tile.cells.len() + usize::from(tile.crowded_out), 30);
            assert_eq!(tile.crowded_out == 0, all_fit);
        }
    }
}
