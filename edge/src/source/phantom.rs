//! The drawn slide under a moving stage, as a camera would show it, with the exact truth.
//!
//! The stage stands at each field of [`StagePath`] for some frames and shows blurred frames on its
//! way to the next. A seed gives the same frames on every machine, whatever the rate, unless frames
//! are missed at a rate that cannot be held.

use std::time::{Duration, Instant};

use heapless::Vec;
use shared::geometry::Size;
use shared::phantom::{
    FieldSpec, MAX_WHITE_CELLS, PhantomCell, SpecError, StageMove, StagePath, StagePosition,
    StageStep, draw_field,
};

use super::pace::{Rate, Ticker};
use super::{FrameSource, Received, SourceCounters, SourceError, SourceIdentity, SourceKind};
use crate::frame::Frame;

/// White cells that can be seen at once: a field touches at most four tiles.
const CELLS_MAX: usize = 4 * MAX_WHITE_CELLS as usize;

/// Frames that are seen of a jump.
pub const JUMP_FRAMES: u32 = 2;

/// How the stage walks, and what it walks over.
#[derive(Clone, Debug, PartialEq)]
pub struct Walk {
    /// Seed of the first slide, its look and the size of a frame; its `stage` is where the walk
    /// begins.
    pub field: FieldSpec,
    /// Share of its width or height that a field has in common with the next, 0..=0.9.
    pub overlap: f32,
    /// Fields across, at least 1.
    pub columns: u32,
    /// Fields down, at least 1.
    pub rows: u32,
    /// Frames that the stage stands at a field, at least 1.
    pub standing: u32,
    /// Most of a frame's width or height by which the stage moves from frame to frame, 0.01..=1;
    /// above a third its shift cannot be measured. Jumps take [`JUMP_FRAMES`] frames, however far.
    pub step: f32,
    /// Blur of a frame in motion, pixels (standard deviation), 0..=4.
    pub moving_blur_px: f32,
    /// Slides, each with the seed after the last one's; `None` = without end.
    pub slides: Option<u32>,
}

impl Walk {
    /// Over one slide as the cheap camera of the demonstration sees it: 4 x 3 fields, a quarter of
    /// each in common with the next.
    pub fn demo(seed: u64) -> Self {
        Self {
            field: FieldSpec::demo(seed),
            overlap: 0.25,
            columns: 4,
            rows: 3,
            standing: 4,
            step: 0.2,
            moving_blur_px: 4.0,
            slides: Some(1),
        }
    }

    /// The same slide in finer or coarser pixels: a field is as wide as before.
    #[must_use]
    pub fn in_pixels(mut self, size: Size) -> Self {
        self.field.um_per_px *= self.field.size.width as f32 / size.width as f32;
        self.field.size = size;
        self
    }

    fn check(&self) -> Result<(), SpecError> {
        let number = |field, got, min, max| SpecError::Number {
            field,
            got,
            min,
            max,
        };
        self.field.check()?;
        if !(0.0..=0.9).contains(&self.overlap) {
            return Err(number("overlap", self.overlap, 0.0, 0.9));
        }
        if !(0.01..=1.0).contains(&self.step) {
            return Err(number("step", self.step, 0.01, 1.0));
        }
        if !(0.0..=4.0).contains(&self.moving_blur_px) {
            return Err(number("moving_blur_px", self.moving_blur_px, 0.0, 4.0));
        }
        for (field, got) in [
            ("columns", self.columns),
            ("rows", self.rows),
            ("standing", self.standing),
        ] {
            if !(1..=1000).contains(&got) {
                return Err(number(field, got as f32, 1.0, 1000.0));
            }
        }
        Ok(())
    }

    fn path(&self) -> StagePath {
        StagePath::new(&self.field, self.overlap, self.columns, self.rows)
    }
}

/// What the last frame really shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// Seed of the slide.
    pub slide: u64,
    /// Upper left corner of the frame on the slide.
    pub position: StagePosition,
    /// The stop of the walk that the stage stands at or goes to.
    pub stop: StageStep,
    /// Whether the stage is on its way.
    pub moving: bool,
}

/// The steps of the stage, frame by frame, over all slides.
#[derive(Debug)]
struct Stage {
    walk: Walk,
    slide: u32,
    path: StagePath,
    from: StagePosition,
    stop: Option<StageStep>,
    /// Frames of motion on the way to the stop.
    way: u32,
    /// Frames since the stage left the stop before.
    beat: u32,
}

impl Stage {
    fn new(walk: Walk) -> Self {
        Self {
            path: walk.path(),
            from: walk.field.stage,
            stop: None,
            way: 0,
            beat: 0,
            slide: 0,
            walk,
        }
    }

    /// Frames of motion from the stop before to this one; none at the first of a slide.
    fn way(&self, stop: &StageStep) -> u32 {
        if stop.frame == 0 {
            return 0;
        }
        if stop.movement == StageMove::Jump {
            return JUMP_FRAMES;
        }
        let field = &self.walk.field;
        let across_um = field.size.width as f32 * field.um_per_px / field.squeeze;
        let down_um = field.size.height as f32 * field.um_per_px;
        let across = (stop.position.x_um - self.from.x_um).abs() / across_um;
        let down = (stop.position.y_um - self.from.y_um).abs() / down_um;
        let steps = libm::ceilf(across.max(down) / self.walk.step) as u32;
        steps.saturating_sub(1)
    }

    /// Goes to the next stop, on the next slide when this one is over; `None` after the last.
    fn next_stop(&mut self) -> Option<StageStep> {
        if let Some(stop) = self.stop.take() {
            self.from = stop.position;
        }
        let next = self.path.next().or_else(|| {
            self.slide += 1;
            self.walk.field.seed = self.walk.field.seed.wrapping_add(1);
            let more = self.walk.slides.is_none_or(|slides| self.slide < slides);
            self.path = self.walk.path();
            more.then(|| self.path.next()).flatten()
        })?;
        self.beat = 0;
        self.way = self.way(&next);
        self.stop = Some(next);
        Some(next)
    }
}

impl Iterator for Stage {
    type Item = Shown;

    fn next(&mut self) -> Option<Shown> {
        let stop = match self.stop {
            Some(stop) if self.beat < self.way + self.walk.standing => stop,
            _ => self.next_stop()?,
        };
        self.beat += 1;
        let moving = self.beat <= self.way;
        let position = if moving {
            let part = self.beat as f32 / (self.way + 1) as f32;
            let between = |from: f32, to: f32| from + (to - from) * part;
            StagePosition {
                x_um: between(self.from.x_um, stop.position.x_um),
                y_um: between(self.from.y_um, stop.position.y_um),
            }
        } else {
            stop.position
        };
        Some(Shown {
            slide: self.walk.field.seed,
            position,
            stop,
            moving,
        })
    }
}

/// The source.
#[derive(Debug)]
pub struct Phantom {
    identity: SourceIdentity,
    counters: SourceCounters,
    ticker: Ticker,
    stage: Stage,
    sequence: u64,
    shown: Option<Shown>,
    truth: Vec<PhantomCell, CELLS_MAX>,
}

impl Phantom {
    /// A walk; times are counted from `start`, the start of the program.
    ///
    /// # Errors
    /// When a number of the walk or the rate is out of its range.
    pub fn new(walk: Walk, rate: Rate, start: Instant) -> Result<Self, SourceError> {
        walk.check()?;
        let ticker = Ticker::new(rate, start)?;
        let name = format!("phantom, seed {}", walk.field.seed);
        Ok(Self {
            identity: SourceIdentity {
                size: Some(walk.field.size),
                fps: ticker.fps(),
                ..SourceIdentity::of_pictures(SourceKind::Phantom, name)
            },
            counters: SourceCounters::default(),
            ticker,
            stage: Stage::new(walk),
            sequence: 0,
            shown: None,
            truth: Vec::new(),
        })
    }

    /// What the last frame shows; `None` before the first and after the end.
    pub fn shown(&self) -> Option<&Shown> {
        self.shown.as_ref()
    }

    /// The white cells of the last frame, cut ones with the part that is seen.
    pub fn truth(&self) -> &[PhantomCell] {
        &self.truth
    }

    fn draw(&mut self, shown: &Shown, frame: &mut Frame) -> Result<(), SpecError> {
        let walk = &self.stage.walk;
        let blur_px = if shown.moving {
            walk.moving_blur_px.max(walk.field.blur_px)
        } else {
            walk.field.blur_px
        };
        let spec = FieldSpec {
            stage: shown.position,
            // Another noise in every frame, as a sensor has it.
            frame: self.sequence as u32,
            blur_px,
            ..walk.field.clone()
        };
        // Also what makes the room for the size.
        spec.check()?;
        let size = spec.size;
        let mut picture = frame.room(size).ok_or(SpecError::Size { got: size })?;
        self.truth.clear();
        draw_field(&spec, &mut picture, &mut self.truth).map(|_| ())
    }
}

impl FrameSource for Phantom {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    fn next(&mut self, wait: Duration, frame: &mut Frame) -> Result<Received, SourceError> {
        let Some(tick) = self.ticker.wait(wait) else {
            return Ok(Received::Nothing);
        };
        for _ in 0..tick.missed {
            if self.stage.next().is_some() {
                self.counters.replaced += 1;
                self.sequence += 1;
            }
        }
        self.shown = self.stage.next();
        let Some(shown) = self.shown else {
            self.truth.clear();
            return Ok(Received::End);
        };
        self.draw(&shown, frame)?;
        frame.sequence = self.sequence;
        frame.captured = tick.captured;
        frame.compressed_bytes = None;
        self.sequence += 1;
        self.counters.frames += 1;
        Ok(Received::Frame)
    }

    fn counters(&self) -> SourceCounters {
        self.counters
    }

    fn last_damage(&self) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use shared::geometry::Size;

    use super::*;

    const WAIT: Duration = Duration::ZERO;

    /// Small fields of coarse pixels, which are drawn quickly.
    fn walk(seed: u64) -> Walk {
        let mut walk = Walk::demo(seed);
        walk.field.size = Size::new(96, 72);
        walk.field.um_per_px = 0.5;
        walk.field.blur_px = 0.4;
        walk
    }

    fn free(walk: Walk) -> Phantom {
        Phantom::new(walk, Rate::Free, Instant::now()).unwrap()
    }

    /// All frames of a walk: what they show, their bytes and their cells.
    fn all(walk: Walk) -> std::vec::Vec<(Shown, Frame, std::vec::Vec<PhantomCell>)> {
        let mut source = free(walk);
        let mut frame = Frame::new();
        let mut out = std::vec::Vec::new();
        while source.next(WAIT, &mut frame).unwrap() == Received::Frame {
            let shown = *source.shown().unwrap();
            out.push((shown, frame.clone(), source.truth().to_vec()));
        }
        assert_eq!(source.counters().frames, out.len() as u64);
        out
    }

    #[test]
    fn a_seed_gives_the_same_frames_and_another_seed_others() {
        let bytes = |seed| -> std::vec::Vec<_> {
            let frames = all(walk(seed)).into_iter();
            frames.map(|(_, frame, _)| frame.pixels).collect()
        };
        assert_eq!(bytes(5), bytes(5));
        assert_ne!(bytes(5), bytes(6));
    }

    #[test]
    fn the_stage_stands_at_every_stop_and_moves_between_them() {
        let frames = all(walk(1));
        // 27 stops of 4 frames. Neighbours are 0.75 of a frame apart, 3 frames of motion; the second
        // row begins two fields across from where the first ended, 1.5 of a frame, 7; a jump has 2.
        let way = 3 * (3 * 3) + 3 * (2 * 3) + 7 + 2;
        assert_eq!(frames.len(), 27 * 4 + way);
        for (index, (shown, frame, _)) in frames.iter().enumerate() {
            assert_eq!(frame.sequence, index as u64);
            assert!(shown.moving || shown.position == shown.stop.position);
        }
        let moving = frames.iter().filter(|(shown, ..)| shown.moving).count();
        assert_eq!(moving, way);
        for movement in [
            StageMove::Raster,
            StageMove::Pause,
            StageMove::BackTrack,
            StageMove::Jump,
        ] {
            assert!(
                frames
                    .iter()
                    .any(|(shown, ..)| shown.stop.movement == movement)
            );
        }
    }

    #[test]
    fn no_step_but_those_of_a_jump_is_longer_than_asked() {
        for step in [0.1, 0.3] {
            let mut walk = walk(1);
            walk.step = step;
            let (width_um, height_um) = (96.0 * 0.5, 72.0 * 0.5);
            let stage = Stage::new(walk);
            let places: std::vec::Vec<Shown> = stage.collect();
            let mut longest = 0_f32;
            for pair in places.windows(2) {
                let (a, b) = (pair[0].position, pair[1].position);
                let across = (b.x_um - a.x_um).abs() / width_um;
                let moved = across.max((b.y_um - a.y_um).abs() / height_um);
                if pair[1].stop.movement == StageMove::Jump {
                    assert!(moved == 0.0 || moved > 1.0, "{moved} of a frame: {pair:?}");
                } else {
                    longest = longest.max(moved);
                }
            }
            assert!(longest < step + 1e-4 && longest > step * 0.8, "{longest}");
        }
    }

    #[test]
    fn a_frame_in_motion_is_blurred_and_one_that_stands_is_not() {
        let mut walk = walk(3);
        walk.field.noise = 0.0;
        // The mean step between neighbours of a row.
        let sharpness = |frame: &Frame| {
            let steps = frame
                .pixels
                .windows(4)
                .map(|w| u64::from(w[0].abs_diff(w[3])));
            steps.sum::<u64>() as f64 / frame.pixels.len() as f64
        };
        let frames = all(walk);
        let of = |moving| {
            let some = frames
                .iter()
                .filter(move |(shown, ..)| shown.moving == moving);
            some.map(|(_, frame, _)| sharpness(frame))
        };
        let sharpest_moving = of(true).fold(0.0, f64::max);
        let dullest_standing = of(false).fold(f64::MAX, f64::min);
        assert!(
            sharpest_moving * 1.5 < dullest_standing,
            "{sharpest_moving} {dullest_standing}"
        );
    }

    #[test]
    fn the_truth_is_that_of_the_place_and_a_cell_keeps_its_name() {
        let frames = all(walk(2));
        let mut seen = BTreeSet::new();
        let mut sightings = 0;
        for (shown, _, truth) in &frames {
            for cell in truth {
                seen.insert(cell.id);
                sightings += 1;
                let (cx, cy) = cell.bbox.centre();
                assert!((0.0..96.0).contains(&cx) && (0.0..72.0).contains(&cy));
            }
            let again = frames
                .iter()
                .find(|(other, ..)| other.position == shown.position);
            assert_eq!(
                again.map(|(_, _, cells)| cells),
                Some(truth),
                "at {shown:?}"
            );
        }
        assert!(
            seen.len() > 5 && sightings > 4 * seen.len(),
            "{} {sightings}",
            seen.len()
        );
    }

    #[test]
    fn slides_follow_one_another_with_the_next_seed_and_no_way_between_them() {
        let mut walk = walk(8);
        (walk.columns, walk.rows, walk.slides) = (1, 1, Some(3));
        let frames = all(walk.clone());
        let per_slide = frames.len() / 3;
        for (index, (shown, ..)) in frames.iter().enumerate() {
            assert_eq!(shown.slide, 8 + (index / per_slide) as u64);
            assert!(!shown.moving);
        }
        walk.slides = None;
        let mut source = free(walk);
        let mut frame = Frame::new();
        for _ in 0..10 * per_slide {
            assert_eq!(source.next(WAIT, &mut frame).unwrap(), Received::Frame);
        }
        assert_eq!(source.shown().unwrap().slide, 8 + 9);
    }

    #[test]
    fn frames_that_nobody_fetched_are_replaced_as_a_camera_does() {
        let mut walk = walk(4);
        walk.slides = None;
        let mut source = Phantom::new(walk, Rate::PerSecond(500.0), Instant::now()).unwrap();
        let mut frame = Frame::new();
        source.next(WAIT, &mut frame).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(source.next(WAIT, &mut frame).unwrap(), Received::Frame);
        let counters = source.counters();
        assert!(counters.replaced >= 8, "{counters:?}");
        assert_eq!(frame.sequence, counters.replaced + 1);
    }

    #[test]
    fn a_walk_that_cannot_be_walked_is_refused_with_its_reason() {
        type Case = (fn(&mut Walk), &'static str);
        let cases: [Case; 5] = [
            (
                |walk| walk.overlap = 1.0,
                "phantom: overlap 1, expected 0 to 0.9",
            ),
            (|walk| walk.rows = 0, "phantom: rows 0, expected 1 to 1000"),
            (
                |walk| walk.standing = 0,
                "phantom: standing 0, expected 1 to 1000",
            ),
            (
                |walk| walk.moving_blur_px = f32::NAN,
                "phantom: moving_blur_px NaN, expected 0 to 4",
            ),
            (
                |walk| walk.field.size = Size::new(8, 8),
                "phantom: field of 8x8, expected sides of 16 to 4096",
            ),
        ];
        for (change, message) in cases {
            let mut walk = walk(0);
            change(&mut walk);
            let error = Phantom::new(walk, Rate::Free, Instant::now()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
