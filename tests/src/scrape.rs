//! The agent's metrics, as Prometheus would read them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::PATIENCE;
use crate::agent::Agent;

/// Samples of one scrape, by name and labels: `name{label="value"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape(pub BTreeMap<String, f64>);

/// Where an agent that was started with `--metrics-listen` says that it can be asked.
#[must_use]
#[track_caller]
pub fn address(agent: &Agent) -> SocketAddr {
    let line = agent.child().wait_err("metrics: http://");
    let address = line.strip_prefix("metrics: http://").and_then(|rest| rest.strip_suffix("/metrics")?.parse().ok());
    address.unwrap_or_else(|| panic!("no address in {line}"))
}

/// Asks an agent.
#[must_use]
#[track_caller]
pub fn scrape(address: SocketAddr) -> Scrape {
    let mut stream = TcpStream::connect(address).expect("the agent listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n").expect("the agent reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the agent answers");
    let page = answer.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("HTTP/1.1 200 OK\r\n"));
    let (_, page) = page.unwrap_or_else(|| panic!("no page: {answer}"));
    Scrape::read(page).unwrap_or_else(|why| panic!("{why} in\n{page}"))
}

impl Scrape {
    /// Reads OpenMetrics' text: each sample belongs to the family described last, and comes once.
    pub fn read(page: &str) -> Result<Self, String> {
        let mut samples = BTreeMap::new();
        let mut family = String::new();
        let lines = page.strip_suffix("# EOF\n").ok_or("it does not end")?.lines();
        for line in lines {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                family = described.split(' ').next().unwrap_or_default().to_owned();
            }
            if line.starts_with('#') {
                continue;
            }
            let (name, value) = line.rsplit_once(' ').ok_or_else(|| format!("no sample: {line}"))?;
            if !name.starts_with(&family) {
                return Err(format!("not of the family {family}: {line}"));
            }
            let value = value.parse().map_err(|_| format!("no number: {line}"))?;
            if samples.insert(name.to_owned(), value).is_some() {
                return Err(format!("twice: {line}"));
            }
        }
        Ok(Self(samples))
    }

    /// A sample that must be there.
    #[must_use]
    #[track_caller]
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_else(|| panic!("no {name} in {:#?}", self.0))
    }

    /// The sum of all samples of a name.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.of(name).map(|(_, value)| value).sum()
    }

    /// All samples of a name, with their labels.
    pub fn of(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().filter_map(move |(sample, value)| {
            let labels = sample.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_by_name_and_labels() {
        let page =
            "# HELP a A.\n# TYPE a counter\na_total{b=\"c d\"} 2\na_total{b=\"e\"} 3\n# TYPE f gauge\nf 0.5\n# EOF\n";
        let scrape = Scrape::read(page).expect("a page");
        assert_eq!((scrape.get("a_total{b=\"e\"}"), scrape.sum("a_total"), scrape.get("f")), (3.0, 5.0, 0.5));
        assert!(Scrape::read("# TYPE a gauge\na 1\na 1\n# EOF\n").is_err());
        assert!(Scrape::read("# TYPE a gauge\nb 1\n# EOF\n").is_err());
        assert!(Scrape::read("# TYPE a gauge\na 1\n").is_err());
    }
}
