//! Numbers that look random and are the same on every target: a counter-based generator for
//! choices, a hashed lattice for textures.

/// SplitMix64: the state is a counter, so any stream can be entered at any place.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

/// The finaliser of SplitMix64: every input bit reaches every output bit.
const fn scramble(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seed for a part of something: the same parts give the same seed, neighbours unrelated ones.
pub(super) fn sub_seed(seed: u64, part: u64) -> u64 {
    scramble(seed.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ scramble(part ^ 0xa076_1d64_78bd_642f))
}

/// The seed of a tile of the slide, for one of its layers.
pub(super) fn tile_seed(seed: u64, layer: u64, tile: [i32; 2]) -> u64 {
    let place = (u64::from(tile[0] as u32) << 32) | u64::from(tile[1] as u32);
    sub_seed(sub_seed(seed, layer), place)
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// 0..1 in steps of 2^-24, so that every value is exact.
    pub(super) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 * (1.0 / 16_777_216.0)
    }

    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Between -1 and 1, the middle twice as likely as the average.
    pub(super) fn triangle(&mut self) -> f32 {
        self.unit() - self.unit()
    }

    /// 0..n, n not 0; the bias of the multiplication is below 2^-24 for the small `n` used here.
    pub(super) fn below(&mut self, n: u32) -> u32 {
        (((self.bits() >> 32) * u64::from(n)) >> 32) as u32
    }

    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// An index with a probability in proportion to its weight; 0 when all weights are 0.
    pub(super) fn weighted<W: Copy + Into<u32>>(&mut self, weights: &[W]) -> usize {
        let total: u32 = weights.iter().map(|&weight| weight.into()).sum();
        if total == 0 {
            return 0;
        }
        let mut left = self.below(total);
        for (index, &weight) in weights.iter().enumerate() {
            let weight = weight.into();
            if left < weight {
                return index;
            }
            left -= weight;
        }
        0
    }

    /// Cosine and sine of a random direction.
    pub(super) fn direction(&mut self) -> [f32; 2] {
        direction(self.between(0.0, core::f32::consts::TAU))
    }

    /// How many there are when `mean` are expected: the mean, rounded up or down by chance, and
    /// spread by up to half of itself.
    pub(super) fn count(&mut self, mean: f32) -> u32 {
        let spread = mean * (1.0 + 0.5 * self.triangle());
        let whole = spread as u32;
        whole + u32::from(self.chance(spread - whole as f32))
    }
}

/// Cosine and sine.
pub(super) fn direction(angle: f32) -> [f32; 2] {
    [libm::cosf(angle), libm::sinf(angle)]
}

/// Hash of a lattice point, 32 bits.
pub(super) fn lattice(seed: u32, x: i32, y: i32) -> u32 {
    let mut h = seed
        ^ (x as u32).wrapping_mul(0x9e37_79b1)
        ^ (y as u32).wrapping_mul(0x85eb_ca77).rotate_left(13);
    h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
    h = (h ^ (h >> 15)).wrapping_mul(0x846c_a68b);
    h ^ (h >> 16)
}

/// Low and high half of a hash, each 0..1.
fn halves(hash: u32) -> (f32, f32) {
    const STEP: f32 = 1.0 / 65_536.0;
    ((hash & 0xffff) as f32 * STEP, (hash >> 16) as f32 * STEP)
}

pub(super) fn smooth_step(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Largest whole number not above `x`; `x` is a coordinate inside a cell, far from the limits.
fn floor(x: f32) -> i32 {
    let whole = x as i32;
    whole - i32::from((whole as f32) > x)
}

/// Value noise, 0..1, one bump per unit.
pub(super) fn noise(seed: u32, x: f32, y: f32) -> f32 {
    let (column, row) = (floor(x), floor(y));
    noise_at(seed, [column, row], [x - column as f32, y - row as f32])
}

/// Value noise at a lattice cell and a place in it, for coordinates too large for one `f32`.
pub(super) fn noise_at(seed: u32, [column, row]: [i32; 2], [fx, fy]: [f32; 2]) -> f32 {
    let corner = |x, y| (lattice(seed, x, y) >> 8) as f32 * (1.0 / 16_777_216.0);
    let (tx, ty) = (smooth_step(fx), smooth_step(fy));
    let top = mix(corner(column, row), corner(column + 1, row), tx);
    let bottom = mix(corner(column, row + 1), corner(column + 1, row + 1), tx);
    mix(top, bottom, ty)
}

/// `a` at 0, `b` at 1.
pub(super) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// [`mix`] for three channels.
pub(super) fn mix3(a: [f32; 3], b: [f32; 3], t: f32) -> [f32; 3] {
    core::array::from_fn(|c| mix(a[c], b[c], t))
}

/// The granule that covers a place most.
#[derive(Clone, Copy)]
pub(super) struct Grain {
    /// 1 in its middle, 0 at its edge and outside.
    pub(super) depth: f32,
    /// 0..1, the granule's own shade.
    pub(super) shade: f32,
}

/// Granules scattered on a unit lattice, at most one a lattice cell.
///
/// `share` of the lattice cells hold one; `radius` is the mean radius in lattice units, below 0.7
/// so that the nine nearest cells are enough.
pub(super) fn grain(seed: u32, x: f32, y: f32, share: f32, radius: f32) -> Grain {
    let (column, row) = (floor(x), floor(y));
    let mut best = Grain {
        depth: 0.0,
        shade: 0.0,
    };
    for cy in row - 1..=row + 1 {
        for cx in column - 1..=column + 1 {
            let (present, shade) = halves(lattice(seed, cx, cy));
            if present >= share {
                continue;
            }
            let (jx, jy) = halves(lattice(seed ^ 0x5bd1_e995, cx, cy));
            let (dx, dy) = (x - cx as f32 - jx, y - cy as f32 - jy);
            let own = radius * (0.75 + 0.5 * shade);
            let squared = dx * dx + dy * dy;
            if squared < own * own {
                let depth = 1.0 - libm::sqrtf(squared) / own;
                if depth > best.depth {
                    best = Grain { depth, shade };
                }
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    // Python: the published SplitMix64, seed 1234567, first three outputs.
    //   m=2**64-1; s=1234567
    //   for _ in range(3):
    //     s=(s+0x9e3779b97f4a7c15)&m; z=s
    //     z=((z^(z>>30))*0xbf58476d1ce4e5b9)&m; z=((z^(z>>27))*0x94d049bb133111eb)&m
    //     print(z^(z>>31))
    #[test]
    fn the_generator_is_splitmix64() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
        assert_eq!(random.bits(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn weights_are_kept_and_nothing_of_weight_zero_is_chosen() {
        let mut random = Random::new(3);
        let mut counts = [0_u32; 3];
        for _ in 0..10_000 {
            counts[random.weighted(&[3_u16, 0, 1])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((7_300..7_700).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn noise_stays_in_its_range_and_is_continuous_across_the_lattice() {
        for step in -400..400 {
            let x = step as f32 * 0.05;
            let here = noise(9, x, 0.3);
            assert!((0.0..=1.0).contains(&here));
            assert!((noise(9, x + 0.001, 0.3) - here).abs() < 0.01, "at {x}");
        }
    }
}
