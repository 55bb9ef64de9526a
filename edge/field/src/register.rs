//! How far the stage went between two pictures of it: phase correlation.
//!
//! The pictures are windowed (Hann), transformed by rows and columns, and only the phases of their
//! product are kept, high frequencies, which are noise, less than low ones. The inverse transform
//! then has one peak, at the shift. Its height says how much of the pictures agrees: 1 for the same
//! picture, about the share of common area otherwise. Exact up to about a third of the frame.

use std::fmt;
use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};
use shared::geometry::Size;

/// Frequency at which a phase counts 0.61 of one near zero, cycles a pixel: the reduced picture of
/// a cheap lens has little above, noise has.
const BAND: f32 = 0.15;

/// Least height of a peak that is believed; below, it does not even stand out of the noise.
pub const PEAK_MIN: f32 = 0.05;

/// Least likeness of the common part that is believed. It parts better than the peak: the same
/// cells reach 0.9 and more, blurred and noisy, strangers 0.45, and 0.65 where one of their few
/// cells lies on another, at a peak as high as a right one (the tests print both).
pub const LIKENESS_MIN: f32 = 0.75;

/// Largest believed shift along an axis, as a part of the picture's side.
pub const REACH: f32 = 0.4;

/// A picture as the sum of waves, to be compared with others; memory is reused.
#[derive(Clone, Debug, Default)]
pub struct Spectrum {
    /// Frequencies across from zero to the highest, each with all those down: a picture is real,
    /// so that the negative ones across are these mirrored.
    bins: Vec<Complex32>,
}

/// Where the second picture lies as seen from the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Pixels to the right of the first.
    pub x: f32,
    /// Pixels below the first.
    pub y: f32,
    /// Height of the peak, 0..=1.
    pub peak: f32,
}

impl Shift {
    /// Pixels, as the crow flies.
    pub fn length(&self) -> f32 {
        self.x.hypot(self.y)
    }

    /// Of pictures that are `factor` times as large.
    pub fn scaled(&self, factor: f32) -> Self {
        Self {
            x: self.x * factor,
            y: self.y * factor,
            peak: self.peak,
        }
    }
}

/// Transforms for pictures of one size, with their buffers.
pub struct Registrar {
    size: [usize; 2],
    /// Frequencies across that are kept.
    half: usize,
    across: Arc<dyn RealToComplex<f32>>,
    across_back: Arc<dyn ComplexToReal<f32>>,
    down: Arc<dyn Fft<f32>>,
    down_back: Arc<dyn Fft<f32>>,
    window: [Vec<f32>; 2],
    /// Weight of each frequency across and down; its products' sum is the height of a full peak.
    band: [Vec<f32>; 2],
    full_peak: f32,
    /// One line of the picture.
    line: Vec<f32>,
    rows: Vec<Complex32>,
    columns: Vec<Complex32>,
    /// How well the pictures agree at each shift.
    surface: Vec<f32>,
    scratch: Vec<Complex32>,
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registrar({}x{})", self.size[0], self.size[1])
    }
}

impl Registrar {
    /// For pictures of `size`, sides not 0.
    pub fn new(size: Size) -> Self {
        let size = [size.width as usize, size.height as usize];
        let [width, height] = size;
        let mut real = RealFftPlanner::new();
        let mut complex = FftPlanner::new();
        let across = real.plan_fft_forward(width);
        let across_back = real.plan_fft_inverse(width);
        let down = complex.plan_fft_forward(height);
        let down_back = complex.plan_fft_inverse(height);
        let scratch = [
            across.get_scratch_len(),
            across_back.get_scratch_len(),
            down.get_inplace_scratch_len(),
            down_back.get_inplace_scratch_len(),
        ];
        let half = width / 2 + 1;
        let zeros = |len| vec![Complex32::default(); len];
        let band = size.map(band);
        // The mean of the picture carries no phase.
        let full_peak = band[0].iter().sum::<f32>() * band[1].iter().sum::<f32>() - 1.0;
        Self {
            size,
            half,
            across,
            across_back,
            down,
            down_back,
            window: size.map(hann),
            band,
            full_peak,
            line: vec![0.0; width],
            rows: zeros(half * height),
            columns: zeros(half * height),
            surface: vec![0.0; width * height],
            scratch: zeros(scratch.into_iter().max().unwrap_or(0)),
        }
    }

    /// Transforms a picture of brightnesses, row by row.
    ///
    /// # Panics
    /// When the picture has not the size this was made for.
    pub fn transform(&mut self, grey: &[u8], out: &mut Spectrum) {
        let [width, height] = self.size;
        assert_eq!(grey.len(), width * height, "pixels of a registered picture");
        let sum: u64 = grey.iter().map(|&value| u64::from(value)).sum();
        let mean = (sum as f64 / grey.len() as f64) as f32;
        let rows = self.rows.chunks_exact_mut(self.half);
        for ((row, values), down) in rows.zip(grey.chunks_exact(width)).zip(&self.window[1]) {
            let line = self.line.iter_mut().zip(values).zip(&self.window[0]);
            for ((point, &value), across) in line {
                *point = (f32::from(value) - mean) * across * down;
            }
            self.across
                .process_with_scratch(&mut self.line, row, &mut self.scratch)
                .expect("buffers of the planned lengths");
        }
        out.bins.resize(self.half * height, Complex32::default());
        transpose(&self.rows, &mut out.bins, self.half, height);
        self.down
            .process_with_scratch(&mut out.bins, &mut self.scratch);
    }

    /// How far `to` lies from `from`, in pixels of the transformed pictures. A peak is always
    /// found; whether it means something, its height must say.
    ///
    /// # Panics
    /// When one of the two was not made by this.
    pub fn shift(&mut self, from: &Spectrum, to: &Spectrum) -> Shift {
        let [width, height] = self.size;
        let columns = self.columns.chunks_exact_mut(height);
        let pairs = from
            .bins
            .chunks_exact(height)
            .zip(to.bins.chunks_exact(height));
        for ((column, (from, to)), across) in columns.zip(pairs).zip(&self.band[0]) {
            for (((bin, from), to), down) in column.iter_mut().zip(from).zip(to).zip(&self.band[1])
            {
                let product = from * to.conj();
                let size = product.norm_sqr().sqrt();
                let weight = if size > 1e-6 {
                    across * down / size
                } else {
                    0.0
                };
                *bin = product * weight;
            }
        }
        self.columns[0] = Complex32::default();
        self.down_back
            .process_with_scratch(&mut self.columns, &mut self.scratch);
        transpose(&self.columns, &mut self.rows, height, self.half);
        let rows = self.rows.chunks_exact_mut(self.half);
        for (row, line) in rows.zip(self.surface.chunks_exact_mut(width)) {
            // Real but for rounding, which the transform would not have.
            row[0].im = 0.0;
            if width % 2 == 0 {
                row[width / 2].im = 0.0;
            }
            self.across_back
                .process_with_scratch(row, line, &mut self.scratch)
                .expect("buffers of the planned lengths");
        }
        self.peak()
    }

    /// The highest point, between the pixels: the band makes the peak a bell, whose logarithm is
    /// a parabola.
    fn peak(&self) -> Shift {
        let [width, height] = self.size;
        let top = self.surface.iter().copied().fold(0.0, f32::max);
        let at = self.surface.iter().position(|&value| value == top);
        let at = at.unwrap_or(0);
        let (column, row) = (at % width, at / width);
        let value = |column: usize, row: usize| self.surface[row * width + column];
        let across = [
            value((column + width - 1) % width, row),
            value((column + 1) % width, row),
        ];
        let down = [
            value(column, (row + height - 1) % height),
            value(column, (row + 1) % height),
        ];
        let (x, gain_x) = summit(top, across);
        let (y, gain_y) = summit(top, down);
        Shift {
            x: signed(column, width) + x,
            y: signed(row, height) + y,
            peak: (top * gain_x * gain_y / self.full_peak).clamp(0.0, 1.0),
        }
    }
}

/// Offset of a bell's summit from its highest sample, -0.5..=0.5, and by how much it is higher.
fn summit(top: f32, [before, after]: [f32; 2]) -> (f32, f32) {
    if before <= 0.0 || after <= 0.0 || top <= before.max(after) {
        return (0.0, 1.0);
    }
    let (left, right) = ((before / top).ln(), (after / top).ln());
    let offset = (0.5 * (left - right) / (left + right)).clamp(-0.5, 0.5);
    (offset, (0.25 * (left - right) * offset).exp())
}

/// A position on a circle as the shorter way from zero.
fn signed(at: usize, side: usize) -> f32 {
    if at * 2 > side {
        at as f32 - side as f32
    } else {
        at as f32
    }
}

fn hann(side: usize) -> Vec<f32> {
    let turn = std::f32::consts::TAU / side as f32;
    let at = |index: usize| 0.5 - 0.5 * (turn * (index as f32 + 0.5)).cos();
    (0..side).map(at).collect()
}

fn band(side: usize) -> Vec<f32> {
    let at = |index: usize| {
        let frequency = signed(index, side) / side as f32 / BAND;
        (-0.5 * frequency * frequency).exp()
    };
    (0..side).map(at).collect()
}

/// Rows of `width` become columns; in squares, so that both sides stay in the cache.
fn transpose(from: &[Complex32], to: &mut [Complex32], width: usize, height: usize) {
    const SIDE: usize = 16;
    for top in (0..height).step_by(SIDE) {
        for left in (0..width).step_by(SIDE) {
            for row in top..(top + SIDE).min(height) {
                for column in left..(left + SIDE).min(width) {
                    to[column * height + row] = from[row * width + column];
                }
            }
        }
    }
}

/// The shift, where peak, distance and likeness allow to believe it.
pub fn believed(size: Size, from: &[u8], to: &[u8], shift: Shift) -> Option<Shift> {
    let within = |part: f32, side: u32| part.abs() <= REACH * side as f32;
    (shift.peak >= PEAK_MIN
        && within(shift.x, size.width)
        && within(shift.y, size.height)
        && likeness(size, from, to, shift) >= LIKENESS_MIN)
        .then_some(shift)
}

/// How alike two pictures are where they overlap once the second lies `shift` from the first:
/// Pearson's r, -1..=1; 0 without overlap or contrast. A second witness beside the peak: it looks
/// at brightness, which the peak does not know.
pub fn likeness(size: Size, from: &[u8], to: &[u8], shift: Shift) -> f32 {
    let [dx, dy] = [shift.x, shift.y].map(|part| part.round() as i64);
    let span = |side: u32, by: i64| by.max(0)..(i64::from(side) + by).min(i64::from(side));
    let (columns, rows) = (span(size.width, dx), span(size.height, dy));
    if columns.is_empty() || rows.is_empty() {
        return 0.0;
    }
    let line = |row: i64, start: i64| (row * i64::from(size.width) + start) as usize;
    let len = (columns.end - columns.start) as usize;
    let mut sums = [0_u64; 5];
    for row in rows.clone() {
        let first = &from[line(row, columns.start)..][..len];
        let second = &to[line(row - dy, columns.start - dx)..][..len];
        for (sum, of_row) in sums.iter_mut().zip(moments(first, second)) {
            *sum += u64::from(of_row);
        }
    }
    let n = (len as i64 * (rows.end - rows.start)) as f64;
    let [a, b, aa, bb, ab] = sums.map(|sum| sum as f64 / n);
    let spread = ((aa - a * a) * (bb - b * b)).sqrt();
    if spread > 1e-9 {
        ((ab - a * b) / spread) as f32
    } else {
        0.0
    }
}

/// Sums of a, b, a², b² and ab along a line, which 32 bits hold up to 66,000 pixels.
fn moments(first: &[u8], second: &[u8]) -> [u32; 5] {
    let mut sums = [0_u32; 5];
    for (&a, &b) in first.iter().zip(second) {
        let (a, b) = (i16::from(a), i16::from(b));
        let product = |a: i16, b: i16| (i32::from(a) * i32::from(b)) as u32;
        sums[0] += a as u32;
        sums[1] += b as u32;
        sums[2] += product(a, a);
        sums[3] += product(b, b);
        sums[4] += product(a, b);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grey::Reduced;
    use crate::scene::Scene;
    use shared::phantom::{FieldSpec, StagePosition};

    const SIZE: Size = Size::new(320, 240);

    /// A view of a slide, `away` whole pixels from where the spec stands.
    fn view(spec: &FieldSpec, away: [i32; 2], blur_px: f32) -> Scene {
        let pitch = [spec.um_per_px / spec.squeeze, spec.um_per_px];
        let stage = StagePosition {
            x_um: spec.stage.x_um + away[0] as f32 * pitch[0],
            y_um: spec.stage.y_um + away[1] as f32 * pitch[1],
        };
        // Another frame: the noise is not the same where the view is.
        let frame = spec.frame + 1;
        Scene::draw(&FieldSpec {
            stage,
            frame,
            blur_px,
            ..spec.clone()
        })
    }

    /// Measures between views; how often each is transformed does not matter here.
    struct Pair {
        size: Size,
        factor: f32,
        registrar: Registrar,
    }

    impl Pair {
        fn new(scene: &Scene) -> Self {
            let reduced = scene.reduced();
            Self {
                size: reduced.size(),
                factor: reduced.factor() as f32,
                registrar: Registrar::new(reduced.size()),
            }
        }

        /// Pixels of the reduced picture, likeness, and whether that is believed.
        fn measure(&mut self, from: &Scene, to: &Scene) -> (Shift, f32, bool) {
            let [from, to] = [from, to].map(Scene::reduced);
            let [mut first, mut second] = [Spectrum::default(), Spectrum::default()];
            self.registrar.transform(from.grey(), &mut first);
            self.registrar.transform(to.grey(), &mut second);
            let shift = self.registrar.shift(&first, &second);
            let alike = likeness(self.size, from.grey(), to.grey(), shift);
            let is_believed = believed(self.size, from.grey(), to.grey(), shift).is_some();
            (shift, alike, is_believed)
        }

        /// Error of a shift, pixels of the reduced picture.
        fn off(&self, shift: Shift, away: [i32; 2]) -> f32 {
            let [x, y] = away.map(|px| px as f32 / self.factor);
            (shift.x - x).hypot(shift.y - y)
        }
    }

    /// Cheap cameras: near and far, squeezed, noisy and unevenly lit, and small and sparse fields.
    fn looks() -> [(&'static str, FieldSpec); 7] {
        let demo = FieldSpec {
            size: SIZE,
            um_per_px: 0.16,
            ..FieldSpec::demo(1)
        };
        let wide = FieldSpec {
            size: SIZE,
            um_per_px: 0.25,
            ..FieldSpec::wide(2)
        };
        let noisy = FieldSpec {
            noise: 8.0,
            gradient: 0.4,
            ..wide.clone()
        };
        let large = FieldSpec {
            size: Size::new(640, 480),
            ..FieldSpec::demo(3)
        };
        let tiny = FieldSpec {
            size: Size::new(160, 120),
            um_per_px: 0.5,
            squeeze: 1.0,
            ..FieldSpec::wide(4)
        };
        let odd = FieldSpec {
            size: Size::new(213, 161),
            um_per_px: 0.4,
            squeeze: 1.0,
            ..FieldSpec::wide(5)
        };
        let sparse = FieldSpec {
            red_cell_density: 3.0,
            clumping: 0.1,
            ..demo.clone()
        };
        [
            ("demo", demo),
            ("wide", wide),
            ("noisy", noisy),
            ("large", large),
            ("tiny", tiny),
            ("odd", odd),
            (SPARSE, sparse),
        ]
    }

    /// A third of such a field may show three cells of the other: it need not be recognised there.
    const SPARSE: &str = "sparse";

    #[test]
    fn a_shift_of_up_to_a_third_is_exact_to_the_pixel_and_believed() {
        for (name, spec) in looks() {
            let (mut off_max, mut peak_min, mut alike_min) = (0.0_f32, f32::MAX, f32::MAX);
            let mut missed = 0;
            for seed in 0..3 {
                let spec = FieldSpec {
                    seed: spec.seed + 10 * seed,
                    ..spec.clone()
                };
                let (w, h) = (spec.size.width as i32, spec.size.height as i32);
                let from = Scene::draw(&spec);
                let mut pair = Pair::new(&from);
                // Nothing, a little, a third across, a third down, and both ways.
                for away in [[0, 0], [5, -3], [w / 3, 0], [-7, h / 3], [-w / 4, -h / 3]] {
                    for more_blur in [0.0, 1.0] {
                        let to = view(&spec, away, spec.blur_px + more_blur);
                        let (shift, alike, is_believed) = pair.measure(&from, &to);
                        if !is_believed && name == SPARSE {
                            missed += 1;
                            continue;
                        }
                        let off = pair.off(shift, away);
                        assert!(
                            is_believed && off < 1.0,
                            "{name} {away:?}: {shift:?} {alike}"
                        );
                        off_max = off_max.max(off);
                        peak_min = peak_min.min(shift.peak);
                        alike_min = alike_min.min(alike);
                    }
                }
            }
            println!(
                "{name}: off by at most {off_max:.2} px, peaks from {peak_min:.3}, likeness from {alike_min:.2}, {missed} of 30 missed"
            );
            assert!(missed <= 6, "{name}: {missed} of 30");
        }
    }

    #[test]
    fn fields_without_a_common_cell_are_never_believed() {
        for (name, spec) in looks() {
            let (w, h) = (spec.size.width as i32, spec.size.height as i32);
            let views: Vec<Scene> = (0..20)
                .map(|index| {
                    view(
                        &spec,
                        [(index % 5) * (w + 90), (index / 5) * (h + 90)],
                        spec.blur_px,
                    )
                })
                .collect();
            let mut pair = Pair::new(&views[0]);
            let (mut peak_max, mut alike_max, mut pairs) = (0.0_f32, 0.0_f32, 0);
            for (index, from) in views.iter().enumerate() {
                for to in &views[index + 1..] {
                    let (shift, alike, is_believed) = pair.measure(from, to);
                    peak_max = peak_max.max(shift.peak);
                    if shift.peak >= PEAK_MIN {
                        alike_max = alike_max.max(alike);
                    }
                    pairs += 1;
                    assert!(!is_believed, "{name}: {shift:?}, likeness {alike}");
                }
            }
            println!(
                "{name}: {pairs} pairs of strangers, peaks to {peak_max:.3}, likeness to {alike_max:.2}"
            );
        }
    }

    #[test]
    fn dirt_on_the_camera_does_not_hold_the_shift_at_zero() {
        // Faint dirt is overruled by the cells; for dark spots a blank field must have been shown.
        for (part, blank_shown) in [(0.08, false), (0.5, true)] {
            for seed in 0..4 {
                let spec = FieldSpec {
                    size: SIZE,
                    um_per_px: 0.16,
                    gradient: 0.3,
                    ..FieldSpec::demo(seed)
                };
                let mut lens = Lens::new(&spec, part, blank_shown);
                let from = lens.grey(&spec, [0, 0]);
                for away in [[9, 4], [80, 0], [60, -60]] {
                    let to = lens.grey(&spec, away);
                    let mut registrar = Registrar::new(SIZE);
                    let [mut first, mut second] = [Spectrum::default(), Spectrum::default()];
                    registrar.transform(&from, &mut first);
                    registrar.transform(&to, &mut second);
                    let shift = registrar.shift(&first, &second);
                    let off = (shift.x - away[0] as f32).hypot(shift.y - away[1] as f32);
                    let is_believed = believed(SIZE, &from, &to, shift).is_some();
                    assert!(
                        is_believed && off < 1.0,
                        "{part} {seed} {away:?}: {shift:?}"
                    );
                }
            }
        }
    }

    /// A camera with dirt on it.
    struct Lens {
        reduced: Reduced,
        part: f32,
    }

    impl Lens {
        fn new(spec: &FieldSpec, part: f32, blank_shown: bool) -> Self {
            let mut lens = Self {
                reduced: Reduced::new(spec.size).unwrap(),
                part,
            };
            if blank_shown {
                let blank = FieldSpec {
                    white_cells: [0, 0],
                    red_cell_density: 0.0,
                    platelet_density: 0.0,
                    artefact_density: 0.0,
                    frame: 77,
                    ..spec.clone()
                };
                lens.grey(&blank, [0, 0]);
                assert!(lens.reduced.take_for_blank());
            }
            lens
        }

        fn grey(&mut self, spec: &FieldSpec, away: [i32; 2]) -> Vec<u8> {
            let mut scene = view(spec, away, spec.blur_px);
            scene.soil(self.part);
            self.reduced.fill(scene.view()).unwrap();
            self.reduced.grey().to_vec()
        }
    }

    #[test]
    fn a_picture_agrees_with_itself_wholly() {
        let size = Size::new(48, 40);
        let noise = |x: usize, y: usize| (x * 7919 + y * 104_729 + x * y * 31) as u8;
        let blob = |x: usize, y: usize| {
            let (dx, dy) = (x as f32 - 24.0, y as f32 - 20.0);
            (200.0 * (-(dx * dx + dy * dy) / 40.0).exp()) as u8 / 2 + noise(x, y) / 8
        };
        let grey: Vec<u8> = (0..48 * 40).map(|at| blob(at % 48, at / 48)).collect();
        let mut registrar = Registrar::new(size);
        let mut spectrum = Spectrum::default();
        registrar.transform(&grey, &mut spectrum);
        let same = registrar.shift(&spectrum, &spectrum);
        assert!(same.peak > 0.99 && same.length() < 1e-3, "{same:?}");
        assert!((likeness(size, &grey, &grey, same) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn blank_and_black_pictures_have_no_peak_and_no_likeness() {
        let mut registrar = Registrar::new(SIZE);
        let [mut black, mut grey] = [Spectrum::default(), Spectrum::default()];
        registrar.transform(&vec![0; 320 * 240], &mut black);
        registrar.transform(&vec![128; 320 * 240], &mut grey);
        for (a, b) in [(&black, &black), (&grey, &grey), (&black, &grey)] {
            let shift = registrar.shift(a, b);
            assert!(shift.peak < PEAK_MIN, "{shift:?}");
            assert!(shift.length().is_finite());
        }
        let flat = vec![9; 320 * 240];
        let shift = Shift {
            x: 400.0,
            y: 0.0,
            peak: 1.0,
        };
        assert_eq!(likeness(SIZE, &flat, &flat, shift), 0.0, "no common part");
        assert_eq!(
            likeness(SIZE, &flat, &flat, Shift { x: 0.0, ..shift }),
            0.0,
            "no contrast"
        );
    }
}
