//! Is this field counted, where on the slide is it, and which of its cells are new?
//!
//! A frame goes [`grey`] → [`quality`] and [`map`] → [`gate`]; the detections of a field that passed
//! go through [`count_once`]. [`FieldWatch`] is all of it in a row. [`red_cells`] measures the scale.
//!
//! Never opens a file, reads a clock or knows a network; after its first frames it allocates only
//! where a key frame, a counted place or a cell is added, all of which are bounded.

pub mod count_once;
pub mod coverage;
pub mod gate;
pub mod grey;
pub mod map;
mod otsu;
pub mod quality;
pub mod red_cells;
pub mod register;

#[cfg(test)]
mod scene;
#[cfg(test)]
mod tests;

use shared::geometry::{BBox, Image, Size};
use shared::pixels::RgbView;
use thiserror::Error;

use count_once::{CountOnce, Fate, Mark, Tally};
use coverage::Coverage;
use gate::{GateLimits, Verdict, judge};
use grey::{FRAME_SIDE_MAX, REDUCED_SIDE_MIN, Reduced};
use map::{Map, MapCounters, MapLimits, Place, Step, Track};
use quality::{Best, FocusProbe, Meters};

/// Why a frame cannot be judged, or by these limits.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum FieldError {
    /// Too small, too large or too narrow.
    #[error(
        "frame of {got}, expected sides up to {FRAME_SIDE_MAX} that leave at least \
         {REDUCED_SIDE_MIN} px when the longer one is reduced to 320"
    )]
    Shape {
        /// The frame's size.
        got: Size,
    },
    /// Not the size that was announced.
    #[error("frame of {got}, expected {expected}: the source changed its size")]
    Size {
        /// Announced.
        expected: Size,
        /// Came.
        got: Size,
    },
    /// A kept blank field is not that of such frames.
    #[error("blank field of {got}, expected {expected}: kept for frames of another size")]
    Blank {
        /// Of a reduced frame.
        expected: Size,
        /// Of what was kept.
        got: Size,
    },
    /// A limit is not a number of its range.
    #[error("limit {limit} is {got}, expected 0 to {max}")]
    Limit {
        /// Which.
        limit: &'static str,
        /// As given.
        got: f32,
        /// Largest allowed.
        max: f32,
    },
    /// A number of things is out of its range.
    #[error("limit {limit} is {got}, expected 1 to {max}")]
    Count {
        /// Which.
        limit: &'static str,
        /// As given.
        got: u32,
        /// Largest allowed.
        max: u32,
    },
}

/// How a slide is watched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WatchOptions {
    /// Of every frame.
    pub frame: Size,
    /// Width of a circle's picture over its height; 1 for square pixels.
    pub squeeze: f32,
    /// When a field may be counted.
    pub gate: GateLimits,
    /// How much of the map is kept.
    pub map: MapLimits,
    /// Number of the map's first island: above all recorded ones where a count goes on.
    pub first_island: u32,
}

impl WatchOptions {
    /// Defaults for square pixels and a new slide.
    pub fn new(frame: Size) -> Self {
        Self {
            frame,
            squeeze: 1.0,
            gate: GateLimits::default(),
            map: MapLimits::default(),
            first_island: 0,
        }
    }
}

/// What was made of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Every number.
    pub meters: Meters,
    /// May it be counted, and if not, why.
    pub verdict: Verdict,
    /// Where it is.
    pub track: Track,
}

/// Watches a slide from frame to frame.
pub struct FieldWatch {
    options: WatchOptions,
    reduced: Reduced,
    probe: FocusProbe,
    focus: Best,
    compressed: Best,
    map: Map,
    counter: CountOnce,
    coverage: Coverage,
}

impl FieldWatch {
    /// Begins a slide.
    ///
    /// # Errors
    /// When frames of this size cannot be judged, or a limit is out of range.
    pub fn new(options: WatchOptions) -> Result<Self, FieldError> {
        options.gate.check()?;
        options.map.check()?;
        let reduced = Reduced::new(options.frame)?;
        Ok(Self {
            map: Map::new(&reduced, options.map, options.first_island),
            counter: CountOnce::new(options.frame, options.squeeze),
            coverage: Coverage::new(options.frame),
            probe: FocusProbe::default(),
            focus: Best::default(),
            compressed: Best::default(),
            reduced,
            options,
        })
    }

    /// Judges and places the next frame; `compressed_bytes` is its size as it came, if compressed.
    /// Every frame must be shown, also those of a moving stage: the shifts lead from one to the next.
    ///
    /// # Errors
    /// When the frame has another size than was announced; it is not taken in then.
    pub fn see(
        &mut self,
        view: RgbView<'_>,
        compressed_bytes: Option<u32>,
    ) -> Result<Seen, FieldError> {
        self.reduced.fill(view)?;
        let focus = self.probe.measure(view);
        let Step { motion, track } = self.map.follow(&self.reduced);
        let meters = Meters {
            focus,
            focus_share: self.focus.share(focus),
            compressed_share: compressed_bytes.map(|bytes| self.compressed.share(bytes as f32)),
            motion_px: motion.map(|shift| shift.length()),
            peak: match track {
                Track::Located { peak, .. } => Some(peak),
                Track::Lost { .. } => None,
            },
            place: track.place(),
            already_counted: track
                .place()
                .is_some_and(|place| self.map.is_counted(place)),
            ..quality::measure(&self.reduced)
        };
        let frame = self.options.frame;
        let verdict = judge(&meters, &self.options.gate, frame.width.max(frame.height));
        if verdict.is_steady() {
            self.map.keep();
        }
        Ok(Seen {
            meters,
            verdict,
            track,
        })
    }

    /// Notes that the last field was counted, at `place`. Its cells follow by [`FieldWatch::offer`].
    pub fn begin_count(&mut self, place: Place) {
        self.map.mark_counted(place);
        self.coverage.add(place);
    }

    /// Takes in a field that was counted before, from its stored picture, when a count goes on after
    /// a restart: the stage is then recognised there. Its cells follow by [`FieldWatch::offer`].
    ///
    /// # Errors
    /// When the picture has another size than the frames.
    pub fn recall(&mut self, picture: RgbView<'_>, place: Place) -> Result<(), FieldError> {
        self.reduced.fill(picture)?;
        self.map.recall(&self.reduced, place);
        self.coverage.add(place);
        Ok(())
    }

    /// Decides about a detection of the field at `place`, and counts it if it is new. Also takes the
    /// recorded cells of a count that goes on.
    pub fn offer(&mut self, place: Place, bbox: &BBox<Image>) -> Fate {
        self.counter.offer(place, bbox)
    }

    /// Where the count stands before a field whose record may fail.
    pub fn mark(&self) -> Mark {
        self.counter.mark()
    }

    /// The record failed: the cells offered since are not counted.
    pub fn take_back(&mut self, mark: Mark) {
        self.counter.take_back(mark);
    }

    /// The last frame shows a blank field: lamp and dirt are measured by it from now on. `false` when
    /// it is too dark to be one. Best said before the first field is counted: what was seen before is
    /// compared with what is seen after.
    pub fn take_for_blank(&mut self) -> bool {
        self.reduced.take_for_blank()
    }

    /// As [`FieldWatch::take_for_blank`], of a blank field that a calibration has kept: a picture of
    /// the reduced size.
    ///
    /// # Errors
    /// When it was kept for frames of another size.
    pub fn recall_blank(&mut self, picture: RgbView<'_>) -> Result<bool, FieldError> {
        self.reduced.recall_blank(picture)
    }

    /// The user says that the next field is a new one, far from all others.
    pub fn new_field(&mut self) {
        self.map.new_field();
    }

    /// The user has focused anew or changed the lamp: what was best before is no measure any more.
    pub fn forget_best(&mut self) {
        self.focus = Best::default();
        self.compressed = Best::default();
    }

    /// The last frame, reduced; for [`red_cells::RedCells::add`].
    pub fn reduced(&self) -> &Reduced {
        &self.reduced
    }

    /// Detections by fate.
    pub fn tally(&self) -> Tally {
        self.counter.tally()
    }

    /// What was counted of the slide.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// What the map had to do.
    pub fn map_counters(&self) -> MapCounters {
        self.map.counters()
    }
}
