//! SVG plots for the page: an interval on one axis, a ledger as a stacked bar, a forest plot.
//!
//! Drawn by `plotters`; its colours are then exchanged for the page's own (`currentColor` and CSS
//! variables), so that one drawing reads well on light and on dark. Nothing is loaded from
//! anywhere: no font, no name space, no script.

use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::ReportError;
use crate::store::{Ledger, Proportion};

/// Colours by what they mean. The values are place holders that [`themed`] exchanges.
const INK: RGBColor = RGBColor(1, 0, 0);
const MUTED: RGBColor = RGBColor(2, 0, 0);
const GRID: RGBColor = RGBColor(3, 0, 0);
const CORRECT: RGBColor = RGBColor(4, 0, 0);
const WRONG: RGBColor = RGBColor(5, 0, 0);
const UNPARSED: RGBColor = RGBColor(6, 0, 0);
const ERRORED: RGBColor = RGBColor(7, 0, 0);
const REFERENCE: RGBColor = RGBColor(8, 0, 0);

const THEME: [(&str, &str); 8] = [
    ("#010000", "currentColor"),
    ("#020000", "var(--muted)"),
    ("#030000", "var(--line)"),
    ("#040000", "var(--correct)"),
    ("#050000", "var(--wrong)"),
    ("#060000", "var(--unparsed)"),
    ("#070000", "var(--errored)"),
    ("#080000", "var(--reference)"),
];

/// A value with its interval and a value to compare it with, on the 0 to 1 axis.
#[derive(Debug, Clone)]
pub struct Mark {
    /// What it is, at the left of a forest plot.
    pub label: String,
    /// The value.
    pub value: f64,
    /// Its interval.
    pub interval: [f64; 2],
    /// A baseline or a printed value, drawn as an upright tick.
    pub reference: Option<f64>,
}

impl Mark {
    /// Returns a proportion with its Wilson interval, next to a reference value.
    pub fn new(label: &str, proportion: &Proportion, reference: Option<f64>) -> Self {
        let (value, interval) = (proportion.value, proportion.wilson);
        Self { label: label.to_owned(), value, interval, reference }
    }
}

/// Returns one interval as a dot with whiskers, 160 x 18, from 0 at the left to 1 at the right.
///
/// # Errors
///
/// [`ReportError::Plot`] if the library fails.
pub fn interval(mark: &Mark) -> Result<String, ReportError> {
    draw((160, 18), |area| {
        let x = |share: f64| pixel(share, 160);
        area.draw(&PathElement::new(vec![(0, 9), (159, 9)], GRID))?;
        for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
            area.draw(&PathElement::new(vec![(x(share), 6), (x(share), 12)], GRID))?;
        }
        if let Some(reference) = mark.reference {
            let at = x(reference);
            area.draw(&PathElement::new(vec![(at, 1), (at, 17)], REFERENCE.stroke_width(2)))?;
        }
        let [low, high] = mark.interval.map(x);
        area.draw(&PathElement::new(vec![(low, 9), (high, 9)], INK.stroke_width(2)))?;
        for end in [low, high] {
            area.draw(&PathElement::new(vec![(end, 5), (end, 13)], INK.stroke_width(2)))?;
        }
        area.draw(&Circle::new((x(mark.value), 9), 4, INK.filled()))
    })
}

/// Returns the questions asked as one stacked bar, 240 x 14: correct, wrong, unparsed, errored.
///
/// # Errors
///
/// [`ReportError::Plot`] if the library fails.
pub fn ledger(ledger: &Ledger) -> Result<String, ReportError> {
    draw((240, 14), |area| {
        let parts = [
            (ledger.correct, CORRECT),
            (ledger.wrong, WRONG),
            (ledger.unparsed, UNPARSED),
            (ledger.errored, ERRORED),
        ];
        let mut before = 0;
        for (count, colour) in parts.into_iter().filter(|(count, _)| *count > 0) {
            let share = |count: usize| count as f64 / ledger.asked.max(1) as f64;
            let (from, to) = (pixel(share(before), 240), pixel(share(before + count), 240));
            area.draw(&Rectangle::new([(from, 0), (to, 14)], colour.filled()))?;
            before += count;
        }
        Ok(())
    })
}

/// Returns all marks under one another with names, grid and axis, 900 wide.
///
/// # Errors
///
/// [`ReportError::Plot`] if the library fails.
pub fn forest(marks: &[Mark]) -> Result<String, ReportError> {
    let rows = u32::try_from(marks.len()).unwrap_or(u32::MAX).clamp(1, 400);
    let longest = marks.iter().map(|mark| mark.label.chars().count()).max().unwrap_or(0);
    let names = u32::try_from(longest).unwrap_or(u32::MAX).min(48) * 7 + 16;
    draw((900, 44 + 26 * rows), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(4)
            .margin_right(20)
            .x_label_area_size(28)
            .y_label_area_size(names)
            .build_cartesian_2d(0.0..1.0, 0.0..f64::from(rows))?;
        let font = |size: u32, colour: &RGBColor| ("sans-serif", size).into_font().color(colour);
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_labels(11)
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|share| format!("{:.0} %", 100.0 * share))
            .x_label_style(font(12, &MUTED))
            .draw()?;
        let name = font(13, &INK).pos(Pos::new(HPos::Right, VPos::Center));
        for (mark, row) in marks.iter().zip(0u32..rows) {
            let y = f64::from(rows - row) - 0.5;
            let (left, middle) = chart.backend_coord(&(0.0, y));
            area.draw(&Text::new(&*mark.label, (left - 10, middle), name.clone()))?;
            let [low, high] = mark.interval;
            let tick = |x: f64, size: i32, style: ShapeStyle| {
                EmptyElement::at((x, y)) + PathElement::new(vec![(0, -size), (0, size)], style)
            };
            if let Some(reference) = mark.reference {
                chart.draw_series([tick(reference, 9, REFERENCE.stroke_width(2))])?;
            }
            let whisker = PathElement::new(vec![(low, y), (high, y)], INK.stroke_width(2));
            chart.draw_series([whisker])?;
            chart.draw_series([low, high].map(|end| tick(end, 5, INK.stroke_width(2))))?;
            chart.draw_series([Circle::new((mark.value, y), 4, INK.filled())])?;
        }
        Ok(())
    })
}

/// Returns counts as upright bars with a name under each, 420 x 150; the tallest bar states its
/// count.
///
/// # Errors
///
/// [`ReportError::Plot`] if the library fails.
pub fn bars(bars: &[(String, usize)]) -> Result<String, ReportError> {
    const BASE: i32 = 130;
    const HEIGHT: f64 = 110.0;
    let tallest = bars.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let width = 420 / i32::try_from(bars.len().max(1)).unwrap_or(420);
    draw((420, 150), |area| {
        area.draw(&PathElement::new(vec![(0, BASE), (419, BASE)], GRID))?;
        let style = |colour: &RGBColor| {
            let font = ("sans-serif", 10).into_font().color(colour);
            font.pos(Pos::new(HPos::Center, VPos::Top))
        };
        for ((name, count), place) in bars.iter().zip(0i32..) {
            let (left, middle) = (place * width, place * width + width / 2);
            let share = *count as f64 / tallest.max(1) as f64;
            let top = BASE - pixels(share * HEIGHT);
            area.draw(&Rectangle::new([(left + 1, top), (left + width - 1, BASE)], INK.filled()))?;
            area.draw(&Text::new(name.as_str(), (middle, BASE + 4), style(&MUTED)))?;
            if *count == tallest && tallest > 0 {
                area.draw(&Text::new(count.to_string(), (middle, top - 13), style(&INK)))?;
            }
        }
        Ok(())
    })
}

/// A height as whole pixels.
#[expect(clippy::cast_possible_truncation, reason = "at most the height of a plot")]
fn pixels(height: f64) -> i32 {
    height.round() as i32
}

/// The pixel of a share on an axis of `width` pixels, four pixels of margin at each end.
#[expect(clippy::cast_possible_truncation, reason = "shares lie in 0..=1, widths are small")]
fn pixel(share: f64, width: u32) -> i32 {
    (4.0 + share.clamp(0.0, 1.0) * (f64::from(width) - 8.0)).round() as i32
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type DrawError = DrawingAreaErrorKind<std::io::Error>;

fn draw(
    size: (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<String, ReportError> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    paint(&area)
        .and_then(|()| area.present())
        .map_err(|error| ReportError::Plot { source: Box::new(error) })?;
    drop(area);
    Ok(themed(&svg, size))
}

/// Exchanges colours for the page's, and the fixed size and name space for a view box alone.
fn themed(svg: &str, (width, height): (u32, u32)) -> String {
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let mut themed = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         aria-hidden=\"true\" focusable=\"false\">{body}"
    );
    for (colour, role) in THEME {
        themed = themed.replace(colour, role);
    }
    themed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(value: f64) -> Mark {
        Mark { label: "a < b".into(), value, interval: [0.1, 0.6], reference: Some(0.2) }
    }

    #[test]
    fn plots_use_only_colours_of_the_page_and_name_no_address() {
        let ledger_of_four = Ledger {
            asked: 10,
            correct: 4,
            wrong: 3,
            unparsed: 2,
            errored: 1,
            ..Ledger::default()
        };
        let plots = [
            interval(&mark(0.3)).unwrap(),
            forest(&[mark(0.3), mark(0.0), mark(1.0)]).unwrap(),
            ledger(&ledger_of_four).unwrap(),
        ];
        for svg in plots {
            assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
            assert!(!svg.contains('#') && !svg.contains("http"), "{svg}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        assert!(forest(&[mark(0.5)]).unwrap().contains("a &lt; b"));
    }

    #[test]
    fn an_empty_ledger_is_an_empty_bar() {
        assert!(!ledger(&Ledger::default()).unwrap().contains("rect"));
    }
}
