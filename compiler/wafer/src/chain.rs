//! How the shares of a chain's PEs come together at its last one.
//!
//! A word takes six cycles from PE to PE, as long as it takes a word to pass six routers. Where a share has fewer words than that,
//! PEs come in groups: the members of one send to its head, and heads send to the next head past the routers between them, so that
//! a row of results takes as many steps as there are groups. With groups of three:
//!
//! ```text
//!  PE   0    1    2    3    4    5    6    7    8
//!       |    +--->|    |    +--->|    |    +--->|
//!       +-------->|    +-------->|    +-------->| ===> out
//!                 +------------->+------------->+
//! ```
//!
//! The order of shares is that of the chain from its end, whatever the groups are. Knows nothing of kernels.

use super::kernels::{CHAIN_IN, MAX_INPUTS, in_queue};
use quadrille_isa::wafer::InQueue;

/// Cycles of a word from a PE to another that is so many routers on: queue, ramps, the routers.
const fn cycles(routers: usize) -> usize {
    5 + routers
}

/// PEs in a group at most.
const LARGEST: usize = 4;

/// Chains of fewer PEs are short enough.
const FEWEST_PES: usize = 12;

/// A chain of so many PEs in groups of that size, counted from its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chain {
    pes: usize,
    group: usize,
}

impl Chain {
    /// The chain that brings a row of results together soonest, of `pes` shares of so many wavelets, where PEs have so many inputs.
    pub(crate) fn of(pes: usize, wavelets: usize, inputs: usize) -> Chain {
        let queues = MAX_INPUTS.saturating_sub(inputs);
        let most = if pes < FEWEST_PES { 1 } else { LARGEST.min(queues + 1) };
        // Cycles for as many PEs as all these sizes divide.
        let time = |group: usize| 12 / group * cycles(group).max(group * wavelets);
        Chain { pes, group: (1..=most).min_by_key(|&g| (time(g), g)).unwrap_or(1) }
    }

    /// The same without groups.
    pub(crate) fn plain(pes: usize) -> Chain {
        Chain { pes, group: 1 }
    }

    /// PEs from this one to the head of its group.
    fn to_head(self, i: usize) -> usize {
        (self.pes - 1 - i) % self.group
    }

    /// Where PE `i` sends, but for the last.
    pub(crate) fn next(self, i: usize) -> Option<usize> {
        let next = match self.to_head(i) {
            0 => i + self.group,
            n => i + n,
        };
        (i + 1 < self.pes).then_some(next)
    }

    /// Members of the group whose head PE `i` is, beside it.
    pub(crate) fn members(self, i: usize) -> usize {
        if self.to_head(i) == 0 { i.min(self.group - 1) } else { 0 }
    }

    /// The PEs that send to PE `i`: members of its group, the nearest first, then the head of the group before.
    pub(crate) fn senders(self, i: usize) -> impl Iterator<Item = usize> {
        let members = (1..=self.members(i)).map(move |d| i - d);
        members.chain(self.has_upstream(i).then(|| i - self.group))
    }

    /// Heads before PE `end`, as many as there are places among `parts` PEs that they can have.
    pub(crate) fn heads(self, parts: usize, end: usize) -> impl Iterator<Item = usize> {
        (end.saturating_sub(parts * self.group)..end).filter(move |&i| self.to_head(i) == 0)
    }

    /// True when the shares of other groups come to PE `i`.
    pub(crate) fn has_upstream(self, i: usize) -> bool {
        self.to_head(i) == 0 && i >= self.group
    }

    /// The queue on which PE `i`'s share comes to the next, whose kernel has so many inputs.
    pub(crate) fn queue(self, i: usize, inputs: usize) -> InQueue {
        match self.to_head(i) {
            0 => CHAIN_IN,
            n => member_queue(n, inputs),
        }
    }
}

/// The queue on which a head receives from the member that is so many PEs before it.
pub(crate) fn member_queue(distance: usize, inputs: usize) -> InQueue {
    in_queue(inputs + distance - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Shares in the order in which a PE sends them.
    fn sent(c: Chain, i: usize) -> Vec<usize> {
        let mut shares = vec![i];
        shares.extend((1..=c.members(i)).map(|d| i - d));
        if c.has_upstream(i) {
            let before: Vec<usize> = (0..i).filter(|&j| c.next(j) == Some(i) && c.queue(j, 1) == CHAIN_IN).collect();
            assert_eq!(before.len(), 1);
            shares.extend(sent(c, before[0]));
        }
        shares
    }

    proptest! {
        #[test]
        fn shares_come_out_from_the_last_to_the_first(pes in 1..200usize, wavelets in 1..9usize, inputs in 1..8usize) {
            let c = Chain::of(pes, wavelets, inputs);
            prop_assert_eq!(sent(c, pes - 1), (0..pes).rev().collect::<Vec<_>>());
            for i in 0..pes {
                let senders: Vec<usize> = (0..i).rev().filter(|&j| c.next(j) == Some(i)).collect();
                prop_assert_eq!(&c.senders(i).collect::<Vec<_>>(), &senders);
                // No two come on one queue, and none on one of the kernel's inputs.
                let mut queues: Vec<InQueue> = senders.into_iter().map(|j| c.queue(j, inputs)).collect();
                queues.extend((0..inputs).map(in_queue));
                let all = queues.len();
                queues.sort();
                queues.dedup();
                prop_assert_eq!(queues.len(), all);
            }
        }
    }

    #[test]
    fn only_small_shares_are_grouped() {
        let group = |pes, wavelets, inputs| Chain::of(pes, wavelets, inputs).group;
        assert_eq!((group(64, 1, 1), group(64, 2, 1), group(64, 4, 1), group(64, 6, 1)), (4, 4, 2, 1));
        assert_eq!((group(64, 1, 5), group(64, 1, 6), group(64, 1, 7), group(8, 1, 1)), (3, 2, 1, 1));
    }
}
