//! A set of process ids.

/// A set of process ids: one bit each, so that the question asked for every record costs next to nothing.
pub(super) struct PidSet {
    words: Vec<u64>,
}

/// No process id is larger: `PID_MAX_LIMIT` on 64-bit machines (include/linux/threads.h). A set takes 512 KiB, of which
/// only the pages touched are real.
const PID_LIMIT: u32 = 4 * 1024 * 1024;

impl Default for PidSet {
    fn default() -> Self {
        Self { words: vec![0; (PID_LIMIT / u64::BITS) as usize] }
    }
}

impl PidSet {
    /// Whether the id is new here. 0 names no process and never is.
    pub(super) fn insert(&mut self, id: u32) -> bool {
        match self.words.get_mut((id / u64::BITS) as usize) {
            Some(word) if id != 0 => {
                let bit = 1 << (id % u64::BITS);
                let new = *word & bit == 0;
                *word |= bit;
                new
            }
            _ => false,
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        if let Some(word) = self.words.get_mut((id / u64::BITS) as usize) {
            *word &= !(1 << (id % u64::BITS));
        }
    }
}
