//! Pictures through the network and the shared post-processing: what validation and prediction see
//! is what the station would see.

use shared::cell::Detection;
use shared::detect::{CANDIDATES_MAX, DETECTIONS_MAX, Dropped, detections};
use shared::fit::{Fit, FitKind};
use shared::geometry::Size;
use shared::head::{HeadError, HeadSpec, Thresholds};
use shared::nms::Candidate;
use tch::{Device, Tensor};

use crate::checkpoint::floats;
use crate::model::{Detector, scaled};
use crate::picture::{Picture, PictureError};

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
#[derive(Clone, Debug)]
pub struct Found {
    /// Size of the picture.
    pub size: Size,
    /// What was lost, by reason.
    pub dropped: Dropped,
    /// Best first.
    pub detections: Vec<Detection>,
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
    /// Raw heads of one planar canvas, finest level first.
    pub fn heads(&self, canvas: &[u8]) -> Vec<Vec<f32>> {
        let (height, width) = (i64::from(self.canvas.height), i64::from(self.canvas.width));
        tch::no_grad(|| {
            let input = Tensor::from_slice(canvas)
                .view([1, 3, height, width])
                .to_device(self.device);
            self.network
                .forward(&scaled(&input), false)
                .heads
                .iter()
                .map(floats)
                .collect()
        })
    }

    /// Finds the cells of a picture.
    ///
    /// # Errors
    /// When the picture does not fit on a canvas or the network's answer is not finite.
    pub fn detect(
        &self,
        picture: &Picture,
        name: &str,
        thresholds: &Thresholds,
    ) -> Result<Found, EvalError> {
        let (fit, canvas) =
            picture
                .on_canvas(self.fit, self.canvas)
                .ok_or_else(|| PictureError {
                    path: name.into(),
                    reason: format!(
                        "size {}, sides must be 1 to {}",
                        picture.size,
                        shared::fit::SIDE_MAX
                    ),
                })?;
        let heads = self.heads(&canvas);
        self.decode(&fit, &heads, thresholds)
            .map_err(|source| EvalError::Head {
                image: name.to_owned(),
                source,
            })
    }

    fn decode(
        &self,
        fit: &Fit,
        heads: &[Vec<f32>],
        thresholds: &Thresholds,
    ) -> Result<Found, HeadError> {
        let heads: Vec<&[f32]> = heads.iter().map(Vec::as_slice).collect();
        let mut candidates: Box<heapless::Vec<Candidate, CANDIDATES_MAX>> = Box::default();
        let mut found: Box<heapless::Vec<Detection, DETECTIONS_MAX>> = Box::default();
        let dropped = detections(
            self.head,
            fit,
            &heads,
            thresholds,
            &mut *candidates,
            &mut *found,
        )?;
        Ok(Found {
            size: fit.image(),
            dropped,
            detections: found.to_vec(),
        })
    }
}
