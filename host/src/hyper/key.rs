//! The keys of a hyper-parameter file: default and range of each.

/// One number of the file.
pub(super) struct Key {
    /// YOLOv5's name, or ours.
    pub name: &'static str,
    /// Value of the reference's "low" file; NaN where another key decides unless this one is given.
    pub low: f64,
    legal: Legal,
}

/// What a number may be.
#[derive(Clone, Copy, PartialEq)]
enum Legal {
    /// Both ends included.
    Within(f64, f64),
    /// The lower end excluded.
    Above(f64, f64),
    /// The upper end excluded.
    Below(f64, f64),
    /// Whole numbers up to this.
    Whole(u32),
    /// What rounds to this.
    RoundsTo(f64),
    /// `true`, `false`, 0 or 1.
    Switch,
}

use Legal::{Above, Below, RoundsTo, Switch, Whole, Within};

const fn key(name: &'static str, low: f64, legal: Legal) -> Key {
    Key { name, low, legal }
}

/// Every key: first YOLOv5's in the order of its files, then ours.
pub(super) const KEYS: [Key; 39] = [
    key("lr0", 0.01, Above(0.0, 1.0)),
    key("lrf", 0.01, Within(0.0, 1.0)),
    key("momentum", 0.937, Below(0.0, 1.0)),
    key("weight_decay", 0.0005, Within(0.0, 1.0)),
    key("warmup_epochs", 3.0, Within(0.0, 1000.0)),
    key("warmup_momentum", 0.8, Below(0.0, 1.0)),
    key("warmup_bias_lr", 0.1, Within(0.0, 1.0)),
    key("box", 0.05, Within(0.0, 100.0)),
    key("cls", 0.5, Within(0.0, 100.0)),
    key("cls_pw", 1.0, Above(0.0, 100.0)),
    key("obj", 1.0, Within(0.0, 100.0)),
    key("obj_pw", 1.0, Above(0.0, 100.0)),
    // Read for the file's sake: the reference stopped using it too.
    key("iou_t", 0.2, Within(0.0, 1.0)),
    key("anchor_t", 4.0, Above(1.0, 100.0)),
    // Prior boxes a level, in some of YOLOv5's files; it rounds the number, and the head has three.
    key("anchors", 3.0, RoundsTo(3.0)),
    key("fl_gamma", 0.0, Within(0.0, 10.0)),
    key("hsv_h", 0.015, Within(0.0, 1.0)),
    key("hsv_s", 0.7, Within(0.0, 1.0)),
    key("hsv_v", 0.4, Within(0.0, 1.0)),
    key("degrees", 0.0, Within(0.0, 180.0)),
    key("translate", 0.1, Within(0.0, 1.0)),
    key("scale", 0.5, Below(0.0, 1.0)),
    // Ours, where one side of `scale` is not the mirror of the other.
    key("scale_min", f64::NAN, Above(0.0, 1.0)),
    key("scale_max", f64::NAN, Within(1.0, 4.0)),
    key("shear", 0.0, Within(0.0, 45.0)),
    key("perspective", 0.0, Within(0.0, 0.001)),
    key("flipud", 0.0, Within(0.0, 1.0)),
    key("fliplr", 0.5, Within(0.0, 1.0)),
    key("mosaic", 1.0, Within(0.0, 1.0)),
    key("mixup", 0.0, Within(0.0, 1.0)),
    key("copy_paste", 0.0, Within(0.0, 1.0)),
    key("attr", 0.05, Within(0.0, 100.0)),
    key("label_smoothing", 0.0, Below(0.0, 1.0)),
    key("cls_any", 0.0, Within(0.0, 100.0)),
    key("distill", 1.0, Within(0.0, 100.0)),
    key("turns", 1.0, Switch),
    key("stain", 0.0, Below(0.0, 1.0)),
    key("stain_offset", 0.0, Within(0.0, 1.0)),
    key("close_mosaic", 10.0, Whole(1_000_000)),
];

impl Key {
    /// Whether `true` and `false` are values.
    pub fn is_switch(&self) -> bool {
        self.legal == Switch
    }

    /// Whether the number is in the range; what is not finite never is.
    pub fn allows(&self, number: f64) -> bool {
        match self.legal {
            Within(least, most) => (least..=most).contains(&number),
            Above(least, most) => number > least && number <= most,
            Below(least, most) => (least..most).contains(&number),
            Whole(most) => number.fract() == 0.0 && (0.0..=f64::from(most)).contains(&number),
            RoundsTo(whole) => number.round() == whole,
            Switch => number == 0.0 || number == 1.0,
        }
    }

    /// The range in words.
    pub fn range(&self) -> String {
        match self.legal {
            Within(least, most) => format!("a number from {least} to {most}"),
            Above(least, most) => format!("a number above {least}, at most {most}"),
            Below(least, most) => format!("a number from {least}, below {most}"),
            Whole(most) => format!("a whole number from 0 to {most}"),
            RoundsTo(whole) => format!("a number that rounds to {whole}"),
            Switch => "true or false".to_owned(),
        }
    }
}

/// Names that `name` may have been meant for, in words.
pub(super) fn near(name: &str) -> String {
    /// Two letters wrong, missing, added or swapped.
    const DISTANCE_MAX: usize = 2;
    let mut close: Vec<(usize, &str)> = KEYS
        .iter()
        .map(|key| (strsim::damerau_levenshtein(name, key.name), key.name))
        .filter(|(distance, known)| {
            *distance <= DISTANCE_MAX.min(known.len() / 2) || known.starts_with(name)
        })
        .collect();
    close.sort();
    let names = |names: Vec<&str>| names.join(", ");
    if close.is_empty() {
        let all = KEYS.iter().map(|key| key.name).collect();
        format!("expected one of {}", names(all))
    } else {
        let close = close.into_iter().map(|(_, known)| known).collect();
        format!("near it: {}", names(close))
    }
}
