//! The definition: what every other kernel must give, integer for integer.

use crate::kernel::{Fit, GROUP, Kernel, Out, Requantize, Tile};

const LANES: usize = 8;

pub(crate) const KERNEL: Kernel = Kernel {
    name: "scalar",
    lanes: LANES,
    vectors: 1,
    pixels: 4,
    signed_input: false,
    needs: Fit::Any,
    run,
};

unsafe fn run(tile: &Tile, pixels: usize, _vectors: usize, out: Out) {
    for pixel in 0..pixels {
        // SAFETY: the caller's tile is readable as its fields say.
        let sums = unsafe { sums_of(tile, pixel) };
        match out {
            // SAFETY: the caller's place has room for `pixels` rows of sums.
            Out::Sums(at) => unsafe { at.add(pixel * LANES).cast::<[i32; LANES]>().write(sums) },
            Out::Bytes { at, stride } => {
                for (lane, &sum) in sums.iter().enumerate() {
                    // SAFETY: there are as many multipliers and bytes as lanes.
                    unsafe {
                        let multiplier = *tile.requantize.multiplier.add(lane);
                        *at.add(pixel * stride + lane) = byte(sum, multiplier, &tile.requantize);
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`Kernel::run`].
unsafe fn sums_of(tile: &Tile, pixel: usize) -> [i32; LANES] {
    // SAFETY: handed on from the caller.
    unsafe {
        let mut sums = tile.start.cast::<[i32; LANES]>().read_unaligned();
        let mut weights = tile.weights;
        for run in 0..tile.n_runs {
            let x = tile.x.add(pixel * tile.pixel_stride + run * tile.run_pitch);
            for group in 0..tile.groups {
                for sum in &mut sums {
                    for k in 0..GROUP {
                        let x = i32::from(*x.add(group * GROUP + k));
                        *sum = sum.wrapping_add(x * i32::from(*weights.add(k)));
                    }
                    weights = weights.add(GROUP);
                }
            }
        }
        sums
    }
}

/// The rule of [`Requantize`].
pub(crate) fn byte(sum: i32, multiplier: f32, rule: &Requantize) -> u8 {
    let scaled = (sum as f32 * multiplier).min(rule.most).max(rule.least);
    (scaled.round_ties_even() as i32 + rule.zero_point) as u8
}
