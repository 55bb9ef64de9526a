//! Which cameras are there, and which of them is meant.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::{SourceError, SourceIdentity};
use super::device::Device;

/// Which camera is meant; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraChoice {
    /// What it calls itself.
    pub card: Option<String>,
    /// The port it is plugged into.
    pub bus: Option<String>,
    /// Its node; it may be another one after a replug.
    pub node: Option<String>,
}

impl CameraChoice {
    /// The one that was open before, in the same port, whatever its node is now.
    pub fn again(identity: &SourceIdentity) -> Self {
        Self {
            card: identity.card.clone(),
            bus: identity.bus.clone(),
            node: None,
        }
    }

    fn fits(&self, camera: &CameraFound) -> bool {
        let fits = |wish: &Option<String>, is: &String| wish.as_ref().is_none_or(|it| it == is);
        fits(&self.card, &camera.card)
            && fits(&self.bus, &camera.bus)
            && fits(&self.node, &camera.node)
    }
}

impl fmt::Display for CameraChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("", &self.card), ("at ", &self.bus), ("as ", &self.node)];
        let words: Vec<String> = parts
            .iter()
            .filter_map(|(before, part)| Some(format!("{before}{}", part.as_ref()?)))
            .collect();
        if words.is_empty() {
            f.write_str("(any)")
        } else {
            f.write_str(&words.join(" "))
        }
    }
}

/// A camera that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraFound {
    /// Its node.
    pub node: String,
    /// What it calls itself.
    pub card: String,
    /// The port it is plugged into.
    pub bus: String,
}

impl fmt::Display for CameraFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} as {}", self.card, self.bus, self.node)
    }
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cameras {
    /// Nodes that give frames, by their numbers.
    pub found: Vec<CameraFound>,
    /// Nodes that cannot be asked, with the reason.
    pub closed: Vec<String>,
}

impl fmt::Display for Cameras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.found.iter().map(CameraFound::to_string);
        let words: Vec<String> = found.chain(self.closed.iter().cloned()).collect();
        if words.is_empty() {
            f.write_str("is no camera")
        } else {
            write!(f, "is {}", words.join("; "))
        }
    }
}

/// Asks every `/dev/video*`.
pub fn cameras() -> Cameras {
    let mut out = Cameras::default();
    for node in nodes(Path::new("/dev")) {
        match Device::open(&node).and_then(|device| device.capability()) {
            // A camera has further nodes, of metadata for instance.
            Ok(capability) if !capability.captures => {}
            Ok(capability) => out.found.push(CameraFound {
                node: node.display().to_string(),
                card: capability.card,
                bus: capability.bus,
            }),
            Err(error) => out.closed.push(error.to_string()),
        }
    }
    out
}

/// `video0`, `video1`, `video10` by their numbers.
fn nodes(folder: &Path) -> Vec<PathBuf> {
    // Without the folder there is no camera, which is said by who looks for one.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut numbered: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix("video")?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    numbered.sort();
    numbered.into_iter().map(|(_, path)| path).collect()
}

/// The camera that is meant. Several nodes of one camera (same card, same port) are one camera: its
/// first node is taken.
///
/// # Errors
/// When none fits, or more than one.
pub fn choose<'a>(
    cameras: &'a Cameras,
    choice: &CameraChoice,
) -> Result<&'a CameraFound, SourceError> {
    let fitting: Vec<&CameraFound> = cameras.found.iter().filter(|it| choice.fits(it)).collect();
    let Some((first, others)) = fitting.split_first() else {
        return Err(SourceError::NotFound {
            wanted: choice.to_string(),
            found: cameras.to_string(),
        });
    };
    let same = |other: &&CameraFound| other.card == first.card && other.bus == first.bus;
    if others.iter().all(same) {
        return Ok(first);
    }
    let found: Vec<String> = fitting.iter().map(|it| it.to_string()).collect();
    Err(SourceError::Ambiguous {
        wanted: choice.to_string(),
        found: found.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::SourceKind;
    use super::*;

    fn cameras(found: &[(&str, &str, &str)]) -> Cameras {
        Cameras {
            found: found
                .iter()
                .map(|&(card, bus, node)| CameraFound {
                    node: node.to_owned(),
                    card: card.to_owned(),
                    bus: bus.to_owned(),
                })
                .collect(),
            closed: Vec::new(),
        }
    }

    fn choice(card: &str) -> CameraChoice {
        CameraChoice {
            card: Some(card.to_owned()),
            ..CameraChoice::default()
        }
    }

    #[test]
    fn a_camera_is_found_again_in_its_port_under_another_node_and_never_another_one() {
        let mut before = SourceIdentity::of_pictures(SourceKind::Camera, String::new());
        before.card = Some("Eyepiece".to_owned());
        before.bus = Some("usb-1".to_owned());
        before.node = Some("/dev/video0".to_owned());
        let again = CameraChoice::again(&before);
        let there = cameras(&[
            ("Webcam", "usb-3", "/dev/video0"),
            ("Eyepiece", "usb-1", "/dev/video2"),
        ]);
        assert_eq!(choose(&there, &again).unwrap().node, "/dev/video2");
        let twin = cameras(&[("Eyepiece", "usb-2", "/dev/video0")]);
        assert_eq!(
            choose(&twin, &again).unwrap_err().to_string(),
            "camera Eyepiece at usb-1: not found; there is Eyepiece at usb-2 as /dev/video0"
        );
        assert_eq!(
            choose(&Cameras::default(), &again).unwrap_err().to_string(),
            "camera Eyepiece at usb-1: not found; there is no camera"
        );
    }

    #[test]
    fn one_camera_is_taken_without_a_name_and_several_must_be_told_apart() {
        let any = CameraChoice::default();
        let one = cameras(&[("Eyepiece", "usb-1", "/dev/video0")]);
        assert_eq!(choose(&one, &any).unwrap().card, "Eyepiece");
        let two_nodes = cameras(&[
            ("Eyepiece", "usb-1", "/dev/video0"),
            ("Eyepiece", "usb-1", "/dev/video2"),
        ]);
        assert_eq!(choose(&two_nodes, &any).unwrap().node, "/dev/video0");
        let two = cameras(&[
            ("Eyepiece", "usb-1", "/dev/video0"),
            ("Eyepiece", "usb-2", "/dev/video2"),
        ]);
        assert_eq!(
            choose(&two, &choice("Eyepiece")).unwrap_err().to_string(),
            "camera Eyepiece: Eyepiece at usb-1 as /dev/video0; Eyepiece at usb-2 as /dev/video2 \
             fit, expected one; name its card and bus"
        );
        let by_node = CameraChoice {
            node: Some("/dev/video2".to_owned()),
            ..any
        };
        assert_eq!(choose(&two, &by_node).unwrap().bus, "usb-2");
    }

    #[test]
    fn a_node_that_may_not_be_opened_is_named() {
        let mut there = Cameras::default();
        there
            .closed
            .push("camera /dev/video0: open: Permission denied".to_owned());
        assert_eq!(
            choose(&there, &choice("X")).unwrap_err().to_string(),
            "camera X: not found; there is camera /dev/video0: open: Permission denied"
        );
    }

    #[test]
    fn nodes_come_by_their_numbers_and_nothing_else_does() {
        let folder = tempfile::TempDir::new().unwrap();
        for name in ["video10", "video2", "video", "videoX", "video1", "vbi0"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<String> = nodes(folder.path())
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["video1", "video2", "video10"]);
        assert_eq!(nodes(&folder.path().join("missing")), Vec::<PathBuf>::new());
    }
}
