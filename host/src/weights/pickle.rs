//! Weights out of a Python checkpoint (`.pt`), without Python and without running anything of it.
//!
//! The pickle is read as data: classes become opaque objects whose parameters, buffers and submodules
//! are walked, functions are never called (three of torch's own are understood). Depth, visits and
//! sizes are bounded, so that a made-up file ends in a message.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use super::archive::Archive;
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
        at: machine.at,
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

#[derive(Debug)]
struct Storage {
    class: Rc<str>,
    key: Rc<str>,
}

#[derive(Debug)]
struct RawTensor {
    storage: Storage,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl RawTensor {
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

    /// Where the value of a row-major index is stored.
    fn place(&self, index: usize) -> Option<usize> {
        let (mut rest, mut at) = (index, self.offset);
        for (&side, &stride) in self.shape.iter().zip(&self.strides).rev() {
            at = at.checked_add((rest % side).checked_mul(stride)?)?;
            rest /= side;
        }
        Some(at)
    }
}

/// A value on the pickle's stack. Lists, dictionaries and objects are numbers into the machine's own
/// store: a file may let them contain each other.
#[derive(Clone, Debug)]
enum Item {
    Nothing,
    Opaque,
    Mark,
    Int(i64),
    Text(Rc<str>),
    Global(Rc<str>),
    List(usize),
    Dict(usize),
    Object(usize),
    Storage(Rc<Storage>),
    Tensor(Rc<RawTensor>),
}

/// Reads the opcodes of pickle protocol 2 that torch writes, and a few newer ones.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Item>,
    memo: HashMap<u32, Item>,
    lists: Vec<Vec<Item>>,
    dicts: Vec<Vec<(Item, Item)>>,
    /// State of each object, as given by BUILD.
    objects: Vec<Item>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            stack: Vec::new(),
            memo: HashMap::new(),
            lists: Vec::new(),
            dicts: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// To the STOP opcode; the value on top of the stack is the result.
    fn run(&mut self) -> Result<Item, String> {
        loop {
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.pop();
            }
            if !self.constant(opcode)? && !self.memory(opcode)? && !self.structure(opcode)? {
                return Err(format!("opcode {opcode:#04x} is not understood"));
            }
        }
    }

    /// Opcodes that push a constant; `false` for any other.
    fn constant(&mut self, opcode: u8) -> Result<bool, String> {
        let item = match opcode {
            0x80 => {
                self.take(1)?;
                return Ok(true);
            }
            0x95 => {
                self.take(8)?;
                return Ok(true);
            }
            b'N' => Item::Nothing,
            0x88 => Item::Int(1),
            0x89 => Item::Int(0),
            b'K' => Item::Int(self.unsigned(1)? as i64),
            b'M' => Item::Int(self.unsigned(2)? as i64),
            b'J' => Item::Int(i64::from(self.unsigned(4)? as u32 as i32)),
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                Item::Opaque
            }
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            b'U' | b'C' => self.opaque(1)?,
            b'T' | b'B' => self.opaque(4)?,
            b'c' => Item::Global(format!("{}.{}", self.line()?, self.line()?).into()),
            b'(' => Item::Mark,
            b'}' => self.dict(),
            b']' | b')' | 0x8f => self.list(Vec::new()),
            _ => return Ok(false),
        };
        self.stack.push(item);
        Ok(true)
    }

    /// Opcodes that remember the top of the stack, or recall; `false` for any other.
    fn memory(&mut self, opcode: u8) -> Result<bool, String> {
        let width = if matches!(opcode, b'r' | b'j') { 4 } else { 1 };
        let slot = match opcode {
            b'q' | b'r' | b'h' | b'j' => self.unsigned(width)? as u32,
            0x94 => self.memo.len() as u32,
            _ => return Ok(false),
        };
        if matches!(opcode, b'h' | b'j') {
            let item = self.memo.get(&slot).ok_or("recalls what was never kept")?;
            self.stack.push(item.clone());
        } else {
            let top = self.stack.last().ok_or("the stack is empty")?;
            self.memo.insert(slot, top.clone());
        }
        Ok(true)
    }

    /// Opcodes that put items together; `false` for any other.
    fn structure(&mut self, opcode: u8) -> Result<bool, String> {
        match opcode {
            b't' => {
                let items = self.pop_to_mark()?;
                let list = self.list(items);
                self.stack.push(list);
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let first = self.stack.len().checked_sub(count);
                let items = self.stack.split_off(first.ok_or("the stack is too short")?);
                let list = self.list(items);
                self.stack.push(list);
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(items)?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                let name = format!("{}.{}", text_of(&module)?, text_of(&name)?);
                self.stack.push(Item::Global(name.into()));
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(&id)?;
                self.stack.push(storage);
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                let result = self.result_of(&function, &arguments)?;
                self.stack.push(result);
            }
            b'b' => {
                let state = self.pop()?;
                if let Some(Item::Object(object)) = self.stack.last() {
                    self.objects[*object] = state;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What a call would give, for the few functions that hold weights; an opaque object for any other.
    fn result_of(&mut self, function: &Item, arguments: &Item) -> Result<Item, String> {
        let Item::Global(name) = function else {
            return Err("calls what is no global name".to_owned());
        };
        let arguments = self.items(arguments)?.to_vec();
        Ok(match &**name {
            "collections.OrderedDict" => self.dict(),
            "torch._utils._rebuild_tensor_v2" => self.tensor(&arguments)?,
            "torch._utils._rebuild_parameter" => {
                let inner = arguments.first().ok_or("a parameter without tensor")?;
                inner.clone()
            }
            _ => {
                self.objects.push(Item::Nothing);
                Item::Object(self.objects.len() - 1)
            }
        })
    }

    fn tensor(&self, arguments: &[Item]) -> Result<Item, String> {
        let [
            Item::Storage(storage),
            Item::Int(offset),
            shape,
            strides,
            ..,
        ] = arguments
        else {
            return Err("a tensor without storage, offset, shape and strides".to_owned());
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(format!(
                "a tensor of shape {shape:?} with strides {strides:?}"
            ));
        }
        Ok(Item::Tensor(Rc::new(RawTensor {
            storage: Storage {
                class: storage.class.clone(),
                key: storage.key.clone(),
            },
            offset: size_of_int(*offset)?,
            shape,
            strides,
        })))
    }

    /// Out of the persistent identity `("storage", class, key, device, length)`.
    fn storage(&self, id: &Item) -> Result<Item, String> {
        let [_, class, key, ..] = self.items(id)? else {
            return Err("a storage without class and key".to_owned());
        };
        Ok(Item::Storage(Rc::new(Storage {
            class: text_of(class)?,
            key: text_of(key)?,
        })))
    }

    fn sizes(&self, item: &Item) -> Result<Vec<usize>, String> {
        let sizes = self.items(item)?.iter().map(|item| match item {
            Item::Int(size) => size_of_int(*size),
            other => Err(format!("a size is {other:?}")),
        });
        sizes.collect()
    }

    fn items(&self, item: &Item) -> Result<&[Item], String> {
        match item {
            Item::List(list) => Ok(&self.lists[*list]),
            other => Err(format!("expected a tuple, found {other:?}")),
        }
    }

    /// The last value of `key` in a dictionary or an object's state.
    fn entry(&self, item: &Item, key: &str) -> Option<Item> {
        let dict = match item {
            Item::Dict(dict) => *dict,
            Item::Object(object) => match self.objects[*object] {
                Item::Dict(dict) => dict,
                _ => return None,
            },
            _ => return None,
        };
        let is_key = |item: &Item| matches!(item, Item::Text(text) if &**text == key);
        let mut pairs = self.dicts[dict].iter().rev();
        pairs
            .find(|(known, _)| is_key(known))
            .map(|(_, value)| value.clone())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length);
        let slice = end.and_then(|end| self.bytes.get(self.at..end));
        let slice = slice.ok_or_else(|| format!("ends before {length} more bytes"))?;
        self.at += length;
        Ok(slice)
    }

    fn unsigned(&mut self, width: usize) -> Result<u64, String> {
        let bytes = self.take(width)?.iter().rev();
        Ok(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// A signed number of up to eight bytes; longer ones (seeds) are never sizes.
    fn long(&mut self) -> Result<Item, String> {
        let width = self.unsigned(1)? as usize;
        if width > 8 {
            self.take(width)?;
            return Ok(Item::Opaque);
        }
        let number = self.unsigned(width)?;
        let unused = 64 - 8 * width as u32;
        // The shift would be as wide as the number for a number of no bytes.
        let spread = number.checked_shl(unused).unwrap_or(0) as i64;
        Ok(Item::Int(spread.checked_shr(unused).unwrap_or(0)))
    }

    fn text(&mut self, width: usize) -> Result<Item, String> {
        let length = self.unsigned(width)? as usize;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "text is not UTF-8")?;
        Ok(Item::Text(text.into()))
    }

    fn opaque(&mut self, width: usize) -> Result<Item, String> {
        let length = self.unsigned(width)? as usize;
        self.take(length)?;
        Ok(Item::Opaque)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or("a name without end")?;
        let line = &self.take(length + 1)?[..length];
        std::str::from_utf8(line).map_err(|_| "a name is not UTF-8".to_owned())
    }

    fn list(&mut self, items: Vec<Item>) -> Item {
        self.lists.push(items);
        Item::List(self.lists.len() - 1)
    }

    fn dict(&mut self) -> Item {
        self.dicts.push(Vec::new());
        Item::Dict(self.dicts.len() - 1)
    }

    fn pop(&mut self) -> Result<Item, String> {
        self.stack
            .pop()
            .ok_or_else(|| "the stack is empty".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Item>, String> {
        let mark = self
            .stack
            .iter()
            .rposition(|item| matches!(item, Item::Mark))
            .ok_or("no mark on the stack")?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    /// Onto the list on top of the stack; other objects keep no items.
    fn extend(&mut self, items: Vec<Item>) -> Result<(), String> {
        match self.stack.last() {
            Some(Item::List(list)) => self.lists[*list].extend(items),
            Some(_) => {}
            None => return Err("the stack is empty".to_owned()),
        }
        Ok(())
    }

    /// Keys and values in turn, into the dictionary on top of the stack; other objects keep none.
    fn set_items(&mut self, items: Vec<Item>) -> Result<(), String> {
        match self.stack.last() {
            Some(Item::Dict(dict)) => {
                let (pairs, rest) = items.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err("a key without value".to_owned());
                }
                let pairs = pairs
                    .iter()
                    .map(|[key, value]| (key.clone(), value.clone()));
                self.dicts[*dict].extend(pairs);
            }
            Some(_) => {}
            None => return Err("the stack is empty".to_owned()),
        }
        Ok(())
    }
}

fn text_of(item: &Item) -> Result<Rc<str>, String> {
    match item {
        Item::Text(text) | Item::Global(text) => Ok(text.clone()),
        other => Err(format!("expected text, found {other:?}")),
    }
}

fn size_of_int(size: i64) -> Result<usize, String> {
    usize::try_from(size).map_err(|_| format!("a size is {size}"))
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
        if depth > DEPTH_MAX || self.visits > VISITS_MAX {
            return Err(PtError::Tensor {
                name: path.clone(),
                reason: format!(
                    "nested deeper than {DEPTH_MAX} or referring to more than {VISITS_MAX} places"
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
        for (key, value) in &machine.dicts[dict] {
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
        match self.machine.dicts[dict]
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
