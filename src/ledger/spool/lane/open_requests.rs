//! The requests under way in a lane: where the OPEN of each stands, and the room that its END will want.

/// Slots that stay where there is no request: behind a crowd the room for all of it goes.
const KEPT: usize = 1_024;

/// A slot a request, used again once it has ended: nothing is allocated for a request.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    slots: Vec<Option<Opened>>,
    free: Vec<u32>,
    reserved: u64,
}

/// Where an OPEN stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    pub segment: u64,
    pub offset: u32,
    /// Bytes of its record.
    pub length: u32,
    /// Bytes kept free for its END.
    pub reserve: u32,
}

impl OpenRequests {
    pub fn insert(&mut self, opened: Opened) -> u32 {
        self.reserved += u64::from(opened.reserve);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(opened);
        }
        slot
    }

    pub fn remove(&mut self, slot: u32) -> Option<Opened> {
        let opened = self.slots.get_mut(slot as usize)?.take()?;
        self.reserved -= u64::from(opened.reserve);
        self.free.push(slot);
        if self.slots.len() > KEPT && self.free.len() == self.slots.len() {
            *self = Self::default();
        }
        Some(opened)
    }

    /// Up to `most` requests whose OPEN stands in `segment`.
    pub fn in_segment(&self, segment: u64, most: usize) -> Vec<(u32, Opened)> {
        let slots = (0..).zip(&self.slots).filter_map(|(slot, opened)| Some((slot, (*opened)?)));
        slots.filter(|(_, opened)| opened.segment == segment).take(most).collect()
    }

    /// The OPEN of a request stands elsewhere now.
    pub fn moved(&mut self, slot: u32, segment: u64, offset: u32, length: u32) {
        if let Some(Some(opened)) = self.slots.get_mut(slot as usize) {
            *opened = Opened { segment, offset, length, ..*opened };
        }
    }

    /// Bytes that the ENDs of all of them may want.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_for_a_crowd_goes_with_the_last_of_it() {
        let (mut requests, opened) = (OpenRequests::default(), Opened { segment: 1, offset: 0, length: 9, reserve: 5 });
        let slots: Vec<u32> = (0..=KEPT).map(|_| requests.insert(opened)).collect();
        for slot in &slots {
            assert_eq!(requests.slots.len(), KEPT + 1, "each has its slot until all have ended");
            assert_eq!(requests.remove(*slot), Some(opened));
            assert_eq!(requests.remove(*slot), None);
        }
        assert_eq!((requests.slots.capacity(), requests.reserved()), (0, 0));
        assert_eq!(requests.insert(opened), 0);
    }
}
