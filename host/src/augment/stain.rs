//! Stain jitter: the two dyes of a blood smear, stronger or weaker, as from another laboratory.
//!
//! By Beer and Lambert the optical density of a pixel is the sum of its dyes' densities, so that a
//! pixel is taken apart into dyes, each dye is changed, and it is put together again
//! (Ruifrok and Johnston, Anal Quant Cytol Histol 23, 2001).

use std::sync::LazyLock;

use super::rng::Rng;

/// Optical densities of the dyes in red, green and blue, unit vectors: methylene blue (nuclei,
/// basophilic cytoplasm) and eosin (red cells, eosinophilic granules), as measured by G. Landini on
/// a Giemsa stain, a Romanowsky stain as Wright's and May-Grünwald's are ("Giemsa" of ImageJ's Colour
/// Deconvolution, `bex_from_rgb` of scikit-image). What neither explains lies along their normal and is
/// left as it is: 14 % of the square of the density of BCCD's fields, 8 % of PBC's and LeukemiaAttri's.
const DYES: [[f64; 3]; 2] = [
    [0.834_750_233, 0.513_556_283, 0.196_330_403],
    [0.092_789, 0.954_111, 0.283_111],
];

/// Largest changes of the two dyes, each way; each dye of each canvas is drawn by itself.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StainJitter {
    /// Share of a dye's amount, 0..1.
    pub gain: f32,
    /// Optical density (natural logarithm) added to a dye, 0..=1: also where there is none of it.
    pub offset: f32,
}

/// Steps of the table from density to byte.
const STEPS: usize = 4096;

/// Bits behind the point of a sum of densities, in steps.
const FRACTION: u32 = 12;

impl StainJitter {
    /// Changes nothing.
    pub const NONE: Self = Self {
        gain: 0.0,
        offset: 0.0,
    };

    /// Changes the three planes of `canvas` in place.
    pub fn apply(&self, canvas: &mut [u8], rng: &mut Rng) {
        let mut dye = || {
            let gain = 1.0 + rng.uniform(-self.gain, self.gain);
            (
                f64::from(gain),
                f64::from(rng.uniform(-self.offset, self.offset)),
            )
        };
        let changes = [dye(), dye()];
        if changes != [(1.0, 0.0); 2] {
            restain(canvas, changes);
        }
    }
}

/// Multiplies the amount of each dye and adds to it.
fn restain(canvas: &mut [u8], changes: [(f64, f64); 2]) {
    let tables = tables(changes);
    let bytes = &*BYTES_OF_DENSITIES;
    let plane = canvas.len() / 3;
    let (red, rest) = canvas.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let r = &tables[0][*red as usize];
        let g = &tables[1][*green as usize];
        let b = &tables[2][*blue as usize];
        let byte = |channel: usize| {
            let density = (r[channel] + g[channel] + b[channel]) >> FRACTION;
            bytes[density.clamp(0, STEPS as i32 - 1) as usize]
        };
        *red = byte(0);
        *green = byte(1);
        *blue = byte(2);
    }
}

/// Density of a byte: 0 at 255, and finite at 0.
fn density(byte: usize) -> f64 {
    -((byte as f64 + 1.0) / 256.0).ln()
}

/// Steps per unit of density: the last step is black.
fn steps_per_density() -> f64 {
    (STEPS - 1) as f64 / density(0)
}

static BYTES_OF_DENSITIES: LazyLock<[u8; STEPS]> = LazyLock::new(|| {
    let byte = |step: usize| 256.0 * (-(step as f64) / steps_per_density()).exp() - 1.0;
    std::array::from_fn(|step| byte(step).round() as u8)
});

/// What each byte of each channel adds to the density of each channel, in steps.
fn tables(changes: [(f64, f64); 2]) -> [[[i32; 4]; 256]; 3] {
    let dyes = [DYES[0], DYES[1], unit(cross(DYES[0], DYES[1]))];
    let amounts = inverse(dyes);
    let gains = [changes[0].0, changes[1].0, 1.0];
    let scale = steps_per_density() * f64::from(1 << FRACTION);
    // The offsets and half a step, for rounding, are the red channel's to add.
    let offset = |to: usize| {
        let density = changes[0].1 * dyes[0][to] + changes[1].1 * dyes[1][to];
        density * scale + f64::from(1 << (FRACTION - 1))
    };
    let factor = |from: usize, to: usize| -> f64 {
        (0..3)
            .map(|dye| amounts[from][dye] * gains[dye] * dyes[dye][to])
            .sum()
    };
    std::array::from_fn(|from| {
        std::array::from_fn(|byte| {
            let added = |to: usize| {
                let own = density(byte) * factor(from, to) * scale;
                (own + if from == 0 { offset(to) } else { 0.0 }).round() as i32
            };
            [added(0), added(1), added(2), 0]
        })
    })
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [0, 1, 2].map(|k| a[(k + 1) % 3] * b[(k + 2) % 3] - a[(k + 2) % 3] * b[(k + 1) % 3])
}

fn unit(v: [f64; 3]) -> [f64; 3] {
    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    v.map(|x| x / norm)
}

/// Of a matrix whose rows do not lie in a plane: columns are cross products of rows.
fn inverse(rows: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let columns = [0, 1, 2].map(|k| cross(rows[(k + 1) % 3], rows[(k + 2) % 3]));
    let det: f64 = (0..3).map(|k| rows[0][k] * columns[0][k]).sum();
    [0, 1, 2].map(|row| [0, 1, 2].map(|column: usize| columns[column][row] / det))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_colour() -> Vec<u8> {
        let steps: Vec<u8> = (0..=255).step_by(5).map(|v| v as u8).collect();
        let n = steps.len();
        let at = |channel: u32| {
            let steps = &steps;
            (0..n * n * n).map(move |i| steps[i / n.pow(channel) % n])
        };
        at(0).chain(at(1)).chain(at(2)).collect()
    }

    #[test]
    fn no_jitter_is_the_identity() {
        let before = every_colour();
        let mut after = before.clone();
        StainJitter::NONE.apply(&mut after, &mut Rng::new(1, 2, 3));
        assert_eq!(after, before);
        // And so is taking every colour apart and putting it together.
        restain(&mut after, [(1.0, 0.0); 2]);
        assert_eq!(after, before);
    }

    /// numpy: `od = -log((rgb + 1) / 256); c = od @ inv(D); c[:2] = c[:2] * [1.2, 0.7] + [0.05, -0.02];
    /// 256 * exp(-(c @ D)) - 1`, D = the two dyes and their unit normal.
    #[test]
    fn dyes_change_as_the_formula_says() {
        let changes = [(1.2, 0.05), (0.7, -0.02)];
        for (rgb, expected) in [
            ([120, 60, 160], [104.25, 75.35, 169.54]),
            ([230, 225, 235], [217.16, 225.9, 234.52]),
            ([200, 130, 140], [188.19, 153.42, 146.42]),
        ] {
            let mut canvas: [u8; 3] = rgb;
            restain(&mut canvas, changes);
            for (got, expected) in canvas.into_iter().zip::<[f64; 3]>(expected) {
                let off = (f64::from(got) - expected).abs();
                assert!(off < 0.75, "{rgb:?}: {canvas:?}, expected {expected}");
            }
        }
    }
}
