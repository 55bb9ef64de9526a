//! x86-64 with AVX-VNNI: 8 channels a vector, four exact products a lane and instruction.

use core::arch::x86_64::*;

use crate::avx2::{LANES, write_bytes, write_sums};
use crate::kernel::{Fit, GROUP, Kernel, Out, Tile, dispatch};

pub(crate) const KERNEL: Kernel = Kernel {
    name: "avx-vnni",
    lanes: LANES,
    vectors: 2,
    // 2 * 6 sums, 2 weights and the pixel's bytes are 15 of 16 registers.
    pixels: 6,
    signed_input: false,
    needs: Fit::Any,
    run,
};

pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni")
}

unsafe fn run(t: &Tile, pixels: usize, vectors: usize, out: Out) {
    dispatch!(tile, 2, [1 2 3 4 5 6], t, pixels, vectors, out);
}

#[target_feature(enable = "avx2,avxvnni")]
unsafe fn tile<const M: usize, const V: usize>(t: &Tile, out: Out) {
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
                        sums[m][v] = _mm256_dpbusd_avx_epi32(sums[m][v], four, w[v]);
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
