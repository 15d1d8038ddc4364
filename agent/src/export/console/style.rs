//! Colours and width.

use std::env;
use std::fmt::{self, Display};
use std::io::{self, IsTerminal};

/// Columns when standard output is not a terminal.
const DEFAULT_COLUMNS: u16 = 120;
/// Narrower than this nothing can be aligned: lines are then longer than the terminal.
const FEWEST_COLUMNS: u16 = 60;

/// How text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether colours may be used.
    pub colour: bool,
    /// Columns of a line.
    pub columns: u16,
}

impl Default for Style {
    fn default() -> Self {
        Self { colour: false, columns: DEFAULT_COLUMNS }
    }
}

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Strong,
    Dim,
    Good,
    Odd,
    Bad,
    Client,
    Server,
}

impl Style {
    /// What standard output can show: colours on a terminal unless `NO_COLOR` is set and not empty
    /// (<https://no-color.org>) or `TERM` is `dumb`; its width.
    #[must_use]
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        let columns = is_terminal
            .then(|| rustix::termios::tcgetwinsize(&stdout).ok())
            .flatten()
            .filter(|size| size.ws_col > 0)
            .map_or(DEFAULT_COLUMNS, |size| size.ws_col.max(FEWEST_COLUMNS));
        Self { colour: is_terminal && !dumb && set("NO_COLOR").is_none(), columns }
    }

    /// Text in its ink, which must be of its final width already.
    pub(super) fn paint<T: Display>(self, ink: Ink, text: T) -> Painted<T> {
        Painted { code: if self.colour { ink.code() } else { "" }, text }
    }
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Odd => "33",
            Self::Bad => "1;31",
            Self::Client => "36",
            Self::Server => "35",
        }
    }
}

/// Text with its colour (ECMA-48 SGR).
pub(super) struct Painted<T> {
    code: &'static str,
    text: T,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code.is_empty() {
            return self.text.fmt(f);
        }
        write!(f, "\x1b[{}m{}\x1b[0m", self.code, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_used_only_where_allowed() {
        let plain = Style::default();
        assert_eq!(plain.paint(Ink::Bad, "500").to_string(), "500");
        let coloured = Style { colour: true, ..plain };
        assert_eq!(coloured.paint(Ink::Bad, "500").to_string(), "\x1b[1;31m500\x1b[0m");
        assert_eq!(coloured.paint(Ink::Plain, "x").to_string(), "x");
    }
}
