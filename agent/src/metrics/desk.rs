//! How the core is asked for what only it knows. It looks whether there is a question once per round, which is one atomic
//! load, and answers at once: it never waits for who asked.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::trace::connection_totals::Total;

/// How long the core may take. Its rounds are at most 10 ms apart unless it works off a burst.
const PATIENCE: Duration = Duration::from_secs(1);

/// What only the core knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoreState {
    /// Connections that are being followed.
    pub connections: usize,
    /// Addresses of others that are remembered, or being asked for.
    pub addresses: usize,
    /// Totals of connections, if they were asked for.
    pub totals: Vec<Total>,
}

/// The core's end.
#[derive(Debug)]
pub struct Desk(Receiver<oneshot::Sender<CoreState>>);

/// Somebody waits for an answer.
#[derive(Debug)]
pub struct Question(oneshot::Sender<CoreState>);

/// The end of those who ask.
#[derive(Debug)]
pub(super) struct Asker(Sender<oneshot::Sender<CoreState>>);

/// A desk, and the way to it.
pub(super) fn desk() -> (Asker, Desk) {
    let (asker, desk) = mpsc::channel();
    (Asker(asker), Desk(desk))
}

impl Desk {
    /// The next question, if there is one.
    #[must_use]
    pub fn question(&self) -> Option<Question> {
        self.0.try_recv().ok().map(Question)
    }
}

impl Question {
    /// Answers it. Who asked may have gone.
    pub fn answer(self, state: CoreState) {
        self.0.send(state).ok();
    }
}

impl Asker {
    /// What the core says; `None` if it says nothing in time, or has ended. Questions are asked one at a time: what waits
    /// at the desk is bounded by that.
    pub(super) async fn ask(&self) -> Option<CoreState> {
        let (reply, answer) = oneshot::channel();
        self.0.send(reply).ok()?;
        timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
    }

    #[test]
    fn a_question_is_answered_once() {
        let (asker, desk) = desk();
        assert!(desk.question().is_none());
        let state = CoreState { connections: 7, addresses: 0, totals: Vec::new() };
        let core = std::thread::spawn({
            let state = state.clone();
            move || loop {
                if let Some(question) = desk.question() {
                    question.answer(state);
                    break desk;
                }
                std::thread::yield_now();
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(asker.ask()), Some(state));
        assert!(core.join().unwrap().question().is_none());
    }

    #[test]
    fn a_core_that_is_busy_or_has_ended_keeps_nobody_waiting() {
        let (asker, desk) = desk();
        let runtime = runtime();
        assert_eq!(runtime.block_on(asker.ask()), None);
        desk.question().expect("it still waits").answer(CoreState::default());
        drop(desk);
        assert_eq!(runtime.block_on(asker.ask()), None);
    }
}
