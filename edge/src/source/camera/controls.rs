//! The camera's automatics off, its values set, and all of it read back.
//!
//! Best effort: cameras lack controls, round values and forget them when they are unplugged; what
//! was really found goes into the record.

use std::io;

use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use super::super::ControlRecord;
use super::device::{Device, Plain};

/// What is asked of the camera; a value that is `None` stays as the camera has it, is read and
/// recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControlWishes {
    /// Exposure in units of 100 us.
    pub exposure_100us: Option<i32>,
    /// White balance, kelvin.
    pub white_balance_k: Option<i32>,
    /// Focus, in the camera's own unit.
    pub focus: Option<i32>,
    /// Gain, in the camera's own unit.
    pub gain: Option<i32>,
    /// Mains frequency against flicker: 0 = off, 1 = 50 Hz, 2 = 60 Hz.
    pub mains: Option<i32>,
}

/// A control and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    name: &'static str,
    id: u32,
    value: Option<i32>,
}

impl ControlWishes {
    /// In the order in which they are set: a value is not taken while its automatic is on.
    fn in_order(&self) -> [Wish; 10] {
        let off = Some(0);
        // The menu of exposure: 0 automatic, 1 manual.
        let manual = Some(1);
        [
            ("exposure_auto", 0x009a_0901, manual),
            ("exposure_auto_priority", 0x009a_0903, off),
            ("white_balance_auto", 0x0098_090c, off),
            ("focus_auto", 0x009a_090c, off),
            ("gain_auto", 0x0098_0912, off),
            ("exposure_100us", 0x009a_0902, self.exposure_100us),
            ("white_balance_k", 0x0098_091a, self.white_balance_k),
            ("focus", 0x009a_090a, self.focus),
            ("gain", 0x0098_0913, self.gain),
            ("mains", 0x0098_0918, self.mains),
        ]
        .map(|(name, id, value)| Wish { name, id, value })
    }
}

/// The key under `source.camera.controls` that sets a control.
pub(super) fn config_key(id: u32) -> Option<&'static str> {
    let wishes = ControlWishes::default().in_order();
    // Automatics are switched off without being asked for.
    let settable = wishes.iter().filter(|wish| wish.value.is_none());
    settable
        .into_iter()
        .find(|wish| wish.id == id)
        .map(|wish| wish.name)
}

/// The controls of a camera, or of a test.
pub(super) trait Controls {
    /// Smallest and largest value; `None` when there is no such control.
    fn range(&self, id: u32) -> Option<(i32, i32)>;
    fn get(&self, id: u32) -> io::Result<i32>;
    fn set(&self, id: u32, value: i32) -> io::Result<()>;
}

impl Controls for Device {
    fn range(&self, id: u32) -> Option<(i32, i32)> {
        let mut found = sys::v4l2_queryctrl::zero();
        found.id = id;
        self.call(vidioc::VIDIOC_QUERYCTRL, &mut found).ok()?;
        (found.flags & sys::V4L2_CTRL_FLAG_DISABLED == 0).then_some((found.minimum, found.maximum))
    }

    fn get(&self, id: u32) -> io::Result<i32> {
        let mut control = sys::v4l2_control { id, value: 0 };
        self.call(vidioc::VIDIOC_G_CTRL, &mut control)?;
        Ok(control.value)
    }

    fn set(&self, id: u32, value: i32) -> io::Result<()> {
        self.call(vidioc::VIDIOC_S_CTRL, &mut sys::v4l2_control { id, value })
    }
}

/// Sets what is asked and reads back everything, after the last was set: one may change another.
pub(super) fn lock(controls: &impl Controls, wishes: &ControlWishes) -> Vec<ControlRecord> {
    let wishes = wishes.in_order();
    let refusals = wishes.map(|wish| match wish.value {
        Some(value) if controls.range(wish.id).is_some() => controls.set(wish.id, value).err(),
        _ => None,
    });
    let pairs = wishes.iter().zip(refusals);
    pairs
        .map(|(wish, refusal)| read_back(controls, wish, refusal))
        .collect()
}

fn read_back(controls: &impl Controls, wish: &Wish, refusal: Option<io::Error>) -> ControlRecord {
    let mut record = ControlRecord {
        name: wish.name,
        id: wish.id,
        asked: wish.value,
        found: None,
        problem: None,
    };
    let Some((low, high)) = controls.range(wish.id) else {
        record.problem = wish.value.map(|_| "no such control".to_owned());
        return record;
    };
    match controls.get(wish.id) {
        Ok(found) => record.found = Some(found),
        Err(error) => record.problem = Some(format!("cannot be read: {error}")),
    }
    if let Some(error) = refusal {
        record.problem = Some(format!("refused: {error}; legal are {low} to {high}"));
    } else if let (Some(asked), Some(found)) = (wish.value, record.found)
        && asked != found
    {
        record.problem = Some(format!(
            "is {found}, expected {asked}; legal are {low} to {high}"
        ));
    }
    record
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const EXPOSURE_AUTO: u32 = 0x009a_0901;
    const EXPOSURE: u32 = 0x009a_0902;
    const GAIN: u32 = 0x0098_0913;

    /// A camera that takes an exposure only when its automatic is off, and clamps its gain.
    struct Fake {
        values: RefCell<Vec<(u32, i32)>>,
        order: RefCell<Vec<u32>>,
    }

    impl Fake {
        fn new() -> Self {
            Self {
                values: RefCell::new(vec![(EXPOSURE_AUTO, 3), (EXPOSURE, 150), (GAIN, 7)]),
                order: RefCell::default(),
            }
        }
    }

    impl Controls for Fake {
        fn range(&self, id: u32) -> Option<(i32, i32)> {
            self.get(id).ok().map(|_| (0, 100))
        }

        fn get(&self, id: u32) -> io::Result<i32> {
            let values = self.values.borrow();
            let found = values.iter().find(|(it, _)| *it == id);
            found
                .map(|it| it.1)
                .ok_or(io::ErrorKind::InvalidInput.into())
        }

        fn set(&self, id: u32, value: i32) -> io::Result<()> {
            self.order.borrow_mut().push(id);
            if id == EXPOSURE && self.get(EXPOSURE_AUTO)? != 1 {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            let mut values = self.values.borrow_mut();
            let found = values.iter_mut().find(|(it, _)| *it == id);
            found.expect("only controls that are there are set").1 = value.min(100);
            Ok(())
        }
    }

    fn record<'a>(records: &'a [ControlRecord], name: &str) -> &'a ControlRecord {
        records.iter().find(|it| it.name == name).unwrap()
    }

    #[test]
    fn automatics_go_off_first_and_everything_is_read_back() {
        let fake = Fake::new();
        let wishes = ControlWishes {
            exposure_100us: Some(40),
            gain: Some(500),
            focus: Some(3),
            ..ControlWishes::default()
        };
        let records = lock(&fake, &wishes);
        assert_eq!(*fake.order.borrow(), [EXPOSURE_AUTO, EXPOSURE, GAIN]);
        for (name, asked, found, problem) in [
            ("exposure_auto", Some(1), Some(1), None),
            ("exposure_100us", Some(40), Some(40), None),
            (
                "gain",
                Some(500),
                Some(100),
                Some("is 100, expected 500; legal are 0 to 100"),
            ),
            ("focus", Some(3), None, Some("no such control")),
            ("mains", None, None, None),
        ] {
            let it = record(&records, name);
            assert_eq!(
                (it.asked, it.found, it.problem.as_deref()),
                (asked, found, problem),
                "{name}"
            );
        }
    }

    #[test]
    fn a_value_that_nobody_asked_for_stays_and_is_recorded() {
        let fake = Fake::new();
        let records = lock(&fake, &ControlWishes::default());
        assert_eq!(record(&records, "exposure_100us").found, Some(150));
        assert_eq!(record(&records, "gain").found, Some(7));
        assert_eq!(*fake.order.borrow(), [EXPOSURE_AUTO]);
    }

    #[test]
    fn a_refusal_is_recorded_with_the_reason() {
        struct Stubborn;
        impl Controls for Stubborn {
            fn range(&self, _: u32) -> Option<(i32, i32)> {
                Some((1, 9))
            }
            fn get(&self, _: u32) -> io::Result<i32> {
                Ok(5)
            }
            fn set(&self, _: u32, _: i32) -> io::Result<()> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        let wishes = ControlWishes {
            gain: Some(2),
            ..ControlWishes::default()
        };
        let gain = lock(&Stubborn, &wishes);
        let gain = record(&gain, "gain");
        assert_eq!(gain.found, Some(5));
        assert_eq!(
            gain.problem.as_deref(),
            Some("refused: permission denied; legal are 1 to 9")
        );
    }
}
