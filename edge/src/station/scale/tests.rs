//! Which scale counts, of files and sources.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::calibrate::Content;
use crate::calibrate::keep::{FILE, FOLDER, Keeper};
use crate::calibrate::record::{Blank, Scale as Measured, ScaleBy, Squeeze};
use crate::clock::{BootId, Moment};
use crate::config::StationConfig;
use crate::source::SourceKind;

const SIZE: Size = Size::new(640, 480);
const MADE: i64 = 1_800_000_000;

fn slide(name: &str) -> SourceIdentity {
    SourceIdentity::of_pictures(SourceKind::Phantom, name.to_owned())
}

/// A calibration for [`SIZE`] of slide "one", with a squeeze and a blank field.
fn calibrated(root: &Path, um_per_px: f32) -> String {
    let keeper = Keeper::of(root).unwrap();
    let made = Moment {
        boot: BootId::new(1, 1),
        sequence: 1,
        since_start: std::time::Duration::ZERO,
        wall: Some(MADE),
    };
    let reduced = Size::new(320, 240);
    let rgb = vec![200; 320 * 240 * 3];
    let (picture, sha256) = keeper.keep_picture(&rgb, reduced).unwrap();
    let content = Content {
        scale: Some(Measured {
            um_per_px,
            by: ScaleBy::Given,
            made,
        }),
        squeeze: Some(Squeeze {
            value: 0.75,
            standard_error: None,
            made,
        }),
        blank: Some(Blank {
            frames: 1,
            background: [200.0; 3],
            gains: [1.0; 3],
            evenness: 1.0,
            picture,
            sha256,
            size: reduced,
            made,
        }),
        ..Content::new(Mark::of(&slide("one"), SIZE), made)
    };
    keeper.keep(content).unwrap().id().to_owned()
}

fn ruler(root: &Path, text: &str) -> Ruler {
    Ruler::load(root, StationConfig::parse(text).unwrap().calibration)
}

fn told(ruler: &Ruler) -> Vec<(BannerLevel, String)> {
    let banners = ruler.banners(Some(MADE)).into_iter();
    banners.map(|it| (it.level, it.text)).collect()
}

#[test]
fn without_a_calibration_the_configuration_says_all() {
    let folder = TempDir::new().unwrap();
    let scale = |text| ruler(folder.path(), text).scale();
    assert_eq!(scale(""), Scale::Missing);
    let told = scale("calibration.count_without_scale = true");
    assert_eq!((told.problem(), told), (None, Scale::NotNeeded));
    let known = scale("calibration.um_per_pixel = 0.08");
    let id = known.id().map(Text::as_str);
    assert_eq!(id, Some("configuration-0.08-um-per-px"));
}

#[test]
fn a_calibration_counts_for_its_own_source_and_size_or_where_somebody_accepts_it() {
    let folder = TempDir::new().unwrap();
    let id = calibrated(folder.path(), 0.11);
    let mut ruler = ruler(folder.path(), "");
    assert_eq!(ruler.scale(), Scale::Unseen);
    assert_eq!((ruler.optics().squeeze, told(&ruler)), (1.0, vec![]));
    ruler.show(&slide("one"), SIZE);
    assert_eq!(ruler.scale().id().map(Text::as_str), Some(id.as_str()));
    assert_eq!((ruler.accept(), told(&ruler)), (None, vec![]));
    let optics = ruler.optics();
    assert_eq!((optics.squeeze, optics.blank.is_some()), (0.75, true));

    ruler.show(&slide("one"), Size::new(320, 240));
    let words = "the frame is 320x240, expected 640x480";
    assert_eq!(ruler.scale(), Scale::Foreign(words.to_owned()));
    let optics = ruler.optics();
    assert_eq!((optics.squeeze, optics.blank.is_some()), (1.0, false));
    let banners = told(&ruler);
    assert_eq!(banners.len(), 1);
    assert_eq!(banners[0].0, BannerLevel::Error);
    assert!(banners[0].1.contains(words), "{banners:?}");

    assert_eq!(ruler.accept().as_deref(), Some(words));
    assert_eq!(ruler.scale().id().map(Text::as_str), Some(id.as_str()));
    // The blank field's picture does not fit frames of another size.
    let optics = ruler.optics();
    assert_eq!((optics.squeeze, optics.blank.is_some()), (0.75, false));
    assert_eq!(told(&ruler)[0].0, BannerLevel::Warning);
    ruler.show(&slide("two"), SIZE);
    let words = "the source is two, expected one".to_owned();
    assert_eq!(ruler.scale(), Scale::Foreign(words));
    ruler.show(&slide("one"), Size::new(320, 240));
    assert_eq!(ruler.scale().problem(), None, "still accepted");
    calibrated(folder.path(), 0.12);
    ruler.reload();
    assert_ne!(ruler.scale().problem(), None, "that was another one");
}

#[test]
fn the_configuration_counts_before_a_calibration_and_a_count_without_scale_needs_none() {
    let folder = TempDir::new().unwrap();
    calibrated(folder.path(), 0.11);
    let mut said = ruler(folder.path(), "calibration.um_per_pixel = 0.2");
    let id = said.scale().id().cloned();
    said.show(&slide("two"), SIZE);
    assert_eq!(said.scale().id(), id.as_ref());
    assert_eq!(said.accept(), None, "its scale is not that which counts");
    assert_eq!(told(&said)[0].0, BannerLevel::Warning);

    let mut without = ruler(folder.path(), "calibration.count_without_scale = true");
    assert_eq!(without.scale(), Scale::Unseen);
    without.show(&slide("two"), SIZE);
    assert_eq!(without.scale(), Scale::NotNeeded);
    without.show(&slide("one"), SIZE);
    assert!(without.scale().id().is_some());
}

#[test]
fn an_old_calibration_and_files_that_are_damaged_are_told() {
    let folder = TempDir::new().unwrap();
    calibrated(folder.path(), 0.11);
    let mut kept = ruler(folder.path(), "");
    kept.show(&slide("one"), SIZE);
    let banners = kept.banners(Some(MADE + 40 * 86_400));
    assert_eq!(banners.len(), 1);
    assert!(banners[0].text.contains("40 days old"), "{banners:?}");
    assert!(kept.banners(None)[0].text.contains("age"));
    assert!(kept.optics().is_like(&kept.optics()));

    let before = kept.optics();
    kept.reload();
    assert!(kept.optics().is_like(&before), "the same file");
    let blank = kept.kept.as_ref().unwrap().content().blank.clone();
    let blank = folder.path().join(FOLDER).join(blank.unwrap().picture);
    fs::write(&blank, "no picture").unwrap();
    let mut fresh = ruler(folder.path(), "");
    fresh.show(&slide("one"), SIZE);
    assert!(fresh.optics().blank.is_none());
    let banners = told(&fresh);
    assert_eq!(banners[0].0, BannerLevel::Warning);
    assert!(banners[0].1.contains("blank-"), "{banners:?}");

    let file = folder.path().join(FILE);
    let text = fs::read_to_string(&file).unwrap().replace("0.11", "0.12");
    fs::write(&file, text).unwrap();
    kept.reload();
    assert_eq!(kept.scale(), Scale::Missing);
    let banners = told(&kept);
    assert_eq!(banners[0].0, BannerLevel::Error);
    assert!(banners[0].1.contains("changed by hand"), "{banners:?}");
}
