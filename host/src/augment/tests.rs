use std::convert::Infallible;

use shared::attribute::{NO_ATTRIBUTES, ValueId};

use super::*;

const SIDE: u32 = 64;
const PLANE: usize = (SIDE * SIDE) as usize;

type Cells = Vec<([f32; 4], Target)>;

/// A grey picture with a black square, whose box is known.
fn square(class: u8, [x0, y0, x1, y1]: [u32; 4]) -> (Arc<Packed>, Cells) {
    let size = Size::new(SIDE, SIDE);
    let is_black = |at: u32| (x0..x1).contains(&(at % SIDE)) && (y0..y1).contains(&(at / SIDE));
    let plane = |_| (0..SIDE * SIDE).map(|at| if is_black(at) { 0 } else { 200 });
    let planes: Vec<u8> = (0..3).flat_map(plane).collect();
    let mut attributes = NO_ATTRIBUTES;
    attributes[2] = ValueId::new(usize::from(class) + 1);
    let target = Target {
        image: 0,
        class: Some(class),
        cxcywh: [0.0; 4],
        attributes,
    };
    let picture = Packed::from_planes(&planes, size).expect("of its size");
    let bbox = [x0, y0, x1, y1].map(|v| v as f32);
    (Arc::new(picture), vec![(bbox, target)])
}

/// Canvas `index` of the first of `pictures`; mosaics take the others too.
fn applied(
    plan: &Augmentation,
    pictures: &[(Arc<Packed>, Cells)],
    pool: &[usize],
    index: u64,
) -> Augmented {
    let fetch = |at: usize| {
        Ok::<_, Infallible>(Fitted {
            picture: Arc::clone(&pictures[at].0),
            cells: &pictures[at].1,
        })
    };
    let pictures = Pictures { pool, fetch };
    let Ok(out) = plan.apply(
        0,
        &pictures,
        Size::new(SIDE, SIDE),
        &mut Rng::new(7, 0, index),
    );
    out
}

fn colourless(plan: Augmentation) -> Augmentation {
    Augmentation {
        colour: ColourJitter::NONE,
        ..plan
    }
}

#[test]
fn boxes_move_with_their_pixels() {
    let pictures = [square(0, [10, 20, 34, 40])];
    for index in 0..100 {
        let plan = colourless(Augmentation {
            mosaic: (index % 2) as f32,
            flipud: 0.5,
            ..Augmentation::LOW
        });
        let out = applied(&plan, &pictures, &[0], index);
        // Every target's box is black inside, within a pixel of its edge.
        for target in &out.targets {
            let [cx, cy, w, h] = target.cxcywh.map(|v| v * SIDE as f32);
            for y in (cy - h / 2.0 + 1.0).ceil() as usize..(cy + h / 2.0 - 1.0) as usize {
                for x in (cx - w / 2.0 + 1.0).ceil() as usize..(cx + w / 2.0 - 1.0) as usize {
                    let value = out.canvas[y * SIDE as usize + x];
                    assert!(value < 10, "sample {index} at {x} {y}");
                }
            }
        }
        // And what is black lies in a box, but for cells of which less than a tenth is left.
        let forgotten = 4.0 * VISIBLE_MIN * (24.0 * 20.0) * 1.5 * 1.5;
        let black = out.canvas[..PLANE].iter().filter(|&&v| v == 0).count() as f32;
        let area = |t: &Target| t.cxcywh[2] * t.cxcywh[3] * PLANE as f32;
        let boxes: f32 = out.targets.iter().map(area).sum();
        assert!(
            black <= boxes + forgotten,
            "sample {index}: {black} black, {boxes} in boxes"
        );
    }
}

/// The upright box around the black pixels of the first plane.
fn black_box(canvas: &[u8]) -> Option<[f32; 4]> {
    let dark = |&at: &usize| canvas[at] < 60;
    let mut places = (0..PLANE).filter(dark).peekable();
    places.peek()?;
    let (side, mut bounds) = (SIDE as usize, [f32::MAX, f32::MAX, 0.0, 0.0]);
    for at in places {
        let (x, y) = ((at % side) as f32, (at / side) as f32);
        bounds = [
            bounds[0].min(x),
            bounds[1].min(y),
            bounds[2].max(x + 1.0),
            bounds[3].max(y + 1.0),
        ];
    }
    Some(bounds)
}

#[test]
fn boxes_follow_their_pixels_under_perspective() {
    let pictures = [square(0, [14, 20, 44, 46])];
    let plan = colourless(Augmentation {
        mosaic: 0.0,
        degrees: 30.0,
        shear: 10.0,
        translate: 0.05,
        // A tenth of what a large canvas bears: this one is a tenth as wide.
        perspective: 0.006,
        scale: [0.8, 1.2],
        ..Augmentation::LOW
    });
    let mut worst: f32 = 0.0;
    for index in 0..200 {
        let out = applied(&plan, &pictures, &[0], index);
        let [target] = out.targets[..] else {
            panic!("sample {index}: {} targets", out.targets.len())
        };
        let [cx, cy, w, h] = target.cxcywh.map(|v| v * SIDE as f32);
        let told = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
        let seen = black_box(&out.canvas).expect("the cell is on the canvas");
        for (told, seen) in told.into_iter().zip(seen) {
            worst = worst.max((told - seen).abs());
        }
    }
    // A sharp corner of the turned square is thinner than a pixel.
    assert!(worst < 2.5, "{worst} pixels");
}

#[test]
fn a_mixture_keeps_the_cells_of_both() {
    let pictures = [square(0, [10, 20, 34, 40]), square(1, [30, 8, 50, 30])];
    let only = colourless(Augmentation::LOW);
    let mixed = Augmentation { mixup: 1.0, ..only };
    let mut seconds = 0;
    for index in 0..50 {
        let alone = applied(&only, &pictures, &[1], index);
        let both = applied(&mixed, &pictures, &[1], index);
        let (first, second) = both.targets.split_at(alone.targets.len());
        assert_eq!(first, alone.targets, "sample {index}");
        assert!(second.iter().all(|target| target.class == Some(1)));
        for target in &both.targets {
            let class = usize::from(target.class.expect("known"));
            assert_eq!(target.attributes[2], ValueId::new(class + 1));
        }
        seconds += second.len();
        assert_ne!(both.canvas, alone.canvas);
        // Nothing of either is lost: a black pixel of the first is darker than half of the lightest.
        let dark = both.canvas.iter().zip(&alone.canvas);
        assert!(dark.clone().all(|(&both, &alone)| alone != 0 || both < 140));
    }
    assert!(seconds > 50, "{seconds} cells of the second canvases");
}

#[test]
fn mixup_is_of_mosaics_only() {
    let pictures = [square(0, [10, 20, 34, 40])];
    let plain = Augmentation {
        mosaic: 0.0,
        ..Augmentation::LOW
    };
    let mixed = Augmentation {
        mixup: 1.0,
        ..plain
    };
    let [a, b] = [plain, mixed].map(|plan| applied(&plan, &pictures, &[0], 3));
    assert_eq!(a, b);
}

#[test]
fn no_augmentation_is_the_picture_in_the_middle() {
    let pictures = [square(0, [10, 20, 34, 40])];
    let out = applied(&Augmentation::NONE, &pictures, &[0], 0);
    let pixel = |at: usize| pictures[0].0.pixels()[3 * at];
    assert!((0..PLANE).all(|at| out.canvas[at] == pixel(at)));
    let expected = [22.0, 30.0, 24.0, 20.0].map(|v| v / SIDE as f32);
    assert_eq!(out.targets[0].cxcywh, expected);
}

#[test]
fn flips_and_turns_are_the_eight_symmetries() {
    let pictures = [square(0, [10, 20, 34, 40])];
    let plan = Augmentation {
        fliplr: 0.5,
        turns: true,
        ..Augmentation::NONE
    };
    let mut seen: Vec<[i32; 4]> = (0..100)
        .map(|index| {
            let target = applied(&plan, &pictures, &[0], index).targets[0];
            target.cxcywh.map(|v| (v * SIDE as f32).round() as i32)
        })
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 8, "{seen:?}");
    let upside_down = Augmentation {
        flipud: 1.0,
        ..Augmentation::NONE
    };
    let target = applied(&upside_down, &pictures, &[0], 0).targets[0];
    assert_eq!(target.cxcywh, [22.0, 34.0, 24.0, 20.0].map(|v| v / 64.0));
}

#[test]
fn the_same_stream_gives_the_same_canvas() {
    let pictures = [square(0, [10, 20, 34, 40])];
    let plan = Augmentation {
        mixup: 0.5,
        stain: StainJitter {
            gain: 0.2,
            offset: 0.05,
        },
        ..Augmentation::LOW
    };
    let draw = |index| applied(&plan, &pictures, &[0], index);
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
}

#[test]
fn a_plan_of_before_is_read_with_what_it_lacks() {
    let text = r#"{"mosaic":0.5,"degrees":3.0,"translate":0.1,"scale":[0.5,1.5],"shear":0.0,
        "turns":true,"colour":{"hue":0.015,"saturation":0.7,"value":0.4}}"#;
    let plan: Augmentation = serde_json::from_str(text).expect("legal");
    assert_eq!((plan.fliplr, plan.mixup), (0.5, 0.0));
    let unknown = serde_json::from_str::<Augmentation>(r#"{"mosaik":1.0}"#);
    assert!(unknown.unwrap_err().to_string().contains("mosaik"));
}
