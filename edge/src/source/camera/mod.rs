//! Cameras of the kernel (V4L2): found by identity, set, read back, streamed.
//!
//! Nothing here becomes another camera, format or size in silence: what the driver chose is read
//! back and refused when it is not what was asked for.

mod controls;
mod device;
mod find;
mod offers;
mod stream;

use std::path::Path;
use std::time::{Duration, Instant};

use shared::geometry::Size;

use super::decode::{self, Layout};
use super::watched::Opener;
use super::{
    DamageReason, FrameSource, PixelFormat, Received, SourceCounters, SourceError, SourceIdentity,
    SourceKind,
};
use crate::frame::Frame;

pub use controls::ControlWishes;
pub use find::{CameraChoice, CameraFound, Cameras, cameras, choose};
pub use offers::{CameraOffer, ControlOffer, FormatOffer, MenuItem, Offers, SizeOffer, offers};

use controls::Controls;
use device::Device;
use stream::{Held, Older, Stream, monotonic};

/// What is asked of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraSettings {
    /// Which one.
    pub choice: CameraChoice,
    /// How its frames come.
    pub format: PixelFormat,
    /// Of its frames.
    pub size: Size,
    /// Frames a second; the driver takes the nearest it has, which is read back. `None` = as it is.
    pub fps: Option<f32>,
    /// Exposure, white balance, focus, gain, mains.
    pub controls: ControlWishes,
}

/// A camera that streams.
#[derive(Debug)]
pub struct Camera {
    identity: SourceIdentity,
    counters: SourceCounters,
    layout: Layout,
    stream: Stream,
    start: Instant,
    /// Of the last frame, counted on when the driver's number turns over.
    sequence: Option<u64>,
    last_damage: Option<String>,
}

impl Camera {
    /// Opens the camera, sets format, rate and controls, and starts it. With `before`, the identity
    /// of the camera that was open, only that one in its old port is opened. Times are counted from
    /// `start`, the start of the program.
    ///
    /// # Errors
    /// When it is not there, is in use, or does not have the format or size.
    pub fn open(
        settings: &CameraSettings,
        before: Option<&SourceIdentity>,
        start: Instant,
    ) -> Result<Self, SourceError> {
        if let Some(got) = settings.fps.filter(|fps| !(0.001..=1000.0).contains(fps)) {
            return Err(SourceError::Rate { got });
        }
        let choice = before.map_or_else(|| settings.choice.clone(), CameraChoice::again);
        let cameras = cameras();
        let found = choose(&cameras, &choice)?;
        let device = Device::open(Path::new(&found.node))?;
        let layout = device.set_format(settings.format, settings.size)?;
        let fps = device.set_rate(settings.fps);
        let controls = controls::lock(&device, &settings.controls);
        let identity = SourceIdentity {
            kind: SourceKind::Camera,
            name: format!("{} at {}", found.card, found.bus),
            card: Some(found.card.clone()),
            bus: Some(found.bus.clone()),
            node: Some(found.node.clone()),
            format: Some(layout.format),
            size: Some(layout.size),
            fps,
            controls,
        };
        Ok(Self {
            identity,
            counters: SourceCounters::default(),
            layout,
            stream: Stream::start(device)?,
            start,
            sequence: None,
            last_damage: None,
        })
    }

    /// Opens it whenever it is asked to.
    pub fn opener(settings: CameraSettings, start: Instant) -> Opener {
        Box::new(move |before| Ok(Box::new(Self::open(&settings, before, start)?)))
    }

    fn fill(&mut self, held: &Held, frame: &mut Frame) -> Received {
        let captured = self.captured(held);
        let sequence = counted_on(self.sequence, held.sequence);
        self.sequence = Some(sequence);
        if held.damaged {
            return self.damaged(
                DamageReason::Flagged,
                format!("frame {sequence}: the driver says that it is damaged"),
            );
        }
        match decode::decode(self.stream.bytes(held), &self.layout, frame) {
            Ok(()) => {
                (frame.sequence, frame.captured) = (sequence, captured);
                self.counters.frames += 1;
                Received::Frame
            }
            Err(error) => self.damaged(error.reason(), format!("frame {sequence}: {error}")),
        }
    }

    fn damaged(&mut self, reason: DamageReason, words: String) -> Received {
        self.counters.damaged.add(reason);
        self.last_damage = Some(words);
        Received::Damaged(reason)
    }

    /// Time of the frame since the start of the program: now, less its age.
    fn captured(&self, held: &Held) -> Duration {
        let age = held.taken.map(|taken| monotonic().saturating_sub(taken));
        let now = self.start.elapsed();
        now.saturating_sub(age.unwrap_or_default())
    }
}

impl FrameSource for Camera {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    fn next(&mut self, wait: Duration, frame: &mut Frame) -> Result<Received, SourceError> {
        let mut older = Older::default();
        let newest = self.stream.newest(wait, &mut older);
        self.counters.replaced += older.replaced;
        self.counters.gaps += older.gaps;
        for _ in 0..older.damaged {
            self.counters.damaged.add(DamageReason::Flagged);
        }
        let Some(held) = newest? else {
            return Ok(Received::Nothing);
        };
        let received = self.fill(&held, frame);
        self.stream.give_back(held)?;
        Ok(received)
    }

    fn counters(&self) -> SourceCounters {
        self.counters
    }

    fn last_damage(&self) -> Option<&str> {
        self.last_damage.as_deref()
    }
}

/// Sets one control of a node, which may be streaming elsewhere, and says what was read back: for
/// tests that make a driver misbehave.
///
/// # Errors
/// When the node cannot be opened or refuses.
pub fn set_control(node: &str, id: u32, value: i32) -> Result<i32, SourceError> {
    let device = Device::open(Path::new(node))?;
    device
        .set(id, value)
        .map_err(|error| device.failed("VIDIOC_S_CTRL", error))?;
    // A button, or what makes a camera vanish, cannot be read back.
    Ok(device.get(id).unwrap_or(value))
}

/// The driver's 32-bit number in 64 bits that never go back: a driver that begins anew goes on by
/// one.
fn counted_on(last: Option<u64>, number: u32) -> u64 {
    let Some(last) = last else {
        return u64::from(number);
    };
    match number.wrapping_sub(last as u32) {
        step @ 1..0x8000_0000 => last + u64::from(step),
        _ => last + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_frames_never_go_back() {
        let mut last = None;
        for (number, expected) in [
            (5, 5),
            (6, 6),
            (u32::MAX >> 1, 0x7fff_ffff),
            (u32::MAX - 1, 0xffff_fffe),
            (u32::MAX, 0xffff_ffff),
            (0, 0x1_0000_0000),
            (3, 0x1_0000_0003),
            (3, 0x1_0000_0004),
            (0, 0x1_0000_0005),
        ] {
            let counted = counted_on(last, number);
            assert_eq!(counted, expected, "{number} after {last:?}");
            last = Some(counted);
        }
    }

    #[test]
    fn a_camera_that_is_not_there_is_said_with_what_is() {
        let settings = CameraSettings {
            choice: CameraChoice {
                card: Some("no such camera".to_owned()),
                ..CameraChoice::default()
            },
            format: PixelFormat::Yuyv,
            size: Size::new(640, 480),
            fps: None,
            controls: ControlWishes::default(),
        };
        let open = |settings| Camera::open(settings, None, Instant::now()).unwrap_err();
        let error = open(&settings).to_string();
        assert!(
            error.starts_with("camera no such camera: not found; there is"),
            "{error}"
        );
        let fps = Some(f32::NAN);
        assert!(matches!(
            open(&CameraSettings {
                fps,
                ..settings.clone()
            }),
            SourceError::Rate { .. }
        ));
    }
}
