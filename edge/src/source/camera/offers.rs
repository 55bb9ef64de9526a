//! What a camera offers: formats, sizes, rates and controls, as its driver lists them; nothing is set.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use shared::geometry::Size;
use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use super::super::{PixelFormat, SourceError};
use super::controls::{Controls, config_key};
use super::device::{CAPTURE, Device, Plain, text};
use super::find::{CameraFound, cameras};

/// Most entries of a list that are asked for: a driver without end is not followed.
const OFFERS_MAX: u32 = 256;

/// A camera with all it offers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CameraOffer {
    /// Its node.
    pub node: String,
    /// What it calls itself.
    pub card: String,
    /// The port it is plugged into.
    pub bus: String,
    /// How its frames may come.
    pub formats: Vec<FormatOffer>,
    /// What can be set.
    pub controls: Vec<ControlOffer>,
}

/// A way in which frames may lie in memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormatOffer {
    /// The kernel's four letters.
    pub fourcc: String,
    /// The driver's words.
    pub description: String,
    /// What it is called in the configuration; `None` when it is not decoded here.
    pub config: Option<String>,
    /// Of its frames.
    pub sizes: Vec<SizeOffer>,
}

/// A size, or a range of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizeOffer {
    /// The size, or the smallest.
    pub size: Size,
    /// The largest, of a range.
    pub to: Option<Size>,
    /// Frames a second, as listed; of a range the least and the most.
    pub fps: Vec<f32>,
}

/// A control with its range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlOffer {
    /// The kernel's number of it.
    pub id: u32,
    /// The driver's name of it.
    pub name: String,
    /// Its key under `source.camera.controls`; `None` when the configuration cannot set it.
    pub config: Option<&'static str>,
    /// Smallest value.
    pub min: i32,
    /// Largest value.
    pub max: i32,
    /// From value to value.
    pub step: i32,
    /// The driver's own.
    pub default: i32,
    /// As it is; `None` when it cannot be read.
    pub value: Option<i32>,
    /// Another control, an automatic for instance, keeps it from being set now.
    pub inactive: bool,
    /// It cannot be set at all.
    pub read_only: bool,
    /// Names of values, of a menu.
    pub menu: Vec<MenuItem>,
}

/// A value with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MenuItem {
    /// The value.
    pub value: i32,
    /// What it means.
    pub name: String,
}

/// What is there, and what could not be asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Offers {
    /// Nodes that give frames.
    pub cameras: Vec<CameraOffer>,
    /// Nodes that cannot be asked, with the reason.
    pub closed: Vec<String>,
}

/// Asks every camera that is there; none is disturbed, not even one in use.
pub fn offers() -> Offers {
    let there = cameras();
    let mut out = Offers {
        cameras: Vec::new(),
        closed: there.closed,
    };
    for found in &there.found {
        match offer(found) {
            Ok(camera) => out.cameras.push(camera),
            Err(error) => out.closed.push(error.to_string()),
        }
    }
    out
}

fn offer(found: &CameraFound) -> Result<CameraOffer, SourceError> {
    let device = Device::open(Path::new(&found.node))?;
    Ok(CameraOffer {
        node: found.node.clone(),
        card: found.card.clone(),
        bus: found.bus.clone(),
        formats: device.formats(),
        controls: device.controls(),
    })
}

impl Device {
    pub(super) fn formats(&self) -> Vec<FormatOffer> {
        let formats = (0..OFFERS_MAX).map_while(|index| {
            let mut found = sys::v4l2_fmtdesc::zero();
            found.index = index;
            found.type_ = CAPTURE;
            self.call(vidioc::VIDIOC_ENUM_FMT, &mut found).ok()?;
            let fourcc = found.pixelformat.to_le_bytes();
            let known = PixelFormat::from_fourcc(fourcc);
            Some(FormatOffer {
                fourcc: text(&fourcc),
                description: text(&found.description),
                config: known.map(|format| config_name(format).to_owned()),
                sizes: self.sizes(found.pixelformat),
            })
        });
        formats.collect()
    }

    fn sizes(&self, format: u32) -> Vec<SizeOffer> {
        let sizes = (0..OFFERS_MAX).map_while(|index| {
            let mut found = sys::v4l2_frmsizeenum::zero();
            found.index = index;
            found.pixel_format = format;
            self.call(vidioc::VIDIOC_ENUM_FRAMESIZES, &mut found).ok()?;
            // SAFETY: which part of the union is filled is told by the type; both are integers.
            let (size, to) = unsafe {
                if found.type_ == sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
                    let one = found.__bindgen_anon_1.discrete;
                    (Size::new(one.width, one.height), None)
                } else {
                    let steps = found.__bindgen_anon_1.stepwise;
                    (
                        Size::new(steps.min_width, steps.min_height),
                        Some(Size::new(steps.max_width, steps.max_height)),
                    )
                }
            };
            let fps = self.rates(format, to.unwrap_or(size));
            Some(SizeOffer { size, to, fps })
        });
        sizes.collect()
    }

    /// Frames a second, in the driver's order.
    fn rates(&self, format: u32, size: Size) -> Vec<f32> {
        let mut out = Vec::new();
        for index in 0..OFFERS_MAX {
            let mut found = sys::v4l2_frmivalenum::zero();
            found.index = index;
            found.pixel_format = format;
            (found.width, found.height) = (size.width, size.height);
            if self
                .call(vidioc::VIDIOC_ENUM_FRAMEINTERVALS, &mut found)
                .is_err()
            {
                break;
            }
            // SAFETY: which part of the union is filled is told by the type; both are integers.
            let intervals = unsafe {
                if found.type_ == sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE {
                    vec![found.__bindgen_anon_1.discrete]
                } else {
                    let steps = found.__bindgen_anon_1.stepwise;
                    vec![steps.max, steps.min]
                }
            };
            out.extend(intervals.iter().filter_map(rate));
        }
        out
    }

    /// All controls that are a number, a switch or a menu.
    pub(super) fn controls(&self) -> Vec<ControlOffer> {
        let (mut out, mut id) = (Vec::new(), 0);
        for _ in 0..OFFERS_MAX {
            let mut found = sys::v4l2_queryctrl::zero();
            found.id = id | sys::V4L2_CTRL_FLAG_NEXT_CTRL;
            if self.call(vidioc::VIDIOC_QUERYCTRL, &mut found).is_err() || found.id <= id {
                break;
            }
            id = found.id;
            let has_value = matches!(
                found.type_,
                sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER
                    | sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BOOLEAN
                    | sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU
                    | sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU
            );
            if has_value && found.flags & sys::V4L2_CTRL_FLAG_DISABLED == 0 {
                out.push(self.control(&found));
            }
        }
        out
    }

    fn control(&self, found: &sys::v4l2_queryctrl) -> ControlOffer {
        ControlOffer {
            id: found.id,
            name: text(&found.name),
            config: config_key(found.id),
            min: found.minimum,
            max: found.maximum,
            step: found.step,
            default: found.default_value,
            value: self.get(found.id).ok(),
            inactive: found.flags & sys::V4L2_CTRL_FLAG_INACTIVE != 0,
            read_only: found.flags & sys::V4L2_CTRL_FLAG_READ_ONLY != 0,
            menu: self.menu(found),
        }
    }

    /// The items of a menu; some of its values may be missing.
    fn menu(&self, control: &sys::v4l2_queryctrl) -> Vec<MenuItem> {
        let is_words = control.type_ == sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU;
        if !is_words && control.type_ != sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU {
            return Vec::new();
        }
        let values = control.minimum.max(0)..=control.maximum;
        let items = values.take(OFFERS_MAX as usize).filter_map(|value| {
            let mut found = sys::v4l2_querymenu::zero();
            found.id = control.id;
            found.index = value as u32;
            self.call(vidioc::VIDIOC_QUERYMENU, &mut found).ok()?;
            // SAFETY: which part of the union is filled is told by the control; both are integers.
            let name = unsafe {
                match is_words {
                    true => text(&{ found.__bindgen_anon_1.name }),
                    false => { found.__bindgen_anon_1.value }.to_string(),
                }
            };
            Some(MenuItem { value, name })
        });
        items.collect()
    }
}

/// Its value of `source.camera.format`.
fn config_name(format: PixelFormat) -> &'static str {
    match format {
        PixelFormat::Yuyv => "yuyv",
        PixelFormat::Nv12 => "nv12",
        PixelFormat::Grey => "grey",
        PixelFormat::Mjpeg => "mjpeg",
    }
}

fn rate(interval: &sys::v4l2_fract) -> Option<f32> {
    let legal = interval.numerator > 0 && interval.denominator > 0;
    legal.then(|| interval.denominator as f32 / interval.numerator as f32)
}

/// Formats that can be decoded, with their sizes, in words.
pub(super) fn in_words(formats: &[FormatOffer]) -> String {
    let known = formats.iter().filter(|format| format.config.is_some());
    let words: Vec<String> = known
        .map(|format| {
            let sizes: Vec<String> = format.sizes.iter().map(SizeOffer::extent).collect();
            format!("{} {}", format.fourcc, sizes.join(", "))
        })
        .collect();
    match words.is_empty() {
        true => "none of YUYV, NV12, GREY and MJPG".to_owned(),
        false => words.join("; "),
    }
}

impl SizeOffer {
    fn extent(&self) -> String {
        match self.to {
            None => self.size.to_string(),
            Some(to) => format!("{} to {to}", self.size),
        }
    }
}

impl fmt::Display for SizeOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.extent())?;
        let rates: Vec<String> = self.fps.iter().map(|fps| format!("{fps:.4}")).collect();
        let rates = rates
            .iter()
            .map(|it| it.trim_end_matches('0').trim_end_matches('.'));
        let rates: Vec<&str> = rates.collect();
        match (rates.is_empty(), self.to) {
            (true, _) => Ok(()),
            (false, None) => write!(f, " at {} frames a second", rates.join(", ")),
            (false, Some(_)) => write!(
                f,
                " at {} frames a second for the largest",
                rates.join(", ")
            ),
        }
    }
}

impl fmt::Display for ControlOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(key) = self.config {
            write!(f, " ({key})")?;
        }
        write!(f, ": {} to {}", self.min, self.max)?;
        if self.step > 1 {
            write!(f, " by {}", self.step)?;
        }
        match self.value {
            Some(value) => write!(f, ", is {value}")?,
            None => f.write_str(", cannot be read")?,
        }
        write!(f, ", by default {}", self.default)?;
        if self.read_only {
            f.write_str(", read only")?;
        } else if self.inactive {
            f.write_str(", not while another control is on")?;
        }
        for (index, item) in self.menu.iter().enumerate() {
            let before = if index == 0 { "; " } else { ", " };
            write!(f, "{before}{} = {}", item.value, item.name)?;
        }
        Ok(())
    }
}

impl fmt::Display for CameraOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[source.camera]")?;
        writeln!(f, "card = {:?}", self.card)?;
        writeln!(f, "bus = {:?}", self.bus)?;
        write!(f, "node = {:?}", self.node)?;
        for format in &self.formats {
            match &format.config {
                Some(name) => write!(f, "\n# format = {name:?} ({})", format.description)?,
                None => write!(
                    f,
                    "\n# {} ({}) cannot be decoded here",
                    format.fourcc, format.description
                )?,
            }
            // Sizes that nobody can use would only be in the way.
            let sizes = format.sizes.iter().filter(|_| format.config.is_some());
            for size in sizes {
                write!(f, "\n#     {size}")?;
            }
        }
        write!(f, "\n# controls, those of the configuration with their key")?;
        for control in &self.controls {
            write!(f, "\n#     {control}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> CameraOffer {
        let gain = ControlOffer {
            id: 0x0098_0913,
            name: "Gain".to_owned(),
            config: config_key(0x0098_0913),
            min: 0,
            max: 100,
            step: 5,
            default: 50,
            value: Some(7),
            inactive: true,
            read_only: false,
            menu: Vec::new(),
        };
        let item = |(value, name): (i32, &str)| MenuItem {
            value,
            name: name.to_owned(),
        };
        let mains = ControlOffer {
            id: 0x0098_0918,
            name: "Power Line Frequency".to_owned(),
            config: config_key(0x0098_0918),
            max: 2,
            step: 1,
            default: 1,
            value: None,
            inactive: false,
            menu: [(0, "Disabled"), (1, "50 Hz")].map(item).to_vec(),
            ..gain.clone()
        };
        let format = |format: PixelFormat, sizes| FormatOffer {
            fourcc: text(&format.fourcc()),
            description: "words".to_owned(),
            config: Some(config_name(format).to_owned()),
            sizes,
        };
        let one = SizeOffer {
            size: Size::new(640, 480),
            to: None,
            fps: vec![30.0, 7.5],
        };
        let range = SizeOffer {
            size: Size::new(16, 16),
            to: Some(Size::new(4096, 2160)),
            fps: Vec::new(),
        };
        let foreign = FormatOffer {
            fourcc: "H264".to_owned(),
            config: None,
            ..format(PixelFormat::Grey, Vec::new())
        };
        CameraOffer {
            node: "/dev/video0".to_owned(),
            card: "A \"quoted\" camera".to_owned(),
            bus: "usb-1".to_owned(),
            formats: vec![
                format(PixelFormat::Mjpeg, vec![one]),
                format(PixelFormat::Yuyv, vec![range]),
                foreign,
            ],
            controls: vec![gain, mains],
        }
    }

    #[test]
    fn what_is_printed_can_be_pasted_into_a_configuration() {
        let text = camera().to_string();
        for line in [
            "card = \"A \\\"quoted\\\" camera\"",
            "# format = \"mjpeg\" (words)",
            "#     640x480 at 30, 7.5 frames a second",
            "#     16x16 to 4096x2160",
            "# H264 (words) cannot be decoded here",
            "#     Gain (gain): 0 to 100 by 5, is 7, by default 50, not while another control is on",
            "#     Power Line Frequency (mains): 0 to 2, cannot be read, by default 1; 0 = Disabled, 1 = 50 Hz",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\nnot in\n{text}");
        }
        let config = crate::config::StationConfig::parse(&text).unwrap();
        assert_eq!(config.source.camera.bus.as_deref(), Some("usb-1"));
    }

    #[test]
    fn a_refused_format_is_answered_with_those_that_are_decoded() {
        let formats = camera().formats;
        assert_eq!(in_words(&formats), "MJPG 640x480; YUYV 16x16 to 4096x2160");
        assert_eq!(in_words(&formats[2..]), "none of YUYV, NV12, GREY and MJPG");
    }
}
