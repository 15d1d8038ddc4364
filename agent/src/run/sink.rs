//! Where the loop's records go: through the core to the outputs, or to a file.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter};
use std::mem;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wirespan::config::Options;
use wirespan::export::Outputs;
use wirespan::flow::recording::Writer;
use wirespan::flow::{Cookie, Role};
use wirespan::ledger::Ledger;
use wirespan::metrics::CoreState;
use wirespan::pipeline::{Output, Pipeline};
use wirespan::trace::connection_totals::{Total, Totals};
use wirespan_common::mode::Order;

use super::agent::Sink;
use crate::exit::Failure;

/// Spans are handed to the outputs when there are so many, even within a round: after a burst there may be far more.
const BATCH_SPANS: usize = 512;

/// Rights of a recording: its owner may read and write it.
const PRIVATE: u32 = 0o600;

/// Makes spans and sends them.
pub(crate) struct Spans {
    pipeline: Pipeline,
    output: Output,
    outputs: Outputs,
    /// Whether spans go anywhere but to standard output.
    sends: bool,
    warned: bool,
}

impl Spans {
    /// Spans as `options` say, to the outputs. `sends` says that an OTLP receiver is among these.
    pub(crate) fn new(options: Options, outputs: Outputs, sends: bool, ledger: Arc<Ledger>) -> Self {
        Self { pipeline: Pipeline::new(options, ledger), output: Output::default(), outputs, sends, warned: false }
    }

    /// Ends what is open, and delivers for at most so long. Gives the last report, and how it went.
    pub(crate) fn finish(mut self, within: Duration) -> (String, Result<(), Failure>) {
        self.pipeline.finish(&mut self.output);
        let report = self.report();
        (report, self.deliver(within))
    }

    fn deliver(mut self, within: Duration) -> Result<(), Failure> {
        self.outputs.send(mem::take(&mut self.output.spans));
        let failed = self.outputs.failed();
        match (self.outputs.shutdown(within), failed) {
            (true, _) => Ok(()),
            (false, Some(failed)) => Err(Failure::Output(failed.to_string())),
            (false, None) => {
                Err(Failure::Output("not all spans were delivered: the ledger says how many, and why".to_owned()))
            }
        }
    }
}

impl Sink for Spans {
    fn push(&mut self, record: &[u8]) {
        self.pipeline.push(record, &mut self.output);
        if self.output.spans.len() >= BATCH_SPANS {
            self.outputs.send(mem::take(&mut self.output.spans));
        }
    }

    fn flush(&mut self, steering: &mut Vec<(Cookie, Order)>) {
        self.outputs.send(mem::take(&mut self.output.spans));
        steering.append(&mut self.output.steering);
    }

    fn take_asks(&mut self, asks: &mut Vec<IpAddr>) {
        asks.append(&mut self.output.asks);
    }

    fn take_demands(&mut self, demands: &mut Vec<(u32, bool)>) {
        demands.append(&mut self.output.demands);
    }

    fn report(&self) -> String {
        totals(self.pipeline.connection_totals())
    }

    fn state(&self) -> CoreState {
        let totals = self.pipeline.connection_totals().iter().cloned().collect();
        CoreState { connections: self.pipeline.connections(), addresses: self.pipeline.addresses(), totals }
    }

    fn failure(&mut self) -> Option<Failure> {
        let failed = self.outputs.failed()?;
        if !self.sends {
            return Some(Failure::Output(failed.to_string()));
        }
        if !mem::replace(&mut self.warned, true) {
            tracing::warn!("{failed}; they are still sent to the OTLP receiver");
        }
        None
    }
}

/// Writes everything to a file. The core runs too, because it decides what the kernel copies: the recording holds what
/// `wirespan run` would have been given.
pub(crate) struct Recorder {
    pipeline: Pipeline,
    output: Output,
    writer: Writer<BufWriter<File>>,
    path: PathBuf,
    error: Option<io::Error>,
}

impl Recorder {
    /// Begins a recording in a file that only its owner may read: it holds what was said in the clear.
    pub(crate) fn create(path: &Path, options: Options, ledger: Arc<Ledger>) -> Result<Self, Failure> {
        let writer = open_private(path)
            .and_then(|file| Writer::new(BufWriter::new(file)))
            .map_err(|error| cannot_write(path, &error))?;
        let pipeline = Pipeline::new(options, ledger);
        Ok(Self { pipeline, output: Output::default(), writer, path: path.to_owned(), error: None })
    }

    /// Writes what is still buffered.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.pipeline.finish(&mut self.output);
        let last = self.writer.flush();
        match self.error.map_or(last, Err) {
            Ok(()) => Ok(()),
            Err(error) => Err(cannot_write(&self.path, &error)),
        }
    }

    /// What is written after an error would not be found in its place.
    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }
}

impl Sink for Recorder {
    fn push(&mut self, record: &[u8]) {
        self.pipeline.push(record, &mut self.output);
        self.output.spans.clear();
        if self.error.is_none() {
            let result = self.writer.write(record);
            self.note(result);
        }
    }

    fn flush(&mut self, steering: &mut Vec<(Cookie, Order)>) {
        steering.append(&mut self.output.steering);
        let result = self.writer.flush();
        self.note(result);
    }

    fn take_asks(&mut self, asks: &mut Vec<IpAddr>) {
        asks.append(&mut self.output.asks);
    }

    fn take_demands(&mut self, demands: &mut Vec<(u32, bool)>) {
        demands.append(&mut self.output.demands);
    }

    fn failure(&mut self) -> Option<Failure> {
        self.error.as_ref().map(|error| cannot_write(&self.path, error))
    }
}

/// Opens an empty file that only its owner may read, also if it was there before with other rights. What is no file
/// (a pipe, say) is left as it is.
fn open_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE).open(path)?;
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(PRIVATE))?;
    }
    Ok(file)
}

/// One line for each process and role.
fn totals(totals: &Totals) -> String {
    let line = |total: &Total| {
        let Total { resource, role, opened, closed, failed, sent, received, retransmits } = total;
        let role = match role {
            Some(Role::Client) => "client",
            Some(Role::Server) => "server",
            None => "unknown role",
        };
        format!(
            "connections: {}, {role}: {opened} opened, {closed} closed, {failed} of them failed, {sent} bytes sent, \
             {received} bytes received, {retransmits} segments retransmitted\n",
            resource.service
        )
    };
    totals.iter().map(line).collect()
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Output(format!("cannot write the recording {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wirespan::flow::Nanos;
    use wirespan::flow::fact::Fact;
    use wirespan::flow::record::encode_fact;
    use wirespan::flow::recording::Reader;

    use super::*;

    fn tick(time: u64) -> Vec<u8> {
        let mut record = Vec::new();
        encode_fact(Nanos(time), &Fact::Tick, &mut record);
        record
    }

    #[test]
    fn a_recording_holds_what_came_and_is_for_its_owner_alone() {
        let path = std::env::temp_dir().join(format!("wirespan-sink-{}", std::process::id()));
        fs::write(&path, "what was there before, and readable for all").expect("a temporary file");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is ours");
        let mut recorder = Recorder::create(&path, Options::default(), Arc::default()).expect("it can be written");
        recorder.push(&tick(1));
        recorder.flush(&mut Vec::new());
        recorder.push(&tick(2));
        assert!(recorder.failure().is_none());
        recorder.finish().expect("it can be written");

        let rights = fs::metadata(&path).expect("it exists").permissions().mode() & 0o777;
        let mut reader = Reader::new(File::open(&path).expect("it exists")).expect("a recording");
        fs::remove_file(&path).expect("it is ours");
        assert_eq!(rights, PRIVATE);
        assert_eq!(reader.next_record().expect("whole"), Some(&tick(1)[..]));
        assert_eq!(reader.next_record().expect("whole"), Some(&tick(2)[..]));
        assert_eq!(reader.next_record().expect("whole"), None);
    }

    #[test]
    fn a_full_disk_ends_the_recording_and_names_the_file() {
        let path = Path::new("/dev/full");
        let mut recorder = Recorder::create(path, Options::default(), Arc::default()).expect("it can be opened");
        recorder.push(&tick(1));
        recorder.flush(&mut Vec::new());
        let failure = recorder.failure().expect("it is full").to_string();
        assert!(failure.contains("/dev/full"), "{failure}");
        assert!(matches!(recorder.finish(), Err(Failure::Output(_))));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let path = Path::new("/nowhere/at/all");
        let failure = Recorder::create(path, Options::default(), Arc::default()).err().expect("no such directory");
        assert!(failure.to_string().contains("/nowhere/at/all"), "{failure}");
    }
}
