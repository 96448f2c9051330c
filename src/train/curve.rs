//! The loss curve as an SVG of its own: training and validation loss over the updates.

use std::fmt::Write as _;

use super::Event;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 48.0;

/// Returns the drawing; a line of text where there is nothing to draw.
pub fn loss_curve(events: &[Event]) -> String {
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Update { step, loss, .. } => train.push((*step as f64, *loss)),
            Event::Validation { step, loss, .. } => validation.push((*step as f64, *loss)),
            Event::Skipped { .. } | Event::ValidationBroken { .. } => {}
        }
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"white\"/>\n"
    );
    let all = || train.iter().chain(&validation);
    let low = all().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
    let high = all().map(|(_, loss)| *loss).fold(f64::NEG_INFINITY, f64::max);
    let last = all().map(|(step, _)| *step).fold(1.0, f64::max);
    if all().next().is_none() {
        svg += "<text x=\"20\" y=\"40\">no update was made</text>\n</svg>\n";
        return svg;
    }
    let span = if high > low { high - low } else { 1.0 };
    let x = |step: f64| MARGIN + step / last * (WIDTH - 2.0 * MARGIN);
    let y = |loss: f64| HEIGHT - MARGIN - (loss - low) / span * (HEIGHT - 2.0 * MARGIN);
    for part in 0..=4 {
        let (loss, step) = (low + span * f64::from(part) / 4.0, last * f64::from(part) / 4.0);
        let (up, across) = (y(loss), x(step));
        let _ = writeln!(
            svg,
            "<line x1=\"{MARGIN}\" x2=\"{:.1}\" y1=\"{up:.1}\" y2=\"{up:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{loss:.3}</text>\
             <text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{step:.0}</text>",
            WIDTH - MARGIN,
            MARGIN - 6.0,
            up + 4.0,
            HEIGHT - MARGIN + 18.0,
        );
    }
    for (points, colour) in [(&train, "#4477aa"), (&validation, "#cc6677")] {
        let line: Vec<String> =
            points.iter().map(|(step, loss)| format!("{:.1},{:.1}", x(*step), y(*loss))).collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
            line.join(" ")
        );
        for (step, loss) in points.iter().take(if points.len() <= 60 { 60 } else { 0 }) {
            let (x, y) = (x(*step), y(*loss));
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" fill=\"{colour}\"/>");
        }
    }
    let _ = writeln!(
        svg,
        "<text x=\"{MARGIN}\" y=\"24\" fill=\"#4477aa\">training loss</text>\
         <text x=\"160\" y=\"24\" fill=\"#cc6677\">validation loss</text>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">update</text>\n</svg>",
        WIDTH / 2.0,
        HEIGHT - 10.0,
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_lies_within_the_frame() {
        let event = |step| Event::Validation { step, loss: 3.0 / step as f64, wall_s: 0.0 };
        let svg = loss_curve(&(1..=9).map(event).collect::<Vec<_>>());
        assert_eq!(svg.matches("<circle").count(), 9);
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn one_loss_or_none_is_drawn_too() {
        let event = Event::Validation { step: 1, loss: 2.0, wall_s: 0.0 };
        assert!(!loss_curve(&[event]).contains("NaN"));
        assert!(loss_curve(&[]).contains("no update was made"));
    }
}
