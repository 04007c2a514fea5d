//! Standard output: data and nothing else.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

use crate::failure::Stop;

/// Paths, and what else is to be found first.
pub(crate) const KEY: Style = AnsiColor::Green.on_default();
/// What matters less than the rest of its line.
pub(crate) const DIM: Style = Style::new().dimmed();
/// What was looked for, and headings.
pub(crate) const STRONG: Style = Style::new().bold();
/// Something is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Something wants attention.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// The way out.
pub(crate) const HINT: Style = AnsiColor::Cyan.on_default();

/// Columns of a terminal that does not say how many it has.
const USUAL_WIDTH: u16 = 80;

/// Standard output.
pub(crate) struct Out {
    stream: BufWriter<AutoStream<StdoutLock<'static>>>,
    /// Whether people read it or programs.
    pub(crate) json: bool,
    width: Option<u16>,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let width = stdout.is_terminal().then(|| columns(&stdout));
        // JSON passes as it is: it holds no escapes that would have to be taken out.
        let choice = if json { ColorChoice::AlwaysAnsi } else { AutoStream::choice(&stdout) };
        Self { stream: BufWriter::new(AutoStream::new(stdout.lock(), choice)), json, width }
    }

    /// Prints a line of text. What comes from files has been made fit for a terminal before.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), Stop> {
        writeln!(self.stream, "{line}").map_err(|e| Stop::of_output(&e))
    }

    /// Prints an object on a line of its own.
    pub(crate) fn object(&mut self, object: &impl Serialize) -> Result<(), Stop> {
        let mut line = Vec::new();
        write_json(&mut line, object);
        self.bytes(&line)
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.stream.write_all(bytes).map_err(|e| Stop::of_output(&e))
    }

    /// Prints a table, as wide as the terminal at most.
    pub(crate) fn table(
        &mut self,
        header: &[&str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Result<(), Stop> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(header.iter().copied());
        for row in rows {
            table.add_row(row);
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((if index == 0 { 0 } else { 1 }, 1));
        }
        if let Some(width) = self.width {
            fit(&mut table, width);
        }
        let lines: Vec<String> = table.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let line = line.trim_end();
            match index {
                0 => self.line(format_args!("{STRONG}{line}{STRONG:#}"))?,
                _ => self.line(line)?,
            }
        }
        Ok(())
    }

    /// Prints names and values, the values below each other.
    pub(crate) fn pairs(&mut self, pairs: &[(&str, String)]) -> Result<(), Stop> {
        let wide = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in pairs {
            self.line(format_args!("{DIM}{name:wide$}{DIM:#}  {value}"))?;
        }
        Ok(())
    }

    /// Hands over what was printed so far.
    pub(crate) fn flush(&mut self) -> Result<(), Stop> {
        self.stream.flush().map_err(|e| Stop::of_output(&e))
    }
}

/// Appends `value` as JSON and a line feed. What a terminal would obey, or what hides text on it, is escaped.
pub(crate) fn write_json(to: &mut Vec<u8>, value: &impl Serialize) {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *to, Safe(CompactFormatter));
    // Plain data with text keys into memory: neither can fail.
    value.serialize(&mut serializer).expect("plain data with text keys");
    to.push(b'\n');
}

/// Compact JSON that can be shown on a terminal.
struct Safe(CompactFormatter);

impl Formatter for Safe {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        self.0.write_string_fragment(writer, &escaped(fragment))
    }
}

fn escaped(text: &str) -> Cow<'_, str> {
    let unsafe_char = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(unsafe_char) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match unsafe_char(c) {
            // All of them lie in the basic plane, so that four digits say them.
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Breaks the lines of the last column where the others leave room for it. Ids and times are never broken: where
/// there is no room the terminal wraps whole lines.
fn fit(table: &mut Table, width: u16) {
    const LEAST: u16 = 16;
    const PADDING: u16 = 2;
    let widths = table.column_max_content_widths();
    let Some((_, others)) = widths.split_last() else { return };
    let taken = others.iter().fold(PADDING, |sum, width| sum.saturating_add(*width).saturating_add(PADDING));
    if taken.saturating_add(LEAST) > width {
        return;
    }
    let count = others.len();
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    for column in table.column_iter_mut().take(count) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

fn columns(terminal: &impl std::os::fd::AsFd) -> u16 {
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 => size.ws_col,
        _ => USUAL_WIDTH,
    }
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes as people say it.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let check = |text: &str, json: &str| {
            let mut out = Vec::new();
            write_json(&mut out, &text);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), format!("\"{json}\"\n"));
            assert_eq!(serde_json::from_str::<String>(&format!("\"{json}\"")).expect("JSON"), text);
        };
        check("plain \u{e9}", "plain \u{e9}");
        check("a\u{1b}[31m\n", "a\\u001b[31m\\n");
        check("\u{9b}31m\u{7f}", "\\u009b31m\\u007f");
        check("\u{202e}txt.exe\u{feff}", "\\u202etxt.exe\\ufeff");
    }

    #[test]
    fn thousands_stand_apart() {
        let check = |number: u64, text: &str| assert_eq!(grouped(number), text);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(1_234_567, "1,234,567");
    }
}
