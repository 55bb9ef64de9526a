//! Pictures through the network and the shared post-processing: what validation and prediction see
//! is what the station would see.
//!
//! [`Evaluator`] is the whole seam to a network: canvases in, detections of each out. [`Pipeline`]
//! feeds it: worker threads decode ahead, canvases go through in batches.

mod pipeline;
mod regions;
mod symmetry;
mod views;

use std::path::Path;
use std::thread::{self, available_parallelism};

use shared::cell::Detection;
use shared::detect::{CANDIDATES_MAX, DETECTIONS_MAX, Dropped, detections};
use shared::fit::{Fit, FitKind};
use shared::geometry::Size;
use shared::head::{HeadError, HeadSpec, Thresholds};
use shared::nms::Candidate;
use tch::{Device, Tensor};

use crate::checkpoint::floats;
use crate::model::{Detector, Outputs, scaled};
use crate::picture::{Picture, PictureError};

pub use pipeline::{BATCH, Canvases, Pipeline, Speed, View, default_workers};
pub use regions::read_attributes;
pub use symmetry::Symmetry;
pub use views::merge_views;

/// Why a picture could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The network's answer.
    #[error("{image}")]
    Head {
        /// Which picture.
        image: String,
        /// What is wrong.
        source: HeadError,
    },
}

/// What was found on one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Size of the picture.
    pub size: Size,
    /// What was lost, by reason.
    pub dropped: Dropped,
    /// Best first.
    pub detections: Vec<Detection>,
}

/// What the network says of a batch of canvases.
#[derive(Debug)]
pub struct Answer {
    /// Where the network lies.
    pub outputs: Outputs,
    /// The raw heads in row-major order, finest level first.
    values: Vec<Vec<f32>>,
}

impl Answer {
    /// The same with `shift` added to the attribute logits of every box: a number for each value of each
    /// attribute. What a region head reads is left out.
    pub fn with_shifted_attributes(&self, head: &HeadSpec, canvas: Size, shift: &[f32]) -> Self {
        let mut values = self.values.clone();
        for (level, values) in values.iter_mut().enumerate() {
            let grid = head.grid(level, canvas);
            let plane = grid.width as usize * grid.height as usize;
            let channels = head.channels_per_anchor();
            for (index, plane) in values.chunks_exact_mut(plane).enumerate() {
                // The attributes are the last channels of a box.
                let from_end = channels - index % channels;
                if let Some(by) = shift.len().checked_sub(from_end) {
                    plane.iter_mut().for_each(|logit| *logit += shift[by]);
                }
            }
        }
        let outputs = Outputs {
            heads: Vec::new(),
            fine: self.outputs.fine.each_ref().map(Tensor::shallow_clone),
        };
        Self { outputs, values }
    }
}

/// A network with all that is needed to use it.
pub struct Evaluator<'a> {
    /// The network.
    pub network: &'a Detector,
    /// What its outputs mean.
    pub head: &'a HeadSpec,
    /// How pictures are laid on the canvas.
    pub fit: FitKind,
    /// Size of the canvas.
    pub canvas: Size,
    /// Where the network lies.
    pub device: Device,
}

impl Evaluator<'_> {
    /// The network on planar canvases, one after the other in `canvases`.
    ///
    /// # Shapes
    /// `batch * 3 * height * width` bytes → per level `[batch, anchors * channels, grid, grid]`.
    pub fn answer(&self, canvases: &[u8]) -> Answer {
        let (height, width) = (i64::from(self.canvas.height), i64::from(self.canvas.width));
        let outputs = tch::no_grad(|| {
            let input = Tensor::from_slice(canvases)
                .view([-1, 3, height, width])
                .to_device(self.device);
            self.network.forward(&scaled(&input), false)
        });
        let values = outputs.heads.iter().map(floats).collect();
        Answer { outputs, values }
    }

    /// Raw heads of one planar canvas, finest level first.
    pub fn heads(&self, canvas: &[u8]) -> Vec<Vec<f32>> {
        self.answer(canvas).values
    }

    /// What each canvas of an answer shows, in the pixels of the picture that `fits` laid on it.
    ///
    /// A region attribute head describes only detections that are `described` (canvas, detection):
    /// of the hundreds of boxes that average precision takes it would otherwise read all, at many
    /// times the cost of the network.
    ///
    /// # Errors
    /// For a canvas whose part of the answer is not of the contract or not finite.
    pub fn read(
        &self,
        answer: &Answer,
        fits: &[Fit],
        thresholds: &Thresholds,
        described: impl Fn(usize, &Detection) -> bool,
    ) -> Vec<Result<Found, HeadError>> {
        let mut found = self.boxes(answer, fits, thresholds);
        if let Some(head) = self.network.regions() {
            for (canvas, (fit, result)) in fits.iter().zip(&mut found).enumerate() {
                let Ok(of_canvas) = result else {
                    continue;
                };
                let (fine, detections) = (&answer.outputs.fine, &mut of_canvas.detections);
                let wanted = |detection: &Detection| described(canvas, detection);
                if let Err(error) = read_attributes(head, fine, canvas, fit, detections, wanted) {
                    *result = Err(error);
                }
            }
        }
        found
    }

    /// Values of each attribute that detections are described by.
    fn value_counts(&self) -> &[u8] {
        self.network
            .regions()
            .map_or(&self.head.value_counts, |head| head.value_counts())
    }

    /// Detections, with what the detection head says of their attributes.
    fn boxes(
        &self,
        answer: &Answer,
        fits: &[Fit],
        thresholds: &Thresholds,
    ) -> Vec<Result<Found, HeadError>> {
        let decoder = Decoder {
            head: self.head,
            values: &answer.values,
            n_canvases: fits.len(),
            thresholds,
        };
        let threads = available_parallelism().map_or(1, usize::from);
        let share = fits.len().div_ceil(threads).max(1);
        if share == fits.len() {
            return decoder.decode(0, fits);
        }
        // Threads for a millisecond of work each: on a card the network is not slower than that.
        thread::scope(|scope| {
            let parts: Vec<_> = fits
                .chunks(share)
                .enumerate()
                .map(|(part, fits)| scope.spawn(move || decoder.decode(part * share, fits)))
                .collect();
            parts
                .into_iter()
                .flat_map(|part| part.join().expect("decoding does not panic"))
                .collect()
        })
    }

    /// Finds the cells of one picture.
    ///
    /// # Errors
    /// When the picture does not fit on a canvas or the network's answer is not finite.
    pub fn detect(
        &self,
        picture: &Picture,
        name: &str,
        thresholds: &Thresholds,
    ) -> Result<Found, EvalError> {
        let (fit, canvas) = lay(picture, Path::new(name), self.fit, self.canvas)?;
        let answer = self.answer(&canvas);
        let mut found = self.read(&answer, &[fit], thresholds, |_, _| true);
        let found = found.pop().expect("one canvas has one result");
        found.map_err(|source| EvalError::Head {
            image: name.to_owned(),
            source,
        })
    }
}

/// The raw heads of a batch, without the network: any thread may read them.
#[derive(Clone, Copy)]
struct Decoder<'a> {
    head: &'a HeadSpec,
    values: &'a [Vec<f32>],
    n_canvases: usize,
    thresholds: &'a Thresholds,
}

impl Decoder<'_> {
    /// The canvases from `first` on, as many as there are fits.
    fn decode(&self, first: usize, fits: &[Fit]) -> Vec<Result<Found, HeadError>> {
        let mut candidates: Box<heapless::Vec<Candidate, CANDIDATES_MAX>> = Box::default();
        let mut found: Box<heapless::Vec<Detection, DETECTIONS_MAX>> = Box::default();
        let of_canvas = |(index, fit): (usize, &Fit)| {
            let heads = self.values.iter().map(|values| {
                let len = values.len() / self.n_canvases;
                &values[index * len..(index + 1) * len]
            });
            let heads: Vec<&[f32]> = heads.collect();
            let dropped = detections(
                self.head,
                fit,
                &heads,
                self.thresholds,
                &mut *candidates,
                &mut *found,
            )?;
            Ok(Found {
                size: fit.image(),
                dropped,
                detections: found.to_vec(),
            })
        };
        (first..).zip(fits).map(of_canvas).collect()
    }
}

/// The picture on a canvas.
///
/// # Errors
/// A side outside the limits.
pub(crate) fn lay(
    picture: &Picture,
    path: &Path,
    kind: FitKind,
    canvas: Size,
) -> Result<(Fit, Vec<u8>), PictureError> {
    picture.on_canvas(kind, canvas).ok_or_else(|| PictureError {
        path: path.to_path_buf(),
        reason: format!(
            "size {}, sides must be 1 to {}",
            picture.size,
            shared::fit::SIDE_MAX
        ),
    })
}
