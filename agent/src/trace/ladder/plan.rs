//! What requests do: which calls they make, in which order, and after which delays. Learnt per process and operation from
//! requests whose calls are known, and asked how likely another request's calls are.
//!
//! A request's history is the sequence of what it has done so far. For each history the next actions are counted (a call of
//! some operation, or the answer), with the delay from when it could act and with whether the thread was just busy with it.

use foldhash::HashMap;

/// Delays in buckets of half an octave, from a microsecond to 17 seconds.
const BUCKETS: usize = 48;
/// The first bucket ends at twice this many nanoseconds, to the power of two.
const FIRST_BUCKET_LOG2: u32 = 10;
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
    /// From when it could act to when it did, nanoseconds.
    pub(super) lag_ns: u64,
    /// From what may have set it off to when it acted, nanoseconds: something else that its thread took, or its connection
    /// becoming free. `None` where nothing is known that could have.
    pub(super) trigger_ns: Option<u64>,
    /// Whether answers to earlier calls were outstanding.
    pub(super) beside: bool,
    /// Whether the thread that acted was last busy with this request; `None` where that is not known.
    pub(super) adjacent: Option<bool>,
}

/// The action that ends a request.
pub(super) const ANSWER: u64 = 0;

/// All that was learnt about a process.
#[derive(Debug, Default)]
pub(super) struct Plans {
    stages: HashMap<History, Stage>,
    /// By action: how likely its steps were, on average, as natural logarithms.
    usual: HashMap<u64, f64>,
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
    /// Not adjacent, adjacent.
    adjacent: [u32; 2],
    /// How many of those that were not adjacent were set off by something else.
    triggered: u32,
    /// From when they could act.
    prompt: Lags,
    /// From what set them off.
    waited: Lags,
}

/// Delays, counted in buckets.
#[derive(Debug)]
struct Lags {
    seen: u32,
    buckets: [u16; BUCKETS],
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
        let before = if calls <= EXACT_CALLS { self.sequence } else { calls as u64 };
        let sequence = (before.rotate_left(17) ^ call).wrapping_mul(GOLDEN);
        Self { operation: self.operation, sequence, calls }
    }
}

impl Plans {
    /// How likely a request with this history takes this step: a natural logarithm, of a density over the delay.
    #[must_use]
    pub(super) fn likelihood(&self, history: History, step: &Step) -> f64 {
        match self.stages.get(&history) {
            Some(stage) => stage.likelihood(step),
            None => unknown(step),
        }
    }

    /// How often a request with this history was seen to act.
    #[must_use]
    pub(super) fn seen(&self, history: History) -> u32 {
        self.stages.get(&history).map_or(0, |stage| stage.seen)
    }

    /// How likely steps of an action usually are, as a natural logarithm.
    pub(super) fn usual(&self, action: u64) -> Option<f64> {
        self.usual.get(&action).copied()
    }

    /// Takes a step that was taken into the average.
    pub(super) fn note_usual(&mut self, history: History, step: &Step) {
        /// What the latest step weighs.
        const WEIGHT: f64 = 0.05;
        let likelihood = self.likelihood(history, step);
        if self.usual.len() < MAX_STAGES || self.usual.contains_key(&step.action) {
            let usual = self.usual.entry(step.action).or_insert(likelihood);
            *usual += WEIGHT * (likelihood - *usual);
        }
    }

    /// A request with this history took this step.
    pub(super) fn learn(&mut self, history: History, step: &Step) {
        if self.stages.len() >= MAX_STAGES && !self.stages.contains_key(&history) {
            return;
        }
        self.stages.entry(history).or_default().learn(step);
    }
}

impl Stage {
    fn chance(&self, action: u64) -> f64 {
        /// What an action that was never seen counts for.
        const UNSEEN: f64 = 0.1;
        let count = self.actions.iter().find(|known| known.action == action).map_or(0, |known| known.count);
        let kinds = self.actions.len() as f64 + 1.0;
        (f64::from(count) + UNSEEN) / (f64::from(self.seen) + UNSEEN * kinds)
    }

    fn likelihood(&self, step: &Step) -> f64 {
        let chance = self.chance(step.action).ln();
        match self.actions.iter().find(|known| known.action == step.action) {
            Some(action) => chance + action.likelihood(step),
            None => chance + Lags::unknown(step.lag_ns) + NEITHER.ln(),
        }
    }

    fn learn(&mut self, step: &Step) {
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
            action.learn(step);
        }
        if self.seen >= MAX_COUNT {
            self.actions.iter_mut().for_each(Action::halve);
            self.seen = self.actions.iter().map(|action| action.count).sum();
        }
    }
}

/// Of a feature with two values of which nothing is known.
const NEITHER: f64 = 0.5;

/// How likely a step is for a request of which nothing is known.
fn unknown(step: &Step) -> f64 {
    /// One of a few actions.
    const SOME_ACTION: f64 = 0.3;
    /// Most programs act while they are busy with the request, and not while they wait for an answer.
    const ADJACENT: f64 = 0.7;
    const BESIDE: f64 = 0.2;
    let adjacent = step.adjacent.map_or(NEITHER, |is| if is { ADJACENT } else { 1.0 - ADJACENT });
    let beside = if step.beside { BESIDE } else { 1.0 - BESIDE };
    SOME_ACTION.ln() + adjacent.ln() + beside.ln() + Lags::unknown(step.lag_ns)
}

impl Action {
    const fn new(action: u64) -> Self {
        Self { action, count: 0, beside: 0, adjacent: [0, 0], triggered: 0, prompt: Lags::NONE, waited: Lags::NONE }
    }

    fn likelihood(&self, step: &Step) -> f64 {
        let beside = share(self.beside, self.count, 0.2);
        let beside = if step.beside { beside } else { 1.0 - beside };
        let [not, is] = self.adjacent;
        let adjacent = share(is, not + is, 0.7);
        let adjacent = step.adjacent.map_or(NEITHER, |is| if is { adjacent } else { 1.0 - adjacent });
        beside.ln() + adjacent.ln() + self.delay(step).0
    }

    /// How likely the delay is, as a natural logarithm; and whether something else is likelier to have set the step off than
    /// that it could be taken.
    fn delay(&self, step: &Step) -> (f64, bool) {
        /// Before anything was seen, either may be.
        const TRIGGERED: f64 = 0.3;
        let prompt = self.prompt.density(step.lag_ns);
        let Some(trigger_ns) = step.trigger_ns.filter(|_| step.adjacent != Some(true)) else { return (prompt, false) };
        let triggered = share(self.triggered, self.count.saturating_sub(self.adjacent[1]), TRIGGERED);
        let (prompt, waited) = ((1.0 - triggered).ln() + prompt, triggered.ln() + self.waited.density(trigger_ns));
        let (more, less) = if waited > prompt { (waited, prompt) } else { (prompt, waited) };
        (more + (less - more).exp().ln_1p(), waited > prompt)
    }

    fn learn(&mut self, step: &Step) {
        self.count += 1;
        self.beside += u32::from(step.beside);
        if let Some(is) = step.adjacent {
            self.adjacent[usize::from(is)] += 1;
        }
        match step.trigger_ns.filter(|_| self.delay(step).1) {
            Some(trigger_ns) => {
                self.triggered += 1;
                self.waited.learn(trigger_ns);
            }
            None => self.prompt.learn(step.lag_ns),
        }
    }

    fn halve(&mut self) {
        self.count /= 2;
        self.beside /= 2;
        self.triggered /= 2;
        self.adjacent = self.adjacent.map(|count| count / 2);
        self.prompt.halve();
        self.waited.halve();
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

impl Lags {
    const NONE: Self = Self { seen: 0, buckets: [0; BUCKETS] };

    fn bucket(lag_ns: u64) -> usize {
        let lag = lag_ns.max(1 << FIRST_BUCKET_LOG2);
        let octave = lag.ilog2();
        let half = usize::from((lag >> (octave - 1)) & 1 == 1);
        (((octave - FIRST_BUCKET_LOG2) as usize) * 2 + half).min(BUCKETS - 1)
    }

    /// Nanoseconds that a bucket spans, as a natural logarithm.
    fn log_width(bucket: usize) -> f64 {
        std::f64::consts::LN_2 * (f64::from(FIRST_BUCKET_LOG2) - 1.0 + (bucket / 2) as f64)
    }

    /// What is expected before anything was seen: the longer the rarer.
    fn expected(bucket: usize) -> f64 {
        const DECAY: f64 = 0.85;
        (1.0 - DECAY) * DECAY.powi(i32::try_from(bucket).unwrap_or(i32::MAX))
    }

    fn unknown(lag_ns: u64) -> f64 {
        let bucket = Self::bucket(lag_ns);
        Self::expected(bucket).ln() - Self::log_width(bucket)
    }

    /// Per nanosecond, as a natural logarithm.
    fn density(&self, lag_ns: u64) -> f64 {
        let bucket = Self::bucket(lag_ns);
        let count = |at: Option<usize>| at.and_then(|at| self.buckets.get(at)).map_or(0.0, |&count| f64::from(count));
        let near = 0.5 * count(Some(bucket)) + 0.25 * (count(bucket.checked_sub(1)) + count(Some(bucket + 1)));
        ((near + Self::expected(bucket)) / (f64::from(self.seen) + 1.0)).ln() - Self::log_width(bucket)
    }

    fn learn(&mut self, lag_ns: u64) {
        let count = &mut self.buckets[Self::bucket(lag_ns)];
        *count = count.saturating_add(1);
        self.seen += 1;
    }

    fn halve(&mut self) {
        self.buckets.iter_mut().for_each(|count| *count /= 2);
        self.seen = self.buckets.iter().map(|&count| u32::from(count)).sum();
    }
}
