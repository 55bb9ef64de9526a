use super::*;

fn meaning(values: HyperValues) -> (Hyper, Vec<&'static str>) {
    (Hyper::of(&values), values.without_effect())
}

fn parsed(text: &str) -> Result<(Hyper, Vec<&'static str>), HyperError> {
    HyperValues::parse(text, Path::new("hyp.yaml")).map(meaning)
}

fn shipped(name: &str) -> (Hyper, Vec<&'static str>) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/leukemiaattri");
    meaning(HyperValues::read(&models.join(name)).expect("a shipped file is right"))
}

/// What attridet.md, section 8.4, says of a column: lrf, cls, obj, scale, mixup.
fn column(lrf: f64, cls: f64, obj: f64, scale: [f32; 2], mixup: f32) -> Hyper {
    Hyper {
        schedule: Schedule {
            lr0: 0.01,
            lrf,
            momentum: 0.937,
            weight_decay: 0.0005,
            warmup_epochs: 3.0,
            warmup_momentum: 0.8,
            warmup_bias_lr: 0.1,
            nominal_batch: 64,
            cosine: false,
        },
        gains: LossWeights {
            bbox: 0.05,
            objectness: obj,
            class: cls,
            attribute: 0.125,
        },
        loss: LossOptions {
            fl_gamma: 0.0,
            cls_pw: 1.0,
            obj_pw: 1.0,
            label_smoothing: 0.0,
            cls_any: 0.0,
            anchor_t: 4.0,
            ..LossOptions::default()
        },
        augmentation: Augmentation {
            mosaic: 1.0,
            mixup,
            degrees: 0.0,
            translate: 0.1,
            scale,
            shear: 0.0,
            perspective: 0.0,
            flipud: 0.0,
            fliplr: 0.5,
            turns: false,
            colour: ColourJitter {
                hue: 0.015,
                saturation: 0.7,
                value: 0.4,
            },
            stain: StainJitter::NONE,
        },
        close_mosaic: 0,
    }
}

#[test]
fn the_shipped_files_say_what_the_reference_s_table_says() {
    let low = column(0.01, 0.5, 1.0, [0.5, 1.5], 0.0);
    let high = column(0.1, 0.3, 0.7, [0.1, 1.9], 0.1);
    let plain = Hyper {
        augmentation: Augmentation::NONE,
        ..column(0.1, 0.3, 0.7, [1.0, 1.0], 0.0)
    };
    let close = |file: &str, expected: &Hyper| {
        let (mut got, warnings) = shipped(file);
        for (got, expected) in got
            .augmentation
            .scale
            .iter_mut()
            .zip(expected.augmentation.scale)
        {
            assert!((*got - expected).abs() < 1e-6, "{file}: scale {got}");
            *got = expected;
        }
        assert_eq!(got, *expected, "{file}");
        warnings
    };
    assert_eq!(close("scratch-low.yaml", &low), Vec::<String>::new());
    assert_eq!(close("scratch-med.yaml", &high), Vec::<String>::new());
    assert_eq!(close("no-augmentation.yaml", &plain), Vec::<String>::new());
    let [warning] = close("scratch-high.yaml", &high)
        .try_into()
        .expect("one warning");
    assert!(warning.contains("copy_paste"), "{warning}");
}

#[test]
fn the_shipped_files_name_every_key_with_a_reason() {
    for file in [
        "scratch-low",
        "scratch-med",
        "scratch-high",
        "no-augmentation",
    ] {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/leukemiaattri");
        let path = models.join(file).with_extension("yaml");
        let text = std::fs::read_to_string(path).expect("a shipped file");
        let told = |key: &&Key| key.name != "anchors" && !key.low.is_nan();
        for key in KEYS.iter().filter(told) {
            let line = line_of(&text, key.name).unwrap_or_else(|| panic!("{file}: {}", key.name));
            let line = text.lines().nth(line - 1).unwrap();
            assert!(line.contains("  # "), "{file}: {line}");
        }
    }
}

#[test]
fn an_empty_file_is_the_low_file_with_what_is_right_for_cells() {
    let (hyper, warnings) = parsed("# nothing\n").expect("an empty file is legal");
    assert!(warnings.is_empty());
    assert_eq!(hyper, Hyper::default());
    assert_eq!(hyper.augmentation, Augmentation::LOW);
    assert_eq!(hyper.schedule, Schedule::default());
    assert_eq!(hyper.loss, LossOptions::default());
    assert_eq!(hyper.close_mosaic, 10);
}

#[test]
fn a_file_of_the_reference_s_descendants_is_read_as_it_is() {
    let text = "lr0: 3.34e-03\nlrf: 0.15135\n'momentum': 0.74832\nanchors: 3.412\nturns: 0\n\
                warmup_epochs: 3  # a whole number\nfl_gamma: 1.5\nperspective: 0.0005\n";
    let (hyper, _) = parsed(text).expect("legal");
    assert_eq!(hyper.schedule.lr0, 0.00334);
    assert_eq!(hyper.schedule.warmup_epochs, 3.0);
    assert_eq!(hyper.loss.fl_gamma, 1.5);
    assert_eq!(hyper.augmentation.perspective, 0.0005);
    assert!(!hyper.augmentation.turns);
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_was_expected() {
    let cases = [
        (
            "lr0: 0.01\nlr1: 0.1\n",
            "hyp.yaml:2: unknown key \"lr1\"; near it: lr0, lrf",
        ),
        (
            "\nmoment: 0.9",
            "hyp.yaml:2: unknown key \"moment\"; near it: momentum",
        ),
        (
            "hsv: 1",
            "hyp.yaml:1: unknown key \"hsv\"; near it: hsv_h, hsv_s, hsv_v",
        ),
        (
            "zoom_blur: 1",
            "hyp.yaml:1: unknown key \"zoom_blur\"; expected one of lr0, lrf,",
        ),
        (
            "lr0: 0",
            "hyp.yaml:1: lr0: expected a number above 0, at most 1, found 0",
        ),
        ("a: 1\nscale: 1.0", "unknown key \"a\""),
        (
            "scale: 1.0",
            "scale: expected a number from 0, below 1, found 1.0",
        ),
        (
            "mosaic: yes please",
            "mosaic: expected a number from 0 to 1, found yes please",
        ),
        (
            "mosaic: [1, 2]",
            "hyp.yaml:1: mosaic: expected a number from 0 to 1, found - 1 - 2",
        ),
        (
            "fliplr: .nan",
            "fliplr: expected a number from 0 to 1, found .nan",
        ),
        (
            "degrees: .inf",
            "degrees: expected a number from 0 to 180, found .inf",
        ),
        ("turns: 0.5", "turns: expected true or false, found 0.5"),
        (
            "close_mosaic: 1.5",
            "close_mosaic: expected a whole number from 0 to 1000000",
        ),
        (
            "anchors: 5",
            "anchors: expected a number that rounds to 3, found 5",
        ),
        (
            "# x\nlr0: 0.1\nlr0: 0.2",
            "expected `key: number` lines: duplicate entry",
        ),
        ("- 1\n- 2\n", "expected `key: number` lines"),
        ("lr0: 'a", "hyp.yaml:1: expected `key: number` lines"),
        ("1: 2", "hyp.yaml:1: unknown key \"1\""),
    ];
    for (text, expected) in cases {
        let error = parsed(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let missing = HyperValues::read(Path::new("/nowhere/hyp.yaml")).expect_err("no file");
    let text = missing.to_string();
    assert!(
        text.starts_with("/nowhere/hyp.yaml: cannot be read: "),
        "{text}"
    );
}

#[test]
fn what_does_nothing_is_said() {
    let (_, warnings) = parsed("mosaic: 0\nmixup: 0.5").expect("legal");
    assert_eq!(
        warnings,
        ["mixup mixes mosaics; mosaic is 0, so it does nothing"]
    );
}
