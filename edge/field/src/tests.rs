//! The whole of this folder against the truth of drawn slides.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;
use shared::geometry::Size;
use shared::phantom::{FieldSpec, StageMove, StagePath, StagePosition};

use super::gate::Reason;
use super::map::{Place, Track};
use super::scene::Scene;
use super::*;

/// Small frames of a wide, dense field: 80 x 60 micrometres, about fifteen white cells.
fn slide(seed: u64) -> FieldSpec {
    FieldSpec {
        size: Size::new(160, 120),
        um_per_px: 0.5,
        squeeze: 1.0,
        white_cells: [13, 19],
        blur_px: 0.7,
        ..FieldSpec::wide(seed)
    }
}

fn frame_um(spec: &FieldSpec) -> [f32; 2] {
    let size = [spec.size.width, spec.size.height];
    let pitch = [spec.um_per_px / spec.squeeze, spec.um_per_px];
    [0, 1].map(|axis| size[axis] as f32 * pitch[axis])
}

/// Repeatable numbers, -1..=1.
struct Hand(u64);

impl Hand {
    fn shake(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / 8_388_608.0 - 1.0
    }
}

/// A person at the stage: moves it, waits for a field to be counted, and says "new field" when the
/// place stays lost after everything was compared.
struct Operator {
    spec: FieldSpec,
    watch: FieldWatch,
    frame: u32,
    /// White cells that were shown whole, clear of the edge, while the stage stood.
    truth: HashSet<u64>,
    /// How often each white cell was counted.
    found: HashMap<u64, u32>,
    new_fields: u32,
    recognised: u32,
    refused: u32,
    counted: u32,
}

/// Frames after which a field is given up.
const PATIENCE: u32 = 60;

impl Operator {
    fn new(spec: FieldSpec) -> Self {
        Self {
            watch: FieldWatch::new(WatchOptions::new(spec.size)).unwrap(),
            spec,
            frame: 0,
            truth: HashSet::new(),
            found: HashMap::new(),
            new_fields: 0,
            recognised: 0,
            refused: 0,
            counted: 0,
        }
    }

    /// Shows the station a frame; a field that it lets pass is counted with the exact cells.
    fn show(&mut self, stage: StagePosition, blur_px: f32) -> (Scene, Seen) {
        self.frame += 1;
        let spec = FieldSpec {
            stage,
            frame: self.frame,
            blur_px,
            ..self.spec.clone()
        };
        let scene = Scene::draw(&spec);
        let seen = self.watch.see(scene.view(), None).unwrap();
        if seen.verdict.counted {
            let place = seen.track.place().unwrap();
            self.watch.begin_count(place);
            self.counted += 1;
            for cell in &scene.cells {
                if let Fate::New(_) = self.watch.offer(place, &cell.bbox) {
                    *self.found.entry(cell.id).or_default() += 1;
                }
            }
        }
        (scene, seen)
    }

    fn pass(&mut self, stage: StagePosition) {
        self.show(stage, self.spec.blur_px + 1.5);
    }

    fn stand(&mut self, stage: StagePosition) {
        for _ in 0..PATIENCE {
            let (scene, seen) = self.show(stage, self.spec.blur_px);
            self.note_truth(&scene);
            let done = seen.verdict.counted || seen.verdict.reasons == [Reason::AlreadyCounted];
            if let Track::Located {
                via: map::Via::Recognised,
                ..
            } = seen.track
            {
                self.recognised += 1;
            }
            match seen.track {
                Track::Lost { searched, of } if searched >= of => {
                    self.watch.new_field();
                    self.new_fields += 1;
                }
                _ if done => return,
                _ => {}
            }
        }
        self.refused += 1;
    }

    /// Truth is what a person would count: whole, and clear of the edge that might cut it.
    fn note_truth(&mut self, scene: &Scene) {
        let (width, height) = (self.spec.size.width as f32, self.spec.size.height as f32);
        for cell in &scene.cells {
            let [x0, y0, x1, y1] = cell.bbox.xyxy();
            if cell.visible >= 1.0 && x0 > 0.0 && y0 > 0.0 && x1 < width && y1 < height {
                self.truth.insert(cell.id);
            }
        }
    }

    /// Cells of the truth that were not counted, and counts beyond one for each.
    fn mistakes(&self) -> [u32; 2] {
        let missed = self
            .truth
            .iter()
            .filter(|id| !self.found.contains_key(id))
            .count() as u32;
        let right = self.truth.len() as u32 - missed;
        [missed, self.watch.tally().new - right]
    }

    /// The stage's walk: rows to and fro with pauses and steps back, a jump to the last row, then a
    /// jump back to the beginning and a stroll across what was counted. A slow hand shows frames on
    /// the way, a fast one does not, and has to overlap more.
    fn walk(&mut self, slow: bool) {
        let mut hand = Hand(self.spec.seed);
        let (overlap, columns, rows) = if slow { (0.5, 8, 6) } else { (0.7, 12, 9) };
        let frame = frame_um(&self.spec);
        let mut last: Option<StagePosition> = None;
        for step in StagePath::new(&self.spec, overlap, columns, rows) {
            let stage = match (step.movement, last) {
                (StageMove::Pause, Some(last)) => last,
                _ => StagePosition {
                    x_um: step.position.x_um + 0.03 * frame[0] * hand.shake(),
                    y_um: step.position.y_um + 0.03 * frame[1] * hand.shake(),
                },
            };
            if let Some(last) = last.filter(|_| slow && step.movement != StageMove::Jump) {
                self.glide(last, stage);
            }
            self.stand(stage);
            last = Some(stage);
        }
        let home = self.spec.stage;
        for stroll in 0..6 {
            let part = 0.13 + 0.27 * stroll as f32;
            self.stand(StagePosition {
                x_um: home.x_um + part * frame[0],
                y_um: home.y_um + 0.6 * part * frame[1],
            });
        }
    }

    /// Frames on the way, none farther from the next than a quarter of the frame.
    fn glide(&mut self, from: StagePosition, to: StagePosition) {
        let frame = frame_um(&self.spec);
        let (dx, dy) = (to.x_um - from.x_um, to.y_um - from.y_um);
        let steps = (dx / frame[0]).abs().max((dy / frame[1]).abs()) / 0.25;
        let steps = steps.ceil() as i32;
        for step in 1..steps {
            let part = step as f32 / steps as f32;
            self.pass(StagePosition {
                x_um: from.x_um + part * dx,
                y_um: from.y_um + part * dy,
            });
        }
    }
}

#[test]
fn thirty_slides_of_two_hundred_cells_are_counted_within_two_per_cent() {
    let slides: Vec<Operator> = (0..30_u64)
        .into_par_iter()
        .map(|seed| {
            let mut operator = Operator::new(slide(900 + seed));
            operator.walk(seed % 2 == 0);
            operator
        })
        .collect();
    let mut worst: (f64, u64) = (0.0, 0);
    for operator in &slides {
        let (truth, tally) = (operator.truth.len(), operator.watch.tally());
        let error = f64::from(tally.new) / truth as f64 - 1.0;
        let [missed, doubled] = operator.mistakes();
        println!(
            "slide {}: {} of {truth} cells ({:+.2} %), {missed} missed, {doubled} too many, {tally:?}, {} fields in {} frames, refused {}, new fields {}, recognised {}, {:?}",
            operator.spec.seed,
            tally.new,
            100.0 * error,
            operator.counted,
            operator.frame,
            operator.refused,
            operator.new_fields,
            operator.recognised,
            operator.watch.map_counters(),
        );
        if error.abs() >= worst.0.abs() {
            worst = (error, operator.spec.seed);
        }
    }
    println!("worst: slide {}, {:+.2} %", worst.1, 100.0 * worst.0);
    for operator in &slides {
        let seed = operator.spec.seed;
        let (truth, tally) = (operator.truth.len(), operator.watch.tally());
        assert!(truth >= 200, "slide {seed} has {truth} cells");
        let error = f64::from(tally.new) / truth as f64 - 1.0;
        assert!(
            error.abs() <= 0.02,
            "slide {seed}: {} of {truth} cells",
            tally.new
        );
        assert!(
            tally.duplicates > tally.new,
            "slide {seed} was hardly seen twice: {tally:?}"
        );
        // The jump to the last row has no overlap, the jump home ends on a known field.
        assert_eq!(operator.new_fields, 1, "slide {seed}");
        assert!(operator.recognised >= 1, "slide {seed}");
    }
}

fn start(seed: u64) -> Operator {
    let mut operator = Operator::new(slide(seed));
    operator.stand(StagePosition::default());
    assert_eq!(operator.counted, 1);
    operator
}

fn at(x: f32, y: f32) -> StagePosition {
    let [width, height] = frame_um(&slide(0));
    StagePosition {
        x_um: x * width,
        y_um: y * height,
    }
}

#[test]
fn a_field_is_counted_when_the_stage_has_come_to_rest_and_only_once() {
    let mut operator = Operator::new(slide(1));
    let (_, first) = operator.show(at(0.0, 0.0), 0.7);
    assert_eq!(first.verdict.reasons, [Reason::MotionUnknown]);
    let (_, second) = operator.show(at(0.0, 0.0), 0.7);
    assert!(second.verdict.counted, "{:?}", second.verdict);
    let (_, third) = operator.show(at(0.0, 0.0), 0.7);
    assert_eq!(third.verdict.reasons, [Reason::AlreadyCounted]);
    let (_, moving) = operator.show(at(0.2, 0.0), 0.7);
    let Some(&Reason::Moving { got_px, .. }) = moving.verdict.reasons.first() else {
        panic!("{:?}", moving.verdict);
    };
    assert!((got_px - 32.0).abs() < 0.5, "{got_px}");
    let (_, rests) = operator.show(at(0.2, 0.0), 0.7);
    assert!(rests.verdict.counted, "{:?}", rests.verdict);
    let place = rests.track.place().unwrap();
    assert!(
        (place.x_px - 32.0).abs() < 0.5 && place.y_px.abs() < 0.5,
        "{place:?}"
    );
}

#[test]
fn a_blurred_field_is_refused_for_its_focus_and_leaves_no_key_frame() {
    let mut operator = start(2);
    for _ in 0..3 {
        operator.show(at(0.25, 0.0), 3.0);
    }
    let (_, seen) = operator.show(at(0.25, 0.0), 3.0);
    assert!(
        matches!(seen.verdict.reasons[..], [Reason::OutOfFocus { .. }]),
        "{:?} {:?}",
        seen.verdict,
        seen.meters
    );
    assert_eq!(operator.watch.map_counters().key_frames, 1);
}

#[test]
fn a_lost_place_is_recognised_where_it_was_and_not_elsewhere() {
    let mut operator = start(3);
    let (_, lost) = operator.show(at(7.0, 3.0), 0.7);
    assert_eq!(lost.track, Track::Lost { searched: 1, of: 1 });
    assert!(lost.verdict.reasons.contains(&Reason::Lost));
    let (_, still_lost) = operator.show(at(7.0, 3.0), 0.7);
    assert_eq!(still_lost.verdict.reasons, [Reason::Lost]);
    let (_, back) = operator.show(at(0.1, 0.2), 0.7);
    let place = back.track.place().expect("recognised");
    assert!(
        (place.x_px - 16.0).abs() < 0.5 && (place.y_px - 24.0).abs() < 0.5,
        "{place:?}"
    );
    let counters = operator.watch.map_counters();
    assert_eq!((counters.lost, counters.recognised), (1, 1));
}

#[test]
fn a_new_field_by_hand_begins_an_island_and_the_old_one_is_still_known() {
    let mut operator = start(4);
    operator.stand(at(9.0, 0.0));
    assert_eq!((operator.new_fields, operator.counted), (1, 2));
    let (_, seen) = operator.show(at(9.0, 0.0), 0.7);
    assert_eq!(seen.track.place().unwrap().island, 1);
    operator.stand(at(0.0, 0.0));
    assert_eq!(
        (operator.new_fields, operator.counted),
        (1, 2),
        "recognised, and counted before"
    );
    assert_eq!(operator.watch.coverage().report().islands.len(), 2);
    // Back on the first island, and far away again: not on the second one.
    operator.stand(at(0.0, 9.0));
    assert_eq!((operator.new_fields, operator.counted), (2, 3));
    let (_, seen) = operator.show(at(0.0, 9.0), 0.7);
    assert_eq!(seen.track.place().unwrap().island, 2);
}

#[test]
fn drift_does_not_grow_on_a_long_way_there_and_back() {
    let mut operator = start(5);
    let stops = (1..=40).chain((0..40).rev());
    let mut off = 0.0_f64;
    for stop in stops {
        let (_, seen) = operator.show(at(0.25 * stop as f32, 0.0), 0.7);
        operator.show(at(0.25 * stop as f32, 0.0), 0.7);
        let place = seen.track.place().expect("never lost");
        off = off.max((place.x_px - 40.0 * f64::from(stop)).hypot(place.y_px));
    }
    println!("largest error of the place after 40 fields there and back: {off:.2} px");
    assert!(off < 3.0, "{off}");
}

#[test]
fn a_bounded_map_forgets_what_it_did_not_need_and_says_so() {
    let spec = slide(6);
    let mut options = WatchOptions::new(spec.size);
    options.map.key_frames_max = 4;
    let mut operator = Operator::new(spec);
    operator.watch = FieldWatch::new(options).unwrap();
    for stop in 0..10 {
        operator.stand(at(0.25 * stop as f32, 0.0));
    }
    let counters = operator.watch.map_counters();
    assert_eq!((counters.key_frames, counters.lost), (4, 0), "{counters:?}");
    assert!(counters.forgotten >= 4, "{counters:?}");
    let (_, far) = operator.show(at(0.0, 0.0), 0.7);
    assert!(
        matches!(far.track, Track::Lost { .. }),
        "its key frame is gone: {far:?}"
    );
}

#[test]
fn a_count_goes_on_after_a_restart_from_its_stored_fields() {
    let mut before = start(7);
    let mut stored = Vec::new();
    for stop in 1..4 {
        let (scene, _) = before.show(at(0.3 * stop as f32, 0.0), 0.7);
        let (_, seen) = before.show(at(0.3 * stop as f32, 0.0), 0.7);
        assert!(seen.verdict.counted, "{:?}", seen.verdict);
        stored.push((scene, seen.track.place().unwrap()));
    }
    let mut after = Operator::new(before.spec.clone());
    for (scene, place) in &stored {
        after.watch.recall(scene.view(), *place).unwrap();
        for cell in &scene.cells {
            after.watch.offer(*place, &cell.bbox);
        }
    }
    let known = after.watch.tally().new;
    after.stand(at(0.6, 0.05));
    assert_eq!(
        (after.new_fields, after.counted),
        (0, 1),
        "recognised; not the same field"
    );
    let place = after.show(at(0.6, 0.05), 0.7).1.track.place().unwrap();
    assert!(
        (place.x_px - 96.0).abs() < 1.0 && (place.y_px - 6.0).abs() < 1.0,
        "{place:?}"
    );
    assert!(
        after.watch.tally().new - known < 4,
        "only what came in at the lower edge"
    );
    after.stand(at(0.6, 0.0));
    assert_eq!(
        after.counted, 1,
        "this field was counted before the restart"
    );
    after.stand(at(50.0, 0.0));
    assert_eq!(after.new_fields, 1);
    assert_eq!(after.watch.coverage().report().islands.len(), 2);
}

#[test]
fn without_stored_pictures_a_count_goes_on_on_a_further_island() {
    let spec = slide(7);
    let mut options = WatchOptions::new(spec.size);
    options.first_island = 3;
    let mut watch = FieldWatch::new(options).unwrap();
    let seen = watch.see(Scene::draw(&spec).view(), None).unwrap();
    assert_eq!(
        seen.track.place(),
        Some(Place {
            island: 3,
            x_px: 0.0,
            y_px: 0.0
        })
    );
}

#[test]
fn black_white_and_frozen_frames_are_never_counted() {
    let size = Size::new(160, 120);
    let mut watch = FieldWatch::new(WatchOptions::new(size)).unwrap();
    for (value, reason) in [(0, "too dark"), (255, "overexposed"), (128, "blank")] {
        let bytes = vec![value; 160 * 120 * 3];
        for _ in 0..3 {
            let seen = watch
                .see(RgbView::new(&bytes, size).unwrap(), None)
                .unwrap();
            let said: Vec<String> = seen.verdict.reasons.iter().map(Reason::to_string).collect();
            assert!(
                said.iter().any(|said| said.starts_with(reason)),
                "{value}: {said:?}"
            );
            assert!(!seen.verdict.counted);
        }
    }
    let mut frozen = start(8);
    for _ in 0..5 {
        frozen.show(at(0.0, 0.0), 0.7);
    }
    assert_eq!(
        frozen.counted, 1,
        "the same picture again is the same field"
    );
}

#[test]
fn a_source_that_changes_its_size_and_limits_out_of_range_are_refused() {
    let mut operator = start(9);
    let other = Scene::draw(&FieldSpec {
        size: Size::new(120, 160),
        ..slide(9)
    });
    assert_eq!(
        operator
            .watch
            .see(other.view(), None)
            .unwrap_err()
            .to_string(),
        "frame of 120x160, expected 160x120: the source changed its size"
    );
    let mut options = WatchOptions::new(Size::new(640, 480));
    options.map.searched_per_frame = 0;
    let error = FieldWatch::new(options)
        .err()
        .map(|error| error.to_string());
    assert_eq!(
        error.as_deref(),
        Some("limit searched_per_frame is 0, expected 1 to 64")
    );
    let narrow = FieldWatch::new(WatchOptions::new(Size::new(4000, 100)));
    assert!(matches!(narrow.err(), Some(FieldError::Shape { .. })));
}
