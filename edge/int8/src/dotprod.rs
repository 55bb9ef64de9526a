//! aarch64 with FEAT_DotProd (Cortex-A55, A75, A76 and later): 4 channels a vector, four exact
//! products a lane and instruction.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::kernel::{Fit, GROUP, Kernel, Out, Tile, dispatch};
use crate::neon::{LANES, signed, write_bytes, write_sums};

/// Bytes of a vector: one group of each lane.
const VECTOR: usize = LANES * GROUP;

pub(crate) const KERNEL: Kernel = Kernel {
    name: "dotprod",
    lanes: LANES,
    vectors: 4,
    // 4 * 5 sums, 5 pixels, 4 weights and the sign are 30 of 32 registers.
    pixels: 5,
    signed_input: true,
    needs: Fit::Any,
    run,
};

pub(crate) fn is_available() -> bool {
    std::arch::is_aarch64_feature_detected!("dotprod")
}

unsafe fn run(t: &Tile, pixels: usize, vectors: usize, out: Out) {
    dispatch!(tile, 4, [1 2 3 4 5], t, pixels, vectors, out);
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const M: usize, const V: usize>(t: &Tile, out: Out) {
    // SAFETY: handed on from the caller.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); V]; M];
        for v in 0..V {
            let start = vld1q_s32(t.start.add(v * LANES));
            for row in &mut sums {
                row[v] = start;
            }
        }
        let (mut weights, mut run) = (t.weights, t.x);
        for _ in 0..t.n_runs {
            let mut x = run;
            for _ in 0..t.groups / 4 {
                let pixels = load::<M, 4>(x, t.pixel_stride);
                step::<M, V, 0>(&mut sums, pixels, weights);
                step::<M, V, 1>(&mut sums, pixels, weights.add(V * VECTOR));
                step::<M, V, 2>(&mut sums, pixels, weights.add(2 * V * VECTOR));
                step::<M, V, 3>(&mut sums, pixels, weights.add(3 * V * VECTOR));
                weights = weights.add(4 * V * VECTOR);
                x = x.add(4 * GROUP);
            }
            if t.groups & 2 > 0 {
                let pixels = load::<M, 2>(x, t.pixel_stride);
                step::<M, V, 0>(&mut sums, pixels, weights);
                step::<M, V, 1>(&mut sums, pixels, weights.add(V * VECTOR));
                weights = weights.add(2 * V * VECTOR);
                x = x.add(2 * GROUP);
            }
            if t.groups & 1 > 0 {
                let pixels = load::<M, 1>(x, t.pixel_stride);
                step::<M, V, 0>(&mut sums, pixels, weights);
                weights = weights.add(V * VECTOR);
            }
            run = run.add(t.run_pitch);
        }
        match out {
            Out::Sums(at) => write_sums(&sums, at),
            Out::Bytes { at, stride } => write_bytes(t, &sums, at, stride),
        }
    }
}

/// `N` neighbouring groups (4, 2 or 1) of every pixel, one a lane.
#[inline(always)]
unsafe fn load<const M: usize, const N: usize>(x: *const u8, stride: usize) -> [int32x4_t; M] {
    // SAFETY: the caller's pixels have `N` groups from `x` on.
    unsafe {
        let mut pixels = [vdupq_n_s32(0); M];
        for (m, pixel) in pixels.iter_mut().enumerate() {
            let x = x.add(m * stride);
            *pixel = signed(match N {
                4 => vld1q_u8(x),
                2 => vcombine_u8(vld1_u8(x), vdup_n_u8(0)),
                _ => vreinterpretq_u8_u32(vdupq_n_u32(x.cast::<u32>().read_unaligned())),
            });
        }
        pixels
    }
}

/// One group: that of lane `AT`.
#[inline(always)]
unsafe fn step<const M: usize, const V: usize, const AT: i32>(
    sums: &mut [[int32x4_t; V]; M],
    pixels: [int32x4_t; M],
    weights: *const i8,
) {
    for v in 0..V {
        // SAFETY: handed on from the caller.
        let w = unsafe { vld1q_s8(weights.add(v * VECTOR)) };
        for (row, pixel) in sums.iter_mut().zip(pixels) {
            // SAFETY: the caller has the feature.
            row[v] = unsafe { dot::<AT>(row[v], w, pixel) };
        }
    }
}

/// `sum + w . x` in every lane, `x` being the four bytes of lane `AT`.
#[inline(always)]
unsafe fn dot<const AT: i32>(sum: int32x4_t, w: int8x16_t, x: int32x4_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: registers only. The intrinsic for it, `vdotq_laneq_s32`, is not stable yet.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {w:v}.16b, {x:v}.4b[{at}]",
            sum = inout(vreg) sum,
            w = in(vreg) w,
            x = in(vreg) x,
            at = const AT,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
