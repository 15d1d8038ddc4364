//! What links inside processes cost user space per request: recordings of real applications, with and without them.
//! `cargo bench -p wirespan --bench links`; needs no rights and no kernel programs.
//!
//! The recordings are those that the accuracy of links is tested with (`tests/replay`): the agent traces the application, whose
//! requests make four calls each (those of proxies one), with up to 64 in flight.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use flate2::read::GzDecoder;
use wirespan::config::Options;
use wirespan::flow::recording::Reader;
use wirespan::ledger::Ledger;
use wirespan::pipeline::{Output, Pipeline};
use wirespan::trace::span::Kind;

const RECORDINGS: [&str; 14] = [
    "nginx-pool0",
    "c-threads-pool8",
    "go-pool8",
    "c-epoll-pool0",
    "c-epoll-pool8",
    "node-pool0",
    "node-pool8",
    "python-asyncio-pool8",
    "python-threads-pool0",
    "tokio-pool8",
    "java-pool-pool8",
    "java-virtual-pool8",
    "java-netty-pool8",
    "puma-pool8",
];

fn main() {
    divan::main();
}

/// Requests and their calls are linked.
#[divan::bench(args = RECORDINGS)]
fn linked(bencher: Bencher<'_, '_>, name: &str) {
    bench(bencher, name, true);
}

/// They are not.
#[divan::bench(args = RECORDINGS)]
fn unlinked(bencher: Bencher<'_, '_>, name: &str) {
    bench(bencher, name, false);
}

fn bench(bencher: Bencher<'_, '_>, name: &str, links: bool) {
    let records = records(name);
    let requests = spans(&records, links);
    bencher.counter(ItemsCount::new(requests)).bench_local(|| spans(divan::black_box(&records), links));
}

/// Makes the spans of a recording, and counts those of requests that were answered.
fn spans(records: &[Vec<u8>], links: bool) -> usize {
    let options = Options { links, ..Options::default() };
    let mut pipeline = Pipeline::new(options, Arc::new(Ledger::default()));
    let (mut output, mut requests) = (Output::default(), 0);
    let mut count = |output: &mut Output| {
        requests += output.spans.drain(..).filter(|span| span.kind == Kind::Server).count();
        output.steering.clear();
        output.asks.clear();
        output.demands.clear();
    };
    for record in records {
        pipeline.push(record, &mut output);
        count(&mut output);
    }
    pipeline.finish(&mut output);
    count(&mut output);
    requests
}

fn records(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/replay/{name}.wspan.gz"));
    let read = || {
        let mut plain = Vec::new();
        GzDecoder::new(BufReader::new(File::open(&path)?)).read_to_end(&mut plain)?;
        Ok::<_, std::io::Error>(plain)
    };
    let plain = read().expect("a recording of tests/replay");
    let mut reader = Reader::new(&plain[..]).expect("a recording");
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().expect("a whole recording") {
        records.push(record.to_vec());
    }
    records
}
