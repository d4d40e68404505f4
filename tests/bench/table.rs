//! Rounds of figures, and the table that is made of them.

use std::fmt::Write as _;

/// One line of the table: the figures of both sides, round by round.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) digits: usize,
    /// What was asked for, in words.
    pub(crate) goal: &'static str,
    pub(crate) ours: Vec<f64>,
    pub(crate) theirs: Vec<f64>,
}

impl Line {
    /// The median of the ratios within a round, or of the medians if a side was measured once.
    pub(crate) fn ratio(&self) -> f64 {
        let pairs = self.ours.iter().zip(&self.theirs);
        median(&pairs.map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
    }
}

/// The middle value.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

/// The lines as a Markdown table.
pub(crate) fn markdown(ours: &str, theirs: &str, lines: &[Line]) -> String {
    let mut text = format!(
        "| | {ours} | {theirs} | ratio | range of the ratio | goal |\n|---|--:|--:|--:|--:|--:|\n"
    );
    for line in lines {
        let Line { what, unit, digits, goal, .. } = line;
        let side = |values: &[f64]| match values.is_empty() {
            true => String::new(),
            false => format!("{:.digits$} {unit}", median(values)),
        };
        let ratios: Vec<_> =
            line.ours.iter().zip(&line.theirs).map(|(ours, theirs)| ours / theirs).collect();
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (ratio, range) = match ratios.is_empty() {
            true => (String::new(), String::new()),
            false => (format!("{:.2}", line.ratio()), format!("{low:.2}–{high:.2}")),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {what} | {} | {} | {ratio} | {range} | {goal} |",
            side(&line.ours),
            side(&line.theirs)
        );
    }
    text
}
