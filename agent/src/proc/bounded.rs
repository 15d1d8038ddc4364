//! Looking at a process without being held up by it.
//!
//! A process can keep its memory map locked for as long as it likes: it need only wait, with the lock held, for a file system
//! of its own (FUSE) that never answers. Whoever reads its environment then waits with it, as `ps` does. So a thread of its
//! own looks, and is left behind if it does not come back.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::describe::Lookup;
use crate::flow::fact::Process;

/// A look takes 0.1 ms, and some tens of milliseconds where all CPUs are busy. After so long it is not waited for any more;
/// what the kernel says meanwhile is taken over by another thread.
const LOOK: Duration = Duration::from_millis(250);
/// After a look that was not waited for, no other is begun for so long, so that at most a fortieth of the time is spent on
/// waiting.
const PAUSE: Duration = Duration::from_secs(10);
/// Threads that look, those left behind included. Each takes a few KiB while it waits.
const MAX_LOOKERS: usize = 4;

const THREAD: &str = "look";

/// Looks in full on another thread, and briefly, at what no process can lock, where that takes too long.
#[derive(Debug)]
pub struct Bounded<F, B> {
    full: F,
    brief: B,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    looker: Option<Looker>,
    /// No look in full before this.
    not_before: Option<Instant>,
    /// Each living looker holds one.
    alive: Arc<()>,
}

/// A thread that looks, as seen from outside.
#[derive(Debug)]
struct Looker {
    orders: SyncSender<u32>,
    answers: Receiver<Option<Process>>,
}

impl<F, B> Bounded<F, B> {
    /// Looks by `full` while that is quick, else by `brief`.
    pub fn new(full: F, brief: B) -> Self {
        Self { full, brief, state: RefCell::default() }
    }
}

impl<F: Lookup + Clone + Send + 'static, B: Lookup> Lookup for Bounded<F, B> {
    fn look_up(&self, tgid: u32) -> Option<Process> {
        let mut state = self.state.borrow_mut();
        state.ask(&self.full, tgid).unwrap_or_else(|| self.brief.look_up(tgid))
    }
}

impl State {
    /// What a look in full gave; `None` if there was none.
    fn ask<F: Lookup + Clone + Send + 'static>(&mut self, full: &F, tgid: u32) -> Option<Option<Process>> {
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return None;
        }
        let looker = match self.looker.take() {
            Some(looker) => looker,
            // One is held by us.
            None if Arc::strong_count(&self.alive) > MAX_LOOKERS => return None,
            None => match Looker::start(full.clone(), Arc::clone(&self.alive)) {
                Ok(looker) => looker,
                Err(error) => {
                    tracing::warn!(
                        "no thread can be had to look at processes: {error}; is ulimit -u or pids.max reached?"
                    );
                    self.not_before = Instant::now().checked_add(PAUSE);
                    return None;
                }
            },
        };
        looker.orders.send(tgid).ok()?;
        match looker.answers.recv_timeout(LOOK) {
            Ok(answer) => {
                self.looker = Some(looker);
                Some(answer)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(
                    "process {tgid} could not be looked at within {} ms: for {} s, processes are known by name only",
                    LOOK.as_millis(),
                    PAUSE.as_secs()
                );
                self.not_before = Instant::now().checked_add(PAUSE);
                None
            }
        }
    }
}

impl Looker {
    fn start(full: impl Lookup + Send + 'static, alive: Arc<()>) -> io::Result<Self> {
        let (orders, todo) = sync_channel::<u32>(1);
        let (replies, answers) = sync_channel(1);
        thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            for tgid in todo {
                if replies.send(full.look_up(tgid)).is_err() {
                    break;
                }
            }
            drop(alive);
        })?;
        Ok(Self { orders, answers })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// Answers at once, but for process 13, as long as that is locked.
    #[derive(Clone, Default)]
    struct Machine(Arc<(Mutex<bool>, Condvar)>);

    impl Machine {
        fn lock(&self, locked: bool) {
            *self.0.0.lock().expect("no panic") = locked;
            self.0.1.notify_all();
        }
    }

    impl Lookup for Machine {
        fn look_up(&self, tgid: u32) -> Option<Process> {
            let locked = self.0.0.lock().expect("no panic");
            drop(self.0.1.wait_while(locked, |locked| tgid == 13 && *locked).expect("no panic"));
            (tgid != 0).then(|| Process { tgid, name: "full".to_owned(), ..Process::default() })
        }
    }

    struct Brief;

    impl Lookup for Brief {
        fn look_up(&self, tgid: u32) -> Option<Process> {
            Some(Process { tgid, name: "brief".to_owned(), ..Process::default() })
        }
    }

    fn name(bounded: &Bounded<Machine, Brief>, tgid: u32) -> Option<String> {
        bounded.look_up(tgid).map(|process| process.name)
    }

    #[test]
    fn a_process_that_does_not_resist_is_looked_at_in_full() {
        let bounded = Bounded::new(Machine::default(), Brief);
        for tgid in 1..100 {
            assert_eq!(name(&bounded, tgid).as_deref(), Some("full"));
        }
        assert_eq!(name(&bounded, 0), None, "gone is gone");
        assert_eq!(Arc::strong_count(&bounded.state.borrow().alive), 2, "one thread looks");
    }

    #[test]
    fn one_that_does_is_not_waited_for_and_costs_a_bounded_number_of_threads() {
        let machine = Machine::default();
        machine.lock(true);
        let bounded = Bounded::new(machine.clone(), Brief);
        for lookers in 1..=MAX_LOOKERS {
            let began = Instant::now();
            assert_eq!(name(&bounded, 13).as_deref(), Some("brief"));
            assert!(began.elapsed() >= LOOK);
            assert_eq!(Arc::strong_count(&bounded.state.borrow().alive), 1 + lookers);
            // Nobody is waited for in the pause, not even somebody else.
            let began = Instant::now();
            assert_eq!(name(&bounded, 1).as_deref(), Some("brief"));
            assert!(began.elapsed() < PAUSE);
            bounded.state.borrow_mut().not_before = None;
        }
        assert_eq!(name(&bounded, 1).as_deref(), Some("brief"), "no more threads than that");
        machine.lock(false);
        while Arc::strong_count(&bounded.state.borrow().alive) > 1 {
            thread::yield_now();
        }
        assert_eq!(name(&bounded, 13).as_deref(), Some("full"), "those left behind came back and ended");
    }
}
