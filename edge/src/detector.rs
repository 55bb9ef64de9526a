//! Picture in, detections out; replay, bench, check and the demonstration all go through here.

use std::time::{Duration, Instant};

use shared::cell::Detection;
use shared::contract::ModelContract;
use shared::detect::{CANDIDATES_MAX, DETECTIONS_MAX, Dropped, detections};
use shared::fit::Fit;
use shared::geometry::Size;
use shared::head::{HeadError, HeadSpec, Thresholds};
use shared::nms::Candidate;
use shared::pixels::RgbView;
use shared::resize::{BufferError, canvas_into, canvas_len, scratch_len};

use crate::network::{HeadBuffers, Integers, Network, NetworkError};
use crate::regions::RegionReader;

/// A picture that could not be searched.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A side is 0 or beyond the limit.
    #[error("picture of {0} cannot be laid on the canvas, expected sides of 1 to {max}", max = shared::fit::SIDE_MAX)]
    Size(Size),
    /// The canvas could not be filled.
    #[error(transparent)]
    Canvas(#[from] BufferError),
    /// The engine failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The heads are not of the contract or not finite.
    #[error(transparent)]
    Heads(#[from] HeadError),
}

/// How long each stage of one picture took.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageTimes {
    /// Picture to canvas.
    pub canvas: Duration,
    /// Canvas to raw heads.
    pub network: Duration,
    /// Raw heads to detections.
    pub postprocess: Duration,
    /// Detections to their attributes, where that is a step of its own.
    pub attributes: Option<Duration>,
}

/// What was found on one picture; borrowed from the detector until the next one.
#[derive(Debug)]
pub struct Findings<'a> {
    /// Best first, in pixels of the picture.
    pub detections: &'a [Detection],
    /// What was lost, by reason.
    pub dropped: Dropped,
    /// The canvas that was searched, `[3, height, width]` bytes.
    pub canvas: &'a [u8],
    /// How the picture lies on it.
    pub fit: Fit,
    /// How long it took.
    pub times: StageTimes,
}

/// A network with its buffers: the steady state allocates nothing of its own.
pub struct Detector {
    network: Box<dyn Network>,
    spec: HeadSpec,
    thresholds: Thresholds,
    scratch: Vec<u32>,
    canvas: Vec<u8>,
    heads: HeadBuffers,
    regions: Option<RegionReader>,
    candidates: Box<heapless::Vec<Candidate, CANDIDATES_MAX>>,
    detections: Box<heapless::Vec<Detection, DETECTIONS_MAX>>,
}

impl Detector {
    /// Around a network, with the thresholds of its contract.
    pub fn new(network: Box<dyn Network>) -> Self {
        let contract = network.contract();
        Self {
            spec: contract.head(),
            thresholds: contract.thresholds,
            scratch: Vec::new(),
            canvas: Vec::new(),
            heads: HeadBuffers::new(contract),
            regions: contract
                .regions()
                .map(|head| RegionReader::new(contract, head)),
            candidates: Box::default(),
            detections: Box::default(),
            network,
        }
    }

    /// What the model promises.
    pub fn contract(&self) -> &ModelContract {
        self.network.contract()
    }

    /// How the network's convolutions are computed, where the engine says so.
    pub fn integers(&self) -> Option<&Integers> {
        self.network.integers()
    }

    /// The engine alone.
    pub fn network(&mut self) -> &mut dyn Network {
        &mut *self.network
    }

    /// What is counted with.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Counts with other thresholds; they must be legal.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        debug_assert!(thresholds.is_legal(), "checked where they were read");
        self.thresholds = thresholds;
    }

    /// The canvas of the last picture, `[3, height, width]` bytes; empty before the first.
    pub fn canvas(&self) -> &[u8] {
        &self.canvas
    }

    /// Finds the cells of one picture.
    ///
    /// # Errors
    /// When the picture has no usable size, or the network fails or gives heads that are not finite.
    pub fn detect(&mut self, picture: RgbView<'_>) -> Result<Findings<'_>, DetectError> {
        let size = picture.size();
        let started = Instant::now();
        let contract = self.network.contract();
        let fit = Fit::new(contract.fit, size, contract.canvas).ok_or(DetectError::Size(size))?;
        if self.scratch.len() < scratch_len(&fit) {
            self.scratch.resize(scratch_len(&fit), 0);
        }
        self.canvas.resize(canvas_len(&fit), 0);
        canvas_into(picture, &fit, &mut self.scratch, &mut self.canvas)?;
        let laid = Instant::now();
        self.network.run(&self.canvas, &mut self.heads)?;
        let ran = Instant::now();
        let dropped = detections(
            &self.spec,
            &fit,
            &self.heads.views(),
            &self.thresholds,
            self.candidates.as_mut_view(),
            self.detections.as_mut_view(),
        )?;
        let found = Instant::now();
        let attributes = match &mut self.regions {
            None => None,
            Some(regions) => {
                let network = &mut *self.network;
                regions.read(network, &self.heads, &fit, &mut self.detections)?;
                Some(found.elapsed())
            }
        };
        Ok(Findings {
            detections: &self.detections,
            dropped,
            canvas: &self.canvas,
            fit,
            times: StageTimes {
                canvas: laid - started,
                network: ran - laid,
                postprocess: found - ran,
                attributes,
            },
        })
    }
}

#[cfg(test)]
mod tests;
