//! How the program ends: exit codes, and the failures that lead to them.

use std::process::ExitCode;

/// Something else failed, such as reading a recording; `check` says by it that something is missing here.
pub(crate) const FAILED: u8 = 1;
/// The command line was not understood. The parser of the command line ends the program with it.
pub(crate) const USAGE: u8 = 2;
/// This machine can't be traced: no permission, or the kernel lacks what is needed.
pub(crate) const CANNOT_TRACE: u8 = 3;
/// Spans or records could not be written.
pub(crate) const OUTPUT_FAILED: u8 = 4;

/// What ended a command before its time. The message is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// This machine can't be traced.
    #[error("{0}")]
    CannotTrace(String),
    /// Spans or records could not be written.
    #[error("{0}")]
    Output(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<&Failure> for ExitCode {
    fn from(failure: &Failure) -> Self {
        Self::from(match failure {
            Failure::Usage(_) => USAGE,
            Failure::CannotTrace(_) => CANNOT_TRACE,
            Failure::Output(_) => OUTPUT_FAILED,
            Failure::Other(_) => FAILED,
        })
    }
}
