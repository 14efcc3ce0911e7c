//! What a run found: tables in Markdown for people, JSON for programs, and whether every limit held.

use std::{fmt, fs};

use serde_json::{Map, Value, json};

use crate::limits::{Limit, Side};

/// Where the figures are written, from the root of the project.
const FILE: &str = "target/load.json";

const LIMIT_COLUMNS: [&str; 5] = ["limit on", "measured", "limit", "unit", "holds"];

#[derive(Default)]
pub(crate) struct Report {
    tables: Vec<Table>,
    figures: Map<String, Value>,
    kept: Vec<(Limit, f64)>,
    left_out: Vec<String>,
}

impl Report {
    /// A row of a table, which begins with its first.
    pub(crate) fn row(&mut self, title: &'static str, columns: &'static [&'static str], cells: Vec<String>) {
        match self.tables.iter_mut().find(|table| table.title == title) {
            Some(table) => table.rows.push(cells),
            None => self.tables.push(Table { title, columns, rows: vec![cells] }),
        }
    }

    /// What a part found, for programs.
    pub(crate) fn figures(&mut self, part: &str, figures: Value) {
        self.figures.insert(part.to_owned(), figures);
    }

    /// A figure that has a limit.
    pub(crate) fn keep(&mut self, limit: Limit, figure: f64) {
        self.kept.push((limit, figure));
    }

    /// Something that was not measured, and why.
    pub(crate) fn leave_out(&mut self, why: &str) {
        self.left_out.push(why.to_owned());
    }

    /// Prints and writes all of it; tells whether every limit held.
    pub(crate) fn finish(mut self) -> bool {
        for (limit, figure) in self.kept.clone() {
            self.row("Limits", &LIMIT_COLUMNS, cells(&limit, figure));
        }
        for table in &self.tables {
            println!("\n{table}");
        }
        for why in &self.left_out {
            println!("Left out: {why}");
        }
        let limits: Vec<Value> = self
            .kept
            .iter()
            .map(|(limit, figure)| {
                json!({ "what": limit.what, "measured": figure, "limit": limit.bound, "unit": limit.unit,
                    "side": sign(limit.side), "holds": limit.holds(*figure) })
            })
            .collect();
        self.figures.insert("limits".to_owned(), limits.into());
        self.figures.insert("leftOut".to_owned(), self.left_out.into());
        fs::write(FILE, format!("{:#}\n", Value::Object(self.figures))).unwrap();
        let broken: Vec<_> = self.kept.iter().filter(|(limit, figure)| !limit.holds(*figure)).collect();
        for (limit, figure) in &broken {
            let Limit { what, side, bound, unit } = limit;
            println!("NOT KEPT: {what}: {} {unit}, limit: {} {bound}", number(*figure), sign(*side));
        }
        broken.is_empty()
    }
}

struct Table {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

/// As Markdown, the columns in line for those who read it as it is.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<String> = self.columns.iter().map(|&name| name.to_owned()).collect();
        let width = |at: usize| self.rows.iter().chain([&columns]).map(|row| row[at].chars().count()).max().unwrap();
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        writeln!(f, "### {}\n", self.title)?;
        let mut line = |cells: &[String]| {
            for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                if at == 0 { write!(f, "| {cell:width$} |")? } else { write!(f, " {cell:>width$} |")? }
            }
            writeln!(f)
        };
        line(&columns)?;
        let dashes =
            |(at, width): (usize, &usize)| if at == 0 { "-".repeat(*width) } else { "-".repeat(width - 1) + ":" };
        line(&widths.iter().enumerate().map(dashes).collect::<Vec<_>>())?;
        self.rows.iter().try_for_each(|row| line(row))
    }
}

fn cells(limit: &Limit, figure: f64) -> Vec<String> {
    let holds = if limit.holds(figure) { "yes" } else { "**no**" };
    let bound = format!("{} {}", sign(limit.side), limit.bound);
    vec![limit.what.to_owned(), number(figure), bound, limit.unit.to_owned(), holds.to_owned()]
}

fn sign(side: Side) -> &'static str {
    match side {
        Side::AtMost => "at most",
        Side::AtLeast => "at least",
    }
}

/// Three digits or so: more would promise too much.
pub(crate) fn number(figure: f64) -> String {
    let text = match figure {
        figure if figure < 10.0 => return format!("{figure:.2}"),
        figure if figure < 100.0 => return format!("{figure:.1}"),
        figure => format!("{figure:.0}"),
    };
    let groups: Vec<&str> = text.as_bytes().rchunks(3).rev().map(|three| str::from_utf8(three).unwrap()).collect();
    groups.join(",")
}

/// The one in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
