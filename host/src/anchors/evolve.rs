//! Genetic evolution of prior boxes (attridet.md, 8.8): a change is kept when it fits better.

use crate::augment::Rng;

const GENERATIONS: usize = 1000;

/// Probability that a side is changed.
const MUTATION: f32 = 0.9;

/// Spread of the change.
const SIGMA: f32 = 0.1;

/// Least and largest factor of a change.
const FACTOR: [f32; 2] = [0.3, 3.0];

/// Shortest side, pixels.
const SIDE_MIN: f32 = 2.0;

/// `anchors` after all generations.
pub(super) fn evolved(
    sizes: &[[f32; 2]],
    mut anchors: Vec<[f32; 2]>,
    anchor_t: f32,
    rng: &mut Rng,
) -> Vec<[f32; 2]> {
    let mut best = fitness(sizes, &anchors, anchor_t);
    for _ in 0..GENERATIONS {
        let changed = mutated(&anchors, rng);
        let fitness = fitness(sizes, &changed, anchor_t);
        if fitness > best {
            (best, anchors) = (fitness, changed);
        }
    }
    anchors
}

/// Mean over the cells of the closeness of the best prior box, 0 where none may answer.
fn fitness(sizes: &[[f32; 2]], anchors: &[[f32; 2]], anchor_t: f32) -> f64 {
    // The quotients of closeness, inverted once for all cells.
    let sides: Vec<[f32; 4]> = anchors
        .iter()
        .map(|&[w, h]| [w, h, 1.0 / w, 1.0 / h])
        .collect();
    let of_cell = |&[w, h]: &[f32; 2]| {
        let (iw, ih) = (1.0 / w, 1.0 / h);
        let mut best = 0.0_f32;
        for &[aw, ah, iaw, iah] in &sides {
            let least = (w * iaw).min(aw * iw).min(h * iah).min(ah * ih);
            best = best.max(least);
        }
        if best > 1.0 / anchor_t {
            f64::from(best)
        } else {
            0.0
        }
    };
    sizes.iter().map(of_cell).sum::<f64>() / sizes.len().max(1) as f64
}

/// Every side times a factor around 1; never the same set.
fn mutated(anchors: &[[f32; 2]], rng: &mut Rng) -> Vec<[f32; 2]> {
    loop {
        // One strength for all: some generations change much, others little.
        let strength = rng.unit() * SIGMA;
        let mut changed = false;
        let new = anchors
            .iter()
            .map(|anchor| {
                anchor.map(|side| {
                    if !rng.chance(MUTATION) {
                        return side;
                    }
                    let factor = 1.0 + gaussian(rng) * strength;
                    changed |= factor != 1.0;
                    (side * factor.clamp(FACTOR[0], FACTOR[1])).max(SIDE_MIN)
                })
            })
            .collect();
        if changed {
            return new;
        }
    }
}

/// Standard normal, by Box and Muller.
fn gaussian(rng: &mut Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.unit()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchors::closeness;

    #[test]
    fn fitness_is_the_mean_of_the_best_closeness() {
        let anchors = [[10.0, 10.0], [40.0, 20.0]];
        let sizes = [[10.0, 8.0], [50.0, 20.0], [400.0, 4.0]];
        let by_hand = (0.8 + 0.8 + 0.0) / 3.0;
        assert!((fitness(&sizes, &anchors, 4.0) - by_hand).abs() < 1e-6);
        let direct = |size: [f32; 2]| anchors.map(|a| closeness(size, a));
        assert_eq!(direct([50.0, 20.0]), [0.2, 0.8]);
    }
}
