//! What was measured, for people: lines of a terminal.

use crate::accuracy::calibration::Calibration;
use crate::accuracy::row::{COLUMNS, Row, pool};

/// Columns that name a row.
const NAMES: [&str; 3] = ["runtime", "pool", "in flight"];

/// Widths of all columns but the last, which ends the line.
const WIDTHS: [usize; 12] = [24, 8, 9, 8, 8, 6, 8, 8, 9, 8, 12, 6];

/// The line above the rows.
pub(super) fn head() -> String {
    line(NAMES.into_iter().chain(COLUMNS).map(str::to_owned))
}

/// A row as a line.
pub(super) fn row(row: &Row) -> String {
    let short = row.condition.short();
    let name = if short.is_empty() { row.runtime.to_owned() } else { format!("{} ({short})", row.runtime) };
    let limit = if row.pool == 0 { "no limit".to_owned() } else { row.pool.to_string() };
    line([name, limit, row.in_flight()].into_iter().chain(row.cells()))
}

/// A calibration as lines.
pub(super) fn calibration(calibration: &Calibration) -> Vec<String> {
    let said = |bucket: crate::accuracy::calibration::Bucket| {
        let (from, to, share) = (bucket.from, bucket.to, bucket.share() * 100.0);
        format!("{from:.2} to {to:.2}: {:7} links, {share:.2} % of them right", bucket.links())
    };
    calibration.buckets().map(said).collect()
}

/// Which rows, of which pool, in a table of the document.
pub(super) fn names(row: &Row) -> [String; 2] {
    let words = row.condition.words().map(|words| format!(", {words}")).unwrap_or_default();
    let how = format!("{}{words}", pool(row.pool));
    [how, row.in_flight()]
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let mut line = String::new();
    for (at, cell) in cells.enumerate() {
        let width = WIDTHS.get(at).copied().unwrap_or(0);
        // Numbers under each other by their ends, names by their beginnings.
        line += &if at == 0 || at >= WIDTHS.len() { format!("{cell:width$}  ") } else { format!("{cell:>width$}  ") };
    }
    line.truncate(line.trim_end().len());
    line
}
