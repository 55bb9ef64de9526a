//! Colour jitter: hue, saturation and value gains (attridet.md, 8.6), on planar u8.

use super::rng::Rng;

/// Largest relative gains, each way.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourJitter {
    /// Share of the hue circle.
    pub hue: f32,
    /// Share of the saturation.
    pub saturation: f32,
    /// Share of the value.
    pub value: f32,
}

impl ColourJitter {
    /// Changes nothing.
    pub const NONE: Self = Self {
        hue: 0.0,
        saturation: 0.0,
        value: 0.0,
    };

    /// Changes the three planes of `canvas` in place.
    pub fn apply(&self, canvas: &mut [u8], rng: &mut Rng) {
        let mut gain = |share: f32| 1.0 + rng.uniform(-1.0, 1.0) * share;
        let gains = [gain(self.hue), gain(self.saturation), gain(self.value)];
        if gains == [1.0; 3] {
            return;
        }
        let plane = canvas.len() / 3;
        let (red, rest) = canvas.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        for ((red, green), blue) in red
            .chunks_mut(BLOCK)
            .zip(green.chunks_mut(BLOCK))
            .zip(blue.chunks_mut(BLOCK))
        {
            multiply(red, green, blue, gains);
        }
    }
}

/// Pixels that are worked on together: three planes of them stay in the first cache.
const BLOCK: usize = 1024;

/// Multiplies hue (0..6, wrapping), saturation (to 1) and value (to 255). Written without branches
/// and without calls that might not be inlined, so that the compiler takes several pixels at once.
fn multiply(red: &mut [u8], green: &mut [u8], blue: &mut [u8], gains: [f32; 3]) {
    let n = red.len();
    let (green, blue) = (&mut green[..n], &mut blue[..n]);
    for at in 0..n {
        let rgb = [red[at] as f32, green[at] as f32, blue[at] as f32];
        let [h, s, v] = hsv_from_rgb(rgb);
        let hsv = [
            wrapped(h * gains[0]),
            least(s * gains[1], 1.0),
            least(v * gains[2], 255.0),
        ];
        let [r, g, b] = rgb_from_hsv(hsv);
        red[at] = r;
        green[at] = g;
        blue[at] = b;
    }
}

/// `f32::min` without its rule for what is no number.
#[inline(always)]
fn least(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn most(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Back into 0..6 from below 12.
#[inline(always)]
fn wrapped(hue: f32) -> f32 {
    if hue >= 6.0 { hue - 6.0 } else { hue }
}

/// Hue 0..6, saturation 0..=1, value 0..=255.
#[inline(always)]
fn hsv_from_rgb([r, g, b]: [f32; 3]) -> [f32; 3] {
    let high = most(most(r, g), b);
    let span = high - least(least(r, g), b);
    // A grey has no hue and no saturation: 0 by any divisor.
    let unit = 1.0 / most(span, 1.0);
    let by_green = 2.0 + (b - r) * unit;
    let by_blue = 4.0 + (r - g) * unit;
    let by_red = (g - b) * unit;
    let by_red = if by_red < 0.0 { by_red + 6.0 } else { by_red };
    let rest = if high == g { by_green } else { by_blue };
    let hue = if high == r { by_red } else { rest };
    [hue, span / most(high, 1.0), high]
}

#[inline(always)]
fn rgb_from_hsv([h, s, v]: [f32; 3]) -> [u8; 3] {
    let depth = v * s;
    [
        byte(v - depth * share(h, 5.0)),
        byte(v - depth * share(h, 3.0)),
        byte(v - depth * share(h, 1.0)),
    ]
}

/// How much of the depth a channel loses at a hue.
#[inline(always)]
fn share(hue: f32, offset: f32) -> f32 {
    let k = wrapped(offset + hue);
    most(least(least(k, 4.0 - k), 1.0), 0.0)
}

/// 0..=255, rounded: at 2^23 a float's last bit is one.
#[inline(always)]
fn byte(value: f32) -> u8 {
    (value + 8_388_608.0).to_bits() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_the_same_colour() {
        for rgb in [
            [0, 0, 0],
            [255, 255, 255],
            [200, 30, 90],
            [12, 240, 77],
            [1, 2, 250],
            [90, 89, 88],
        ] {
            assert_eq!(rgb_from_hsv(hsv_from_rgb(rgb.map(f32::from))), rgb);
        }
    }

    #[test]
    fn no_jitter_changes_nothing() {
        let before: Vec<u8> = (0..=254).collect();
        let mut after = before.clone();
        ColourJitter::NONE.apply(&mut after, &mut Rng::new(1, 2, 3));
        assert_eq!(after, before);
    }

    /// colorsys.rgb_to_hsv / hsv_to_rgb of Python, hue times 1.1 (mod 1), saturation times 0.5,
    /// value times 0.8:
    /// `[round(255 * c) for c in hsv_to_rgb(h * 1.1 % 1, s * .5, v * .8)]` of `[c / 255 for c in rgb]`.
    #[test]
    fn gains_give_what_python_s_colorsys_gives() {
        for (rgb, expected) in [
            ([200, 30, 90], [160, 106, 92]),
            ([12, 240, 77], [101, 192, 148]),
            ([90, 89, 88], [72, 72, 71]),
            ([255, 0, 1], [204, 163, 102]),
        ] {
            let [mut r, mut g, mut b] = rgb.map(|value: u8| [value]);
            multiply(&mut r, &mut g, &mut b, [1.1, 0.5, 0.8]);
            assert_eq!([r[0], g[0], b[0]], expected, "{rgb:?}");
        }
    }
}
