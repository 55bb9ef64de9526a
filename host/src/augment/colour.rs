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
    /// Changes the three planes of `canvas` in place.
    pub fn apply(&self, canvas: &mut [u8], rng: &mut Rng) {
        let mut gain = |share: f32| 1.0 + rng.uniform(-1.0, 1.0) * share;
        let (hue, saturation, value) = (gain(self.hue), gain(self.saturation), gain(self.value));
        let plane = canvas.len() / 3;
        let (red, rest) = canvas.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            let [h, s, v] = hsv_from_rgb([*r, *g, *b]);
            let h = (h * hue).rem_euclid(6.0);
            [*r, *g, *b] = rgb_from_hsv([h, (s * saturation).min(1.0), (v * value).min(255.0)]);
        }
    }
}

/// Hue 0..6, saturation 0..=1, value 0..=255.
fn hsv_from_rgb(rgb: [u8; 3]) -> [f32; 3] {
    let [r, g, b] = rgb.map(f32::from);
    let high = r.max(g).max(b);
    let span = high - r.min(g).min(b);
    if span == 0.0 {
        return [0.0, 0.0, high];
    }
    let hue = if high == r {
        (g - b) / span
    } else if high == g {
        2.0 + (b - r) / span
    } else {
        4.0 + (r - g) / span
    };
    [if hue < 0.0 { hue + 6.0 } else { hue }, span / high, high]
}

fn rgb_from_hsv([h, s, v]: [f32; 3]) -> [u8; 3] {
    let channel = |offset: f32| {
        let k = (offset + h) % 6.0;
        let share = k.min(4.0 - k).clamp(0.0, 1.0);
        (v - v * s * share + 0.5) as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
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
            assert_eq!(rgb_from_hsv(hsv_from_rgb(rgb)), rgb);
        }
    }

    #[test]
    fn no_jitter_changes_nothing() {
        let jitter = ColourJitter {
            hue: 0.0,
            saturation: 0.0,
            value: 0.0,
        };
        let before: Vec<u8> = (0..=254).collect();
        let mut after = before.clone();
        jitter.apply(&mut after, &mut Rng::new(1, 2, 3));
        assert_eq!(after, before);
    }
}
