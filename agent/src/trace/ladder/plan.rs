//! What requests do: which calls they make, in which order, and after which delays. Learnt per process and operation from
//! requests whose calls are known, and asked how likely another request's calls are.
//!
//! A request's history is the sequence of what it has done so far. For each history the next actions are counted (a call of
//! some operation, or the answer), with the delay from when it could act and with whether the thread was just busy with it.

mod about;

use foldhash::HashMap;

pub(super) use self::about::About;
use super::lags::Lags;

/// Histories of one process. A request of eight calls has nine.
const MAX_STAGES: usize = 2_048;
/// Different next actions of one history.
const MAX_ACTIONS: usize = 16;
/// After so many calls a history is only its length and the last call: a request that calls in a loop is still known.
const EXACT_CALLS: u32 = 8;
/// After so many calls they are no longer counted.
const MAX_CALLS: u32 = 24;
/// When a history was seen so often, all its counts are halved: what a process does changes.
const MAX_COUNT: u32 = 4_096;

/// What a request has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct History {
    operation: u64,
    sequence: u64,
    calls: u32,
}

/// What a request does next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// The operation of the call; [`ANSWER`] for the answer.
    pub(super) action: u64,
    /// How likely it is by who set the thread to work, as a natural logarithm.
    pub(super) handed: f64,
    /// From when it could act to when it did, nanoseconds.
    pub(super) lag_ns: u64,
    /// From what may have set it off to when it acted, nanoseconds: something else that its thread took, or its connection
    /// becoming free. `None` where nothing is known that could have.
    pub(super) trigger_ns: Option<u64>,
    /// How long its connection had been free: whether it had to wait for one shows in that.
    pub(super) idle: Idle,
    /// Whether answers were outstanding that such a step usually waits for.
    pub(super) beside: bool,
    /// Whether the thread that acted was last busy with this request; `None` where that is not known.
    pub(super) adjacent: Option<bool>,
}

/// The action that ends a request.
pub(super) const ANSWER: u64 = 0;

/// How long a connection had been free when a call was sent on it, in classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Idle(usize);

/// Classes of [`Idle`]: on a new connection; free since so many microseconds at most.
const IDLE_US: [u64; 5] = [0, 128, 512, 2_048, 8_192];
const IDLE_CLASSES: usize = IDLE_US.len() + 1;
/// Before anything was seen: how many calls on such connections had to wait for one.
const IDLE_EXPECTED: [f64; IDLE_CLASSES] = [0.05, 0.5, 0.4, 0.2, 0.1, 0.02];

/// All that was learnt about a process.
#[derive(Debug)]
pub(super) struct Plans {
    stages: HashMap<History, Stage>,
    /// By action, and whether it had to wait: how likely its steps were, on average, as natural logarithms.
    usual: HashMap<(u64, bool), f64>,
    /// By how long connections had been free: calls on them, and those of them that had to wait.
    waits: [[u32; 2]; IDLE_CLASSES],
    /// What is common to steps that had to wait for something else than the request itself.
    waited: Manner,
}

#[derive(Debug, Default)]
struct Stage {
    seen: u32,
    actions: Vec<Action>,
}

#[derive(Debug)]
struct Action {
    action: u64,
    count: u32,
    beside: u32,
    /// How likely it is, while nothing was outstanding and while something was, as natural logarithms. Asked for far more often than
    /// it changes.
    ln_chance: [f64; 2],
    /// Of those that did not have to wait.
    prompt: Manner,
}

/// How steps are taken.
#[derive(Debug)]
struct Manner {
    /// Not adjacent, adjacent.
    adjacent: [u32; 2],
    /// From when they could be taken, or from what set them off.
    lags: Lags,
}

impl std::hash::Hash for History {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.sequence ^ self.operation.rotate_left(32));
    }
}

impl History {
    /// A request of this operation has done nothing yet.
    #[must_use]
    pub(super) const fn new(operation: u64) -> Self {
        Self { operation, sequence: 0, calls: 0 }
    }

    /// After one more call.
    #[must_use]
    pub(super) const fn then(self, call: u64) -> Self {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let calls = if self.calls < MAX_CALLS { self.calls + 1 } else { MAX_CALLS };
        // Calls that are made at the same time may be sent in any order.
        let this = (call ^ call >> 29).wrapping_mul(GOLDEN);
        let sequence =
            if calls <= EXACT_CALLS { self.sequence.wrapping_add(this ^ this >> 32) } else { this ^ calls as u64 };
        Self { operation: self.operation, sequence, calls }
    }
}

impl Idle {
    /// Of a connection that was free for so long; `None` for a new one.
    pub(super) fn of(free_ns: Option<u64>) -> Self {
        let Some(free_ns) = free_ns else { return Self(0) };
        Self(IDLE_US.iter().position(|&us| us > 0 && free_ns < us * 1_000).unwrap_or(IDLE_US.len()))
    }
}

impl Default for Plans {
    fn default() -> Self {
        let waits = [[0; 2]; IDLE_CLASSES];
        Self { stages: HashMap::default(), usual: HashMap::default(), waits, waited: Manner::NONE }
    }
}

impl Plans {
    /// How likely a request with this history takes this step: a natural logarithm. What is learnt of a step's delay and of its
    /// thread is not independent of each other and of the steps before: only so much of it counts.
    #[must_use]
    pub(super) fn likelihood(&self, history: History, step: &Step, trust: f64) -> f64 {
        self.weigh(history, step, trust).0
    }

    /// The same, and whether it is likelier that something else set a step off than that it could be taken.
    fn weigh(&self, history: History, step: &Step, trust: f64) -> (f64, bool) {
        self.action(history, step.action)
            .map_or_else(|| self.weigh_unknown(history, step, trust), |known| self.weigh_known(known, step, trust))
    }

    /// The same where requests with this history were seen to do this.
    fn weigh_known(&self, known: &Action, step: &Step, trust: f64) -> (f64, bool) {
        let (manner, has_waited) = self.manner(known, step);
        (known.ln_chance[usize::from(step.beside)] + trust * manner + step.handed, has_waited)
    }

    /// The same where none was.
    fn weigh_unknown(&self, history: History, step: &Step, trust: f64) -> (f64, bool) {
        /// Of what a request does of which nothing is known: one of a few actions.
        const SOME_ACTION: f64 = 0.3;
        // Where few ever get, nothing is likely for that.
        let most = SOME_ACTION * self.unheard_of(history);
        let chance = self.stages.get(&history).map_or(most, |stage| stage.chance(0).min(most));
        let (manner, has_waited) = self.manner(&NOTHING, step);
        ((chance * NOTHING.beside(step.beside)).ln() + trust * manner + step.handed, has_waited)
    }

    /// How likely a request gets where none was seen to get.
    fn unheard_of(&self, history: History) -> f64 {
        /// As if so many of them had.
        const UNSEEN: f64 = 0.1;
        let seen = self.seen(History::new(history.operation));
        if seen == 0 { 1.0 } else { UNSEEN / (f64::from(seen) + UNSEEN) }
    }

    /// Whether enough requests of an operation were seen for what they do to be known.
    pub(super) fn is_settled(&self, operation: u64) -> bool {
        const SETTLED: u32 = 16;
        self.seen(History::new(operation)) >= SETTLED
    }

    /// How often a request with this history was seen to act.
    #[must_use]
    pub(super) fn seen(&self, history: History) -> u32 {
        self.stages.get(&history).map_or(0, |stage| stage.seen)
    }

    /// How often a request with this history was seen to take this action.
    pub(super) fn count(&self, history: History, action: u64) -> u32 {
        self.action(history, action).map_or(0, |known| known.count)
    }

    /// Whether a request with this history was seen to take this action.
    #[must_use]
    pub(super) fn is_known(&self, history: History, action: u64) -> bool {
        self.action(history, action).is_some()
    }

    fn action(&self, history: History, action: u64) -> Option<&Action> {
        self.stages.get(&history)?.action(action)
    }

    /// How much likelier such a step usually is, as a natural logarithm; `None` if none was seen.
    pub(super) fn surprise(&self, history: History, step: &Step, trust: f64) -> Option<f64> {
        let (likelihood, has_waited) = self.weigh(history, step, trust);
        Some(self.usual.get(&(step.action, has_waited))? - likelihood)
    }

    /// Takes a step that was taken into the average.
    pub(super) fn note_usual(&mut self, history: History, step: &Step, trust: f64) {
        /// What the latest step weighs.
        const WEIGHT: f64 = 0.05;
        let (likelihood, has_waited) = self.weigh(history, step, trust);
        let kind = (step.action, has_waited);
        if self.usual.len() < MAX_STAGES || self.usual.contains_key(&kind) {
            let usual = self.usual.entry(kind).or_insert(likelihood);
            *usual += WEIGHT * (likelihood - *usual);
        }
    }

    /// Whether it is likelier that something else set a step off than that it could be taken.
    pub(super) fn has_waited(&self, history: History, step: &Step) -> bool {
        self.manner(self.action(history, step.action).unwrap_or(&NOTHING), step).1
    }

    /// A request with this history took this step.
    pub(super) fn learn(&mut self, history: History, step: &Step) {
        if self.stages.len() >= MAX_STAGES && !self.stages.contains_key(&history) {
            return;
        }
        let has_waited = self.has_waited(history, step);
        if step.trigger_ns.is_some() {
            let [all, waited] = &mut self.waits[step.idle.0];
            *all += 1;
            *waited += u32::from(has_waited);
            if *all >= MAX_COUNT {
                (*all, *waited) = (*all / 2, *waited / 2);
            }
        }
        if let Some(trigger_ns) = step.trigger_ns.filter(|_| has_waited) {
            self.waited.learn(trigger_ns, step.adjacent);
        }
        self.stages.entry(history).or_default().learn(step, has_waited);
    }

    /// How likely the delay and the thread are, as a natural logarithm; and whether something else is likelier to have set the
    /// step off than that it could be taken.
    fn manner(&self, action: &Action, step: &Step) -> (f64, bool) {
        /// Most programs act while they are busy with the request; who waits for a connection does so by another's answer.
        const ADJACENT: [f64; 2] = [0.7, 0.3];
        let prompt = action.prompt.density(step.lag_ns, step.adjacent, ADJACENT[0]);
        let Some(trigger_ns) = step.trigger_ns else { return (prompt.ln(), false) };
        let [all, waited] = self.waits[step.idle.0];
        let share = share(waited, all, IDLE_EXPECTED[step.idle.0]);
        let waited = share * self.waited.density(trigger_ns, step.adjacent, ADJACENT[1]);
        let prompt = (1.0 - share) * prompt;
        ((prompt + waited).ln(), waited > prompt)
    }
}

impl Stage {
    fn action(&self, action: u64) -> Option<&Action> {
        self.actions.iter().find(|known| known.action == action)
    }

    /// How likely an action is that was seen so often.
    fn chance(&self, count: u32) -> f64 {
        /// What an action that was never seen counts for.
        const UNSEEN: f64 = 0.1;
        let kinds = self.actions.len() as f64 + 1.0;
        (f64::from(count) + UNSEEN) / (f64::from(self.seen) + UNSEEN * kinds)
    }

    fn learn(&mut self, step: &Step, has_waited: bool) {
        let at = match self.actions.iter().position(|known| known.action == step.action) {
            Some(at) => at,
            None if self.actions.len() < MAX_ACTIONS => {
                self.actions.push(Action::new(step.action));
                self.actions.len() - 1
            }
            None => return,
        };
        self.seen += 1;
        if let Some(action) = self.actions.get_mut(at) {
            action.learn(step, has_waited);
        }
        if self.seen >= MAX_COUNT {
            self.actions.iter_mut().for_each(Action::halve);
            self.seen = self.actions.iter().map(|action| action.count).sum();
        }
        for at in 0..self.actions.len() {
            let chance = self.chance(self.actions[at].count);
            let action = &mut self.actions[at];
            action.ln_chance = [false, true].map(|beside| (chance * action.beside(beside)).ln());
        }
    }
}

/// Of a feature with two values of which nothing is known.
const NEITHER: f64 = 0.5;

/// An action of which nothing is known.
const NOTHING: Action = Action::new(0);

impl Action {
    const fn new(action: u64) -> Self {
        Self { action, count: 0, beside: 0, ln_chance: [0.0; 2], prompt: Manner::NONE }
    }

    /// How likely it is taken while something is outstanding, or not.
    fn beside(&self, is_beside: bool) -> f64 {
        let beside = share(self.beside, self.count, 0.2);
        if is_beside { beside } else { 1.0 - beside }
    }

    fn learn(&mut self, step: &Step, has_waited: bool) {
        self.count += 1;
        self.beside += u32::from(step.beside);
        if !has_waited {
            self.prompt.learn(step.lag_ns, step.adjacent);
        }
    }

    fn halve(&mut self) {
        self.count /= 2;
        self.beside /= 2;
        self.prompt.halve();
    }
}

impl Manner {
    const NONE: Self = Self { adjacent: [0, 0], lags: Lags::NONE };

    /// Per nanosecond.
    fn density(&self, lag_ns: u64, adjacent: Option<bool>, expected: f64) -> f64 {
        let [not, is] = self.adjacent;
        let share = share(is, not + is, expected);
        let adjacent = adjacent.map_or(NEITHER, |is| if is { share } else { 1.0 - share });
        adjacent * self.lags.density(lag_ns)
    }

    fn learn(&mut self, lag_ns: u64, adjacent: Option<bool>) {
        if let Some(is) = adjacent {
            self.adjacent[usize::from(is)] += 1;
        }
        self.lags.learn(lag_ns);
        if self.lags.seen >= MAX_COUNT {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.adjacent = self.adjacent.map(|count| count / 2);
        self.lags.halve();
    }
}

/// A share of what was seen, with what is expected before anything was seen.
fn share(count: u32, of: u32, expected: f64) -> f64 {
    const LEAST: f64 = 1e-4;
    /// What is expected weighs like so many sightings.
    const WEIGHT: f64 = 1.0;
    // Neither certain nor impossible: both have logarithms.
    ((f64::from(count) + WEIGHT * expected) / (f64::from(of) + WEIGHT)).clamp(LEAST, 1.0 - LEAST)
}
