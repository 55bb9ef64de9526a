//! A camera's node, and the calls into the kernel, each with its structure.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use shared::geometry::Size;
use v4l::v4l_sys as sys;
use v4l::v4l2::{self, vidioc};

use super::super::PixelFormat;
use super::super::SourceError;
use super::super::decode::{Layout, Matrix, Range};
use super::offers;

/// Frames of a camera, not of several planes.
pub(super) const CAPTURE: u32 = sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;

/// A structure of the kernel for which any bytes are a value.
///
/// # Safety
/// Only for plain data: integers, arrays and unions of them, and pointers nobody follows here.
pub(super) unsafe trait Plain: Copy {
    /// All bytes 0.
    fn zero() -> Self {
        // SAFETY: the trait's promise.
        unsafe { zeroed() }
    }
}

macro_rules! plain {
    ($($name:ident $bytes:literal)*) => {$(
        // The kernel tells calls apart by the size of their structure.
        const _: () = assert!(size_of::<sys::$name>() == $bytes);
        // SAFETY: the kernel's structures of the calls below are plain data.
        unsafe impl Plain for sys::$name {}
    )*};
}

plain! {
    v4l2_capability 104
    v4l2_requestbuffers 20
    v4l2_streamparm 204
    v4l2_control 8
    v4l2_queryctrl 68
    v4l2_fmtdesc 64
    v4l2_frmsizeenum 44
    v4l2_frmivalenum 52
    v4l2_querymenu 44
}
#[cfg(target_pointer_width = "64")]
plain! {
    v4l2_format 208
    v4l2_buffer 88
}
#[cfg(target_pointer_width = "32")]
plain! {
    v4l2_format 204
    v4l2_buffer 80
}
// SAFETY: an integer.
unsafe impl Plain for i32 {}

/// An open node.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
    node: String,
}

/// What a node says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Capability {
    pub(super) card: String,
    pub(super) bus: String,
    /// Whether this node, not only the device behind it, gives frames through mapped buffers.
    pub(super) captures: bool,
}

impl Device {
    pub(super) fn open(node: &Path) -> Result<Self, SourceError> {
        let name = node.display().to_string();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(node)
            .map_err(|error| sorted(&name, "open", error))?;
        Ok(Self { file, node: name })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The error of a call, with the node.
    pub(super) fn failed(&self, call: &'static str, error: io::Error) -> SourceError {
        sorted(&self.node, call, error)
    }

    pub(super) fn refused(
        &self,
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> SourceError {
        SourceError::Refused {
            node: self.node.clone(),
            what,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// Calls the kernel; a call that a signal broke off is made again.
    pub(super) fn call<T: Plain>(
        &self,
        request: vidioc::_IOC_TYPE,
        argument: &mut T,
    ) -> io::Result<()> {
        // A request carries the size of its structure.
        assert_eq!(request as usize >> 16 & 0x3fff, size_of::<T>());
        loop {
            // SAFETY: the kernel reads and writes the argument, whose size was compared, and any
            // bytes are a value of it; of its pointers only mapped buffers' offsets are used.
            let result = unsafe { v4l2::ioctl(self.fd(), request, (&raw mut *argument).cast()) };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    pub(super) fn capability(&self) -> Result<Capability, SourceError> {
        let mut found = sys::v4l2_capability::zero();
        self.call(vidioc::VIDIOC_QUERYCAP, &mut found)
            .map_err(|error| self.failed("VIDIOC_QUERYCAP", error))?;
        // `capabilities` are those of all nodes of the device: its metadata node has them too.
        let caps = if found.capabilities & sys::V4L2_CAP_DEVICE_CAPS != 0 {
            found.device_caps
        } else {
            found.capabilities
        };
        let wanted = sys::V4L2_CAP_VIDEO_CAPTURE | sys::V4L2_CAP_STREAMING;
        Ok(Capability {
            card: text(&found.card),
            bus: text(&found.bus_info),
            captures: caps & wanted == wanted,
        })
    }

    /// Sets format and size and reads back what the driver chose.
    ///
    /// A driver that does not have what is asked for takes something else without an error; that is
    /// refused with what it offers.
    pub(super) fn set_format(
        &self,
        format: PixelFormat,
        size: Size,
    ) -> Result<Layout, SourceError> {
        let mut wish = sys::v4l2_format::zero();
        wish.type_ = CAPTURE;
        wish.fmt.pix = sys::v4l2_pix_format {
            width: size.width,
            height: size.height,
            pixelformat: u32::from_le_bytes(format.fourcc()),
            field: sys::v4l2_field_V4L2_FIELD_NONE,
            // A stride other than 0 would be kept from the size before.
            bytesperline: 0,
            // SAFETY: set to zeros above.
            ..unsafe { wish.fmt.pix }
        };
        self.call(vidioc::VIDIOC_S_FMT, &mut wish)
            .map_err(|error| self.failed("VIDIOC_S_FMT", error))?;
        let mut found = sys::v4l2_format::zero();
        found.type_ = CAPTURE;
        self.call(vidioc::VIDIOC_G_FMT, &mut found)
            .map_err(|error| self.failed("VIDIOC_G_FMT", error))?;
        // SAFETY: the kernel fills this part of the union for CAPTURE; all of it are integers.
        let pix = unsafe { found.fmt.pix };
        let named = |fourcc: [u8; 4], size: Size| format!("{} {size}", text(&fourcc));
        let chosen = Size::new(pix.width, pix.height);
        let fourcc = pix.pixelformat.to_le_bytes();
        if fourcc != format.fourcc() || chosen != size {
            let found = format!(
                "{} (it offers {})",
                named(fourcc, chosen),
                offers::in_words(&self.formats())
            );
            return Err(self.refused("format", named(format.fourcc(), size), found));
        }
        if pix.field != sys::v4l2_field_V4L2_FIELD_NONE {
            let found = format!("interlaced (field order {})", pix.field);
            return Err(self.refused("frames", "progressive", found));
        }
        Ok(Layout {
            format,
            size,
            bytes_per_line: pix.bytesperline,
            matrix: matrix(&pix),
            range: range(&pix),
        })
    }

    /// Asks for a rate and reads back the one that was set; `None` when the driver has no rates.
    pub(super) fn set_rate(&self, fps: Option<f32>) -> Option<f32> {
        let mut rate = sys::v4l2_streamparm::zero();
        rate.type_ = CAPTURE;
        if let Some(fps) = fps {
            rate.parm.capture.timeperframe = sys::v4l2_fract {
                numerator: 1000,
                denominator: (fps * 1000.0).round() as u32,
            };
            // A driver without rates refuses; what it has is read below all the same.
            let _ = self.call(vidioc::VIDIOC_S_PARM, &mut rate);
        }
        let mut found = sys::v4l2_streamparm::zero();
        found.type_ = CAPTURE;
        self.call(vidioc::VIDIOC_G_PARM, &mut found).ok()?;
        // SAFETY: the kernel fills this part of the union for CAPTURE; all of it are integers.
        let interval = unsafe { found.parm.capture.timeperframe };
        (interval.numerator > 0 && interval.denominator > 0)
            .then(|| interval.denominator as f32 / interval.numerator as f32)
    }
}

/// Text up to its 0; what is no UTF-8, or would break a line, is replaced.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())])
        .replace(char::is_control, "\u{fffd}")
        .trim_end()
        .to_owned()
}

/// Sorts out the errors that mean something by themselves.
fn sorted(node: &str, call: &'static str, error: io::Error) -> SourceError {
    let node = node.to_owned();
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => SourceError::Gone { node },
        Some(libc::EBUSY) => SourceError::Busy { node },
        _ => SourceError::Call { node, call, error },
    }
}

/// The kernel's rules for what a driver leaves open (`V4L2_MAP_YCBCR_ENC_DEFAULT`); encodings that
/// are not known here are taken as BT.601.
fn matrix(pix: &sys::v4l2_pix_format) -> Matrix {
    // SAFETY: both parts of the union are the same integer.
    let encoding = unsafe { pix.__bindgen_anon_1.ycbcr_enc };
    let by_default = encoding == sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_DEFAULT
        && pix.colorspace == sys::v4l2_colorspace_V4L2_COLORSPACE_REC709;
    if by_default || encoding == sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709 {
        Matrix::Bt709
    } else {
        Matrix::Bt601
    }
}

/// As `V4L2_MAP_QUANTIZATION_DEFAULT` has it.
fn range(pix: &sys::v4l2_pix_format) -> Range {
    let by_default = pix.quantization == sys::v4l2_quantization_V4L2_QUANTIZATION_DEFAULT
        && pix.colorspace == sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG;
    if by_default || pix.quantization == sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE {
        Range::Full
    } else {
        Range::Limited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_becomes_one() {
        for (bytes, expected) in [
            (&b"Eyepiece \0rest"[..], "Eyepiece"),
            (b"no end", "no end"),
            (b"a\nb\xff\0", "a\u{fffd}b\u{fffd}"),
            (b"\0", ""),
        ] {
            assert_eq!(text(bytes), expected);
        }
    }

    #[test]
    fn errors_that_mean_something_are_told_apart() {
        for (code, message) in [
            (
                libc::ENODEV,
                "camera /dev/video0: gone (unplugged or lost its power)",
            ),
            (libc::EBUSY, "camera /dev/video0: in use by another program"),
            (
                libc::EIO,
                "camera /dev/video0: VIDIOC_DQBUF: Input/output error (os error 5)",
            ),
        ] {
            let error = sorted(
                "/dev/video0",
                "VIDIOC_DQBUF",
                io::Error::from_raw_os_error(code),
            );
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_file_that_is_no_camera_is_refused_by_its_first_call() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let device = Device::open(file.path()).unwrap();
        let error = device.capability().unwrap_err().to_string();
        assert!(
            error.contains("VIDIOC_QUERYCAP: Inappropriate ioctl"),
            "{error}"
        );
        let error = Device::open(Path::new("/dev/video-none")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("camera /dev/video-none: open: No such file")
        );
    }

    #[test]
    fn what_a_driver_leaves_open_is_bt601_in_the_limited_range() {
        let mut pix = sys::v4l2_pix_format {
            colorspace: sys::v4l2_colorspace_V4L2_COLORSPACE_SRGB,
            // SAFETY: the part of the union that is set.
            ..unsafe { sys::v4l2_format::zero().fmt.pix }
        };
        assert_eq!((matrix(&pix), range(&pix)), (Matrix::Bt601, Range::Limited));
        pix.colorspace = sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG;
        assert_eq!((matrix(&pix), range(&pix)), (Matrix::Bt601, Range::Full));
        pix.colorspace = sys::v4l2_colorspace_V4L2_COLORSPACE_REC709;
        assert_eq!((matrix(&pix), range(&pix)), (Matrix::Bt709, Range::Limited));
        pix.quantization = sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE;
        assert_eq!(range(&pix), Range::Full);
    }
}
