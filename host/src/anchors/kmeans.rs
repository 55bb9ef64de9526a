//! Clusters of box sizes: k-means on sizes in units of their spread.

use crate::augment::Rng;

/// Rounds of assigning and averaging.
const ROUNDS: usize = 30;

/// `k` centres; `None` when there are fewer sizes, or they do not differ enough for `k` centres.
pub(super) fn clusters(sizes: &[[f32; 2]], k: usize, rng: &mut Rng) -> Option<Vec<[f32; 2]>> {
    if k == 0 || sizes.len() < k {
        return None;
    }
    let spread = spread(sizes);
    let points: Vec<[f64; 2]> = sizes
        .iter()
        .map(|size| [0, 1].map(|axis| f64::from(size[axis]) / spread[axis]))
        .collect();
    let mut centres = first_centres(&points, k, rng)?;
    for _ in 0..ROUNDS {
        let mut sums = vec![([0.0; 2], 0_usize); k];
        for point in &points {
            let (sum, n) = &mut sums[nearest(point, &centres).0];
            *n += 1;
            for (sum, value) in sum.iter_mut().zip(point) {
                *sum += value;
            }
        }
        for (centre, (sum, n)) in centres.iter_mut().zip(sums) {
            // A centre that nobody is near to stays where it is.
            if n > 0 {
                *centre = sum.map(|value| value / n as f64);
            }
        }
    }
    let size = |centre: &[f64; 2]| [0, 1].map(|axis| (centre[axis] * spread[axis]) as f32);
    Some(centres.iter().map(size).collect())
}

/// Standard deviation of each side; 1 where there is none.
fn spread(sizes: &[[f32; 2]]) -> [f64; 2] {
    [0, 1].map(|axis| {
        let n = sizes.len() as f64;
        let side = |size: &[f32; 2]| f64::from(size[axis]);
        let mean = sizes.iter().map(side).sum::<f64>() / n;
        let variance = sizes.iter().map(|s| (side(s) - mean).powi(2)).sum::<f64>() / n;
        if variance > 0.0 { variance.sqrt() } else { 1.0 }
    })
}

/// k-means++: each next centre is a point, the likelier the farther it is from those there are.
fn first_centres(points: &[[f64; 2]], k: usize, rng: &mut Rng) -> Option<Vec<[f64; 2]>> {
    let mut centres = vec![points[rng.below(points.len())]];
    while centres.len() < k {
        let far: Vec<f64> = points.iter().map(|p| nearest(p, &centres).1).collect();
        let mut left = f64::from(rng.unit()) * far.iter().sum::<f64>();
        let mut chosen = None;
        for (point, distance) in points.iter().zip(far) {
            if distance > 0.0 {
                chosen = Some(*point);
                left -= distance;
                if left < 0.0 {
                    break;
                }
            }
        }
        centres.push(chosen?);
    }
    Some(centres)
}

/// Which centre is nearest, and the square of how far it is; of equal ones the first.
fn nearest(point: &[f64; 2], centres: &[[f64; 2]]) -> (usize, f64) {
    let square = |c: &[f64; 2]| (point[0] - c[0]).powi(2) + (point[1] - c[1]).powi(2);
    let distances = centres.iter().map(square).enumerate();
    distances.fold((0, f64::INFINITY), |best, next| {
        if next.1 < best.1 { next } else { best }
    })
}
