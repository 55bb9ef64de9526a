extern crate std;

use std::string::{String as Text, ToString};

use super::*;
use crate::attribute::WBCATT_ATTRIBUTES;
use crate::domain::Spread;

fn text<const N: usize>(text: &str) -> String<N> {
    String::try_from(text).unwrap()
}

fn level(stride: u16, anchors: &[[f32; 2]]) -> HeadLevel {
    HeadLevel {
        stride,
        anchors: anchors.iter().copied().collect(),
    }
}

fn contract() -> ModelContract {
    ModelContract {
        version: CONTRACT_VERSION,
        name: text("wbc-n"),
        canvas: Size::new(320, 256),
        fit: FitKind::Letterbox,
        levels: [
            level(8, &[[10.0, 13.0], [16.25, 30.0]]),
            level(16, &[[30.0, 61.0]]),
        ]
        .into_iter()
        .collect(),
        classes: ClassTable::new(["Neutrophil", "Basophil"]).unwrap(),
        attributes: AttributeSchema::new(WBCATT_ATTRIBUTES).unwrap(),
        attribute_head: AttributeHead::Dense,
        thresholds: Thresholds::COUNTING,
        class_scores: Vec::new(),
        domain: None,
        precision: Precision::Float32,
        quantization: None,
        budgets: ParityBudgets::DEFAULT,
        provenance: Provenance {
            software: text("0.1.0"),
            checkpoint_sha256: text(&"ab".repeat(32)),
            data_fingerprint: text("0123456789abcdef"),
            epochs: 40,
        },
        golden: [GoldenField {
            seed: u64::MAX,
            size: Size::new(640, 480),
            canvas_fnv: text("af63dc4c8601ec8c"),
            cells: [GoldenCell {
                class: 1,
                score: 0.1,
                xyxy: [0.1, 2.0, 33.333_332, 400.5],
            }]
            .into_iter()
            .collect(),
        }]
        .into_iter()
        .collect(),
    }
}

fn json() -> Text {
    serde_json::to_string(&contract()).unwrap()
}

/// The parser's message for the contract's JSON with `from` replaced by `to`.
fn refused(from: &str, to: &str) -> Text {
    let good = json();
    assert_eq!(good.matches(from).count(), 1, "{from} in {good}");
    let bad = good.replace(from, to);
    let message = serde_json::from_str::<ModelContract>(&bad)
        .unwrap_err()
        .to_string();
    // Line and column do not matter here.
    let end = message.find(" at line").unwrap_or(message.len());
    message[..end].to_string()
}

#[test]
fn a_contract_survives_its_json_to_the_last_bit() {
    let contract = contract();
    assert_eq!(contract.check(), Ok(()));
    let back: ModelContract = serde_json::from_str(&json()).unwrap();
    assert_eq!(back, contract);
    assert_eq!(serde_json::to_string(&back).unwrap(), json());
}

const BUDGETS: &str = r#""budgets":{"class_ap":{"each":0.01,"mean":0.005},"attribute_f1":{"each":0.01,"mean":0.005},"cell_count":0.01},"#;

#[test]
fn the_spelling_in_the_file_is_pinned() {
    let json = json();
    for part in [
        r#"{"version":4,"name":"wbc-n","canvas":{"width":320,"height":256},"fit":"letterbox","#,
        r#""levels":[{"stride":8,"anchors":[[10.0,13.0],[16.25,30.0]]},"#,
        r#""classes":["Neutrophil","Basophil"],"attributes":[{"name":"cell_size","values":["small","big"]},"#,
        r#""thresholds":{"score":0.25,"iou":0.45,"max_detections":300,"multi_label":false,"across_classes":true},"#,
        r#""across_classes":true},"class_scores":[],"domain":null,"precision":"float32","quantization":null,"#,
        BUDGETS,
        r#""provenance":{"software":"0.1.0","#,
        r#""golden":[{"seed":18446744073709551615,"size":{"width":640,"height":480},"#,
        r#""cells":[{"class":1,"score":0.1,"xyxy":[0.1,2.0,33.333332,400.5]}]}]}"#,
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }
}

#[test]
fn unknown_missing_and_oversized_entries_are_refused() {
    let anchor = "[16.25,30.0]";
    let cases = [
        (r#""fit":"#, r#""fitt":"#, "unknown field `fitt`"),
        (
            r#""iou":0.45,"#,
            r#""iou":0.45,"nms":1,"#,
            "unknown field `nms`",
        ),
        (r#""epochs":40"#, r#""epoch":40"#, "unknown field `epoch`"),
        (r#""precision":"float32","#, "", "missing field `precision`"),
        (r#""letterbox""#, r#""squash""#, "unknown variant `squash`"),
        (r#""float32""#, r#""int4""#, "unknown variant `int4`"),
        (
            anchor,
            "[16.25]",
            "invalid length 1, expected an array of length 2",
        ),
        (anchor, "[1,1],[1,1],[1,1],[1,1]", "invalid length 5"),
        (
            r#""stride":8"#,
            r#""stride":-8"#,
            "invalid value: integer `-8`",
        ),
        (r#""score":0.25"#, r#""score":null"#, "invalid type: null"),
    ];
    for (from, to, message) in cases {
        let refused = refused(from, to);
        assert!(refused.starts_with(message), "{to}: {refused}");
    }
    let long = std::format!("\"{}\"", "x".repeat(65));
    let refused = refused(r#""wbc-n""#, &long);
    let expected = "invalid length 65, expected a string no more than 64 bytes long";
    assert_eq!(refused, expected);
}

#[test]
fn from_version_2_on_all_levels_may_be_without_anchors() {
    let mut contract = contract();
    for level in &mut contract.levels {
        level.anchors.clear();
    }
    assert_eq!(contract.check(), Ok(()));
    assert!(contract.head().is_anchor_free());
    assert_eq!(contract.head().channels(0), 5 + 2 + 31);
    contract.version = 1;
    assert_eq!(contract.check(), Err(ContractError::Levels));
}

fn regions() -> AttributeHead {
    AttributeHead::Roi(RegionHead {
        channels: [32, 64],
        sha256: text(&"0f".repeat(32)),
    })
}

#[test]
fn a_second_file_takes_the_attributes_out_of_the_heads() {
    let mut contract = contract();
    contract.attribute_head = regions();
    assert_eq!(contract.check(), Ok(()));
    assert!(contract.head().value_counts.is_empty());
    assert_eq!(contract.value_counts().len(), 11);
    assert_eq!(contract.regions().unwrap().region_len(), 96 * 24 * 30);
    assert_eq!(contract.region_map(4), Size::new(80, 64));
    let json = serde_json::to_string(&contract).unwrap();
    let spelled = std::format!(
        r#""attribute_head":{{"roi":{{"channels":[32,64],"sha256":"{}"}}}},"#,
        "0f".repeat(32)
    );
    assert!(json.contains(&spelled), "{json}");
    assert_eq!(
        serde_json::from_str::<ModelContract>(&json).unwrap(),
        contract
    );
}

#[test]
fn a_contract_that_does_not_say_where_attributes_are_read_means_the_heads() {
    let silent = json().replace(r#""attribute_head":"dense","#, "");
    assert_ne!(silent, json());
    let read: ModelContract = serde_json::from_str(&silent).unwrap();
    assert_eq!(read, contract());
}

#[test]
fn a_second_file_that_cannot_be_used_is_refused() {
    let spoilt: [fn(&mut ModelContract); 4] = [
        |c| c.version = 1,
        |c| c.attributes = AttributeSchema::default(),
        |c| spoil(c, [0, 64], "0f".repeat(32)),
        |c| spoil(c, [32, 64], "0g".repeat(32)),
    ];
    for (index, spoil) in spoilt.into_iter().enumerate() {
        let mut contract = contract();
        contract.attribute_head = regions();
        spoil(&mut contract);
        assert_eq!(contract.check(), Err(ContractError::Regions), "{index}");
    }
    assert_eq!(
        ContractError::Regions.to_string(),
        "attribute_head: roi needs version 2, attributes, maps of 1 to 2048 channels, \
         a canvas in multiples of 8 and a SHA-256"
    );
}

fn spoil(contract: &mut ModelContract, channels: [u16; 2], sha256: Text) {
    let sha256 = text(&sha256);
    contract.attribute_head = AttributeHead::Roi(RegionHead { channels, sha256 });
}

#[test]
fn contracts_of_versions_1_and_2_are_still_read() {
    let silent = undescribed()
        .replace(r#""quantization":null,"#, "")
        .replace(BUDGETS, "");
    for (version, precision) in [(1, "float32"), (2, "float32"), (1, "int8"), (2, "int8")] {
        let old = silent
            .replace(r#""version":4"#, &std::format!(r#""version":{version}"#))
            .replace(r#""float32""#, &std::format!(r#""{precision}""#));
        assert!(!old.contains("budgets") && !old.contains("quantization"));
        let read: ModelContract = serde_json::from_str(&old).unwrap();
        assert_eq!(read.check(), Ok(()), "{old}");
        assert_eq!(read.budgets, ParityBudgets::DEFAULT);
        assert_eq!(read.quantization, None);
    }
}

/// The contract's JSON without what version 4 brought.
fn undescribed() -> Text {
    let json = json();
    let silent = json.replace(r#""class_scores":[],"domain":null,"#, "");
    assert_ne!(silent, json);
    silent
}

#[test]
fn a_contract_of_version_3_knows_neither_class_scores_nor_a_domain() {
    let old = undescribed().replace(r#""version":4"#, r#""version":3"#);
    let read: ModelContract = serde_json::from_str(&old).unwrap();
    assert_eq!(read.check(), Ok(()));
    assert_eq!((read.class_scores.len(), read.domain), (0, None));
    let scores = ContractError::ClassScores {
        expected: 2,
        got: 2,
    };
    for version in 1..=3 {
        let mut scored = described();
        (scored.version, scored.domain) = (version, None);
        assert_eq!(scored.check(), Err(scores), "version {version}");
        let mut placed = described();
        (placed.version, placed.class_scores) = (version, Vec::new());
        assert_eq!(
            placed.check(),
            Err(ContractError::Domain),
            "version {version}"
        );
    }
}

fn domain() -> Domain {
    let spread = |mean| Spread {
        mean,
        deviation: 8.5,
    };
    Domain {
        pictures: 4_000_000_000,
        background: [230.1, 220.2, 225.3].map(spread),
        stain: [90.1, 60.7, 130.9].map(spread),
        brightness: spread(180.3),
        contrast: spread(40.0),
        sharpness: spread(-9.3),
        cell_side: Some(spread(5.7)),
    }
}

fn described() -> ModelContract {
    ModelContract {
        class_scores: Vec::from_slice(&[0.1, 0.812_345_7]).unwrap(),
        domain: Some(domain()),
        ..contract()
    }
}

#[test]
fn a_described_contract_survives_its_json_to_the_last_bit() {
    let contract = described();
    assert_eq!(contract.check(), Ok(()));
    let json = serde_json::to_string(&contract).unwrap();
    for part in [
        r#""class_scores":[0.1,0.8123457],"domain":{"pictures":4000000000,"background":[{"mean":230.1,"deviation":8.5},"#,
        r#""sharpness":{"mean":-9.3,"deviation":8.5},"cell_side":{"mean":5.7,"deviation":8.5}},"precision""#,
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }
    let back: ModelContract = serde_json::from_str(&json).unwrap();
    assert_eq!(back, contract);
}

#[test]
fn a_class_is_said_from_its_own_score_on_or_from_that_of_all() {
    let scores = |contract: ModelContract| [0, 1].map(|id| contract.class_score(ClassId(id)));
    assert_eq!(scores(described()), [0.1, 0.812_345_7]);
    assert_eq!(scores(contract()), [0.25, 0.25]);
}

#[test]
fn a_description_that_cannot_be_is_refused() {
    for scores in [&[0.5][..], &[0.5, 1.01], &[-0.1, 0.5], &[0.5, f32::NAN]] {
        let mut contract = described();
        contract.class_scores = Vec::from_slice(scores).unwrap();
        let refused = ContractError::ClassScores {
            expected: 2,
            got: scores.len(),
        };
        assert_eq!(contract.check(), Err(refused), "{scores:?}");
    }
    let one = ContractError::ClassScores {
        expected: 2,
        got: 1,
    };
    assert_eq!(
        one.to_string(),
        "class_scores: expected none or (from version 4 on) 2 in 0..=1, one a class, found 1"
    );
    let mut contract = described();
    contract.domain.as_mut().unwrap().brightness.deviation = f32::NAN;
    assert_eq!(contract.check(), Err(ContractError::Domain));
    assert_eq!(
        ContractError::Domain.to_string(),
        "domain: expected only from version 4 on, pictures, finite means and deviations of at least 0"
    );
}

fn quantized() -> ModelContract {
    ModelContract {
        precision: Precision::Int8,
        quantization: Some(Quantization {
            parent_sha256: text(&"0f".repeat(32)),
            calibration_sha256: text(&"a0".repeat(32)),
            n_canvases: 1,
            n_float_layers: 3,
        }),
        ..contract()
    }
}

#[test]
fn an_8_bit_contract_says_what_it_was_made_from() {
    let contract = quantized();
    assert_eq!(contract.check(), Ok(()));
    let json = serde_json::to_string(&contract).unwrap();
    let spelled = std::format!(
        r#""precision":"int8","quantization":{{"parent_sha256":"{}","calibration_sha256":"{}","n_canvases":1,"n_float_layers":3}},"#,
        "0f".repeat(32),
        "a0".repeat(32)
    );
    assert!(json.contains(&spelled), "{json}");
    let back: ModelContract = serde_json::from_str(&json).unwrap();
    assert_eq!(back, contract);
}

#[test]
fn an_origin_of_integers_that_cannot_be_is_refused() {
    fn origin(contract: &mut ModelContract) -> &mut Quantization {
        contract.quantization.as_mut().unwrap()
    }
    let spoilt: [fn(&mut ModelContract); 6] = [
        |c| c.version = 2,
        |c| c.precision = Precision::Float32,
        |c| c.quantization = None,
        |c| origin(c).n_canvases = 0,
        |c| origin(c).parent_sha256 = text("0f"),
        |c| origin(c).calibration_sha256 = text(&"0g".repeat(32)),
    ];
    for (index, spoil) in spoilt.into_iter().enumerate() {
        let mut contract = quantized();
        spoil(&mut contract);
        assert_eq!(
            contract.check(),
            Err(ContractError::Quantization),
            "{index}"
        );
    }
    assert_eq!(
        ContractError::Quantization.to_string(),
        "quantization: expected exactly with precision int8, from version 3 on, with two SHA-256 \
         and at least one canvas"
    );
}

#[test]
fn every_budget_is_in_0_to_1() {
    let budgets: [fn(&mut ParityBudgets) -> &mut f32; 5] = [
        |b| &mut b.class_ap.each,
        |b| &mut b.class_ap.mean,
        |b| &mut b.attribute_f1.each,
        |b| &mut b.attribute_f1.mean,
        |b| &mut b.cell_count,
    ];
    for (index, budget) in budgets.into_iter().enumerate() {
        for (value, expected) in [
            (0.0, Ok(())),
            (1.0, Ok(())),
            (-0.001, Err(ContractError::Budgets)),
            (1.001, Err(ContractError::Budgets)),
            (f32::NAN, Err(ContractError::Budgets)),
        ] {
            let mut contract = contract();
            *budget(&mut contract.budgets) = value;
            assert_eq!(contract.check(), expected, "budget {index}: {value}");
        }
    }
    let message = "budgets: expected all in 0..=1";
    assert_eq!(ContractError::Budgets.to_string(), message);
}

#[test]
fn a_contract_that_cannot_be_honoured_is_refused_with_its_reason() {
    struct Case {
        spoil: fn(&mut ModelContract),
        message: &'static str,
    }
    let case = |spoil, message| Case { spoil, message };
    const LEVELS: &str = "levels: expected 1 to 4 with ascending strides, \
        all with finite positive anchors or (from version 2) all without";
    let cases = [
        case(
            |c| c.version = 5,
            "contract version 5, this software reads 1 to 4: update it",
        ),
        case(
            |c| c.version = 0,
            "contract version 0, this software reads 1 to 4",
        ),
        case(|c| c.levels.clear(), LEVELS),
        case(|c| c.levels[0].stride = 0, LEVELS),
        case(|c| c.levels[0].stride = 16, LEVELS),
        case(|c| c.levels.swap(0, 1), LEVELS),
        case(|c| c.levels[1].anchors.clear(), LEVELS),
        case(|c| c.levels[0].anchors[1][0] = 0.0, LEVELS),
        case(|c| c.levels[0].anchors[0][1] = -1.0, LEVELS),
        case(|c| c.levels[0].anchors[0][0] = f32::NAN, LEVELS),
        case(|c| c.levels[0].anchors[0][0] = f32::INFINITY, LEVELS),
        case(
            |c| c.canvas.width = 0,
            "canvas 0x256, expected sides of 1 to 4096, multiples of every stride",
        ),
        case(
            |c| c.canvas.height = 328,
            "canvas 320x328, expected sides of 1 to 4096, multiples of every stride",
        ),
        case(
            |c| c.canvas.width = 4112,
            "canvas 4112x256, expected sides of 1 to 4096, multiples of every stride",
        ),
        case(
            |c| c.levels[0].stride = 6,
            "canvas 320x256, expected sides of 1 to 4096, multiples of every stride",
        ),
        case(
            |c| c.classes = serde_json::from_str("[]").unwrap(),
            "classes: no names, expected at least one",
        ),
        case(
            |c| c.classes = serde_json::from_str(r#"["a","a"]"#).unwrap(),
            "classes: name 1 stands twice",
        ),
        case(
            |c| c.attributes = one_attribute("shape", "[\"round\"]"),
            "attribute 0 has one value, expected 2 to 8",
        ),
        case(
            |c| c.attributes = one_attribute("shape", "[]"),
            "values of attribute 0: no names, expected at least one",
        ),
        case(
            |c| c.attributes = one_attribute("shape", "[\"round\",\"round\"]"),
            "values of attribute 0: name 1 stands twice",
        ),
        case(
            |c| c.thresholds.score = 1.5,
            "thresholds: score 1.5 and iou 0.45 must be in 0..=1, max_detections 300 in 1..=1000",
        ),
        case(
            |c| c.thresholds.iou = f32::NAN,
            "thresholds: score 0.25 and iou NaN must be in 0..=1, max_detections 300 in 1..=1000",
        ),
        case(
            |c| c.thresholds.max_detections = 0,
            "thresholds: score 0.25 and iou 0.45 must be in 0..=1, max_detections 0 in 1..=1000",
        ),
    ];
    for Case { spoil, message } in cases {
        let mut contract = contract();
        spoil(&mut contract);
        let error = contract.check().unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

fn one_attribute(name: &str, values: &str) -> AttributeSchema {
    let json = std::format!(r#"[{{"name":"{name}","values":{values}}}]"#);
    serde_json::from_str(&json).unwrap()
}

#[test]
fn unusable_names_and_golden_fields_keep_their_inner_reason() {
    let mut nameless = contract();
    nameless.attributes = one_attribute(" ", r#"["a","b"]"#);
    let reason = SchemaError::Names(NameError::Unusable { index: 0 });
    assert_eq!(nameless.check(), Err(ContractError::Attributes(reason)));

    let mut tiny = contract();
    tiny.golden[0].size = Size::new(8, 480);
    let reason = SpecError::Size {
        got: Size::new(8, 480),
    };
    assert_eq!(tiny.check(), Err(ContractError::Golden(reason)));
    let message = ContractError::Golden(reason).to_string();
    assert_eq!(message, std::format!("golden: {reason}"));
}

#[test]
fn the_largest_and_the_plainest_contract_are_legal() {
    let mut largest = contract();
    largest.canvas = Size::new(4096, 4096);
    largest.thresholds.max_detections = 1000;
    assert_eq!(largest.check(), Ok(()));
    let mut plainest = contract();
    plainest.attributes = AttributeSchema::default();
    plainest.golden.clear();
    plainest.levels.truncate(1);
    assert_eq!(plainest.check(), Ok(()));
    assert_eq!(plainest.head().channels_per_anchor(), 7);
}

#[test]
fn the_head_has_the_channels_of_the_contract() {
    let head = contract().head();
    assert_eq!(head.value_counts, [2, 2, 6, 2, 2, 2, 2, 3, 4, 4, 2]);
    assert_eq!(head.channels_per_anchor(), 5 + 2 + 31);
    // Two anchors on a grid of 40 x 32, one on a grid of 20 x 16.
    let canvas = contract().canvas;
    assert_eq!(head.level_len(0, canvas), 2 * 38 * 40 * 32);
    assert_eq!(head.level_len(1, canvas), 38 * 20 * 16);
}

#[test]
fn the_fingerprint_is_fnv_1a() {
    // Test vectors of the hash's authors (draft-eastlake-fnv, 64 bit FNV-1a).
    for (bytes, hash) in [
        (&b""[..], 0xcbf2_9ce4_8422_2325),
        (b"a", 0xaf63_dc4c_8601_ec8c),
        (b"foobar", 0x8594_4171_f739_67e8),
    ] {
        assert_eq!(fnv1a(bytes), hash);
    }
}
