//! The tiny model of the tests, and what can be done to it.

use shared::contract::{CONTRACT_KEY, GoldenCell, GoldenField, ModelContract, fnv1a, golden_spec};
use shared::geometry::Size;

use crate::detector::Detector;
use crate::fields;
use crate::model::ModelFile;
use crate::network::Network;
use crate::tract::TractNetwork;

/// Made by `tests/fixtures/tiny.py`.
pub(crate) const TINY: &[u8] = include_bytes!("../../tests/fixtures/tiny.onnx");

/// A detector around `bytes`, which must be a good model.
pub(crate) fn detector(bytes: &[u8]) -> Detector {
    let file = ModelFile::from_bytes("m.onnx", bytes.to_vec());
    Detector::new(Box::new(TractNetwork::load(&file).unwrap()))
}

/// The fixture with another contract; its own goes on under a key that nobody reads.
pub(crate) fn with_contract(json: &str) -> Vec<u8> {
    let key = CONTRACT_KEY.as_bytes();
    let at = TINY.windows(key.len()).position(|part| part == key);
    let mut bytes = TINY.to_vec();
    bytes[at.expect("the fixture has a contract")] ^= 0x20;
    and_contract(&bytes, json)
}

/// A model with one more contract: `metadata_props` is field 14 of a protobuf message, and a
/// repeated field may go on at the end of the file.
pub(crate) fn and_contract(model: &[u8], json: &str) -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut len = bytes.len();
        while len > 0x7f {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend(bytes);
        out
    }
    let entry = [field(1, CONTRACT_KEY.as_bytes()), field(2, json.as_bytes())].concat();
    [model.to_vec(), field(14, &entry)].concat()
}

/// The fixture with its own contract, changed.
pub(crate) fn changed(change: impl FnOnce(&mut ModelContract)) -> Vec<u8> {
    let file = ModelFile::from_bytes("tiny.onnx", TINY.to_vec());
    let mut contract = TractNetwork::load(&file).unwrap().contract().clone();
    change(&mut contract);
    with_contract(&serde_json::to_string(&contract).unwrap())
}

/// The fixture with a golden field of its own findings; both changed.
pub(crate) fn golden(
    contract_change: impl FnOnce(&mut ModelContract),
    field_change: impl FnOnce(&mut GoldenField),
) -> Vec<u8> {
    let (seed, size) = (5, Size::new(480, 360));
    let picture = fields::draw(&golden_spec(seed, size)).unwrap();
    let mut plain = detector(TINY);
    let cells = plain.detect(picture.view()).unwrap().detections.to_vec();
    assert!(!cells.is_empty(), "the field shows a nucleus");
    let mut field = GoldenField {
        seed,
        size,
        canvas_fnv: format!("{:016x}", fnv1a(plain.canvas())).parse().unwrap(),
        cells: cells
            .iter()
            .map(|cell| GoldenCell {
                class: cell.class.0,
                score: cell.score.get(),
                xyxy: cell.bbox.xyxy(),
            })
            .collect(),
    };
    field_change(&mut field);
    changed(|contract| {
        contract_change(contract);
        contract.golden = [field].into_iter().collect();
    })
}
