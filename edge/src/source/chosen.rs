//! The source that a configuration chooses, and never another.

use std::time::Instant;

use shared::geometry::Size;

use super::SourceIdentity;
use super::pace::Rate;
use super::phantom::{Phantom, Walk};
use super::pictures::Pictures;
use super::watched::Opener;
use crate::config::{SourceChoice, SourceConfig};

/// Cameras were left out when the program was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "source.kind is \"camera\": this program was built without the feature `camera`, expected one with it"
)]
pub struct NoCameras;

/// Opens the source of the configuration, and no other. Times are since `start`.
///
/// # Errors
/// For a camera in a program that was built without.
pub fn opener(config: &SourceConfig, start: Instant) -> Result<Opener, NoCameras> {
    let rate = config.fps.map_or(Rate::Free, Rate::PerSecond);
    let folder = config.folder.clone().unwrap_or_default();
    let rounds = config.rounds;
    Ok(match config.kind {
        SourceChoice::Camera => return camera(config, start),
        SourceChoice::Folder => Box::new(move |_: Option<&SourceIdentity>| {
            Ok(Box::new(Pictures::folder(&folder, rate, start)?))
        }),
        SourceChoice::Sequence => Box::new(move |_: Option<&SourceIdentity>| {
            Ok(Box::new(Pictures::sequence(&folder, rounds, rate, start)?))
        }),
        SourceChoice::Phantom => {
            let phantom = config.phantom;
            let size = Size::new(phantom.width, phantom.height);
            let mut walk = Walk::demo(u64::from(phantom.seed)).in_pixels(size);
            walk.slides = phantom.slides;
            walk.field.white_cells = phantom.white_cells;
            Box::new(move |_: Option<&SourceIdentity>| {
                Ok(Box::new(Phantom::new(walk.clone(), rate, start)?))
            })
        }
    })
}

#[cfg(not(feature = "camera"))]
fn camera(_config: &SourceConfig, _start: Instant) -> Result<Opener, NoCameras> {
    Err(NoCameras)
}

#[cfg(feature = "camera")]
fn camera(config: &SourceConfig, start: Instant) -> Result<Opener, NoCameras> {
    use crate::config::CameraFormat;
    use shared::geometry::Size;

    use super::PixelFormat;
    use super::camera::{Camera, CameraChoice, CameraSettings, ControlWishes};

    let camera = &config.camera;
    let controls = camera.controls;
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
    Ok(Camera::opener(settings, start))
}
