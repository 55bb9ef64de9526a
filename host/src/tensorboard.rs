//! TensorBoard's event files: numbers, pictures and texts by step.
//!
//! A file is a row of records (length, its checksum, bytes, their checksum) of protobuf `Event`s;
//! field numbers are those of `event.proto`, `summary.proto` and `tensor.proto`. Only what is
//! written here is described.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message as _;

/// First record of every file.
const FILE_VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`.
const SESSION_START: i32 = 1;
/// `DataType.DT_STRING`.
const STRINGS: i32 = 7;
/// `DataClass.DATA_CLASS_TENSOR`.
const TENSORS: i32 = 2;
/// `Summary.Image.colorspace`: red, green and blue.
const RGB: i32 = 3;

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, prost::Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Content", tags = "2, 4, 8")]
    content: Option<Content>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Content {
    #[prost(float, tag = "2")]
    Number(f32),
    #[prost(message, tag = "4")]
    Image(Image),
    #[prost(message, tag = "8")]
    Tensor(TensorProto),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TensorProto {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    strings: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    sides: Vec<Side>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Side {
    #[prost(int64, tag = "1")]
    size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<Plugin>,
    #[prost(int32, tag = "4")]
    data_class: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    name: String,
}

/// Why an event could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The file of events.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Bytes that are no picture.
    #[error("{tag}: expected a PNG or JPEG picture: {source}")]
    Picture {
        /// Tag it was to have.
        tag: String,
        /// What is wrong.
        source: image::ImageError,
    },
}

/// An open event file.
#[derive(Debug)]
pub struct EventWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl EventWriter {
    /// Starts `events.out.tfevents.<seconds>.<host>` in `folder`; TensorBoard reads all such files
    /// of a folder in the order of their names. When there is one of the same second, the new one
    /// has a number behind its name.
    ///
    /// # Errors
    /// The file and why it cannot be written.
    pub fn open(folder: &Path) -> Result<Self, EventError> {
        let name = format!("events.out.tfevents.{:010}.{}", now().floor(), host_name());
        let mut number = 0u64;
        loop {
            let path = folder.join(match number {
                0 => name.clone(),
                number => format!("{name}.{number}"),
            });
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let file = BufWriter::new(file);
                    let mut writer = Self { file, path };
                    writer.write(0, What::FileVersion(FILE_VERSION.to_owned()))?;
                    return Ok(writer);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(source) => return Err(EventError::Write { path, source }),
            }
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells TensorBoard to forget what earlier files of the folder say of `step` and later ones:
    /// a resumed run goes through these again.
    ///
    /// # Errors
    /// The file and why it cannot be written.
    pub fn restart_at(&mut self, step: i64) -> Result<(), EventError> {
        let status = SESSION_START;
        self.write(step, What::SessionLog(SessionLog { status }))
    }

    /// A number of a curve; written as `f32`.
    ///
    /// # Errors
    /// The file and why it cannot be written.
    pub fn scalar(&mut self, step: i64, tag: &str, value: f64) -> Result<(), EventError> {
        self.value(step, tag, Content::Number(value as f32), None)
    }

    /// A picture, as the bytes of a PNG or JPEG file.
    ///
    /// # Errors
    /// Bytes that are no picture, or the file and why it cannot be written.
    pub fn image(&mut self, step: i64, tag: &str, encoded: &[u8]) -> Result<(), EventError> {
        let reader = image::ImageReader::new(std::io::Cursor::new(encoded));
        let size = reader.with_guessed_format().map_err(Into::into);
        let (width, height) =
            size.and_then(image::ImageReader::into_dimensions)
                .map_err(|source| EventError::Picture {
                    tag: tag.to_owned(),
                    source,
                })?;
        let image = Image {
            height: height as i32,
            width: width as i32,
            colorspace: RGB,
            encoded: encoded.to_vec(),
        };
        self.value(step, tag, Content::Image(image), None)
    }

    /// A text; TensorBoard shows it as Markdown.
    ///
    /// # Errors
    /// The file and why it cannot be written.
    pub fn text(&mut self, step: i64, tag: &str, text: &str) -> Result<(), EventError> {
        let tensor = TensorProto {
            dtype: STRINGS,
            shape: Some(Shape {
                sides: vec![Side { size: 1 }],
            }),
            strings: vec![text.as_bytes().to_vec()],
        };
        let metadata = Metadata {
            plugin: Some(Plugin {
                name: "text".to_owned(),
            }),
            data_class: TENSORS,
        };
        self.value(step, tag, Content::Tensor(tensor), Some(metadata))
    }

    /// Brings everything to the disk; whoever looks on sees it then.
    ///
    /// # Errors
    /// The file and why it cannot be written.
    pub fn flush(&mut self) -> Result<(), EventError> {
        self.file.flush().map_err(|source| self.failed(source))
    }

    fn value(
        &mut self,
        step: i64,
        tag: &str,
        content: Content,
        metadata: Option<Metadata>,
    ) -> Result<(), EventError> {
        let value = Value {
            tag: tag.to_owned(),
            content: Some(content),
            metadata,
        };
        let values = vec![value];
        self.write(step, What::Summary(Summary { values }))
    }

    fn write(&mut self, step: i64, what: What) -> Result<(), EventError> {
        let event = Event {
            wall_time: now(),
            step,
            what: Some(what),
        };
        let record = record(&event.encode_to_vec());
        self.file
            .write_all(&record)
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> EventError {
        EventError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

/// Length, checksum of the length, bytes, checksum of the bytes.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(bytes.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked(crc32c(&length)).to_le_bytes());
    record.extend_from_slice(bytes);
    record.extend_from_slice(&masked(crc32c(bytes)).to_le_bytes());
    record
}

/// A checksum that may itself be part of what is summed.
fn masked(crc: u32) -> u32 {
    const MASK: u32 = 0xa282_ead8;
    crc.rotate_right(15).wrapping_add(MASK)
}

/// CRC-32C (Castagnoli), reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc_table();
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

const fn crc_table() -> [u32; 256] {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// Seconds since 1970; a clock before that counts as then.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The machine's name, as far as a file name takes it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let letters = name
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c));
    let name: String = letters.take(64).collect();
    if name.is_empty() {
        "host".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests;
