//! Where pictures come from: cameras, folders, image sequences and the drawn slide, behind one trait.
//!
//! A source decodes into the caller's [`Frame`]. It never becomes another source, format or size by
//! itself; a frame that is damaged is said to be and counted, never shown. [`life`] says from what a
//! source answers whether it is alive, [`watched`] opens it again when it is not.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use shared::geometry::Size;
use shared::phantom::SpecError;

use crate::frame::Frame;

#[cfg(feature = "camera")]
pub mod camera;
pub mod chosen;
pub mod decode;
pub mod folder;
pub mod life;
pub mod pace;
pub mod phantom;
pub mod pictures;
pub mod watched;

/// Gives frames, one after another.
pub trait FrameSource: Send {
    /// What it is, as it was really set.
    fn identity(&self) -> &SourceIdentity;

    /// Waits at most `wait` for the newest frame and decodes it into `frame`, which is meaningful
    /// only after [`Received::Frame`].
    ///
    /// # Errors
    /// When the source is of no use any more and must be opened again.
    fn next(&mut self, wait: Duration, frame: &mut Frame) -> Result<Received, SourceError>;

    /// What it has counted since it was opened.
    fn counters(&self) -> SourceCounters;

    /// What was wrong with the last damaged frame, in words with place, expected and found.
    fn last_damage(&self) -> Option<&str>;
}

/// What [`FrameSource::next`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The frame is filled.
    Frame,
    /// Nothing came in time.
    Nothing,
    /// Something came and is no whole picture; it was counted.
    Damaged(DamageReason),
    /// The folder or the walk is over; there is nothing more to come.
    End,
}

/// Why a frame was not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageReason {
    /// The driver says that its buffer is damaged.
    Flagged,
    /// No bytes.
    Empty,
    /// Fewer bytes than the picture needs.
    Short,
    /// A JPEG without its start, its end or its markers.
    Markers,
    /// A picture of another size than agreed.
    Size,
    /// A JPEG of other colours than grey or YCbCr (CMYK, for instance).
    Colours,
    /// The decoder refused it.
    Decoder,
    /// A file that cannot be read.
    Unreadable,
}

impl DamageReason {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Flagged,
        Self::Empty,
        Self::Short,
        Self::Markers,
        Self::Size,
        Self::Colours,
        Self::Decoder,
        Self::Unreadable,
    ];

    /// Its name in metrics and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flagged => "flagged",
            Self::Empty => "empty",
            Self::Short => "short",
            Self::Markers => "markers",
            Self::Size => "size",
            Self::Colours => "colours",
            Self::Decoder => "decoder",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for DamageReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Damaged frames by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DamageCounts([u64; DamageReason::ALL.len()]);

impl DamageCounts {
    /// Counts one.
    pub fn add(&mut self, reason: DamageReason) {
        self.0[reason as usize] += 1;
    }

    /// Of one reason.
    pub fn get(&self, reason: DamageReason) -> u64 {
        self.0[reason as usize]
    }

    /// Of all reasons.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Serialize for DamageCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for reason in DamageReason::ALL {
            map.serialize_entry(reason.name(), &self.get(reason))?;
        }
        map.end()
    }
}

/// What became of the frames since the source was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceCounters {
    /// Frames given to the caller.
    pub frames: u64,
    /// Frames that were given up because a newer one had come.
    pub replaced: u64,
    /// Frames that were no whole picture.
    pub damaged: DamageCounts,
    /// Frames that the driver numbered and never delivered.
    pub gaps: u64,
}

impl SourceCounters {
    /// Adds those of a source that is closed, so that the sums go on when it is opened again.
    pub fn plus(mut self, other: &Self) -> Self {
        self.frames += other.frames;
        self.replaced += other.replaced;
        for (sum, more) in self.damaged.0.iter_mut().zip(other.damaged.0) {
            *sum += more;
        }
        self.gaps += other.gaps;
        self
    }
}

/// Kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// A camera of the kernel.
    Camera,
    /// A folder of pictures, once.
    Folder,
    /// A folder of pictures, over and over.
    Sequence,
    /// The drawn slide.
    Phantom,
}

/// How a frame lies in a camera's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PixelFormat {
    /// Brightness and colour in turn, 2 bytes a pixel.
    Yuyv,
    /// A plane of brightness, a plane of colour of half the size both ways.
    Nv12,
    /// Brightness only.
    Grey,
    /// One JPEG a frame.
    Mjpeg,
}

impl PixelFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Yuyv, Self::Nv12, Self::Grey, Self::Mjpeg];

    /// The kernel's four letters.
    pub fn fourcc(self) -> [u8; 4] {
        *match self {
            Self::Yuyv => b"YUYV",
            Self::Nv12 => b"NV12",
            Self::Grey => b"GREY",
            Self::Mjpeg => b"MJPG",
        }
    }

    /// The format of the kernel's four letters; `None` for one that is not decoded here.
    pub fn from_fourcc(fourcc: [u8; 4]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.fourcc() == fourcc)
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yuyv => "YUYV",
            Self::Nv12 => "NV12",
            Self::Grey => "GREY",
            Self::Mjpeg => "MJPG",
        })
    }
}

/// What a source is, as it was really set; it goes into the record of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceIdentity {
    /// Its kind.
    pub kind: SourceKind,
    /// For people: the camera's name, the folder's path, the slide's seed.
    pub name: String,
    /// What the camera calls itself.
    pub card: Option<String>,
    /// The port it is plugged into.
    pub bus: Option<String>,
    /// Its node, `/dev/video0`; another one after a replug.
    pub node: Option<String>,
    /// How its frames lie in memory; `None` for files and drawings.
    pub format: Option<PixelFormat>,
    /// Of its frames; `None` when each picture has its own.
    pub size: Option<Size>,
    /// Frames a second, as the driver says; `None` as fast as they are asked for.
    pub fps: Option<f32>,
    /// Controls of the camera that were asked for, and what became of them.
    pub controls: Vec<ControlRecord>,
}

impl SourceIdentity {
    /// Of a source that is no camera.
    pub fn of_pictures(kind: SourceKind, name: String) -> Self {
        Self {
            kind,
            name,
            card: None,
            bus: None,
            node: None,
            format: None,
            size: None,
            fps: None,
            controls: Vec::new(),
        }
    }

    /// Whether both are the same camera in the same port, whatever its node; other sources are told
    /// by kind and name.
    pub fn is_same_device(&self, other: &Self) -> bool {
        let place = |it: &Self| (it.kind, it.card.clone(), it.bus.clone());
        place(self) == place(other) && (self.card.is_some() || self.name == other.name)
    }
}

/// A control of the camera: what was asked for and what was read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlRecord {
    /// Its name.
    pub name: &'static str,
    /// The kernel's number of it.
    pub id: u32,
    /// The value that was asked for, in the control's own unit; `None` when it was only read.
    pub asked: Option<i32>,
    /// The value read back; `None` when the camera has no such control.
    pub found: Option<i32>,
    /// Why the value is not the one asked for.
    pub problem: Option<String>,
}

/// A source cannot be opened or is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The folder of pictures.
    #[error(transparent)]
    Folder(#[from] folder::SourceError),
    /// The drawn slide cannot be drawn.
    #[error("phantom: {0}")]
    Phantom(#[from] SpecError),
    /// A rate that is no rate.
    #[error("frames a second: {got}, expected above 0 and at most {max}", max = pace::FPS_MAX)]
    Rate {
        /// As given.
        got: f32,
    },
    /// No such camera is plugged in.
    #[error("camera {wanted}: not found; there {found}")]
    NotFound {
        /// Which was looked for.
        wanted: String,
        /// What is there, in words.
        found: String,
    },
    /// Several cameras fit.
    #[error("camera {wanted}: {found} fit, expected one; name its card and bus")]
    Ambiguous {
        /// Which was looked for.
        wanted: String,
        /// Those that fit.
        found: String,
    },
    /// Another program has it.
    #[error("camera {node}: in use by another program")]
    Busy {
        /// Its node.
        node: String,
    },
    /// It was unplugged.
    #[error("camera {node}: gone (unplugged or lost its power)")]
    Gone {
        /// Its node.
        node: String,
    },
    /// The driver chose something else than what was asked for.
    #[error("camera {node}: {what} {found}, expected {expected}")]
    Refused {
        /// Its node.
        node: String,
        /// Of what.
        what: &'static str,
        /// As asked.
        expected: String,
        /// As the driver has it.
        found: String,
    },
    /// A call into the kernel failed.
    #[error("camera {node}: {call}: {error}")]
    Call {
        /// Its node.
        node: String,
        /// The kernel's name of the call.
        call: &'static str,
        /// Its answer.
        error: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let mut counts = DamageCounts::default();
        for (index, reason) in DamageReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            for _ in 0..=index {
                counts.add(reason);
            }
        }
        assert_eq!(counts.total(), 36);
        assert_eq!(
            serde_json::to_string(&counts).unwrap(),
            "{\"flagged\":1,\"empty\":2,\"short\":3,\"markers\":4,\"size\":5,\"colours\":6,\
             \"decoder\":7,\"unreadable\":8}"
        );
        let sum = SourceCounters {
            damaged: counts,
            ..SourceCounters::default()
        };
        assert_eq!(sum.plus(&sum).damaged.get(DamageReason::Unreadable), 16);
    }

    #[test]
    fn a_camera_is_the_same_by_card_and_bus_whatever_its_node() {
        let camera = |card: &str, bus: &str, node: &str| SourceIdentity {
            card: Some(card.to_owned()),
            bus: Some(bus.to_owned()),
            node: Some(node.to_owned()),
            ..SourceIdentity::of_pictures(SourceKind::Camera, node.to_owned())
        };
        let first = camera("Eyepiece", "usb-1", "/dev/video0");
        assert!(first.is_same_device(&camera("Eyepiece", "usb-1", "/dev/video2")));
        assert!(!first.is_same_device(&camera("Eyepiece", "usb-2", "/dev/video0")));
        assert!(!first.is_same_device(&camera("Webcam", "usb-1", "/dev/video0")));
        let folder = |name: &str| SourceIdentity::of_pictures(SourceKind::Folder, name.to_owned());
        assert!(folder("a").is_same_device(&folder("a")));
        assert!(!folder("a").is_same_device(&folder("b")));
    }

    #[test]
    fn four_letters_name_a_format_both_ways() {
        for format in PixelFormat::ALL {
            assert_eq!(PixelFormat::from_fourcc(format.fourcc()), Some(format));
            assert_eq!(format.to_string().as_bytes(), format.fourcc());
        }
        assert_eq!(PixelFormat::from_fourcc(*b"H264"), None);
    }
}
