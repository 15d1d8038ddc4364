//! What the agent says to whoever started it.

use std::io::Write;

/// Says something that is asked for on standard error, whatever is logged. Nobody may be there to hear it.
pub(crate) fn say(what: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{}", what.to_string().trim_end());
}
