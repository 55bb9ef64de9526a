//! What a convolution kernel is: a few neighbouring pixels times a block of output channels.
//!
//! All kernels read the same packed weights and give the same integers; they differ in how many
//! channels a vector holds and how many pixels they take at once.

/// Bytes of one step along the sum: each vector lane takes four products at a time.
pub(crate) const GROUP: usize = 4;

/// Where the operands of one call lie.
///
/// The sum of one pixel runs over `n_runs` runs of `groups * GROUP` neighbouring bytes, `run_pitch`
/// apart; the runs of the next pixel begin `pixel_stride` bytes later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    /// First byte of the first pixel's first run.
    pub(crate) x: *const u8,
    pub(crate) n_runs: usize,
    pub(crate) run_pitch: usize,
    pub(crate) groups: usize,
    pub(crate) pixel_stride: usize,
    /// `[n_runs][groups][width][GROUP]`, `width` being the block's channels.
    pub(crate) weights: *const i8,
    /// `[width]`: what the sums begin with.
    pub(crate) start: *const i32,
    /// How sums become bytes; unread by calls for raw sums.
    pub(crate) requantize: Requantize,
}

/// `byte = clamp(round_half_even(sum as f32 * multiplier), least, most) + zero_point`
///
/// The limits lie on the scale before the zero point is added and keep the byte in 0..=255.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requantize {
    /// `[width]`
    pub(crate) multiplier: *const f32,
    pub(crate) least: f32,
    pub(crate) most: f32,
    pub(crate) zero_point: i32,
}

/// Where a call writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Out {
    /// `width` bytes a pixel, the next pixel's `stride` bytes later.
    Bytes {
        /// The first pixel's first channel.
        at: *mut u8,
        /// Bytes from pixel to pixel.
        stride: usize,
    },
    /// `[pixels][width]` raw sums.
    Sums(*mut i32),
}

/// One way to compute tiles on one kind of processor.
#[derive(Clone, Copy)]
pub struct Kernel {
    pub(crate) name: &'static str,
    /// Output channels of one vector.
    pub(crate) lanes: usize,
    /// Vectors of the widest block; a block of one vector is always possible.
    pub(crate) vectors: usize,
    /// Pixels of the longest tile.
    pub(crate) pixels: usize,
    /// Reads the bytes as `byte - 128`.
    pub(crate) signed_input: bool,
    /// Exact only for weights whose pairs of products fit into 16 bits, see [`Fit`].
    pub(crate) needs: Fit,
    /// Computes `pixels` (1..=`self.pixels`) times `vectors` (1 or `self.vectors`).
    ///
    /// # Safety
    /// The processor must have the features of the kernel, and all operands must be readable and
    /// writable as [`Tile`] and [`Out`] say.
    pub(crate) run: unsafe fn(tile: &Tile, pixels: usize, vectors: usize, out: Out),
}

/// How far the sums of neighbouring products reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// Any 8-bit weights.
    Any,
    /// No weight is -128.
    Symmetric,
    /// Two neighbouring products of any bytes fit into 16 bits, signed.
    Pairs,
}

impl Kernel {
    /// Its name, as `check` and `bench` print it.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every kernel this processor can run, best first; the last one is the definition.
pub fn available() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if crate::avx512::is_available() {
            kernels.push(crate::avx512::KERNEL);
        }
        if crate::avxvnni::is_available() {
            kernels.push(crate::avxvnni::KERNEL);
        }
        if crate::avx2::is_available() {
            kernels.extend([crate::avx2::PAIRS, crate::avx2::WIDE]);
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        if crate::dotprod::is_available() {
            kernels.push(crate::dotprod::KERNEL);
        }
        kernels.extend([crate::neon::PAIRS, crate::neon::WIDE]);
    }
    kernels.push(crate::scalar::KERNEL);
    kernels
}

/// Calls the kernel compiled for so many pixels and vectors.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! dispatch {
    ($tile:ident, $vectors:literal, [$($pixels:literal)*], $t:expr, $p:expr, $v:expr, $out:expr) => {
        match ($p, $v == 1) {
            // SAFETY: handed on from the caller.
            $(($pixels, true) => unsafe { $tile::<$pixels, 1>($t, $out) },
            ($pixels, false) => unsafe { $tile::<$pixels, $vectors>($t, $out) },)*
            _ => unreachable!("tiles are cut to the kernel's size"),
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use dispatch;
