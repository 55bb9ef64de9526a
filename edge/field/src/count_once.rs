//! A cell is counted once, however often it is seen.
//!
//! Counted cells are kept by their place on the map, in a grid of buckets, so that the cost of a
//! detection does not grow with the slide.

use std::collections::HashMap;

use serde::Serialize;
use shared::geometry::{BBox, Image, Size};

use super::map::Place;

/// Most cells of a slide, ten times the largest reference count (400) with room for artefacts;
/// further ones are refused and counted.
pub const CELLS_MAX: usize = 16_384;

/// A box that comes as near to the frame's edge as this part of its longer side is taken to be cut
/// there: a detector's box of a cut cell seldom ends exactly at the edge.
const EDGE_SHARE: f32 = 0.03;

/// At least as near, pixels.
const EDGE_MIN_PX: f32 = 1.0;

/// What becomes of a detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Counted, under this number, from 0.
    New(u32),
    /// It is this counted cell.
    Duplicate(u32),
    /// The frame's edge cuts it, or nearly: not counted here.
    Margin,
    /// There were [`CELLS_MAX`] before it.
    NoRoom,
}

/// Detections by fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Counted.
    pub new: u32,
    /// Seen again.
    pub duplicates: u32,
    /// Too near to the edge.
    pub margin: u32,
    /// Refused for want of room.
    pub no_room: u32,
}

/// The count as it was, to go back to when a field was not recorded after all.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    cells: usize,
    tally: Tally,
}

struct Counted {
    island: u32,
    centre: [f64; 2],
    diameter: f32,
}

/// The counted cells of a slide.
pub struct CountOnce {
    frame: Size,
    squeeze: f32,
    bucket_px: f64,
    cells: Vec<Counted>,
    buckets: HashMap<(u32, i64, i64), Vec<u32>>,
    diameter_max: f32,
    tally: Tally,
}

impl CountOnce {
    /// For frames of `frame` in which a circle is `squeeze` times as wide as high (1 for square
    /// pixels). No cell is counted yet.
    pub fn new(frame: Size, squeeze: f32) -> Self {
        Self {
            frame,
            squeeze: if squeeze.is_finite() {
                squeeze.clamp(0.1, 10.0)
            } else {
                1.0
            },
            // A field has a few buckets, a bucket a few cells.
            bucket_px: f64::from(frame.width.max(frame.height).max(8)) / 8.0,
            cells: Vec::new(),
            buckets: HashMap::new(),
            diameter_max: 0.0,
            tally: Tally::default(),
        }
    }

    /// Decides about a detection of the field at `place`, and counts it if it is new.
    pub fn offer(&mut self, place: Place, bbox: &BBox<Image>) -> Fate {
        let fate = self.fate(place, bbox);
        let count = match fate {
            Fate::New(_) => &mut self.tally.new,
            Fate::Duplicate(_) => &mut self.tally.duplicates,
            Fate::Margin => &mut self.tally.margin,
            Fate::NoRoom => &mut self.tally.no_room,
        };
        *count += 1;
        if let Fate::New(number) = fate {
            self.insert(number, place, bbox);
        }
        fate
    }

    /// Where the count stands.
    pub fn mark(&self) -> Mark {
        Mark {
            cells: self.cells.len(),
            tally: self.tally,
        }
    }

    /// Forgets every cell that was counted since: its field is not in the record.
    pub fn take_back(&mut self, mark: Mark) {
        if mark.cells >= self.cells.len() {
            self.tally = mark.tally;
            return;
        }
        for bucket in self.buckets.values_mut() {
            bucket.retain(|&number| (number as usize) < mark.cells);
        }
        self.cells.truncate(mark.cells);
        self.tally = mark.tally;
    }

    /// So far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn fate(&self, place: Place, bbox: &BBox<Image>) -> Fate {
        if self.is_cut(bbox) {
            return Fate::Margin;
        }
        match self.same(&self.counted(place, bbox)) {
            Some(number) => Fate::Duplicate(number),
            None if self.cells.len() >= CELLS_MAX => Fate::NoRoom,
            None => Fate::New(self.cells.len() as u32),
        }
    }

    /// Its middle is nearer to the edge than half of it, with a little to spare; a strip of a cell
    /// counts as wide as it is long, because a box may end before the edge that cuts the cell.
    fn is_cut(&self, bbox: &BBox<Image>) -> bool {
        let spare = (EDGE_SHARE * bbox.width().max(bbox.height())).max(EDGE_MIN_PX);
        let [x0, y0, x1, y1] = bbox.xyxy();
        let (width, height) = (self.frame.width as f32, self.frame.height as f32);
        if x0 < spare || y0 < spare || x1 > width - spare || y1 > height - spare {
            return true;
        }
        let (x, y) = bbox.centre();
        let half = (bbox.width() / self.squeeze).max(bbox.height()) / 2.0;
        let across = half * self.squeeze;
        x < across || y < half || x > width - across || y > height - half
    }

    /// Place and size with the squeeze undone, in the frame's vertical pixels.
    fn counted(&self, place: Place, bbox: &BBox<Image>) -> Counted {
        let (x, y) = bbox.centre();
        Counted {
            island: place.island,
            centre: [
                (place.x_px + f64::from(x)) / f64::from(self.squeeze),
                place.y_px + f64::from(y),
            ],
            diameter: (bbox.width() / self.squeeze + bbox.height()) / 2.0,
        }
    }

    /// The nearest counted cell within half a diameter, the mean of both cells': neighbours that
    /// touch are twice as far apart, so that neither a wrong place nor a box that sits badly makes
    /// one cell of two, or two of one, before it is off by half a radius.
    fn same(&self, cell: &Counted) -> Option<u32> {
        let reach = f64::from(cell.diameter + self.diameter_max) / 4.0;
        let low = cell
            .centre
            .map(|at| ((at - reach) / self.bucket_px).floor() as i64);
        let high = cell
            .centre
            .map(|at| ((at + reach) / self.bucket_px).floor() as i64);
        let mut best: Option<(f64, u32)> = None;
        for row in low[1]..=high[1] {
            for column in low[0]..=high[0] {
                let bucket = self.buckets.get(&(cell.island, column, row));
                for &number in bucket.into_iter().flatten() {
                    let other = &self.cells[number as usize];
                    let [dx, dy] = [0, 1].map(|axis| other.centre[axis] - cell.centre[axis]);
                    let (apart, limit) = (
                        dx.hypot(dy),
                        f64::from(cell.diameter + other.diameter) / 4.0,
                    );
                    if apart < limit && best.is_none_or(|(nearest, _)| apart < nearest) {
                        best = Some((apart, number));
                    }
                }
            }
        }
        best.map(|(_, number)| number)
    }

    fn insert(&mut self, number: u32, place: Place, bbox: &BBox<Image>) {
        let cell = self.counted(place, bbox);
        let [column, row] = cell.centre.map(|at| (at / self.bucket_px).floor() as i64);
        self.buckets
            .entry((cell.island, column, row))
            .or_default()
            .push(number);
        self.diameter_max = self.diameter_max.max(cell.diameter);
        self.cells.push(cell);
    }
}

#[cfg(test)]
mod take_back {
    use super::*;

    #[test]
    fn cells_of_a_field_that_was_not_recorded_are_new_again_and_the_others_are_not() {
        let mut counter = CountOnce::new(Size::new(100, 100), 1.0);
        let place = Place::default();
        let cell = |x: f32| BBox::from_corners(x, 40.0, x + 10.0, 50.0).unwrap();
        assert_eq!(counter.offer(place, &cell(20.0)), Fate::New(0));
        let (mark, tally) = (counter.mark(), counter.tally());
        assert_eq!(counter.offer(place, &cell(40.0)), Fate::New(1));
        assert_eq!(counter.offer(place, &cell(20.0)), Fate::Duplicate(0));
        counter.take_back(mark);
        assert_eq!(counter.tally(), tally);
        assert_eq!(counter.offer(place, &cell(20.0)), Fate::Duplicate(0));
        assert_eq!(counter.offer(place, &cell(40.0)), Fate::New(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Size = Size::new(640, 480);

    fn at(x_px: f64, y_px: f64) -> Place {
        Place {
            island: 0,
            x_px,
            y_px,
        }
    }

    fn round(cx: f32, cy: f32, side: f32) -> BBox<Image> {
        BBox::from_centre(cx, cy, side, side).unwrap()
    }

    #[test]
    fn a_cell_seen_from_three_places_is_counted_once() {
        let mut count = CountOnce::new(FRAME, 1.0);
        assert_eq!(
            count.offer(at(0.0, 0.0), &round(300.0, 200.0, 60.0)),
            Fate::New(0)
        );
        assert_eq!(
            count.offer(at(200.0, -90.0), &round(104.0, 287.0, 64.0)),
            Fate::Duplicate(0)
        );
        assert_eq!(
            count.offer(at(-200.0, 0.0), &round(520.0, 200.0, 60.0)),
            Fate::Duplicate(0)
        );
        assert_eq!(
            count.offer(at(0.0, 0.0), &round(300.0, 262.0, 60.0)),
            Fate::New(1),
            "touches it"
        );
        assert_eq!(
            count.offer(
                Place {
                    island: 1,
                    x_px: 0.0,
                    y_px: 0.0
                },
                &round(300.0, 200.0, 60.0)
            ),
            Fate::New(2),
            "another island"
        );
        assert_eq!(
            count.tally(),
            Tally {
                new: 3,
                duplicates: 2,
                margin: 0,
                no_room: 0
            }
        );
    }

    #[test]
    fn half_a_diameter_parts_the_same_cell_from_another() {
        for (apart, fate) in [(29.0, Fate::Duplicate(0)), (31.0, Fate::New(1))] {
            for (dx, dy) in [(apart, 0.0), (0.0, -apart)] {
                let mut count = CountOnce::new(FRAME, 1.0);
                count.offer(at(-5e4, 7e3), &round(300.0, 200.0, 60.0));
                let found = count.offer(at(-5e4, 7e3), &round(300.0 + dx, 200.0 + dy, 60.0));
                assert_eq!(found, fate, "{dx} {dy}");
            }
        }
        // Squeezed to half its width, a cell of 30 x 60 is as wide as high.
        for (apart, fate) in [(14.0, Fate::Duplicate(0)), (16.0, Fate::New(1))] {
            let mut count = CountOnce::new(FRAME, 0.5);
            let cell = |cx| BBox::from_centre(cx, 200.0, 30.0, 60.0).unwrap();
            count.offer(at(0.0, 0.0), &cell(300.0));
            assert_eq!(
                count.offer(at(0.0, 0.0), &cell(300.0 + apart)),
                fate,
                "{apart}"
            );
        }
    }

    #[test]
    fn cells_at_the_edge_are_left_to_another_field() {
        let corners = |[x0, y0, x1, y1]: [f32; 4]| BBox::from_corners(x0, y0, x1, y1).unwrap();
        let cases = [
            (round(30.0, 200.0, 60.0), Fate::Margin),
            (round(31.5, 200.0, 60.0), Fate::Margin),
            (round(32.0, 200.0, 60.0), Fate::New(0)),
            (round(609.0, 200.0, 60.0), Fate::Margin),
            (round(300.0, 31.0, 60.0), Fate::Margin),
            (round(300.0, 449.0, 60.0), Fate::Margin),
            (round(300.0, 448.0, 60.0), Fate::New(0)),
            (round(-20.0, 700.0, 60.0), Fate::Margin),
            // Strips of cells that the edge cuts, found a little away from it.
            (corners([600.0, 200.0, 633.0, 367.0]), Fate::Margin),
            (corners([300.0, 6.0, 420.0, 50.0]), Fate::Margin),
            // Long and whole.
            (corners([560.0, 200.0, 620.0, 280.0]), Fate::New(0)),
        ];
        for (bbox, fate) in cases {
            let mut count = CountOnce::new(FRAME, 1.0);
            assert_eq!(count.offer(at(0.0, 0.0), &bbox), fate, "{bbox:?}");
        }
    }

    #[test]
    fn a_full_count_refuses_and_says_so() {
        let mut count = CountOnce::new(FRAME, 1.0);
        for number in 0..CELLS_MAX {
            let place = at((number % 128) as f64 * 20.0, (number / 128) as f64 * 20.0);
            assert_eq!(
                count.offer(place, &round(300.0, 200.0, 16.0)),
                Fate::New(number as u32)
            );
        }
        assert_eq!(
            count.offer(at(-900.0, 0.0), &round(300.0, 200.0, 16.0)),
            Fate::NoRoom
        );
        assert_eq!(
            count.offer(at(20.0, 20.0), &round(300.0, 200.0, 16.0)),
            Fate::Duplicate(129)
        );
        assert_eq!(count.tally().no_room, 1);
    }
}
