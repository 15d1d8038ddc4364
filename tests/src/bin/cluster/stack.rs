//! What every check has: the cluster, Bookinfo, the Collector and Tempo, and the agent that sees them.

use std::net::SocketAddr;
use std::time::Instant;

use wirespan_tests::scrape::{Scrape, scrape};

use crate::bed::{Bed, Pod};
use crate::spans::Spans;

/// The agent's namespace and the name of its release.
pub(crate) const AGENT: &str = "wirespan";

/// The labels of the agent's pods.
pub(crate) const AGENT_LABELS: &str = "app.kubernetes.io/name=wirespan";

/// Namespace of the Collector and of Tempo.
pub(crate) const BACKENDS: &str = "observability";

/// Namespace of the Bookinfo application.
pub(crate) const BOOKINFO: &str = "bookinfo";

/// Where an agent can be asked, as the chart has it.
const METRICS_PORT: u16 = 9464;

/// All of it.
pub(crate) struct Stack {
    /// The cluster.
    pub(crate) bed: Bed,
    /// What the Collector got.
    pub(crate) spans: Spans,
    page: SocketAddr,
}

impl Stack {
    /// Starts what does not run, the agent last: its first spans are of what it found.
    #[track_caller]
    pub(crate) fn start(bed: Bed) -> Self {
        let folder = bed.run.join("spans");
        // The tests' files are in the program, so that it can be carried to another machine.
        let backends = include_str!("../../../cluster/backends.yaml");
        said("the Collector and Tempo", || {
            bed.apply(&backends.replace("SPANS_FOLDER", &folder.display().to_string()));
            bed.wait_ready(BACKENDS, "app in (collector, tempo)");
        });
        // A Collector that starts empties it.
        let spans = Spans::new(folder.join("spans.json"));
        said("Bookinfo", || {
            bed.apply(include_str!("../../../cluster/bookinfo.yaml"));
            bed.wait_ready(BOOKINFO, "app in (productpage, details, reviews, ratings)");
        });
        let page = format!("{}:9080", bed.service_address(BOOKINFO, "productpage"));
        let stack = Self { bed, spans, page: page.parse().expect("an address") };
        said("the agent", || {
            // One that an interrupted run has left may be of another image.
            stack.bed.uninstall(AGENT);
            stack.install_agent(&[]);
        });
        stack
    }

    /// The agent's pod.
    #[track_caller]
    pub(crate) fn agent(&self) -> Pod {
        self.bed.wait_ready(AGENT, AGENT_LABELS).remove(0)
    }

    /// Where Bookinfo's front page is dialled.
    pub(crate) fn page(&self) -> SocketAddr {
        self.page
    }

    /// Installs it, or changes it to the suite's values and these.
    #[track_caller]
    pub(crate) fn install_agent(&self, set: &[&str]) {
        self.bed.install(AGENT, include_str!("../../../cluster/values.yaml"), set);
        self.agent();
    }

    /// What an agent says of itself.
    #[track_caller]
    pub(crate) fn metrics(&self, agent: &Pod) -> Scrape {
        scrape(SocketAddr::new(agent.address().parse().expect("it has an address"), METRICS_PORT))
    }

    /// Removes the agent: what it costs is spent only while the suite runs.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.bed.uninstall(AGENT);
    }
}

#[track_caller]
fn said(what: &str, starts: impl FnOnce()) {
    let begin = Instant::now();
    starts();
    eprintln!("  is up  {:>6.1} s  {what}", begin.elapsed().as_secs_f64());
}
