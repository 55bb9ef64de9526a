extern crate std;

use std::string::{String, ToString};

use super::*;
use crate::attribute::{AttributeFinding, NO_FINDINGS, ValueId};
use crate::class::ClassId;
use crate::geometry::BBox;
use crate::score::Score;

fn finding(value: usize, score: f32) -> Option<AttributeFinding> {
    Some(AttributeFinding {
        value: ValueId::new(value).unwrap(),
        score: Score::new(score).unwrap(),
    })
}

fn detection(class: u8, attributes: &[Option<AttributeFinding>]) -> Detection {
    let mut findings = NO_FINDINGS;
    findings[..attributes.len()].copy_from_slice(attributes);
    Detection {
        bbox: BBox::from_corners(0.1, 2.0, 33.333_332, 400.5).unwrap(),
        class: ClassId(class),
        score: Score::new(0.9).unwrap(),
        attributes: findings,
    }
}

fn line(detections: &[Detection]) -> Result<String, String> {
    let classes = ClassTable::new(["Neutrophil", "say \"Basophil\""]).unwrap();
    let attributes: [(&str, &[&str]); 3] = [
        ("cell_size", &["small", "big"]),
        ("cell_shape", &["round", "irregular"]),
        ("granule_type", &["nil", "small", "round", "coarse"]),
    ];
    let record = DetectionRecord {
        image: "slide 1/f\u{e9}ld.png",
        size: Size::new(640, 480),
        model_sha256: "ab12",
        thresholds: &Thresholds::COUNTING,
        dropped: Dropped {
            candidates: 1,
            detections: 2,
            outside: 3,
        },
        detections,
        classes: &classes,
        schema: &AttributeSchema::new(attributes).unwrap(),
    };
    serde_json::to_string(&record).map_err(|error| error.to_string())
}

#[test]
fn a_line_is_spelled_exactly_so() {
    let found = [
        detection(0, &[finding(1, 0.75), None, finding(3, 1.0 / 3.0)]),
        detection(1, &[]),
    ];
    let expected = concat!(
        r#"{"image":"slide 1/féld.png","width":640,"height":480,"model_sha256":"ab12","#,
        r#""thresholds":{"score":0.25,"iou":0.45,"max_detections":300,"multi_label":false,"across_classes":true},"#,
        r#""dropped":{"candidates":1,"detections":2,"outside":3},"detections":["#,
        r#"{"class_id":0,"class":"Neutrophil","score":0.9,"bbox":[0.1,2.0,33.333332,400.5],"#,
        r#""attributes":{"cell_size":{"value":"big","score":0.75},"granule_type":{"value":"coarse","score":0.33333334}}},"#,
        r#"{"class_id":1,"class":"say \"Basophil\"","score":0.9,"bbox":[0.1,2.0,33.333332,400.5],"attributes":{}}]}"#,
    );
    assert_eq!(line(&found), Ok(expected.to_string()));
}

#[test]
fn a_picture_without_findings_has_its_line() {
    let line = line(&[]).unwrap();
    assert!(line.ends_with(r#""detections":[]}"#), "{line}");
    assert!(!line.contains('\n'));
}

#[test]
fn what_the_model_does_not_name_is_not_written() {
    let cases = [
        (detection(2, &[]), "class 2, the model has 2"),
        (
            detection(0, &[finding(2, 0.5)]),
            "value 2 of cell_size, which has 2",
        ),
        (
            detection(0, &[None, None, None, finding(0, 0.5)]),
            "attribute 3, the model has 3",
        ),
    ];
    for (detection, message) in cases {
        assert_eq!(line(&[detection]), Err(message.to_string()));
    }
}
