//! x86-64 with AVX-512 VNNI: 16 channels a vector, four exact products a lane and instruction.

use core::arch::x86_64::*;

use crate::kernel::{Fit, GROUP, Kernel, Out, Tile, dispatch};

const LANES: usize = 16;

pub(crate) const KERNEL: Kernel = Kernel {
    name: "avx512-vnni",
    lanes: LANES,
    vectors: 2,
    // 2 * 14 sums, 2 weights and the pixel's bytes are 31 of 32 registers.
    pixels: 14,
    signed_input: false,
    needs: Fit::Any,
    run,
};

pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

unsafe fn run(t: &Tile, pixels: usize, vectors: usize, out: Out) {
    dispatch!(tile, 2, [1 2 3 4 5 6 7 8 9 10 11 12 13 14], t, pixels, vectors, out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<const M: usize, const V: usize>(t: &Tile, out: Out) {
    // SAFETY: handed on from the caller.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); V]; M];
        for v in 0..V {
            let start = _mm512_loadu_si512(t.start.add(v * LANES).cast());
            for m in 0..M {
                sums[m][v] = start;
            }
        }
        let (mut weights, mut run) = (t.weights, t.x);
        for _ in 0..t.n_runs {
            let mut x = run;
            for _ in 0..t.groups / 4 {
                for group in 0..4 {
                    step::<M, V>(&mut sums, x.add(group * GROUP), t.pixel_stride, weights);
                    weights = weights.add(V * LANES * GROUP);
                }
                x = x.add(4 * GROUP);
            }
            for _ in 0..t.groups % 4 {
                step::<M, V>(&mut sums, x, t.pixel_stride, weights);
                weights = weights.add(V * LANES * GROUP);
                x = x.add(GROUP);
            }
            run = run.add(t.run_pitch);
        }
        match out {
            Out::Sums(at) => {
                for m in 0..M {
                    for v in 0..V {
                        _mm512_storeu_si512(at.add((m * V + v) * LANES).cast(), sums[m][v]);
                    }
                }
            }
            Out::Bytes { at, stride } => write::<M, V>(t, &sums, at, stride),
        }
    }
}

#[inline(always)]
unsafe fn step<const M: usize, const V: usize>(
    sums: &mut [[__m512i; V]; M],
    x: *const u8,
    stride: usize,
    weights: *const i8,
) {
    // SAFETY: handed on from the caller.
    unsafe {
        let mut w = [_mm512_setzero_si512(); V];
        for v in 0..V {
            w[v] = _mm512_loadu_si512(weights.add(v * LANES * GROUP).cast());
        }
        for m in 0..M {
            let four = _mm512_set1_epi32(x.add(m * stride).cast::<i32>().read_unaligned());
            for v in 0..V {
                sums[m][v] = _mm512_dpbusd_epi32(sums[m][v], four, w[v]);
            }
        }
    }
}

#[inline(always)]
unsafe fn write<const M: usize, const V: usize>(
    t: &Tile,
    sums: &[[__m512i; V]; M],
    at: *mut u8,
    stride: usize,
) {
    // SAFETY: handed on from the caller.
    unsafe {
        let rule = &t.requantize;
        let least = _mm512_set1_ps(rule.least);
        let most = _mm512_set1_ps(rule.most);
        let zero_point = _mm512_set1_epi32(rule.zero_point);
        let mut multiplier = [_mm512_setzero_ps(); V];
        for v in 0..V {
            multiplier[v] = _mm512_loadu_ps(rule.multiplier.add(v * LANES));
        }
        for m in 0..M {
            for v in 0..V {
                let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[m][v]), multiplier[v]);
                let scaled = _mm512_max_ps(_mm512_min_ps(scaled, most), least);
                // The processor's rounding is half to even unless a program changes it.
                let rounded = _mm512_add_epi32(_mm512_cvtps_epi32(scaled), zero_point);
                let bytes = _mm512_cvtepi32_epi8(rounded);
                _mm_storeu_si128(at.add(m * stride + v * LANES).cast(), bytes);
            }
        }
    }
}
