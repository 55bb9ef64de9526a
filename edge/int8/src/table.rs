//! A function of one byte as a table of 256.

use std::fmt;

/// What each byte becomes.
#[derive(Clone, PartialEq, Eq)]
pub struct Table(Box<[u8; 256]>);

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} .. {})", self.0[0], self.0[255])
    }
}

impl Table {
    /// Of a function of a byte.
    pub fn new(function: impl FnMut(u8) -> u8) -> Self {
        let mut function = function;
        Self(Box::new(std::array::from_fn(|byte| function(byte as u8))))
    }

    /// What `byte` becomes.
    pub fn get(&self, byte: u8) -> u8 {
        self.0[usize::from(byte)]
    }

    /// Nothing changes.
    pub fn is_identity(&self) -> bool {
        (0..=255).all(|byte| self.get(byte) == byte)
    }

    /// First this, then `next`.
    pub fn then(&self, next: &Self) -> Self {
        Self::new(|byte| next.get(self.get(byte)))
    }

    /// Changes all bytes in place.
    pub fn apply(&self, bytes: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512vbmi") && is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has the features.
            return unsafe { apply_vbmi(&self.0, bytes) };
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: every aarch64 processor has these instructions.
        let bytes = unsafe { apply_neon(&self.0, bytes) };
        self.apply_bytewise(bytes);
    }

    /// The definition of [`Table::apply`].
    pub(crate) fn apply_bytewise(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.get(*byte);
        }
    }
}

/// The upper bit of a byte chooses between two lookups of 128 entries.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn apply_vbmi(table: &[u8; 256], bytes: &mut [u8]) {
    use core::arch::x86_64::*;
    // SAFETY: four vectors of 64 bytes are the table; masked loads and stores keep to `bytes`.
    unsafe {
        let part = |at: usize| _mm512_loadu_si512(table.as_ptr().add(64 * at).cast());
        let (a, b, c, d) = (part(0), part(1), part(2), part(3));
        for chunk in bytes.chunks_mut(64) {
            let mask = u64::MAX >> (64 - chunk.len());
            let x = _mm512_maskz_loadu_epi8(mask, chunk.as_ptr().cast());
            let low = _mm512_permutex2var_epi8(a, x, b);
            let high = _mm512_permutex2var_epi8(c, x, d);
            let y = _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
            _mm512_mask_storeu_epi8(chunk.as_mut_ptr().cast(), mask, y);
        }
    }
}

/// Each quarter of the table answers for its indices; an index outside a quarter leaves the byte.
/// Returns the bytes behind the last whole vector, unchanged.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn apply_neon<'a>(table: &[u8; 256], bytes: &'a mut [u8]) -> &'a mut [u8] {
    use core::arch::aarch64::*;
    // SAFETY: the table is four quarters of 64 bytes; whole vectors of `bytes` are read and written.
    unsafe {
        let quarter = |at: usize| vld1q_u8_x4(table.as_ptr().add(64 * at));
        let quarters = [quarter(0), quarter(1), quarter(2), quarter(3)];
        let (vectors, rest) = bytes.as_chunks_mut::<16>();
        for vector in vectors {
            let x = vld1q_u8(vector.as_ptr());
            let mut y = vqtbl4q_u8(quarters[0], x);
            for (at, quarter) in quarters.into_iter().enumerate().skip(1) {
                let index = vsubq_u8(x, vdupq_n_u8(64 * at as u8));
                y = vqtbx4q_u8(y, quarter, index);
            }
            vst1q_u8(vector.as_mut_ptr(), y);
        }
        rest
    }
}
