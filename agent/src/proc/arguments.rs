//! Command lines, and what may be said of them. Pure.
//!
//! A command line often holds secrets, and a process may write into it what it likes. So by default only the program and the
//! names of options are kept: `mysql --user=root -psecret shop` becomes `mysql --user=REDACTED -pREDACTED REDACTED`.

use crate::redact::{self, REDACTED};

/// Bytes read of a command line. The kernel allows 2 MiB; what follows is left out.
pub const MAX_CMDLINE_BYTES: u64 = 16 * 1024;
/// Arguments kept.
pub const MAX_ARGUMENTS: usize = 64;
/// Bytes kept of an argument.
pub const MAX_ARGUMENT_BYTES: usize = 256;
/// Bytes kept of all arguments of a process: of 16 000 processes that mean harm, 32 MiB.
pub const MAX_KEPT_BYTES: usize = 2048;
/// Bytes of the name of an option. A longer one is no name.
const MAX_NAME_BYTES: usize = 48;

/// What is said of command lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arguments {
    /// The program and the names of options.
    #[default]
    Redacted,
    /// Everything.
    All,
    /// Nothing.
    Off,
}

/// Options of one dash that are words, of widely used programs. Of any other, what follows the first letter may be a value
/// (`-psecret`).
const WORDS: &[&str] = &["-jar", "-cp", "-classpath", "-server", "-version", "-config", "-c", "-m"];

impl Arguments {
    /// What may be said of the text of `/proc/PID/cmdline`: arguments that each end with a NUL byte.
    #[must_use]
    pub fn read(self, cmdline: &[u8]) -> Vec<String> {
        if self == Self::Off {
            return Vec::new();
        }
        // Who writes a title over its command line fills the rest with NUL bytes.
        let end = cmdline.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let text = &cmdline[..end];
        if text.is_empty() {
            return Vec::new();
        }
        let mut are_options = true;
        let mut arguments = Vec::new();
        let mut left = MAX_KEPT_BYTES;
        for (at, argument) in text.split(|&byte| byte == 0).take(MAX_ARGUMENTS).enumerate() {
            let argument = String::from_utf8_lossy(argument);
            let shown = match (self, at) {
                (Self::All, _) => argument.into_owned(),
                (_, 0) => program(&argument).to_owned(),
                _ if argument == "--" => {
                    are_options = false;
                    argument.into_owned()
                }
                _ if are_options => option(&argument),
                _ => REDACTED.to_owned(),
            };
            let shown = redact::cut(&shown, MAX_ARGUMENT_BYTES.min(left));
            left -= shown.len();
            arguments.push(shown.to_owned());
            if left == 0 {
                break;
            }
        }
        arguments
    }
}

/// The program. A process that writes a title of its own over its command line (`postgres: user base SELECT`) may put anything
/// behind the first word; paths with spaces in them are cut there, too.
fn program(argument: &str) -> &str {
    argument.split_ascii_whitespace().next().unwrap_or_default()
}

/// An option without its value; a value is left out.
fn option(argument: &str) -> String {
    let (name, has_value) = argument.split_once('=').map_or((argument, false), |(name, _)| (name, true));
    let is_name = |name: &str| {
        name.len() <= MAX_NAME_BYTES
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let value = if has_value { format!("={REDACTED}") } else { String::new() };
    match name.as_bytes() {
        // Java's properties: `-Dname=value`.
        [b'-', b'D', ..] if has_value && is_name(name) => format!("{name}{value}"),
        [b'-', b'-', _, ..] if is_name(name) => format!("{name}{value}"),
        [b'-'] if !has_value => "-".to_owned(),
        [b'-', letter] if letter.is_ascii_alphanumeric() => format!("{name}{value}"),
        [b'-', letter, ..] if letter.is_ascii_alphanumeric() => {
            if WORDS.contains(&name) {
                format!("{name}{value}")
            } else {
                format!("-{}{REDACTED}", char::from(*letter))
            }
        }
        _ => REDACTED.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expect: &str) {
        let cmdline = line.replace(' ', "\0") + "\0";
        assert_eq!(Arguments::Redacted.read(cmdline.as_bytes()).join(" "), expect, "{line}");
    }

    #[test]
    fn names_of_options_stay_and_values_go() {
        check("/usr/bin/curl -s http://u:p@h/ --header X:secret", "/usr/bin/curl -s REDACTED --header REDACTED");
        check("mysql --user=root -psecret shop", "mysql --user=REDACTED -pREDACTED REDACTED");
        check(
            "java -Xmx512m -Dkey=secret -jar shop.jar -- --x",
            "java -XREDACTED -Dkey=REDACTED -jar REDACTED -- REDACTED",
        );
        check("python3 -m http.server 80", "python3 -m REDACTED REDACTED");
        check("tool -u=secret - --a/b --=x -é", "tool -u=REDACTED - REDACTED REDACTED REDACTED");
        check(
            "tool --token:secret --SECRET_VALUE_THAT_IS_LONGER_THAN_ANY_NAME_OF_AN_OPTION_IS",
            "tool REDACTED REDACTED",
        );
    }

    #[test]
    fn a_title_that_a_process_gave_itself_is_cut_at_its_first_word() {
        assert_eq!(Arguments::Redacted.read(b"postgres: alice shop SELECT 'secret'"), ["postgres:"]);
        assert_eq!(Arguments::Redacted.read(b"nginx: worker process\0\0\0\0"), ["nginx:"]);
        assert!(Arguments::Redacted.read(b"").is_empty() && Arguments::Redacted.read(b"\0").is_empty());
    }

    #[test]
    fn everything_or_nothing_can_be_had() {
        let line = b"mysql\0-psecret\0\0shop\0";
        assert_eq!(Arguments::All.read(line), ["mysql", "-psecret", "", "shop"]);
        assert!(Arguments::Off.read(line).is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let many = "x\0".repeat(10_000);
        assert_eq!(Arguments::All.read(many.as_bytes()).len(), MAX_ARGUMENTS);
        let long = Arguments::All.read(&vec![b'x'; MAX_CMDLINE_BYTES as usize]);
        assert_eq!((long.len(), long[0].len()), (1, MAX_ARGUMENT_BYTES));
        let all = Arguments::All.read("0123456789abcdef\0".repeat(MAX_CMDLINE_BYTES as usize / 17).as_bytes());
        assert!(all.iter().map(String::len).sum::<usize>() <= MAX_KEPT_BYTES && all.len() == MAX_ARGUMENTS);
        let long = "x".repeat(1000) + "\0";
        let all = Arguments::All.read(long.repeat(16).as_bytes());
        assert_eq!(all.iter().map(String::len).sum::<usize>(), MAX_KEPT_BYTES);
        let program = Arguments::Redacted.read(&[0xff; 3000]);
        assert!(program[0].len() <= MAX_ARGUMENT_BYTES);
    }

    proptest::proptest! {
        #[test]
        fn no_value_gets_through(flag in "-{0,3}[a-zA-Z]{0,3}[=:]?") {
            let line = format!("program\0{flag}S3CR3T\0{flag}\0S3CR3T/x\0");
            let shown = Arguments::Redacted.read(line.as_bytes());
            // A long option without a value is all name: it can't be told from a secret.
            let is_long_name = flag.starts_with("--") && flag.len() > 2 && !flag.contains([':', '=']) || flag == "--";
            if !is_long_name {
                proptest::prop_assert!(!shown.join(" ").contains("S3CR3T"), "{shown:?}");
            }
        }
    }
}
