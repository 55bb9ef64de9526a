//! Rare classes, shown more often or counted more.

use super::Sample;

/// Share of the pictures below which a class is rare, for [`repeat_factors`]: with a dozen classes a
/// fair share is about a tenth (LVIS has 1e-3 for 1,203 classes).
pub const RARE_BELOW: f64 = 0.1;

/// How often each picture is shown in an epoch, 1 or more: LVIS' repeat factors (Gupta, Dollár and
/// Girshick, 2019).
///
/// A class that is on the share `f` of the pictures asks for `max(1, sqrt(rare_below / f))`, a picture
/// is shown as often as its rarest class asks. Cells of unknown class ask for nothing.
pub fn repeat_factors(samples: &[&Sample], n_classes: usize, rare_below: f64) -> Vec<f64> {
    let mut pictures = vec![0_usize; n_classes];
    for sample in samples {
        let mut seen = vec![false; n_classes];
        for class in classes_of(sample) {
            if let Some(seen) = seen.get_mut(class) {
                *seen = true;
            }
        }
        for (count, seen) in pictures.iter_mut().zip(seen) {
            *count += usize::from(seen);
        }
    }
    let asked = |class: usize| {
        let count = pictures.get(class).copied().filter(|&count| count > 0)?;
        let share = count as f64 / samples.len() as f64;
        Some((rare_below / share).sqrt().max(1.0))
    };
    let factor = |sample: &&Sample| classes_of(sample).filter_map(asked).fold(1.0, f64::max);
    samples.iter().map(factor).collect()
}

/// How much each class counts: inversely to its cells, with mean 1 over the classes that there are.
///
/// The reference gives a class without a cell the weight of one with a single cell, which takes nearly
/// all the weight there is; here it has 1.
pub fn class_weights(samples: &[&Sample], n_classes: usize) -> Vec<f64> {
    let mut cells = vec![0_usize; n_classes];
    for class in samples.iter().flat_map(|sample| classes_of(sample)) {
        if let Some(count) = cells.get_mut(class) {
            *count += 1;
        }
    }
    let inverse = |&count: &usize| if count > 0 { 1.0 / count as f64 } else { 0.0 };
    let present = cells.iter().filter(|&&count| count > 0).count();
    let mean = cells.iter().map(inverse).sum::<f64>() / present.max(1) as f64;
    let weight = |count: &usize| {
        if *count > 0 {
            inverse(count) / mean
        } else {
            1.0
        }
    };
    cells.iter().map(weight).collect()
}

fn classes_of(sample: &Sample) -> impl Iterator<Item = usize> {
    let classes = sample.cells.iter().filter_map(|cell| cell.class);
    classes.map(|class| class.index())
}

#[cfg(test)]
mod tests {
    use shared::attribute::NO_ATTRIBUTES;
    use shared::cell::Cell;
    use shared::class::ClassId;
    use shared::geometry::{BBox, Size};

    use super::*;
    use crate::dataset::Split;

    fn sample(classes: &[Option<u8>]) -> Sample {
        let cell = |class: &Option<u8>| Cell {
            bbox: BBox::from_corners(1.0, 1.0, 5.0, 5.0).expect("a box"),
            class: class.map(ClassId),
            attributes: NO_ATTRIBUTES,
        };
        Sample {
            image: "a.png".into(),
            size: Size::new(8, 8),
            split: Split::Train,
            group: String::new(),
            cells: classes.iter().map(cell).collect(),
            region: None,
        }
    }

    #[test]
    fn a_picture_is_repeated_for_its_rarest_class() {
        let mut samples = vec![sample(&[Some(0)]); 96];
        samples.push(sample(&[Some(0), Some(1), Some(1)]));
        samples.push(sample(&[None, Some(2)]));
        samples.extend([sample(&[Some(2)]), sample(&[])]);
        let of: Vec<&Sample> = samples.iter().collect();
        let factors = repeat_factors(&of, 4, 0.1);
        // Class 1 is on 1 % of the pictures: sqrt(10); class 2 on 2 %: sqrt(5); the rest once.
        assert_eq!(factors[0], 1.0);
        assert!((factors[96] - 10_f64.sqrt()).abs() < 1e-12);
        assert!((factors[97] - 5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(factors[99], 1.0);
        assert_eq!(repeat_factors(&[], 4, 0.1), Vec::<f64>::new());
    }

    #[test]
    fn weights_are_inverse_to_the_cells_and_mean_one() {
        let samples = [
            sample(&[Some(0), Some(0), Some(0), Some(2)]),
            sample(&[Some(0), None]),
        ];
        let of: Vec<&Sample> = samples.iter().collect();
        // Cells 4, 0, 1: inverse 0.25 and 1, mean 0.625.
        assert_eq!(class_weights(&of, 3), [0.4, 1.0, 1.6]);
        assert_eq!(class_weights(&[], 2), [1.0, 1.0]);
    }
}
