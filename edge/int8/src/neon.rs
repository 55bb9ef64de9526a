//! aarch64 as every such processor has it (ARMv8.0): 4 channels a vector.
//!
//! Products are made in 16 bits (`smull`, `smlal`), neighbours are added into 32 (`sadalp`): a
//! channel has two partial sums until the end. `PAIRS` adds two products in 16 bits first and is
//! only for weights without -128, with which that cannot overflow; `WIDE` is exact for all.

use core::arch::aarch64::*;

use crate::kernel::{Fit, GROUP, Kernel, Out, Tile, dispatch};

pub(crate) const LANES: usize = 4;

/// Bytes of a vector: one group of each lane.
const VECTOR: usize = LANES * GROUP;

/// Groups that one load of a pixel brings.
const QUAD: usize = 4;

pub(crate) const PAIRS: Kernel = Kernel {
    name: "neon",
    lanes: LANES,
    vectors: 4,
    // 2 * 4 * 2 partial sums, 4 groups of the pixels in all lanes, 2 weights and 4 products are 26 of
    // 32 registers. A third pixel would not fit; fewer channels would repeat groups more often.
    pixels: 2,
    signed_input: true,
    needs: Fit::Symmetric,
    run: run_pairs,
};

pub(crate) const WIDE: Kernel = Kernel {
    name: "neon-wide",
    needs: Fit::Any,
    run: run_wide,
    ..PAIRS
};

unsafe fn run_pairs(t: &Tile, pixels: usize, vectors: usize, out: Out) {
    dispatch!(pairs, 4, [1 2], t, pixels, vectors, out);
}

unsafe fn run_wide(t: &Tile, pixels: usize, vectors: usize, out: Out) {
    dispatch!(wide, 4, [1 2], t, pixels, vectors, out);
}

#[target_feature(enable = "neon")]
unsafe fn pairs<const M: usize, const V: usize>(t: &Tile, out: Out) {
    // SAFETY: handed on from the caller.
    unsafe { tile::<M, V, 2>(t, out) }
}

#[target_feature(enable = "neon")]
unsafe fn wide<const M: usize, const V: usize>(t: &Tile, out: Out) {
    // SAFETY: handed on from the caller.
    unsafe { tile::<M, V, 1>(t, out) }
}

/// Two halves a channel: lanes 0 and 1 of the first vector belong to channel 0.
type Partial<const M: usize, const V: usize> = [[[int32x4_t; 2]; M]; V];

/// `N`: products added in 16 bits, of the same byte of neighbouring groups.
#[inline(always)]
unsafe fn tile<const M: usize, const V: usize, const N: usize>(t: &Tile, out: Out) {
    // SAFETY: handed on from the caller.
    unsafe {
        let mut partial = [[[vdupq_n_s32(0); 2]; M]; V];
        let (mut weights, mut run) = (t.weights, t.x);
        for _ in 0..t.n_runs {
            let mut x = run;
            for _ in 0..t.groups / QUAD {
                let mut bytes = [vdupq_n_s32(0); M];
                for (m, bytes) in bytes.iter_mut().enumerate() {
                    *bytes = signed(vld1q_u8(x.add(m * t.pixel_stride)));
                }
                let group = |at: usize| bytes.map(|bytes| in_all_lanes(bytes, at));
                for at in (0..QUAD).step_by(N) {
                    let groups: [_; N] = std::array::from_fn(|n| group(at + n));
                    step::<M, V, N>(&mut partial, groups, weights);
                    weights = weights.add(N * V * VECTOR);
                }
                x = x.add(QUAD * GROUP);
            }
            let rest = t.groups % QUAD;
            let group =
                |at: usize| std::array::from_fn(|m| single(x.add(m * t.pixel_stride + at * GROUP)));
            for at in (0..rest / N * N).step_by(N) {
                let groups: [_; N] = std::array::from_fn(|n| group(at + n));
                step::<M, V, N>(&mut partial, groups, weights);
                weights = weights.add(N * V * VECTOR);
            }
            if !rest.is_multiple_of(N) {
                step::<M, V, 1>(&mut partial, [group(rest - 1)], weights);
                weights = weights.add(V * VECTOR);
            }
            run = run.add(t.run_pitch);
        }
        let sums = whole(t, &partial);
        match out {
            Out::Sums(at) => write_sums(&sums, at),
            Out::Bytes { at, stride } => write_bytes(t, &sums, at, stride),
        }
    }
}

/// Adds the products of `N` neighbouring groups.
#[inline(always)]
unsafe fn step<const M: usize, const V: usize, const N: usize>(
    partial: &mut Partial<M, V>,
    groups: [[int8x16_t; M]; N],
    weights: *const i8,
) {
    for (v, partial) in partial.iter_mut().enumerate() {
        // SAFETY: the weights of `N` groups are `N * V` vectors.
        let w: [_; N] =
            std::array::from_fn(|n| unsafe { vld1q_s8(weights.add((n * V + v) * VECTOR)) });
        for (m, partial) in partial.iter_mut().enumerate() {
            // SAFETY: every aarch64 processor has these instructions.
            unsafe {
                let mut low = vmull_s8(vget_low_s8(w[0]), vget_low_s8(groups[0][m]));
                let mut high = vmull_high_s8(w[0], groups[0][m]);
                for n in 1..N {
                    low = vmlal_s8(low, vget_low_s8(w[n]), vget_low_s8(groups[n][m]));
                    high = vmlal_high_s8(high, w[n], groups[n][m]);
                }
                partial[0] = vpadalq_s16(partial[0], low);
                partial[1] = vpadalq_s16(partial[1], high);
            }
        }
    }
}

/// One group of a pixel in all lanes.
#[inline(always)]
unsafe fn single(x: *const u8) -> int8x16_t {
    // SAFETY: handed on from the caller.
    unsafe {
        let four = x.cast::<i32>().read_unaligned();
        vreinterpretq_s8_s32(signed(vreinterpretq_u8_s32(vdupq_n_s32(four))))
    }
}

/// Each byte less 128.
#[inline(always)]
pub(crate) unsafe fn signed(x: uint8x16_t) -> int32x4_t {
    // SAFETY: every aarch64 processor has these instructions.
    unsafe { vreinterpretq_s32_u8(veorq_u8(x, vdupq_n_u8(0x80))) }
}

#[inline(always)]
unsafe fn in_all_lanes(bytes: int32x4_t, at: usize) -> int8x16_t {
    // SAFETY: every aarch64 processor has these instructions.
    unsafe {
        vreinterpretq_s8_s32(match at {
            0 => vdupq_laneq_s32::<0>(bytes),
            1 => vdupq_laneq_s32::<1>(bytes),
            2 => vdupq_laneq_s32::<2>(bytes),
            _ => vdupq_laneq_s32::<3>(bytes),
        })
    }
}

/// The sums of channels, starts included, from their halves.
#[inline(always)]
unsafe fn whole<const M: usize, const V: usize>(
    t: &Tile,
    partial: &Partial<M, V>,
) -> [[int32x4_t; V]; M] {
    // SAFETY: handed on from the caller.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); V]; M];
        for (v, partial) in partial.iter().enumerate() {
            let start = vld1q_s32(t.start.add(v * LANES));
            for (row, &[low, high]) in sums.iter_mut().zip(partial) {
                row[v] = vaddq_s32(vpaddq_s32(low, high), start);
            }
        }
        sums
    }
}

#[inline(always)]
pub(crate) unsafe fn write_sums<const M: usize, const V: usize>(
    sums: &[[int32x4_t; V]; M],
    at: *mut i32,
) {
    for (m, row) in sums.iter().enumerate() {
        for (v, &sum) in row.iter().enumerate() {
            // SAFETY: handed on from the caller.
            unsafe { vst1q_s32(at.add((m * V + v) * LANES), sum) };
        }
    }
}

/// The limits of the rule are taken on the bytes: narrowing saturates, so that what was outside of
/// them still is.
#[inline(always)]
pub(crate) unsafe fn write_bytes<const M: usize, const V: usize>(
    t: &Tile,
    sums: &[[int32x4_t; V]; M],
    at: *mut u8,
    stride: usize,
) {
    // SAFETY: handed on from the caller.
    unsafe {
        let rule = &t.requantize;
        let limit = |steps: f32| vdupq_n_u8((steps as i32 + rule.zero_point) as u8);
        let (least, most) = (limit(rule.least), limit(rule.most));
        let zero_point = vdupq_n_s16(rule.zero_point as i16);
        let mut multiplier = [vdupq_n_f32(0.0); V];
        for (v, multiplier) in multiplier.iter_mut().enumerate() {
            *multiplier = vld1q_f32(rule.multiplier.add(v * LANES));
        }
        for (m, row) in sums.iter().enumerate() {
            let at = at.add(m * stride);
            // Half to even, and the farthest integer for what is farther.
            let steps = |v: usize| vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(row[v]), multiplier[v]));
            let words = |v: usize| {
                let low = vqmovn_s32(steps(v));
                // A block of one vector leaves the upper half unused.
                let words = vqmovn_high_s32(low, steps((v + 1).min(V - 1)));
                vqaddq_s16(words, zero_point)
            };
            let bytes = vqmovun_high_s16(vqmovun_s16(words(0)), words(V / 2));
            let bytes = vminq_u8(vmaxq_u8(bytes, least), most);
            if V == 4 {
                vst1q_u8(at, bytes);
            } else {
                vst1q_lane_u32::<0>(at.cast(), vreinterpretq_u32_u8(bytes));
            }
        }
    }
}
