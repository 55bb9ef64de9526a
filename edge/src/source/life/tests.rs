use super::super::SourceKind;
use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;
const SIZE: Size = Size::new(640, 480);

fn camera(size: Size) -> SourceIdentity {
    SourceIdentity {
        card: Some("Eyepiece".to_owned()),
        bus: Some("usb-1".to_owned()),
        size: Some(size),
        ..SourceIdentity::of_pictures(SourceKind::Camera, "Eyepiece".to_owned())
    }
}

/// Drives a life by the millisecond and keeps every change.
struct Trial {
    life: Life,
    now: u64,
    frames: u64,
    changes: Vec<(u64, LifeState)>,
}

impl Trial {
    fn new() -> Self {
        Self {
            life: Life::new(LifeLimits::default(), Duration::ZERO),
            now: 0,
            frames: 0,
            changes: Vec::new(),
        }
    }

    fn open() -> Self {
        let mut trial = Self::new();
        trial.event(LifeEvent::Opened(&camera(SIZE)));
        trial
    }

    /// With two seconds of good frames.
    fn live() -> Self {
        let mut trial = Self::open();
        trial.good(20);
        assert_eq!(trial.life.state(), LifeState::Live);
        trial.changes.clear();
        trial
    }

    fn event(&mut self, event: LifeEvent<'_>) {
        if let Some(change) = self.life.on(event, MS(self.now)) {
            assert_eq!(change.to, self.life.state());
            self.changes.push((self.now, change.to));
        }
    }

    /// A frame 100 ms later.
    fn frame(&mut self, change: impl Fn(&mut Glance)) {
        self.now += 100;
        self.frames += 1;
        let mut glance = Glance {
            content: self.frames,
            black: false,
            white: false,
        };
        change(&mut glance);
        self.event(LifeEvent::Frame {
            captured: MS(self.now),
            size: SIZE,
            glance,
        });
    }

    fn good(&mut self, frames: u32) {
        for _ in 0..frames {
            self.frame(|_| {});
        }
    }

    /// `Nothing` every 100 ms.
    fn silence(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now += 100;
            self.event(LifeEvent::Nothing);
        }
    }

    fn banner(&self) -> String {
        self.life.banner(MS(self.now)).unwrap_or_default()
    }
}

#[test]
fn a_source_is_starting_until_its_first_frame_and_then_live_without_a_banner() {
    let mut trial = Trial::new();
    assert_eq!(trial.life.state(), LifeState::Starting);
    assert_eq!(trial.banner(), "Starting: looking for the picture source.");
    assert_eq!(trial.life.advice(Duration::ZERO), Advice::Open);
    trial.event(LifeEvent::Opened(&camera(SIZE)));
    assert_eq!(trial.banner(), "Starting: Eyepiece.");
    assert_eq!(trial.life.advice(Duration::ZERO), Advice::Receive(MS(250)));
    assert!(!trial.life.may_count());
    trial.silence(1900);
    trial.good(1);
    assert_eq!(trial.changes, [(2000, LifeState::Live)]);
    assert_eq!(trial.banner(), "");
    assert!(trial.life.may_count());
    assert_eq!(trial.life.since(), MS(2000));
}

#[test]
fn no_camera_is_said_and_tried_again_with_growing_pauses_up_to_ten_seconds() {
    let mut trial = Trial::new();
    let mut pauses = Vec::new();
    for _ in 0..7 {
        trial.event(LifeEvent::OpenFailed(
            "camera Eyepiece: not found; there nothing",
        ));
        let Advice::Rest(pause) = trial.life.advice(MS(trial.now)) else {
            panic!("not resting");
        };
        pauses.push(pause.as_millis());
        trial.now += pause.as_millis() as u64;
        assert_eq!(trial.life.advice(MS(trial.now)), Advice::Open);
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    assert_eq!(trial.changes, [(0, LifeState::Lost)]);
    trial.now -= 1500;
    assert_eq!(
        trial.banner(),
        "No picture source: camera Eyepiece: not found; there nothing; nothing is counted. Trying \
         again in 2 s (attempt 8)."
    );
}

#[test]
fn a_busy_camera_is_said_and_taken_when_it_is_free() {
    let mut trial = Trial::new();
    trial.event(LifeEvent::OpenFailed(
        "camera /dev/video0: in use by another program",
    ));
    assert!(trial.banner().contains("in use by another program"));
    trial.now = 500;
    trial.event(LifeEvent::Opened(&camera(SIZE)));
    trial.good(1);
    let states: Vec<LifeState> = trial.changes.iter().map(|&(_, state)| state).collect();
    assert_eq!(
        states,
        [LifeState::Lost, LifeState::Starting, LifeState::Live]
    );
}

#[test]
fn a_camera_that_opens_and_gives_nothing_stalls_and_is_opened_again() {
    let mut trial = Trial::open();
    trial.silence(10_000);
    assert_eq!(
        trial.changes,
        [(5000, LifeState::Stalled), (10_000, LifeState::Lost)]
    );
    assert_eq!(trial.life.advice(MS(trial.now)), Advice::Rest(MS(500)));
}

#[test]
fn a_stall_is_said_after_two_seconds_and_given_up_after_ten() {
    let mut trial = Trial::live();
    trial.silence(3000);
    assert_eq!(trial.changes, [(4000, LifeState::Stalled)]);
    assert_eq!(trial.banner(), "No picture for 3 s: nothing is counted.");
    assert!(!trial.life.may_count());
    trial.good(1);
    assert_eq!(trial.life.state(), LifeState::Live);
    trial.changes.clear();
    trial.silence(12_000);
    assert_eq!(
        trial.changes,
        [(7100, LifeState::Stalled), (15_100, LifeState::Lost)]
    );
    assert!(
        trial.banner().contains("no picture for 10 s"),
        "{}",
        trial.banner()
    );
}

#[test]
fn a_source_that_is_slow_by_its_nature_has_not_stalled_between_its_frames() {
    for (fps, expected) in [
        (Some(0.25), LifeState::Live),
        (Some(5.0), LifeState::Stalled),
    ] {
        let mut trial = Trial::new();
        let slow = SourceIdentity {
            fps,
            ..camera(SIZE)
        };
        trial.event(LifeEvent::Opened(&slow));
        trial.good(1);
        trial.silence(4000);
        assert_eq!(trial.life.state(), expected, "{fps:?}");
    }
}

#[test]
fn a_camera_that_sends_only_damage_stalls_as_one_that_sends_nothing() {
    let mut trial = Trial::live();
    for _ in 0..110 {
        trial.now += 100;
        trial.event(LifeEvent::Damaged);
    }
    let states: Vec<LifeState> = trial.changes.iter().map(|&(_, state)| state).collect();
    assert_eq!(
        states,
        [LifeState::Degraded, LifeState::Stalled, LifeState::Lost]
    );
    assert!(
        trial.banner().contains("no whole picture for 10 s"),
        "{}",
        trial.banner()
    );
}

#[test]
fn an_unplugged_camera_is_lost_at_once_and_comes_back_under_another_node() {
    let mut trial = Trial::live();
    trial.event(LifeEvent::Failed("camera /dev/video0: gone"));
    assert_eq!(trial.changes, [(2000, LifeState::Lost)]);
    assert_eq!(trial.life.identity().unwrap().bus.as_deref(), Some("usb-1"));
    assert_eq!(trial.life.advice(MS(2100)), Advice::Rest(MS(400)));
    trial.now = 2500;
    let mut again = camera(SIZE);
    again.node = Some("/dev/video2".to_owned());
    trial.event(LifeEvent::Opened(&again));
    trial.good(1);
    assert_eq!(trial.life.state(), LifeState::Live);
    assert_eq!(trial.banner(), "");
    assert_eq!(
        trial.life.identity().unwrap().node.as_deref(),
        Some("/dev/video2")
    );
}

#[test]
fn pauses_begin_anew_only_after_five_seconds_of_frames() {
    for (frames, pause) in [(40, 2000), (60, 500)] {
        let mut trial = Trial::new();
        trial.event(LifeEvent::OpenFailed("x"));
        trial.event(LifeEvent::OpenFailed("x"));
        trial.event(LifeEvent::Opened(&camera(SIZE)));
        trial.good(frames);
        trial.event(LifeEvent::Failed("x"));
        let advice = trial.life.advice(MS(trial.now));
        assert_eq!(advice, Advice::Rest(MS(pause)), "{frames} frames");
    }
}

#[test]
fn another_size_after_a_reconnect_stops_the_count_until_it_is_acknowledged() {
    let mut trial = Trial::live();
    let other = Size::new(320, 240);
    let send = |trial: &mut Trial, size| {
        trial.event(LifeEvent::Failed("gone"));
        trial.event(LifeEvent::Opened(&camera(size)));
        let glance = Glance {
            content: 1,
            black: false,
            white: false,
        };
        trial.event(LifeEvent::Frame {
            captured: MS(trial.now),
            size,
            glance,
        });
    };
    send(&mut trial, other);
    let (before, after) = (SIZE, other);
    assert_eq!(
        trial.life.size_changed(),
        Some(SizeChanged { before, after })
    );
    assert_eq!(trial.life.state(), LifeState::Live);
    assert!(!trial.life.may_count());
    assert_eq!(
        trial.banner(),
        "The picture's size has changed from 640x480 to 320x240: the scale is no longer valid, \
         calibrate again."
    );
    send(&mut trial, SIZE);
    assert_eq!(trial.life.size_changed(), None, "it is the old size again");
    send(&mut trial, other);
    trial.life.acknowledge_size();
    assert!(trial.life.may_count());
    send(&mut trial, SIZE);
    let (before, after) = (other, SIZE);
    assert_eq!(
        trial.life.size_changed(),
        Some(SizeChanged { before, after })
    );
}

#[test]
fn a_frozen_picture_is_said_after_five_seconds_and_over_with_the_first_change() {
    let mut trial = Trial::live();
    for _ in 0..60 {
        trial.frame(|glance| glance.content = 77);
    }
    assert_eq!(trial.changes, [(7100, LifeState::Degraded)]);
    assert_eq!(trial.life.troubles().collect::<Vec<_>>(), [Trouble::Frozen]);
    assert!(
        trial
            .banner()
            .starts_with("The picture does not change at all")
    );
    assert!(!trial.life.may_count());
    trial.good(1);
    assert_eq!(trial.life.state(), LifeState::Live);
}

#[test]
fn black_and_white_are_said_after_two_seconds_and_not_when_a_hand_passes() {
    type Case = (fn(&mut Glance), Trouble, &'static str);
    let cases: [Case; 2] = [
        (
            |glance| glance.black = true,
            Trouble::Black,
            "The picture is black",
        ),
        (
            |glance| glance.white = true,
            Trouble::White,
            "The picture is white",
        ),
    ];
    for (blank, trouble, words) in cases {
        let mut trial = Trial::live();
        for _ in 0..15 {
            trial.frame(blank);
        }
        trial.good(1);
        assert_eq!(trial.changes, []);
        for _ in 0..25 {
            trial.frame(blank);
        }
        assert_eq!(trial.changes, [(5700, LifeState::Degraded)], "{trouble:?}");
        assert_eq!(trial.life.troubles().collect::<Vec<_>>(), [trouble]);
        assert!(trial.banner().starts_with(words));
        assert!(!trial.life.may_count());
        trial.good(1);
        assert_eq!(trial.life.state(), LifeState::Live);
    }
}

#[test]
fn time_going_back_is_said_for_five_seconds() {
    let mut trial = Trial::live();
    let glance = Glance {
        content: 1000,
        black: false,
        white: false,
    };
    trial.event(LifeEvent::Frame {
        captured: MS(500),
        size: SIZE,
        glance,
    });
    assert_eq!(trial.changes, [(2000, LifeState::Degraded)]);
    assert_eq!(trial.banner(), "The camera's clock went back.");
    trial.good(60);
    assert_eq!(trial.changes[1], (7000, LifeState::Live));
}

#[test]
fn the_programs_own_time_going_back_does_not_panic_and_counts_as_standing_still() {
    let mut trial = Trial::live();
    trial.now = 0;
    trial.silence(1000);
    trial.event(LifeEvent::Failed("gone"));
    assert_eq!(trial.life.advice(Duration::ZERO), Advice::Rest(MS(2500)));
    trial.banner();
}

#[test]
fn many_damaged_frames_are_said_and_the_whole_ones_between_still_count() {
    let mut trial = Trial::live();
    for _ in 0..7 {
        trial.event(LifeEvent::Damaged);
        trial.good(3);
    }
    assert_eq!(trial.life.state(), LifeState::Degraded);
    assert_eq!(
        trial.life.troubles().collect::<Vec<_>>(),
        [Trouble::Damaged]
    );
    assert_eq!(
        trial.banner(),
        "7 of the last 32 pictures were damaged: look at the cable."
    );
    assert!(trial.life.may_count());
    trial.good(10);
    assert_eq!(trial.life.state(), LifeState::Live);
}

#[test]
fn a_glance_tells_black_and_white_from_a_dim_or_bright_field_and_sees_noise() {
    let size = Size::new(80, 80);
    let glance = |grey: u8, spot: Option<u8>| {
        let mut bytes = vec![grey; 80 * 80 * 3];
        if let Some(value) = spot {
            // Two of the hundred samples.
            bytes[0] = value;
            bytes[8 * 3 + 1] = value;
        }
        Glance::of(RgbView::new(&bytes, size).unwrap())
    };
    assert!(glance(15, None).black && !glance(16, None).black);
    assert!(glance(250, None).white && !glance(249, None).white);
    assert!(!glance(0, Some(200)).black, "2 % are not black");
    assert!(!glance(255, Some(200)).white, "2 % are not white");
    assert_eq!(glance(90, None), glance(90, None));
    assert_ne!(glance(90, None).content, glance(90, Some(91)).content);
}
