//! The thread `analysis`: judges each frame, finds the cells of fields that count, and hands them over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use shared::geometry::{BBox, Size};
use shared::pixels::RgbView;

use crate::case::event::CellSeen;
use crate::detector::{DetectError, Detector, Findings};
use crate::frame::Frame;
use crate::log::Level;
use crate::picture;
use crate::service::view::FieldPicture;
use field::count_once::Fate;
use field::gate::Reason;
use field::map::{Place, Track};
use field::{FieldError, FieldWatch, Seen};

use super::counted::{FieldFound, jpeg, meters_to_record};
use super::gauge::Gauge;
use super::mailbox::Taken;
use super::plan::{Optics, Plan, RecordedField, Rules};
use super::settings::WatchSettings;
use super::shared::{FieldSeen, Shared, Task};

/// Most looks at one picture until its place is decided: against the picture before, against all key
/// frames, and as a place of its own.
const LOOKS_MAX: usize = 8;

/// Longest wait for a frame.
const WAIT: Duration = Duration::from_millis(250);

/// Least time between two pictures for the page.
const PICTURE_EVERY: Duration = Duration::from_millis(250);

/// Least time between two fields that are searched only to see what the slide looks like.
const GAUGE_EVERY: Duration = Duration::from_secs(1);

/// Quality of the page's picture, 1 to 100.
const PAGE_QUALITY: u8 = 80;

/// The slide under the objective.
struct Slide {
    watch: FieldWatch,
    /// Where the model says what it was trained on.
    gauge: Option<Gauge>,
    number: u64,
    size: Size,
    /// How often "new field" was taken in.
    new_fields: u32,
}

/// Who looks after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum People {
    /// People, at the page.
    Attend,
    /// People, later: the case is opened without them.
    Later,
    /// A script.
    Never,
}

/// What is analysed with.
pub struct Analysis {
    shared: Arc<Shared>,
    desk: SyncSender<Task>,
    detector: Detector,
    settings: WatchSettings,
    /// Nobody is there to say "new field".
    unattended: bool,
    /// Its pictures come once, and somebody will open a case for them.
    awaits_case: bool,
    /// Frames come when they are due, so that their age means something.
    keeps_time: bool,
    plan: Arc<Plan>,
    version: u64,
    slide: Option<Slide>,
    pictured: Option<Duration>,
    /// The last frame is not on the page with what came of it, and lies there.
    unshown: Option<Option<Place>>,
    gauged: Option<Duration>,
    /// The trouble that was logged last.
    trouble: Option<String>,
}

impl Analysis {
    /// Before the first frame.
    pub fn new(
        shared: Arc<Shared>,
        desk: SyncSender<Task>,
        detector: Detector,
        settings: WatchSettings,
        people: People,
        keeps_time: bool,
    ) -> Self {
        Self {
            shared,
            desk,
            detector,
            settings,
            unattended: settings.stills || people != People::Attend,
            awaits_case: settings.stills && people != People::Never,
            keeps_time,
            plan: Arc::new(Plan::idle(0, "starting")),
            version: 0,
            slide: None,
            pictured: None,
            unshown: None,
            gauged: None,
            trouble: None,
        }
    }

    /// Until no frame comes any more.
    pub fn run(mut self) {
        let mut frame = Frame::new();
        loop {
            match self.shared.mailbox.take(WAIT, &mut frame) {
                Taken::Frame => self.frame_with_case(&frame),
                Taken::Nothing => self.show_last(&frame),
                Taken::Closed => return,
            }
            self.shared.view.analysis().turn();
        }
    }

    /// The first picture of a folder is shown until a case is open.
    fn frame_with_case(&mut self, frame: &Frame) {
        self.frame(frame);
        while self.awaits_case && self.plan.rules.is_none() && !self.shared.is_stopping() {
            self.shared.view.analysis().turn();
            thread::sleep(WAIT);
            self.frame(frame);
        }
        self.awaits_case = false;
    }

    fn frame(&mut self, frame: &Frame) {
        let started = Instant::now();
        let Some(view) = frame.view() else { return };
        match self.look_until_placed(frame, view) {
            // It stops while the recorded fields are read.
            Ok(None) => return,
            Ok(Some(seen)) => {
                self.show(frame, view, seen.meters.place);
                self.unshown = Some(seen.meters.place);
                if self.plan.rules.is_none() {
                    let idle = &self.shared.numbers.idle;
                    idle.fetch_add(u64::from(!self.awaits_case), Ordering::Relaxed);
                    self.gauge_only(view, &seen);
                }
                if !seen.verdict.counted {
                    self.pass(frame, &seen);
                } else if let Err(why) = self.count(frame, view, &seen) {
                    self.missed(frame, why);
                }
            }
            Err(error) => {
                let problem = error.to_string();
                self.shared.set_field(FieldSeen {
                    seen: None,
                    problem: Some(problem.clone()),
                });
                self.show(frame, view, None);
                self.say_once(problem.clone());
                self.missed(frame, problem);
            }
        }
        self.shared.numbers.stages.frame.add(started.elapsed());
        let now = self.shared.clock.since_start();
        if self.keeps_time {
            let age = now.saturating_sub(frame.captured);
            self.shared.numbers.stages.latency.add(age);
        }
        self.shared.view.analysis().done(now);
    }

    /// No newer frame comes: who looks now sees the last one, and what was counted with it.
    fn show_last(&mut self, frame: &Frame) {
        if let (Some(place), Some(view)) = (self.unshown, frame.view()) {
            let before = self.pictured;
            self.show(frame, view, place);
            if self.pictured != before {
                self.unshown = None;
            }
        }
    }

    /// As [`Analysis::look`]; a picture of a folder rests, so it is looked at until its place is decided.
    fn look_until_placed(
        &mut self,
        frame: &Frame,
        view: RgbView<'_>,
    ) -> Result<Option<Seen>, FieldError> {
        let mut left = match self.settings.stills {
            true => LOOKS_MAX,
            false => 1,
        };
        loop {
            if let Some(plan) = self.shared.plan.newer(&mut self.version) {
                self.plan = plan;
            }
            let seen = self.look(frame, view)?;
            left -= 1;
            let undecided = |seen: &Seen| seen.verdict.reasons.iter().any(is_undecided);
            match seen {
                Some(seen) if left > 0 && undecided(&seen) => {
                    if is_elsewhere(&seen) {
                        self.declare_new_field();
                    }
                }
                seen => return Ok(seen),
            }
        }
    }

    /// A frame that is not counted.
    fn pass(&mut self, frame: &Frame, seen: &Seen) {
        if self.unattended && is_elsewhere(seen) {
            self.declare_new_field();
        }
        let first = seen.verdict.reasons.first();
        let (Some(first), true) = (first, self.plan.rules.is_some()) else {
            return;
        };
        let count = &self.shared.numbers.not_counted[first.number()];
        count.fetch_add(1, Ordering::Relaxed);
        if self.settings.stills {
            let reasons = seen.verdict.reasons.iter().map(ToString::to_string);
            self.name(frame, reasons.collect());
        }
    }

    /// A frame that was not judged, or passed the gate and was not counted all the same.
    fn missed(&self, frame: &Frame, why: String) {
        let missed = &self.shared.numbers.missed;
        missed.fetch_add(1, Ordering::Relaxed);
        if self.settings.stills {
            self.name(frame, vec![why]);
        }
    }

    /// A picture comes once: who wants it counted must know which one to look at.
    fn name(&self, frame: &Frame, reasons: Vec<String>) {
        let fields = json!({ "picture": frame.name, "reasons": reasons });
        self.shared
            .say(Level::Warning, "picture_not_counted", fields);
    }

    /// Judges and places the frame, on the slide that the plan is about.
    fn look(&mut self, frame: &Frame, view: RgbView<'_>) -> Result<Option<Seen>, FieldError> {
        let started = Instant::now();
        let size = view.size();
        let fits = |slide: &Slide| {
            // In an open count another size is refused; the desk begins anew when it is accepted.
            slide.number == self.plan.slide && (slide.size == size || self.plan.rules.is_some())
        };
        if !self.slide.as_ref().is_some_and(fits) {
            self.slide = None;
            self.slide = self.begin(size)?;
        }
        let Some(slide) = &mut self.slide else {
            return Ok(None);
        };
        if slide.new_fields != self.plan.new_fields {
            slide.new_fields = self.plan.new_fields;
            slide.watch.new_field();
        }
        let seen = slide.watch.see(view, frame.compressed_bytes)?;
        self.shared.numbers.stages.see.add(started.elapsed());
        self.shared.set_field(FieldSeen {
            seen: Some(seen.clone()),
            problem: None,
        });
        Ok(Some(seen))
    }

    /// A slide, with the fields of it that are in the record; `None` when the station stops meanwhile: a
    /// count that knows only some of them would count cells twice.
    fn begin(&mut self, size: Size) -> Result<Option<Slide>, FieldError> {
        if !self.announce(size) {
            return Ok(None);
        }
        let recorded = Arc::clone(&self.plan.recorded);
        let islands = recorded.iter().map(|it| it.place.island + 1);
        let Optics { squeeze, blank } = self.plan.optics.clone();
        let islands = islands.max().unwrap_or(0);
        let options = self.settings.options(size, squeeze, islands);
        let mut watch = FieldWatch::new(options)?;
        if let Some(blank) = blank {
            self.recall_blank(&mut watch, blank.view());
        }
        let (mut recalled, mut unknown) = (0, 0);
        for field in recorded.iter().filter(|field| field.size == size) {
            if self.shared.is_stopping() {
                return Ok(None);
            }
            match self.recall(&mut watch, field) {
                Ok(()) => recalled += 1,
                Err(problem) => {
                    unknown += 1;
                    let fields = json!({ "field": field.field, "problem": problem });
                    self.shared
                        .say(Level::Warning, "field_not_recalled", fields);
                }
            }
            for &[x0, y0, x1, y1] in &field.boxes {
                if let Some(bbox) = BBox::from_corners(x0, y0, x1, y1) {
                    watch.offer(field.place, &bbox);
                }
            }
            // So many pictures take their time; the thread does not hang.
            self.shared.view.analysis().turn();
        }
        if !recorded.is_empty() {
            let other_size = recorded.len() - recalled - unknown;
            let fields = json!({
                "fields": recalled, "unreadable": unknown, "of_another_size": other_size,
            });
            self.shared.say(Level::Info, "fields_recalled", fields);
        }
        let domain = self.detector.contract().domain;
        Ok(Some(Slide {
            watch,
            gauge: domain.map(Gauge::new),
            number: self.plan.slide,
            size,
            new_fields: self.plan.new_fields,
        }))
    }

    /// Tells the desk that a slide begins with frames of this size, and reads what it says of them; `false`
    /// when the station stops.
    fn announce(&mut self, size: Size) -> bool {
        let (done, answer) = sync_channel(1);
        let sent = self.desk.send(Task::Slide { size, done });
        if sent.is_err() || answer.recv().is_err() {
            return false;
        }
        if let Some(plan) = self.shared.plan.newer(&mut self.version) {
            self.plan = plan;
        }
        true
    }

    fn recall_blank(&mut self, watch: &mut FieldWatch, blank: RgbView<'_>) {
        let problem = match watch.recall_blank(blank) {
            Ok(true) => return,
            Ok(false) => "it is too dark".to_owned(),
            Err(error) => error.to_string(),
        };
        self.say_once(format!(
            "the calibration's blank field is not used: {problem}"
        ));
    }

    fn recall(&self, watch: &mut FieldWatch, field: &RecordedField) -> Result<(), String> {
        let (answer, answered) = sync_channel(1);
        let task = Task::Picture {
            field: field.field,
            answer,
        };
        let gone = "the desk is closed";
        self.desk.send(task).map_err(|_| gone.to_owned())?;
        let bytes = answered.recv().map_err(|_| gone.to_owned())??;
        let picture = picture::decode(&bytes).map_err(|error| error.to_string())?;
        let recalled = watch.recall(picture.view(), field.place);
        recalled.map_err(|error| error.to_string())
    }

    /// The field passed the gate: finds its cells and has it recorded, if that is the plan.
    ///
    /// # Errors
    /// Why it is not counted although it is to be.
    fn count(&mut self, frame: &Frame, view: RgbView<'_>, seen: &Seen) -> Result<(), String> {
        let Some(rules) = self.plan.rules.clone() else {
            self.shared.analysed_well.store(true, Ordering::Release);
            return Ok(());
        };
        let place = seen.meters.place.expect("a lost field is not counted");
        if !self.shared.may_count.load(Ordering::Acquire) {
            return Err("the source is not as it was when the case was begun".to_owned());
        }
        let slide = self.slide.as_mut().expect("the frame was placed on it");
        let mark = slide.watch.mark();
        let mut found = match self.search(frame, view, seen, place, &rules) {
            Ok(found) => found,
            Err(error) => {
                let failed = &self.shared.numbers.failed;
                failed.fetch_add(1, Ordering::Relaxed);
                let problem = format!("the field could not be searched: {error}");
                self.shared.set_field(FieldSeen {
                    seen: Some(seen.clone()),
                    problem: Some(problem.clone()),
                });
                self.say_once(problem.clone());
                return Err(problem);
            }
        };
        let started = Instant::now();
        let recorded = match found.draw(view) {
            Ok(()) => {
                self.shared.numbers.stages.encode.add(started.elapsed());
                match self.hand_over(found) {
                    true => Ok(()),
                    false => Err("it is not recorded".to_owned()),
                }
            }
            Err(error) => {
                let problem = format!("the field's pictures could not be stored: {error}");
                self.say_once(problem.clone());
                Err(problem)
            }
        };
        let slide = self.slide.as_mut().expect("the frame was placed on it");
        if recorded.is_ok() {
            slide.watch.begin_count(place);
            self.shared.analysed_well.store(true, Ordering::Release);
        } else {
            slide.watch.take_back(mark);
        }
        recorded
    }

    fn search(
        &mut self,
        frame: &Frame,
        view: RgbView<'_>,
        seen: &Seen,
        place: Place,
        rules: &Rules,
    ) -> Result<FieldFound, DetectError> {
        let findings = self.detector.detect(view)?;
        self.shared.numbers.stages.add(&findings.times);
        let slide = self.slide.as_mut().expect("the frame was placed on it");
        gauge(&self.shared, slide, &findings);
        let mut found = FieldFound {
            slide: slide.number,
            frame: frame.sequence,
            size: view.size(),
            place,
            meters: meters_to_record(&seen.meters),
            cells: Vec::new(),
            duplicates: 0,
            margin: 0,
            no_room: findings.dropped.detections,
            jpeg: Vec::new(),
            crops: Vec::new(),
        };
        for detection in findings.detections {
            match slide.watch.offer(place, &detection.bbox) {
                Fate::New(_) => {
                    let cell = CellSeen::new(detection, &rules.decision, rules.attributes);
                    found.cells.push(cell);
                }
                Fate::Duplicate(_) => found.duplicates += 1,
                Fate::Margin => found.margin += 1,
                Fate::NoRoom => found.no_room += 1,
            }
        }
        Ok(found)
    }

    /// Nothing is counted: now and then a good field is searched to see what the slide looks like.
    fn gauge_only(&mut self, view: RgbView<'_>, seen: &Seen) {
        let now = self.shared.clock.since_start();
        let early = |at| now.saturating_sub(at) < GAUGE_EVERY;
        let Some(slide) = &mut self.slide else { return };
        if slide.gauge.is_none() || self.gauged.is_some_and(early) || !is_good(seen) {
            return;
        }
        self.gauged = Some(now);
        match self.detector.detect(view) {
            Ok(findings) => {
                self.shared.numbers.stages.add(&findings.times);
                gauge(&self.shared, slide, &findings);
            }
            Err(error) => self.say_once(format!("the field could not be searched: {error}")),
        }
    }

    /// Waits until the field is on the disk, or is not to be.
    fn hand_over(&self, found: FieldFound) -> bool {
        let (recorded, answer) = sync_channel(1);
        let found = Box::new(found);
        let sent = self.desk.send(Task::Field { found, recorded });
        sent.is_ok() && answer.recv().unwrap_or(false)
    }

    fn declare_new_field(&self) {
        if self.plan.rules.is_none() {
            return;
        }
        let (done, answer) = sync_channel(1);
        if self.desk.send(Task::NewField(done)).is_ok() {
            // The next plan says it; a refusal was logged by the desk.
            let _ = answer.recv();
        }
    }

    /// A picture for the page, and what was counted of the slide, while somebody looks.
    fn show(&mut self, frame: &Frame, view: RgbView<'_>, place: Option<Place>) {
        let now = self.shared.clock.since_start();
        let early = |at| now.saturating_sub(at) < PICTURE_EVERY;
        if self.pictured.is_some_and(early) || !self.shared.view.picture_wanted(now) {
            return;
        }
        self.pictured = Some(now);
        match jpeg(view, PAGE_QUALITY) {
            Ok(jpeg) => self.shared.view.publish_picture(FieldPicture {
                sequence: frame.sequence,
                jpeg: jpeg.into(),
                coverage: self.coverage(place).into(),
            }),
            Err(error) => self.say_once(format!("no picture for the page: {error}")),
        }
    }

    fn coverage(&self, place: Option<Place>) -> String {
        let covered = self.slide.as_ref().map(|slide| slide.watch.coverage());
        covered.map_or(String::new(), |it| it.svg(place))
    }

    fn say_once(&mut self, problem: String) {
        if self.trouble.as_ref() != Some(&problem) {
            let fields = json!({ "problem": problem });
            self.shared.say(Level::Warning, "analysis", fields);
            self.trouble = Some(problem);
        }
    }
}

/// Measures how near the slide is to the training pictures, by one more field.
fn gauge(shared: &Shared, slide: &mut Slide, findings: &Findings<'_>) {
    let Some(gauge) = &mut slide.gauge else {
        return;
    };
    // What is too small to be measured has no verdict, and the page shows none.
    if let Ok(gauged) = gauge.add(findings) {
        shared.set_gauged(slide.number, gauged);
    }
}

/// A picture that rests has no motion, and a place of its own where it has none among the others.
fn is_undecided(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Moving { .. } | Reason::MotionUnknown | Reason::Lost
    )
}

/// Sharp, at rest and well lit, wherever it is.
fn is_good(seen: &Seen) -> bool {
    let of_place = |it: &Reason| matches!(it, Reason::Lost | Reason::AlreadyCounted);
    seen.verdict.reasons.iter().all(of_place)
}

/// Sharp, at rest, and nothing in common with any field that is remembered.
fn is_elsewhere(seen: &Seen) -> bool {
    let only_lost = seen.verdict.reasons.iter().all(|it| *it == Reason::Lost);
    let all_compared = matches!(seen.track, Track::Lost { searched, of } if searched == of);
    only_lost && all_compared
}
