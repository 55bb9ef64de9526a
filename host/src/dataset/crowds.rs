//! Cells of unsaid class in COCO's own terms.

use serde_json::{Value, json};

/// Replaces annotations of the last category, called `unsaid`, by a crowd of each of the others.
pub(super) fn as_crowds(file: &mut Value, unsaid: &str, n_classes: usize) {
    let list = |file: &mut Value, key: &str| match file[key].take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    let mut categories = list(file, "categories");
    categories.retain(|category| category["name"] != *unsaid);
    let (mut crowds, mut annotations) = (Vec::new(), Vec::new());
    for annotation in list(file, "annotations") {
        if annotation["category_id"] != n_classes {
            annotations.push(annotation);
            continue;
        }
        for class in 0..n_classes {
            let mut crowd = annotation.clone();
            crowd["category_id"] = json!(class);
            crowd["iscrowd"] = json!(1);
            crowds.push(crowd);
        }
    }
    annotations.append(&mut crowds);
    for (id, annotation) in (1..).zip(&mut annotations) {
        annotation["id"] = json!(id);
    }
    file["categories"] = Value::Array(categories);
    file["annotations"] = Value::Array(annotations);
    file["info"]["unclassified"] = Value::Null;
}
