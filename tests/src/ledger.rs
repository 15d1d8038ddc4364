//! The agent's ledger, read back from what it prints.

use std::collections::BTreeMap;

/// A ledger as printed at exit and on SIGUSR1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Records of the kernel plane.
    pub records: Account,
    /// Spans, by output (`console`, `otlp`).
    pub spans: BTreeMap<String, Account>,
    /// Everything else that was counted.
    pub counts: BTreeMap<String, u64>,
}

/// `observed = delivered + dropped + in flight`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// How many there were.
    pub observed: i64,
    /// How many reached their end.
    pub delivered: i64,
    /// How many were lost.
    pub dropped: i64,
    /// How many are under way.
    pub in_flight: i64,
    /// Losses by `stage, reason`.
    pub losses: BTreeMap<String, i64>,
}

impl Ledger {
    /// How a ledger begins.
    pub const BEGINS: &str = "ledger: records: ";

    /// Reads the ledgers among these lines, oldest first.
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, String> {
        let mut ledgers: Vec<Self> = Vec::new();
        let mut open: Option<String> = None;
        for line in lines {
            let bad = || format!("not a line of a ledger: {line}");
            if let Some(account) = line.strip_prefix(Self::BEGINS) {
                ledgers.push(Self { records: Account::read(account).ok_or_else(bad)?, ..Self::default() });
                open = Some(String::new());
                continue;
            }
            let Some(ledger) = ledgers.last_mut() else { continue };
            if let Some(spans) = line.strip_prefix("ledger: spans to ") {
                let (output, account) = spans.split_once(": ").ok_or_else(bad)?;
                ledger.spans.insert(output.to_owned(), Account::read(account).ok_or_else(bad)?);
                open = Some(output.to_owned());
            } else if let Some(count) = line.strip_prefix("ledger: ") {
                let (name, number) = count.rsplit_once(": ").ok_or_else(bad)?;
                ledger.counts.insert(name.to_owned(), number.parse().map_err(|_| bad())?);
            } else if let (Some(loss), Some(output)) = (line.strip_prefix("    dropped at "), &open) {
                let (why, number) = loss.rsplit_once(": ").ok_or_else(bad)?;
                let account = match output.as_str() {
                    "" => &mut ledger.records,
                    output => ledger.spans.get_mut(output).ok_or_else(bad)?,
                };
                account.losses.insert(why.to_owned(), number.parse().map_err(|_| bad())?);
            }
        }
        Ok(ledgers)
    }

    /// A count, 0 where it is not printed.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Fails unless every account adds up, to the record.
    #[track_caller]
    pub fn balances(&self) {
        for (name, account) in
            std::iter::once(("records", &self.records)).chain(self.spans.iter().map(|(n, a)| (n.as_str(), a)))
        {
            assert_eq!(
                account.observed,
                account.delivered + account.dropped + account.in_flight,
                "the account of {name} does not add up: {account:?}"
            );
            assert!(account.in_flight >= 0, "something was counted twice in {name}: {account:?}");
            assert_eq!(
                account.dropped,
                account.losses.values().sum::<i64>(),
                "losses without a reason in {name}: {account:?}"
            );
        }
    }
}

impl Account {
    fn read(text: &str) -> Option<Self> {
        let (observed, rest) = text.strip_prefix("observed ")?.split_once(" = delivered ")?;
        let (delivered, rest) = rest.split_once(" + dropped ")?;
        let (dropped, in_flight) = rest.split_once(" + in flight ")?;
        Some(Self {
            observed: observed.parse().ok()?,
            delivered: delivered.parse().ok()?,
            dropped: dropped.parse().ok()?,
            in_flight: in_flight.trim_end().parse().ok()?,
            losses: BTreeMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "ready: all\n\
        ledger: records: observed 9 = delivered 6 + dropped 2 + in flight 1\n    dropped at kernel, ring_full: 2\n\
        ledger: spans to console: observed 1 = delivered 1 + dropped 0 + in flight 0\nledger: garbage: 3\n";

    #[test]
    fn a_printed_ledger_is_read_back() {
        let ledger = Ledger::read(PRINTED.lines()).expect("a ledger").remove(0);
        ledger.balances();
        assert_eq!(ledger.records.losses["kernel, ring_full"], 2);
        assert_eq!((ledger.spans["console"].delivered, ledger.count("garbage"), ledger.count("holes")), (1, 3, 0));
    }

    #[test]
    #[should_panic(expected = "does not add up")]
    fn a_ledger_that_does_not_add_up_is_found_out() {
        let ledgers =
            Ledger::read(["ledger: records: observed 9 = delivered 6 + dropped 0 + in flight 1"]).expect("a ledger");
        ledgers[0].balances();
    }
}
