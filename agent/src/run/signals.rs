//! Signals, as flags that the loop looks at.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// What a shell shows for a program that SIGINT ended: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// What was asked for by signals.
#[derive(Debug)]
pub(crate) struct Signals {
    end: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// Takes over SIGINT, SIGTERM, SIGUSR1 and SIGHUP.
    ///
    /// A second SIGINT ends the program at once. The kernel detaches the probes then, too.
    pub(crate) fn take_over() -> io::Result<Self> {
        let signals = Self { end: Arc::default(), report: Arc::default(), reload: Arc::default() };
        flag::register_conditional_shutdown(SIGINT, INTERRUPTED, Arc::clone(&signals.end))?;
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, Arc::clone(&signals.end))?;
        }
        flag::register(SIGUSR1, Arc::clone(&signals.report))?;
        flag::register(SIGHUP, Arc::clone(&signals.reload))?;
        Ok(signals)
    }

    /// Whether the program is to end.
    pub(crate) fn end(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    /// Whether a report was asked for since the last time that this was asked.
    pub(crate) fn take_report(&self) -> bool {
        self.report.swap(false, Ordering::Relaxed)
    }

    /// Whether the configuration was asked to be read anew since the last time that this was asked.
    pub(crate) fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_raises_its_flag_once() {
        let signals = Signals::take_over().expect("signals can be taken over");
        assert!(!signals.take_report());
        signal_hook::low_level::raise(SIGUSR1).expect("we may signal ourselves");
        assert!(signals.take_report());
        assert!(!signals.take_report());
        signal_hook::low_level::raise(SIGHUP).expect("we may signal ourselves");
        assert!(signals.take_reload());
        assert!(!signals.take_reload());
        assert!(!signals.end());
    }
}
