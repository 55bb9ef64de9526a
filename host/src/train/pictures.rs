//! A run to look at: what the network is shown, how it learns, what it finds in the end; as
//! pictures in the run's folder and as TensorBoard events.

use std::path::{Path, PathBuf};

use image::RgbImage;
use shared::cell::Cell;
use shared::class::{ClassId, ClassTable};
use shared::geometry::{BBox, Image, Size};
use tch::Device;

use super::{EpochRow, TrainError, best_checkpoint};
use crate::assign::Target;
use crate::checkpoint::{Checkpoint, RunState};
use crate::dataset::{Dataset, Sample, Split};
use crate::loader::Batch;
use crate::plot::{Tile, write_labels, write_results, write_tiles};
use crate::tensorboard::EventWriter;
use crate::validate::{Judging, judge};

/// Batches of the first epoch that are drawn.
const BATCHES: usize = 3;

/// Canvases of a batch that are drawn.
const TILES: usize = 16;

/// What a run shows.
#[derive(Debug)]
pub(super) struct RunPictures {
    out: PathBuf,
    events: EventWriter,
    batches_drawn: usize,
}

impl RunPictures {
    /// Starts an event file in the run's folder, `args` in it as a text; a resumed run, of which
    /// `epochs_done` are done, makes TensorBoard forget what was told of later ones.
    pub fn open(out: &Path, epochs_done: usize, args: &str) -> Result<Self, TrainError> {
        let mut events = EventWriter::open(out)?;
        if epochs_done > 0 {
            events.restart_at(epochs_done as i64 + 1)?;
        }
        events.text(epochs_done as i64, "args", &format!("```\n{args}\n```"))?;
        events.flush()?;
        Ok(Self {
            out: out.to_path_buf(),
            events,
            batches_drawn: 0,
        })
    }

    /// `labels.jpg`: what there is to learn from.
    pub fn labels(&self, samples: &[&Sample], data: &Dataset) -> Result<(), TrainError> {
        write_labels(&self.out, samples, &data.classes, &data.schema)?;
        Ok(())
    }

    /// `train_batch0.jpg` to `train_batch2.jpg`: canvases with their targets, as the network gets
    /// them; later batches are not drawn.
    pub fn batch(
        &mut self,
        batch: &Batch,
        canvas: Size,
        classes: &ClassTable,
    ) -> Result<(), TrainError> {
        if self.batches_drawn == BATCHES {
            return Ok(());
        }
        let file = format!("train_batch{}.jpg", self.batches_drawn);
        write_tiles(&self.out.join(file), &tiles(batch, canvas), classes)?;
        self.batches_drawn += 1;
        Ok(())
    }

    /// `results.png` from the table at `results`, so that a resumed run shows its first half too,
    /// and the epoch's numbers as events.
    pub fn epoch(&mut self, row: &EpochRow, results: &Path) -> Result<(), TrainError> {
        write_results(results, &self.out.join("results.png"))?;
        for field in row.fields() {
            if let Some(value) = field.value {
                self.events.scalar(row.epoch as i64, field.name, value)?;
            }
        }
        Ok(self.events.flush()?)
    }

    /// What the best network finds on the validation split: its card, and pictures; these and those
    /// of the run's folder as events. Nothing when no epoch was done.
    pub fn finish(
        &mut self,
        state: &RunState,
        device: Device,
        data: &Dataset,
    ) -> Result<(), TrainError> {
        if state.best.is_none() {
            return Ok(());
        }
        let weights = best_checkpoint(&self.out);
        let checkpoint = Checkpoint::load(&weights)?;
        let how = Judging::on(device);
        let judged = judge(&weights, &checkpoint, data, Split::Val, &how)
            .and_then(|judged| judged.write_card(&self.out).map(|()| judged))
            .map_err(TrainError::Judged)?;
        let of_run = ["results.png", "labels.jpg"].map(str::to_owned);
        let of_batches = (0..BATCHES).map(|at| format!("train_batch{at}.jpg"));
        let mut pictures: Vec<PathBuf> = of_run
            .into_iter()
            .chain(of_batches)
            .map(|file| self.out.join(file))
            .filter(|path| path.exists())
            .collect();
        pictures.extend(judged.write_pictures(&self.out)?);
        for path in pictures {
            let encoded = std::fs::read(&path).map_err(|source| TrainError::Journal {
                path: path.clone(),
                source,
            })?;
            let tag = path.file_stem().unwrap_or_default().to_string_lossy();
            self.events
                .image(state.epochs_done as i64, &tag, &encoded)?;
        }
        Ok(self.events.flush()?)
    }
}

fn tiles(batch: &Batch, canvas: Size) -> Vec<Tile> {
    let bytes = batch.bytes();
    let plane = canvas.width as usize * canvas.height as usize;
    let canvases = bytes.chunks_exact(3 * plane).take(TILES).enumerate();
    let tiles = canvases.filter_map(|(index, planes)| {
        let rgb =
            (0..plane).flat_map(|at| [planes[at], planes[plane + at], planes[2 * plane + at]]);
        let picture = RgbImage::from_raw(canvas.width, canvas.height, rgb.collect())?;
        let own = batch.targets.iter().filter(|target| target.image == index);
        let cells = own.filter_map(|target| cell(target, canvas)).collect();
        Some(Tile { picture, cells })
    });
    tiles.collect()
}

fn cell(target: &Target, canvas: Size) -> Option<Cell> {
    let [cx, cy, w, h] = target.cxcywh;
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    let bbox: BBox<Image> = BBox::from_centre(cx * width, cy * height, w * width, h * height)?;
    let class = target.class.map(ClassId);
    Some(Cell {
        bbox,
        class,
        attributes: target.attributes,
    })
}
