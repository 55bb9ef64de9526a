//! Augmented batches, made ahead by worker threads in an order that no thread decides.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use shared::fit::FitKind;
use shared::geometry::Size;
use tch::Tensor;

use crate::assign::Target;
use crate::augment::{Augmentation, Fitted, Planar, Rng};
use crate::dataset::Sample;
use crate::picture::{Picture, PictureError};

/// Batches that a worker may be ahead.
const AHEAD: usize = 2;

/// Canvases and what is on them.
#[derive(Debug)]
pub struct Batch {
    /// u8 `[batch, 3, height, width]`.
    pub canvases: Tensor,
    /// `image` is the position in the batch.
    pub targets: Vec<Target>,
}

impl Batch {
    /// The canvases' bytes, one after the other.
    pub fn bytes(&self) -> Vec<u8> {
        let flat = self.canvases.contiguous().view(-1);
        let mut out = vec![0; flat.numel()];
        flat.copy_data(&mut out, flat.numel());
        out
    }
}

/// The training pictures, fitted once and kept while there is room.
pub struct Loader<'a> {
    samples: Vec<&'a Sample>,
    fitted: Vec<OnceLock<Arc<Fitted>>>,
    room: AtomicUsize,
    kind: FitKind,
    canvas: Size,
}

/// What the batches of an epoch depend on.
#[derive(Clone, Copy, Debug)]
pub struct EpochPlan {
    /// Of the run.
    pub seed: u64,
    /// Counted from 0.
    pub epoch: usize,
    /// Canvases in a batch.
    pub batch: usize,
    /// Threads that make them.
    pub workers: usize,
    /// How they are varied.
    pub augmentation: Augmentation,
}

impl<'a> Loader<'a> {
    /// Keeps at most `cache_bytes` of fitted pictures; the rest is decoded again each time.
    pub fn new(samples: Vec<&'a Sample>, kind: FitKind, canvas: Size, cache_bytes: usize) -> Self {
        let fitted = samples.iter().map(|_| OnceLock::new()).collect();
        Self {
            samples,
            fitted,
            room: AtomicUsize::new(cache_bytes),
            kind,
            canvas,
        }
    }

    /// Pictures in all.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Nothing to learn from.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Batches of an epoch.
    pub fn batches(&self, batch: usize) -> usize {
        self.samples.len().div_ceil(batch)
    }

    /// Hands the batches of an epoch to `each`, in order, until it returns false.
    ///
    /// # Errors
    /// The first picture that cannot be decoded.
    pub fn epoch(
        &self,
        plan: &EpochPlan,
        mut each: impl FnMut(Batch) -> bool,
    ) -> Result<(), PictureError> {
        let mut order: Vec<usize> = (0..self.samples.len()).collect();
        Rng::new(plan.seed, plan.epoch as u64, u64::MAX).shuffle(&mut order);
        let chunks: Vec<&[usize]> = order.chunks(plan.batch).collect();
        let workers = plan.workers.clamp(1, chunks.len().max(1));
        thread::scope(|scope| {
            // Worker w makes the batches w, w + workers, ...; they are taken in turn.
            let lanes: Vec<Receiver<Result<Batch, PictureError>>> = (0..workers)
                .map(|worker| {
                    let (send, receive) = sync_channel(AHEAD);
                    let chunks = &chunks;
                    scope.spawn(move || {
                        for chunk in chunks.iter().skip(worker).step_by(workers) {
                            // The receiver is gone when the epoch was stopped.
                            if send.send(self.batch(plan, chunk)).is_err() {
                                return;
                            }
                        }
                    });
                    receive
                })
                .collect();
            for index in 0..chunks.len() {
                let batch = lanes[index % workers]
                    .recv()
                    .expect("a worker sends every batch it owns")?;
                if !each(batch) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn batch(&self, plan: &EpochPlan, indices: &[usize]) -> Result<Batch, PictureError> {
        let mut bytes = Vec::with_capacity(indices.len() * 3 * self.canvas.area().unwrap_or(0));
        let mut targets = Vec::new();
        for (image, &index) in indices.iter().enumerate() {
            let mut rng = Rng::new(plan.seed, plan.epoch as u64, index as u64);
            let mut pictures = vec![self.fitted(index)?];
            if plan.augmentation.is_mosaic(&mut rng) {
                for _ in 0..3 {
                    pictures.push(self.fitted(rng.below(self.samples.len()))?);
                }
            }
            let pictures: Vec<&Fitted> = pictures.iter().map(Arc::as_ref).collect();
            let augmented = plan.augmentation.apply(&pictures, self.canvas, &mut rng);
            bytes.extend_from_slice(&augmented.canvas);
            targets.extend(augmented.targets.into_iter().map(|t| Target { image, ..t }));
        }
        let (height, width) = (i64::from(self.canvas.height), i64::from(self.canvas.width));
        let canvases = Tensor::from_slice(&bytes).view([-1, 3, height, width]);
        Ok(Batch { canvases, targets })
    }

    fn fitted(&self, index: usize) -> Result<Arc<Fitted>, PictureError> {
        if let Some(kept) = self.fitted[index].get() {
            return Ok(Arc::clone(kept));
        }
        let fitted = Arc::new(fit(self.samples[index], self.kind, self.canvas)?);
        let bytes = fitted.picture.bytes.len();
        let room = |room: usize| room.checked_sub(bytes);
        if self
            .room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .is_ok()
        {
            // A second worker may have been faster; both made the same picture.
            let _ = self.fitted[index].set(Arc::clone(&fitted));
        }
        Ok(fitted)
    }
}

/// Decodes a sample and brings it to the size it has on the canvas, without padding.
fn fit(sample: &Sample, kind: FitKind, canvas: Size) -> Result<Fitted, PictureError> {
    let picture = Picture::open(&sample.image)?;
    let reason = || PictureError {
        path: sample.image.clone(),
        reason: format!(
            "size {}, expected {} as the labels say",
            picture.size, sample.size
        ),
    };
    if picture.size != sample.size {
        return Err(reason());
    }
    let inner = shared::fit::Fit::new(kind, picture.size, canvas)
        .ok_or_else(reason)?
        .inner();
    let (fit, mut bytes) = picture
        .on_canvas(FitKind::Stretch, inner)
        .ok_or_else(reason)?;
    if let Some(region) = sample.region.and_then(|r| fit.canvas_from_image(&r)) {
        grey_outside(&mut bytes, inner, region.xyxy());
    }
    let cells = sample
        .cells
        .iter()
        .filter_map(|cell| {
            let bbox = fit.canvas_from_image(&cell.bbox)?;
            let class = cell.class.map(|class| class.0);
            let target = Target {
                image: 0,
                class,
                cxcywh: [0.0; 4],
                attributes: cell.attributes,
            };
            Some((bbox.xyxy(), target))
        })
        .collect();
    Ok(Fitted {
        picture: Planar { bytes, size: inner },
        cells,
    })
}

/// Paints over what nobody labelled: unlabelled cells must not teach background.
fn grey_outside(planes: &mut [u8], size: Size, [x0, y0, x1, y1]: [f32; 4]) {
    let (width, height) = (size.width as usize, size.height as usize);
    for plane in planes.chunks_exact_mut(width * height) {
        for (at, value) in plane.iter_mut().enumerate() {
            let (x, y) = ((at % width) as f32 + 0.5, (at / width) as f32 + 0.5);
            if x < x0 || x >= x1 || y < y0 || y >= y1 {
                *value = shared::fit::PAD_VALUE;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_labelled_is_painted_over() {
        let mut planes = vec![7; 3 * 4 * 2];
        grey_outside(&mut planes, Size::new(4, 2), [1.0, 0.0, 3.0, 1.0]);
        let pad = shared::fit::PAD_VALUE;
        let plane = [pad, 7, 7, pad, pad, pad, pad, pad];
        assert_eq!(planes, plane.repeat(3));
    }
}
