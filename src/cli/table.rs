//! Tables that fit the terminal: columns as wide as their cells, dropped in a settled order where it is too narrow.

use core::fmt::{self, Write};

use super::output::Plain;

/// Columns of one table, at most.
pub const COLUMNS: usize = 12;
/// Rows that are lined up with each other; a longer table is lined up in parts.
const ROWS: usize = 1024;
/// Bytes of all cells of those rows.
const CELL_BYTES: usize = 192 << 10;
/// Characters between two columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub heading: &'static str,
    /// Which column goes first where there is not enough room: the highest; 0 never goes.
    pub drop: u8,
    /// Whether its cells stand at the right, as numbers do.
    pub right: bool,
}

/// How a row is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Normal,
    /// Attention: something failed.
    Bad,
    /// Less attention: nothing runs.
    Dim,
}

/// The cells of a table, kept until the width of each column is known.
#[derive(Debug)]
pub struct Table {
    cells: heapless::Vec<(u32, u16), { ROWS * COLUMNS }>,
    tones: heapless::Vec<Tone, ROWS>,
    text: heapless::Vec<u8, CELL_BYTES>,
}

/// The table has no room for another row: print it, then go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Table {
    /// No rows; all zero, so that a static one takes no room in the file.
    #[must_use]
    pub const fn new() -> Self {
        Table { cells: heapless::Vec::new(), tones: heapless::Vec::new(), text: heapless::Vec::new() }
    }

    /// Adds a row, one cell for each column. Control characters become `?`.
    ///
    /// # Errors
    /// [`Full`]; then nothing was added.
    pub fn row(&mut self, tone: Tone, cells: &[&dyn fmt::Display]) -> Result<(), Full> {
        let before = (self.cells.len(), self.text.len());
        let added = self.tones.push(tone).is_ok();
        if added && cells.iter().all(|cell| self.cell(*cell).is_ok()) {
            return Ok(());
        }
        if added {
            self.tones.pop();
        }
        self.cells.truncate(before.0);
        self.text.truncate(before.1);
        Err(Full)
    }

    fn cell(&mut self, cell: &dyn fmt::Display) -> Result<(), Full> {
        let start = self.text.len();
        write!(Cells(&mut self.text), "{cell}").map_err(|_| Full)?;
        let length = u16::try_from(self.text.len() - start).map_err(|_| Full)?;
        self.cells.push((start as u32, length)).map_err(|_| Full)
    }

    /// Writes heading and rows within `width` characters, in colour if asked for, and forgets the rows.
    pub fn print(&mut self, to: &mut dyn Write, columns: &[Column], width: usize, colour: bool) -> fmt::Result {
        let columns = columns.get(..COLUMNS.min(columns.len())).unwrap_or_default();
        let mut widths = self.widths(columns);
        fit(&mut widths, columns, width);
        self.line(to, columns, &widths, width, |column| columns.get(column).map_or("", |column| column.heading))?;
        for (row, tone) in self.tones.iter().enumerate() {
            let paint = match tone {
                Tone::Bad if colour => Some("\x1b[31m"),
                Tone::Dim if colour => Some("\x1b[2m"),
                _ => None,
            };
            to.write_str(paint.unwrap_or_default())?;
            self.line(to, columns, &widths, width, |column| self.get(columns.len(), row, column))?;
            to.write_str(if paint.is_some() { "\x1b[0m" } else { "" })?;
        }
        self.cells.clear();
        self.tones.clear();
        self.text.clear();
        Ok(())
    }

    /// The width of each column: that of its longest cell.
    fn widths(&self, columns: &[Column]) -> Widths {
        let mut widths = [None; COLUMNS];
        for (column, (width, facts)) in widths.iter_mut().zip(columns).enumerate() {
            let cells = (0..self.tones.len()).map(|row| characters(self.get(columns.len(), row, column)));
            *width = Some(cells.max().unwrap_or(0).max(facts.heading.len()));
        }
        widths
    }

    fn get(&self, columns: usize, row: usize, column: usize) -> &str {
        let place = self.cells.get(row.saturating_mul(columns).saturating_add(column));
        let bytes = place.and_then(|&(start, length)| self.text.get(start as usize..)?.get(..usize::from(length)));
        core::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    }

    fn line<'t>(
        &self,
        to: &mut dyn Write,
        columns: &[Column],
        widths: &Widths,
        total: usize,
        cell: impl Fn(usize) -> &'t str,
    ) -> fmt::Result {
        let mut used = 0usize;
        // Blanks are written only before something, so that no line ends with them.
        let mut blanks = 0usize;
        for (column, facts) in columns.iter().enumerate() {
            let Some(&Some(width)) = widths.get(column) else { continue };
            let text = cell(column);
            let room = width.min(total.saturating_sub(used));
            let length = characters(text).min(room);
            let pad = width.saturating_sub(length);
            blanks += if facts.right { pad } else { 0 };
            if length > 0 {
                write!(to, "{:blanks$}", "")?;
                text.chars().take(length).try_for_each(|c| to.write_char(c))?;
                blanks = 0;
            }
            blanks += GAP + if facts.right { 0 } else { pad };
            used = used.saturating_add(width + GAP);
        }
        to.write_char('\n')
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// The width of each column; nothing where it was dropped.
type Widths = [Option<usize>; COLUMNS];

/// Drops columns until the rest fits; the last column left over is cut rather than dropped where it has room for a few
/// characters.
fn fit(widths: &mut Widths, columns: &[Column], total: usize) {
    /// A column that is cut still shows so many characters.
    const LEAST: usize = 12;
    loop {
        let used =
            |widths: &Widths| widths.iter().flatten().map(|width| width + GAP).sum::<usize>().saturating_sub(GAP);
        let over = used(widths).saturating_sub(total);
        if over == 0 {
            return;
        }
        let candidates = columns
            .iter()
            .enumerate()
            .filter(|(column, facts)| facts.drop > 0 && widths.get(*column).is_some_and(Option::is_some));
        let Some((first, facts)) = candidates.max_by_key(|(_, facts)| facts.drop) else { return };
        let Some(width) = widths.get_mut(first) else { return };
        *width = match *width {
            Some(cells) if !facts.right && cells >= over + LEAST.max(facts.heading.len()) => Some(cells - over),
            _ => None,
        };
    }
}

fn characters(text: &str) -> usize {
    text.chars().count()
}

/// Appends text without control characters; an error where there is no room.
struct Cells<'t>(&'t mut heapless::Vec<u8, CELL_BYTES>);

impl Write for Cells<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        struct Raw<'t>(&'t mut heapless::Vec<u8, CELL_BYTES>);
        impl Write for Raw<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.extend_from_slice(text.as_bytes()).map_err(|_| fmt::Error)
            }
        }
        write!(Raw(self.0), "{}", Plain(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { heading: "NAME", drop: 0, right: false },
        Column { heading: "PID", drop: 1, right: true },
        Column { heading: "MEMORY", drop: 2, right: true },
        Column { heading: "DESCRIPTION", drop: 3, right: false },
    ];

    fn printed(width: usize, colour: bool) -> String {
        let mut table = Box::new(Table::new());
        table.row(Tone::Normal, &[&"web", &1234, &"12.3M/64M", &"a web server with\na long description"]).unwrap();
        table.row(Tone::Bad, &[&"störe", &"-", &"-", &""]).unwrap();
        let mut text = String::new();
        table.print(&mut text, &COLUMNS, width, colour).unwrap();
        text
    }

    #[test]
    fn columns_are_lined_up_and_no_line_ends_with_blanks() {
        let expected = "\
NAME    PID     MEMORY  DESCRIPTION
web    1234  12.3M/64M  a web server with?a long description
störe     -          -
";
        assert_eq!(printed(80, false), expected);
    }

    #[test]
    fn what_does_not_fit_is_cut_then_dropped_in_order() {
        assert_eq!(printed(40, false).lines().nth(1), Some("web    1234  12.3M/64M  a web server wit"));
        assert_eq!(printed(30, false).lines().next(), Some("NAME    PID     MEMORY"));
        assert_eq!(printed(20, false).lines().next(), Some("NAME    PID"));
        assert_eq!(printed(8, false).lines().next(), Some("NAME"));
        assert_eq!(printed(3, false), "NAM\nweb\nstö\n");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 1..100 {
            for line in printed(width, false).lines() {
                assert!(characters(line) <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn colour_surrounds_a_whole_line() {
        assert_eq!(printed(20, true).lines().nth(2), Some("\x1b[31mstöre     -"));
        assert!(printed(20, true).ends_with("\x1b[0m"));
    }

    #[test]
    fn a_full_table_says_so_and_keeps_what_it_has() {
        let mut table = Box::new(Table::new());
        let cell = "x".repeat(1000);
        let rows = (0..).take_while(|_| table.row(Tone::Normal, &[&cell, &cell, &cell, &cell]).is_ok()).count();
        assert_eq!(rows, CELL_BYTES / 4000);
        let mut text = String::new();
        table.print(&mut text, &COLUMNS, 80, false).unwrap();
        assert_eq!(text.lines().count(), rows + 1);
        assert!(table.row(Tone::Normal, &[&cell, &cell, &cell, &cell]).is_ok());
    }
}
