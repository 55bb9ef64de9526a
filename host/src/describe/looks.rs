//! What pictures look like to a model.

use serde::Serialize;
use shared::contract::ModelContract;
use shared::domain::{Domain, Gathered, Look, Nearness, look, median_side, side_of};

use super::DescribeError;
use crate::dataset::{Dataset, Sample, Split};
use crate::picture::{Picture, PictureError};

/// Pictures between two lines on how far it has got.
const TOLD_EVERY: usize = 1000;

/// A data set's part of a domain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetLook {
    /// Its name.
    pub name: String,
    /// Its mean look in training; `None` without training pictures.
    pub mean: Option<Look>,
    /// Training pictures that it stands on.
    pub train_pictures: u32,
    /// How its val pictures, which are none of them, are judged by the domain.
    pub val: SplitNearness,
}

/// Pictures by how near they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitNearness {
    /// Like the training pictures.
    pub near: u32,
    /// Unusual among them.
    pub far: u32,
    /// Unlike them.
    pub foreign: u32,
}

impl SplitNearness {
    fn add(&mut self, nearness: Nearness) {
        match nearness {
            Nearness::Near => self.near += 1,
            Nearness::Far => self.far += 1,
            Nearness::Foreign => self.foreign += 1,
        }
    }
}

/// The look of a sample on the model's canvas, with its labelled cells.
///
/// # Errors
/// A file that cannot be read, or a picture that the canvas leaves too little of.
pub fn look_of(contract: &ModelContract, sample: &Sample) -> Result<Look, PictureError> {
    let refused = |reason: String| PictureError {
        path: sample.image.clone(),
        reason,
    };
    let picture = Picture::open(&sample.image)?;
    let (size, canvas) = (picture.size, contract.canvas);
    let (fit, canvas) = picture
        .on_canvas(contract.fit, canvas)
        .ok_or_else(|| refused(format!("a picture of {size} does not fit on {canvas}")))?;
    let mut look = look(&canvas, &fit).map_err(|error| refused(error.to_string()))?;
    let sides = sample.cells.iter().map(|cell| side_of(&cell.bbox, &fit));
    look.cell_side = median_side(&mut sides.collect::<Vec<_>>());
    Ok(look)
}

/// The looks of the training pictures of a set.
pub(super) fn gather(
    contract: &ModelContract,
    set: &Dataset,
    tell: &mut dyn FnMut(&str),
) -> Result<Gathered, DescribeError> {
    let mut gathered = Gathered::default();
    for_each_look(contract, set, Split::Train, tell, |look| gathered.add(look))?;
    Ok(gathered)
}

/// How the val pictures of a set are judged.
pub(super) fn judge(
    contract: &ModelContract,
    set: &Dataset,
    gathered: &Gathered,
    domain: &Domain,
    tell: &mut dyn FnMut(&str),
) -> Result<SetLook, DescribeError> {
    let mut val = SplitNearness::default();
    for_each_look(contract, set, Split::Val, tell, |look| {
        val.add(domain.distance(look).nearness);
    })?;
    Ok(SetLook {
        name: set.name.clone(),
        mean: gathered.mean(),
        train_pictures: gathered.pictures(),
        val,
    })
}

fn for_each_look(
    contract: &ModelContract,
    set: &Dataset,
    split: Split,
    tell: &mut dyn FnMut(&str),
    mut each: impl FnMut(&Look),
) -> Result<(), DescribeError> {
    let n = set.split(split).count();
    for (index, sample) in set.split(split).enumerate() {
        each(&look_of(contract, sample)?);
        let done = index + 1;
        if done.is_multiple_of(TOLD_EVERY) || done == n {
            tell(&format!("{}, {split}: {done} of {n} pictures", set.name));
        }
    }
    Ok(())
}
