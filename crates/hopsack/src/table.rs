//! Columns of text: as wide as their widest cell, two spaces apart, no space at the end of a line.

use std::io::{self, Write};

/// A table under a line of headings.
pub struct Table<const COLUMNS: usize>(Columns);

/// A table whose number of columns is known only when it is made.
pub struct Columns {
    rows: Vec<Vec<String>>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// A table with no rows.
    pub fn new(headings: [&str; COLUMNS]) -> Self {
        Self(Columns::new(headings.map(str::to_owned).into()))
    }

    /// Adds a row. An empty cell shows as `-`, so that columns can be told apart by programs.
    pub fn row(&mut self, cells: [String; COLUMNS]) {
        self.0.row(cells.into());
    }

    /// Writes it.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.write(out)
    }
}

impl Columns {
    /// A table with no rows.
    pub fn new(headings: Vec<String>) -> Self {
        Self { rows: vec![headings] }
    }

    /// Adds a row of as many cells as there are headings.
    pub fn row(&mut self, cells: Vec<String>) {
        let shown = cells.into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { cell });
        self.rows.push(shown.collect());
    }

    /// Writes it.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut widths = vec![0; self.rows.first().map_or(0, Vec::len)];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["A", "LONG"]);
        table.row(["wide one".to_owned(), "x".to_owned()]);
        table.row([String::new(), "ü".to_owned()]);
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "A         LONG\nwide one  x\n-         ü\n");
    }
}
