//! The phantom: a stained blood smear that is drawn, with its exact truth.
//!
//! One slide per seed, without edges; a [`FieldSpec`] is a window on it and a look of stain and
//! camera. [`draw_field`] paints red cells, platelets, specks and white cells of all fourteen
//! classes of LeukemiaAttri and says where each white cell lies and what it looks like;
//! [`StagePath`] moves the window, and a cell seen twice has the same `id` and the same pixels.
//! It is the demonstration, the station's self-test and the data of tests and trials.
//!
//! Integers, exact `f32` operations and `libm` only: a seed gives the same bytes on every target.
//! It allocates nothing and knows no file; it does not model depth, bubbles or the eyepiece's rim.

mod camera;
mod cell;
mod field;
mod look;
mod morphology;
mod nucleus;
mod random;
mod red;
mod stage;

pub use field::{
    DrawnField, FieldSpec, MAX_SIDE, PhantomCell, SpecError, VISIBLE_MIN, draw_field, draw_portrait,
};
pub use morphology::{
    Artefact, Chromatin, CytoplasmColour, Granules, Morphology, N_CLASSES, NucleusShape,
    leukemia_attributes, wbcatt_attributes,
};
pub use stage::{MAX_WHITE_CELLS, StageMove, StagePath, StagePosition, StageStep};

#[cfg(test)]
extern crate std;

#[cfg(test)]
mod tests;
