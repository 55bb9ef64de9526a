//! A convolution of 8-bit maps, made ready for one processor.

use std::cell::RefCell;

use rayon::ThreadPool;

use crate::kernel::{Kernel, Out, Requantize, Tile};
use crate::lines::{Lines, Operands, Window};
use crate::map::Shape;
use crate::pack::{Block, Runs};
use crate::share::{share, share_parts};
use crate::spec::{ConvError, ConvSpec, Output};
use crate::table::Table;

/// Bytes of the input that one strip of output lines reads: with the weights of a block they should
/// stay in the second cache of a small processor.
const STRIP_BYTES: usize = 96 * 1024;

/// Tiles of a line where pixels have no neighbours.
const FLAT_TILES: usize = 8;

/// Sums of a tile that is not written in place.
const TILE_MAX: usize = 14 * 32;

thread_local! {
    /// Padded input lines, kept from call to call.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A convolution ready to run.
#[derive(Clone, Debug)]
pub struct Conv {
    kernel: Kernel,
    window: Window,
    in_channels: usize,
    out_channels: usize,
    n_runs: usize,
    groups: usize,
    blocks: Vec<Block>,
    finish: Finish,
}

#[derive(Clone, Debug)]
enum Finish {
    Bytes {
        rule: Rule,
        table: Option<Table>,
    },
    /// Scale of each channel's sums.
    Floats(Vec<f32>),
}

/// [`Requantize`] but for the multipliers.
#[derive(Clone, Copy, Debug)]
struct Rule {
    least: f32,
    most: f32,
    zero_point: i32,
}

/// What [`Conv::run`] writes to.
#[derive(Debug)]
pub enum OutMap<'a> {
    /// `[rows][columns][channels]`
    Bytes(&'a mut [u8]),
    /// `[channels][rows][columns]`
    Floats(&'a mut [f32]),
}

/// Where a strip writes, its first pixel's first channel; pixels are `out_channels` apart.
enum To<'a> {
    Bytes(&'a mut [u8], Rule),
    /// With the number of the strip's first pixel.
    Floats(Planes<'a>, usize),
}

/// The planes of a float output, which strips fill side by side.
#[derive(Clone, Copy)]
struct Planes<'a> {
    at: *mut f32,
    n_pixels: usize,
    /// Of each channel's sums.
    scale: &'a [f32],
}

// SAFETY: threads write the pixels of different strips, and nobody reads before all are done.
unsafe impl Send for Planes<'_> {}
// SAFETY: as above.
unsafe impl Sync for Planes<'_> {}

impl Conv {
    /// Packs for the first of `kernels` that is exact for these weights.
    ///
    /// # Errors
    /// When the convolution is not well formed or a sum could overflow.
    pub fn new(spec: &ConvSpec, kernels: &[Kernel]) -> Result<Self, ConvError> {
        spec.check()?;
        let runs = spec.runs();
        let fit = runs.fit();
        let kernel = kernels.iter().find(|kernel| kernel.needs <= fit);
        let kernel = *kernel.ok_or(ConvError::NoKernel)?;
        let start = starts(spec, &runs, &kernel)?;
        let [out_channels, in_channels, rows, columns] = spec.shape;
        let (multiplier, finish) = match &spec.output {
            Output::Bytes(bytes) => {
                let zero_point = i32::from(bytes.zero_point);
                let above_zero = |byte: u8| (i32::from(byte) - zero_point) as f32;
                let rule = Rule {
                    least: above_zero(bytes.range[0]),
                    most: above_zero(bytes.range[1]),
                    zero_point,
                };
                let table = bytes.table.clone();
                (bytes.multiplier.clone(), Finish::Bytes { rule, table })
            }
            Output::Floats { scale } => (vec![0.0; out_channels], Finish::Floats(scale.clone())),
        };
        Ok(Self {
            kernel,
            window: Window {
                side: [rows, columns],
                stride: spec.stride,
                padding: spec.padding,
                zero_point: spec.zero_point,
                planar: spec.planar,
            },
            in_channels,
            out_channels,
            n_runs: runs.n_runs,
            groups: runs.groups(),
            blocks: runs.blocks(&kernel, &start, &multiplier),
            finish,
        })
    }

    /// The kernel that runs it.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Whether the output is floats, one plane a channel.
    pub fn gives_floats(&self) -> bool {
        matches!(self.finish, Finish::Floats(_))
    }

    /// The same, its bytes then changed by `next`; floats stay as they are.
    pub fn with_table(mut self, next: Table) -> Self {
        if let Finish::Bytes { table, .. } = &mut self.finish {
            *table = Some(match table.take() {
                None => next,
                Some(first) => first.then(&next),
            });
        }
        self
    }

    /// Bytes of the packed weights and what belongs to them.
    pub fn packed_bytes(&self) -> usize {
        let bytes = |block: &Block| block.weights.len() + 8 * block.start.len();
        self.blocks.iter().map(bytes).sum()
    }

    /// The output of an input; `None` when channels differ or the window does not fit.
    pub fn output_shape(&self, input: Shape) -> Option<Shape> {
        let [height, width] = self.window.places(input)?;
        (input.channels == self.in_channels && !input.is_empty()).then_some(Shape {
            height,
            width,
            channels: self.out_channels,
        })
    }

    /// Computes one map; its lines are shared out to the threads of `pool`.
    ///
    /// # Panics
    /// When `x` or `out` have not the length of their shapes, or `out` is not of the kind that
    /// [`Conv::gives_floats`] says.
    pub fn run(&self, x: &[u8], input: Shape, out: OutMap<'_>, pool: Option<&ThreadPool>) {
        let output = self.output_shape(input).expect("the input fits");
        assert_eq!(x.len(), input.len(), "length of the input");
        let flat_len = FLAT_TILES * self.kernel.pixels;
        let places = [output.height, output.width];
        let lines = Lines::new(self.window, x, input, places, flat_len);
        let threads = pool.map_or(1, ThreadPool::current_num_threads);
        let step = (STRIP_BYTES / lines.bytes_of_line()).clamp(1, lines.n.div_ceil(threads));
        let chunk = step * lines.len * self.out_channels;
        match (out, &self.finish) {
            (OutMap::Bytes(out), Finish::Bytes { rule, table }) => {
                assert_eq!(out.len(), output.len(), "length of the output");
                share(pool, out, chunk, |strip, out| {
                    let n = step.min(lines.n - strip * step);
                    self.strip(&lines, strip * step, n, To::Bytes(out, *rule));
                    if let Some(table) = table {
                        table.apply(out);
                    }
                });
            }
            (OutMap::Floats(out), Finish::Floats(scale)) => {
                assert_eq!(out.len(), output.len(), "length of the output");
                let planes = Planes {
                    at: out.as_mut_ptr(),
                    n_pixels: output.pixels(),
                    scale,
                };
                share_parts(pool, lines.n.div_ceil(step), |strip| {
                    let first = strip * step;
                    let to = To::Floats(planes, first * lines.len);
                    self.strip(&lines, first, step.min(lines.n - first), to);
                });
            }
            _ => panic!("bytes asked of a convolution that gives floats, or the other way round"),
        }
    }

    /// `n` lines from `first` on: block by block, so that its weights stay in the first cache.
    fn strip(&self, lines: &Lines<'_>, first: usize, n: usize, mut to: To<'_>) {
        SCRATCH.with_borrow_mut(|scratch| {
            let operands = lines.operands(first, n, scratch);
            for block in &self.blocks {
                for line in 0..n {
                    let pixels = lines.pixels_of(first + line);
                    self.line(&operands, block, [line, line * lines.len, pixels], &mut to);
                }
            }
        });
    }

    /// One line and block, in tiles of about one length.
    fn line(
        &self,
        operands: &Operands,
        block: &Block,
        [line, first, pixels]: [usize; 3],
        to: &mut To<'_>,
    ) {
        let tiles = pixels.div_ceil(self.kernel.pixels);
        let mut done = 0;
        for tile in 0..tiles {
            let n = (pixels - done) / (tiles - tile);
            let at = line * operands.line_pitch + done * operands.pixel_stride;
            // SAFETY: `Lines::operands` laid the bytes of every pixel of the line out.
            let x = unsafe { operands.x.add(at) };
            self.tile(
                operands,
                block,
                x,
                (first + done) * self.out_channels + block.first,
                n,
                to,
            );
            done += n;
        }
    }

    fn tile(
        &self,
        operands: &Operands,
        block: &Block,
        x: *const u8,
        at: usize,
        pixels: usize,
        to: &mut To<'_>,
    ) {
        let width = block.width(&self.kernel);
        let rule = match to {
            To::Bytes(_, rule) => *rule,
            To::Floats(..) => Rule {
                least: 0.0,
                most: 0.0,
                zero_point: 0,
            },
        };
        let tile = Tile {
            x,
            n_runs: self.n_runs,
            run_pitch: operands.run_pitch,
            groups: self.groups,
            pixel_stride: operands.pixel_stride,
            weights: block.weights.as_ptr(),
            start: block.start.as_ptr(),
            requantize: Requantize {
                multiplier: block.multiplier.as_ptr(),
                least: rule.least,
                most: rule.most,
                zero_point: rule.zero_point,
            },
        };
        let run = |out: Out| {
            // SAFETY: the kernel was chosen by the processor's features, the block was packed for it,
            // and `out` has room for `pixels` rows of `width`.
            unsafe { (self.kernel.run)(&tile, pixels, block.vectors, out) };
        };
        let stride = self.out_channels;
        match to {
            To::Bytes(out, _) => {
                let out = &mut out[at..];
                if block.n == width {
                    assert!(
                        out.len() >= (pixels - 1) * stride + width,
                        "room for the tile"
                    );
                    run(Out::Bytes {
                        at: out.as_mut_ptr(),
                        stride,
                    });
                } else {
                    let mut bytes = [0; TILE_MAX];
                    run(Out::Bytes {
                        at: bytes.as_mut_ptr(),
                        stride: width,
                    });
                    copy_rows(&bytes, width, out, stride, [pixels, block.n]);
                }
            }
            To::Floats(planes, first) => {
                let mut sums = [0; TILE_MAX];
                run(Out::Sums(sums.as_mut_ptr()));
                let pixel = *first + at / stride;
                for channel in 0..block.n {
                    let scale = planes.scale[block.first + channel];
                    let plane = (block.first + channel) * planes.n_pixels;
                    assert!(pixel + pixels <= planes.n_pixels, "room for the tile");
                    for place in 0..pixels {
                        let value = sums[place * width + channel] as f32 * scale;
                        // SAFETY: inside the channel's plane, and no other strip has this pixel.
                        unsafe { *planes.at.add(plane + pixel + place) = value };
                    }
                }
            }
        }
    }
}

/// What the sums begin with: the bias, and all that the input's zero point and sign contribute.
fn starts(spec: &ConvSpec, runs: &Runs, kernel: &Kernel) -> Result<Vec<i32>, ConvError> {
    let signed = if kernel.signed_input { 128 } else { 0 };
    let start = |(channel, &bias): (usize, &i32)| {
        let offset = i64::from(spec.zero_point) - signed;
        let start = i64::from(bias) - offset * runs.total(channel);
        let farthest = start.abs() + runs.reach(channel);
        // With the reach of the zero point, which partial sums may show.
        let fits = farthest + 255 * runs.total(channel).abs() <= i64::from(i32::MAX);
        fits.then_some(start as i32).ok_or(ConvError::Overflow)
    };
    spec.bias.iter().enumerate().map(start).collect()
}

fn copy_rows(from: &[u8], width: usize, to: &mut [u8], stride: usize, [rows, n]: [usize; 2]) {
    for row in 0..rows {
        to[row * stride..][..n].copy_from_slice(&from[row * width..][..n]);
    }
}
