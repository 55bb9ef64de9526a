//! `labels.jpg`: what there is to learn from.

use std::path::{Path, PathBuf};

use plotters::prelude::*;
use shared::attribute::{AttributeSchema, ValueId};
use shared::class::ClassTable;

use super::PlotError;
use super::axes::Axes;
use super::bars::{Bar, bars_height, draw_bars};
use super::palette::{FAINT, INK, bar_colour, shade};
use super::sheet::{Area, DrawError, draw_to, fine};
use crate::dataset::Sample;

/// The two columns of the picture, pixels.
const LEFT: u32 = 640;
const RIGHT: u32 = 560;

/// Fields of the heat map, each way.
const FIELDS: usize = 50;

/// Most boxes that are drawn as dots.
const DOTS_MAX: usize = 4000;

/// A box relative to its picture: centre, size, class.
struct Label {
    centre: (f64, f64),
    size: (f64, f64),
    class: Option<usize>,
}

/// Writes `labels.jpg` to the folder `out`: cells of each class, where the boxes lie and how large
/// they are relative to their picture, and how often each attribute value is labelled.
///
/// # Errors
/// The disk.
pub fn write_labels(
    out: &Path,
    samples: &[&Sample],
    classes: &ClassTable,
    schema: &AttributeSchema,
) -> Result<PathBuf, PlotError> {
    let path = out.join("labels.jpg");
    let labels = labels(samples);
    let by_class = class_bars(&labels, classes);
    let by_value = value_bars(samples, schema);
    let (upper, lower) = (bars_height(by_class.len()), bars_height(by_value.len()));
    let height = (upper + lower).max(2 * RIGHT);
    draw_to(&path, LEFT + RIGHT, height, |area| {
        let (left, right) = area.split_horizontally(fine(LEFT));
        let (top, bottom) = left.split_vertically(fine(upper));
        let title = format!("{} cells on {} pictures", labels.len(), samples.len());
        draw_bars(&top, LEFT, &title, &by_class)?;
        if !schema.is_empty() {
            draw_bars(&bottom, LEFT, "Attribute values", &by_value)?;
        }
        let (top, rest) = right.split_vertically(fine(RIGHT));
        let (bottom, _) = rest.split_vertically(fine(RIGHT));
        draw_centres(&top, &labels)?;
        draw_sizes(&bottom, &labels)
    })?;
    Ok(path)
}

fn labels(samples: &[&Sample]) -> Vec<Label> {
    let of_sample = |sample: &&Sample| {
        let (width, height) = (f64::from(sample.size.width), f64::from(sample.size.height));
        let cells = sample.cells.iter();
        let labels = cells.map(move |cell| {
            let (x, y) = cell.bbox.centre();
            let (w, h) = (cell.bbox.width(), cell.bbox.height());
            Label {
                centre: (f64::from(x) / width, f64::from(y) / height),
                size: (f64::from(w) / width, f64::from(h) / height),
                class: cell.class.map(|class| class.index()),
            }
        });
        labels.collect::<Vec<_>>()
    };
    samples.iter().flat_map(of_sample).collect()
}

fn class_bars(labels: &[Label], classes: &ClassTable) -> Vec<Bar> {
    let count = |class: Option<usize>| labels.iter().filter(|label| label.class == class).count();
    let named = classes.iter().map(|(class, name)| Bar {
        name: name.to_owned(),
        count: Some(count(Some(class.index()))),
        colour: bar_colour(class.index()),
    });
    let unsaid = Bar {
        name: "class unsaid".to_owned(),
        count: Some(count(None)),
        colour: FAINT,
    };
    let unsaid = Some(unsaid).filter(|bar| bar.count > Some(0));
    named.chain(unsaid).collect()
}

fn value_bars(samples: &[&Sample], schema: &AttributeSchema) -> Vec<Bar> {
    let cells = || samples.iter().flat_map(|sample| &sample.cells);
    let mut bars = Vec::new();
    for (id, attribute) in schema.iter() {
        let count = |value: Option<ValueId>| {
            let with = cells().filter(|cell| cell.attributes[id.index()] == value);
            with.count()
        };
        bars.push(Bar {
            name: attribute.name.to_string(),
            count: None,
            colour: INK,
        });
        let values = attribute.values.iter().enumerate();
        bars.extend(values.map(|(index, name)| Bar {
            name: name.to_string(),
            count: Some(ValueId::new(index).map_or(0, |value| count(Some(value)))),
            colour: bar_colour(id.index()),
        }));
        let unsaid = count(None);
        if unsaid > 0 {
            bars.push(Bar {
                name: "unlabelled".to_owned(),
                count: Some(unsaid),
                colour: FAINT,
            });
        }
    }
    bars
}

fn draw_centres(area: &Area<'_>, labels: &[Label]) -> Result<(), DrawError> {
    let mut counts = vec![0u32; FIELDS * FIELDS];
    let field = |at: f64| ((at * FIELDS as f64) as usize).min(FIELDS - 1);
    for label in labels {
        counts[field(label.centre.1) * FIELDS + field(label.centre.0)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let title = format!("Box centres (darkest: {most} cells)");
    let mut chart = Axes {
        title: &title,
        title_height: 16,
        x: 0.0..1.0,
        y: 1.0..0.0,
        x_name: "x, part of the width",
        y_name: "y, part of the height",
        numbers: (6, 6),
        counts_x: false,
    }
    .draw(area)?;
    let side = 1.0 / FIELDS as f64;
    let filled = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    chart.draw_series(filled.map(|(at, &count)| {
        let (x, y) = ((at % FIELDS) as f64 * side, (at / FIELDS) as f64 * side);
        // Few cells must be seen beside many: the root of the share.
        let colour = shade(0.08 + 0.92 * (f64::from(count) / f64::from(most)).sqrt());
        Rectangle::new([(x, y), (x + side, y + side)], colour.filled())
    }))?;
    Ok(())
}

fn draw_sizes(area: &Area<'_>, labels: &[Label]) -> Result<(), DrawError> {
    let step = labels.len().div_ceil(DOTS_MAX).max(1);
    let title = match step {
        1 => "Box sizes".to_owned(),
        step => format!("Box sizes (one box in {step})"),
    };
    let largest = labels.iter().flat_map(|label| [label.size.0, label.size.1]);
    let end = largest.fold(0.05, f64::max) * 1.05;
    let mut chart = Axes {
        title: &title,
        title_height: 16,
        x: 0.0..end,
        y: 0.0..end,
        x_name: "width, part of the picture's",
        y_name: "height, part of the picture's",
        numbers: (6, 6),
        counts_x: false,
    }
    .draw(area)?;
    chart.draw_series(labels.iter().step_by(step).map(|label| {
        let colour = label.class.map_or(FAINT, bar_colour);
        Circle::new(label.size, fine(2), colour.mix(0.5).filled())
    }))?;
    Ok(())
}
