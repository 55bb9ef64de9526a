//! One field: what is on it, how the slide and the camera look, and the drawing with its truth.

use core::fmt;

use heapless::{Vec, VecView};

use crate::geometry::{BBox, Image, Size};
use crate::pixels::RgbViewMut;

use super::camera::{MAX_BLUR_PX, add_noise, blur, illuminate};
use super::cell::{Light, WhiteCell};
use super::morphology::{Morphology, N_CLASSES};
use super::random::mix3;
use super::red::{Obstacle, draw_background_cells};
use super::stage::{MAX_WHITE_CELLS, Place, StagePosition, WhitePlace, Window, white_tile};

/// Longest side of a field, pixels.
pub const MAX_SIDE: u32 = 4096;

/// A cell of which less than this is in the picture is drawn but is not truth.
pub const VISIBLE_MIN: f32 = 0.4;

/// Farthest from the field that a white cell can push red cells away, micrometres.
const WHITE_MARGIN_UM: f32 = 20.0;

/// White cells of a field and its surroundings.
const MAX_NEAR: usize = 4 * MAX_WHITE_CELLS as usize;

/// Everything that makes a field; the same spec gives the same bytes on every target.
///
/// The slide belongs to everything but `stage`, `frame`, `gradient`, `blur_px` and `noise`: two
/// fields that differ only in those show the same cells.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldSpec {
    /// The slide, and the lamp.
    pub seed: u64,
    /// Pixels of the field, sides 16..=4096.
    pub size: Size,
    /// Micrometres a pixel downwards (and across, before the squeeze), 0.02..=1.
    pub um_per_px: f32,
    /// Width of a picture of a circle over its height, 0.25..=1; 9/16 as in LeukemiaAttri.
    pub squeeze: f32,
    /// Where the stage stands; at whole multiples of the field's size all white cells are whole.
    pub stage: StagePosition,
    /// Number of the picture in a sequence; only the noise depends on it.
    pub frame: u32,
    /// Fewest and most white cells on a field's area, up to [`MAX_WHITE_CELLS`].
    pub white_cells: [u8; 2],
    /// How often each class of [`crate::class::LEUKEMIA_CLASSES`] comes; not all 0.
    pub class_weights: [u16; N_CLASSES],
    /// Red cells on 1000 square micrometres, 0..=40.
    pub red_cell_density: f32,
    /// Share of red cells that stick to their neighbour, 0..=1.
    pub clumping: f32,
    /// How much a red cell loses of its colour where it lies on another, 0..=1; 0 = colours add up.
    pub merging: f32,
    /// Platelets on 1000 square micrometres, 0..=40.
    pub platelet_density: f32,
    /// Specks of stain on 1000 square micrometres, 0..=40.
    pub artefact_density: f32,
    /// Light that passes a red cell: red, green, blue, each 0.05..=1.
    pub red_cell: [f32; 3],
    /// Depth of the red cells' pale middle, 0..=1.
    pub pallor: f32,
    /// Darkening of the red cells' edge, 0..=1.
    pub rim: f32,
    /// Bright line around red cells, 0..=0.3.
    pub halo: f32,
    /// Strength of the stain of white cells and platelets, 0.3..=1.5; 1 is well stained.
    pub stain_strength: f32,
    /// What the stain takes from red, green and blue, each 0.5..=1.5; 1 is Wright-Giemsa at pH 6.8.
    pub stain_balance: [f32; 3],
    /// Stain left in the plasma, 0..=0.3.
    pub plasma: f32,
    /// Colour of the empty field, red, green, blue, each 0.1..=1 of full scale.
    pub cast: [f32; 3],
    /// Unevenness of the lamp, 0..=0.6.
    pub gradient: f32,
    /// Defocus: standard deviation in pixels, 0..=4.
    pub blur_px: f32,
    /// Noise: standard deviation in grey levels, 0..=30.
    pub noise: f32,
}

/// Why a field cannot be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SpecError {
    /// A side is below 16 or above [`MAX_SIDE`].
    Size {
        /// As asked.
        got: Size,
    },
    /// The picture to draw on has another size.
    Picture {
        /// The spec's.
        expected: Size,
        /// The picture's.
        got: Size,
    },
    /// A number is not finite or out of its range.
    Number {
        /// Which field of the spec.
        field: &'static str,
        /// As asked.
        got: f32,
        /// Smallest allowed.
        min: f32,
        /// Largest allowed.
        max: f32,
    },
    /// The count of white cells is not ascending or above [`MAX_WHITE_CELLS`].
    WhiteCells {
        /// As asked.
        got: [u8; 2],
    },
    /// All class weights are 0.
    Weights,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { got } => write!(f, "field of {got}, expected sides of 16 to {MAX_SIDE}"),
            Self::Picture { expected, got } => {
                write!(f, "picture of {got}, expected the field's {expected}")
            }
            Self::Number {
                field,
                got,
                min,
                max,
            } => write!(f, "{field} {got}, expected {min} to {max}"),
            Self::WhiteCells { got: [low, high] } => write!(
                f,
                "white_cells {low} to {high}, expected ascending numbers up to {MAX_WHITE_CELLS}"
            ),
            Self::Weights => write!(f, "class_weights are all 0, expected one above"),
        }
    }
}

impl core::error::Error for SpecError {}

/// A white cell of a drawn field, or an artefact of the class `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhantomCell {
    /// The same in every field that shows this cell.
    pub id: u64,
    /// Tight around the part inside the picture, whole pixels.
    pub bbox: BBox<Image>,
    /// Part of the cell inside the picture, [`VISIBLE_MIN`]..=1.
    pub visible: f32,
    /// What was drawn; its class is that of LeukemiaAttri.
    pub morphology: Morphology,
}

/// What became of the white cells of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrawnField {
    /// Cells in the truth.
    pub in_truth: u16,
    /// Cells drawn but cut by the picture's edge to less than [`VISIBLE_MIN`].
    pub cut: u16,
    /// Cells drawn for which the caller's truth had no room.
    pub no_room: u16,
    /// Cells wanted on the tiles the field touches, but not drawn: there was no free place.
    pub crowded_out: u16,
}

impl FieldSpec {
    /// Checks every range.
    ///
    /// # Errors
    /// The first number out of its range.
    pub fn check(&self) -> Result<(), SpecError> {
        let legal = 16..=MAX_SIDE;
        if !legal.contains(&self.size.width) || !legal.contains(&self.size.height) {
            return Err(SpecError::Size { got: self.size });
        }
        let [low, high] = self.white_cells;
        if low > high || high > MAX_WHITE_CELLS {
            return Err(SpecError::WhiteCells {
                got: self.white_cells,
            });
        }
        if self.class_weights.iter().all(|&weight| weight == 0) {
            return Err(SpecError::Weights);
        }
        let single = [
            ("um_per_px", self.um_per_px, 0.02, 1.0),
            ("squeeze", self.squeeze, 0.25, 1.0),
            ("stage.x_um", self.stage.x_um, -1e5, 1e5),
            ("stage.y_um", self.stage.y_um, -1e5, 1e5),
            ("red_cell_density", self.red_cell_density, 0.0, 40.0),
            ("clumping", self.clumping, 0.0, 1.0),
            ("merging", self.merging, 0.0, 1.0),
            ("platelet_density", self.platelet_density, 0.0, 40.0),
            ("artefact_density", self.artefact_density, 0.0, 40.0),
            ("pallor", self.pallor, 0.0, 1.0),
            ("rim", self.rim, 0.0, 1.0),
            ("halo", self.halo, 0.0, 0.3),
            ("stain_strength", self.stain_strength, 0.3, 1.5),
            ("plasma", self.plasma, 0.0, 0.3),
            ("gradient", self.gradient, 0.0, 0.6),
            ("blur_px", self.blur_px, 0.0, MAX_BLUR_PX),
            ("noise", self.noise, 0.0, 30.0),
        ];
        let triples = [
            ("red_cell", self.red_cell, 0.05, 1.0),
            ("stain_balance", self.stain_balance, 0.5, 1.5),
            ("cast", self.cast, 0.1, 1.0),
        ];
        let triples = triples
            .iter()
            .flat_map(|&(field, values, min, max)| values.map(|value| (field, value, min, max)));
        for (field, got, min, max) in single.into_iter().chain(triples) {
            if !(min..=max).contains(&got) {
                return Err(SpecError::Number {
                    field,
                    got,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }
}

/// Lets light through a pixel.
pub(super) fn absorb(pixel: &mut [u8; 3], light: Light) {
    for (value, part) in pixel.iter_mut().zip(light) {
        *value = (f32::from(*value) * part + 0.5) as u8;
    }
}

/// Draws the field over the whole picture and appends its white cells to `truth`, which is not
/// emptied before.
///
/// # Errors
/// When the spec is out of range or the picture has another size; nothing is drawn then.
pub fn draw_field(
    spec: &FieldSpec,
    picture: &mut RgbViewMut<'_>,
    truth: &mut VecView<PhantomCell>,
) -> Result<DrawnField, SpecError> {
    check_with_picture(spec, picture)?;
    let window = Window::new(spec);
    let tile_px = window.size;
    let tile_um = core::array::from_fn(|axis| tile_px[axis] as f32 * window.pitch[axis]);
    let mut drawn = DrawnField::default();
    let mut cells: Vec<(Place, WhitePlace), MAX_NEAR> = Vec::new();
    for tile in window.tiles(tile_px, WHITE_MARGIN_UM) {
        let content = white_tile(spec, tile, tile_um);
        if window.tiles(tile_px, 0.0).any(|seen| seen == tile) {
            drawn.crowded_out += content.crowded_out;
        }
        for cell in &content.cells {
            let place = window.place(tile_px, tile, cell.local);
            let [columns, rows] = window.pixels_inside(&place, WHITE_MARGIN_UM);
            if !columns.is_empty() && !rows.is_empty() && cells.push((place, *cell)).is_err() {
                drawn.crowded_out += 1;
            }
        }
    }
    draw_scene(spec, &window, &cells, picture, truth, &mut drawn);
    Ok(drawn)
}

/// Draws one given cell in the middle of a field that has no other white cell: a portrait, as
/// single-cell data sets have it. `spec.white_cells` and `spec.class_weights` are not used.
///
/// # Errors
/// As [`draw_field`].
pub fn draw_portrait(
    spec: &FieldSpec,
    morphology: &Morphology,
    picture: &mut RgbViewMut<'_>,
    truth: &mut VecView<PhantomCell>,
) -> Result<DrawnField, SpecError> {
    check_with_picture(spec, picture)?;
    let window = Window::new(spec);
    let place = Place {
        tile: [0; 2],
        local: core::array::from_fn(|axis| window.size[axis] as f32 * window.pitch[axis] / 2.0),
    };
    let cell = WhitePlace {
        id: morphology.detail,
        local: place.local,
        morphology: *morphology,
    };
    let mut drawn = DrawnField::default();
    draw_scene(spec, &window, &[(place, cell)], picture, truth, &mut drawn);
    Ok(drawn)
}

fn check_with_picture(spec: &FieldSpec, picture: &RgbViewMut<'_>) -> Result<(), SpecError> {
    spec.check()?;
    if picture.size() == spec.size {
        Ok(())
    } else {
        Err(SpecError::Picture {
            expected: spec.size,
            got: picture.size(),
        })
    }
}

fn draw_scene(
    spec: &FieldSpec,
    window: &Window,
    cells: &[(Place, WhitePlace)],
    picture: &mut RgbViewMut<'_>,
    truth: &mut VecView<PhantomCell>,
    drawn: &mut DrawnField,
) {
    let obstacles: Vec<Obstacle, MAX_NEAR> = cells
        .iter()
        .map(|(place, cell)| Obstacle {
            place: *place,
            radius: cell.morphology.diameter_um / 2.0,
        })
        .collect();
    illuminate(spec, window, picture);
    draw_background_cells(spec, window, &obstacles, picture);
    for (place, cell) in cells {
        match draw_white(spec, window, place, cell, picture) {
            Seen::Nothing => {}
            Seen::Cut => drawn.cut += 1,
            Seen::Whole(found) => match truth.push(found) {
                Ok(()) => drawn.in_truth += 1,
                Err(_) => drawn.no_room += 1,
            },
        }
    }
    blur(spec, picture);
    add_noise(spec, window, picture);
}

enum Seen {
    Nothing,
    Cut,
    Whole(PhantomCell),
}

/// Pixels whose middle lies in the cell: how many, how many of them in the picture, and the
/// corners of those.
struct Extent {
    all: u32,
    inside: u32,
    low: [i32; 2],
    high: [i32; 2],
}

fn draw_white(
    spec: &FieldSpec,
    window: &Window,
    place: &Place,
    cell: &WhitePlace,
    picture: &mut RgbViewMut<'_>,
) -> Seen {
    let white = WhiteCell::new(&cell.morphology);
    let reach = white.reach();
    let [columns, rows] = window.pixels_inside(place, reach);
    if columns.is_empty() || rows.is_empty() {
        return Seen::Nothing;
    }
    let pixel_um = (window.pitch[0] + window.pitch[1]) / 2.0;
    let soft = pixel_um + white.softness();
    let mut extent = Extent {
        all: 0,
        inside: 0,
        low: [i32::MAX; 2],
        high: [i32::MIN; 2],
    };
    let [near_columns, near_rows] = window.pixels_near(place, reach);
    for row in near_rows {
        let y = window.offset(place, 1, row);
        for column in near_columns.clone() {
            let x = window.offset(place, 0, column);
            let edge = white.distance(x, y);
            if edge >= soft {
                continue;
            }
            let visible = columns.contains(&column) && rows.contains(&row);
            extent.add(edge, visible, [column, row]);
            let cover = (0.5 - edge / soft).clamp(0.0, 1.0);
            if visible && cover > 0.0 {
                let light = white.light(x, y, edge, pixel_um);
                let light = WhiteCell::stained(light, spec.stain_strength, spec.stain_balance);
                let light = mix3([1.0; 3], light, cover);
                absorb(picture.pixel_mut(column as u32, row as u32), light);
            }
        }
    }
    extent.seen(cell)
}

impl Extent {
    fn add(&mut self, edge: f32, visible: bool, pixel: [i32; 2]) {
        if edge >= 0.0 {
            return;
        }
        self.all += 1;
        if visible {
            self.inside += 1;
            for (low, at) in self.low.iter_mut().zip(pixel) {
                *low = at.min(*low);
            }
            for (high, at) in self.high.iter_mut().zip(pixel) {
                *high = (at + 1).max(*high);
            }
        }
    }

    fn seen(&self, cell: &WhitePlace) -> Seen {
        let [x0, y0] = self.low.map(|side| side as f32);
        let [x1, y1] = self.high.map(|side| side as f32);
        let Some(bbox) = BBox::from_corners(x0, y0, x1, y1) else {
            return Seen::Nothing;
        };
        let visible = self.inside as f32 / self.all as f32;
        if visible < VISIBLE_MIN {
            return Seen::Cut;
        }
        Seen::Whole(PhantomCell {
            id: cell.id,
            bbox,
            visible,
            morphology: cell.morphology,
        })
    }
}
