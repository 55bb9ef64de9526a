//! Counts of a data set: classes, attributes and box sizes of each split.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::{Dataset, Sample, Split};

/// Counts of one split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitStats {
    /// `train`, `val` or `test`.
    pub split: &'static str,
    /// Pictures.
    pub pictures: usize,
    /// Pictures without a cell.
    pub empty: usize,
    /// Patients, slides or whatever the set groups by.
    pub groups: usize,
    /// Cells of each class, in the table's order.
    pub classes: Vec<usize>,
    /// Cells of unknown class.
    pub unclassified: usize,
    /// For each attribute the cells of each value, and last the cells of which nobody said it.
    pub attributes: Vec<Vec<usize>>,
    /// Side of a square of the box's area, in pixels: least, 5 %, median, 95 %, most.
    pub side_px: Option<[f32; 5]>,
    /// The same as part of the side of a square of the picture's area.
    pub side_ratio: Option<[f32; 5]>,
}

/// Counts of all splits, with the names they are counted under.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// The set.
    pub name: String,
    /// Class names.
    pub classes: Vec<String>,
    /// Attribute names with their value names.
    pub attributes: Vec<(String, Vec<String>)>,
    /// Train, val, test.
    pub splits: Vec<SplitStats>,
}

/// Side of a square of the area of each box, as part of the picture's.
pub(crate) fn side_ratios<'a>(
    samples: impl Iterator<Item = &'a Sample>,
) -> impl Iterator<Item = f32> {
    samples.flat_map(|sample| {
        let area = sample.size.width as f32 * sample.size.height as f32;
        sample
            .cells
            .iter()
            .map(move |cell| (cell.bbox.area() / area).sqrt())
    })
}

impl Stats {
    /// Counts `data`.
    pub fn new(data: &Dataset) -> Self {
        let values = |attribute: &shared::attribute::Attribute| {
            let values = attribute.values.iter().map(ToString::to_string).collect();
            (attribute.name.to_string(), values)
        };
        Self {
            name: data.name.clone(),
            classes: data
                .classes
                .iter()
                .map(|(_, name)| name.to_owned())
                .collect(),
            attributes: data
                .schema
                .iter()
                .map(|(_, attribute)| values(attribute))
                .collect(),
            splits: Split::ALL.map(|split| split_stats(data, split)).into(),
        }
    }
}

fn split_stats(data: &Dataset, split: Split) -> SplitStats {
    let samples = || data.split(split);
    let groups: BTreeSet<&str> = samples().map(|sample| sample.group.as_str()).collect();
    let mut stats = SplitStats {
        split: split.name(),
        pictures: samples().count(),
        empty: samples().filter(|sample| sample.cells.is_empty()).count(),
        groups: groups.len(),
        classes: vec![0; data.classes.len()],
        unclassified: 0,
        attributes: data
            .schema
            .value_counts()
            .map(|values| vec![0; values + 1])
            .collect(),
        side_px: None,
        side_ratio: quantiles(side_ratios(samples()).collect()),
    };
    for cell in samples().flat_map(|sample| &sample.cells) {
        match cell
            .class
            .and_then(|class| stats.classes.get_mut(class.index()))
        {
            Some(count) => *count += 1,
            None => stats.unclassified += 1,
        }
        for (counts, value) in stats.attributes.iter_mut().zip(cell.attributes) {
            let unknown = counts.len() - 1;
            counts[value.map_or(unknown, |value| value.index().min(unknown))] += 1;
        }
    }
    let cells = samples().flat_map(|sample| &sample.cells);
    stats.side_px = quantiles(cells.map(|cell| cell.bbox.area().sqrt()).collect());
    stats
}

/// Least, 5 %, median, 95 %, most; each a value that occurs.
fn quantiles(mut values: Vec<f32>) -> Option<[f32; 5]> {
    values.sort_by(f32::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some([0.0, 0.05, 0.5, 0.95, 1.0].map(|part: f32| values[(part * last as f32).round() as usize]))
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, count: &dyn Fn(&SplitStats) -> usize| {
            write!(f, "{name:<44}")?;
            self.splits
                .iter()
                .try_for_each(|split| write!(f, "{:>9}", count(split)))?;
            writeln!(f, "{:>9}", self.splits.iter().map(count).sum::<usize>())
        };
        writeln!(
            f,
            "{:<44}{:>9}{:>9}{:>9}{:>9}",
            self.name, "train", "val", "test", "all"
        )?;
        row(f, "pictures", &|s| s.pictures)?;
        row(f, "pictures without a cell", &|s| s.empty)?;
        row(f, "groups", &|s| s.groups)?;
        for (index, class) in self.classes.iter().enumerate() {
            row(f, &format!("class {class}"), &|s| s.classes[index])?;
        }
        row(f, "class unknown", &|s| s.unclassified)?;
        for (index, (name, values)) in self.attributes.iter().enumerate() {
            for (at, value) in values
                .iter()
                .map(String::as_str)
                .chain(["(unknown)"])
                .enumerate()
            {
                row(f, &format!("{name}: {value}"), &|s| s.attributes[index][at])?;
            }
        }
        writeln!(f, "box side (root of area): least, 5 %, median, 95 %, most")?;
        for split in &self.splits {
            if let (Some(px), Some(ratio)) = (split.side_px, split.side_ratio) {
                write!(f, "  {:<6}", split.split)?;
                px.iter().try_for_each(|side| write!(f, "{side:>8.1}"))?;
                write!(f, "  pixels, ")?;
                ratio.iter().try_for_each(|side| write!(f, "{side:>7.3}"))?;
                writeln!(f, "  of the picture")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occur() {
        assert_eq!(quantiles(Vec::new()), None);
        assert_eq!(quantiles(vec![3.0]), Some([3.0; 5]));
        let hundred_one = (0..=100).map(|n| n as f32).rev().collect();
        assert_eq!(quantiles(hundred_one), Some([0.0, 5.0, 50.0, 95.0, 100.0]));
    }
}
