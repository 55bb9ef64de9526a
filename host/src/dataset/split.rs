//! A new split: groups and duplicates stay on one side.

use std::collections::HashMap;
use std::path::Path;

use super::duplicates::{byte_equal_groups, glances, near_pairs};
use super::open::{GroupRule, group_of};
use super::problem::DataError;
use super::{Dataset, Split};

/// How to split.
#[derive(Clone, Copy, Debug)]
pub struct SplitPlan {
    /// Parts of train, val and test; only their proportion counts.
    pub ratios: [f32; 3],
    /// Another seed, another split.
    pub seed: u64,
    /// What tells which pictures belong together; `None` = as the set says.
    pub group: Option<GroupRule>,
}

impl SplitPlan {
    /// The sum of the ratios.
    ///
    /// # Errors
    /// Ratios that are negative, not finite or all 0.
    pub fn check(&self) -> Result<f32, String> {
        let sum: f32 = self.ratios.iter().sum();
        if self.ratios.iter().any(|ratio| *ratio < 0.0) || !sum.is_finite() || sum <= 0.0 {
            let found = self.ratios;
            return Err(format!(
                "expected ratios of 0 and more, not all 0, found {found:?}"
            ));
        }
        Ok(sum)
    }
}

/// What became of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitReport {
    /// Pictures of train, val and test.
    pub pictures: [usize; 3],
    /// Groups that were kept together, after duplicates had joined some.
    pub groups: usize,
    /// Pairs of equal or nearly equal pictures that joined two groups.
    pub joined_by_duplicates: usize,
}

/// Assigns every picture to a split: largest groups first, each to the split that lacks most.
///
/// # Errors
/// Ratios that are negative, not finite or all 0, or a picture that cannot be read.
pub fn resplit(data: &mut Dataset, plan: &SplitPlan) -> Result<SplitReport, DataError> {
    let sum = plan.check().map_err(|detail| DataError::Join {
        name: data.name.clone(),
        detail,
    })?;
    if let Some(rule) = plan.group {
        for sample in &mut data.samples {
            sample.group = group_of(&sample.image, rule);
        }
    }
    let mut sets = Sets::new(data.samples.len());
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (index, sample) in data.samples.iter().enumerate() {
        sets.union(*first.entry(&sample.group).or_insert(index), index);
    }
    let paths: Vec<&Path> = data
        .samples
        .iter()
        .map(|sample| sample.image.as_path())
        .collect();
    let mut joined_by_duplicates = 0;
    for group in byte_equal_groups(&paths)? {
        for pair in group.windows(2) {
            joined_by_duplicates += usize::from(sets.union(pair[0], pair[1]));
        }
    }
    for (a, b) in near_pairs(&glances(&paths)?) {
        joined_by_duplicates += usize::from(sets.union(a, b));
    }
    let groups = sets.into_groups();
    let n_groups = groups.len();
    for (group, split) in assign(groups, plan, data.samples.len(), sum) {
        group
            .into_iter()
            .for_each(|index| data.samples[index].split = split);
    }
    Ok(SplitReport {
        pictures: data.split_counts(),
        groups: n_groups,
        joined_by_duplicates,
    })
}

fn assign(
    mut groups: Vec<Vec<usize>>,
    plan: &SplitPlan,
    pictures: usize,
    sum: f32,
) -> Vec<(Vec<usize>, Split)> {
    shuffle(&mut groups, plan.seed);
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    let mut lacking = plan.ratios.map(|ratio| ratio / sum * pictures as f32);
    let placed = groups.into_iter().map(|group| {
        let lacks_more = |&a: &usize, &b: &usize| lacking[a].total_cmp(&lacking[b]).then(b.cmp(&a));
        let wanted = (0..3).filter(|&split| plan.ratios[split] > 0.0);
        let split = wanted.max_by(lacks_more).unwrap_or(0);
        lacking[split] -= group.len() as f32;
        (group, Split::ALL[split])
    });
    placed.collect()
}

/// Fisher and Yates, with a generator (splitmix64) that is the same everywhere and for ever.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        items.swap(last, (mixed % (last as u64 + 1)) as usize);
    }
}

/// Disjoint sets of positions.
struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    fn new(len: usize) -> Self {
        Self {
            parent: (0..len).collect(),
        }
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    /// `true` when the two were apart.
    fn union(&mut self, a: usize, b: usize) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
        a != b
    }

    /// The sets, by their lowest position.
    fn into_groups(mut self) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = vec![Vec::new(); self.parent.len()];
        for index in 0..self.parent.len() {
            let root = self.root(index);
            groups[root].push(index);
        }
        groups.retain(|group| !group.is_empty());
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_fill_the_splits_in_proportion_and_the_seed_decides() {
        let plan = |seed| SplitPlan {
            ratios: [0.7, 0.1, 0.2],
            seed,
            group: None,
        };
        let groups: Vec<Vec<usize>> = (0..50).map(|g| vec![2 * g, 2 * g + 1]).collect();
        let placed = |seed| assign(groups.clone(), &plan(seed), 100, 1.0);
        let count = |split| placed(1).iter().filter(|(_, s)| *s == split).count();
        assert_eq!(Split::ALL.map(count), [35, 5, 10]);
        assert_eq!(placed(1), placed(1));
        assert_ne!(placed(1), placed(2));
    }

    #[test]
    fn sets_that_touch_become_one() {
        let mut sets = Sets::new(5);
        assert!(sets.union(3, 1));
        assert!(sets.union(4, 3));
        assert!(!sets.union(1, 4));
        assert_eq!(sets.into_groups(), [vec![0], vec![1, 3, 4], vec![2]]);
    }
}
