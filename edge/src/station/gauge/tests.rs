//! What is measured of drawn fields, and what is said of them.

use shared::phantom::{FieldSpec, MAX_WHITE_CELLS, PhantomCell, draw_field};

use super::*;
use crate::detector::Detector;
use crate::fixture::{TINY, detector};
use crate::picture::Picture;

fn field(seed: u64, change: impl Fn(u8) -> u8) -> Picture {
    let spec = FieldSpec::demo(seed);
    let bytes = vec![0; spec.size.area().unwrap() * 3];
    let mut picture = Picture::new(bytes, spec.size).unwrap();
    let mut cells: heapless::Vec<PhantomCell, { 4 * MAX_WHITE_CELLS as usize }> =
        heapless::Vec::new();
    draw_field(&spec, &mut picture.view_mut(), &mut cells).unwrap();
    for value in picture.view_mut().bytes_mut() {
        *value = change(*value);
    }
    picture
}

/// As `leuko-host describe` measures, with the cells that were found.
fn look_of(detector: &mut Detector, picture: &Picture) -> Look {
    let findings = detector.detect(picture.view()).unwrap();
    let sides = findings.detections.iter();
    let mut sides: Vec<f32> = sides.map(|it| side_of(&it.bbox, &findings.fit)).collect();
    let mut look = look(findings.canvas, &findings.fit).unwrap();
    look.cell_side = median_side(&mut sides);
    look
}

fn domain(detector: &mut Detector) -> Domain {
    let mut gathered = Gathered::default();
    for seed in 0..12 {
        gathered.add(&look_of(detector, &field(seed, |it| it)));
    }
    Domain::of(&[gathered]).unwrap()
}

#[test]
fn a_slide_is_judged_by_the_mean_of_its_last_fields_and_not_by_one() {
    let mut detector = detector(TINY);
    let domain = domain(&mut detector);
    let mut gauge = Gauge::new(domain);
    let mut add = |picture: &Picture| {
        let findings = detector.detect(picture.view()).unwrap();
        gauge.add(&findings).unwrap()
    };
    let drawn = field(100, |it| it);
    let first = add(&drawn);
    assert_eq!((first.fields, first.nearness()), (1, None));
    let dark = field(101, |it| it / 2);
    for _ in 0..FIELDS - 1 {
        add(&dark);
    }
    // The bright one is the oldest of sixteen, then it is gone.
    let mixed = add(&dark);
    assert_eq!(mixed.fields, 16);
    let gone = add(&dark);
    assert_eq!(gone.look.brightness, mixed.look.brightness);
    assert_eq!(gone.nearness(), Some(Nearness::Foreign));
    for _ in 0..FIELDS {
        add(&drawn);
    }
    let again = add(&drawn);
    assert_eq!(again.nearness(), Some(Nearness::Near));
    assert_eq!(again.look.brightness, first.look.brightness);
    let direct = look_of(&mut detector, &drawn);
    assert_eq!(first.look.cell_side.is_some(), direct.cell_side.is_some());
    assert!((first.look.brightness - direct.brightness).abs() < 1e-3);
}

#[test]
fn what_is_far_is_told_with_its_limits_and_in_words() {
    let mut detector = detector(TINY);
    let domain = domain(&mut detector);
    let at = |fields, change: fn(&mut Look)| {
        let mut look = Look {
            background: domain.background.map(|it| it.mean),
            stain: domain.stain.map(|it| it.mean),
            brightness: domain.brightness.mean,
            contrast: domain.contrast.mean,
            sharpness: domain.sharpness.mean.exp2(),
            cell_side: None,
        };
        change(&mut look);
        let distance = domain.distance(&look);
        Gauged {
            fields,
            look,
            distance,
        }
    };
    let near = at(3, |_| {});
    assert_eq!(near.banner(&domain), None);
    let view = near.view(&domain);
    assert_eq!(
        (view.nearness, view.meters.len()),
        (Some(Nearness::Near), 10)
    );
    for meter in view.meters.iter().take(9) {
        let inside = meter.min < meter.value && meter.value < meter.max;
        assert!(inside, "{meter:?}");
    }
    assert_eq!(view.meters[9].value, None);

    let dark = |look: &mut Look| look.stain[0] -= 150.0;
    assert_eq!(at(2, dark).banner(&domain), None, "too few fields");
    let banner = at(3, dark).banner(&domain).unwrap();
    assert_eq!(banner.level, BannerLevel::Warning);
    let expected = "The model has never seen a slide like this: stain is darker in red than what the \
                    model was trained on";
    assert!(banner.text.starts_with(expected), "{}", banner.text);
    let blurred = |look: &mut Look| look.sharpness /= 16.0;
    let gauged = at(3, blurred);
    assert_eq!(gauged.distance.worst, Quantity::Sharpness);
    let words = gauged.worst(&domain);
    assert!(words.starts_with("picture is less sharp than"), "{words}");
    let meter = &gauged.view(&domain).meters[8];
    assert!(meter.value < meter.min, "{meter:?}");
}
