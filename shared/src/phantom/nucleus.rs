//! The form of a nucleus: lobes, bridges and a bay, melted together, as a signed distance.

use core::f32::consts::TAU;

use heapless::Vec;

use super::morphology::NucleusShape;
use super::random::{Random, direction, mix, noise};

/// A sausage from `from` to `to`, in cell radii.
#[derive(Clone, Copy)]
struct Lobe {
    from: [f32; 2],
    to: [f32; 2],
    radius: f32,
}

/// Place and radius, in cell radii.
#[derive(Clone, Copy)]
struct Bay {
    centre: [f32; 2],
    radius: f32,
}

/// Most lobes and bridges: five lobes with their bridges, or a band of nine pieces.
const MAX_LOBES: usize = 10;

/// The form in cell radii, before it is scaled to the area the morphology asks for.
pub(super) struct Nucleus {
    lobes: Vec<Lobe, MAX_LOBES>,
    bays: Vec<Bay, 2>,
    offset: [f32; 2],
    turn: [f32; 2],
    melt: f32,
    wobble: f32,
    seed: u32,
    scale: f32,
}

/// Minimum of two distances with a fillet of about `k`.
fn melted(a: f32, b: f32, k: f32) -> f32 {
    let h = (0.5 + 0.5 * (b - a) / k).clamp(0.0, 1.0);
    mix(b, a, h) - k * h * (1.0 - h)
}

impl Lobe {
    fn distance(&self, [x, y]: [f32; 2]) -> f32 {
        let (ax, ay) = (x - self.from[0], y - self.from[1]);
        let (bx, by) = (self.to[0] - self.from[0], self.to[1] - self.from[1]);
        let squared = bx * bx + by * by;
        let along = if squared > 0.0 {
            ((ax * bx + ay * by) / squared).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let (dx, dy) = (ax - along * bx, ay - along * by);
        libm::sqrtf(dx * dx + dy * dy) - self.radius
    }
}

impl Nucleus {
    pub(super) fn new(shape: NucleusShape, random: &mut Random) -> Self {
        let mut nucleus = Self {
            lobes: Vec::new(),
            bays: Vec::new(),
            offset: [0.0; 2],
            turn: random.direction(),
            melt: 0.12,
            wobble: 0.10,
            seed: random.bits() as u32,
            scale: 1.0,
        };
        match shape {
            NucleusShape::Round => nucleus.round(random),
            NucleusShape::Indented => nucleus.indented(random),
            NucleusShape::Band => nucleus.band(random),
            NucleusShape::Bilobed => nucleus.lobed(2, random),
            NucleusShape::Multilobed => {
                let lobes = 3 + random.weighted(&[55_u16, 35, 10]) as u32;
                nucleus.lobed(lobes, random);
            }
            NucleusShape::Irregular => nucleus.irregular(random),
        }
        nucleus
    }

    fn lobe(&mut self, from: [f32; 2], to: [f32; 2], radius: f32) {
        let lobe = Lobe { from, to, radius };
        let room = self.lobes.push(lobe).is_ok();
        debug_assert!(room, "no shape has more than {MAX_LOBES} lobes and bridges");
    }

    fn bay(&mut self, centre: [f32; 2], radius: f32) {
        let room = self.bays.push(Bay { centre, radius }).is_ok();
        debug_assert!(room, "no shape has more than two bays");
    }

    fn round(&mut self, random: &mut Random) {
        let half = random.between(0.0, 0.16);
        self.lobe([-half, 0.0], [half, 0.0], 0.7);
        self.wobble = 0.07;
    }

    fn indented(&mut self, random: &mut Random) {
        let half = random.between(0.18, 0.36);
        self.lobe([-half, 0.0], [half, 0.0], random.between(0.5, 0.6));
        let depth = random.between(0.55, 0.78);
        self.bay(
            [random.between(-0.15, 0.15), depth],
            random.between(0.28, 0.46),
        );
        self.wobble = 0.16;
    }

    fn band(&mut self, random: &mut Random) {
        let radius = random.between(0.40, 0.50);
        let width = random.between(0.17, 0.22);
        let sweep = random.between(0.45, 0.68) * TAU;
        let knob = random.between(1.05, 1.35);
        let at = |t: f32| {
            let [c, s] = direction((t - 0.5) * sweep);
            [c * radius - 0.12, s * radius * 1.1]
        };
        const PIECES: u32 = 8;
        for piece in 0..PIECES {
            let (from, to) = (
                piece as f32 / PIECES as f32,
                (piece + 1) as f32 / PIECES as f32,
            );
            let at_end = piece == 0 || piece + 1 == PIECES;
            let waist = 0.88 + 0.16 * random.unit();
            self.lobe(at(from), at(to), width * if at_end { knob } else { waist });
        }
        self.melt = 0.06;
    }

    fn lobed(&mut self, lobes: u32, random: &mut Random) {
        let radius = if lobes == 2 { 0.40 } else { 0.44 };
        let sweep = if lobes == 2 {
            random.between(0.34, 0.50)
        } else {
            random.between(0.58, 0.78)
        } * TAU;
        let size = [0.30, 0.25, 0.22, 0.19][lobes.min(5) as usize - 2];
        let mut previous = None;
        for lobe in 0..lobes {
            let t = lobe as f32 / (lobes - 1) as f32;
            let out = radius * (1.0 + 0.22 * random.triangle());
            let [c, s] = direction((t - 0.5) * sweep + 0.22 * random.triangle());
            let (centre, half) = ([c * out, s * out], random.between(0.02, 0.12));
            let [u, v] = random.direction();
            let ends = |sign: f32| [centre[0] + sign * half * u, centre[1] + sign * half * v];
            self.lobe(ends(-1.0), ends(1.0), size * random.between(0.88, 1.12));
            if let Some(previous) = previous {
                self.lobe(previous, centre, random.between(0.03, 0.11));
            }
            previous = Some(centre);
        }
        self.melt = 0.07;
        self.wobble = 0.11;
    }

    fn irregular(&mut self, random: &mut Random) {
        for _ in 0..3 {
            let [c, s] = random.direction();
            let out = random.between(0.1, 0.36);
            let [u, v] = random.direction();
            let half = random.between(0.0, 0.2);
            let ends = |sign: f32| [c * out + sign * half * u, s * out + sign * half * v];
            self.lobe(ends(-1.0), ends(1.0), random.between(0.34, 0.50));
        }
        for _ in 0..2 {
            let [c, s] = random.direction();
            let out = random.between(0.62, 0.85);
            self.bay([c * out, s * out], random.between(0.12, 0.3));
        }
        self.wobble = 0.2;
    }

    /// Signed distance in cell radii, negative inside; `p` in cell radii from the cell's middle.
    pub(super) fn distance(&self, p: [f32; 2]) -> f32 {
        let p = [
            (p[0] - self.offset[0]) / self.scale,
            (p[1] - self.offset[1]) / self.scale,
        ];
        let p = [
            p[0] * self.turn[0] + p[1] * self.turn[1],
            p[1] * self.turn[0] - p[0] * self.turn[1],
        ];
        let waver = |seed: u32| noise(self.seed ^ seed, p[0] * 2.5, p[1] * 2.5) - 0.5;
        let p = [
            p[0] + self.wobble * 1.6 * waver(1),
            p[1] + self.wobble * 1.6 * waver(2),
        ];
        let mut distance = f32::MAX;
        for lobe in &self.lobes {
            distance = if distance == f32::MAX {
                lobe.distance(p)
            } else {
                melted(distance, lobe.distance(p), self.melt)
            };
        }
        for bay in &self.bays {
            let (dx, dy) = (p[0] - bay.centre[0], p[1] - bay.centre[1]);
            let outside_bay = bay.radius - libm::sqrtf(dx * dx + dy * dy);
            distance = -melted(-distance, -outside_bay, 0.1);
        }
        distance * self.scale
    }

    /// Scales the form until it takes `ratio` of the cell, and moves it off the middle by as much
    /// of the free room as `eccentricity` says. `cell` is the cell's signed distance.
    pub(super) fn fit(&mut self, ratio: f32, eccentricity: f32, cell: impl Fn([f32; 2]) -> f32) {
        let [c, s] = self.turn;
        let room = (1.0 - libm::sqrtf(ratio)).max(0.0) * eccentricity;
        self.offset = [s * room, -c * room];
        let (mut low, mut high) = (0.4_f32, 2.2_f32);
        for _ in 0..9 {
            self.scale = (low + high) / 2.0;
            if self.share_of(&cell) < ratio {
                low = self.scale;
            } else {
                high = self.scale;
            }
        }
    }

    /// Area of the nucleus over the area of the cell, on a grid of 26 x 26 points.
    fn share_of(&self, cell: &impl Fn([f32; 2]) -> f32) -> f32 {
        let (mut inside, mut all) = (0_u32, 0_u32);
        for row in 0..26 {
            for column in 0..26 {
                let p = [column as f32 * 0.1 - 1.25, row as f32 * 0.1 - 1.25];
                let outline = cell(p);
                if outline < 0.0 {
                    all += 1;
                    inside += u32::from(self.distance(p).max(outline + NUCLEUS_MARGIN) < 0.0);
                }
            }
        }
        inside as f32 / all.max(1) as f32
    }
}

/// The nucleus keeps this far from the cell's outline, in cell radii.
pub(super) const NUCLEUS_MARGIN: f32 = 0.035;
