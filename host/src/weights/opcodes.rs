//! Python's pickle opcodes as data: a stack machine that builds lists, dictionaries and opaque objects.
//!
//! No class is looked up and no function called; only what the bytes say is kept, and no more than a
//! constant amount for each opcode.

use std::collections::HashMap;
use std::rc::Rc;

/// Longest name of a tensor, a class or a function, in bytes.
pub(super) const NAME_MAX: usize = 1024;

/// Most dimensions of a tensor.
const DIMENSIONS_MAX: usize = 8;

/// Where a tensor's numbers are.
#[derive(Debug)]
pub(super) struct Storage {
    /// Its class, which says what the numbers are.
    pub class: Rc<str>,
    /// Name of its file in the archive.
    pub key: Rc<str>,
}

/// A tensor as a view into a storage.
#[derive(Debug)]
pub(super) struct RawTensor {
    pub storage: Rc<Storage>,
    offset: usize,
    pub shape: Vec<usize>,
    strides: Vec<usize>,
}

impl RawTensor {
    /// Where the value of a row-major index is stored.
    pub fn place(&self, index: usize) -> Option<usize> {
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
pub(super) enum Item {
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
pub(super) struct Machine<'a> {
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
    pub fn new(bytes: &'a [u8]) -> Self {
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

    /// The byte that is read next.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Keys and values of a dictionary.
    pub fn pairs(&self, dict: usize) -> &[(Item, Item)] {
        &self.dicts[dict]
    }

    /// To the STOP opcode; the value on top of the stack is the result.
    pub fn run(&mut self) -> Result<Item, String> {
        loop {
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.pop();
            }
            if !self.constant(opcode)?
                && !self.memory(opcode)?
                && !self.structure(opcode)?
                && !self.filling(opcode)?
            {
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

    /// Opcodes that make one item of several; `false` for any other.
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
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (name, module) = (text_of(&name)?, text_of(&module)?);
                if name.len() + module.len() > NAME_MAX {
                    return Err(format!("a global name of more than {NAME_MAX} bytes"));
                }
                let name = format!("{module}.{name}");
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
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Opcodes that put items into one that stands on the stack; `false` for any other.
    fn filling(&mut self, opcode: u8) -> Result<bool, String> {
        match opcode {
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
        Ok(match &**name {
            "collections.OrderedDict" => self.dict(),
            "torch._utils._rebuild_tensor_v2" => self.tensor(self.items(arguments)?)?,
            "torch._utils._rebuild_parameter" => {
                let inner = self.items(arguments)?.first();
                inner.ok_or("a parameter without tensor")?.clone()
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
            storage: storage.clone(),
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
        let items = self.items(item)?;
        if items.len() > DIMENSIONS_MAX {
            return Err(format!("a tensor of {} dimensions", items.len()));
        }
        let sizes = items.iter().map(|item| match item {
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
    pub fn entry(&self, item: &Item, key: &str) -> Option<Item> {
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
