//! Slots in the order in which they were last touched: a list threaded through an array, all steps in constant time.

/// No slot.
const NONE: u32 = u32::MAX;

/// The order of some of the slots of a table. A slot is in it at most once.
#[derive(Debug)]
pub(super) struct Queue {
    /// By slot. A slot that is not queued has itself as `prev`.
    links: Vec<Link>,
    front: u32,
    back: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { links: Vec::new(), front: NONE, back: NONE }
    }

    /// The slot that was touched longest ago.
    pub(super) fn front(&self) -> Option<u32> {
        (self.front != NONE).then_some(self.front)
    }

    /// Puts a slot at the end, wherever it was.
    pub(super) fn touch(&mut self, slot: u32) {
        if self.back == slot {
            return;
        }
        self.remove(slot);
        while self.links.len() <= slot as usize {
            let itself = self.links.len() as u32;
            self.links.push(Link { prev: itself, next: NONE });
        }
        self.links[slot as usize] = Link { prev: self.back, next: NONE };
        match self.back {
            NONE => self.front = slot,
            back => self.links[back as usize].next = slot,
        }
        self.back = slot;
    }

    /// Takes a slot out, if it is in.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(link) = self.links.get_mut(slot as usize) else { return };
        let Link { prev, next } = *link;
        if prev == slot {
            return;
        }
        *link = Link { prev: slot, next: NONE };
        match prev {
            NONE => self.front = next,
            prev => self.links[prev as usize].next = next,
        }
        match next {
            NONE => self.back = prev,
            next => self.links[next as usize].prev = prev,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_orders_slots_as_a_plain_list_does(steps in proptest::collection::vec((0u32..12, any::<bool>()), 0..200)) {
            let mut queue = Queue::new();
            let mut plain: Vec<u32> = Vec::new();
            for (slot, touch) in steps {
                plain.retain(|&other| other != slot);
                if touch {
                    queue.touch(slot);
                    plain.push(slot);
                } else {
                    queue.remove(slot);
                }
                prop_assert_eq!(queue.front(), plain.first().copied());
            }
            for slot in plain {
                prop_assert_eq!(queue.front(), Some(slot));
                queue.remove(slot);
            }
            prop_assert_eq!(queue.front(), None);
        }
    }
}
