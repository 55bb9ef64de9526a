//! Colours that people with any kind of colour vision tell apart.

use plotters::style::RGBColor;

/// Lines and bars on white: after Paul Tol's "bright", its pale ones darker, brown for its grey.
const LINES: [RGBColor; 7] = [
    RGBColor(0x44, 0x77, 0xaa),
    RGBColor(0xee, 0x66, 0x77),
    RGBColor(0x22, 0x88, 0x33),
    RGBColor(0xcc, 0xa0, 0x10),
    RGBColor(0x33, 0xa6, 0xc8),
    RGBColor(0xaa, 0x33, 0x77),
    RGBColor(0x8a, 0x5a, 0x2b),
];

/// The line that stands for all of them.
pub(super) const ALL: RGBColor = RGBColor(0x11, 0x11, 0x11);
/// Letters and axes.
pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// What is said beside: axis names, counts.
pub(super) const FAINT: RGBColor = RGBColor(0x66, 0x66, 0x66);
/// Grid lines.
pub(super) const GRID: RGBColor = RGBColor(0xe2, 0xe2, 0xe2);
/// What is wrong.
pub(super) const FAULT: RGBColor = RGBColor(0xff, 0x8c, 0x42);

/// How the lines of a class are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LineLook {
    pub colour: RGBColor,
    /// Length of stroke and gap, pixels; `None` = unbroken.
    pub dash: Option<(u32, u32)>,
}

/// Seven colours, then the same ones dashed, then dotted: 21 classes look different.
pub(super) fn line_look(class: usize) -> LineLook {
    const DASHES: [Option<(u32, u32)>; 3] = [None, Some((8, 4)), Some((2, 3))];
    LineLook {
        colour: LINES[class % LINES.len()],
        dash: DASHES[class / LINES.len() % DASHES.len()],
    }
}

/// The colour of a bar or of a dot of a class.
pub(super) fn bar_colour(class: usize) -> RGBColor {
    LINES[class % LINES.len()]
}

/// White to dark blue for 0 to 1, its lightness falling evenly.
pub(super) fn shade(share: f64) -> RGBColor {
    const STOPS: [[f64; 3]; 4] = [
        [255.0, 255.0, 255.0],
        [158.0, 202.0, 225.0],
        [49.0, 120.0, 184.0],
        [8.0, 40.0, 100.0],
    ];
    let at = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let stop = (at as usize).min(STOPS.len() - 2);
    let part = at - stop as f64;
    let mixed: [f64; 3] =
        std::array::from_fn(|i| STOPS[stop][i] + (STOPS[stop + 1][i] - STOPS[stop][i]) * part);
    let [r, g, b] = mixed.map(|value| value.round() as u8);
    RGBColor(r, g, b)
}

/// Black or white letters, whichever stand out more on `ground`.
pub(super) fn ink_on(ground: RGBColor) -> RGBColor {
    let white = RGBColor(0xff, 0xff, 0xff);
    if contrast(white, ground) > contrast(INK, ground) {
        white
    } else {
        INK
    }
}

/// WCAG's contrast of two colours, 1 to 21.
fn contrast(a: RGBColor, b: RGBColor) -> f64 {
    let luminance = |c: RGBColor| {
        let channel = |v: u8| (f64::from(v) / 255.0).powf(2.2);
        0.2126 * channel(c.0) + 0.7152 * channel(c.1) + 0.0722 * channel(c.2)
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_one_classes_look_different() {
        for a in 0..21 {
            for b in 0..a {
                assert_ne!(line_look(a), line_look(b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn letters_stand_out_on_every_shade() {
        assert!((contrast(RGBColor(0, 0, 0), RGBColor(255, 255, 255)) - 21.0).abs() < 1e-9);
        for percent in 0..=100 {
            let ground = shade(f64::from(percent) / 100.0);
            // WCAG asks for 3 where letters are large.
            let contrast = contrast(ink_on(ground), ground);
            assert!(contrast > 3.9, "{contrast} at {percent} %");
        }
    }
}
