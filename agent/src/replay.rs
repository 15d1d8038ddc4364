//! `wirespan replay`: the spans of a recording.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::mem;
use std::sync::Arc;

use wirespan::config::Options;
use wirespan::export::ConsoleFormat;
use wirespan::export::console::{Style, print_all};
use wirespan::flow::recording::Reader;
use wirespan::ledger::{Ledger, Reason, Stage};
use wirespan::pipeline::{Output, Pipeline};
use wirespan::trace::span::Span;
use wirespan_common::record::{Header, kind};
use zerocopy::FromBytes;

use crate::cli::{Format, ReplayArgs};
use crate::exit::Failure;
use crate::notice::say;
use crate::settings::semconv_opt_in;

/// JSON is printed whenever there are so many spans, so that a long recording needs no more memory than a short one.
/// Where a line ends depends on it: one number, so that it is the same everywhere.
const BATCH_SPANS: usize = 512;

/// Prints the spans of a recording to standard output.
pub(crate) fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let path = args.file.display();
    let file =
        File::open(&args.file).map_err(|error| Failure::Other(format!("cannot open the recording {path}: {error}")))?;
    let ledger = Arc::new(Ledger::default());
    let options = args.core.options(semconv_opt_in().as_deref());
    let done = spans(BufReader::new(file), options, args.format, Style::of_stdout(), &ledger, &mut io::stdout().lock());
    say(&ledger);
    done.map_err(|failure| match failure {
        Failure::Other(what) => Failure::Other(format!("{path}: {what}")),
        other => other,
    })
}

/// Makes and prints the spans. What was read before an error is printed.
fn spans(
    file: impl Read,
    options: Options,
    format: Format,
    style: Style,
    ledger: &Arc<Ledger>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let unreadable = |error: wirespan::flow::recording::Unreadable| Failure::Other(error.to_string());
    let mut reader = Reader::new(file).map_err(unreadable)?;
    let mut pipeline = Pipeline::new(options, Arc::clone(ledger));
    let mut output = Output::default();
    let mut print = |spans: Vec<Span>| {
        let format = match format {
            Format::Text => ConsoleFormat::Text,
            Format::Json => ConsoleFormat::Json,
            Format::None => return Ok(()),
        };
        let count = spans.len() as u64;
        ledger.console.observe(count);
        match print_all(format, style, &spans, out) {
            Ok(()) => {
                ledger.console.deliver(count);
                Ok(())
            }
            Err(error) => {
                // Some may have been printed; which ones can't be told.
                ledger.console.lose(Stage::Export, Reason::Closed, count);
                Err(Failure::Output(format!("standard output failed ({error}): not all spans are printed")))
            }
        }
    };
    let read = loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                if Header::read_from_prefix(record).is_ok_and(|(header, _)| header.kind < kind::FIRST_FACT) {
                    ledger.records.observe(1);
                }
                pipeline.push(record, &mut output);
                // There is no kernel to tell.
                output.steering.clear();
                // What was found out about addresses is in the recording.
                output.asks.clear();
                // A waterfall is made of all spans of its trace, so they are kept to the end.
                if format != Format::Text && output.spans.len() >= BATCH_SPANS {
                    print(mem::take(&mut output.spans))?;
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(unreadable(error)),
        }
    };
    pipeline.finish(&mut output);
    print(output.spans)?;
    read
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
