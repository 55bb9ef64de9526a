//! One white cell: from its morphology to the light that passes at each place.

use heapless::Vec;

use super::morphology::{Artefact, Chromatin, CytoplasmColour, Granules, Morphology, NucleusShape};
use super::nucleus::{NUCLEUS_MARGIN, Nucleus};
use super::random::{Random, grain, mix, mix3, noise, smooth_step};

/// Share of red, green and blue light that passes.
pub(super) type Light = [f32; 3];

/// Nothing absorbed.
pub(super) const CLEAR: Light = [1.0; 3];

/// Dense and open chromatin, dark and pale.
const DENSE: [Light; 2] = [[0.22, 0.11, 0.52], [0.42, 0.26, 0.66]];
const OPEN: [Light; 2] = [[0.34, 0.16, 0.56], [0.57, 0.34, 0.73]];

/// Chromatin under a layer of basophilic granules.
const VEILED: [Light; 2] = [[0.40, 0.23, 0.62], [0.56, 0.39, 0.73]];

/// A closed outline around a point: a circle with waves.
pub(super) struct Outline {
    radius: f32,
    /// Cosine and sine part of the waves with 2, 3, … bumps, in radii.
    waves: [[f32; 2]; 6],
}

impl Outline {
    /// `oval` is the size of the two-bump wave, `rough` of the higher ones.
    pub(super) fn new(radius: f32, oval: f32, rough: f32, random: &mut Random) -> Self {
        let mut waves = [[0.0; 2]; 6];
        for (index, wave) in waves.iter_mut().enumerate() {
            let size = if index == 0 {
                oval
            } else {
                rough / (index as f32 + 0.6)
            };
            let [c, s] = random.direction();
            let size = size * random.between(0.3, 1.0);
            *wave = [c * size, s * size];
        }
        Self { radius, waves }
    }

    /// Signed distance along the ray, micrometres, negative inside, and the outline's radius there.
    pub(super) fn distance(&self, x: f32, y: f32) -> (f32, f32) {
        let r = libm::sqrtf(x * x + y * y);
        let (c, s) = if r > 0.0 { (x / r, y / r) } else { (1.0, 0.0) };
        let (mut ck, mut sk) = (c, s);
        let mut radius = 1.0;
        for [a, b] in self.waves {
            (ck, sk) = (ck * c - sk * s, sk * c + ck * s);
            radius += a * ck + b * sk;
        }
        let radius = radius * self.radius;
        (r - radius, radius)
    }

    /// No point of the outline is farther out, micrometres.
    pub(super) fn reach(&self) -> f32 {
        let waves: f32 = self.waves.iter().map(|[a, b]| a.abs() + b.abs()).sum();
        self.radius * (1.0 + waves)
    }
}

#[derive(Clone, Copy)]
struct Disc {
    x: f32,
    y: f32,
    radius: f32,
}

impl Disc {
    fn distance(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.x, y - self.y);
        libm::sqrtf(dx * dx + dy * dy) - self.radius
    }
}

/// A white cell ready to be drawn; lengths in micrometres from its middle.
pub(super) struct WhiteCell {
    morphology: Morphology,
    outline: Outline,
    nucleus: Nucleus,
    nucleoli: Vec<Disc, 4>,
    vacuoles: Vec<Disc, 6>,
    radius: f32,
    fringe: f32,
    /// Direction in which a crushed cell was smeared and granules are laid out.
    direction: [f32; 2],
    seed: u32,
}

impl WhiteCell {
    pub(super) fn new(morphology: &Morphology) -> Self {
        let mut random = Random::new(morphology.detail);
        let radius = morphology.diameter_um / 2.0;
        let (oval, rough, fringe) = match morphology.artefact {
            Some(Artefact::Smudge) => (0.25, 0.30, 1.6),
            Some(Artefact::BareNucleus) => (0.12, 0.10, 0.5),
            Some(Artefact::Precipitate) => (0.30, 0.50, 1.0),
            None if morphology.irregular_outline => (0.10, 0.11, 0.6),
            None => (0.05, 0.025, 0.12),
        };
        let outline = Outline::new(radius, oval, rough, &mut random);
        let mut nucleus = Nucleus::new(morphology.nucleus, &mut random);
        let eccentricity = match morphology.nucleus {
            NucleusShape::Round | NucleusShape::Indented => random.between(0.2, 0.9),
            _ => random.between(0.0, 0.3),
        };
        let cell = |p: [f32; 2]| outline.distance(p[0] * radius, p[1] * radius).0 / radius;
        if morphology.artefact.is_none() {
            nucleus.fit(morphology.nuclear_ratio, eccentricity, cell);
        }
        let mut this = Self {
            morphology: *morphology,
            outline,
            nucleus,
            nucleoli: Vec::new(),
            vacuoles: Vec::new(),
            radius,
            fringe,
            direction: random.direction(),
            seed: random.bits() as u32,
        };
        if morphology.artefact.is_none() {
            this.place_nucleoli(&mut random);
            this.place_vacuoles(&mut random);
        }
        this
    }

    /// Places discs where `depth` (micrometres inside, positive) leaves room for them.
    fn scatter(
        count: u8,
        radius: [f32; 2],
        reach: f32,
        random: &mut Random,
        depth: impl Fn(f32, f32) -> f32,
        mut place: impl FnMut(Disc) -> bool,
    ) {
        for _ in 0..count {
            // A nucleus of many lobes has few places with room; the best of some tries is taken,
            // so that what the truth says is there is there.
            let mut best: Option<(f32, Disc)> = None;
            for _ in 0..48 {
                let radius = random.between(radius[0], radius[1]);
                let (x, y) = (reach * random.triangle(), reach * random.triangle());
                let room = (depth(x, y) - radius).min(0.0) + 0.2 * random.unit();
                if best.is_none_or(|(known, _)| room > known) {
                    best = Some((room, Disc { x, y, radius }));
                }
            }
            if let Some((_, disc)) = best
                && !place(disc)
            {
                return;
            }
        }
    }

    fn place_nucleoli(&mut self, random: &mut Random) {
        let mut discs = Vec::<Disc, 4>::new();
        let depth = |x, y| -self.nucleus_distance(x, y);
        let count = self.morphology.nucleoli;
        Self::scatter(
            count,
            [0.65, 1.15],
            self.radius * 0.8,
            random,
            depth,
            |disc| discs.push(disc).is_ok(),
        );
        self.nucleoli = discs;
    }

    fn place_vacuoles(&mut self, random: &mut Random) {
        let mut discs = Vec::<Disc, 6>::new();
        let depth = |x, y| {
            let outside = self.nucleus_distance(x, y) + 0.3;
            outside.min(-self.outline.distance(x, y).0)
        };
        let count = self.morphology.vacuoles;
        Self::scatter(count, [0.5, 1.0], self.radius, random, depth, |disc| {
            discs.push(disc).is_ok()
        });
        self.vacuoles = discs;
    }

    /// Nothing of the cell is farther from its middle, micrometres.
    pub(super) fn reach(&self) -> f32 {
        self.outline.reach() + self.fringe
    }

    /// Signed distance to the visible edge, micrometres, negative inside.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        let (distance, _) = self.outline.distance(x, y);
        if distance.abs() > self.fringe {
            return distance;
        }
        let rough =
            noise(self.seed ^ 11, x * 0.8, y * 0.8) + 0.5 * noise(self.seed ^ 12, x * 1.9, y * 1.9);
        distance + self.fringe * (rough - 0.75) * 1.3
    }

    fn nucleus_distance(&self, x: f32, y: f32) -> f32 {
        let scaled = self.nucleus.distance([x / self.radius, y / self.radius]) * self.radius;
        scaled.max(self.outline.distance(x, y).0 + NUCLEUS_MARGIN * self.radius)
    }

    /// Light that passes at a place whose [`WhiteCell::distance`] is `edge`; `blur_um` softens what
    /// is finer than a pixel.
    pub(super) fn light(&self, x: f32, y: f32, edge: f32, blur_um: f32) -> Light {
        match self.morphology.artefact {
            None => self.cell_light(x, y, edge, blur_um),
            Some(Artefact::Smudge) => self.smudge_light(x, y, edge),
            Some(Artefact::BareNucleus) => self.bare_light(x, y, edge),
            Some(Artefact::Precipitate) => self.precipitate_light(x, y),
        }
    }

    fn cell_light(&self, x: f32, y: f32, edge: f32, blur_um: f32) -> Light {
        let nucleus = self.nucleus_distance(x, y);
        let cover = (0.5 - nucleus / (blur_um + 0.12)).clamp(0.0, 1.0);
        let mut light = if cover < 1.0 {
            self.cytoplasm_light(x, y, edge, nucleus)
        } else {
            CLEAR
        };
        if cover > 0.0 {
            light = mix3(light, self.nucleus_light(x, y, nucleus), cover);
        }
        if self.morphology.granules == Granules::CoarsePurple {
            light = self.granules_over(light, x, y, if cover > 0.5 { 0.75 } else { 1.0 });
        } else if self.morphology.granules == Granules::FinePurple && cover > 0.5 {
            light = self.granules_over(light, x, y, 0.35);
        }
        light
    }

    fn cytoplasm_light(&self, x: f32, y: f32, edge: f32, nucleus: f32) -> Light {
        let base = match self.morphology.cytoplasm {
            CytoplasmColour::Pale if self.morphology.granules == Granules::RoundRed => {
                [0.82, 0.65, 0.77]
            }
            CytoplasmColour::Pale if self.morphology.granules == Granules::CoarsePurple => {
                [0.74, 0.60, 0.82]
            }
            CytoplasmColour::Pale => [0.86, 0.78, 0.88],
            CytoplasmColour::LightBlue => [0.76, 0.76, 0.92],
            CytoplasmColour::Blue => [0.55, 0.59, 0.87],
            CytoplasmColour::PurpleBlue => [0.63, 0.58, 0.83],
        };
        let cloud = noise(self.seed ^ 21, x * 0.55, y * 0.55) - 0.5;
        let mut amount = 1.0 + 0.35 * cloud;
        if self.morphology.frosted {
            let glass =
                noise(self.seed ^ 22, x * 2.4, y * 2.4) + noise(self.seed ^ 23, x * 4.6, y * 4.6);
            amount += 0.5 * (glass - 1.0);
        }
        if self.morphology.granules == Granules::None {
            // Basophilia is deepest at the rim and leaves a paler court at the nucleus.
            amount +=
                0.22 * smooth_step((edge + 1.2) / 1.0) - 0.20 * smooth_step(1.0 - nucleus / 0.9);
        }
        let mut light: Light = core::array::from_fn(|c| 1.0 - (1.0 - base[c]) * amount);
        if self.morphology.granules != Granules::CoarsePurple {
            light = self.granules_over(light, x, y, 1.0);
        }
        // The membrane.
        light = mix3(
            light,
            base.map(|c| c * 0.86),
            0.6 * smooth_step((edge + 0.42) / 0.35),
        );
        for vacuole in &self.vacuoles {
            let depth = -vacuole.distance(x, y);
            let open = smooth_step(depth / 0.22);
            light = mix3(light, [0.96, 0.94, 0.97], 0.9 * open);
        }
        light
    }

    fn granules_over(&self, light: Light, x: f32, y: f32, strength: f32) -> Light {
        let seed = self.seed ^ 31;
        let [c, s] = self.direction;
        let (x, y) = (x * c + y * s, y * c - x * s);
        let (grain, colour, cover) = match self.morphology.granules {
            Granules::None => return light,
            Granules::FinePink => (
                grain(seed, x / 0.46, y / 0.46, 0.62, 0.42),
                [0.62, 0.38, 0.62],
                0.55,
            ),
            Granules::RoundRed => (
                grain(seed, x / 0.74, y / 0.74, 0.97, 0.62),
                [0.79, 0.46, 0.53],
                0.92,
            ),
            Granules::CoarsePurple => (
                grain(seed, x / 0.82, y / 0.82, 0.90, 0.60),
                [0.21, 0.10, 0.42],
                0.95,
            ),
            Granules::FinePurple => (
                grain(seed, x / 0.52, y / 0.52, 0.72, 0.48),
                [0.46, 0.14, 0.46],
                0.85,
            ),
        };
        let shade = 0.85 + 0.3 * grain.shade;
        let bulge = 1.0 + 0.12 * smooth_step(grain.depth * 1.2 - 0.4);
        let colour = colour.map(|c: f32| (c * shade * bulge).min(1.0));
        mix3(
            light,
            colour,
            strength * cover * smooth_step(grain.depth * 3.0),
        )
    }

    fn nucleus_light(&self, x: f32, y: f32, distance: f32) -> Light {
        let clumps = |seed: u32, scale: f32| noise(self.seed ^ seed, x * scale, y * scale);
        let (palette, pale) = match self.morphology.chromatin {
            Chromatin::Coarse if self.morphology.granules == Granules::CoarsePurple => {
                (VEILED, clumps(47, 0.8))
            }
            Chromatin::Coarse => {
                let field = 0.5 * clumps(41, 1.2) + 0.3 * clumps(42, 2.4) + 0.2 * clumps(46, 0.5);
                (DENSE, 0.85 * smooth_step((field - 0.36) / 0.36))
            }
            Chromatin::Open => {
                let field =
                    0.35 * clumps(43, 0.6) + 0.40 * clumps(44, 2.0) + 0.25 * clumps(45, 4.2);
                (OPEN, smooth_step((field - 0.22) / 0.56))
            }
        };
        let mut light = mix3(palette[0], palette[1], pale);
        let rim = smooth_step((distance + 0.45) / 0.4);
        light = mix3(light, palette[0], 0.55 * rim);
        for nucleolus in &self.nucleoli {
            let depth = smooth_step(-nucleolus.distance(x, y) / 0.3);
            let ring = smooth_step(1.0 - nucleolus.distance(x, y).abs() / 0.28);
            light = mix3(light, [0.62, 0.52, 0.84], 0.62 * depth);
            light = mix3(light, palette[0], 0.45 * ring);
        }
        light
    }

    fn smudge_light(&self, x: f32, y: f32, edge: f32) -> Light {
        let [c, s] = self.direction;
        let (along, across) = (x * c + y * s, y * c - x * s);
        let streak = noise(self.seed ^ 51, along * 0.28, across * 1.2);
        let fine = noise(self.seed ^ 52, x * 2.3, y * 2.3);
        let core = smooth_step(-edge / (0.55 * self.radius));
        let amount = (0.22 + 0.85 * core) * (0.55 + 0.55 * streak) * (0.7 + 0.6 * fine);
        mix3(
            [0.90, 0.78, 0.92],
            [0.42, 0.17, 0.56],
            amount.clamp(0.0, 1.0),
        )
    }

    fn bare_light(&self, x: f32, y: f32, edge: f32) -> Light {
        let field = 0.6 * noise(self.seed ^ 53, x * 0.9, y * 0.9)
            + 0.4 * noise(self.seed ^ 54, x * 2.6, y * 2.6);
        let body = mix3(
            [0.36, 0.14, 0.48],
            [0.56, 0.34, 0.66],
            smooth_step((field - 0.25) / 0.5),
        );
        let haze = smooth_step((edge + 0.22 * self.radius) / (0.16 * self.radius));
        mix3(body, [0.80, 0.62, 0.84], haze)
    }

    fn precipitate_light(&self, x: f32, y: f32) -> Light {
        let dots = grain(self.seed ^ 55, x / 0.7, y / 0.7, 0.8, 0.55);
        let cloud = noise(self.seed ^ 56, x * 0.8, y * 0.8);
        let ground = mix3(
            [0.85, 0.72, 0.88],
            [0.48, 0.30, 0.62],
            smooth_step(cloud * 1.5 - 0.25),
        );
        mix3(ground, [0.16, 0.06, 0.32], smooth_step(dots.depth * 3.0))
    }

    /// How far the edge of an artefact fades, micrometres; cells have sharp edges.
    pub(super) fn softness(&self) -> f32 {
        match self.morphology.artefact {
            None => 0.0,
            Some(Artefact::Smudge) => 1.5,
            Some(Artefact::BareNucleus) => 0.5,
            Some(Artefact::Precipitate) => 0.3,
        }
    }

    /// The same light in a weaker, stronger or differently coloured stain.
    pub(super) fn stained(light: Light, strength: f32, balance: [f32; 3]) -> Light {
        core::array::from_fn(|c| mix(1.0, light[c], strength * balance[c]).clamp(0.02, 1.0))
    }
}
