//! Augmented batches, made ahead by worker threads in an order that no thread decides.

mod crew;
mod fit;
mod order;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use shared::fit::{Fit, FitKind};
use shared::geometry::Size;
use tch::{Kind, Tensor};

use crate::assign::Target;
use crate::augment::{Augmentation, Augmented, Fitted, Packed, Pictures, Rng};
use crate::cache::{Cache, CachePlan, CacheReport, EntryKey};
use crate::dataset::Sample;
use crate::picture::PictureError;

use crew::Crew;
use order::Repeats;

/// Batches that the workers may be ahead, at least.
const AHEAD: usize = 2;

/// Canvases and what is on them.
#[derive(Debug)]
pub struct Batch {
    /// u8 `[batch, 3, height, width]`; `batch` is 0 where the last global batch leaves nothing for
    /// this process.
    pub canvases: Tensor,
    /// `image` is the position in the batch.
    pub targets: Vec<Target>,
    /// Canvases of this batch over all processes.
    pub global: usize,
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
    items: Vec<Item<'a>>,
    cache: Cache,
    canvas: Size,
    repeats: Repeats,
}

struct Item<'a> {
    sample: &'a Sample,
    fit: Option<Fit>,
    cells: fit::Cells,
}

/// What the batches of an epoch depend on.
#[derive(Clone, Copy, Debug)]
pub struct EpochPlan {
    /// Of the run.
    pub seed: u64,
    /// Counted from 0.
    pub epoch: usize,
    /// Canvases in a batch of one process.
    pub batch: usize,
    /// Threads that make them.
    pub workers: usize,
    /// How they are varied.
    pub augmentation: Augmentation,
    /// Which process this is, below `world`.
    pub rank: usize,
    /// Processes that share the batches; a global batch has `world * batch` canvases.
    pub world: usize,
}

impl<'a> Loader<'a> {
    /// Keeps fitted pictures as `cache` says; the rest is decoded again each time.
    pub fn new(samples: Vec<&'a Sample>, kind: FitKind, canvas: Size, cache: &CachePlan) -> Self {
        let item = |sample: &'a Sample| {
            let fit = fit::fit_of(sample, kind, canvas);
            let cells = fit.map_or_else(Vec::new, |fit| fit::cells_of(sample, &fit));
            Item { sample, fit, cells }
        };
        let items: Vec<Item<'a>> = samples.into_iter().map(item).collect();
        let sizes: Vec<Option<Size>> = items.iter().map(|i| Some(i.fit?.inner())).collect();
        let key = |index: usize| {
            let item: &Item<'_> = &items[index];
            EntryKey::new(item.sample, item.fit?.inner())
        };
        let cache = Cache::open(cache, &sizes, key);
        Self {
            repeats: Repeats::once(items.len()),
            items,
            cache,
            canvas,
        }
    }

    /// Shows every picture as often as its factor says (see
    /// [`repeat_factors`](crate::dataset::repeat_factors)), and as often draws it into mosaics.
    ///
    /// # Panics
    /// When there is not one factor a sample.
    #[must_use]
    pub fn repeated(mut self, factors: &[f64]) -> Self {
        assert_eq!(factors.len(), self.items.len(), "one factor a sample");
        self.repeats = Repeats::new(factors);
        self
    }

    /// Canvases of an epoch over all processes, the same number in every one.
    pub fn len(&self) -> usize {
        self.repeats.epoch_len()
    }

    /// Nothing to learn from.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Batches of an epoch, of `batch` canvases over all processes.
    pub fn batches(&self, batch: usize) -> usize {
        self.len().div_ceil(batch)
    }

    /// What the cache did so far.
    pub fn cache_report(&self) -> CacheReport {
        self.cache.report()
    }

    /// Why the cache stopped to take pictures, the first time it is asked after it did.
    pub fn cache_failure(&self) -> Option<&str> {
        self.cache.failure_to_tell()
    }

    /// Hands this process's part of the batches of an epoch to `each`, in order, until it returns false.
    ///
    /// # Errors
    /// The first picture that cannot be decoded.
    pub fn epoch(
        &self,
        plan: &EpochPlan,
        each: impl FnMut(Batch) -> bool,
    ) -> Result<(), PictureError> {
        let order = self.repeats.order(plan.seed, plan.epoch);
        let (batch, world) = (plan.batch.max(1), plan.world.max(1));
        let parts = order::parts(order.len(), batch, plan.rank, world);
        let sizes: Vec<usize> = parts.iter().map(ExactSizeIterator::len).collect();
        let crew = Crew {
            workers: plan.workers,
            // Enough that no worker waits while the last canvas of a batch is made.
            ahead: AHEAD.max(plan.workers.div_ceil(batch) + 1),
        };
        let make = |part: usize, item: usize| {
            let stream = order[parts[part].start + item];
            self.canvas(plan, stream, &order)
        };
        let mut globals = order.chunks(batch * world).map(<[usize]>::len);
        let mut each = each;
        crew::in_order(
            &sizes,
            crew,
            make,
            |made| self.gather(made),
            |batch| {
                let global = globals.next().unwrap_or(0);
                each(Batch { global, ..batch })
            },
        )
    }

    /// One canvas; `order` is what the other pictures of mosaics are drawn from.
    fn canvas(
        &self,
        plan: &EpochPlan,
        stream: usize,
        order: &[usize],
    ) -> Result<Augmented, PictureError> {
        let mut rng = Rng::new(plan.seed, plan.epoch as u64, stream as u64);
        let pictures = Pictures {
            pool: order,
            fetch: |stream: usize| self.fitted(stream % self.items.len()),
        };
        plan.augmentation
            .apply(stream, &pictures, self.canvas, &mut rng)
    }

    fn gather(&self, made: Vec<Augmented>) -> Batch {
        let (height, width) = (i64::from(self.canvas.height), i64::from(self.canvas.width));
        let canvases = Tensor::empty(
            [made.len() as i64, 3, height, width],
            (Kind::Uint8, tch::Device::Cpu),
        );
        let mut targets = Vec::new();
        for (image, augmented) in made.into_iter().enumerate() {
            let canvas = Tensor::from_slice(&augmented.canvas).view([3, height, width]);
            canvases.get(image as i64).copy_(&canvas);
            targets.extend(augmented.targets.into_iter().map(|t| Target { image, ..t }));
        }
        Batch {
            canvases,
            targets,
            global: 0,
        }
    }

    fn fitted(&self, index: usize) -> Result<Fitted<'_>, PictureError> {
        let item = &self.items[index];
        let key = || EntryKey::new(item.sample, item.fit?.inner());
        let make =
            || -> Result<Packed, PictureError> { fit::picture_of(item.sample, item.fit.as_ref()) };
        let picture: Arc<Packed> = self.cache.get(index, key, make)?;
        Ok(Fitted {
            picture,
            cells: &item.cells,
        })
    }
}
