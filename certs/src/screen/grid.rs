//! One screen of a terminal: rows of cells, a cursor and a scroll region. Not here: what an escape sequence means (`lines`).

use super::leaving::Leaving;
use crate::limits::{SCREEN_MARKS_MAX, SCREEN_STOOD_MS};
use std::{collections::VecDeque, ops::Range};

/// The right half of a wide character.
const HALF: char = '\0';

/// One place of a row.
#[derive(Debug, Clone)]
struct Cell {
    /// What stands there; a space where nothing was written.
    base: char,
    /// What has no width of its own and was written after it.
    marks: Vec<char>,
}

const BLANK: Cell = Cell { base: ' ', marks: Vec::new() };

/// One row.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    /// Cells up to the last that was written.
    cells: Vec<Cell>,
    /// The text goes on in the next row because it did not fit.
    pub(super) wrapped: bool,
    /// When something was last written here, in milliseconds since the session's start.
    pub(super) touched_ms: u64,
}

impl Row {
    /// Tells what it shows, character by character.
    pub(super) fn each_char(&self, mut tell: impl FnMut(char)) {
        for cell in &self.cells {
            if cell.base != HALF {
                tell(cell.base);
            }
            cell.marks.iter().copied().for_each(&mut tell);
        }
    }

    /// Writes plain letters, a column each, from `x` on, where nothing stands yet.
    fn append(&mut self, x: usize, plain: &str, now_ms: u64) {
        self.cells.resize(x, BLANK);
        self.cells.extend(plain.chars().map(|base| Cell { base, marks: Vec::new() }));
        self.touched_ms = now_ms;
    }

    /// An empty row in the place of this one, for the next that is written.
    fn wipe(&mut self) {
        self.cells.clear();
        (self.wrapped, self.touched_ms) = (false, 0);
    }

    fn is_blank(&self) -> bool {
        self.cells.iter().all(|cell| cell.base == ' ' && cell.marks.is_empty())
    }

    /// Says what stood here if it could be read, before `cells` of it become something else.
    fn changes(&mut self, cells: Range<usize>, now_ms: u64, out: &mut Leaving) {
        let changed = self.cells.get(cells.start..cells.end.min(self.cells.len())).unwrap_or_default();
        let lost = changed.iter().any(|cell| cell.base != ' ' || !cell.marks.is_empty());
        if lost && now_ms.saturating_sub(self.touched_ms) >= SCREEN_STOOD_MS {
            out.as_it_stood(self);
        }
        self.touched_ms = now_ms;
    }

    /// Makes one cell something else; half of a wide character does not stay.
    fn set(&mut self, x: usize, cell: Cell) {
        if self.cells.len() <= x {
            self.cells.resize(x + 1, BLANK);
        }
        if self.cells.get(x).is_some_and(|old| old.base == HALF)
            && cell.base != HALF
            && let Some(left) = x.checked_sub(1).and_then(|left| self.cells.get_mut(left))
        {
            *left = BLANK;
        }
        if let Some(right) = self.cells.get_mut(x + 1)
            && right.base == HALF
        {
            *right = BLANK;
        }
        if let Some(old) = self.cells.get_mut(x) {
            *old = cell;
        }
    }

    /// Blanks cells; what is blank to the end is not kept.
    fn erase(&mut self, cells: Range<usize>, now_ms: u64, out: &mut Leaving) {
        self.changes(cells.clone(), now_ms, out);
        if cells.end >= self.cells.len() {
            self.wrapped = false;
        }
        for x in cells.start..cells.end.min(self.cells.len()) {
            self.set(x, BLANK);
        }
        while self.cells.last().is_some_and(|cell| cell.base == ' ' && cell.marks.is_empty()) {
            self.cells.pop();
        }
    }
}

/// One screen.
#[derive(Debug)]
pub(super) struct Grid {
    /// Its rows, from the top.
    rows: VecDeque<Row>,
    /// Columns.
    cols: usize,
    /// The cursor's column, below `cols`.
    pub(super) x: usize,
    /// The cursor's row, below the number of rows.
    pub(super) y: usize,
    /// The last column is written: the next character goes to the next row.
    wrap_next: bool,
    /// The rows that scroll.
    region: Range<usize>,
    /// Where the cursor was saved.
    saved: (usize, usize),
    /// Rows are counted from the top of the region.
    pub(super) origin: bool,
}

impl Grid {
    /// An empty screen.
    pub(super) fn new(cols: usize, rows: usize) -> Self {
        let empty = std::iter::repeat_with(Row::default).take(rows).collect();
        Self { rows: empty, cols, x: 0, y: 0, wrap_next: false, region: 0..rows, saved: (0, 0), origin: false }
    }

    /// Writes one character of one or two columns, or a mark onto the one before it.
    pub(super) fn put(&mut self, c: char, width: usize, wraps: bool, now_ms: u64, out: &mut Leaving) {
        if width == 0 {
            self.mark(c, now_ms);
            return;
        }
        if self.wrap_next || self.x + width > self.cols {
            if wraps {
                if let Some(row) = self.rows.get_mut(self.y) {
                    row.wrapped = true;
                }
                self.x = 0;
                self.wrap_next = false;
                self.line_feed(out);
            } else {
                self.x = self.cols.saturating_sub(width);
            }
        }
        let (x, end) = (self.x, self.x + width);
        if let Some(row) = self.rows.get_mut(self.y) {
            let same = row.cells.get(x).is_some_and(|cell| cell.base == c && cell.marks.is_empty());
            if !same {
                row.changes(x..end, now_ms, out);
            }
            row.set(x, Cell { base: c, marks: Vec::new() });
            if width == 2 {
                row.set(x + 1, Cell { base: HALF, marks: Vec::new() });
            }
            if end == self.cols {
                row.wrapped = false;
            }
        }
        self.wrap_next = end >= self.cols;
        self.x = if self.wrap_next { self.cols.saturating_sub(1) } else { end };
    }

    /// [`Grid::put`] for printable ASCII: a piece at a time where nothing stands yet, as almost all output comes.
    pub(super) fn put_plain(&mut self, plain: &str, wraps: bool, now_ms: u64, out: &mut Leaving) {
        let mut rest = plain;
        while let Some(first) = rest.chars().next() {
            let room = if self.wrap_next { 0 } else { self.cols.saturating_sub(self.x) };
            let piece = match self.rows.get_mut(self.y) {
                Some(row) if room > 0 && row.cells.len() <= self.x => {
                    let (piece, _) = rest.split_at(rest.len().min(room));
                    row.append(self.x, piece, now_ms);
                    self.x += piece.len();
                    if self.x == self.cols {
                        row.wrapped = false;
                        self.wrap_next = true;
                        self.x = self.cols.saturating_sub(1);
                    }
                    piece.len()
                }
                _ => {
                    self.put(first, 1, wraps, now_ms, out);
                    1
                }
            };
            rest = rest.get(piece..).unwrap_or_default();
        }
    }

    fn mark(&mut self, c: char, now_ms: u64) {
        let last = if self.wrap_next { self.x } else { self.x.saturating_sub(1) };
        let Some(row) = self.rows.get_mut(self.y) else { return };
        if row.cells.len() <= last {
            row.cells.resize(last + 1, BLANK);
        }
        if let Some(cell) = row.cells.get_mut(last)
            && cell.marks.len() < SCREEN_MARKS_MAX
        {
            cell.marks.push(c);
            row.touched_ms = now_ms;
        }
    }

    /// Puts the cursor somewhere, counted from 0; beyond the edge is the edge.
    pub(super) fn go(&mut self, x: usize, y: usize) {
        self.wrap_next = false;
        self.x = x.min(self.cols.saturating_sub(1));
        self.y = y.min(self.rows.len().saturating_sub(1));
    }

    /// Puts the cursor on a row as a program counts it: from the top of the region with `origin`.
    pub(super) fn go_row(&mut self, x: usize, y: usize) {
        let y =
            if self.origin { (self.region.start.saturating_add(y)).min(self.region.end.saturating_sub(1)) } else { y };
        self.go(x, y);
    }

    /// Moves the cursor by so many rows, not out of the region it is in.
    pub(super) fn climb(&mut self, rows: usize, down: bool) {
        let y = if down {
            let floor = if self.y < self.region.end { self.region.end } else { self.rows.len() };
            self.y.saturating_add(rows).min(floor.saturating_sub(1))
        } else {
            let ceiling = if self.y >= self.region.start { self.region.start } else { 0 };
            self.y.saturating_sub(rows).max(ceiling)
        };
        self.go(self.x, y);
    }

    /// One row down; at the end of the region everything in it moves up.
    pub(super) fn line_feed(&mut self, out: &mut Leaving) {
        self.wrap_next = false;
        if self.y + 1 == self.region.end {
            self.scroll_up(self.region.start, 1, out);
        } else if self.y + 1 < self.rows.len() {
            self.y += 1;
        }
    }

    /// One row up; at the beginning of the region everything in it moves down.
    pub(super) fn reverse_feed(&mut self, out: &mut Leaving) {
        self.wrap_next = false;
        if self.y == self.region.start {
            self.scroll_down(self.y, 1, out);
        } else {
            self.y = self.y.saturating_sub(1);
        }
    }

    /// Rows of the region from `top` on move up by `count`: the first of them leave.
    pub(super) fn scroll_up(&mut self, top: usize, count: usize, out: &mut Leaving) {
        if !self.region.contains(&top) {
            return;
        }
        if top != 0 {
            out.end();
        }
        for _ in 0..count.min(self.region.end - top) {
            let mut row = self.rows.remove(top).unwrap_or_default();
            out.row(&row);
            row.wipe();
            self.rows.insert(self.region.end - 1, row);
        }
    }

    /// Rows of the region from `top` on move down by `count`: the last of them leave.
    pub(super) fn scroll_down(&mut self, top: usize, count: usize, out: &mut Leaving) {
        if !self.region.contains(&top) {
            return;
        }
        out.end();
        for _ in 0..count.min(self.region.end - top) {
            if let Some(row) = self.rows.remove(self.region.end - 1) {
                out.row(&row);
                out.end();
            }
            self.rows.insert(top, Row::default());
        }
    }

    /// Scrolls the whole region.
    pub(super) fn scroll(&mut self, count: usize, up: bool, out: &mut Leaving) {
        if up {
            self.scroll_up(self.region.start, count, out);
        } else {
            self.scroll_down(self.region.start, count, out);
        }
    }

    /// Says which rows scroll, counted from 0; fewer than two are all.
    pub(super) fn confine(&mut self, rows: Range<usize>) {
        let end = rows.end.min(self.rows.len());
        self.region = if rows.start + 1 < end { rows.start..end } else { 0..self.rows.len() };
        self.go_row(0, 0);
    }

    /// Erases cells of the cursor's row.
    pub(super) fn erase(&mut self, cells: Range<usize>, now_ms: u64, out: &mut Leaving) {
        self.wrap_next = false;
        if let Some(row) = self.rows.get_mut(self.y) {
            row.erase(cells, now_ms, out);
        }
    }

    /// Erases whole rows: what stood in them is a line each.
    pub(super) fn clear(&mut self, rows: Range<usize>, out: &mut Leaving) {
        if rows.start != 0 {
            out.end();
        }
        for row in self.rows.range_mut(rows.start..rows.end.min(self.rows.len()).max(rows.start)) {
            let old = std::mem::take(row);
            if !old.is_blank() {
                out.row(&old);
            }
        }
        out.end();
    }

    /// Erases all rows.
    pub(super) fn clear_all(&mut self, out: &mut Leaving) {
        self.clear(0..self.rows.len(), out);
    }

    /// How many rows there are.
    pub(super) fn height(&self) -> usize {
        self.rows.len()
    }

    /// Makes room at the cursor (`opens`), or takes cells away there: the rest of the row moves.
    pub(super) fn shift(&mut self, count: usize, opens: bool, now_ms: u64, out: &mut Leaving) {
        self.wrap_next = false;
        let (x, cols) = (self.x, self.cols);
        let Some(row) = self.rows.get_mut(self.y) else { return };
        if x >= row.cells.len() {
            return;
        }
        let count = count.min(cols.saturating_sub(x));
        if opens {
            row.changes(cols.saturating_sub(count)..usize::MAX, now_ms, out);
            row.cells.splice(x..x, std::iter::repeat_n(BLANK, count));
            row.cells.truncate(cols);
        } else {
            let end = (x + count).min(row.cells.len());
            row.changes(x..end, now_ms, out);
            row.cells.drain(x..end);
        }
        row.wrapped = false;
    }

    /// Keeps the cursor's place.
    pub(super) fn save(&mut self) {
        self.saved = (self.x, self.y);
    }

    /// Goes back to the place that was kept.
    pub(super) fn restore(&mut self) {
        let (x, y) = self.saved;
        self.go(x, y);
    }

    /// Another size: nothing is wrapped anew; rows that do not fit leave at the top, unless there are empty ones below.
    pub(super) fn resize(&mut self, cols: usize, rows: usize, out: &mut Leaving) {
        while self.rows.len() > rows {
            let empty_below = self.y + 1 < self.rows.len() && self.rows.back().is_some_and(Row::is_blank);
            if empty_below {
                self.rows.pop_back();
            } else if let Some(row) = self.rows.pop_front() {
                out.row(&row);
                self.y = self.y.saturating_sub(1);
            }
        }
        self.rows.resize_with(rows, Row::default);
        self.cols = cols;
        self.region = 0..rows;
        self.go(self.x, self.y);
    }
}
