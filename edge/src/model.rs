//! The bytes of a model and why a model is refused.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use shared::contract::{ContractError, REGIONS_EXTENSION};
use shared::head::HeadError;

/// Largest model file that is read, bytes.
pub const MODEL_BYTES_MAX: u64 = 1 << 30;

/// Name of the embedded model in messages.
pub const EMBEDDED_NAME: &str = "embedded model";

/// A model that was not loaded, and why.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct ModelError {
    /// File, or [`EMBEDDED_NAME`].
    pub name: String,
    /// What is wrong with it.
    pub reason: Refusal,
}

/// What is wrong with a model.
#[derive(Debug)]
pub enum Refusal {
    /// The file cannot be read.
    Unreadable(String),
    /// A folder, a pipe or a device.
    NotAFile,
    /// Beyond [`MODEL_BYTES_MAX`].
    TooLarge {
        /// Bytes of the file.
        got: u64,
    },
    /// No bytes.
    Empty,
    /// No ONNX file, or cut short, or damaged.
    NotOnnx(String),
    /// An ONNX file that was not written for the station.
    NoContract,
    /// Several contracts, of which only one could be the right one.
    ManyContracts {
        /// Entries under the contract's key.
        got: usize,
    },
    /// Operators of another version, which may mean something else.
    Opset {
        /// The one version that is run.
        expected: i64,
        /// As written; `None` where the file names none.
        got: Option<i64>,
    },
    /// The contract is there and cannot be read.
    ContractText(String),
    /// The contract is of another time or senseless.
    Contract(ContractError),
    /// The threads asked for cannot be had.
    Threads(String),
    /// Weights kept in another file.
    ExternalWeights {
        /// The tensor.
        tensor: String,
    },
    /// The graph's input is not the contract's canvas.
    Input {
        /// By the contract.
        expected: String,
        /// In the graph.
        got: String,
    },
    /// Another number of outputs than levels.
    OutputCount {
        /// By the contract.
        expected: usize,
        /// In the graph.
        got: usize,
    },
    /// An output that is not the head of its level.
    Output {
        /// Which, finest first.
        level: usize,
        /// By the contract.
        expected: String,
        /// In the graph.
        got: String,
    },
    /// A tensor so large that it cannot belong to this kind of network.
    Oversized {
        /// The node that makes it.
        node: String,
        /// Its shape.
        shape: String,
    },
    /// The second file, which reads the attributes.
    InFile {
        /// Its name.
        file: String,
        /// What is wrong with it.
        reason: Box<Refusal>,
    },
    /// A model from memory has no second file beside it.
    NothingBeside,
    /// A second file that was not exported with the model.
    OtherModels {
        /// SHA-256 by the contract.
        expected: String,
        /// SHA-256 of the file.
        got: String,
    },
    /// An end of the second file's graph.
    Region {
        /// `input` or `output`.
        what: &'static str,
        /// By the contract.
        expected: String,
        /// In the graph.
        got: String,
    },
    /// NaN among the weights.
    NanWeights {
        /// The node that holds them.
        node: String,
    },
    /// The trial run on a grey canvas gave no usable heads.
    Heads(HeadError),
    /// The engine's own words.
    Graph(String),
    /// The engine stopped half way.
    Panicked(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::NotAFile => write!(f, "not a file, expected an ONNX model"),
            Self::TooLarge { got } => {
                write!(f, "{got} bytes, expected at most {MODEL_BYTES_MAX}")
            }
            Self::Empty => write!(f, "empty, expected an ONNX model"),
            Self::NotOnnx(error) => {
                write!(f, "no ONNX model, or cut short, or damaged: {error}")
            }
            Self::NoContract => write!(
                f,
                "no `{}` in its metadata_props: not exported by leuko-host",
                shared::contract::CONTRACT_KEY
            ),
            Self::ManyContracts { got } => write!(
                f,
                "{got} entries `{}` in its metadata_props, expected one",
                shared::contract::CONTRACT_KEY
            ),
            Self::Opset { expected, got } => match got {
                Some(got) => write!(f, "operators of opset {got}, expected {expected}"),
                None => write!(f, "names no opset, expected {expected}"),
            },
            Self::ContractText(error) => write!(f, "contract cannot be read: {error}"),
            Self::Contract(error) => write!(f, "contract: {error}"),
            Self::ExternalWeights { tensor } => write!(
                f,
                "tensor `{tensor}` lies in another file, expected all weights in this one"
            ),
            Self::Threads(error) => write!(f, "threads for the network: {error}"),
            Self::Input { expected, got } => {
                write!(f, "input is {got}, the contract says {expected}")
            }
            Self::OutputCount { expected, got } => {
                write!(f, "{got} outputs, the contract says {expected}")
            }
            Self::Output {
                level,
                expected,
                got,
            } => write!(f, "output {level} is {got}, the contract says {expected}"),
            Self::Oversized { node, shape } => {
                write!(f, "node `{node}` makes a tensor of {shape}: too large")
            }
            Self::InFile { file, reason } => {
                write!(
                    f,
                    "its attributes are read by a second file, {file}: {reason}"
                )
            }
            Self::NothingBeside => write!(
                f,
                "its attributes are read by a second file, which a model from memory has not"
            ),
            Self::OtherModels { expected, got } => write!(
                f,
                "SHA-256 is {got}, the model's contract says {expected}: exported with another model"
            ),
            Self::Region {
                what,
                expected,
                got,
            } => write!(f, "{what} is {got}, the contract says {expected}"),
            Self::NanWeights { node } => write!(f, "weights of node `{node}` hold NaN"),
            Self::Heads(error) => write!(f, "trial run on a grey canvas: {error}"),
            Self::Graph(error) => write!(f, "graph: {error}"),
            Self::Panicked(error) => write!(f, "the engine gave up: {error}"),
        }
    }
}

impl Refusal {
    /// Names the second file.
    pub fn in_file(self, file: &str) -> Self {
        Self::InFile {
            file: file.to_owned(),
            reason: Box::new(self),
        }
    }
}

impl ModelError {
    /// Names the model.
    pub fn new(name: &str, reason: Refusal) -> Self {
        Self {
            name: name.to_owned(),
            reason,
        }
    }
}

/// A model's bytes with the name and the hash it is known by.
#[derive(Clone, Debug)]
pub struct ModelFile {
    name: String,
    bytes: std::borrow::Cow<'static, [u8]>,
    sha256: String,
    path: Option<PathBuf>,
}

impl ModelFile {
    /// From memory.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Self {
        Self::named(name, bytes.into())
    }

    /// The model that is part of this binary.
    pub fn embedded() -> Self {
        Self::named(EMBEDDED_NAME, crate::embedded::MODEL.into())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`], [`Refusal::NotAFile`] or [`Refusal::TooLarge`].
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let name = path.display().to_string();
        let refuse = |reason| ModelError::new(&name, reason);
        let unreadable = |error: std::io::Error| refuse(Refusal::Unreadable(error.to_string()));
        // Asked before opening: opening a pipe would wait for its writer.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(refuse(Refusal::NotAFile));
        }
        let file = File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(MODEL_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > MODEL_BYTES_MAX {
            let got = metadata.len();
            return Err(refuse(Refusal::TooLarge { got }));
        }
        Ok(Self {
            path: Some(path.to_path_buf()),
            ..Self::named(&name, bytes.into())
        })
    }

    /// Reads the second file of a model whose attributes are read from regions.
    ///
    /// # Errors
    /// When the model has no place on the disk, or the file beside it cannot be read.
    pub fn beside(&self) -> Result<Self, Refusal> {
        let path = self.path.as_ref().ok_or(Refusal::NothingBeside)?;
        let path = path.with_extension(REGIONS_EXTENSION);
        Self::read(&path).map_err(|error| error.reason.in_file(&error.name))
    }

    fn named(name: &str, bytes: std::borrow::Cow<'static, [u8]>) -> Self {
        Self {
            name: name.to_owned(),
            sha256: hexadecimal(&Sha256::digest(&bytes)),
            bytes,
            path: None,
        }
    }

    /// File, or [`EMBEDDED_NAME`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Hexadecimal SHA-256 of the bytes.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
