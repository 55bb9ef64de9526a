//! x86-64 with AVX2: 8 channels a vector.
//!
//! `PAIRS` adds two products in 16 bits (`vpmaddubsw`, which saturates) and is only for weights with
//! which that cannot overflow; `WIDE` widens to 16 bits first and is exact for all.

use core::arch::x86_64::*;

use crate::kernel::{Fit, GROUP, Kernel, Out, Tile, dispatch};

pub(crate) const LANES: usize = 8;

pub(crate) const PAIRS: Kernel = Kernel {
    name: "avx2",
    lanes: LANES,
    vectors: 2,
    // 2 * 4 sums, 2 weights, the ones, the pixel's bytes and 2 products are 14 of 16 registers.
    pixels: 4,
    signed_input: false,
    needs: Fit::Pairs,
    run: run_pairs,
};

pub(crate) const WIDE: Kernel = Kernel {
    name: "avx2-wide",
    lanes: LANES,
    vectors: 1,
    pixels: 4,
    signed_input: false,
    needs: Fit::Any,
    run: run_wide,
};

pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
}

unsafe fn run_pairs(t: &Tile, pixels: usize, vectors: usize, out: Out) {
    dispatch!(pairs, 2, [1 2 3 4], t, pixels, vectors, out);
}

unsafe fn run_wide(t: &Tile, pixels: usize, vectors: usize, out: Out) {
    dispatch!(wide, 1, [1 2 3 4], t, pixels, vectors, out);
}

#[target_feature(enable = "avx2")]
unsafe fn pairs<const M: usize, const V: usize>(t: &Tile, out: Out) {
    // SAFETY: handed on from the caller.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        sum_up::<M, V>(t, out, |x, w| {
            _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), ones)
        });
    }
}

#[target_feature(enable = "avx2")]
unsafe fn wide<const M: usize, const V: usize>(t: &Tile, out: Out) {
    // SAFETY: handed on from the caller.
    unsafe {
        let low = _mm256_set1_epi16(0xff);
        sum_up::<M, V>(t, out, |x, w| {
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w));
            let even = _mm256_madd_epi16(_mm256_and_si256(x, low), even);
            let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(x), _mm256_srai_epi16::<8>(w));
            _mm256_add_epi32(even, odd)
        });
    }
}

/// `four_products`: bytes of the pixel and weights, to one sum of four products a lane.
#[inline(always)]
unsafe fn sum_up<const M: usize, const V: usize>(
    t: &Tile,
    out: Out,
    four_products: impl Fn(__m256i, __m256i) -> __m256i,
) {
    // SAFETY: handed on from the caller.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); V]; M];
        for v in 0..V {
            let start = _mm256_loadu_si256(t.start.add(v * LANES).cast());
            for m in 0..M {
                sums[m][v] = start;
            }
        }
        let (mut weights, mut run) = (t.weights, t.x);
        for _ in 0..t.n_runs {
            let mut x = run;
            for _ in 0..t.groups {
                let mut w = [_mm256_setzero_si256(); V];
                for v in 0..V {
                    w[v] = _mm256_loadu_si256(weights.add(v * LANES * GROUP).cast());
                }
                for m in 0..M {
                    let four = x.add(m * t.pixel_stride).cast::<i32>().read_unaligned();
                    let four = _mm256_set1_epi32(four);
                    for v in 0..V {
                        sums[m][v] = _mm256_add_epi32(sums[m][v], four_products(four, w[v]));
                    }
                }
                weights = weights.add(V * LANES * GROUP);
                x = x.add(GROUP);
            }
            run = run.add(t.run_pitch);
        }
        match out {
            Out::Sums(at) => write_sums(&sums, at),
            Out::Bytes { at, stride } => write_bytes(t, &sums, at, stride),
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn write_sums<const M: usize, const V: usize>(
    sums: &[[__m256i; V]; M],
    at: *mut i32,
) {
    for m in 0..M {
        for v in 0..V {
            // SAFETY: handed on from the caller.
            unsafe { _mm256_storeu_si256(at.add((m * V + v) * LANES).cast(), sums[m][v]) };
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn write_bytes<const M: usize, const V: usize>(
    t: &Tile,
    sums: &[[__m256i; V]; M],
    at: *mut u8,
    stride: usize,
) {
    // SAFETY: handed on from the caller.
    unsafe {
        let rule = &t.requantize;
        let least = _mm256_set1_ps(rule.least);
        let most = _mm256_set1_ps(rule.most);
        let zero_point = _mm256_set1_epi32(rule.zero_point);
        let rounded = |sum: __m256i, v: usize| {
            let multiplier = _mm256_loadu_ps(rule.multiplier.add(v * LANES));
            let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), multiplier);
            let scaled = _mm256_max_ps(_mm256_min_ps(scaled, most), least);
            // The processor's rounding is half to even unless a program changes it.
            _mm256_add_epi32(_mm256_cvtps_epi32(scaled), zero_point)
        };
        for (m, row) in sums.iter().enumerate() {
            let at = at.add(m * stride);
            let first = rounded(row[0], 0);
            let second = if V > 1 {
                rounded(row[V - 1], V - 1)
            } else {
                first
            };
            // The packing instructions work on halves: the middle quarters change places first.
            let words =
                _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(first, second));
            let (low, high) = (
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            let bytes = _mm_packus_epi16(low, high);
            if V > 1 {
                _mm_storeu_si128(at.cast(), bytes);
            } else {
                _mm_storel_epi64(at.cast(), bytes);
            }
        }
    }
}
