//! What single fields of COCO JSON say: attribute values, regions, boxes, file names.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use shared::attribute::{Attribute, ValueId};
use shared::geometry::{BBox, Image, Size};

use super::Split;
use super::scan::is_picture_name;
use super::voc::clip;

/// A code or a name; codes outside the range, `null` and the empty name are unknown.
pub(super) fn value_of(
    value: Option<&Value>,
    attribute: &Attribute,
) -> Result<Option<ValueId>, String> {
    let code = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(name)) if name.is_empty() => return Ok(None),
        Some(Value::String(name)) => {
            let known = attribute.find(name).ok_or_else(|| {
                let (attribute, values) = (&attribute.name, &attribute.values);
                format!("{attribute}: expected one of {values:?}, found {name:?}")
            });
            return known.map(Some);
        }
        Some(value) => value
            .as_i64()
            .ok_or_else(|| format!("{}: expected a whole number, found {value}", attribute.name))?,
    };
    let code = usize::try_from(code).ok();
    Ok(code
        .filter(|&code| code < attribute.values.len())
        .and_then(ValueId::new))
}

/// `[x0, y0, x1, y1]` in pixels, clipped to the picture; `None` = nothing said.
pub(super) fn region_of(value: &Value, size: Size) -> Result<Option<BBox<Image>>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let side = |side: &Value| side.as_f64().map(|side| side as f32);
    let sides: Option<Vec<f32>> = value
        .as_array()
        .and_then(|list| list.iter().map(side).collect());
    let region = match sides.as_deref() {
        Some(&[x0, y0, x1, y1]) => BBox::from_corners(x0, y0, x1, y1),
        _ => None,
    };
    let region = region.and_then(|region| region.clipped(size));
    region.map(Some).ok_or_else(|| {
        format!("region: expected left, top, right and bottom inside {size}, found {value}")
    })
}

/// `[x, y, width, height]` in pixels, inside the picture.
pub(super) fn bbox_of(
    value: Option<&Value>,
    size: Size,
) -> Result<BBox<Image>, (&'static str, String)> {
    let found = value.map_or("none".to_owned(), Value::to_string);
    let numbers: Option<Vec<f64>> = value
        .and_then(Value::as_array)
        .and_then(|list| list.iter().map(Value::as_f64).collect());
    let Some(&[x, y, width, height]) = numbers.as_deref() else {
        let detail = format!("bbox: expected four numbers, found {found:.80}");
        return Err(("box that is no number", detail));
    };
    if width <= 0.0 || height <= 0.0 {
        let detail = format!("bbox: expected a width and height above 0, found {found}");
        return Err(("box without area", detail));
    }
    let corners = [x, y, x + width, y + height].map(|side| side as f32);
    let [x0, y0, x1, y1] = corners;
    BBox::from_corners(x0, y0, x1, y1)
        .and_then(|bbox| clip(bbox, size))
        .ok_or_else(|| {
            let detail = format!("bbox: expected a box inside {size}, found {found}");
            ("box outside the picture", detail)
        })
}

/// The picture beside the JSON or in one of the usual folders; a name may not lead out of them.
pub(super) fn find_picture(json: &Path, name: &str, split: Split) -> Option<PathBuf> {
    let name = Path::new(name);
    let inside = name
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside || !is_picture_name(name) {
        return None;
    }
    let folder = json.parent().unwrap_or(Path::new("."));
    let stem = json.file_stem().unwrap_or_default();
    let bases = [folder.to_path_buf(), folder.join("..")];
    for base in bases {
        for pictures in ["", "images", "Images"] {
            let pictures = base.join(pictures);
            let candidates = [
                pictures.join(split.name()).join(name),
                pictures.join(stem).join(name),
                pictures.join(name),
            ];
            if let Some(found) = candidates.into_iter().find(|path| path.is_file()) {
                return Some(found);
            }
        }
    }
    None
}
