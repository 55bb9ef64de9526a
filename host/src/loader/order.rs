//! Which pictures an epoch shows, in which order, and which of them are this process's.

use std::ops::Range;

use crate::augment::Rng;

/// How often every picture is shown in an epoch, in 2^-32 so that sums are exact.
#[derive(Debug)]
pub(super) struct Repeats(Vec<u64>);

const ONE: u64 = 1 << 32;

impl Repeats {
    /// Once each.
    pub fn once(n: usize) -> Self {
        Self(vec![ONE; n])
    }

    /// From factors of 1 or more; what is below counts as 1.
    pub fn new(factors: &[f64]) -> Self {
        let fixed = |factor: &f64| ((factor * ONE as f64).round() as u64).max(ONE);
        Self(factors.iter().map(fixed).collect())
    }

    /// Pictures of an epoch: the same number in every one.
    pub fn epoch_len(&self) -> usize {
        let sum: u128 = self.0.iter().map(|&factor| u128::from(factor)).sum();
        (sum / u128::from(ONE)) as usize
    }

    /// What an epoch shows, as streams: stream `s` is picture `s % n`, shown for the `s / n`-th time
    /// in this epoch. Depends on nothing but the factors, seed and epoch.
    ///
    /// A picture of factor 2.3 is shown two or three times, three in 30 % of the epochs: the factors,
    /// laid end to end in random order, are cut at every whole number after a random start.
    pub fn order(&self, seed: u64, epoch: usize) -> Vec<usize> {
        let n = self.0.len();
        let mut rng = Rng::new(seed, epoch as u64, u64::MAX);
        let mut order: Vec<usize> = (0..n).collect();
        rng.shuffle(&mut order);
        if self.0.iter().all(|&factor| factor == ONE) {
            return order;
        }
        let mut end = u128::from(rng.next_u64() >> 32);
        let mut streams = Vec::with_capacity(self.epoch_len() + 1);
        for picture in order {
            let start = end;
            end += u128::from(self.0[picture]);
            let copies = (end / u128::from(ONE) - start / u128::from(ONE)) as usize;
            streams.extend((0..copies).map(|copy| copy * n + picture));
        }
        rng.shuffle(&mut streams);
        streams.truncate(self.epoch_len());
        streams
    }
}

/// The part of each global batch of `world` times `batch` that is process `rank`'s; the last ones may
/// be short or empty, so that every process sees the same number of batches.
pub(super) fn parts(n: usize, batch: usize, rank: usize, world: usize) -> Vec<Range<usize>> {
    let global = batch * world;
    let part = |first: usize| {
        let within = |at: usize| (first + at).min(n);
        within(rank * batch)..within((rank + 1) * batch)
    };
    (0..n).step_by(global).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_comes_once_in_another_order_each_epoch() {
        let repeats = Repeats::once(50);
        let [a, b] = [0, 1].map(|epoch| repeats.order(3, epoch));
        assert_ne!(a, b);
        assert_eq!(a, repeats.order(3, 0));
        for mut order in [a, b] {
            order.sort();
            assert_eq!(order, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pictures_come_as_often_as_their_factors_say() {
        let factors = [1.0, 1.0, 2.3, 1.0, 3.5];
        let repeats = Repeats::new(&factors);
        assert_eq!(repeats.epoch_len(), 8);
        let (epochs, mut counts) = (4000, [0; 5]);
        for epoch in 0..epochs {
            let order = repeats.order(1, epoch);
            assert_eq!(order.len(), 8);
            let mut streams = order.clone();
            streams.sort();
            streams.dedup();
            assert_eq!(streams.len(), 8, "no stream twice: {order:?}");
            order.iter().for_each(|stream| counts[stream % 5] += 1);
        }
        // 8 of 8.8 are shown: the rest is cut off behind the shuffle, alike for all.
        for (count, factor) in counts.into_iter().zip(factors) {
            let mean = f64::from(count) / epochs as f64;
            assert!(
                (mean - factor * 8.0 / 8.8).abs() < 0.03,
                "{mean} of {factor}"
            );
        }
    }

    #[test]
    fn the_parts_of_all_processes_are_the_whole_batch() {
        for (n, batch, world) in [(20, 3, 2), (12, 3, 2), (13, 3, 2), (5, 4, 3), (1, 1, 4)] {
            let whole: Vec<_> = parts(n, batch * world, 0, 1);
            let each: Vec<Vec<_>> = (0..world).map(|r| parts(n, batch, r, world)).collect();
            for (index, whole) in whole.iter().enumerate() {
                let joined: Vec<usize> = each.iter().flat_map(|p| p[index].clone()).collect();
                assert_eq!(
                    joined,
                    whole.clone().collect::<Vec<_>>(),
                    "{n} {batch} {world}"
                );
            }
            assert!(each.iter().all(|parts| parts.len() == whole.len()));
        }
    }
}
