//! Where on the slide the stage stands: the shifts between frames, held together by key frames.
//!
//! A frame is placed by the nearest key frame it agrees with, not by the sum of all shifts: the way
//! to a place and the way back then end at the same coordinates, and what was counted there is
//! found again. Only where no key frame agrees does the shift against the frame before count. Where
//! neither does, the place is lost, until a key frame is recognised or a new field is declared by
//! hand, which begins a new island: its distance to the others is not known.
//!
//! Islands that meet are not joined: what lies on both is counted twice. So a new field should be
//! declared only after every key frame was compared ([`Track::Lost`] says how many were), which is
//! when the view has nothing in common with any counted field that is remembered.

use serde::{Deserialize, Serialize};
use shared::geometry::Size;

use super::FieldError;
use super::grey::Reduced;
use super::register::{REACH, Registrar, Shift, Spectrum, believed};

/// Distance along an axis from which a further key frame is kept, as a part of the frame's side.
const KEY_SPACING: f64 = 0.2;

/// Key frames tried on the way; the nearest nearly always agrees.
const TRIED: usize = 3;

/// A key frame may contradict the shift against the frame before by this part of the frame's longer
/// side, which is far more than drift and far less than a wrong match.
const CONTRADICTION: f64 = 0.1;

/// Counted places that are remembered.
pub const VISITED_MAX: usize = 8192;

/// Distance along an axis up to which two places are one field, as a part of the frame's side.
const SAME_FIELD: f64 = 0.01;

/// Position of a frame's upper left corner, pixels of the frame, on an island of the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Fields whose distance is known share an island; from 0.
    pub island: u32,
    /// To the right of the island's first field.
    pub x_px: f64,
    /// Below the island's first field.
    pub y_px: f64,
}

impl Place {
    fn moved(self, shift: Shift) -> Self {
        Self {
            x_px: self.x_px + f64::from(shift.x),
            y_px: self.y_px + f64::from(shift.y),
            ..self
        }
    }

    /// Distance along the axes; `None` between islands.
    fn apart(self, other: Self) -> Option<[f64; 2]> {
        (self.island == other.island).then(|| {
            [
                (self.x_px - other.x_px).abs(),
                (self.y_px - other.y_px).abs(),
            ]
        })
    }
}

/// How much is kept and tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MapLimits {
    /// Most key frames, 1..=4096; each needs up to 100 KB. The one that was of no use for the
    /// longest time makes room, and is counted.
    pub key_frames_max: u32,
    /// Key frames compared with each frame while the place is lost, 1..=64.
    pub searched_per_frame: u32,
}

impl Default for MapLimits {
    fn default() -> Self {
        Self {
            key_frames_max: 256,
            searched_per_frame: 8,
        }
    }
}

impl MapLimits {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first limit above its range, or 0.
    pub fn check(&self) -> Result<(), FieldError> {
        let ranges = [
            ("key_frames_max", self.key_frames_max, 4096),
            ("searched_per_frame", self.searched_per_frame, 64),
        ];
        for (limit, got, max) in ranges {
            if !(1..=max).contains(&got) {
                return Err(FieldError::Count { limit, got, max });
            }
        }
        Ok(())
    }
}

/// What a place stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The first frame of an island.
    Start,
    /// A key frame near by.
    KeyFrame,
    /// The frame before.
    Previous,
    /// A key frame that was recognised after the place had been lost.
    Recognised,
}

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "track")]
pub enum Track {
    /// Here.
    Located {
        /// Upper left corner.
        place: Place,
        /// What that stands on.
        via: Via,
        /// Height of the peak, 0..=1; 1 at a start.
        peak: f32,
    },
    /// Nobody knows.
    Lost {
        /// Key frames that were compared since the stage last moved, at most `of`.
        searched: u32,
        /// Key frames there are.
        of: u32,
    },
}

impl Track {
    /// The place, when it is known.
    pub fn place(&self) -> Option<Place> {
        match *self {
            Self::Located { place, .. } => Some(place),
            Self::Lost { .. } => None,
        }
    }
}

/// A frame followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Against the frame before, pixels of the frame; `None` for the first one and where the two
    /// have nothing in common.
    pub motion: Option<Shift>,
    /// Where it is.
    pub track: Track,
}

/// What the map had to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MapCounters {
    /// Key frames kept now.
    pub key_frames: u32,
    /// Key frames that made room for others: a return to their place may not be recognised.
    pub forgotten: u32,
    /// Times the place was lost.
    pub lost: u32,
    /// Times it was recognised again.
    pub recognised: u32,
    /// Key frames that contradicted the frame before and were not believed.
    pub contradictions: u32,
    /// Counted places that were not remembered, because [`VISITED_MAX`] were.
    pub visits_forgotten: u32,
}

struct KeyFrame {
    place: Place,
    grey: Vec<u8>,
    /// Number of the frame that it last placed.
    used: u64,
}

#[derive(Clone, Copy)]
enum State {
    /// The next frame is the first of the island.
    Fresh,
    At(Place),
    /// Since then; where the search goes on in `order`, and how much of it was done at rest.
    Lost {
        last: Place,
        next: usize,
        searched: usize,
    },
}

/// A picture with its transform.
#[derive(Default)]
struct Seen {
    grey: Vec<u8>,
    spectrum: Spectrum,
}

/// The map of a slide.
pub struct Map {
    registrar: Registrar,
    size: Size,
    factor: u32,
    limits: MapLimits,
    state: State,
    island: u32,
    /// The highest number of an island so far.
    newest_island: u32,
    frame: u64,
    current: Seen,
    before: Seen,
    keys: Vec<KeyFrame>,
    /// Transform of a key frame, and of which.
    key_spectrum: Spectrum,
    transformed: Option<usize>,
    order: Vec<u32>,
    visited: Vec<Place>,
    counters: MapCounters,
}

impl Map {
    /// An empty map for what `reduced` is; `island` is the number of its first island, not 0 where a
    /// count goes on whose key frames are gone.
    pub fn new(reduced: &Reduced, limits: MapLimits, island: u32) -> Self {
        Self {
            registrar: Registrar::new(reduced.size()),
            size: reduced.size(),
            factor: reduced.factor(),
            limits,
            state: State::Fresh,
            island,
            newest_island: island,
            frame: 0,
            current: Seen::default(),
            before: Seen::default(),
            keys: Vec::new(),
            key_spectrum: Spectrum::default(),
            transformed: None,
            order: Vec::new(),
            visited: Vec::new(),
            counters: MapCounters::default(),
        }
    }

    /// Places the next frame.
    ///
    /// # Panics
    /// When the picture has another size than the map was made for.
    pub fn follow(&mut self, reduced: &Reduced) -> Step {
        std::mem::swap(&mut self.before, &mut self.current);
        self.current.grey.clear();
        self.current.grey.extend_from_slice(reduced.grey());
        self.registrar
            .transform(reduced.grey(), &mut self.current.spectrum);
        self.frame += 1;
        let motion = (self.frame > 1).then(|| self.motion()).flatten();
        let track = match self.state {
            State::Fresh => self.start(),
            State::At(place) => self.go_on(place, motion),
            State::Lost {
                last,
                next,
                searched,
            } => self.search(last, next, searched, motion),
        };
        Step {
            motion: motion.map(|shift| shift.scaled(self.factor as f32)),
            track,
        }
    }

    /// Declares the next frame the first of a new island.
    pub fn new_field(&mut self) {
        // An island without a key frame holds no counted field.
        if self.keys.iter().any(|key| key.place.island == self.island) {
            self.newest_island += 1;
            self.island = self.newest_island;
        }
        self.state = State::Fresh;
    }

    /// Remembers the last frame, unless a key frame lies near or the place is lost. To be said of
    /// sharp frames of a stage at rest.
    pub fn keep(&mut self) {
        let State::At(place) = self.state else {
            return;
        };
        let spacing = self.part(KEY_SPACING);
        let near = |key: &KeyFrame| {
            key.place
                .apart(place)
                .is_some_and(|apart| (0..2).all(|k| apart[k] < spacing[k]))
        };
        if !self.keys.iter().any(near) {
            let grey = std::mem::take(&mut self.current.grey);
            self.remember(place, &grey);
            self.current.grey = grey;
        }
    }

    /// Takes a field in that was counted before this map was made, so that the stage is recognised
    /// there. The next frame is looked for among such fields.
    ///
    /// # Panics
    /// When the picture has another size than the map was made for.
    pub fn recall(&mut self, reduced: &Reduced, place: Place) {
        assert_eq!(reduced.size(), self.size, "size of a recalled field");
        self.remember(place, reduced.grey());
        self.visit(place);
        self.island = self.island.max(place.island);
        self.newest_island = self.newest_island.max(place.island);
        self.state = State::Lost {
            last: place,
            next: 0,
            searched: 0,
        };
    }

    fn visit(&mut self, place: Place) {
        if self.visited.len() < VISITED_MAX {
            self.visited.push(place);
        } else {
            self.counters.visits_forgotten += 1;
        }
    }

    /// Notes that the field at a place was counted; it is a key frame from now on if it is the last.
    pub fn mark_counted(&mut self, place: Place) {
        self.visit(place);
        self.keep();
    }

    /// Was a field counted at this place?
    pub fn is_counted(&self, place: Place) -> bool {
        let same = self.part(SAME_FIELD);
        let is_here = |visited: &Place| {
            visited
                .apart(place)
                .is_some_and(|apart| (0..2).all(|k| apart[k] <= same[k]))
        };
        self.visited.iter().rev().any(is_here)
    }

    /// Counted places, in the order of counting.
    pub fn visited(&self) -> &[Place] {
        &self.visited
    }

    /// What was done so far.
    pub fn counters(&self) -> MapCounters {
        MapCounters {
            key_frames: self.keys.len() as u32,
            ..self.counters
        }
    }

    /// Part of the frame's sides, pixels of the frame.
    fn part(&self, part: f64) -> [f64; 2] {
        [self.size.width, self.size.height].map(|side| f64::from(side * self.factor) * part)
    }

    /// The shift against the frame before, if it can be believed.
    fn motion(&mut self) -> Option<Shift> {
        let shift = self
            .registrar
            .shift(&self.before.spectrum, &self.current.spectrum);
        believed(self.size, &self.before.grey, &self.current.grey, shift)
    }

    fn start(&mut self) -> Track {
        let place = Place {
            island: self.island,
            x_px: 0.0,
            y_px: 0.0,
        };
        self.state = State::At(place);
        Track::Located {
            place,
            via: Via::Start,
            peak: 1.0,
        }
    }

    fn go_on(&mut self, last: Place, motion: Option<Shift>) -> Track {
        let motion = motion.map(|shift| shift.scaled(self.factor as f32));
        let expected = motion.map_or(last, |shift| last.moved(shift));
        for index in self.nearest(expected).into_iter().flatten() {
            let Some((place, peak)) = self.placed_by(index) else {
                continue;
            };
            let apart = place.apart(expected).map(|[x, y]| x.hypot(y));
            let longer = f64::from(self.size.width.max(self.size.height) * self.factor);
            if motion.is_some() && apart.is_none_or(|px| px > CONTRADICTION * longer) {
                self.counters.contradictions += 1;
                continue;
            }
            return self.at(index, place, Via::KeyFrame, peak);
        }
        if let Some(shift) = motion {
            self.state = State::At(expected);
            return Track::Located {
                place: expected,
                via: Via::Previous,
                peak: shift.peak,
            };
        }
        if self.keys.is_empty() {
            // Nothing was counted yet: the map may as well begin now.
            return self.start();
        }
        self.counters.lost += 1;
        self.search(last, 0, 0, None)
    }

    /// Up to [`TRIED`] key frames of the island within reach, the nearest first.
    fn nearest(&self, expected: Place) -> [Option<usize>; TRIED] {
        let reach = self.part(f64::from(REACH));
        let mut best = [(f64::INFINITY, None); TRIED];
        for (index, key) in self.keys.iter().enumerate() {
            let Some(apart) = key.place.apart(expected) else {
                continue;
            };
            let far = (apart[0] / reach[0]).hypot(apart[1] / reach[1]);
            if (0..2).any(|axis| apart[axis] > reach[axis]) || far >= best[TRIED - 1].0 {
                continue;
            }
            best[TRIED - 1] = (far, Some(index));
            best.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        best.map(|(_, index)| index)
    }

    /// Where the current frame lies by a key frame, if the two agree.
    fn placed_by(&mut self, index: usize) -> Option<(Place, f32)> {
        let key = &self.keys[index];
        if self.transformed != Some(index) {
            self.registrar.transform(&key.grey, &mut self.key_spectrum);
            self.transformed = Some(index);
        }
        let shift = self
            .registrar
            .shift(&self.key_spectrum, &self.current.spectrum);
        let shift = believed(self.size, &key.grey, &self.current.grey, shift)?;
        Some((
            key.place.moved(shift.scaled(self.factor as f32)),
            shift.peak,
        ))
    }

    fn at(&mut self, index: usize, place: Place, via: Via, peak: f32) -> Track {
        self.keys[index].used = self.frame;
        self.island = place.island;
        self.state = State::At(place);
        Track::Located { place, via, peak }
    }

    /// Compares with a few more key frames, those near the last place first. A moving stage begins
    /// anew: what was compared says nothing about the new view.
    fn search(
        &mut self,
        last: Place,
        next: usize,
        searched: usize,
        motion: Option<Shift>,
    ) -> Track {
        let rests = motion.is_some_and(|shift| {
            (shift.x.abs() as f64) < SAME_FIELD * f64::from(self.size.width)
                && (shift.y.abs() as f64) < SAME_FIELD * f64::from(self.size.height)
        });
        let (mut next, mut searched) = if rests { (next, searched) } else { (0, 0) };
        if next == 0 {
            self.order_from(last);
        }
        let all = self.keys.len();
        for _ in 0..(self.limits.searched_per_frame as usize).min(all) {
            let index = self.order[next % all] as usize;
            next += 1;
            searched += 1;
            if let Some((place, peak)) = self.placed_by(index) {
                self.counters.recognised += 1;
                return self.at(index, place, Via::Recognised, peak);
            }
        }
        self.state = State::Lost {
            last,
            next,
            searched,
        };
        Track::Lost {
            searched: searched.min(all) as u32,
            of: all as u32,
        }
    }

    /// Sorts all key frames by their distance from a place, other islands behind.
    fn order_from(&mut self, last: Place) {
        self.order.clear();
        self.order.extend(0..self.keys.len() as u32);
        let keys = &self.keys;
        let far = |index: u32| {
            let apart = keys[index as usize].place.apart(last);
            apart.map_or(f64::INFINITY, |[x, y]| x.hypot(y))
        };
        self.order
            .sort_unstable_by(|&a, &b| far(a).total_cmp(&far(b)).then(a.cmp(&b)));
    }

    fn remember(&mut self, place: Place, grey: &[u8]) {
        if self.keys.len() < self.limits.key_frames_max as usize {
            self.keys.push(KeyFrame {
                place,
                grey: grey.to_vec(),
                used: self.frame,
            });
            return;
        }
        let oldest = self.keys.iter().enumerate().min_by_key(|(_, key)| key.used);
        let Some((index, _)) = oldest else {
            return;
        };
        let key = &mut self.keys[index];
        key.place = place;
        key.grey.copy_from_slice(grey);
        key.used = self.frame;
        if self.transformed == Some(index) {
            self.transformed = None;
        }
        self.counters.forgotten += 1;
    }
}
