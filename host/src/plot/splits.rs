//! What a data set holds, split by split.

use std::path::Path;

use super::PlotError;
use super::axes::{Axes, draw_line};
use super::bars::{Bar, bars_height, draw_bars};
use super::legend::{Entry, Legend};
use super::palette::{LineLook, bar_colour, line_look};
use super::sheet::{Area, DrawError, draw_to, fine};
use crate::dataset::{Dataset, Split, Stats, side_ratios};

const WIDTH: u32 = 900;
/// Height of the plot of sizes.
const SIZES: u32 = 340;
/// Room of its legend.
const LEGEND: u32 = 130;

/// Steps of the plot of sizes.
const BINS: usize = 40;

/// Draws the cells of each class and the distribution of box sizes, of every split.
///
/// # Errors
/// The disk.
pub fn write_splits(data: &Dataset, path: &Path) -> Result<(), PlotError> {
    let stats = Stats::new(data);
    let bars = bars(&stats);
    let upper = bars_height(bars.len());
    draw_to(path, WIDTH, upper + SIZES, |area| {
        let (top, bottom) = area.split_vertically(fine(upper));
        let title = format!("{}: cells of each class", stats.name);
        draw_bars(&top, WIDTH, &title, &bars)?;
        draw_sides(data, &bottom)
    })
}

/// The name of every class, and under it a bar for each split that has pictures.
fn bars(stats: &Stats) -> Vec<Bar> {
    let names = stats.classes.iter().map(String::as_str);
    let mut bars = Vec::new();
    for (class, name) in names.chain(["class unsaid"]).enumerate() {
        bars.push(Bar {
            name: name.to_owned(),
            count: None,
            colour: bar_colour(class),
        });
        let splits = stats.splits.iter().zip(Split::ALL).enumerate();
        bars.extend(splits.map(|(at, (split, which))| {
            Bar {
                name: which.name().to_owned(),
                count: Some(
                    split
                        .classes
                        .get(class)
                        .copied()
                        .unwrap_or(split.unclassified),
                ),
                colour: bar_colour(at),
            }
        }));
    }
    bars
}

fn draw_sides(data: &Dataset, area: &Area<'_>) -> Result<(), DrawError> {
    let share = |split: Split| {
        let mut bins = [0usize; BINS];
        for ratio in side_ratios(data.split(split)) {
            bins[((ratio * BINS as f32) as usize).min(BINS - 1)] += 1;
        }
        let all = bins.iter().sum::<usize>().max(1) as f64;
        bins.map(|bin| 100.0 * bin as f64 / all)
    };
    let shares = Split::ALL.map(share);
    let most = shares.iter().flatten().copied().fold(1.0, f64::max);
    let (left, right) = area.split_horizontally(fine(WIDTH - LEGEND));
    let mut chart = Axes {
        title: "Box side (root of the area)",
        title_height: 16,
        x: 0.0..1.0,
        y: 0.0..most * 1.1,
        x_name: "part of the picture",
        y_name: "per cent of boxes",
        numbers: (11, 6),
        counts_x: false,
    }
    .draw(&left)?;
    let look = |at: usize| LineLook {
        dash: [None, Some((8, 4)), Some((2, 3))][at % 3],
        ..line_look(at)
    };
    for (at, bins) in shares.iter().enumerate() {
        let steps = bins.iter().enumerate().flat_map(|(bin, &share)| {
            let left = bin as f64 / BINS as f64;
            [(left, share), (left + 1.0 / BINS as f64, share)]
        });
        draw_line(&mut chart, &steps.collect::<Vec<_>>(), look(at), 2)?;
    }
    let entries = Split::ALL.iter().enumerate().map(|(at, split)| Entry {
        look: look(at),
        width: 2,
        text: split.name().to_owned(),
    });
    Legend::new(entries.collect(), SIZES)?.draw(&right.margin(fine(30), 0, 0, 0))
}
