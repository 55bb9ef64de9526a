//! Pictures through the network and the shared post-processing: what validation and prediction see
//! is what the station would see.

mod regions;

use shared::cell::{Cell, Detection};
use shared::detect::{CANDIDATES_MAX, DETECTIONS_MAX, Dropped, detections};
use shared::fit::{Fit, FitKind};
use shared::geometry::{BBox, Image, Size};
use shared::head::{HeadError, HeadSpec, Thresholds};
use shared::nms::Candidate;
use tch::{Device, Tensor};

use crate::checkpoint::floats;
use crate::model::{Detector, Outputs, scaled};
use crate::picture::{Picture, PictureError};

pub use regions::read_attributes;

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
        self.outputs(canvas).heads.iter().map(floats).collect()
    }

    fn outputs(&self, canvas: &[u8]) -> Outputs {
        let (height, width) = (i64::from(self.canvas.height), i64::from(self.canvas.width));
        tch::no_grad(|| {
            let input = Tensor::from_slice(canvas)
                .view([1, 3, height, width])
                .to_device(self.device);
            self.network.forward(&scaled(&input), false)
        })
    }

    /// Finds the cells of a picture, with their attributes.
    ///
    /// # Errors
    /// When the picture does not fit on a canvas or the network's answer is not finite.
    pub fn detect(
        &self,
        picture: &Picture,
        name: &str,
        thresholds: &Thresholds,
    ) -> Result<Found, EvalError> {
        self.detect_wanted(picture, name, thresholds, |_| true)
    }

    /// As [`Evaluator::detect`], but a region attribute head reads only boxes that overlap a cell of
    /// `truths` by `iou_min` or more: those whose attributes are judged. Of the hundreds of boxes that
    /// average precision takes it would otherwise read all, at many times the cost of the network.
    ///
    /// # Errors
    /// As [`Evaluator::detect`].
    pub fn detect_judged(
        &self,
        picture: &Picture,
        name: &str,
        thresholds: &Thresholds,
        truths: &[Cell],
        iou_min: f32,
    ) -> Result<Found, EvalError> {
        let judged = |bbox: &BBox<Image>| truths.iter().any(|cell| cell.bbox.iou(bbox) >= iou_min);
        self.detect_wanted(picture, name, thresholds, judged)
    }

    fn detect_wanted(
        &self,
        picture: &Picture,
        name: &str,
        thresholds: &Thresholds,
        wanted: impl Fn(&BBox<Image>) -> bool,
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
        let outputs = self.outputs(&canvas);
        let heads: Vec<Vec<f32>> = outputs.heads.iter().map(floats).collect();
        let read = || {
            let mut found = self.decode(&fit, &heads, thresholds)?;
            if let Some(head) = self.network.regions() {
                let detections = &mut found.detections;
                read_attributes(head, &outputs.fine, 0, &fit, detections, wanted)?;
            }
            Ok(found)
        };
        read().map_err(|source| EvalError::Head {
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
