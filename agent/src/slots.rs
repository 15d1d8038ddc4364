//! A table whose entries are named by keys that are never used again.

/// Names an entry of a [`Slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    at: u32,
    generation: u32,
}

impl Key {
    /// Where its entry is: small, and the same for some keys at different times.
    #[must_use]
    pub const fn index(self) -> usize {
        self.at as usize
    }
}

/// Entries by key. An entry's place is used again, its key is not.
#[derive(Clone, Debug)]
pub struct Slots<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slots<T> {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an entry in.
    pub fn insert(&mut self, entry: T) -> Key {
        if let Some(at) = self.free.pop()
            && let Some((generation, place)) = self.places.get_mut(at as usize)
        {
            *place = Some(entry);
            return Key { at, generation: *generation };
        }
        // Every table is bounded far below that by who uses it.
        let at = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push((0, Some(entry)));
        Key { at, generation: 0 }
    }

    /// Takes an entry out; its key means nothing from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, place) = self.places.get_mut(key.at as usize)?;
        if *generation != key.generation {
            return None;
        }
        let entry = place.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(key.at);
        Some(entry)
    }

    /// The entry with this key.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key.at as usize).filter(|(generation, _)| *generation == key.generation)?.1.as_ref()
    }

    /// The entry with this key, to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key.at as usize).filter(|(generation, _)| *generation == key.generation)?.1.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_a_key_is_not() {
        let mut slots = Slots::new();
        let (one, two) = (slots.insert(1), slots.insert(2));
        assert_eq!((slots.remove(one), slots.remove(one), slots.len()), (Some(1), None, 1));
        let three = slots.insert(3);
        assert_eq!((three.at, slots.get(one), slots.get(three)), (one.at, None, Some(&3)));
        assert_eq!(slots.remove(one), None);
        assert_eq!(slots.get(two), Some(&2));
        *slots.get_mut(two).expect("it is there") = 5;
        assert_eq!(slots.remove(two), Some(5));
        assert_eq!(slots.remove(three), Some(3));
        assert!(slots.is_empty());
    }
}
