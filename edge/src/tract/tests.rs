use shared::attribute::AttributeSchema;
use shared::contract::RegionHead;

use super::*;
use crate::fixture::{TINY, and_contract, changed, with_contract};

/// The first weight of `tiny.py`'s stain layer, which stands nowhere else.
const WEIGHT: [u8; 4] = 0.8125f32.to_le_bytes();

fn load(bytes: &[u8]) -> Result<TractNetwork, ModelError> {
    TractNetwork::load(&ModelFile::from_bytes("m.onnx", bytes.to_vec()))
}

fn refused(bytes: &[u8]) -> String {
    load(bytes)
        .err()
        .expect("the model must be refused")
        .to_string()
}

fn replaced(from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = TINY.to_vec();
    let mut found = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            found += 1;
        }
    }
    assert!(found > 0, "the fixture lacks what the test replaces");
    bytes
}

#[test]
fn the_tiny_model_loads_and_gives_the_heads_of_its_contract() {
    let mut network = load(TINY).unwrap();
    let mut heads = HeadBuffers::new(network.contract());
    // 3 * 320 * 320 bytes; pads are grey, so that the stain layer answers 0.8125 * 2 - 1.5 of it.
    let canvas = vec![PAD_VALUE; 3 * 320 * 320];
    network.run(&canvas, &mut heads).unwrap();
    let lengths: Vec<usize> = heads.views().iter().map(|head| head.len()).collect();
    assert_eq!(lengths, [41 * 40 * 40, 41 * 20 * 20, 41 * 10 * 10]);
    // 114 / 255 * 0.125 - 0.1 < 0: no stain, so the objectness is its bias.
    assert!(
        heads.views()[2][4 * 100..5 * 100]
            .iter()
            .all(|&o| o == -9.0)
    );
    let short = network.run(&canvas[1..], &mut heads).unwrap_err();
    assert_eq!(
        short.to_string(),
        "canvas has 307199 bytes, the network takes 307200"
    );
}

#[test]
fn a_file_that_is_no_whole_model_is_refused() {
    assert_eq!(refused(&[]), "m.onnx: empty, expected an ONNX model");
    let text = refused(b"not a model at all");
    assert!(
        text.starts_with("m.onnx: no ONNX model, or cut short, or damaged: "),
        "{text}"
    );
    // Behind the contract come the keys that other tools read; the station needs none of them.
    let last = b"\"golden\": []}";
    let contract_end = TINY.windows(last.len()).position(|part| part == last);
    for len in (1..contract_end.unwrap() + last.len()).step_by(7) {
        refused(&TINY[..len]);
    }
}

#[test]
fn a_flipped_bit_is_refused_or_harmless_and_never_a_panic() {
    // Every fifth byte; all of them were tried once and take half a minute.
    for at in (0..TINY.len()).step_by(5) {
        let mut bytes = TINY.to_vec();
        bytes[at] ^= 1 << (at % 8);
        if let Ok(mut network) = load(&bytes) {
            let mut heads = HeadBuffers::new(network.contract());
            let canvas = vec![200; canvas_bytes(network.contract())];
            let _ = network.run(&canvas, &mut heads);
        }
    }
}

#[test]
fn an_onnx_file_without_a_contract_is_foreign() {
    let foreign = replaced(CONTRACT_KEY.as_bytes(), b"leukoscope.contrast");
    assert_eq!(
        refused(&foreign),
        "m.onnx: no `leukoscope.contract` in its metadata_props: not exported by leuko-host"
    );
}

#[test]
fn a_second_contract_is_refused_whatever_it_says() {
    assert_eq!(
        refused(&and_contract(TINY, "{}")),
        "m.onnx: 2 entries `leukoscope.contract` in its metadata_props, expected one"
    );
}

#[test]
fn another_opset_or_none_is_refused() {
    // `opset_import`: field 8 of the model, its domain (field 1) empty, its version (field 2) 13.
    const IMPORT: [u8; 6] = [0x42, 4, 0x0a, 0, 0x10, 13];
    struct Case {
        import: [u8; 6],
        expected: &'static str,
    }
    for Case { import, expected } in [
        Case {
            import: [0x42, 4, 0x0a, 0, 0x10, 17],
            expected: "m.onnx: operators of opset 17, expected 13",
        },
        Case {
            // Another domain, without a version.
            import: [0x42, 4, 0x0a, 2, b'a', b'b'],
            expected: "m.onnx: names no opset, expected 13",
        },
    ] {
        assert_eq!(refused(&replaced(&IMPORT, &import)), expected);
    }
}

#[test]
fn a_newer_contract_asks_for_an_update_even_with_unknown_fields() {
    let text = refused(&with_contract(r#"{"version": 7, "wings": 2}"#));
    assert_eq!(
        text,
        "m.onnx: contract: contract version 7, this software reads 1 to 4: update it"
    );
    let text = refused(&with_contract(r#"{"version": 1, "wings": 2}"#));
    assert!(
        text.starts_with("m.onnx: contract cannot be read: unknown field `wings`"),
        "{text}"
    );
}

fn tiny_attributes() -> AttributeSchema {
    AttributeSchema::new([("nucleolus", &["inconspicuous", "prominent"][..])]).unwrap()
}

#[test]
fn a_contract_that_is_not_that_of_the_graph_is_refused() {
    struct Case {
        bytes: Vec<u8>,
        expected: &'static str,
    }
    let five = ["a", "b", "c", "d", "e", "f"];
    for Case { bytes, expected } in [
        Case {
            bytes: changed(|contract| contract.canvas.width = 640),
            expected: "m.onnx: input is u8 [1, 3, 320, 320], the contract says u8 [1, 3, 320, 640]",
        },
        Case {
            bytes: changed(|contract| {
                contract.classes = shared::class::ClassTable::new(five).unwrap();
            }),
            expected: "m.onnx: output 0 is f32 [1, 41, 40, 40], the contract says f32 [1, 42, 40, 40]",
        },
        Case {
            bytes: changed(|contract| {
                contract.levels.pop();
            }),
            expected: "m.onnx: 3 outputs, the contract says 2",
        },
        Case {
            bytes: changed(|contract| {
                contract.attribute_head = shared::contract::AttributeHead::Roi(RegionHead {
                    channels: [8, 16],
                    sha256: "0".repeat(64).as_str().try_into().unwrap(),
                });
                contract.version = shared::contract::CONTRACT_VERSION;
                contract.attributes = tiny_attributes();
            }),
            expected: "m.onnx: 3 outputs, the contract says 5",
        },
        Case {
            bytes: changed(|contract| contract.thresholds.score = 2.0),
            expected: "m.onnx: contract: thresholds: score 2 and iou 0.45 must be in 0..=1, max_detections 300 in 1..=1000",
        },
    ] {
        assert_eq!(refused(&bytes), expected);
    }
}

#[test]
fn eighty_classes_without_attributes_are_refused_for_the_shape_only() {
    let names: Vec<String> = (0..80).map(|number| format!("class {number}")).collect();
    let bytes = changed(|contract| {
        let names = names.iter().map(String::as_str);
        contract.classes = shared::class::ClassTable::new(names).unwrap();
        contract.attributes = Default::default();
    });
    assert_eq!(
        refused(&bytes),
        "m.onnx: output 0 is f32 [1, 41, 40, 40], the contract says f32 [1, 85, 40, 40]"
    );
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let text = refused(&replaced(&WEIGHT, &f32::NAN.to_le_bytes()));
    assert_eq!(text, "m.onnx: weights of node `purple.0` hold NaN");
    let text = refused(&replaced(&WEIGHT, &f32::INFINITY.to_le_bytes()));
    assert_eq!(
        text,
        "m.onnx: trial run on a grey canvas: output 0 holds NaN or infinity"
    );
}

#[test]
fn a_panic_becomes_words() {
    let words = unwound::<()>(|| panic!("out of {}", "luck")).unwrap_err();
    assert!(words.starts_with("out of luck at "), "{words}");
    assert_eq!(unwound(|| 7), Ok(7));
}
