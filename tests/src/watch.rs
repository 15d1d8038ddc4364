//! State that threads change and a test waits for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A value with a condition variable: every change wakes those who wait.
#[derive(Debug, Default)]
pub struct Watch<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watch<T> {
    /// A value to watch.
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// Changes the value.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Looks at the value.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    /// Waits until `look` finds what it looks for; `None` once `patience` is over.
    pub fn wait<R>(&self, patience: Duration, mut look: impl FnMut(&T) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + patience;
        let mut value = self.lock();
        loop {
            if let Some(found) = look(&value) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            value = self.changed.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A test that failed with the lock held must not hide the others' results.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_change_wakes_who_waits_for_it() {
        let watch = Arc::new(Watch::new(0));
        let other = Arc::clone(&watch);
        let counter = std::thread::spawn(move || (0..3).for_each(|_| other.update(|n| *n += 1)));
        assert_eq!(watch.wait(Duration::from_secs(10), |&n| (n == 3).then_some("three")), Some("three"));
        counter.join().expect("the counting thread");
    }

    #[test]
    fn patience_ends() {
        assert_eq!(Watch::new(0).wait(Duration::from_millis(1), |&n| (n == 1).then_some(())), None);
    }
}
