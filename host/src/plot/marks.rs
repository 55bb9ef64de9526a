//! Boxes on a picture, with words beside them where there is room.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use shared::annotate::CLASS_COLOURS;
use shared::geometry::{BBox, Image};

use super::palette::{FAULT, ink_on};
use super::sheet::{Area, DrawError, fine, placed, text_width};

/// Letters of a class and of its attributes, pixels; one line to the next is a little more.
const TITLE: u32 = 14;
const LINE: u32 = 13;
const LEADING: u32 = 2;
const PADDING: u32 = 3;

/// Stroke and gap of a broken outline, pixels.
const DASH: (i32, i32) = (7, 5);

/// Whole pixels of the sheet, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub x0: i32,
    pub y0: i32,
    pub x1: i32,
    pub y1: i32,
}

impl Rect {
    pub fn sized(x0: i32, y0: i32, (width, height): (i32, i32)) -> Self {
        Self {
            x0,
            y0,
            x1: x0 + width,
            y1: y0 + height,
        }
    }

    /// The pixels of a box of a picture shown at `ratio` of its size, its corner at `(x, y)`.
    pub fn of(bbox: &BBox<Image>, (x, y): (i32, i32), ratio: f32) -> Self {
        Self {
            x0: x + (bbox.x0() * ratio).floor() as i32,
            y0: y + (bbox.y0() * ratio).floor() as i32,
            x1: x + (bbox.x1() * ratio).ceil() as i32,
            y1: y + (bbox.y1() * ratio).ceil() as i32,
        }
    }

    fn overlaps(self, other: Self) -> bool {
        self.x0 < other.x1 && other.x0 < self.x1 && self.y0 < other.y1 && other.y0 < self.y1
    }

    fn is_inside(self, frame: Self) -> bool {
        self.x0 >= frame.x0 && self.y0 >= frame.y0 && self.x1 <= frame.x1 && self.y1 <= frame.y1
    }

    fn fill(self, area: &Area<'_>, colour: RGBAColor) -> Result<(), DrawError> {
        let scale = fine(1);
        let from = (self.x0 * scale, self.y0 * scale);
        // plotters fills the last pixel too.
        let to = (self.x1 * scale - 1, self.y1 * scale - 1);
        area.draw(&Rectangle::new([from, to], colour.filled()))?;
        Ok(())
    }
}

/// A line of words below a title.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Words {
    pub text: String,
    /// Stands out, and stays when room is short.
    pub is_fault: bool,
}

/// A box and what is said of it.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub rect: Rect,
    pub colour: RGBColor,
    pub is_broken: bool,
    pub title: String,
    pub lines: Vec<Words>,
}

/// The colour of a class on a smear; `None` is white.
pub(super) fn class_colour(class: Option<usize>) -> RGBColor {
    let [r, g, b] = class.map_or([0xff; 3], |class| {
        CLASS_COLOURS[class % CLASS_COLOURS.len()]
    });
    RGBColor(r, g, b)
}

/// Draws all boxes, then the words of each, the first ones choosing their place first; nothing
/// leaves `frame`.
pub(super) fn draw_marks(area: &Area<'_>, frame: Rect, marks: &[Mark]) -> Result<(), DrawError> {
    let mut taken: Vec<Rect> = Vec::new();
    for mark in marks {
        draw_outline(area, frame, mark)?;
        taken.push(mark.rect);
    }
    for mark in marks {
        let mut drawn = None;
        for lines in shorter_and_shorter(&mark.lines) {
            let size = block_size(&mark.title, &lines)?;
            drawn = beside(mark.rect, size, frame, &taken).map(|place| (place, lines));
            if drawn.is_some() {
                break;
            }
        }
        let (place, lines) = match drawn {
            Some(drawn) => drawn,
            None => {
                let size = block_size(&mark.title, &[])?;
                (on_the_edge(mark.rect, size, frame), Vec::new())
            }
        };
        draw_block(area, place, mark, &lines)?;
        taken.push(place);
    }
    Ok(())
}

/// All lines; then ever fewer with the number of the others, what differs from the truth first; at
/// last none.
fn shorter_and_shorter(lines: &[Words]) -> Vec<Vec<Words>> {
    let mut by_weight = lines.to_vec();
    by_weight.sort_by_key(|line| !line.is_fault);
    let shortened = |n: usize| {
        let mut kept = by_weight[..n].to_vec();
        kept.push(Words {
            text: format!("+ {} more", lines.len() - n),
            is_fault: false,
        });
        kept
    };
    let fewer = [7, 5, 3, 2, 1].into_iter().filter(|n| n + 1 < lines.len());
    let all = std::iter::once(lines.to_vec());
    all.chain(fewer.map(shortened))
        .chain([Vec::new()])
        .collect()
}

fn block_size(title: &str, lines: &[Words]) -> Result<(i32, i32), DrawError> {
    let mut width = text_width(title, TITLE)?;
    for line in lines {
        width = width.max(text_width(&line.text, LINE)?);
    }
    let height = TITLE + 2 * LEADING + lines.len() as u32 * (LINE + LEADING);
    let below = if lines.is_empty() { 0 } else { PADDING };
    Ok(((width + 2 * PADDING) as i32, (height + below) as i32))
}

/// The first place beside `rect` that is wholly inside `frame` and on nothing else.
fn beside(rect: Rect, (width, height): (i32, i32), frame: Rect, taken: &[Rect]) -> Option<Rect> {
    const AWAY: i32 = 2;
    let (above, below) = (rect.y0 - AWAY - height, rect.y1 + AWAY);
    let (left, right) = (rect.x0 - AWAY - width, rect.x1 + AWAY);
    // Along its side of the box a block may be pushed into the frame.
    let x = |x: i32| x.min(frame.x1 - width).max(frame.x0);
    let y = |y: i32| y.min(frame.y1 - height).max(frame.y0);
    let places = [
        (x(rect.x0), above),
        (right, y(rect.y0)),
        (left, y(rect.y0)),
        (x(rect.x0), below),
        (x(rect.x1 - width), above),
        (x(rect.x1 - width), below),
        (right, y(rect.y1 - height)),
        (left, y(rect.y1 - height)),
    ];
    places
        .into_iter()
        .map(|(x, y)| Rect::sized(x, y, (width, height)))
        .find(|place| place.is_inside(frame) && !taken.iter().any(|t| t.overlaps(*place)))
}

/// The upper left corner of its box, pushed into the frame.
fn on_the_edge(rect: Rect, (width, height): (i32, i32), frame: Rect) -> Rect {
    let x = rect.x0.min(frame.x1 - width).max(frame.x0);
    let y = rect.y0.min(frame.y1 - height).max(frame.y0);
    Rect::sized(x, y, (width, height))
}

fn draw_block(area: &Area<'_>, place: Rect, mark: &Mark, lines: &[Words]) -> Result<(), DrawError> {
    let title_height = (TITLE + 2 * LEADING) as i32;
    let title = Rect {
        y1: place.y0 + title_height,
        ..place
    };
    title.fill(area, mark.colour.mix(0.92))?;
    let left = (place.x0 + PADDING as i32) * fine(1);
    let style = placed(TITLE, ink_on(mark.colour), HPos::Left, VPos::Center);
    area.draw_text(
        &mark.title,
        &style,
        (left, (place.y0 + title_height / 2) * fine(1)),
    )?;
    if lines.is_empty() {
        return Ok(());
    }
    let veil = Rect {
        y0: title.y1,
        ..place
    };
    veil.fill(area, BLACK.mix(0.66))?;
    for (index, line) in (0i32..).zip(lines) {
        let pitch = (LINE + LEADING) as i32;
        let middle = title.y1 + index * pitch + pitch / 2 + 1;
        let colour = if line.is_fault { FAULT } else { WHITE };
        let style = placed(LINE, colour, HPos::Left, VPos::Center);
        area.draw_text(&line.text, &style, (left, middle * fine(1)))?;
    }
    Ok(())
}

/// A coloured line two pixels wide on a dark one of four.
fn draw_outline(area: &Area<'_>, frame: Rect, mark: &Mark) -> Result<(), DrawError> {
    for (half, colour) in [(2, BLACK.mix(0.6)), (1, mark.colour.to_rgba())] {
        for side in sides(mark.rect, half) {
            let strokes = if mark.is_broken && half == 1 {
                broken(side)
            } else {
                vec![side]
            };
            for stroke in strokes {
                let clipped = Rect {
                    x0: stroke.x0.max(frame.x0),
                    y0: stroke.y0.max(frame.y0),
                    x1: stroke.x1.min(frame.x1),
                    y1: stroke.y1.min(frame.y1),
                };
                if clipped.x0 < clipped.x1 && clipped.y0 < clipped.y1 {
                    clipped.fill(area, colour)?;
                }
            }
        }
    }
    Ok(())
}

/// The four sides, `half` to both sides of the edge, no pixel twice.
fn sides(rect: Rect, half: i32) -> [Rect; 4] {
    let Rect { x0, y0, x1, y1 } = rect;
    let side = |x0, y0, x1, y1| Rect { x0, y0, x1, y1 };
    [
        side(x0 - half, y0 - half, x1 + half, y0 + half),
        side(x0 - half, y1 - half, x1 + half, y1 + half),
        side(x0 - half, y0 + half, x0 + half, y1 - half),
        side(x1 - half, y0 + half, x1 + half, y1 - half),
    ]
}

/// A side in strokes along its longer direction.
fn broken(side: Rect) -> Vec<Rect> {
    let lies = side.x1 - side.x0 > side.y1 - side.y0;
    let (from, to) = if lies {
        (side.x0, side.x1)
    } else {
        (side.y0, side.y1)
    };
    let starts = (from..to).step_by((DASH.0 + DASH.1) as usize);
    let strokes = starts.map(|start| {
        let end = (start + DASH.0).min(to);
        if lies {
            Rect {
                x0: start,
                x1: end,
                ..side
            }
        } else {
            Rect {
                y0: start,
                y1: end,
                ..side
            }
        }
    });
    strokes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Rect = Rect {
        x0: 0,
        y0: 0,
        x1: 200,
        y1: 200,
    };

    #[test]
    fn words_go_above_their_box_then_beside_it_and_never_onto_another() {
        let rect = Rect::sized(50, 50, (40, 40));
        let above = beside(rect, (30, 20), FRAME, &[rect]);
        assert_eq!(above, Some(Rect::sized(50, 28, (30, 20))));
        let other = Rect::sized(40, 30, (40, 10));
        let right = beside(rect, (30, 20), FRAME, &[rect, other]);
        assert_eq!(right, Some(Rect::sized(92, 50, (30, 20))));
    }

    #[test]
    fn words_without_room_lie_on_the_edge_inside_the_picture() {
        let rect = Rect::sized(-10, -10, (220, 220));
        assert_eq!(beside(rect, (30, 20), FRAME, &[rect]), None);
        assert_eq!(
            on_the_edge(rect, (30, 20), FRAME),
            Rect::sized(0, 0, (30, 20))
        );
        let corner = Rect::sized(190, 190, (10, 10));
        assert_eq!(
            on_the_edge(corner, (30, 20), FRAME),
            Rect::sized(170, 180, (30, 20))
        );
    }

    #[test]
    fn words_are_left_out_from_the_end_but_faults_are_kept() {
        let lines: Vec<Words> = (0..4)
            .map(|at| Words {
                text: at.to_string(),
                is_fault: at == 3,
            })
            .collect();
        let texts: Vec<Vec<String>> = shorter_and_shorter(&lines)
            .iter()
            .map(|lines| lines.iter().map(|line| line.text.clone()).collect())
            .collect();
        let expected: [&[&str]; 4] = [
            &["0", "1", "2", "3"],
            &["3", "0", "+ 2 more"],
            &["3", "+ 3 more"],
            &[],
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn the_sides_of_a_box_share_no_pixel() {
        let sides = sides(Rect::sized(10, 10, (20, 20)), 2);
        for (index, a) in sides.iter().enumerate() {
            assert!(sides[..index].iter().all(|b| !a.overlaps(*b)));
        }
    }
}
