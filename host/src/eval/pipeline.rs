//! Many pictures through an [`Evaluator`]: decoded ahead by worker threads, in batches.

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use shared::cell::Detection;
use shared::fit::{Fit, FitKind};
use shared::geometry::Size;
use shared::head::Thresholds;

use super::{Answer, EvalError, Evaluator, Found, Symmetry, merge_views};
use crate::picture::{Picture, PictureError};

/// Batches that a worker may be ahead.
const AHEAD: usize = 2;

/// Most workers that are started without being asked for.
const WORKERS_MAX: usize = 8;

/// Canvases that go through the network at once unless another number is asked for.
pub const BATCH: usize = 8;

/// As many workers as the machine has cores, at most eight.
pub fn default_workers() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get().min(WORKERS_MAX))
}

/// How many pictures go through a network.
#[derive(Clone, Copy)]
pub struct Pipeline<'a> {
    /// The network.
    pub evaluator: &'a Evaluator<'a>,
    /// What is a detection.
    pub thresholds: Thresholds,
    /// Canvases that go through the network at once, at least all views of one picture.
    pub batch: usize,
    /// Threads that decode, at least one.
    pub workers: usize,
    /// How each picture is looked at; detections of several views are merged.
    pub views: &'a [Symmetry],
    /// Which detections a region attribute head describes: position of the picture in the list, and
    /// the detection on it.
    pub described: &'a dyn Fn(usize, &Detection) -> bool,
}

/// A canvas of a batch.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Position of the picture in the list.
    pub picture: usize,
    /// How the picture was turned.
    pub symmetry: Symmetry,
    /// How the turned picture was laid on the canvas.
    pub fit: Fit,
}

/// A batch of canvases.
#[derive(Debug, Default)]
pub struct Canvases {
    /// Planar, one after the other.
    pub bytes: Vec<u8>,
    /// What each of them shows.
    pub views: Vec<View>,
    /// Pictures that could not be used.
    refused: Vec<(usize, PictureError)>,
    made_in: Duration,
}

/// Where the time went. Pre-processing runs beside the network, so the parts may exceed the whole.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Speed {
    /// Pictures that went through the network.
    pub pictures: usize,
    /// Canvases that went through the network at once.
    pub batch: usize,
    /// Size of the canvas.
    pub canvas: (u32, u32),
    /// Decoding and fitting, summed over the workers.
    pub pre_process: Duration,
    /// The network, with the way to the device and back.
    pub inference: Duration,
    /// Decoding of the heads, suppression, merging.
    pub nms: Duration,
    /// From the first picture to the last.
    pub wall: Duration,
}

impl Speed {
    /// Milliseconds a picture of one of the parts.
    pub fn per_picture_ms(&self, part: Duration) -> f64 {
        part.as_secs_f64() * 1e3 / self.pictures.max(1) as f64
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [pre, inference, nms] =
            [self.pre_process, self.inference, self.nms].map(|part| self.per_picture_ms(part));
        let (width, height) = self.canvas;
        let batch = self.batch;
        write!(
            f,
            "speed: {pre:.1} ms pre-process, {inference:.1} ms inference, {nms:.1} ms NMS per image at shape ({batch}, 3, {height}, {width})"
        )
    }
}

impl<'a> Pipeline<'a> {
    /// Every picture as it is, in batches of [`BATCH`], decoded by [`default_workers`].
    pub fn of(evaluator: &'a Evaluator<'a>, thresholds: Thresholds) -> Self {
        Self {
            evaluator,
            thresholds,
            batch: BATCH,
            workers: default_workers(),
            views: &[Symmetry::IDENTITY],
            described: &|_, _| true,
        }
    }

    /// Looks at every picture and hands what was found to `each`, in the order of the list.
    ///
    /// `observe` sees every batch with what the network said of it.
    ///
    /// # Errors
    /// The first that `each` returns; it decides whether a picture that cannot be used ends all.
    pub fn run<E>(
        &self,
        images: &[&Path],
        observe: &mut dyn FnMut(&Answer, &Canvases),
        mut each: impl FnMut(usize, Result<Found, EvalError>) -> Result<(), E>,
    ) -> Result<Speed, E> {
        let started = Instant::now();
        let Size { width, height } = self.evaluator.canvas;
        let per_batch = (self.batch / self.views.len()).max(1);
        let mut speed = Speed {
            batch: per_batch.min(images.len()) * self.views.len(),
            canvas: (width, height),
            ..Speed::default()
        };
        let firsts: Vec<usize> = (0..images.len()).step_by(per_batch).collect();
        let workers = self.workers.clamp(1, firsts.len().max(1));
        thread::scope(|scope| {
            // Worker w makes the batches w, w + workers, ...; they are taken in turn.
            let lanes: Vec<Receiver<Canvases>> = (0..workers)
                .map(|worker| {
                    let (send, receive) = sync_channel(AHEAD);
                    let (firsts, maker) = (&firsts, self.maker());
                    scope.spawn(move || {
                        for &first in firsts.iter().skip(worker).step_by(workers) {
                            let end = images.len().min(first + per_batch);
                            // The receiver is gone when `each` stopped it.
                            if send.send(maker.canvases(images, first..end)).is_err() {
                                return;
                            }
                        }
                    });
                    receive
                })
                .collect();
            for index in 0..firsts.len() {
                let canvases = lanes[index % workers]
                    .recv()
                    .expect("a worker sends every batch it owns");
                self.batch(canvases, images, &mut speed, observe, &mut each)?;
            }
            Ok(())
        })?;
        speed.wall = started.elapsed();
        Ok(speed)
    }

    /// One batch through the network.
    fn batch<E>(
        &self,
        mut canvases: Canvases,
        images: &[&Path],
        speed: &mut Speed,
        observe: &mut dyn FnMut(&Answer, &Canvases),
        each: &mut impl FnMut(usize, Result<Found, EvalError>) -> Result<(), E>,
    ) -> Result<(), E> {
        speed.pre_process += canvases.made_in;
        let mut results: Vec<(usize, Result<Found, EvalError>)> = canvases
            .refused
            .drain(..)
            .map(|(picture, error)| (picture, Err(error.into())))
            .collect();
        if !canvases.views.is_empty() {
            let started = Instant::now();
            let answer = self.evaluator.answer(&canvases.bytes);
            speed.inference += started.elapsed();
            observe(&answer, &canvases);
            let started = Instant::now();
            let fits: Vec<Fit> = canvases.views.iter().map(|view| view.fit).collect();
            let described = |canvas: usize, found: &Detection| {
                let View {
                    picture,
                    symmetry,
                    fit,
                } = canvases.views[canvas];
                let upright = symmetry.undo(&found.bbox, symmetry.size(fit.image()));
                upright.is_some_and(|bbox| (self.described)(picture, &Detection { bbox, ..*found }))
            };
            let thresholds = self.of_a_view();
            let found = self.evaluator.read(&answer, &fits, &thresholds, described);
            let mut found = found.into_iter();
            for views in canvases.views.chunks(self.views.len()) {
                let picture = views[0].picture;
                let of_picture: Result<Vec<Found>, _> = found.by_ref().take(views.len()).collect();
                let merged = of_picture.map(|found| self.merge(views, found));
                let merged = merged.map_err(|source| EvalError::Head {
                    image: images[picture].to_string_lossy().into_owned(),
                    source,
                });
                results.push((picture, merged));
            }
            speed.nms += started.elapsed();
            speed.pictures += canvases.views.len() / self.views.len();
        }
        results.sort_by_key(|(picture, _)| *picture);
        results
            .into_iter()
            .try_for_each(|(picture, found)| each(picture, found))
    }

    /// What a single view is asked: in the mean of the views a cell may have a score that it does not
    /// have in each.
    fn of_a_view(&self) -> Thresholds {
        Thresholds {
            score: self.thresholds.score / self.views.len() as f32,
            ..self.thresholds
        }
    }

    /// One list of what the views of a picture found.
    fn merge(&self, views: &[View], mut found: Vec<Found>) -> Found {
        if let [only] = views
            && only.symmetry == Symmetry::IDENTITY
        {
            return found.remove(0);
        }
        let size = views[0].symmetry.size(found[0].size);
        let mut merged = Found {
            size,
            dropped: found[0].dropped,
            detections: Vec::new(),
        };
        for other in &found[1..] {
            merged.dropped.candidates += other.dropped.candidates;
            merged.dropped.detections += other.dropped.detections;
            merged.dropped.outside += other.dropped.outside;
        }
        let mut upright = Vec::with_capacity(views.len());
        for (view, found) in views.iter().zip(found) {
            let mut turned_back = Vec::with_capacity(found.detections.len());
            for detection in found.detections {
                match view.symmetry.undo(&detection.bbox, size) {
                    Some(bbox) => turned_back.push(Detection { bbox, ..detection }),
                    None => merged.dropped.outside += 1,
                }
            }
            upright.push(turned_back);
        }
        let value_counts = self.evaluator.value_counts();
        let (detections, over) = merge_views(&upright, &self.thresholds, value_counts);
        merged.dropped.detections += over;
        merged.detections = detections;
        merged
    }

    /// What the workers need, without the network.
    fn maker(&self) -> Maker<'_> {
        Maker {
            fit: self.evaluator.fit,
            canvas: self.evaluator.canvas,
            views: self.views,
        }
    }
}

/// Makes canvases.
struct Maker<'a> {
    fit: FitKind,
    canvas: Size,
    views: &'a [Symmetry],
}

impl Maker<'_> {
    fn canvases(&self, images: &[&Path], pictures: std::ops::Range<usize>) -> Canvases {
        let started = Instant::now();
        let mut out = Canvases::default();
        for picture in pictures {
            if let Err(error) = self.add(images[picture], picture, &mut out) {
                out.refused.push((picture, error));
            }
        }
        out.made_in = started.elapsed();
        out
    }

    /// All views of a picture, or none.
    fn add(&self, path: &Path, index: usize, out: &mut Canvases) -> Result<(), PictureError> {
        let upright = Picture::open(path)?;
        let (bytes, views) = (out.bytes.len(), out.views.len());
        for &symmetry in self.views {
            let turned;
            let picture = if symmetry == Symmetry::IDENTITY {
                &upright
            } else {
                turned = symmetry.apply(&upright);
                &turned
            };
            let laid = super::lay(picture, path, self.fit, self.canvas);
            match laid {
                Ok((fit, canvas)) => {
                    out.bytes.extend_from_slice(&canvas);
                    out.views.push(View {
                        picture: index,
                        symmetry,
                        fit,
                    });
                }
                Err(error) => {
                    out.bytes.truncate(bytes);
                    out.views.truncate(views);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
