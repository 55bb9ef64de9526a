//! Weights out of a Python checkpoint (`.pt`), without Python and without running anything of it.
//!
//! The pickle is read as data: classes become opaque objects whose parameters, buffers and submodules
//! are walked, functions are never called (three of torch's own are understood). Depth, visits and
//! sizes are bounded, so that a made-up file ends in a message.

use std::path::Path;
use std::rc::Rc;

use super::archive::Archive;
use super::opcodes::{Item, Machine, NAME_MAX, RawTensor};
use super::{NamedTensors, WeightsError};

/// Largest file that is read, in bytes.
pub const FILE_MAX: u64 = 2 << 30;

/// Most numbers of a checkpoint (YOLOv5x has 87 million).
const VALUES_MAX: usize = 256 << 20;

/// Deepest nesting of modules.
const DEPTH_MAX: usize = 64;

/// Most places looked at, however often they refer to each other.
const VISITS_MAX: usize = 1_000_000;

/// Why a checkpoint cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PtError {
    /// The file itself.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// More bytes than [`FILE_MAX`].
    #[error("{bytes} bytes, expected at most {FILE_MAX}")]
    TooLarge {
        /// The file's length.
        bytes: u64,
    },
    /// The archive around it.
    #[error("{0}")]
    Archive(String),
    /// The pickle in it.
    #[error("data.pkl, byte {at}: {reason}")]
    Pickle {
        /// Where reading stopped.
        at: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A tensor that does not fit its storage or has no usable type.
    #[error("{name}: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Names or shapes.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A checkpoint without a single weight.
    #[error("no tensor of floating point in the checkpoint")]
    Empty,
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct PtCheckpoint {
    /// Tensors of 16, 32 and 64 bit floating point, as `f32`.
    pub tensors: NamedTensors,
    /// Integer tensors (step counters), which are no weights.
    pub n_integers: usize,
}

/// Reads a file; see [`parse_pt`].
///
/// # Errors
/// When it cannot be read or is no such checkpoint.
pub fn read_pt(path: &Path) -> Result<PtCheckpoint, PtError> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_MAX {
        return Err(PtError::TooLarge { bytes });
    }
    parse_pt(&std::fs::read(path)?)
}

/// Reads the bytes of a checkpoint: of its entry `ema`, else `model`, else of the whole, which may be
/// pickled modules or a state dict.
///
/// # Errors
/// When a part is missing, damaged or not understood.
pub fn parse_pt(bytes: &[u8]) -> Result<PtCheckpoint, PtError> {
    let archive = Archive::open(bytes).map_err(PtError::Archive)?;
    let pickle = archive
        .names()
        .find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"))
        .ok_or_else(|| PtError::Archive("no data.pkl: not a checkpoint of torch".to_owned()))?;
    let folder = &pickle[..pickle.len() - "data.pkl".len()];
    let order = format!("{folder}byteorder");
    if archive.names().any(|name| name == order) {
        let order = archive.content(&order).map_err(PtError::Archive)?;
        if order != b"little" {
            return Err(PtError::Archive("byteorder is not little".to_owned()));
        }
    }
    let content = archive.content(pickle).map_err(PtError::Archive)?;
    let mut machine = Machine::new(content);
    let top = machine.run().map_err(|reason| PtError::Pickle {
        at: machine.at(),
        reason,
    })?;
    let chosen = ["ema", "model"]
        .iter()
        .filter_map(|key| machine.entry(&top, key))
        .find(|item| matches!(item, Item::Dict(_) | Item::Object(_)));
    let mut walk = Walk {
        machine: &machine,
        visits: 0,
        found: Vec::new(),
    };
    walk.enter(&chosen.unwrap_or(top), &mut String::new(), 0)?;
    collect(&archive, folder, walk.found)
}

fn collect(
    archive: &Archive<'_>,
    folder: &str,
    found: Vec<(String, Rc<RawTensor>)>,
) -> Result<PtCheckpoint, PtError> {
    let (mut tensors, mut n_integers, mut n_values) = (NamedTensors::new(), 0, 0_usize);
    for (name, raw) in found {
        let fail = |reason: String| PtError::Tensor {
            name: name.clone(),
            reason,
        };
        let Some(float) = Float::of(&raw.storage.class).map_err(fail)? else {
            n_integers += 1;
            continue;
        };
        let path = format!("{folder}data/{}", raw.storage.key);
        let bytes = archive.content(&path).map_err(PtError::Archive)?;
        let values = raw.values(bytes, float).map_err(fail)?;
        n_values += values.len();
        if n_values > VALUES_MAX {
            return Err(fail(format!("more than {VALUES_MAX} numbers in all")));
        }
        tensors.insert(name, raw.shape.clone(), values)?;
    }
    if tensors.is_empty() {
        return Err(PtError::Empty);
    }
    Ok(PtCheckpoint {
        tensors,
        n_integers,
    })
}

/// The formats of a number that can be a weight.
#[derive(Clone, Copy)]
enum Float {
    Half,
    Brain,
    Single,
    Double,
}

impl Float {
    /// `None` for integers.
    fn of(storage_class: &str) -> Result<Option<Self>, String> {
        Ok(Some(match storage_class {
            "torch.HalfStorage" => Self::Half,
            "torch.BFloat16Storage" => Self::Brain,
            "torch.FloatStorage" => Self::Single,
            "torch.DoubleStorage" => Self::Double,
            "torch.LongStorage" | "torch.IntStorage" | "torch.ShortStorage"
            | "torch.CharStorage" | "torch.ByteStorage" | "torch.BoolStorage" => return Ok(None),
            other => return Err(format!("{other} is not understood")),
        }))
    }

    fn width(self) -> usize {
        match self {
            Self::Half | Self::Brain => 2,
            Self::Single => 4,
            Self::Double => 8,
        }
    }

    /// From exactly [`Float::width`] little-endian bytes.
    fn read(self, bytes: &[u8]) -> f32 {
        let bits = bytes
            .iter()
            .rev()
            .fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
        match self {
            Self::Half => f32_from_half(bits as u16),
            Self::Brain => f32::from_bits((bits as u32) << 16),
            Self::Single => f32::from_bits(bits as u32),
            Self::Double => f64::from_bits(bits) as f32,
        }
    }
}

/// IEEE 754 binary16, exactly.
fn f32_from_half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits) & 0x3ff;
    let magnitude = match exponent {
        // Steps of 2^-24, which f32 holds exactly.
        0 => (fraction as f32 / 16_777_216.0).to_bits(),
        0x1f => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

impl RawTensor {
    /// Its numbers, row-major, out of the bytes of its storage.
    fn values(&self, bytes: &[u8], float: Float) -> Result<Vec<f32>, String> {
        let stored = bytes.len() / float.width();
        let count = self
            .shape
            .iter()
            .try_fold(1, |n: usize, &d| n.checked_mul(d));
        // A stride of 0 could claim any number of values; no checkpoint needs it.
        let count = count
            .filter(|&count| count <= stored)
            .ok_or_else(|| format!("shape {:?} from a storage of {stored} numbers", self.shape))?;
        let mut values = Vec::with_capacity(count);
        for index in 0..count {
            let at = self.place(index).filter(|&at| at < stored);
            let at = at.ok_or_else(|| {
                format!("value {index} lies outside its storage of {stored} numbers")
            })?;
            values.push(float.read(&bytes[at * float.width()..(at + 1) * float.width()]));
        }
        Ok(values)
    }
}

/// Collects the tensors below an item, each under its path.
struct Walk<'a> {
    machine: &'a Machine<'a>,
    visits: usize,
    found: Vec<(String, Rc<RawTensor>)>,
}

impl Walk<'_> {
    fn enter(&mut self, item: &Item, path: &mut String, depth: usize) -> Result<(), PtError> {
        self.visits += 1;
        if depth > DEPTH_MAX || self.visits > VISITS_MAX || path.len() > NAME_MAX {
            return Err(PtError::Tensor {
                name: path.chars().take(64).collect(),
                reason: format!(
                    "nested deeper than {DEPTH_MAX}, referring to more than {VISITS_MAX} places or \
                     named with more than {NAME_MAX} bytes"
                ),
            });
        }
        match item {
            Item::Tensor(tensor) => self.found.push((path.clone(), tensor.clone())),
            Item::Dict(dict) => self.enter_dict(*dict, path, depth)?,
            Item::Object(_) => {
                for part in ["_parameters", "_buffers", "_modules"] {
                    if let Some(Item::Dict(dict)) = self.machine.entry(item, part) {
                        if part != "_modules" {
                            self.refuse_opaque(dict, path)?;
                        }
                        self.enter_dict(dict, path, depth)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn enter_dict(&mut self, dict: usize, path: &mut String, depth: usize) -> Result<(), PtError> {
        let machine = self.machine;
        for (key, value) in machine.pairs(dict) {
            let length = path.len();
            if length > 0 {
                path.push('.');
            }
            match key {
                Item::Text(text) => path.push_str(text),
                Item::Int(number) => path.push_str(&number.to_string()),
                _ => path.push('?'),
            }
            self.enter(value, path, depth + 1)?;
            path.truncate(length);
        }
        Ok(())
    }

    /// A parameter that was not understood would be missing without a word.
    fn refuse_opaque(&self, dict: usize, path: &str) -> Result<(), PtError> {
        let understood = |item: &Item| matches!(item, Item::Tensor(_) | Item::Nothing);
        match self
            .machine
            .pairs(dict)
            .iter()
            .find(|(_, v)| !understood(v))
        {
            None => Ok(()),
            Some((key, _)) => Err(PtError::Tensor {
                name: path.to_owned(),
                reason: format!("parameter {key:?} is not an ordinary tensor"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::archive::stored;
    use super::*;
    use crate::dataset::real_data::wbc_data;

    fn parse(pickle: &[u8], storage: &[u8]) -> Result<PtCheckpoint, String> {
        let bytes = stored(&[("m/data.pkl", pickle), ("m/data/0", storage)]);
        parse_pt(&bytes).map_err(|refused| refused.to_string())
    }

    fn text(out: &mut Vec<u8>, text: &str) {
        out.push(b'X');
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    }

    /// `{name: tensor}` with the tensor's bytes in storage 0, as torch writes it.
    fn state_dict(name: &str, class: &str, offset: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
        let mut out = b"\x80\x02}(".to_vec();
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{class}\n").as_bytes());
        text(&mut out, "0");
        text(&mut out, "cpu");
        out.extend(b"K\x06tQ");
        out.extend([b'K', offset]);
        for sizes in [shape, strides] {
            out.push(b'(');
            out.extend(sizes.iter().flat_map(|&size| [b'K', size]));
            out.push(b't');
        }
        out.extend(b"\x89ccollections\nOrderedDict\n)RtRu.");
        out
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn a_view_into_a_storage_is_read_by_its_strides() {
        let pickle = state_dict("w", "FloatStorage", 1, &[2, 2], &[1, 2]);
        let read = parse(&pickle, &floats(&[9.0, 1.0, 2.0, 3.0, 4.0])).unwrap();
        assert_eq!(
            read.tensors.get("w"),
            Some((&[2, 2][..], &[1.0, 3.0, 2.0, 4.0][..]))
        );
    }

    // python3 -c "import numpy as n; print(n.array([1, -2.5, 65504, 6e-8, 6.104e-05, n.inf], n.float16).view(n.uint16))"
    #[test]
    fn half_precision_becomes_exactly_the_same_numbers() {
        let halves: [u16; 6] = [15360, 49408, 31743, 1, 1024, 31744];
        let bytes: Vec<u8> = halves.iter().flat_map(|h| h.to_le_bytes()).collect();
        let pickle = state_dict("w", "HalfStorage", 0, &[6], &[1]);
        let read = parse(&pickle, &bytes).unwrap();
        let smallest = 2.0_f32.powi(-24);
        let expected = [
            1.0,
            -2.5,
            65504.0,
            smallest,
            2.0_f32.powi(-14),
            f32::INFINITY,
        ];
        assert_eq!(read.tensors.get("w").unwrap().1, expected);
    }

    #[test]
    fn tensors_that_do_not_fit_their_storage_are_refused_by_name() {
        let storage = floats(&[0.0; 4]);
        let cases = [
            (
                ("FloatStorage", 0, [3, 2], [2, 1]),
                "w: shape [3, 2] from a storage of 4 numbers",
            ),
            (
                ("FloatStorage", 0, [255, 255], [0, 0]),
                "w: shape [255, 255] from a storage of 4 numbers",
            ),
            (
                ("FloatStorage", 1, [2, 2], [2, 1]),
                "w: value 3 lies outside its storage of 4 numbers",
            ),
            (
                ("QUInt8Storage", 0, [2, 2], [2, 1]),
                "w: torch.QUInt8Storage is not understood",
            ),
            (
                ("LongStorage", 0, [1, 1], [1, 1]),
                "no tensor of floating point in the checkpoint",
            ),
        ];
        for ((class, offset, shape, strides), expected) in cases {
            let pickle = state_dict("w", class, offset, &shape, &strides);
            assert_eq!(parse(&pickle, &storage).unwrap_err(), expected);
        }
    }

    #[test]
    fn malformed_pickles_end_in_a_message() {
        let cases: [(&[u8], &str); 8] = [
            (b"", "data.pkl, byte 0: ends before 1 more bytes"),
            (b"\x80\x02.", "data.pkl, byte 3: the stack is empty"),
            (b"i", "data.pkl, byte 1: opcode 0x69 is not understood"),
            (b"h\x07.", "data.pkl, byte 2: recalls what was never kept"),
            (
                b"X\xff\xff\xff\xff",
                "data.pkl, byte 5: ends before 4294967295 more bytes",
            ),
            (b"}(Nu.", "data.pkl, byte 4: a key without value"),
            (b"NNR.", "data.pkl, byte 3: calls what is no global name"),
            (b"N.", "no tensor of floating point in the checkpoint"),
        ];
        for (pickle, expected) in cases {
            assert_eq!(parse(pickle, b"").unwrap_err(), expected);
        }
    }

    #[test]
    fn a_changed_or_cut_pickle_never_panics() {
        let whole = state_dict("w", "FloatStorage", 0, &[2, 2], &[2, 1]);
        let storage = floats(&[1.0, 2.0, 3.0, 4.0]);
        assert!(parse(&whole, &storage).is_ok());
        for at in 0..whole.len() {
            assert!(parse(&whole[..at], &storage).is_err(), "cut to {at}");
            for byte in 0..=u8::MAX {
                let mut changed = whole.clone();
                changed[at] = byte;
                // Whatever is still read has the numbers its storage holds.
                if let Ok(read) = parse(&changed, &storage) {
                    assert!(read.tensors.iter().all(|(_, _, values)| values.len() <= 4));
                }
            }
        }
    }

    #[test]
    fn a_dictionary_that_holds_itself_does_not_hang() {
        // d = {}; d["a"] = d
        let mut own = b"}q\x00".to_vec();
        text(&mut own, "a");
        own.extend(b"h\x00s.");
        let refused = parse(&own, b"").unwrap_err();
        assert!(refused.contains("nested deeper than 64"), "{refused}");
        // Thirty dictionaries, each holding the one before twice: 2^30 ways.
        let mut wide = b"}q\x00".to_vec();
        for level in 1..=30 {
            wide.extend([b'}', b'q', level]);
            for key in ["a", "b"] {
                text(&mut wide, key);
                wide.extend([b'h', level - 1, b's']);
            }
        }
        wide.push(b'.');
        let refused = parse(&wide, b"").unwrap_err();
        assert!(refused.contains("more than 1000000 places"), "{refused}");
    }

    #[test]
    fn nothing_is_run_and_a_strange_parameter_is_not_lost_silently() {
        // An object whose only parameter is the result of a call that is not understood.
        let mut pickle = b"cm\nNet\n)\x81}".to_vec();
        text(&mut pickle, "_parameters");
        pickle.push(b'}');
        text(&mut pickle, "w");
        pickle.extend(b"cos\nsystem\n)Rssb.");
        let refused = parse(&pickle, b"").unwrap_err();
        assert!(refused.ends_with("is not an ordinary tensor"), "{refused}");
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let refusal = |bytes: &[u8]| parse_pt(bytes).unwrap_err().to_string();
        assert!(refusal(b"").starts_with("no zip archive"));
        assert!(refusal(&[0; 100]).starts_with("no zip archive"));
        assert_eq!(
            refusal(&stored(&[("readme", b"")])),
            "no data.pkl: not a checkpoint of torch"
        );
        let big = stored(&[("data.pkl", b"N."), ("byteorder", b"big")]);
        assert_eq!(refusal(&big), "byteorder is not little");
        let missing = state_dict("w", "FloatStorage", 0, &[1], &[1]);
        let missing = stored(&[("m/data.pkl", &missing)]);
        assert_eq!(refusal(&missing), "m/data/0 is missing");
    }

    #[test]
    fn the_official_checkpoint_has_all_its_tensors() {
        let Some(folder) = wbc_data("pretrained") else {
            return;
        };
        let path = folder.join("yolov5n.pt");
        let read = read_pt(&path).unwrap();
        // 57 convolutions of 5 tensors and a step counter each, 3 heads of 2, the anchors.
        assert_eq!((read.tensors.len(), read.n_integers), (292, 57));
        let weights = read
            .tensors
            .iter()
            .filter(|(name, ..)| !name.contains("running_") && !name.ends_with("anchors"));
        // attridet.md, 8.1: parameters of n with 80 classes.
        assert_eq!(weights.map(|(_, _, v)| v.len()).sum::<usize>(), 1_872_157);
        let head = read.tensors.expect("model.24.m.0.weight", &[255, 64, 1, 1]);
        assert!(head.unwrap().iter().all(|weight| weight.is_finite()));
    }
}
