//! What lies between the white cells: red cells, platelets, specks of stain.

use heapless::Vec;

use crate::pixels::RgbViewMut;

use super::camera::Lamp;
use super::cell::{CLEAR, Light, Outline, WhiteCell};
use super::field::{FieldSpec, absorb};
use super::random::{Random, grain, mix, mix3, noise, smooth_step, sub_seed, tile_seed};
use super::stage::{Place, Window, layer};

/// Side of the square tiles, micrometres.
const TILE_UM: f32 = 24.0;

/// Mean diameter of a red cell, micrometres.
const RED_UM: f32 = 7.2;

/// Most red cells of a tile; the highest density allowed wants at most 36.
const MAX_RED: usize = 48;

/// Most small things of one kind in a tile.
const MAX_SMALL: u32 = 64;

/// The parts of a white cell that red cells keep away from.
#[derive(Clone, Copy)]
pub(super) struct Obstacle {
    pub(super) place: Place,
    pub(super) radius: f32,
}

#[derive(Clone, Copy)]
struct RedPlace {
    place: Place,
    detail: u64,
}

/// Draws a layer of red cells, then platelets, then specks, each tile by tile.
pub(super) fn draw_background_cells(
    spec: &FieldSpec,
    window: &Window,
    obstacles: &[Obstacle],
    picture: &mut RgbViewMut<'_>,
) {
    let lamp = Lamp::new(spec, window);
    let tile_px = window
        .pitch
        .map(|pitch| libm::roundf(TILE_UM / pitch) as i32);
    for tile in window.tiles(tile_px, 6.0) {
        draw_red_tile(spec, window, tile_px, tile, obstacles, &lamp, picture);
    }
    for tile in window.tiles(tile_px, 3.0) {
        draw_small(spec, window, tile_px, tile, obstacles, picture);
    }
}

/// Cells of one tile before its neighbours are asked.
fn red_tile(
    spec: &FieldSpec,
    window: &Window,
    tile_px: [i32; 2],
    tile: [i32; 2],
) -> Vec<RedPlace, MAX_RED> {
    let seed = tile_seed(spec.seed, layer::RED, tile);
    let mut random = Random::new(seed);
    let mean = spec.red_cell_density * TILE_UM * TILE_UM / 1000.0;
    let mut cells: Vec<RedPlace, MAX_RED> = Vec::new();
    let mut chain = random.direction();
    for index in 0..u64::from(random.count(mean)).min(MAX_RED as u64) {
        for _ in 0..12 {
            let free: [f32; 2] = core::array::from_fn(|_| random.between(0.0, TILE_UM));
            let local = match cells.last() {
                Some(last) if random.chance(spec.clumping) => {
                    let apart = RED_UM * random.between(0.62, 1.0);
                    if random.chance(0.3) {
                        chain = random.direction();
                    }
                    core::array::from_fn(|axis| last.place.local[axis] + chain[axis] * apart)
                }
                _ => free,
            };
            let place = window.place(tile_px, tile, local);
            let overlap = if random.chance(0.06) { 0.6 } else { 0.92 } * RED_UM;
            let overlap = if random.chance(spec.clumping) {
                0.6 * RED_UM
            } else {
                overlap
            };
            let room = cells
                .iter()
                .all(|other| window.squared_distance(&place, &other.place) > overlap * overlap);
            if room {
                let detail = sub_seed(seed, index);
                // The loop is bounded by the capacity.
                let _ = cells.push(RedPlace { place, detail });
                break;
            }
        }
    }
    cells
}

fn draw_red_tile(
    spec: &FieldSpec,
    window: &Window,
    tile_px: [i32; 2],
    tile: [i32; 2],
    obstacles: &[Obstacle],
    lamp: &Lamp,
    picture: &mut RgbViewMut<'_>,
) {
    let before = [[-1, -1], [0, -1], [1, -1], [-1, 0]]
        .map(|[x, y]| red_tile(spec, window, tile_px, [tile[0] + x, tile[1] + y]));
    for cell in red_tile(spec, window, tile_px, tile) {
        let near =
            |place: &Place, limit: f32| window.squared_distance(&cell.place, place) < limit * limit;
        let limit = RED_UM
            * if cell.detail.is_multiple_of(16) {
                0.55
            } else {
                0.88
            };
        let crowded = before
            .iter()
            .flatten()
            .any(|other| near(&other.place, limit));
        let covered = obstacles
            .iter()
            .any(|white| near(&white.place, white.radius * 0.95 + RED_UM * 0.40));
        if !crowded && !covered {
            RedCell::new(spec, cell.detail).draw(spec, window, &cell.place, lamp, picture);
        }
    }
}

struct RedCell {
    outline: Outline,
    light: Light,
    pallor: f32,
    pallor_radius: f32,
    pallor_soft: f32,
    crenated: f32,
    defocus: f32,
    seed: u32,
}

impl RedCell {
    fn new(spec: &FieldSpec, detail: u64) -> Self {
        let mut random = Random::new(detail);
        let radius = RED_UM / 2.0 * (1.0 + 0.13 * random.triangle());
        let (oval, rough) = match random.below(14) {
            0 => (0.24, 0.05),
            1 => (0.10, 0.16),
            _ => (0.075, 0.028),
        };
        let tone = 1.0 + 0.28 * random.triangle();
        let full = random.chance(0.2);
        Self {
            outline: Outline::new(radius, oval, rough, &mut random),
            light: spec
                .red_cell
                .map(|c| (1.0 - (1.0 - c) * tone).clamp(0.05, 0.97)),
            pallor: spec.pallor * if full { 0.25 } else { random.between(0.7, 1.1) },
            pallor_radius: random.between(0.34, 0.62),
            pallor_soft: random.between(0.14, 0.32),
            crenated: if random.chance(0.03) {
                random.between(0.1, 0.35)
            } else {
                0.0
            },
            defocus: random.between(0.05, 0.45),
            seed: random.bits() as u32,
        }
    }

    fn draw(
        &self,
        spec: &FieldSpec,
        window: &Window,
        place: &Place,
        lamp: &Lamp,
        picture: &mut RgbViewMut<'_>,
    ) {
        let soft = (window.pitch[0] + window.pitch[1]) / 2.0 + self.defocus;
        let [columns, rows] = window.pixels_inside(place, self.outline.reach() + 0.9);
        for row in rows {
            let y = window.offset(place, 1, row);
            for column in columns.clone() {
                let x = window.offset(place, 0, column);
                let (mut edge, radius) = self.outline.distance(x, y);
                if self.crenated > 0.0 {
                    edge += self.crenated * (noise(self.seed, x * 0.9, y * 0.9) - 0.5) * 4.0;
                }
                if edge < 0.8 {
                    let pixel = picture.pixel_mut(column as u32, row as u32);
                    let empty = 255.0 * spec.cast[1] * lamp.at(column, row);
                    let merged = spec.merging * self.share_below(f32::from(pixel[1]) / empty);
                    let light = self.light_at(spec, x, y, edge, radius);
                    let cover = smooth_step(0.5 - edge / soft) * (1.0 - merged);
                    let halo = 1.0 + spec.halo * smooth_step(1.0 - edge.abs() / 0.8);
                    absorb(pixel, mix3([halo; 3], light, cover));
                }
            }
        }
    }

    /// How much of a red cell lies below already, 0..1, from the green light that is left.
    fn share_below(&self, left: f32) -> f32 {
        smooth_step(((1.0 - left) / (1.0 - self.light[1]) - 0.15) / 0.5)
    }

    fn light_at(&self, spec: &FieldSpec, x: f32, y: f32, edge: f32, radius: f32) -> Light {
        let out = 1.0 + edge / radius;
        let waver = 0.10 * (noise(self.seed ^ 1, x * 0.45, y * 0.45) - 0.5);
        let inner = smooth_step((self.pallor_radius + waver - out) / self.pallor_soft + 0.5);
        let rim = smooth_step(1.0 - (edge + 0.28).abs() / 0.42);
        let shoulder = smooth_step((out - 0.45) / 0.4);
        let amount = (0.94 + 0.10 * shoulder) * (1.0 - self.pallor * inner) + spec.rim * rim;
        let grainy = 1.0 + 0.05 * (noise(self.seed ^ 2, x * 1.1, y * 1.1) - 0.5);
        core::array::from_fn(|c| mix(1.0, self.light[c], amount * grainy).clamp(0.03, 1.0))
    }
}

/// Platelets and specks of one tile.
fn draw_small(
    spec: &FieldSpec,
    window: &Window,
    tile_px: [i32; 2],
    tile: [i32; 2],
    obstacles: &[Obstacle],
    picture: &mut RgbViewMut<'_>,
) {
    for (layer, density) in [
        (layer::PLATELETS, spec.platelet_density),
        (layer::SPECKS, spec.artefact_density),
    ] {
        let seed = tile_seed(spec.seed, layer, tile);
        let mut random = Random::new(seed);
        let mean = density * TILE_UM * TILE_UM / 1000.0;
        for index in 0..random.count(mean).min(MAX_SMALL) {
            let local = core::array::from_fn(|_| random.between(0.0, TILE_UM));
            let place = window.place(tile_px, tile, local);
            let mut own = Random::new(sub_seed(seed, u64::from(index)));
            if layer == layer::SPECKS {
                draw_speck(spec, window, &place, &mut own, picture);
            } else if !obstacles.iter().any(|white| {
                let apart = white.radius + 1.5;
                window.squared_distance(&place, &white.place) < apart * apart
            }) {
                draw_platelet(spec, window, &place, &mut own, picture);
            }
        }
    }
}

fn draw_platelet(
    spec: &FieldSpec,
    window: &Window,
    place: &Place,
    random: &mut Random,
    picture: &mut RgbViewMut<'_>,
) {
    let radius = random.between(0.8, 1.6);
    let outline = Outline::new(radius, 0.2, 0.15, random);
    let seed = random.bits() as u32;
    let depth = random.between(0.7, 1.1);
    paint(
        spec,
        window,
        place,
        outline.reach() + 0.3,
        picture,
        |x, y| {
            let ragged = 0.5 * (noise(seed, x * 1.7, y * 1.7) - 0.5);
            let edge = outline.distance(x, y).0 + ragged;
            let cover = smooth_step(0.5 - edge / 0.35);
            let dots = smooth_step(grain(seed ^ 1, x / 0.45, y / 0.45, 0.8, 0.6).depth * 2.5);
            let core = smooth_step(-edge / radius * 1.6);
            let body = mix3(
                [0.76, 0.66, 0.88],
                [0.46, 0.26, 0.64],
                (0.30 + 0.75 * dots) * core * depth,
            );
            mix3(CLEAR, body, cover)
        },
    );
}

/// A speck of stain, or a loose heap of them.
fn draw_speck(
    spec: &FieldSpec,
    window: &Window,
    place: &Place,
    random: &mut Random,
    picture: &mut RgbViewMut<'_>,
) {
    let seed = random.bits() as u32;
    let dark = if random.chance(0.15) {
        [0.20, 0.18, 0.24]
    } else {
        [0.50, 0.28, 0.62]
    };
    let depth = random.between(0.3, 0.9);
    if random.chance(0.82) {
        let outline = Outline::new(random.between(0.12, 0.4), 0.3, 0.2, random);
        paint(
            spec,
            window,
            place,
            outline.reach() + 0.2,
            picture,
            |x, y| {
                let cover = smooth_step(0.5 - outline.distance(x, y).0 / 0.25);
                mix3(CLEAR, dark, cover * depth)
            },
        );
    } else {
        let outline = Outline::new(random.between(0.8, 2.2), 0.5, 0.4, random);
        paint(spec, window, place, outline.reach(), picture, |x, y| {
            let inside = smooth_step(-outline.distance(x, y).0 / 0.4);
            let dots = grain(seed, x / 0.6, y / 0.6, 0.6, 0.5).depth;
            mix3(CLEAR, dark, inside * depth * smooth_step(dots * 2.5))
        });
    }
}

/// Lets `light` through around a place, in the field's stain.
fn paint(
    spec: &FieldSpec,
    window: &Window,
    place: &Place,
    reach: f32,
    picture: &mut RgbViewMut<'_>,
    light: impl Fn(f32, f32) -> Light,
) {
    let [columns, rows] = window.pixels_inside(place, reach);
    for row in rows {
        let y = window.offset(place, 1, row);
        for column in columns.clone() {
            let x = window.offset(place, 0, column);
            let light = WhiteCell::stained(light(x, y), spec.stain_strength, spec.stain_balance);
            absorb(picture.pixel_mut(column as u32, row as u32), light);
        }
    }
}
