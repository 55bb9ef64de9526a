//! The markers of a JPEG file: whether it is whole, and how much work is in it.
//!
//! The decoder draws a file that was cut short as a full picture with grey below, without an error;
//! a half picture counted as a whole one would be a wrong count.

use core::fmt;

use crate::geometry::Size;

/// What the markers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Markers {
    /// Of the picture before any orientation is applied.
    pub size: Size,
    /// Colour components.
    pub components: u8,
    /// Scans; one for a baseline file, about ten for a progressive one.
    pub scans: u32,
}

/// Where the markers end too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerError {
    /// Something else stands where a marker must.
    NoMarker {
        /// Byte of the file.
        at: usize,
        /// What stands there.
        got: u8,
    },
    /// The file ends inside a segment or a scan.
    CutShort {
        /// Bytes of the file.
        len: usize,
    },
    /// The end marker came before any picture.
    NoPicture,
}

impl fmt::Display for MarkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMarker { at, got } => {
                write!(f, "JPEG: byte {at} is {got:#04x}, expected a marker (0xff)")
            }
            Self::CutShort { len } => {
                write!(f, "JPEG cut short: {len} bytes and no end marker")
            }
            Self::NoPicture => write!(f, "JPEG without a picture before its end marker"),
        }
    }
}

impl core::error::Error for MarkerError {}

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// Follows the segments from the start marker to the end marker; what lies behind is ignored.
///
/// # Errors
/// When the file is not whole.
pub fn walk(bytes: &[u8]) -> Result<Markers, MarkerError> {
    let cut = MarkerError::CutShort { len: bytes.len() };
    let byte = |at: usize| bytes.get(at).copied().ok_or(cut);
    let mut found: Option<Markers> = None;
    let mut at = 2;
    loop {
        let first = byte(at)?;
        if first != 0xff {
            return Err(MarkerError::NoMarker { at, got: first });
        }
        let code = byte(at + 1)?;
        at += 2;
        match code {
            // A fill byte: the marker's code is still to come.
            0xff => at -= 1,
            END_OF_IMAGE => {
                return found
                    .filter(|markers| markers.scans > 0)
                    .ok_or(MarkerError::NoPicture);
            }
            // Markers without a segment.
            0x01 | 0xd0..=0xd8 => {}
            _ => {
                let length = usize::from(u16::from_be_bytes([byte(at)?, byte(at + 1)?]));
                let segment = bytes.get(at..at + length.max(2)).ok_or(cut)?;
                at += length.max(2);
                if is_frame(code) {
                    found = frame_of(segment).or(found);
                }
                if code == START_OF_SCAN {
                    found.as_mut().ok_or(MarkerError::NoPicture)?.scans += 1;
                    at = end_of_scan(bytes, at).ok_or(cut)?;
                }
            }
        }
    }
}

/// Start-of-frame codes: C0 to CF without DHT, JPG and DAC.
fn is_frame(code: u8) -> bool {
    matches!(code, 0xc0..=0xcf) && !matches!(code, 0xc4 | 0xc8 | 0xcc)
}

/// Length (2 bytes), precision, height, width, components.
fn frame_of(segment: &[u8]) -> Option<Markers> {
    let side = |at: usize| {
        let pair = segment.get(at..at + 2)?;
        Some(u32::from(u16::from_be_bytes([pair[0], pair[1]])))
    };
    Some(Markers {
        size: Size::new(side(5)?, side(3)?),
        components: *segment.get(7)?,
        scans: 0,
    })
}

/// The next marker that is neither a stuffed zero nor a restart.
fn end_of_scan(bytes: &[u8], from: usize) -> Option<usize> {
    let pairs = bytes.get(from..)?.windows(2);
    pairs
        .into_iter()
        .position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff | 0xd0..=0xd7))
        .map(|offset| from + offset)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    /// A start, a frame of 640x480 with three components, a scan with stuffing and a restart, an end.
    fn whole() -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8];
        bytes.extend([0xff, 0xc0, 0, 8, 8, 0x01, 0xe0, 0x02, 0x80, 3]);
        bytes.extend([0xff, 0xda, 0, 2, 1, 2, 0xff, 0x00, 3, 0xff, 0xd0, 4]);
        bytes.extend([0xff, 0xd9]);
        bytes
    }

    #[test]
    fn a_whole_file_tells_its_size_and_scans() {
        let mut bytes = whole();
        let expected = Markers {
            size: Size::new(640, 480),
            components: 3,
            scans: 1,
        };
        assert_eq!(walk(&bytes), Ok(expected));
        bytes.extend(b"behind the end");
        assert_eq!(walk(&bytes), Ok(expected));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let bytes = whole();
        for len in 2..bytes.len() {
            assert_eq!(
                walk(&bytes[..len]),
                Err(MarkerError::CutShort { len }),
                "cut to {len}"
            );
        }
    }

    #[test]
    fn an_end_before_any_picture_is_no_picture() {
        assert_eq!(walk(&[0xff, 0xd8, 0xff, 0xd9]), Err(MarkerError::NoPicture));
        assert_eq!(
            walk(&[0xff, 0xd8, 0x12, 0x34]),
            Err(MarkerError::NoMarker { at: 2, got: 0x12 })
        );
    }
}
