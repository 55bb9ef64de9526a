//! Ready-made looks of slide and camera, and random ones to train on.

use crate::geometry::Size;

use super::field::FieldSpec;
use super::morphology::N_CLASSES;
use super::random::{Random, sub_seed};
use super::stage::StagePosition;

/// Normal blood, per cent; order of [`crate::class::LEUKEMIA_CLASSES`].
const NORMAL_BLOOD: [u16; N_CLASSES] = [0, 0, 0, 52, 0, 0, 0, 26, 0, 0, 10, 0, 7, 5];

/// Every class about as often, artefacts a little less.
const ALL_CLASSES: [u16; N_CLASSES] = [5, 8, 8, 9, 6, 6, 6, 9, 6, 6, 8, 6, 8, 8];

impl FieldSpec {
    /// Normal blood as a cheap camera sees it through a 100x objective: one to three white cells,
    /// 640 x 480, a white cell 90 to 200 pixels wide, as in BCCD.
    pub fn demo(seed: u64) -> Self {
        Self {
            seed,
            size: Size::new(640, 480),
            um_per_px: 0.080,
            squeeze: 1.0,
            stage: StagePosition::default(),
            frame: 0,
            white_cells: [1, 3],
            class_weights: NORMAL_BLOOD,
            red_cell_density: 14.0,
            clumping: 0.45,
            merging: 0.45,
            platelet_density: 0.8,
            artefact_density: 0.3,
            red_cell: [0.84, 0.73, 0.75],
            pallor: 0.6,
            rim: 0.34,
            halo: 0.04,
            stain_strength: 0.85,
            stain_balance: [1.0, 1.0, 0.55],
            plasma: 0.01,
            cast: [0.815, 0.823, 0.808],
            gradient: 0.10,
            blur_px: 1.9,
            noise: 2.2,
        }
    }

    /// A wide field squeezed to a square with all fourteen classes, as in LeukemiaAttri:
    /// 640 x 640, four to nine white cells.
    pub fn wide(seed: u64) -> Self {
        Self {
            size: Size::new(640, 640),
            um_per_px: 0.125,
            squeeze: 9.0 / 16.0,
            white_cells: [4, 9],
            class_weights: ALL_CLASSES,
            red_cell_density: 8.0,
            clumping: 0.4,
            merging: 0.75,
            platelet_density: 1.0,
            artefact_density: 3.0,
            red_cell: [0.45, 0.54, 0.79],
            pallor: 0.45,
            rim: 0.20,
            halo: 0.03,
            stain_strength: 1.0,
            stain_balance: [1.0, 1.0, 0.95],
            plasma: 0.04,
            cast: [0.655, 0.66, 0.61],
            gradient: 0.12,
            blur_px: 0.9,
            noise: 1.6,
            ..Self::demo(seed)
        }
    }

    /// The warm, even light of a slide analyser, 224 x 224, as in WBCAtt; meant for
    /// [`super::draw_portrait`].
    pub fn analyser(seed: u64) -> Self {
        Self {
            size: Size::new(224, 224),
            um_per_px: 0.165,
            white_cells: [1, 1],
            red_cell_density: 9.0,
            clumping: 0.12,
            merging: 0.3,
            red_cell: [0.82, 0.76, 0.80],
            pallor: 0.72,
            rim: 0.10,
            halo: 0.0,
            stain_strength: 1.0,
            stain_balance: [1.0, 1.0, 0.95],
            plasma: 0.0,
            cast: [1.0, 0.905, 0.80],
            gradient: 0.02,
            blur_px: 0.55,
            noise: 1.2,
            ..Self::demo(seed)
        }
    }

    /// A field with a look of its own, to train on: one of the three families above, with stain,
    /// light, scale, focus, density and place on the slide varied; all fourteen classes.
    pub fn randomised(seed: u64) -> Self {
        let mut random = Random::new(sub_seed(seed, 0x100c));
        let mut spec = match random.weighted(&[45_u16, 35, 20]) {
            0 => Self::demo(seed),
            1 => Self::wide(seed),
            _ => Self {
                size: Size::new(640, 480),
                um_per_px: 0.09,
                white_cells: [1, 4],
                ..Self::analyser(seed)
            },
        };
        spec.class_weights = ALL_CLASSES;
        spec.um_per_px *= random.between(0.8, 1.35);
        if random.chance(0.15) {
            spec.squeeze = random.between(0.55, 1.0);
        }
        let far = |random: &mut Random| random.between(-4000.0, 4000.0);
        spec.stage = StagePosition {
            x_um: far(&mut random),
            y_um: far(&mut random),
        };
        spec.vary_slide(&mut random);
        spec.vary_camera(&mut random);
        spec
    }

    fn vary_slide(&mut self, random: &mut Random) {
        self.red_cell_density = random.between(3.0, 14.0);
        self.clumping = random.between(0.0, 0.6);
        self.merging = random.between(0.1, 0.9);
        self.platelet_density = random.between(0.1, 2.0);
        self.artefact_density *= random.between(0.0, 2.0);
        if random.chance(0.3) {
            let tints = [
                [0.87, 0.72, 0.74],
                [0.56, 0.64, 0.84],
                [0.82, 0.76, 0.80],
                [0.74, 0.53, 0.83],
            ];
            self.red_cell = tints[random.below(4) as usize];
        }
        let mut nudged = |value: f32, by: f32, low: f32, high: f32| {
            (value + by * random.triangle()).clamp(low, high)
        };
        let depth = nudged(1.0, 0.35, 0.6, 1.4);
        let tinted = |c: f32| 1.0 - (1.0 - c) * depth;
        self.red_cell = self.red_cell.map(|c| nudged(tinted(c), 0.05, 0.25, 0.95));
        self.pallor = nudged(self.pallor, 0.35, 0.05, 0.95);
        self.rim = nudged(self.rim, 0.2, 0.0, 0.6);
        self.halo = nudged(self.halo, 0.05, 0.0, 0.12);
        self.stain_strength = nudged(self.stain_strength, 0.22, 0.65, 1.2);
        self.stain_balance = self.stain_balance.map(|c| nudged(c, 0.18, 0.5, 1.25));
        self.plasma = nudged(self.plasma, 0.06, 0.0, 0.2);
    }

    fn vary_camera(&mut self, random: &mut Random) {
        let level = random.between(0.82, 1.15);
        let mut nudged = |value: f32, by: f32, low: f32, high: f32| {
            (value + by * random.triangle()).clamp(low, high)
        };
        self.cast = self.cast.map(|c| nudged(c * level, 0.08, 0.4, 1.0));
        self.gradient = nudged(0.12, 0.22, 0.0, 0.4);
        self.blur_px = nudged(self.blur_px + 0.2, 1.3, 0.3, 3.0);
        self.noise = nudged(self.noise + 0.5, 3.0, 0.3, 8.0);
    }
}
