//! The source that a configuration chooses, and never another.

use std::time::Instant;

use super::CalibrateError;
use crate::config::{SourceChoice, SourceConfig};
use crate::source::FrameSource;
use crate::source::pace::Rate;
use crate::source::phantom::{Phantom, Walk};
use crate::source::pictures::Pictures;

/// Opens it; times are counted from `start`, the start of the program.
///
/// # Errors
/// When it is not there, is in use, or is a camera and this program knows none.
pub fn open(config: &SourceConfig, start: Instant) -> Result<Box<dyn FrameSource>, CalibrateError> {
    let rate = config.fps.map_or(Rate::Free, Rate::PerSecond);
    // The configuration's ranges ask for a folder where one is needed.
    let folder = config.folder.clone().unwrap_or_default();
    Ok(match config.kind {
        SourceChoice::Camera => open_camera(config, start)?,
        SourceChoice::Folder => Box::new(Pictures::folder(&folder, rate, start)?),
        SourceChoice::Sequence => Box::new(Pictures::sequence(&folder, rate, start)?),
        SourceChoice::Phantom => {
            let walk = Walk {
                slides: config.phantom.slides,
                ..Walk::demo(u64::from(config.phantom.seed))
            };
            Box::new(Phantom::new(walk, rate, start)?)
        }
    })
}

#[cfg(not(feature = "camera"))]
fn open_camera(_: &SourceConfig, _: Instant) -> Result<Box<dyn FrameSource>, CalibrateError> {
    Err(CalibrateError::NoCamera)
}

#[cfg(feature = "camera")]
fn open_camera(
    config: &SourceConfig,
    start: Instant,
) -> Result<Box<dyn FrameSource>, CalibrateError> {
    use crate::config::CameraFormat;
    use crate::source::PixelFormat;
    use crate::source::camera::{Camera, CameraChoice, CameraSettings, ControlWishes};
    use shared::geometry::Size;

    let camera = &config.camera;
    let controls = &camera.controls;
    let settings = CameraSettings {
        choice: CameraChoice {
            card: camera.card.clone(),
            bus: camera.bus.clone(),
            node: camera.node.clone(),
        },
        format: match camera.format {
            CameraFormat::Mjpeg => PixelFormat::Mjpeg,
            CameraFormat::Yuyv => PixelFormat::Yuyv,
            CameraFormat::Nv12 => PixelFormat::Nv12,
            CameraFormat::Grey => PixelFormat::Grey,
        },
        size: Size::new(camera.width, camera.height),
        fps: camera.fps,
        controls: ControlWishes {
            exposure_100us: controls.exposure_100us,
            white_balance_k: controls.white_balance_k,
            focus: controls.focus,
            gain: controls.gain,
            mains: Some(controls.mains),
        },
    };
    Ok(Box::new(Camera::open(&settings, None, start)?))
}
